//! A batch that the broker finds too large is sent in parts: every record once, in order, under the sequences that the batch had.

use std::time::Duration;

use kommit_accumulator::{Compression, SendErrorKind};
use kommit_protocol::api::ApiKey::{EndTxn, Produce};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{
    answer, disconnect_after, disconnect_before, hold, hold_request, serve_then_answer,
};
use kommit_tests::world::{CallOutcome, Producer, RecordOutcome, Sending, World, committed, written_at};

const SECOND: Duration = Duration::from_secs(1);
/// Of a batch at the broker: room for about eight of the small records behind a header of 61 bytes.
const LARGEST_BATCH: usize = 200;

/// A world whose broker takes no batch above `LARGEST_BATCH`.
fn strict_world() -> World {
    let world = World::seeded(11);
    world.configure(|broker| broker.topic_defaults.max_message_bytes = LARGEST_BATCH);
    world.topic("orders", 1)
}

fn values(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("record {number:04}")).collect()
}

/// Values that no codec makes much shorter than half.
fn mixed_values(count: u64) -> Vec<String> {
    let digits = |number: u64| {
        format!(
            "{number:08}{:016x}",
            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
    };
    (0..count).map(digits).collect()
}

fn send_all(producer: &Producer, values: &[String]) -> Vec<Sending> {
    values
        .iter()
        .map(|value| producer.send("orders", 0, value))
        .collect()
}

fn outcomes(records: &[Sending]) -> Vec<RecordOutcome> {
    records.iter().map(Sending::outcome).collect()
}

fn written_from_zero(count: usize) -> Vec<RecordOutcome> {
    (0..i64::try_from(count).expect("a few"))
        .map(written_at)
        .collect()
}

/// S-63, A-74, A-91: every record arrives once, in order, and is told its own offset.
#[test]
fn a_batch_too_large_for_the_broker_arrives_in_parts() {
    let world = strict_world();
    let producer = world.idempotent();
    let values = values(40);
    let records = send_all(&producer, &values);
    world.run();
    assert_eq!(world.log("orders", 0), values);
    assert_eq!(outcomes(&records), written_from_zero(40));
    let batches = world.batches();
    assert_eq!(batches[0].values.len(), 40, "one large batch in the beginning");
    assert!(
        batches[1].at - batches[0].at < Duration::from_millis(50),
        "a split waits for no back-off"
    );
}

/// A-77, M36: the parts have the sequences that the batch had, one after the other.
#[test]
fn the_parts_share_the_sequences_of_the_batch() {
    let world = strict_world();
    let producer = world.idempotent();
    send_all(&producer, &values(40));
    world.run();
    let mut expected = 0;
    for batch in world.batches().iter().filter(|batch| batch.values.len() <= 8) {
        assert_eq!(batch.base_sequence, Some(expected), "{batch:?}");
        expected += i32::try_from(batch.values.len()).expect("a few");
    }
    assert_eq!(expected, 40);
}

/// S-63, A-78: without sequences the order is the same.
#[test]
fn parts_arrive_in_order_without_sequences() {
    for max_in_flight in [1, 5] {
        let world = strict_world().set(|settings| settings.max_in_flight = max_in_flight);
        let producer = world.plain();
        let values = values(40);
        let records = send_all(&producer, &values);
        world.run();
        assert_eq!(world.log("orders", 0), values);
        assert_eq!(outcomes(&records), written_from_zero(40));
    }
}

/// T-40, A-80: a transaction of either version waits for all parts and commits them.
#[test]
fn a_transaction_commits_all_parts() {
    for version in [1, 2] {
        let world = strict_world().transaction_version(version);
        let producer = world.transactional("t-1");
        producer.begin();
        let values = values(40);
        let records = send_all(&producer, &values);
        world.rule(hold(Produce).skip(3).once());
        let commit = producer.commit();
        world.run();
        world.expect_unsent(EndTxn);
        world.release(Produce);
        world.run();
        assert_eq!(commit.outcome(), committed());
        assert_eq!(world.committed("orders", 0), values);
        assert_eq!(outcomes(&records), written_from_zero(40));
    }
}

/// the parts of a compressed batch are compressed, too, and no record is lost on the way.
#[test]
fn a_compressed_batch_is_split() {
    let codecs = [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for codec in codecs {
        let world = strict_world().set(|settings| settings.compression = codec);
        let producer = world.idempotent();
        let values = mixed_values(60);
        let records = send_all(&producer, &values);
        world.run();
        assert_eq!(world.log("orders", 0), values, "{codec:?}");
        assert_eq!(outcomes(&records), written_from_zero(60), "{codec:?}");
    }
}

/// batches that were in flight behind the split one, or queued behind it, stay behind its parts.
#[test]
fn what_is_in_flight_behind_a_split_batch_stays_behind_its_parts() {
    let world = strict_world().set(|settings| settings.batch_size = 400);
    let producer = world.idempotent();
    let values = values(90);
    let mut records = send_all(&producer, &values[..1]);
    world.run();
    world.rule(hold_request(Produce).times(5));
    records.extend(send_all(&producer, &values[1..]));
    world.run();
    world.expect_sent(Produce, 6);
    world.release(Produce);
    world.run();
    assert_eq!(world.log("orders", 0), values);
    assert_eq!(outcomes(&records), written_from_zero(90));
}

/// S-64, R2: a part is sent again like any batch, and keeps its sequence.
#[test]
fn a_part_is_sent_again() {
    let faults = [
        answer(Produce, ErrorCode::NotEnoughReplicas),
        disconnect_before(Produce),
        disconnect_after(Produce),
    ];
    for fault in faults {
        let world = strict_world();
        let producer = world.idempotent();
        world.rule(fault.clone().skip(3).times(2));
        let values = values(40);
        let records = send_all(&producer, &values);
        world.run();
        assert_eq!(world.log("orders", 0), values, "{fault:?}");
        assert_eq!(outcomes(&records).len(), 40);
        for (record, expected) in records.iter().zip(written_from_zero(40)) {
            // S-65: what was there already is told without an offset.
            let outcome = record.outcome();
            assert!(
                outcome == expected || outcome == RecordOutcome::Written(None),
                "{outcome:?}, {fault:?}"
            );
        }
    }
}

/// S-68, A-79: the end of all splitting is one record, which fails alone; T-70: what is behind it gets other sequences.
#[test]
fn a_single_record_that_is_too_large_fails_alone() {
    let world = strict_world();
    let producer = world.idempotent();
    let mut values = values(20);
    values[9] = "x".repeat(LARGEST_BATCH);
    let records = send_all(&producer, &values);
    world.run();
    let error = records[9].outcome().error();
    assert_eq!(
        (error.code(), error.may_be_written()),
        (Some(ErrorCode::MessageTooLarge), false)
    );
    values.remove(9);
    assert_eq!(world.log("orders", 0), values);
    let written = outcomes(&records)
        .into_iter()
        .filter(|outcome| matches!(outcome, RecordOutcome::Written(_)));
    assert_eq!(written.collect::<Vec<_>>(), written_from_zero(19));
}

/// H27: a batch that may have been written under its sequences is never cut anew.
#[test]
fn a_batch_that_may_be_written_is_not_split() {
    let world = World::seeded(11).topic("orders", 1);
    let producer = world.idempotent();
    world.rule(serve_then_answer(Produce, ErrorCode::RequestTimedOut).once());
    world.rule(answer(Produce, ErrorCode::MessageTooLarge).once());
    let values = values(3);
    let records = send_all(&producer, &values);
    world.run();
    for record in records {
        let error = record.outcome().error();
        assert_eq!(
            (error.code(), error.may_be_written()),
            (Some(ErrorCode::MessageTooLarge), true)
        );
    }
    world.expect_sent(Produce, 2);
    assert_eq!(world.log("orders", 0), values);
}

/// S-63: neither `retries` nor the delivery timeout stands against a split.
#[test]
fn a_split_is_no_retry() {
    let world = strict_world().set(|settings| settings.retries = 0);
    let producer = world.idempotent();
    let values = values(40);
    send_all(&producer, &values);
    world.run();
    assert_eq!(world.log("orders", 0), values);
}

/// S-44: parts expire when their batch would have, are proven not written, and leave nothing to resolve.
#[test]
fn parts_expire_with_the_batch_that_they_were() {
    let world = strict_world().set(|settings| {
        settings.delivery_timeout = 40 * SECOND;
        settings.request_timeout = 30 * SECOND;
    });
    let producer = world.idempotent();
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas).skip(1));
    let records = send_all(&producer, &values(40));
    world.run_for(39 * SECOND);
    assert!(
        outcomes(&records)
            .iter()
            .all(|outcome| *outcome == RecordOutcome::Waiting)
    );
    world.run_for(2 * SECOND);
    for record in &records {
        let error = record.outcome().error();
        assert!(matches!(error.kind(), SendErrorKind::DeliveryTimeout { .. }));
        assert!(!error.may_be_written(), "{error}");
    }
    world.release(Produce);
    let next = producer.send("orders", 0, "next");
    world.run();
    assert_eq!(next.outcome(), written_at(0));
}

