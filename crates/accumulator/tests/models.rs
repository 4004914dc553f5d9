//! The shared half under a model checker: its own locks and atomics, with the schedule of the threads chosen by shuttle, thousands of times.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p kommit-accumulator --test models`; there is nothing here without the flag. A wake-up that is lost is a
//! deadlock here, and is reported as one.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::{
    Accumulator, AppendRefusal, Delivery, Drainer, GateReason, Leader, PoolRefusal, RecordMetadata,
    SendError, SendErrorKind, TopicQueues, accumulator,
};
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{Offset, PartitionId, Timestamp};
use shuttle::future::block_on;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use support::{BATCH_SIZE, MAX_SIZE, NODE, ScriptedGate, record};

/// Schedules that each model is run with.
const SCHEDULES: usize = 2_000;
/// Switches of threads that a schedule has besides those that waiting makes: most bugs need few of them.
const SWITCHES: usize = 4;
const NOW: Now = Now {
    instant: Instant::from_millis(1),
    wall: Timestamp(1),
};
/// Five of these fill a batch.
const VALUE: &[u8] = b"x";

fn check(model: impl Fn() + Send + Sync + 'static) {
    shuttle::check_pct(model, SCHEDULES, SWITCHES);
}

/// The bell of a core that sleeps between its turns.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Model {
    shared: Arc<Accumulator>,
    drainer: Drainer,
    topic: Arc<TopicQueues>,
    bell: Arc<Bell>,
    written: i64,
}

/// A topic of one partition, with memory for so many batches.
fn model(pages: usize) -> Model {
    let config = kommit_accumulator::AccumulatorConfig {
        buffer_memory: pages * BATCH_SIZE,
        linger: Duration::ZERO,
        ..support::config()
    };
    let bell = Arc::new(Bell::default());
    let rung = Arc::clone(&bell);
    let (shared, drainer) = accumulator(config, move || rung.ring());
    shared.gate().open();
    Model {
        topic: shared.topic("orders", 1),
        shared,
        drainer,
        bell,
        written: 0,
    }
}

/// What an application's task does, on the short way and on the long one.
async fn send(shared: &Accumulator, topic: &TopicQueues) -> Result<Delivery, AppendRefusal> {
    let (record, place) = (record(VALUE), Some(PartitionId(0)));
    if let Some(delivery) = shared.append_amid((topic, place), &record, None, NOW.wall) {
        return Ok(delivery);
    }
    let destination = shared.destination(topic, place, &record).unwrap();
    let mut page = None;
    loop {
        match shared.append(&destination, &record, &mut page, None, NOW) {
            Err(AppendRefusal::NeedsPage(size)) => page = Some(shared.page(size).await.unwrap()),
            other => return other,
        }
    }
}

impl Model {
    fn sender(
        &self,
        act: impl FnOnce(&Accumulator, &TopicQueues) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let (shared, topic) = (Arc::clone(&self.shared), Arc::clone(&self.topic));
        thread::spawn(move || act(&shared, &topic))
    }

    /// The turns of the core for as long as something is ready: in each, one batch of the partition is written.
    fn work(&mut self) {
        let leader = Leader {
            node: NODE,
            epoch: None,
        };
        loop {
            self.drainer.collect();
            self.drainer.ready(NOW.instant, &|_| Some(leader));
            let mut gate = ScriptedGate::default();
            let drained = self.drainer.drain(NODE, MAX_SIZE, NOW.instant, &mut gate);
            if drained.batches.is_empty() {
                return;
            }
            for batch in drained.batches {
                let base = Offset(self.written);
                self.written += i64::from(batch.record_count());
                self.drainer.complete(batch, Some(base), None);
            }
        }
    }
}

fn offset(delivered: Result<RecordMetadata, SendError>) -> i64 {
    delivered.unwrap().offset.unwrap().0
}

/// P-16, A-22: two tasks append, fill batches, wait for memory and await their deliveries, and the core sleeps in between: nobody sleeps for ever,
/// and the records of a task keep their order.
#[test]
fn no_wake_up_is_lost_between_append_and_delivery() {
    check(|| {
        let mut model = model(2);
        let send_some = |shared: &Accumulator, topic: &TopicQueues| {
            block_on(async {
                let mut sent = Vec::new();
                for _ in 0..6 {
                    sent.push(send(shared, topic).await.unwrap());
                }
                let mut last = -1;
                for delivery in sent {
                    let own = offset(delivery.await);
                    assert!(own > last, "{own} behind {last}");
                    last = own;
                }
            });
        };
        let senders = [model.sender(send_some), model.sender(send_some)];
        while model.written < 12 {
            model.bell.wait();
            model.work();
        }
        for sender in senders {
            sender.join().unwrap();
        }
        assert!(model.drainer.nothing_incomplete().is_some());
    });
}

/// D-9, T-40: who closes the gate and then finds nothing incomplete has missed no record.
#[test]
fn nothing_comes_behind_a_closed_gate() {
    check(|| {
        let mut model = model(4);
        let sender = model.sender(|shared, topic| {
            for _ in 0..6 {
                match block_on(send(shared, topic)) {
                    Ok(delivery) => drop(delivery),
                    Err(refusal) => {
                        assert_eq!(refusal, AppendRefusal::Refused(GateReason::Ending));
                        return;
                    }
                }
            }
        });
        model.shared.gate().close(GateReason::Ending);
        while model.drainer.nothing_incomplete().is_none() {
            model.bell.wait();
            model.work();
        }
        let written = model.written;
        sender.join().unwrap();
        model.work();
        assert_eq!(model.written, written, "a record came behind the end");
    });
}

/// an abort reaches every batch, one that is being closed at that moment too.
#[test]
fn an_abort_ends_what_is_being_closed() {
    check(|| {
        let mut model = model(4);
        let sender = model.sender(|shared, topic| {
            let sent: Vec<_> = (0..6).map_while(|_| block_on(send(shared, topic)).ok()).collect();
            for delivery in sent {
                let error = block_on(delivery).unwrap_err();
                assert_eq!(*error.kind(), SendErrorKind::TransactionAborted);
            }
        });
        model.shared.gate().close(GateReason::Ending);
        while model.drainer.nothing_incomplete().is_none() {
            model.bell.wait();
            model.drainer.collect();
            let error = SendError::new(SendErrorKind::TransactionAborted);
            model.drainer.abort_undrained(error);
        }
        sender.join().unwrap();
    });
}

/// a wait for memory that is given up, at whatever moment, hands on what it was given.
#[test]
fn memory_of_a_wait_that_was_given_up_goes_to_the_next() {
    check(|| {
        let model = model(1);
        let held = model.shared.try_page(BATCH_SIZE).unwrap();
        let shared = Arc::clone(&model.shared);
        let fickle = thread::spawn(move || {
            let mut wait = Box::pin(shared.page(BATCH_SIZE));
            block_on(std::future::poll_fn(|context| {
                let _looked = wait.as_mut().poll(context);
                std::task::Poll::Ready(())
            }));
        });
        let shared = Arc::clone(&model.shared);
        let patient = thread::spawn(move || drop(block_on(shared.page(BATCH_SIZE)).unwrap()));
        drop(held);
        fickle.join().unwrap();
        patient.join().unwrap();
        assert_eq!(model.shared.available_memory(), BATCH_SIZE);
        assert_eq!(
            model.shared.try_page(2 * BATCH_SIZE).unwrap_err(),
            PoolRefusal::TooLarge {
                size: 2 * BATCH_SIZE,
                total: BATCH_SIZE
            }
        );
    });
}
