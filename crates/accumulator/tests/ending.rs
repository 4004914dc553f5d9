//! How batches end without the broker: expiry, abort, close; and what a flush and the end of a transaction wait for.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use kommit_accumulator::{
    AccumulatorConfig, AppendRefusal, Fate, GateReason, SendError, SendErrorKind, Settled,
};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{Offset, PartitionId};
use support::{BATCH_SIZE, Scene, TIMEOUT, aborted, config, error_of, record, scene, scene_with, values};

fn closed_forcefully() -> SendError {
    SendError::new(SendErrorKind::ClosedForcefully)
}

/// a batch expires when its timeout is reached, counted from its first record; younger ones stay.
#[test]
fn a_queued_batch_expires_with_its_timeout() {
    let mut scene = scene(1);
    let old = scene.send(0, b"a");
    scene.fill_batch(0);
    scene.pass(Duration::from_millis(1));
    let _young = scene.send(0, b"b");
    scene.drainer.collect();
    let expiry = scene.drainer.next_expiry();
    assert_eq!(expiry, Instant::from_millis(1_000) + TIMEOUT);
    scene.pass(TIMEOUT - Duration::from_millis(2));
    assert!(scene.drainer.expired(scene.instant()).is_empty());
    scene.pass(Duration::from_millis(1));
    let mut expired = scene.drainer.expired(scene.instant());
    assert_eq!(expired.len(), 1);
    let batch = expired.remove(0);
    assert_eq!((batch.stamp(), batch.fate()), (None, Fate::NotWritten));
    let error = batch.error(scene.instant());
    assert_eq!(batch.fail(error), Settled::Now);
    assert!(!error_of(&old).may_be_written());
    assert_eq!(scene.drainer.next_expiry(), expiry + Duration::from_millis(1));
}

/// A-70, S-44: retries and muted partitions expire too; what was sent may have been written.
#[test]
fn a_retry_expires_and_remembers_its_attempts() {
    let mut scene = scene(1);
    let delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let mut batch = scene.sent_one();
    batch.join_fate(Fate::MayBeWritten);
    let (partition, now) = (batch.partition(), scene.instant());
    scene.drainer.requeue(batch, now);
    scene.drainer.mute(partition);
    scene.pass(TIMEOUT);
    let expired = scene.drainer.expired(scene.instant()).remove(0);
    assert_eq!(expired.stamp().unwrap().base_sequence().unwrap().number(), 0);
    let error = expired.error(scene.instant());
    expired.fail(error);
    assert!(error_of(&delivery).may_be_written());
    assert!(!scene.drainer.has_undrained() && scene.drainer.nothing_incomplete().is_some());
}

/// nothing queued, nothing to expire; an endless timeout never comes (S-47).
#[test]
fn without_queued_batches_nothing_expires() {
    let mut scene = scene(1);
    assert_eq!(scene.drainer.next_expiry(), Instant::NEVER);
    let _delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let _in_flight = scene.sent_one();
    assert_eq!(scene.drainer.next_expiry(), Instant::NEVER);
}

/// S-45: expiry of what was never sent frees its memory at once.
#[test]
fn an_expired_batch_that_was_never_sent_frees_its_page() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    scene.drainer.collect();
    scene.pass(TIMEOUT);
    let expired = scene.drainer.expired(scene.instant());
    assert_eq!(
        (expired.len(), scene.accumulator.available_memory()),
        (1, 100 * BATCH_SIZE)
    );
}

/// S-45, S-69, A-90: an in-flight batch can get its outcome early; the late answer changes nothing.
#[test]
fn a_batch_in_flight_can_end_before_its_answer() {
    let mut scene = scene(1);
    let delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let held = batch.hold();
    assert_eq!(
        scene.drainer.fail_in_flight(&held, closed_forcefully()),
        Settled::Now
    );
    assert!(batch.outcome_given() && scene.drainer.nothing_incomplete().is_some());
    assert_eq!(scene.accumulator.available_memory(), 99 * BATCH_SIZE);
    assert_eq!(
        scene.drainer.complete(batch, Some(Offset(1)), None),
        Settled::Before
    );
    assert_eq!(error_of(&delivery).kind(), &SendErrorKind::ClosedForcefully);
    assert_eq!(scene.accumulator.available_memory(), 100 * BATCH_SIZE);
}