/// a flush waits for the parts of a batch that it began to wait for.
#[test]
fn a_flush_waits_for_the_parts() {
    let world = strict_world();
    let producer = world.idempotent();
    let records = send_all(&producer, &values(40));
    world.rule(hold(Produce).skip(6).once());
    let flush = producer.flush();
    world.run();
    assert_eq!(flush.outcome(), CallOutcome::Waiting);
    world.release(Produce);
    world.run();
    assert_eq!(flush.outcome(), CallOutcome::Flushed);
    assert_eq!(outcomes(&records), written_from_zero(40));
}

/// batches that compression let grow become too large when the records change; nothing is lost, doubled or reordered.
#[test]
fn a_disappointed_estimate_ends_in_parts() {
    let world = World::seeded(11).set(|settings| {
        settings.compression = Compression::Lz4;
        settings.batch_size = 500;
    });
    world.configure(|broker| broker.topic_defaults.max_message_bytes = 600);
    let world = world.topic("orders", 1);
    let producer = world.idempotent();
    let mut values = Vec::new();
    // The first records shrink to a small part of themselves, each ten of them in a batch; the others hardly.
    for _ in 0..200 {
        let dull = vec!["all the same ".repeat(2); 10];
        send_all(&producer, &dull);
        world.run_for(Duration::from_millis(20));
        values.extend(dull);
    }
    assert!(!world.trace().contains("MESSAGE_TOO_LARGE"));
    values.extend(mixed_values(200));
    let records = send_all(&producer, &values[2_000..]);
    world.run();
    assert!(world.trace().contains("MESSAGE_TOO_LARGE"));
    assert_eq!(world.log("orders", 0), values);
    let offsets = (2_000..2_200).map(written_at);
    assert_eq!(outcomes(&records), offsets.collect::<Vec<_>>());
}
