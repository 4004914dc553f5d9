//! As many records as possible from one task or several: send, and reap what is acknowledged while the producer works.

use std::collections::VecDeque;
use std::sync::Arc;

use kommit::{Delivery, Producer, Record};

use super::pace::Pace;
use super::workload::Workload;
use super::{Seen, broken};
use crate::clock::{self, Instant};
use crate::failure::Failure;
use crate::producing::told;

/// Deliveries are looked at this often, in records.
const REAP_EVERY: u64 = 256;
/// One in so many records is timed: reading the clock for each would be a part of what is measured.
const TIMED_EVERY: u64 = 1024;
/// Deliveries that all tasks together keep at most: 4 MiB, whatever the size of a record.
const MAX_WINDOW: u64 = 1 << 17;

/// Sends all records and awaits all deliveries. This task is the first of those that share them.
pub(super) async fn measure(producer: &Arc<Producer>, workload: &Arc<Workload>) -> Result<Seen, Failure> {
    let share = |task| send_share(Arc::clone(producer), Arc::clone(workload), task);
    let others: Vec<_> = (1..workload.tasks)
        .map(|task| tokio::spawn(share(task)))
        .collect();
    let mut seen = share(0).await?;
    for task in others {
        seen.join(task.await.map_err(broken)??);
    }
    Ok(seen)
}

/// The records of one task: each task has the next one in turn.
async fn send_share(producer: Arc<Producer>, workload: Arc<Workload>, task: u32) -> Result<Seen, Failure> {
    let mut window = Window::of(&workload);
    let topic = producer.topic(&workload.topic.name).await;
    let topic = topic.map_err(|error| told("looking for the topic", &error))?;
    let record = Record::to(&topic);
    let started = clock::now();
    let mut index = u64::from(task);
    while index < workload.records {
        if let Some(rate) = workload.rate {
            // A timer's millisecond does not matter here: the pace is kept on average.
            tokio::time::sleep_until(started + Pace::of(rate).due(index)).await;
        }
        window.time_next();
        match producer.send(workload.fill(record, index)).await {
            Ok(delivery) => window.push(delivery).await,
            Err(error) if error.is_fatal() => return Err(told("sending", &error)),
            Err(error) => window.refused(&error),
        }
        index += u64::from(workload.tasks);
    }
    window.drain().await;
    Ok(window.seen)
}

/// The deliveries that are awaited, in the order of sending.
struct Window {
    deliveries: VecDeque<Delivery>,
    capacity: usize,
    /// The number of the first delivery in the window; refused records have no delivery.
    first: u64,
    pushed: u64,
    /// Sampled records that are not acknowledged, with the time of their sending.
    timed: VecDeque<(u64, Instant)>,
    seen: Seen,
}

impl Window {
    fn of(workload: &Workload) -> Self {
        // What can be unacknowledged is bounded by the buffer memory too, where records are large.
        let fitting = workload.buffer_memory / workload.payload.len().max(1) as u64;
        let share = fitting.min(MAX_WINDOW) / u64::from(workload.tasks) + REAP_EVERY;
        let capacity = usize::try_from(share).expect("little more than 2^17");
        Self {
            deliveries: VecDeque::with_capacity(capacity),
            capacity,
            first: 0,
            pushed: 0,
            timed: VecDeque::new(),
            seen: Seen::nothing(),
        }
    }

    /// Notes the time when the next record is one that is timed.
    fn time_next(&mut self) {
        if self.pushed.is_multiple_of(TIMED_EVERY) {
            self.timed.push_back((self.pushed, clock::now()));
        }
    }

    async fn push(&mut self, delivery: Delivery) {
        self.deliveries.push_back(delivery);
        self.pushed += 1;
        if self.pushed.is_multiple_of(REAP_EVERY) {
            self.reap();
        }
        if self.deliveries.len() >= self.capacity {
            self.await_first().await;
        }
    }

    fn refused(&mut self, error: &kommit::SendError) {
        self.seen.fail(1, error);
    }

    /// Takes what has its outcome already, in order.
    fn reap(&mut self) {
        while let Some(outcome) = self.deliveries.front().and_then(Delivery::outcome) {
            self.deliveries.pop_front();
            self.count(outcome.as_ref().map(|_| ()));
        }
    }

    async fn await_first(&mut self) {
        if let Some(delivery) = self.deliveries.pop_front() {
            let outcome = delivery.await;
            self.count(outcome.as_ref().map(|_| ()));
        }
    }

    async fn drain(&mut self) {
        while !self.deliveries.is_empty() {
            self.await_first().await;
        }
    }

    fn count(&mut self, outcome: Result<(), &kommit::SendError>) {
        let number = self.first;
        self.first += 1;
        match outcome {
            Ok(()) => self.seen.acked += 1,
            Err(error) => self.seen.fail(1, error),
        }
        if let Some((_, sent)) = self.timed.front().copied().filter(|(timed, _)| *timed <= number) {
            self.timed.pop_front();
            self.seen.times.record(clock::now() - sent);
        }
    }
}
