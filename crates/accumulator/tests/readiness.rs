//! When a partition is ready, for which node, and when to look again.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use kommit_accumulator::{Completing, Leader};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{LeaderEpoch, NodeId};
use support::{BATCH_SIZE, LINGER, NODE, Scene, scene};

const BACKOFF: Duration = Duration::from_millis(100);

fn is_ready(scene: &mut Scene) -> bool {
    !scene.ready().nodes.is_empty()
}

/// a batch that is not full waits for `linger.ms`, and the next look is due then.
#[test]
fn a_half_full_batch_lingers() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    let created = scene.instant();
    let ready = scene.ready();
    assert_eq!(
        (ready.nodes.len(), scene.drainer.next_check()),
        (0, created + LINGER)
    );
    scene.pass(LINGER - Duration::from_millis(1));
    assert!(!is_ready(&mut scene));
    scene.pass(Duration::from_millis(1));
    let ready = scene.ready();
    assert_eq!(ready.nodes, BTreeSet::from([NODE]));
    assert_eq!(scene.drainer.next_check(), Instant::NEVER);
}

/// a full batch does not linger; the half-full one behind it does.
#[test]
fn a_full_batch_is_ready_at_once() {
    let mut scene = scene(1);
    let _first = scene.send(0, b"a");
    scene.fill_batch(0);
    let _second = scene.send(0, b"b");
    assert!(is_ready(&mut scene));
    assert_eq!(scene.drain(support::MAX_SIZE).batches.len(), 1);
    assert!(!is_ready(&mut scene));
}

/// a flush makes everything sendable, for as long as it runs.
#[test]
fn a_flush_ends_the_lingering() {
    let mut scene = scene(2);
    let _first = scene.send(0, b"a");
    assert!(!is_ready(&mut scene));
    scene.drainer.begin_flush();
    assert!(is_ready(&mut scene));
    assert_eq!(scene.drain(support::MAX_SIZE).batches.len(), 1);
    scene.drainer.end_flush();
    let _second = scene.send(1, b"b");
    assert!(!is_ready(&mut scene));
}

/// batches that became sendable by a flush linger again when it ended before they were drained.
#[test]
fn a_flush_that_ended_leaves_no_batch_stuck() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    assert!(is_ready(&mut scene));
    scene.drainer.end_flush();
    assert!(!is_ready(&mut scene));
    scene.pass(LINGER);
    assert!(is_ready(&mut scene));
}

/// so do the end of a transaction, a closed producer, and somebody who waits for memory.
#[test]
fn completing_closing_and_short_memory_end_the_lingering() {
    let mut completing = scene(1);
    let _delivery = completing.send(0, b"a");
    completing.drainer.set_completing(Completing::Yes);
    assert!(is_ready(&mut completing));

    let mut closed = scene(1);
    let _delivery = closed.send(0, b"a");
    closed.accumulator.close();
    assert!(is_ready(&mut closed));

    let mut exhausted = scene(1);
    let _delivery = exhausted.send(0, b"a");
    let accumulator = exhausted.accumulator.clone();
    let mut wait = Box::pin(accumulator.page(100 * BATCH_SIZE));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    assert!(is_ready(&mut exhausted));
    drop(wait);
    assert!(!is_ready(&mut exhausted));
}

/// a batch for a partition without leader asks for metadata, and leaves as soon as there is one.
#[test]
fn a_partition_without_leader_names_its_topic() {
    let mut scene = scene(1);
    let leader = scene.leaders.remove(&0).unwrap();
    let _delivery = scene.send(0, b"a");
    scene.fill_batch(0);
    let ready = scene.ready();
    assert!(ready.nodes.is_empty());
    assert_eq!(
        ready
            .unknown_leader_topics
            .iter()
            .map(|topic| &**topic)
            .collect::<Vec<_>>(),
        ["orders"]
    );
    scene.leaders.insert(0, leader);
    let ready = scene.ready();
    assert!(ready.unknown_leader_topics.is_empty());
    assert_eq!(ready.nodes, BTreeSet::from([NODE]));
}

