//! The order in which batches leave, what holds them back, and what happens to those that come back.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use kommit_accumulator::{AccumulatorConfig, Compression, Left, RestampRefusal, Stamp, StampScope};
use kommit_protocol::batch::BatchView;
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId, Sequence};
use support::{MAX_SIZE, Scene, config, partitions, scene, scene_with, sequences, values};

/// A scene in which every partition has `batches` full batches.
fn full_scene(partitions: u32, batches: usize) -> Scene {
    let scene = scene(partitions);
    for partition in 0..i32::try_from(partitions).unwrap() {
        for _ in 0..batches {
            drop(scene.send(partition, b"a"));
            scene.fill_batch(partition);
        }
    }
    scene
}

/// Drains the one partition of a scene `count` times.
fn sent_in_turn(scene: &mut Scene, count: usize) -> Vec<kommit_accumulator::StampedBatch> {
    (0..count).map(|_| scene.sent_one()).collect()
}

/// one batch per partition and drain.
#[test]
fn a_drain_takes_one_batch_from_every_partition() {
    let mut scene = full_scene(3, 2);
    scene.ready();
    let drained = scene.drain(MAX_SIZE);
    assert_eq!(
        (partitions(&drained.batches), drained.left),
        (vec![0, 1, 2], Left::Sendable)
    );
    let drained = scene.drain(MAX_SIZE);
    assert_eq!((drained.batches.len(), drained.left), (3, Left::Nothing));
    assert_eq!(scene.drain(MAX_SIZE).left, Left::Nothing);
}

/// what did not fit goes first the next time, so that every partition gets its turn.
#[test]
fn partitions_are_served_in_turn() {
    let mut scene = full_scene(3, 4);
    scene.ready();
    let two = 2 * support::BATCH_SIZE;
    let turns: Vec<_> = (0..3).map(|_| partitions(&scene.drain(two).batches)).collect();
    assert_eq!(turns, [[0, 1], [2, 0], [1, 2]]);
}

/// a batch larger than the request goes alone.
#[test]
fn a_batch_larger_than_a_request_goes_alone() {
    let mut scene = full_scene(2, 1);
    scene.ready();
    let drained = scene.drain(1);
    assert_eq!(
        (partitions(&drained.batches), drained.left),
        (vec![0], Left::Sendable)
    );
}

/// what was ready a moment ago and is not any more is passed over.
#[test]
fn a_partition_that_was_muted_meanwhile_is_passed_over() {
    let mut scene = full_scene(3, 1);
    let muted = scene.index(1);
    scene.ready();
    scene.drainer.mute(muted);
    let drained = scene.drain(MAX_SIZE);
    assert_eq!(
        (partitions(&drained.batches), drained.left),
        (vec![0, 2], Left::Nothing)
    );
    scene.drainer.unmute(muted);
    assert_eq!(partitions(&scene.sent()), [1]);
}

/// a request is filled by what batches really have after their compression, not by what was expected.
#[test]
fn a_request_is_filled_by_real_sizes() {
    let config = AccumulatorConfig {
        batch_size: 2_000,
        compression: Compression::Lz4,
        ..config()
    };
    let mut scene = scene_with(3, config);
    for partition in 0..3 {
        drop(scene.send(partition, &[b'x'; 1_500]));
    }
    scene.drainer.begin_flush();
    scene.ready();
    // Each is expected to have 61 + 1507 * 1.05 bytes, and has less than a hundred once it is compressed.
    let drained = scene.drain(1_500 + 300);
    assert_eq!(
        (partitions(&drained.batches), drained.left),
        (vec![0, 1], Left::Sendable)
    );
}

/// stamps are consecutive and a batch keeps its own.
#[test]
fn stamps_follow_each_other() {
    let mut scene = full_scene(1, 3);
    let batches = sent_in_turn(&mut scene, 3);
    let count = i32::try_from(batches[0].record_count()).unwrap();
    assert_eq!(sequences(&batches), [0, count, 2 * count]);
    assert_eq!(batches[1].last_sequence().unwrap().number(), 2 * count - 1);
}

/// A-47, D-1: a partition that is held back does not starve the others.
#[test]
fn a_blocked_partition_does_not_starve_the_others() {
    let mut scene = full_scene(3, 1);
    let blocked = scene.index(0);
    scene.gate.blocked.insert(blocked);
    scene.ready();
    let drained = scene.drain(MAX_SIZE);
    assert_eq!(
        (partitions(&drained.batches), drained.left),
        (vec![1, 2], Left::Blocked)
    );
    scene.gate.blocked.clear();
    assert_eq!(partitions(&scene.sent()), [0]);
}

/// the gate is told the stamp of a batch that was sent before.
#[test]
fn the_gate_sees_the_stamp_of_a_retry() {
    let mut scene = full_scene(1, 1);
    let batch = scene.sent_one();
    let stamp = *batch.stamp();
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    scene.pass(Duration::from_millis(100));
    scene.sent_one();
    assert_eq!(scene.gate.asked_with_stamp, [None, Some(stamp)]);
}

