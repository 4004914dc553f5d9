//! A batch that the broker found too large, and the parts that it goes back in.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use kommit_accumulator::{
    AccumulatorConfig, Compression, Delivery, HeaderRef, RecordRef, SendErrorKind, Stamp, StampScope,
    StampedBatch,
};
use kommit_protocol::batch::BatchView;
use kommit_protocol::units::{Offset, PartitionIndex, Sequence, Timestamp};
use support::{BATCH_SIZE, IDENTITY, Scene, aborted, config, error_of, scene_with, sequences, values};

/// A batch of this many records of one byte is sent, with room for all of them.
fn sent_batch(records: u8, config: AccumulatorConfig) -> (Scene, StampedBatch, Vec<Delivery>) {
    let mut scene = scene_with(1, config);
    let deliveries = (0..records).map(|number| scene.send(0, &[number])).collect();
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    assert_eq!(batch.record_count(), u32::from(records));
    (scene, batch, deliveries)
}

fn large_batches() -> AccumulatorConfig {
    AccumulatorConfig {
        batch_size: 10 * BATCH_SIZE,
        ..config()
    }
}

/// Stamps one after the other from `base`, for parts of so many records.
fn stamps(base: i32, counts: &[u32]) -> Vec<Stamp> {
    let mut base_sequence = Sequence::new(base).unwrap();
    let stamp = |records: &u32| {
        let stamp = Stamp::Sequenced {
            identity: IDENTITY,
            base_sequence,
            scope: StampScope::Transactional,
        };
        base_sequence = base_sequence.advanced_by(*records);
        stamp
    };
    counts.iter().map(stamp).collect()
}

/// Splits a batch under its own sequences, and returns how many records the parts have.
fn split(scene: &mut Scene, batch: StampedBatch) -> Vec<u32> {
    let base = batch.stamp().base_sequence().unwrap().number();
    let split = scene.drainer.plan_split(batch).unwrap();
    let counts = split.record_counts();
    scene
        .drainer
        .requeue_parts(split, &stamps(base, &counts))
        .unwrap();
    counts
}

fn written(scene: &mut Scene, batch: StampedBatch, offset: i64) {
    scene.drainer.complete(batch, Some(Offset(offset)), None);
}

fn offsets(deliveries: &[Delivery]) -> Vec<i64> {
    deliveries
        .iter()
        .map(|delivery| delivery.outcome().unwrap().unwrap().offset.unwrap().0)
        .collect()
}

/// a batch is cut in two halves first; the order of the records stays.
#[test]
fn a_batch_is_cut_in_halves() {
    let (mut scene, batch, _deliveries) = sent_batch(100, large_batches());
    let half = batch.size() / 2;
    let counts = split(&mut scene, batch);
    assert_eq!(counts.iter().sum::<u32>(), 100);
    let mut seen = Vec::new();
    for records in counts {
        let part = scene.sent_one();
        assert!(part.size() <= half, "{} of {half}", part.size());
        assert_eq!(part.record_count(), records);
        seen.extend(values(&part));
        written(&mut scene, part, 0);
    }
    assert_eq!(seen, (0..100).map(|number| vec![number]).collect::<Vec<_>>());
}

/// the parts of a compressed batch are compressed as well. A-74: halving a size that compression has made small leaves small parts.
#[test]
fn the_parts_of_a_compressed_batch_are_compressed() {
    let config = AccumulatorConfig {
        compression: Compression::Lz4,
        ..large_batches()
    };
    let mut scene = scene_with(1, config);
    for number in 0..12 {
        drop(scene.send(0, &[number; 60]));
    }
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let half = batch.size() / 2;
    let counts = split(&mut scene, batch);
    assert!(counts.len() > 2, "{counts:?}");
    let mut seen = Vec::new();
    for _ in counts {
        let part = scene.sent_one();
        assert!(part.size() <= half, "{} of {half}", part.size());
        let view = BatchView::parse(&part.bytes()).unwrap();
        assert_eq!(view.header.attributes.compression().unwrap(), Compression::Lz4);
        seen.extend(values(&part));
        drop(view);
        written(&mut scene, part, 0);
    }
    assert_eq!(seen, (0..12).map(|number| vec![number; 60]).collect::<Vec<_>>());
}

