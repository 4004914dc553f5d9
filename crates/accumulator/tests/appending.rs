//! From a record to its place in a batch: sizes, refusals, the doorbell, and what stands in the bytes.
#![allow(clippy::unwrap_used)]

mod support;

use kommit_accumulator::{AppendRefusal, GateReason, HeaderRef, RecordRef, TransactionNumber};
use kommit_protocol::batch::BatchView;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Offset, PartitionId, Timestamp};
use support::{BATCH_SIZE, config, record, scene, scene_with, values};

/// W-5, W-7, A-20, A-52: what was appended stands in the batch, under its stamp and with a right checksum.
#[test]
fn a_batch_holds_what_was_appended() {
    let mut scene = scene_with(
        1,
        kommit_accumulator::AccumulatorConfig {
            batch_size: 400,
            ..config()
        },
    );
    let headers = [
        HeaderRef {
            key: "a",
            value: Some(b"1"),
        },
        HeaderRef {
            key: "a",
            value: None,
        },
    ];
    let first = RecordRef {
        key: Some(b"k"),
        value: Some(b"v"),
        headers: &headers,
        timestamp: Some(Timestamp(500)),
    };
    let earlier = RecordRef {
        value: None,
        key: None,
        headers: &[],
        timestamp: Some(Timestamp(300)),
    };
    let latest = RecordRef {
        timestamp: Some(Timestamp(700)),
        ..earlier
    };
    let _deliveries = [&first, &latest, &earlier].map(|record| scene.send_record(Some(0), record));
    scene.drainer.begin_flush();
    let batch = scene.sent_one();

    let view = BatchView::parse(&batch.bytes()).unwrap();
    view.verify_crc().unwrap();
    assert_eq!(view.header.producer_id, support::IDENTITY.id);
    assert_eq!(view.header.base_sequence.unwrap().number(), 0);
    assert!(view.header.attributes.is_transactional());
    assert_eq!(
        (view.header.base_timestamp, view.header.max_timestamp),
        (Timestamp(500), Timestamp(700))
    );
    let records: Vec<_> = view.records(1 << 20).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        records
            .iter()
            .map(|record| record.timestamp.0)
            .collect::<Vec<_>>(),
        [500, 700, 300]
    );
    assert_eq!(
        records.iter().map(|record| record.offset.0).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
    let keys: Vec<_> = records[0]
        .headers
        .iter()
        .map(|header| (&*header.key, header.value.is_some()))
        .collect();
    assert_eq!(keys, [("a", true), ("a", false)]);
    assert!(records[1].key.is_none() && records[1].value.is_none());
}

/// every record gets the offset of its place.
#[test]
fn a_delivery_tells_the_offset_of_its_record() {
    let mut scene = scene(1);
    let deliveries: Vec<_> = (0..3_u8).map(|n| scene.send(0, &[n])).collect();
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    assert_eq!(values(&batch), [[0], [1], [2]]);
    scene.drainer.complete(batch, Some(Offset(40)), None);
    let offsets: Vec<_> = deliveries
        .iter()
        .map(|delivery| delivery.outcome().unwrap().unwrap().offset.unwrap().0)
        .collect();
    assert_eq!(offsets, [40, 41, 42]);
}

/// a record larger than `batch.size` gets a page of its own size and travels alone.
#[test]
fn a_record_larger_than_a_batch_gets_its_own_page() {
    let mut scene = scene(1);
    let value = vec![b'x'; 3 * BATCH_SIZE];
    let mut page = None;
    let refusal = scene.try_send(Some(0), &record(&value), &mut page).unwrap_err();
    let bound = record(&value).batch_upper_bound();
    assert_eq!(refusal, AppendRefusal::NeedsPage(bound));
    let _small = scene.send(0, b"a");
    let _large = scene.send_record(Some(0), &record(&value));
    assert_eq!(
        scene.accumulator.available_memory(),
        100 * BATCH_SIZE - BATCH_SIZE - bound
    );
    assert_eq!(values(&scene.sent_one()), [b"a"]);
    assert_eq!(values(&scene.sent_one()), [value]);
}

/// `batch.size` 0 puts every record into its own batch.
#[test]
fn without_a_batch_size_every_record_travels_alone() {
    let mut scene = scene_with(
        1,
        kommit_accumulator::AccumulatorConfig {
            batch_size: 0,
            ..config()
        },
    );
    let _deliveries = [scene.send(0, b"a"), scene.send(0, b"b")];
    assert_eq!(values(&scene.sent_one()), [b"a"]);
}