/// a ready partition follows its leader.
#[test]
fn a_ready_partition_moves_with_its_leader() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    scene.fill_batch(0);
    assert_eq!(scene.ready().nodes, BTreeSet::from([NODE]));
    scene.leaders.insert(
        0,
        Leader {
            node: NodeId(2),
            epoch: Some(LeaderEpoch(2)),
        },
    );
    assert_eq!(scene.ready().nodes, BTreeSet::from([NodeId(2)]));
    assert!(scene.drain(support::MAX_SIZE).batches.is_empty());
}

/// S-77, A-42, A-88: a muted partition is not ready, not even for a flush.
#[test]
fn a_muted_partition_is_not_ready() {
    let mut scene = scene(2);
    let _deliveries = [scene.send(0, b"a"), scene.send(1, b"b")];
    let first = scene.index(0);
    scene.drainer.mute(first);
    scene.drainer.mute(first);
    scene.drainer.begin_flush();
    assert_eq!(support::partitions(&scene.sent()), [1]);
    assert!(!is_ready(&mut scene));
    scene.drainer.unmute(first);
    assert_eq!(support::partitions(&scene.sent()), [0]);
}

/// a retry waits for its backoff, counted from the failure, whatever else is urgent; the next look is due at its end.
#[test]
fn a_retry_waits_for_its_backoff() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    scene.pass(Duration::from_millis(40));
    let failed = scene.instant();
    scene.drainer.requeue(batch, failed);
    let ready = scene.ready();
    assert_eq!(
        (ready.nodes.len(), scene.drainer.next_check()),
        (0, failed + BACKOFF)
    );
    scene.pass(BACKOFF - Duration::from_millis(1));
    assert!(!is_ready(&mut scene));
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.sent_one().attempts(), 1);
}

/// linger never delays a retry, nor what is queued behind it once the retry has left.
#[test]
fn a_retry_holds_back_what_is_behind_it() {
    let mut scene = scene(1);
    let _first = scene.send(0, b"a");
    scene.fill_batch(0);
    let batch = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    let _second = scene.send(0, b"b");
    scene.fill_batch(0);
    assert!(!is_ready(&mut scene));
    scene.pass(BACKOFF);
    assert_eq!(support::sequences(&scene.sent()), [0]);
    assert_eq!(scene.sent().len(), 1);
}

/// S-76: a new leader makes a retry immediate, once.
#[test]
fn a_new_leader_ends_the_backoff_once() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    assert!(!is_ready(&mut scene));
    scene.leaders.insert(
        0,
        Leader {
            node: NODE,
            epoch: Some(LeaderEpoch(2)),
        },
    );
    let batch = scene.sent_one();
    scene.drainer.requeue(batch, now);
    assert!(!is_ready(&mut scene));
    scene.pass(BACKOFF);
    assert!(is_ready(&mut scene));
}

/// an epoch that is not higher, or not known, changes nothing.
#[test]
fn an_old_leader_epoch_does_not_end_the_backoff() {
    let mut scene = scene(1);
    let _delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    for epoch in [Some(LeaderEpoch(0)), Some(LeaderEpoch(1)), None] {
        scene.leaders.insert(0, Leader { node: NODE, epoch });
        assert!(!is_ready(&mut scene), "{epoch:?}");
    }
}

/// Principle "O(ready), never O(all)": who is not ready is not asked for.
#[test]
fn only_ready_partitions_are_looked_up() {
    let mut scene = scene(50);
    let _deliveries: Vec<_> = (0..50).map(|partition| scene.send(partition, b"a")).collect();
    scene.fill_batch(7);
    scene.drainer.collect();
    let asked = std::cell::RefCell::new(Vec::new());
    let leader = |at: &kommit_protocol::units::TopicPartition| {
        asked.borrow_mut().push(at.partition.0);
        Some(Leader {
            node: NODE,
            epoch: None,
        })
    };
    scene.drainer.ready(scene.instant(), &leader);
    assert_eq!(asked.into_inner(), [7]);
}