/// an abort fails what was never drained, and leaves sequenced batches alone.
#[test]
fn an_abort_fails_only_what_was_never_drained() {
    let mut scene = scene(2);
    let sent = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let in_flight = scene.sent_one();
    let retried = scene.send(1, b"b");
    let batch = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    let unsent = [scene.send(0, b"c"), scene.send(1, b"d")];
    scene.fill_batch(0);

    scene.drainer.abort_undrained(aborted());
    for delivery in &unsent {
        assert_eq!(error_of(delivery).kind(), &SendErrorKind::TransactionAborted);
    }
    assert!(sent.outcome().is_none() && retried.outcome().is_none());
    assert!(scene.drainer.has_undrained());
    scene.pass(Duration::from_millis(100));
    assert_eq!(scene.sent_one().attempts(), 1);
    drop(in_flight);
}

/// W-14: nothing is left of a batch that was aborted: its page is used again from the beginning, and its records are counted anew.
#[test]
fn the_page_of_an_aborted_batch_begins_anew() {
    let one_page = AccumulatorConfig {
        buffer_memory: BATCH_SIZE,
        ..config()
    };
    let mut scene = scene_with(1, one_page);
    let gone = [scene.send(0, b"aborted"), scene.send(0, b"aborted")];
    scene.drainer.abort_undrained(aborted());
    assert!(gone.iter().all(|delivery| delivery.outcome().is_some()));
    let _kept = scene.send(0, b"kept");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    assert_eq!(
        (batch.record_count(), values(&batch)),
        (1, vec![b"kept".to_vec()])
    );
    // Behind the header: length, attributes, two deltas, no key, the value behind its length, no headers.
    assert_eq!(batch.size(), 61 + 1 + 1 + 2 + 1 + 1 + 4 + 1);
}

/// queued is what has not left or has come back, incomplete whatever has no outcome.
#[test]
fn undrained_and_incomplete_are_different_sets() {
    let mut scene = scene(1);
    let sets = |scene: &Scene| {
        let drainer = &scene.drainer;
        (drainer.has_undrained(), drainer.nothing_incomplete().is_none())
    };
    assert_eq!(sets(&scene), (false, false));
    let _delivery = scene.send(0, b"a");
    assert_eq!(sets(&scene), (true, true));
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    assert_eq!(sets(&scene), (false, true));
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    assert_eq!(sets(&scene), (true, true));
    scene.pass(Duration::from_millis(100));
    let batch = scene.sent_one();
    scene.drainer.complete(batch, None, None);
    assert_eq!(sets(&scene), (false, false));
}

/// a forced close fails everything; what is in flight keeps its bytes and may have been written.
#[test]
fn a_forced_close_fails_everything() {
    let mut scene = scene(3);
    let in_flight = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let retried = scene.send(1, b"b");
    let retry = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(retry, now);
    let queued = scene.send(2, b"c");

    scene.accumulator.gate().close(GateReason::ProducerClosed);
    scene.drainer.abort_all(closed_forcefully());
    let fates = [&in_flight, &retried, &queued].map(|delivery| error_of(delivery).fate());
    assert_eq!(fates, [Fate::MayBeWritten, Fate::NotWritten, Fate::NotWritten]);
    assert!(!scene.drainer.has_undrained() && scene.drainer.nothing_incomplete().is_some());
    assert_eq!(scene.accumulator.available_memory(), 99 * BATCH_SIZE);
    drop(batch);
    assert_eq!(scene.accumulator.available_memory(), 100 * BATCH_SIZE);
}

/// P-47: who drops the core drops nothing silently.
#[test]
fn a_dropped_drainer_fails_what_is_queued() {
    let scene = scene(1);
    let delivery = scene.send(0, b"a");
    drop(scene.drainer);
    assert_eq!(error_of(&delivery).kind(), &SendErrorKind::ProducerGone);
    let refusal = scene.accumulator.gate().check(None);
    assert_eq!(refusal, Err(GateReason::ProducerClosed));
}