/// a part has its own numbering, and everything else of its records as it was.
#[test]
fn a_part_keeps_everything_of_its_records() {
    let headers = [HeaderRef {
        key: "k",
        value: Some(b"v"),
    }];
    let mut scene = scene_with(1, large_batches());
    let created = scene.instant();
    for number in 0..20_u8 {
        let bytes = [number];
        let record = RecordRef {
            key: (number % 2 == 0).then_some(b"key"),
            value: (number % 3 == 0).then_some(&bytes[..]),
            headers: &headers[..usize::from(number % 2)],
            timestamp: Some(Timestamp(1_000 - i64::from(number))),
        };
        drop(scene.send_record(Some(0), &record));
    }
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let whole = BatchView::parse(&Bytes::copy_from_slice(&batch.bytes())).unwrap();
    let mut expected = whole.records(1 << 20).unwrap().map(Result::unwrap);
    for count in split(&mut scene, batch) {
        let part = scene.sent_one();
        assert_eq!((part.created(), part.attempts()), (created, 0));
        let view = BatchView::parse(&part.bytes()).unwrap();
        view.verify_crc().unwrap();
        assert_eq!(view.header.record_count, count);
        let mut latest = Timestamp(i64::MIN);
        for (place, record) in view.records(1 << 20).unwrap().map(Result::unwrap).enumerate() {
            let before = expected.next().unwrap();
            assert_eq!(record.offset_delta, i32::try_from(place).unwrap());
            assert_eq!(
                (record.timestamp, &record.key, &record.value, &record.headers),
                (before.timestamp, &before.key, &before.value, &before.headers)
            );
            latest = latest.max(record.timestamp);
        }
        assert_eq!(view.header.max_timestamp, latest);
        drop(view);
        written(&mut scene, part, 0);
    }
    assert!(expected.next().is_none());
}

/// nobody sees that the batch was split; each record has its offset from its part.
#[test]
fn deliveries_follow_their_parts() {
    let (mut scene, batch, deliveries) = sent_batch(12, large_batches());
    let counts = split(&mut scene, batch);
    assert!(deliveries.iter().all(|delivery| delivery.outcome().is_none()));
    let mut expected = Vec::new();
    for (records, base) in counts.iter().zip((100..).step_by(100)) {
        let part = scene.sent_one();
        written(&mut scene, part, base);
        expected.extend((0..i64::from(*records)).map(|index| base + index));
    }
    assert_eq!(offsets(&deliveries), expected);
}

/// the parts leave before everything else of their partition, in order, each with its own sequence.
#[test]
fn parts_leave_in_the_order_of_their_sequences() {
    let (mut scene, batch, _deliveries) = sent_batch(12, large_batches());
    drop(scene.send(0, b"behind"));
    let behind = scene.sent_one();
    let now = scene.instant();
    scene.drainer.requeue(behind, now);
    drop(scene.send(0, b"last"));
    let counts = split(&mut scene, batch);
    scene.pass(Duration::from_millis(200));
    let mut sent = Vec::new();
    for _ in 0..counts.len() + 2 {
        let batch = scene.sent_one();
        sent.extend(sequences(std::slice::from_ref(&batch)));
        written(&mut scene, batch, 0);
    }
    let mut expected: Vec<i32> = stamps(0, &counts)
        .iter()
        .map(|stamp| stamp.base_sequence().unwrap().number())
        .collect();
    expected.extend([12, 13]);
    assert_eq!(sent, expected);
}

/// without sequences, too.
#[test]
fn parts_without_sequences_leave_in_order() {
    let (mut scene, batch, _deliveries) = sent_batch(12, large_batches());
    scene.gate.anonymous = true;
    drop(scene.send(0, b"behind"));
    let plan = scene.drainer.plan_split(batch).unwrap();
    let stamps = vec![Stamp::Anonymous; plan.record_counts().len()];
    scene.drainer.requeue_parts(plan, &stamps).unwrap();
    let mut seen = Vec::new();
    for _ in 0..=stamps.len() {
        let part = scene.sent_one();
        seen.extend(values(&part));
        written(&mut scene, part, 0);
    }
    assert_eq!(seen[11], [11]);
    assert_eq!(seen[12], b"behind");
}

/// a part can be split again, down to single records; M36: the sequences stay those of the records.
#[test]
fn parts_are_split_down_to_single_records() {
    let (mut scene, batch, deliveries) = sent_batch(9, large_batches());
    split(&mut scene, batch);
    let mut sent = Vec::new();
    while scene.drainer.has_undrained() {
        let part = scene.sent_one();
        if part.record_count() > 1 {
            split(&mut scene, part);
        } else {
            let offset = i64::from(part.stamp().base_sequence().unwrap().number());
            sent.push(values(&part)[0][0]);
            written(&mut scene, part, offset);
        }
    }
    assert_eq!(sent, (0..9).collect::<Vec<_>>());
    assert_eq!(offsets(&deliveries), (0..9).collect::<Vec<_>>());
    assert!(scene.drainer.nothing_incomplete().is_some());
}

