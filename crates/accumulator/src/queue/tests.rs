//! The queue alone: who closes a batch and who takes it, in every order.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::error::{SendError, SendErrorKind};
use crate::{Accumulator, AccumulatorConfig, Drainer, accumulator};

/// An accumulator whose queue is used without the accumulator's own append, so that a batch can be held between its two locks.
struct Scene {
    accumulator: Arc<Accumulator>,
    _drainer: Drainer,
    queue: PartitionQueue,
}

fn scene() -> Scene {
    let config = AccumulatorConfig {
        batch_size: 100,
        linger: Duration::ZERO,
        ..AccumulatorConfig::default()
    };
    let (accumulator, drainer) = accumulator(config, || {});
    accumulator.gate().open();
    Scene {
        accumulator,
        _drainer: drainer,
        queue: PartitionQueue::new(
            Arc::from("orders"),
            0,
            Arc::default(),
            PartitionLoad::new(Arc::default()),
        ),
    }
}

impl Scene {
    fn append(&self, page: Option<Page>) -> Appended {
        let entry = Entry {
            gate: self.accumulator.gate(),
            transaction: None,
            record_bound: 100,
            timestamp: Timestamp(1),
            stay: None,
        };
        let opening = Opening {
            incomplete: &self.accumulator.incomplete,
            batch_size: 100,
            compression: Compression::None,
            now: Instant::from_millis(1),
        };
        let record = RecordRef {
            value: Some(b"x"),
            ..RecordRef::default()
        };
        self.queue.append((&record, &mut { page }), &entry, opening)
    }

    /// A delivery of a batch that has just become full, and the batch, which has not been closed yet.
    fn full_batch(&self) -> (Delivery, ClosedBatch) {
        let delivery = self.append(self.accumulator.try_page(100).ok()).result.unwrap();
        loop {
            if let Some(full) = self.append(None).closing {
                return (delivery, full.close(self.accumulator.config.codec()));
            }
        }
    }
}

fn aborted() -> BatchFailure {
    SendError::new(SendErrorKind::TransactionAborted).into()
}

/// while a task closes a batch, nobody can take it, nor overtake it.
#[test]
fn a_batch_that_is_being_closed_keeps_its_place() {
    let scene = scene();
    let (_delivery, closed) = scene.full_batch();
    let _younger = scene.append(scene.accumulator.try_page(100).ok());
    assert_eq!(scene.queue.answer_bell(), Front::Closing);
    assert_eq!(scene.queue.take_first(None).0.unwrap_err(), NotTaken::NotThere);
    let older = Arc::clone(closed.completion());
    assert_eq!(scene.queue.put_closed(closed), Ring::Needed);
    let (taken, front) = scene.queue.take_first(None);
    assert!(Arc::ptr_eq(taken.unwrap().into_promise().completion(), &older));
    assert!(matches!(front, Front::Open { .. }));
}

/// a batch that is aborted while a task closes it ends when it comes back, and the core is told.
#[test]
fn a_batch_that_is_aborted_while_it_is_closed_ends_when_it_comes_back() {
    let scene = scene();
    let (delivery, closed) = scene.full_batch();
    assert_eq!(scene.queue.answer_bell(), Front::Closing);
    let mut taken = Vec::new();
    assert_eq!(scene.queue.take_all(&aborted(), &mut taken), Front::Closing);
    assert!(taken.is_empty() && delivery.outcome().is_none());
    assert_eq!(scene.queue.put_closed(closed), Ring::Needed);
    assert_eq!(
        *delivery.outcome().unwrap().unwrap_err().kind(),
        SendErrorKind::TransactionAborted
    );
    assert_eq!(scene.queue.answer_bell(), Front::Empty);
    assert!(scene.accumulator.incomplete.is_empty());
}
