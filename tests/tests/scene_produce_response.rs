//! What an answer to a produce request does to each of its batches.

use std::time::Duration;

use kommit_accumulator::{Compression, SendErrorKind};
use kommit_broker::{ResponseMessage, Verdict};
use kommit_protocol::api::ApiKey::{Metadata, Produce};
use kommit_protocol::api::VersionRange;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{ProduceResponsePartition, ProduceResponseRecordError};
use kommit_sender::Phase;
use kommit_tests::world::fault::{answer, delay, edit, serve_then_answer};
use kommit_tests::world::{Fault, RecordOutcome, World, aborted, committed, written_at};

const MILLI: Duration = Duration::from_millis(1);

fn edit_partition(change: impl Fn(&mut ProduceResponsePartition) + Send + Sync + 'static) -> Fault {
    edit(Produce, move |response| {
        let ResponseMessage::Produce(produce) = response else {
            return;
        };
        for topic in &mut produce.responses {
            topic.partition_responses.iter_mut().for_each(&change);
        }
    })
}

/// S-64, S-70, S-80: a retriable error puts the batch back; it goes again after the back-off, with the same sequence.
#[test]
fn a_retriable_error_is_retried_after_the_back_off() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas).once());
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome(), written_at(0));
    let batches = world.batches();
    assert_eq!(
        (batches.len(), &batches[0].base_sequence),
        (2, &batches[1].base_sequence)
    );
    let pause = batches[1].at - batches[0].at;
    assert!(
        (80 * MILLI..=130 * MILLI).contains(&pause),
        "100 ms and a fifth, and the way there and back: {pause:?}"
    );
}

/// S-70: `retries` bounds how often.
#[test]
fn retries_bound_how_often_a_batch_is_sent() {
    let world = World::seeded(9)
        .topic("orders", 1)
        .set(|settings| settings.retries = 2);
    let producer = world.plain();
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas));
    let record = producer.send("orders", 0, "a");
    world.run();
    world.expect_sent(Produce, 3);
    let error = record.outcome().error();
    assert_eq!(
        (error.code(), error.may_be_written()),
        (Some(ErrorCode::NotEnoughReplicas), false)
    );
}

/// R1: one attempt that proves nothing keeps the whole batch unknown, whatever the last answer says.
#[test]
fn one_unknown_attempt_keeps_the_batch_unknown() {
    let world = World::seeded(9)
        .topic("orders", 1)
        .set(|settings| settings.retries = 1);
    let producer = world.plain();
    world.rule(serve_then_answer(Produce, ErrorCode::RequestTimedOut).once());
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas));
    let record = producer.send("orders", 0, "a");
    world.run();
    assert!(record.outcome().error().may_be_written());
    assert_eq!(world.log("orders", 0), ["a"]);
}

/// S-65: an answer that the batch is there already is a success without an offset.
#[test]
fn a_duplicate_is_a_success_without_offset() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    world.rule(answer(Produce, ErrorCode::DuplicateSequenceNumber).once());
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome(), RecordOutcome::Written(None));
    world.expect_sent(Produce, 1);
}

/// S-66, S-71, S-73: an error that no repetition mends is told with its code, and the next record is not affected.
#[test]
fn an_error_that_no_repetition_mends_is_told() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    world.rule(answer(Produce, ErrorCode::TopicAuthorizationFailed).once());
    let refused = producer.send("orders", 0, "a");
    world.run();
    let error = refused.outcome().error();
    assert_eq!(
        (error.code(), error.may_be_written()),
        (Some(ErrorCode::TopicAuthorizationFailed), false)
    );
    assert!(!error.requires_abort() && !error.is_fatal());
    let next = producer.send("orders", 0, "b");
    world.run();
    assert_eq!(next.outcome(), written_at(0));
}

/// S-71: what the broker says about an error is told with it, and the topic with both.
#[test]
fn the_brokers_words_are_told() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    let refusal = edit_partition(|partition| {
        partition.error_code = ErrorCode::TopicAuthorizationFailed;
        partition.error_message = Some("not on Sundays".to_owned());
    });
    world.rule(refusal.once());
    let record = producer.send("orders", 0, "a");
    world.run();
    let error = record.outcome().error();
    assert_eq!(error.code(), Some(ErrorCode::TopicAuthorizationFailed));
    let text = error.to_string();
    assert!(
        text.contains("orders") && text.contains("not on Sundays"),
        "{text}"
    );
}

/// S-68: one record that is too large for the broker fails.
#[test]
fn a_record_too_large_for_the_broker_fails() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    world.rule(answer(Produce, ErrorCode::MessageTooLarge).once());
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome().error().code(), Some(ErrorCode::MessageTooLarge));
}

/// S-59: one partition of a request is refused, the others are written.
#[test]
fn each_partition_of_an_answer_counts_for_itself() {
    let world = World::seeded(9).topic("orders", 3);
    let producer = world.idempotent();
    world.rule(
        answer(Produce, ErrorCode::InvalidRecord)
            .partition("orders", 1)
            .once(),
    );
    let records: Vec<_> = (0..3)
        .map(|partition| producer.send("orders", partition, "a"))
        .collect();
    world.run();
    assert_eq!(
        (records[0].outcome(), records[2].outcome()),
        (written_at(0), written_at(0))
    );
    assert_eq!(
        records[1].outcome().error().code(),
        Some(ErrorCode::InvalidRecord)
    );
}

