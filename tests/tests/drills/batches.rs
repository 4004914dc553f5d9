//! What becomes of records: H03, H07 … H11, H13, H20, H26 … H28.

use kommit_broker::Verdict;
use kommit_broker::config::Verification;
use kommit_protocol::api::ApiKey::{AddPartitionsToTxn, EndTxn, Metadata, Produce};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, delay, deliver_late, drop_request, serve_then_answer};
use kommit_tests::world::{CallOutcome, Fault, RecordOutcome, Sending, Settings, World, aborted, committed};
use kommit_txn_manager::{PartitionVerification, TransactionFate};

use crate::{MILLI, SECOND, commits, with_both_versions};

fn is_written(record: &Sending) -> bool {
    matches!(record.outcome(), RecordOutcome::Written(_))
}

/// A record expires in the third attempt to send it.
fn impatient(settings: &mut Settings) {
    settings.request_timeout = 2 * SECOND;
    settings.delivery_timeout = 5 * SECOND;
}

/// The epochs of all batches that were sent, without repetition.
fn epochs(world: &World) -> Vec<i16> {
    let mut epochs: Vec<i16> = world.batches().iter().filter_map(|batch| batch.epoch).collect();
    epochs.dedup();
    epochs
}

/// H03: a record without an answer expires, its transaction is aborted, and then the record arrives. It must not become part of anything.
#[test]
pub(crate) fn late_produce_after_abort() {
    with_both_versions(|world, _| {
        let world = world.set(impatient);
        let producer = world.transactional("t-1");
        commits(&world, &producer, "a");
        producer.begin();
        world.rule(deliver_late(Produce, 30 * SECOND).once());
        world.rule(drop_request(Produce));
        let late = producer.send("orders", 0, "late");
        world.run_for(10 * SECOND);
        assert!(late.outcome().error().may_be_written());
        world.release(Produce);
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        producer.begin();
        producer.send("orders", 0, "b");
        world.run_for(30 * SECOND);
        let commit = producer.commit();
        world.run();
        assert_eq!(commit.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
        world.audit();
    });
}

/// A version 1 transaction is aborted while a batch of it is still on its way to brokers that do not verify partitions.
fn abort_over_a_late_batch(verification: PartitionVerification) -> (World, CallOutcome) {
    let world = World::seeded(31)
        .topic("orders", 1)
        .transaction_version(1)
        .set(impatient)
        .set(|settings| settings.partition_verification = verification);
    world.configure(|config| config.verification = Verification::Disabled);
    let producer = world.transactional("t-1");
    commits(&world, &producer, "a");
    producer.begin();
    world.rule(deliver_late(Produce, 30 * SECOND).once());
    world.rule(drop_request(Produce));
    let late = producer.send("orders", 0, "late");
    world.run_for(10 * SECOND);
    assert!(late.outcome().error().may_be_written());
    world.release(Produce);
    let abort = producer.abort();
    world.run();
    (world, abort.outcome())
}

/// H03: brokers may not verify partitions. The abort has an epoch of its own, which keeps the batch out, and the producer ends with it.
#[test]
pub(crate) fn late_produce_without_verification() {
    let (world, abort) = abort_over_a_late_batch(PartitionVerification::NotProven);
    let is_dead = matches!(abort, CallOutcome::Dead(_, TransactionFate::NotCommitted));
    assert!(is_dead, "{abort:?}");
    let next = world.transactional("t-1");
    next.begin();
    next.send("orders", 0, "b");
    world.run_for(30 * SECOND);
    let commit = next.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    assert_eq!(world.committed("orders", 0), ["a", "b"]);
    world.audit();
}

/// H03: told wrongly that the brokers verify, the producer goes on, and the batch comes into the log behind the abort.
#[test]
fn a_plain_abort_lets_the_late_batch_in() {
    let (world, abort) = abort_over_a_late_batch(PartitionVerification::Enabled);
    assert_eq!(abort, aborted());
    world.run_for(30 * SECOND);
    assert_eq!(world.log("orders", 0), ["a", "late"]);
}

/// H07: a record expires without an answer. Later records of its partition must not follow until the application has taken note of the gap.
#[test]
pub(crate) fn expiry_gap() {
    with_both_versions(|world, _| {
        let world = world.batch_per_record().set(impatient);
        let producer = world.idempotent();
        producer.send("orders", 0, "first");
        world.run();
        world.rule(drop_request(Produce));
        let lost = producer.send("orders", 0, "lost");
        world.run_for(SECOND);
        let queued = producer.send("orders", 0, "queued");
        world.run_for(5 * SECOND);
        world.release(Produce);
        world.run_for(5 * SECOND);
        let refused = producer.send("orders", 0, "refused");
        world.run();
        assert!(lost.outcome().error().may_be_written());
        assert!(!is_written(&queued) && !is_written(&refused));
        assert_eq!(world.log("orders", 0), ["first"]);
        producer.acknowledge_gap("orders", 0);
        world.run();
        let next = producer.send("orders", 0, "next");
        world.run();
        assert!(is_written(&next));
        assert_eq!(world.log("orders", 0), ["first", "next"]);
        world.audit();
    });
}

/// H08, R2, R4: one batch is written and its answer lost, the next one fails for good. The new epoch must not rename the first.
#[test]
pub(crate) fn bump_over_unknown() {
    with_both_versions(|world, _| {
        let world = world.batch_per_record();
        let producer = world.idempotent();
        producer.send("orders", 0, "first");
        world.run();
        world.rule(serve_then_answer(Produce, ErrorCode::RequestTimedOut).once());
        world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
        let unknown = producer.send("orders", 0, "unknown");
        let refused = producer.send("orders", 0, "refused");
        world.run();
        let next = producer.send("orders", 0, "next");
        world.run();
        assert!(is_written(&unknown) && is_written(&next));
        assert!(!refused.outcome().error().may_be_written());
        assert_eq!(world.log("orders", 0), ["first", "unknown", "next"]);
        assert_eq!(epochs(&world), [0, 1]);
        world.audit();
    });
}

/// H09, R4: out of order behind another batch is a normal consequence. It must not raise the epoch over an unknown batch elsewhere.
#[test]
pub(crate) fn ooosn_not_head() {
    with_both_versions(|world, _| {
        let world = world.batch_per_record();
        world.move_leader("orders", 1, Some(2));
        let producer = world.idempotent();
        producer.send("orders", 0, "first");
        producer.send("orders", 1, "first elsewhere");
        world.run();
        let here = answer(Produce, ErrorCode::NotLeaderOrFollower).partition("orders", 0);
        let elsewhere = serve_then_answer(Produce, ErrorCode::RequestTimedOut).partition("orders", 1);
        world.rule(here.once());
        world.rule(elsewhere.once());
        let records = [
            producer.send("orders", 0, "head"),
            producer.send("orders", 0, "behind"),
            producer.send("orders", 1, "unknown"),
        ];
        world.run();
        assert!(records.iter().all(is_written));
        assert_eq!(world.log("orders", 0), ["first", "head", "behind"]);
        assert_eq!(epochs(&world), [0]);
        world.audit();
    });
}

/// H10, R1, R3: a record is stored, answered with a time-out and given up. Its sequence must not be given to the next one.
#[test]
pub(crate) fn cancel_after_append() {
    with_both_versions(|world, _| {
        let world = world.set(impatient);
        let producer = world.idempotent();
        world.rule(serve_then_answer(Produce, ErrorCode::RequestTimedOut));
        let stored = producer.send("orders", 0, "stored");
        world.run_for(7 * SECOND);
        assert!(stored.outcome().error().may_be_written());
        world.release(Produce);
        producer.acknowledge_gap("orders", 0);
        world.run();
        let next = producer.send("orders", 0, "next");
        world.run();
        assert!(is_written(&next));
        assert_eq!(world.log("orders", 0), ["stored", "next"]);
        world.audit();
    });
}

/// H11, R3: a broker says for a while that the topic does not exist. Its sequences must go on behind that.
#[test]
pub(crate) fn topic_flap() {
    with_both_versions(|world, _| {
        let producer = world.idempotent();
        producer.send("orders", 0, "a");
        world.run();
        producer.send("orders", 0, "b");
        world.run();
        world.rule(answer(Metadata, ErrorCode::UnknownTopicOrPartition));
        world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower).once());
        producer.send("orders", 0, "c");
        world.run_for(3 * SECOND);
        world.release(Metadata);
        world.run_for(10 * SECOND);
        producer.send("orders", 0, "d");
        world.run();
        assert_eq!(world.log("orders", 0), ["a", "b", "c", "d"]);
        assert_eq!(epochs(&world), [0]);
        world.audit();
    });
}