/// T-40: the proof that nothing is incomplete exists only when every batch has its outcome.
#[test]
fn nothing_is_incomplete_only_after_the_last_outcome() {
    let mut scene = scene(2);
    assert!(scene.drainer.nothing_incomplete().is_some());
    let _deliveries = [scene.send(0, b"a"), scene.send(1, b"b")];
    scene.drainer.begin_flush();
    let mut batches = scene.sent();
    scene.drainer.complete(batches.remove(0), None, None);
    assert!(scene.drainer.nothing_incomplete().is_none());
    scene.drainer.complete(batches.remove(0), None, None);
    assert!(scene.drainer.nothing_incomplete().is_some());
}

/// a flush waits for what was appended before it, in whichever state, and for nothing after it.
#[test]
fn a_flush_waits_for_what_was_there_when_it_began() {
    let mut scene = scene(3);
    let _in_flight = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let _retried = scene.send(1, b"b");
    let retry = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(retry, now);
    let _queued = scene.send(2, b"c");

    let watches = scene.drainer.incomplete_completions();
    assert_eq!(watches.len(), 3);
    let _later = scene.send(2, b"d");
    scene.fill_batch(2);
    let _much_later = scene.send(2, b"e");

    let mut flushed = pin!(async {
        for watch in watches {
            watch.await;
        }
    });
    let mut context = Context::from_waker(Waker::noop());
    scene.drainer.complete(batch, None, None);
    let queued = scene.sent_one();
    scene.drainer.complete(queued, None, None);
    assert!(flushed.as_mut().poll(&mut context).is_pending());
    scene.pass(Duration::from_millis(100));
    let (retries, later): (Vec<_>, Vec<_>) =
        scene.sent().into_iter().partition(|batch| batch.attempts() == 1);
    for retry in retries {
        scene.drainer.complete(retry, None, None);
    }
    assert!(flushed.as_mut().poll(&mut context).is_ready());
    assert_eq!(
        (later.len(), scene.drainer.incomplete_completions().len()),
        (1, 1)
    );
}

/// H07: a partition that stops fails what waits in it and is certainly not written, stamped or not, and keeps what may be written.
#[test]
fn a_stopped_partition_keeps_only_what_may_be_written() {
    let mut scene = scene(1);
    scene.drainer.begin_flush();
    let sent: Vec<_> = (0..2).map(|_| (scene.send(0, b"a"), scene.sent_one())).collect();
    let queued = scene.send(0, b"b");
    let (partition, now) = (scene.index(0), scene.instant());
    let mut deliveries = Vec::new();
    for ((delivery, mut batch), fate) in sent.into_iter().zip([Fate::MayBeWritten, Fate::NotWritten]) {
        batch.join_fate(fate);
        scene.drainer.requeue(batch, now);
        deliveries.push(delivery);
    }

    let error = SendError::new(SendErrorKind::BehindGap);
    let given_up = scene.drainer.stop(partition, error);
    let names: Vec<_> = given_up
        .iter()
        .map(|batch| (batch.stamp.base_sequence().unwrap().number(), batch.records))
        .collect();
    assert_eq!(names, [(1, 1)]);
    assert!(deliveries[0].outcome().is_none());
    for delivery in [&deliveries[1], &queued] {
        let error = error_of(delivery);
        assert_eq!(
            (error.kind(), error.fate()),
            (&SendErrorKind::BehindGap, Fate::NotWritten)
        );
    }
    scene.pass(Duration::from_millis(100));
    assert_eq!(scene.sent_one().fate(), Fate::MayBeWritten);
}

/// H07: a stopped partition takes no record until it is resumed; a record that sticks nowhere in particular goes to another one.
#[test]
fn a_stopped_partition_takes_no_record_until_it_is_resumed() {
    let mut scene = scene(2);
    let _known = [scene.send(0, b"a"), scene.send(1, b"b")];
    let stopped = scene.index(0);
    scene
        .drainer
        .stop(stopped, SendError::new(SendErrorKind::BehindGap));
    let named = scene.try_send(Some(0), &record(b"c"), &mut None);
    let partition = PartitionId(0);
    assert_eq!(named.err(), Some(AppendRefusal::Stopped { partition }));
    for _ in 0..20 {
        let sticky = scene.send_record(None, &record(b"d"));
        assert!(sticky.outcome().is_none(), "it waits in partition 1");
    }
    scene.drainer.resume(stopped);
    assert!(scene.send(0, b"e").outcome().is_none());
}
