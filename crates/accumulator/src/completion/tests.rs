//! Completions and deliveries alone: each outcome once, and nobody waits in vain.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use kommit_protocol::error_code::ErrorCode;

use super::*;

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Task {
    counter: Arc<Counter>,
    waker: Waker,
}

fn task() -> Task {
    let counter = Arc::new(Counter::default());
    Task {
        waker: Waker::from(Arc::clone(&counter)),
        counter,
    }
}

impl Task {
    fn poll(&self, delivery: &mut Delivery) -> Poll<Result<RecordMetadata, SendError>> {
        Pin::new(delivery).poll(&mut Context::from_waker(&self.waker))
    }

    fn wakes(&self) -> usize {
        self.counter.0.load(Ordering::SeqCst)
    }
}

fn promise() -> Promise {
    let incomplete = Arc::new(Incomplete::default());
    incomplete.enter();
    Promise::counted(TopicPartition::new("orders", 3), incomplete)
}

fn delivery(promise: &Promise, index: u32) -> Delivery {
    let facts = RecordFacts::of(None, Some(b"v"), Timestamp(70));
    Delivery::new(Arc::clone(promise.completion()), index, facts)
}

fn written(base_offset: Option<i64>, log_append_time: Option<i64>) -> BatchOutcome {
    BatchOutcome::Written {
        base_offset: base_offset.map(Offset),
        log_append_time: log_append_time.map(Timestamp),
    }
}

fn waiters(promise: &Promise) -> usize {
    promise.completion().lock().len()
}

/// the offset is base offset + index, the timestamp the record's own.
#[test]
fn a_record_gets_the_offset_of_its_place_in_the_batch() {
    let promise = promise();
    let delivery = delivery(&promise, 5);
    assert_eq!(delivery.outcome(), None);
    promise.completion().settle(written(Some(100), None));
    let metadata = delivery.outcome().expect("settled").expect("written");
    assert_eq!(
        (metadata.offset, metadata.timestamp),
        (Some(Offset(105)), Timestamp(70))
    );
    assert_eq!(
        (metadata.serialized_key_size, metadata.serialized_value_size),
        (None, Some(1))
    );
}

/// A-91, W-18: no base offset means no offset; the broker's time replaces the record's.
#[test]
fn an_unknown_base_offset_gives_no_offset() {
    let promise = promise();
    let delivery = delivery(&promise, 5);
    promise.completion().settle(written(None, Some(99)));
    let metadata = delivery.outcome().expect("settled").expect("written");
    assert_eq!((metadata.offset, metadata.timestamp), (None, Timestamp(99)));
}

/// the first outcome stays.
#[test]
fn a_batch_is_settled_once() {
    let promise = promise();
    let delivery = delivery(&promise, 0);
    assert!(!delivery.is_done());
    assert_eq!(promise.completion().settle(written(Some(1), None)), Settled::Now);
    assert!(delivery.is_done());
    let error = SendError::new(SendErrorKind::ClosedForcefully);
    assert_eq!(
        promise.completion().settle(BatchOutcome::Failed(error.into())),
        Settled::Before
    );
    assert!(delivery.outcome().expect("settled").is_ok());
}

/// every waiting task is woken, once.
#[test]
fn an_outcome_wakes_every_task_once() {
    let promise = promise();
    let (first, second) = (task(), task());
    let mut deliveries: Vec<_> = (0..4).map(|index| delivery(&promise, index)).collect();
    for delivery in &mut deliveries {
        assert!(first.poll(delivery).is_pending());
    }
    assert!(second.poll(&mut deliveries[3]).is_pending());
    promise.completion().settle(written(Some(0), None));
    assert_eq!((first.wakes(), second.wakes()), (1, 1));
    assert!(second.poll(&mut deliveries[3]).is_ready());
}

/// Bound: a delivery that moves between tasks again and again keeps one entry.
#[test]
fn waiting_again_and_again_does_not_grow_the_list() {
    let promise = promise();
    let tasks = [task(), task(), task()];
    let mut deliveries: Vec<_> = (0..2).map(|index| delivery(&promise, index)).collect();
    for turn in 0..30 {
        for delivery in &mut deliveries {
            assert!(tasks[turn % 3].poll(delivery).is_pending());
        }
    }
    assert!(waiters(&promise) <= deliveries.len());
    promise.completion().settle(written(Some(0), None));
    assert!(tasks[29 % 3].wakes() >= 1);
}

/// A-92, S-72: listed records get their own error, the others the error of the batch.
#[test]
fn a_listed_record_gets_its_own_error() {
    let promise = promise();
    let own = SendError::new(SendErrorKind::Broker(ErrorCode::InvalidRecord));
    let others = SendError::new(SendErrorKind::BatchHadInvalidRecords);
    let failure = BatchFailure::per_record(vec![(4, own.clone()), (1, own)], others);
    promise.completion().settle(BatchOutcome::Failed(failure));
    let code = |index| {
        delivery(&promise, index)
            .outcome()
            .expect("settled")
            .expect_err("failed")
            .code()
    };
    assert_eq!(
        [0, 1, 2, 4].map(code),
        [
            None,
            Some(ErrorCode::InvalidRecord),
            None,
            Some(ErrorCode::InvalidRecord)
        ]
    );
}

/// P-47: nothing is lost silently.
#[test]
fn a_dropped_batch_fails_its_records() {
    let promise = promise();
    let waiting = task();
    let mut delivery = delivery(&promise, 0);
    assert!(waiting.poll(&mut delivery).is_pending());
    drop(promise);
    assert_eq!(waiting.wakes(), 1);
    let error = delivery.outcome().expect("settled").expect_err("failed");
    assert!(matches!(error.kind(), SendErrorKind::ProducerGone) && error.may_be_written());
    assert_eq!(error.topic_partition(), Some(&TopicPartition::new("orders", 3)));
}