/// H13: the broker has forgotten the producer, and the batch may be stored. It must not be stored again under another name.
#[test]
pub(crate) fn producer_state_lost() {
    with_both_versions(|world, _| {
        let producer = world.idempotent();
        world.rule(serve_then_answer(Produce, ErrorCode::RequestTimedOut).once());
        world.rule(answer(Produce, ErrorCode::UnknownProducerId).once());
        let stored = producer.send("orders", 0, "stored");
        world.run();
        assert!(stored.outcome().error().may_be_written());
        producer.acknowledge_gap("orders", 0);
        world.run();
        let next = producer.send("orders", 0, "next");
        world.run();
        assert!(is_written(&next));
        assert_eq!(world.log("orders", 0), ["stored", "next"]);
        world.audit();
    });
}

/// H20: NOT_LEADER_OR_FOLLOWER can answer a batch that was stored. It is sent again, and recognised.
#[test]
pub(crate) fn not_leader_after_append() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(serve_then_answer(Produce, ErrorCode::NotLeaderOrFollower).once());
        commits(&world, &producer, "a");
        world.expect_sent(Produce, 2);
        assert_eq!(world.log("orders", 0), ["a"]);
        world.audit();
    });
}

/// H26, R11: a batch expires while its bytes wait for a socket. They must not be overwritten by records for another partition.
#[test]
pub(crate) fn expire_in_flight() {
    with_both_versions(|world, _| {
        let world = world.set(|settings| settings.delivery_timeout = 31 * SECOND);
        let producer = world.idempotent();
        for partition in 0..3 {
            producer.send("orders", partition, &format!("first of {partition}"));
        }
        world.run();
        world.stall(1);
        let expires = producer.send("orders", 0, "expires");
        world.run_for(20 * SECOND);
        let others = [
            producer.send("orders", 1, "one"),
            producer.send("orders", 2, "two"),
        ];
        world.run_for(12 * SECOND);
        assert!(matches!(
            expires.outcome(),
            RecordOutcome::Failed(_) | RecordOutcome::Written(_)
        ));
        world.run_for(30 * SECOND);
        assert!(others.iter().all(is_written));
        world.audit();
    });
}

