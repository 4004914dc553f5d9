//! Time from the intended send to the acknowledgement, at a fixed rate: a record that is sent late because an earlier one was slow counts its wait.
//!
//! Sending has a thread of its own, because a timer's millisecond would be most of what is measured. Each partition has a task that awaits its
//! deliveries: within a partition they come in order, so that none waits for another.

use std::sync::Arc;

use kommit::{Delivery, Producer, Record};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::pace::Pace;
use super::workload::Workload;
use super::{DEFAULT_LATENCY_RATE, Seen, broken};
use crate::clock::{self, Instant};
use crate::failure::Failure;

/// Deliveries that one partition's task may be behind; then the sender waits, and that wait is measured.
const LANE: usize = 65_536;

type Awaited = (Instant, Delivery);

/// Sends all records at the rate and awaits all deliveries.
pub(super) async fn measure(producer: &Arc<Producer>, workload: &Arc<Workload>) -> Result<Seen, Failure> {
    let (lanes, tasks) = lanes(workload.topic.partitions.len());
    let (sender, plan, runtime) = (Arc::clone(producer), Arc::clone(workload), Handle::current());
    let sending = tokio::task::spawn_blocking(move || send(&sender, &plan, &lanes, &runtime));
    let mut seen = sending.await.map_err(broken)?;
    for task in tasks {
        seen.join(task.await.map_err(broken)?);
    }
    Ok(seen)
}

fn send(producer: &Producer, workload: &Workload, lanes: &[mpsc::Sender<Awaited>], runtime: &Handle) -> Seen {
    let mut seen = Seen::nothing();
    let pace = Pace::of(workload.rate.unwrap_or(DEFAULT_LATENCY_RATE));
    let record = Record::new(&workload.topic.name);
    let started = clock::now();
    for index in 0..workload.records {
        let intended = started + pace.due(index);
        wait_until(intended);
        match runtime.block_on(producer.send(workload.fill(record, index))) {
            Ok(delivery) => {
                let lane =
                    usize::try_from(delivery.topic_partition().partition.0).unwrap_or_default() % lanes.len();
                // A lane is open until this thread lets go of it.
                let _ = lanes[lane].blocking_send((intended, delivery));
            }
            Err(error) => seen.fail(1, &error),
        }
    }
    seen
}

fn wait_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(clock::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

fn lanes(partitions: usize) -> (Vec<mpsc::Sender<Awaited>>, Vec<JoinHandle<Seen>>) {
    let open = |_| {
        let (sender, receiver) = mpsc::channel(LANE);
        (sender, tokio::spawn(await_all(receiver)))
    };
    (0..partitions.max(1)).map(open).unzip()
}

async fn await_all(mut lane: mpsc::Receiver<Awaited>) -> Seen {
    let mut seen = Seen::nothing();
    while let Some((intended, delivery)) = lane.recv().await {
        match delivery.await {
            Ok(_) => {
                seen.acked += 1;
                seen.times.record(clock::now() - intended);
            }
            Err(error) => seen.fail(1, &error),
        }
    }
    seen
}