/// S-72: the record that the broker names gets its own message, the others learn that their batch was spoiled.
#[test]
fn only_the_named_record_is_blamed() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    producer.send("orders", 0, "first");
    world.run();
    world.rule(
        edit_partition(|partition| {
            partition.error_code = ErrorCode::InvalidRecord;
            partition.record_errors = vec![ProduceResponseRecordError {
                batch_index: 1,
                batch_index_error_message: Some("no key".to_owned()),
            }];
        })
        .once(),
    );
    let records = ["a", "b", "c"].map(|value| producer.send("orders", 0, value));
    world.run();
    let [first, named, last] = records.map(|record| record.outcome().error());
    assert_eq!(named.code(), Some(ErrorCode::InvalidRecord));
    assert!(named.to_string().contains("no key"), "{named}");
    for other in [first, last] {
        assert_eq!(*other.kind(), SendErrorKind::BatchHadInvalidRecords);
    }
}

/// S-74, S-75, S-76, S-61: a broker that does not lead names who does; the batch goes there at once, without metadata and back-off.
#[test]
fn a_leader_hint_sends_the_batch_to_the_new_leader_at_once() {
    let world = World::with_brokers(9, 2).topic("orders", 2);
    world.move_leader("orders", 0, Some(1));
    world.move_leader("orders", 1, Some(2));
    let producer = world.idempotent();
    producer.send("orders", 0, "first");
    producer.send("orders", 1, "first");
    world.run();
    world.move_leader("orders", 0, Some(2));
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome(), written_at(1));
    let batches = world.batches();
    let [.., refused, written] = batches.as_slice() else {
        panic!("two attempts")
    };
    assert_eq!((refused.broker, written.broker), (1, 2));
    assert!(
        written.at - refused.at < 20 * MILLI,
        "{:?}",
        written.at - refused.at
    );
}

/// S-74: an error that says that metadata is stale asks for new metadata.
#[test]
fn stale_metadata_is_asked_for_again() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    producer.send("orders", 0, "first");
    world.run();
    let asked = world.sent(Metadata).len();
    world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower).once());
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome(), written_at(1));
    assert!(world.sent(Metadata).len() > asked);
}

/// D-14: an answer that leaves a partition out proves nothing about its batch, which is told so at once.
#[test]
fn a_partition_that_the_answer_leaves_out_is_unknown() {
    let world = World::seeded(9).topic("orders", 1).going_on_behind_gaps();
    let producer = world.idempotent();
    world.rule(
        edit(Produce, |response| {
            if let ResponseMessage::Produce(produce) = response {
                produce.responses.clear();
            }
        })
        .once(),
    );
    let record = producer.send("orders", 0, "a");
    world.run();
    assert!(record.outcome().error().may_be_written());
    let next = producer.send("orders", 0, "b");
    world.run();
    assert!(
        matches!(next.outcome(), RecordOutcome::Written(Some(_))),
        "{:?}",
        next.outcome()
    );
    assert_eq!(world.log("orders", 0), ["a", "b"]);
}

/// D-2, R14: an answer that cannot be read costs the connection; the batch is sent again and is in the log once.
#[test]
fn an_answer_that_cannot_be_read_costs_the_connection() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    world.garble(Produce);
    let record = producer.send("orders", 0, "a");
    world.run();
    let requests = world.sent(Produce);
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].connection, requests[1].connection);
    assert!(matches!(record.outcome(), RecordOutcome::Written(_)));
    assert_eq!(world.log("orders", 0), ["a"]);
}

/// D-2: so does an answer to something that was not asked, one that is cut off, and one whose length is not true.
#[test]
fn an_answer_that_breaks_the_protocol_costs_the_connection() {
    for verdict in [
        Verdict::ShiftCorrelationId(1),
        Verdict::Truncate(9),
        Verdict::WrongLength(-5),
    ] {
        let world = World::seeded(9).topic("orders", 1);
        let producer = world.idempotent();
        world.rule(Fault::on(Produce, verdict).once());
        let record = producer.send("orders", 0, "a");
        world.run();
        let requests = world.sent(Produce);
        assert_eq!(requests.len(), 2);
        assert_ne!(requests[0].connection, requests[1].connection);
        assert!(matches!(record.outcome(), RecordOutcome::Written(_)));
        assert_eq!(world.log("orders", 0), ["a"]);
    }
}

/// S-54, S-58, N-41: a broker without a version of Produce that can be spoken gets nothing, and the record hears why.
#[test]
fn no_common_version_is_told_and_nothing_is_sent() {
    let world = World::seeded(9).topic("orders", 1);
    world.configure(|config| {
        config
            .version_overrides
            .insert((None, Produce), Some(VersionRange::new(0, 2)));
    });
    let producer = world.plain();
    let record = producer.send("orders", 0, "a");
    world.run();
    let error = record.outcome().error();
    assert_eq!(
        (error.code(), error.may_be_written()),
        (Some(ErrorCode::UnsupportedVersion), false)
    );
    world.expect_unsent(Produce);
}