/// H27, R2: a batch that was too large goes in parts, and the answer to a part is lost. The part must go again as it was.
#[test]
pub(crate) fn split_then_retry() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "first");
        world.run();
        world.rule(answer(Produce, ErrorCode::MessageTooLarge).once());
        world.rule(serve_then_answer(Produce, ErrorCode::RequestTimedOut).once());
        let values = ["a", "b", "c", "d"];
        let records = values.map(|value| producer.send("orders", 0, value));
        let commit = producer.commit();
        world.run_for(5 * SECOND);
        assert!(records.iter().all(is_written));
        assert_eq!(commit.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["first", "a", "b", "c", "d"]);
        world.audit();
    });
}

/// H28, R14: answers with the numbers of other requests. No request may take them for its own.
#[test]
pub(crate) fn correlation_chaos() {
    for api in [Produce, EndTxn, AddPartitionsToTxn] {
        for shift in [-1, 1, 7] {
            with_both_versions(|world, _| {
                let world = world.batch_per_record();
                let producer = world.transactional("t-1");
                commits(&world, &producer, "first");
                world.rule(Fault::on(api, Verdict::ShiftCorrelationId(shift)).once());
                producer.begin();
                let records = ["a", "b", "c"].map(|value| producer.send("orders", 0, value));
                world.run_for(100 * MILLI);
                let commit = producer.commit();
                world.run_for(5 * SECOND);
                assert!(records.iter().all(is_written));
                assert_eq!(commit.outcome(), committed());
                assert_eq!(world.committed("orders", 0), ["first", "a", "b", "c"]);
                world.audit();
            });
        }
    }
}

/// H28, R14: the answer to a request that timed out comes while another one waits for its own. It must not be taken for that.
#[test]
pub(crate) fn late_answer() {
    with_both_versions(|world, _| {
        let world = world.going_on_behind_gaps().set(|settings| {
            settings.request_timeout = 2 * SECOND;
            settings.delivery_timeout = 2 * SECOND;
        });
        let producer = world.idempotent();
        producer.send("orders", 0, "first");
        world.run();
        world.rule(delay(Produce, 3 * SECOND).once());
        let late = producer.send("orders", 0, "late");
        world.run_for(2500 * MILLI);
        assert!(late.outcome().error().may_be_written());
        world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
        let refused = producer.send("orders", 0, "refused");
        world.run();
        assert!(!is_written(&refused), "refused: {:?}", refused.outcome());
        assert_eq!(world.log("orders", 0), ["first", "late"]);
        world.audit();
    });
}