/// R2, A-52: a retry keeps stamp and bytes.
#[test]
fn a_retry_keeps_stamp_and_bytes() {
    let mut scene = full_scene(1, 1);
    let batch = scene.sent_one();
    let (stamp, bytes) = (*batch.stamp(), batch.bytes());
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    scene.pass(Duration::from_millis(100));
    let again = scene.sent_one();
    assert_eq!(
        (again.stamp(), again.bytes(), again.attempts()),
        (&stamp, bytes, 1)
    );
}

/// batches that come back in any order leave in the order of their sequences.
#[test]
fn retries_leave_in_sequence_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let mut scene = full_scene(1, 3);
        let mut batches: Vec<_> = sent_in_turn(&mut scene, 3).into_iter().map(Some).collect();
        let now = scene.instant();
        for position in order {
            scene.drainer.requeue(batches[position].take().unwrap(), now);
        }
        scene.pass(Duration::from_millis(100));
        let again = sent_in_turn(&mut scene, 3);
        assert!(sequences(&again).is_sorted(), "{order:?}");
    }
}

/// A-63, D-7: behind i32::MAX comes 0, also in the order of retries.
#[test]
fn the_order_of_retries_reaches_across_the_wrap() {
    let mut scene = full_scene(1, 3);
    let index = scene.index(0);
    scene
        .gate
        .next
        .insert(index, Sequence::new(i32::MAX - 5).unwrap());
    let batches = sent_in_turn(&mut scene, 3);
    let before = sequences(&batches);
    assert!(before[2] < before[0], "the sequences wrap: {before:?}");
    // Four records in each.
    let last = batches
        .iter()
        .map(|batch| batch.last_sequence().unwrap().number());
    assert_eq!(last.collect::<Vec<_>>(), [i32::MAX - 2, 1, 5]);
    let now = scene.instant();
    for batch in batches.into_iter().rev() {
        scene.drainer.requeue(batch, now);
    }
    scene.pass(Duration::from_millis(100));
    assert_eq!(sequences(&sent_in_turn(&mut scene, 3)), before);
}

/// without sequences a batch that comes back goes to the head.
#[test]
fn an_anonymous_retry_goes_to_the_head() {
    let mut scene = full_scene(1, 2);
    scene.gate.anonymous = true;
    let batch = scene.sent_one();
    assert_eq!(batch.stamp(), &Stamp::Anonymous);
    let created = values(&batch);
    let now = scene.instant();
    scene.drainer.requeue(batch, now);
    scene.pass(Duration::from_millis(100));
    let again = scene.sent_one();
    assert_eq!((again.attempts(), values(&again)), (1, created));
}

/// a new batch may leave while earlier ones are in flight.
#[test]
fn five_batches_of_a_partition_can_be_in_flight() {
    let mut scene = full_scene(1, 5);
    assert_eq!(sent_in_turn(&mut scene, 5).len(), 5);
}

fn other_stamp() -> Stamp {
    Stamp::Sequenced {
        identity: Identity {
            id: ProducerId(8),
            epoch: ProducerEpoch(3),
        },
        base_sequence: Sequence::new(77).unwrap(),
        scope: StampScope::Idempotent,
    }
}

/// another stamp is written over the first; the records stay and the checksum is right.
#[test]
fn a_restamped_batch_has_another_header_and_the_same_records() {
    let mut scene = full_scene(1, 1);
    let mut batch = scene.sent_one();
    let before = values(&batch);
    batch.restamp(other_stamp()).unwrap();
    assert_eq!(values(&batch), before);
    let header = BatchView::parse(&batch.bytes()).unwrap().header;
    assert_eq!(
        (header.producer_id, header.producer_epoch),
        (ProducerId(8), ProducerEpoch(3))
    );
    assert_eq!(header.base_sequence, Sequence::new(77));
    assert!(!header.attributes.is_transactional());
}

/// R2: bytes that a request may still carry are not changed under it.
#[test]
fn bytes_in_use_are_not_restamped() {
    let mut scene = full_scene(1, 1);
    let mut batch = scene.sent_one();
    let on_the_wire = batch.bytes();
    let before = on_the_wire.to_vec();
    assert!(batch.restamp(other_stamp()).is_err());
    assert_eq!(
        (batch.stamp().base_sequence(), &on_the_wire[..]),
        (Some(Sequence::ZERO), &before[..])
    );
    drop(on_the_wire);
    assert!(batch.restamp(other_stamp()).is_ok());
}

/// T-70: a batch that waits for its retry can be renumbered in its queue.
#[test]
fn a_queued_retry_can_be_restamped() {
    let mut scene = full_scene(1, 1);
    let batch = scene.sent_one();
    let (partition, now) = (batch.partition(), scene.instant());
    scene.drainer.requeue(batch, now);
    let unknown = scene
        .drainer
        .restamp(partition, Sequence::new(5).unwrap(), other_stamp());
    assert_eq!(unknown, Err(RestampRefusal::NotQueued));
    scene
        .drainer
        .restamp(partition, Sequence::ZERO, other_stamp())
        .unwrap();
    scene.pass(Duration::from_millis(100));
    assert_eq!(scene.sent_one().stamp(), &other_stamp());
}