/// S-55: zstd is not sent to a broker that does not know it, and the record hears why; uncompressed it would be taken.
#[test]
fn zstd_is_not_sent_to_a_broker_that_does_not_know_it() {
    for (compression, is_taken) in [(Compression::Zstd, false), (Compression::Lz4, true)] {
        let world = World::seeded(9)
            .topic("orders", 1)
            .set(|settings| settings.compression = compression);
        world.configure(|config| {
            config
                .version_overrides
                .insert((None, Produce), Some(VersionRange::new(3, 6)));
        });
        let producer = world.plain();
        let record = producer.send("orders", 0, &"a".repeat(1_000));
        world.run();
        match record.outcome() {
            RecordOutcome::Written(_) => assert!(is_taken, "{compression:?}"),
            told => {
                let error = told.error();
                assert!(!is_taken && !error.may_be_written(), "{compression:?}: {error}");
                world.expect_unsent(Produce);
            }
        }
    }
}

/// S-52: an answer is read with the topic ids that its request was sent with, whatever the metadata says by then.
#[test]
fn an_answer_belongs_to_the_topic_that_was_asked() {
    let world = World::seeded(9).topic("orders", 1).topic("payments", 1);
    let producer = world.idempotent();
    world.rule(delay(Produce, Duration::from_secs(1)).once());
    let record = producer.send("orders", 0, "a");
    world.run_for(Duration::from_millis(100));
    world.recreate_topic("orders", 1);
    world.rule(
        answer(Produce, ErrorCode::NotLeaderOrFollower)
            .partition("payments", 0)
            .once(),
    );
    producer.send("payments", 0, "this refreshes the metadata");
    world.run();
    assert_eq!(record.outcome(), written_at(0));
    world.expect_sent(Produce, 3);
}

/// S-6: an answer that nobody can read ends neither the loop nor the producer.
#[test]
fn a_bad_answer_does_not_end_the_loop() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    for number in 0..3 {
        world.garble(Produce);
        let record = producer.send("orders", 0, "a");
        world.run();
        assert!(matches!(record.outcome(), RecordOutcome::Written(_)), "{number}");
    }
    assert_eq!(producer.phase(), Phase::Running);
}

/// S-51: an old broker is spoken to in the version that it has.
#[test]
fn an_old_broker_is_spoken_to_in_its_version() {
    let world = World::seeded(9).topic("orders", 1);
    world.configure(|config| {
        config
            .version_overrides
            .insert((None, Produce), Some(VersionRange::new(3, 7)));
    });
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome(), written_at(0));
    assert_eq!(world.sent(Produce)[0].version, 7);
}

/// N-30: a throttled producer does not send before the time is over.
#[test]
fn a_throttled_producer_waits() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.idempotent();
    producer.send("orders", 0, "a");
    world.run();
    world.configure(|config| config.throttle = 700 * MILLI);
    producer.send("orders", 0, "b");
    world.run_for(50 * MILLI);
    let record = producer.send("orders", 0, "c");
    world.run();
    assert_eq!(record.outcome(), written_at(2));
    let batches = world.batches();
    assert!(batches[2].at - batches[1].at >= 700 * MILLI, "{batches:#?}");
}

/// T-86: OUT_OF_ORDER_SEQUENCE_NUMBER reaches the user of an idempotent producer only when the retries are used up. H13: not so
/// UNKNOWN_PRODUCER_ID, behind which nothing is known of the batch.
#[test]
fn a_lost_sequence_is_told_only_when_the_retries_are_used_up() {
    let (lost, forgotten) = (ErrorCode::OutOfOrderSequenceNumber, ErrorCode::UnknownProducerId);
    for (code, retries, told) in [
        (lost, 0, Some(lost)),
        (lost, 1, None),
        (forgotten, 1, Some(forgotten)),
    ] {
        let world = World::seeded(9)
            .topic("orders", 1)
            .set(|settings| settings.retries = retries);
        let producer = world.idempotent();
        world.rule(answer(Produce, code).once());
        let record = producer.send("orders", 0, "a");
        world.run();
        match told {
            Some(_) => assert_eq!(record.outcome().error().code(), told),
            None => assert_eq!(record.outcome(), written_at(0)),
        }
    }
}

/// S-71, T-82: in a transaction a refused record demands the abort, and after it the producer goes on.
#[test]
fn a_refused_record_demands_the_abort_of_its_transaction() {
    let world = World::seeded(9).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
    let record = producer.send("orders", 0, "a");
    world.run();
    assert!(record.outcome().error().requires_abort());
    let abort = producer.abort();
    world.run();
    assert_eq!(abort.outcome(), aborted());
    producer.begin();
    producer.send("orders", 0, "b");
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    assert_eq!(world.committed("orders", 0), ["b"]);
}