/// a split takes no memory, and the page comes back when the last part has ended.
#[test]
fn a_split_takes_no_memory() {
    let config = AccumulatorConfig {
        buffer_memory: 10 * BATCH_SIZE,
        ..large_batches()
    };
    let (mut scene, batch, _deliveries) = sent_batch(50, config);
    assert_eq!(scene.accumulator.available_memory(), 0);
    for _ in split(&mut scene, batch) {
        assert_eq!(scene.accumulator.available_memory(), 0);
        let part = scene.sent_one();
        written(&mut scene, part, 0);
    }
    assert_eq!(scene.accumulator.available_memory(), 10 * BATCH_SIZE);
}

/// R2, R11: as long as a request still holds the bytes of the batch, its parts are not written over them.
#[test]
fn parts_wait_until_nobody_reads_the_batch() {
    let (mut scene, batch, _deliveries) = sent_batch(12, large_batches());
    let on_the_wire = batch.bytes();
    let before = on_the_wire.to_vec();
    split(&mut scene, batch);
    assert!(scene.sent().is_empty());
    assert_eq!(on_the_wire, before);
    let next = scene.drainer.next_check();
    assert!(next > scene.instant(), "it is looked at again, not at once");
    drop(on_the_wire);
    scene.pass(next - scene.instant());
    assert_eq!(scene.sent().len(), 1);
}

/// a part that waits can get another stamp before it is written.
#[test]
fn a_waiting_part_can_be_stamped_anew() {
    let (mut scene, batch, _deliveries) = sent_batch(12, large_batches());
    split(&mut scene, batch);
    let stamp = stamps(700, &[1])[0];
    scene
        .drainer
        .restamp(PartitionIndex(0), Sequence::ZERO, stamp)
        .unwrap();
    let part = scene.sent_one();
    let view = BatchView::parse(&part.bytes()).unwrap();
    view.verify_crc().unwrap();
    assert_eq!(view.header.base_sequence, stamp.base_sequence());
}

/// without a stamp for each part nothing happens to the batch.
#[test]
fn parts_without_stamps_are_not_queued() {
    let (mut scene, batch, deliveries) = sent_batch(12, large_batches());
    let before = batch.bytes().to_vec();
    let split = scene.drainer.plan_split(batch).unwrap();
    let whole = scene.drainer.requeue_parts(split, &[]).unwrap_err().into_whole();
    assert_eq!(whole.bytes(), before);
    assert!(deliveries[0].outcome().is_none() && !scene.drainer.has_undrained());
    scene.drainer.fail(whole, aborted());
    assert_eq!(
        *error_of(&deliveries[0]).kind(),
        SendErrorKind::TransactionAborted
    );
}

/// parts expire when the batch would have, and were never sent.
#[test]
fn parts_expire_together() {
    let (mut scene, batch, deliveries) = sent_batch(12, large_batches());
    let parts = split(&mut scene, batch).len();
    scene.pass(support::TIMEOUT);
    let now = scene.instant();
    let expired = scene.drainer.expired(now);
    assert_eq!(expired.len(), parts);
    for part in expired {
        assert!(part.stamp().is_some() && part.stamped().is_none());
        let error = part.error(now);
        part.fail(error);
    }
    let is_unwritten = |delivery| !error_of(delivery).may_be_written();
    assert!(deliveries.iter().all(is_unwritten));
    assert!(scene.drainer.nothing_incomplete().is_some());
}

/// a forced end tells the records of all parts, that in flight included.
#[test]
fn an_end_of_everything_ends_all_parts() {
    let (mut scene, batch, deliveries) = sent_batch(12, large_batches());
    split(&mut scene, batch);
    let first = scene.sent_one();
    scene.drainer.abort_all(aborted());
    let fates: Vec<bool> = deliveries
        .iter()
        .map(|delivery| error_of(delivery).may_be_written())
        .collect();
    let in_flight = usize::try_from(first.record_count()).unwrap();
    assert!(fates[..in_flight].iter().all(|may| *may));
    assert!(fates[in_flight..].iter().all(|may| !may));
    assert!(scene.drainer.nothing_incomplete().is_some() && !scene.drainer.has_undrained());
}