/// P-15: what can never be sent is refused before it takes memory.
#[test]
fn a_record_larger_than_a_request_is_refused() {
    let scene = scene_with(
        1,
        kommit_accumulator::AccumulatorConfig {
            max_request_size: 200,
            ..config()
        },
    );
    let value = [0; 200];
    let refusal = scene.try_send(Some(0), &record(&value), &mut None).unwrap_err();
    assert!(
        matches!(refusal, AppendRefusal::TooLarge { limit: 200, .. }),
        "{refusal}"
    );
}

/// a page that was not needed stays with the caller for the next record, and goes back to the pool when there is none.
#[test]
fn an_unused_page_stays_with_the_caller() {
    let scene = scene(1);
    let _first = scene.send(0, b"a");
    let mut page = Some(scene.accumulator.try_page(BATCH_SIZE).unwrap());
    let _second = scene.try_send(Some(0), &record(b"b"), &mut page).unwrap();
    assert!(page.is_some());
    drop(page);
    assert_eq!(scene.accumulator.available_memory(), 99 * BATCH_SIZE);
}

/// a page that is too small for the record goes back, and the caller is asked for a larger one.
#[test]
fn a_page_that_is_too_small_goes_back() {
    let scene = scene(1);
    let value = [0; 2 * BATCH_SIZE];
    let mut page = Some(scene.accumulator.try_page(BATCH_SIZE).unwrap());
    let refusal = scene.try_send(Some(0), &record(&value), &mut page).unwrap_err();
    assert_eq!(
        refusal,
        AppendRefusal::NeedsPage(record(&value).batch_upper_bound())
    );
    assert!(page.is_none());
    assert_eq!(scene.accumulator.available_memory(), 100 * BATCH_SIZE);
}

/// a batch that had no room for a record takes no later one, however small, so that records keep their order.
#[test]
fn a_batch_that_had_no_room_once_is_closed() {
    let mut scene = scene(1);
    let _first = scene.send(0, b"a");
    let large = [0; 40];
    for value in [&large[..], b"b"] {
        let refusal = scene.try_send(Some(0), &record(value), &mut None).unwrap_err();
        assert!(matches!(refusal, AppendRefusal::NeedsPage(_)), "{refusal}");
    }
    assert_eq!(values(&scene.sent_one()), [b"a"]);
}

/// a batch is as old as its first record.
#[test]
fn a_batch_is_as_old_as_its_first_record() {
    let mut scene = scene(1);
    let begun = scene.instant();
    for value in [b"a", b"b"] {
        let _delivery = scene.send(0, value);
        scene.pass(std::time::Duration::from_millis(3));
    }
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    assert_eq!((batch.record_count(), batch.created()), (2, begun));
}

/// a batch is full with the record that takes its last byte.
#[test]
fn a_batch_is_full_with_its_last_byte() {
    for (value, is_full) in [(32, true), (31, false)] {
        let mut scene = scene(1);
        // 61 bytes of header, 7 around the value.
        let _delivery = scene.send(0, &vec![0; value]);
        assert_eq!(scene.sent().len(), usize::from(is_full), "{value}");
    }
}

/// a partition that the topic does not have is refused.
#[test]
fn an_unknown_partition_is_refused() {
    let scene = scene(2);
    let refusal = scene.try_send(Some(2), &record(b"a"), &mut None).unwrap_err();
    assert_eq!(
        refusal,
        AppendRefusal::UnknownPartition {
            partition: PartitionId(2),
            count: 2
        }
    );
    assert!(scene.try_send(Some(-1), &record(b"a"), &mut None).is_err());
}

/// D-9: a record that the gate refuses leaves nothing behind, not even a used page.
#[test]
fn a_refused_record_leaves_nothing_behind() {
    let mut scene = scene(1);
    scene
        .accumulator
        .gate()
        .close(GateReason::MustAbort(ErrorCode::RequestTimedOut));
    let mut page = Some(scene.accumulator.try_page(BATCH_SIZE).unwrap());
    let refusal = scene.try_send(Some(0), &record(b"a"), &mut page).unwrap_err();
    assert_eq!(
        refusal,
        AppendRefusal::Refused(GateReason::MustAbort(ErrorCode::RequestTimedOut))
    );
    assert!(page.is_some());
    assert!(scene.drainer.collect().is_empty());
    assert!(!scene.drainer.has_undrained() && scene.drainer.nothing_incomplete().is_some());
}

/// D-9: a record of an ended transaction never enters the next one.
#[test]
fn a_late_record_does_not_enter_the_next_transaction() {
    let scene = scene(1);
    let first = TransactionNumber::FIRST;
    scene.accumulator.gate().open_for(first.next());
    let destination = scene
        .accumulator
        .destination(&scene.topic, Some(PartitionId(0)), &record(b"a"))
        .unwrap();
    let mut page = Some(scene.accumulator.try_page(BATCH_SIZE).unwrap());
    let appended = scene
        .accumulator
        .append(&destination, &record(b"a"), &mut page, Some(first), scene.now());
    assert_eq!(
        appended.unwrap_err(),
        AppendRefusal::Refused(GateReason::OtherTransaction)
    );
}

/// a closed producer accepts nothing.
#[test]
fn a_closed_accumulator_refuses_records() {
    let scene = scene(1);
    scene.accumulator.close();
    let refusal = scene.try_send(Some(0), &record(b"a"), &mut None).unwrap_err();
    assert_eq!(refusal, AppendRefusal::Refused(GateReason::ProducerClosed));
}

/// P-16: the first record of a batch rings, the following ones do not, and the one that finds it full does.
#[test]
fn half_full_batches_do_not_ring() {
    let mut scene = scene(1);
    let _first = scene.send(0, b"a");
    assert_eq!(scene.rings(), 1);
    assert_eq!(scene.drainer.collect().len(), 1);
    let _second = scene.send(0, b"b");
    assert_eq!(scene.rings(), 1);
    assert!(scene.drainer.collect().is_empty());
    scene.fill_batch(0);
    assert_eq!(scene.rings(), 2);
}

/// P-16: a core that has not looked yet is not woken again, whoever rings.
#[test]
fn a_ring_that_was_not_answered_is_not_repeated() {
    let mut scene = scene(3);
    let _deliveries: Vec<_> = (0..3).map(|partition| scene.send(partition, b"a")).collect();
    scene.fill_batch(0);
    assert_eq!(scene.rings(), 1);
    assert_eq!(scene.drainer.collect().len(), 3);
}

/// a topic that grows keeps its queues.
#[test]
fn a_grown_topic_shares_the_queues_of_the_old_handle() {
    let mut scene = scene(1);
    let _old = scene.send(0, b"a");
    scene.topic = scene.accumulator.topic("orders", 3);
    assert_eq!(scene.topic.partition_count(), 3);
    let _new = scene.send(0, b"b");
    scene.drainer.begin_flush();
    assert_eq!(values(&scene.sent_one()), [b"a", b"b"]);
    assert_eq!(scene.accumulator.topic("orders", 1).partition_count(), 3);
}

/// W-4: a compressed batch says so, and its checksum covers the compressed bytes.
#[test]
fn records_are_compressed_when_their_batch_is_closed() {
    for compression in [
        kommit_accumulator::Compression::Gzip,
        kommit_accumulator::Compression::Snappy,
        kommit_accumulator::Compression::Lz4,
        kommit_accumulator::Compression::Zstd,
    ] {
        let config = kommit_accumulator::AccumulatorConfig {
            batch_size: 4_000,
            compression,
            ..config()
        };
        let mut scene = scene_with(1, config);
        let value = [b'x'; 3_000];
        let _delivery = scene.send(0, &value);
        scene.drainer.begin_flush();
        let batch = scene.sent_one();
        assert!(batch.size() < 1_000, "{compression:?}");
        assert_eq!(values(&batch), [value]);
        let view = BatchView::parse(&batch.bytes()).unwrap();
        assert_eq!(view.header.attributes.compression(), Ok(compression));
    }
}

/// Bound: what compression would make longer is sent as it is, so that a batch stays within its page.
#[test]
fn records_that_do_not_shrink_stay_uncompressed() {
    let compression = kommit_accumulator::Compression::Gzip;
    let mut scene = scene_with(
        1,
        kommit_accumulator::AccumulatorConfig {
            compression,
            ..config()
        },
    );
    let _delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    assert_eq!(values(&batch), [b"a"]);
    let view = BatchView::parse(&batch.bytes()).unwrap();
    assert_eq!(
        view.header.attributes.compression(),
        Ok(kommit_accumulator::Compression::None)
    );
}
