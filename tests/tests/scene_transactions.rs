//! Transactions of both versions from begin to end, and the ends that go wrong.

use std::time::Duration;

use kommit_protocol::api::ApiKey::{
    AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, InitProducerId, Produce, TxnOffsetCommit,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, deliver_late, drop_answer, drop_request, hold};
use kommit_tests::world::{CallOutcome, RecordOutcome, World, aborted, committed, waiting, written_at};
use kommit_txn_manager::TransactionFate;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const NOTHING: [&str; 0] = [];

/// T-22, T-23, S-51: with version 1, each partition is added before its first batch is drained; Produce stays at version 11, EndTxn at 4.
#[test]
fn version_1_adds_a_partition_before_its_first_batch() {
    let world = World::seeded(11).topic("orders", 2).transaction_version(1);
    let producer = world.transactional("t-1");
    world.rule(hold(AddPartitionsToTxn).once());
    producer.begin();
    let record = producer.send("orders", 0, "a");
    world.run();
    world.expect_unsent(Produce);
    world.release(AddPartitionsToTxn);
    world.run();
    assert_eq!(record.outcome(), written_at(0));
    producer.send("orders", 0, "b");
    producer.send("orders", 1, "c");
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    let added: Vec<String> = world
        .sent(AddPartitionsToTxn)
        .into_iter()
        .map(|request| request.summary)
        .collect();
    assert_eq!(added, ["orders-0", "orders-1"]);
    assert!(world.sent(Produce).iter().all(|request| request.version == 11));
    assert!(world.sent(EndTxn).iter().all(|request| request.version == 4));
}

/// T-46: partitions that join before a request goes out are added by one; those that join while it is out, by the next one.
#[test]
fn partitions_that_join_together_are_added_by_one_request() {
    let world = World::seeded(11).topic("orders", 5).transaction_version(1);
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(hold(AddPartitionsToTxn).once());
    for partition in 0..3 {
        producer.send("orders", partition, "a");
    }
    world.run_until_sent(AddPartitionsToTxn, 1);
    for partition in 2..5 {
        producer.send("orders", partition, "b");
    }
    world.run_for(SECOND);
    world.release(AddPartitionsToTxn);
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    let added: Vec<String> = world
        .sent(AddPartitionsToTxn)
        .into_iter()
        .map(|request| request.summary)
        .collect();
    assert_eq!(added, ["orders-0 orders-1 orders-2", "orders-3 orders-4"]);
}

/// A-37, P-30: a commit sends what lingers, at once.
#[test]
fn a_commit_does_not_wait_for_what_lingers() {
    for version in [1, 2] {
        let world = World::seeded(11)
            .topic("orders", 1)
            .transaction_version(version)
            .set(|settings| settings.linger = 60 * SECOND);
        let producer = world.transactional("t-1");
        producer.begin();
        let record = producer.send("orders", 0, "a");
        world.run_for(SECOND);
        world.expect_unsent(Produce);
        let commit = producer.commit();
        world.run_for(SECOND);
        assert_eq!((record.outcome(), commit.outcome()), (written_at(0), committed()));
    }
}

/// T-22: the next transaction of version 1 adds its partitions again, under the same epoch and with the sequences going on.
#[test]
fn version_1_adds_the_partitions_of_each_transaction_and_keeps_the_epoch() {
    let world = World::seeded(11).topic("orders", 1).transaction_version(1);
    let producer = world.transactional("t-1");
    for value in ["a", "b", "c"] {
        producer.begin();
        producer.send("orders", 0, value);
        let commit = producer.commit();
        world.run();
        assert_eq!(commit.outcome(), committed());
    }
    world.expect_sent(AddPartitionsToTxn, 3);
    world.expect_sent(InitProducerId, 1);
    let batches = world.batches();
    let stamps: Vec<_> = batches
        .iter()
        .map(|batch| (batch.epoch, batch.base_sequence))
        .collect();
    assert_eq!(
        stamps,
        [(Some(0), Some(0)), (Some(0), Some(1)), (Some(0), Some(2))]
    );
    assert_eq!(world.committed("orders", 0), ["a", "b", "c"]);
}

/// T-28 … T-33, R10: with version 2 no partition is added, and each end brings the epoch of the next transaction, whose sequences begin at 0.
#[test]
fn version_2_takes_the_next_epoch_from_each_end() {
    let world = World::seeded(11).topic("orders", 1);
    let producer = world.transactional("t-1");
    for value in ["a", "b", "c"] {
        producer.begin();
        producer.send("orders", 0, value);
        let end = if value == "b" {
            producer.abort()
        } else {
            producer.commit()
        };
        world.run();
        assert_eq!(end.outcome(), if value == "b" { aborted() } else { committed() });
    }
    world.expect_unsent(AddPartitionsToTxn);
    world.expect_sent(InitProducerId, 1);
    assert!(world.sent(Produce).iter().all(|request| request.version >= 12));
    assert!(world.sent(EndTxn).iter().all(|request| request.version == 5));
    assert_eq!(world.epochs("orders", 0).len(), world.batches().len());
}

/// R10: the version is latched at begin: a cluster that is upgraded in the middle of a transaction finds it ended as it was begun.
#[test]
fn an_upgrade_in_the_middle_of_a_transaction_counts_from_the_next_one() {
    let world = World::seeded(11).topic("orders", 1).transaction_version(1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.run();
    let world = world.transaction_version(2);
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    assert_eq!(world.sent(EndTxn)[0].version, 4);
    assert_eq!(world.committed("orders", 0), ["a"]);
}

/// R10, T-29 … T-33: a cluster that changes its version between transactions, in either direction, finds each of them whole, in one flavour from
/// begin to end, and the last ones in the new one.
#[test]
fn each_transaction_has_one_version_whichever_way_the_cluster_goes() {
    for (from, to, last_end) in [(1, 2, 5), (2, 1, 4)] {
        let mut world = World::seeded(11).topic("orders", 1).transaction_version(from);
        let producer = world.transactional("t-1");
        let mut expected = Vec::new();
        for number in 0..5 {
            if number == 2 {
                world = world.transaction_version(to);
                world.cut(1);
            }
            producer.begin();
            producer.send("orders", 0, &number.to_string());
            world.run();
            let commits = number != 3;
            let end = if commits {
                producer.commit()
            } else {
                producer.abort()
            };
            world.run();
            assert_eq!(end.outcome(), if commits { committed() } else { aborted() });
            expected.extend(commits.then(|| number.to_string()));
            assert_eq!(world.committed("orders", 0), expected, "{from} to {to}");
        }
        let ends = world.sent(EndTxn);
        assert_eq!((ends.len(), ends[4].version), (5, last_end), "{from} to {to}");
        let produced = world.sent(Produce);
        for (batch, end) in produced.iter().zip(&ends) {
            assert_eq!(
                batch.version >= 12,
                end.version >= 5,
                "one flavour from begin to end"
            );
        }
    }
}

/// P-28, H16: a transaction in which nothing was sent ends without a request.
#[test]
fn an_empty_transaction_ends_without_a_request() {
    for version in [1, 2] {
        let world = World::seeded(11).topic("orders", 1).transaction_version(version);
        let producer = world.transactional("t-1");
        for _ in 0..2 {
            producer.begin();
            let commit = producer.commit();
            world.run();
            assert_eq!(commit.outcome(), committed());
            producer.begin();
            let abort = producer.abort();
            world.run();
            assert_eq!(abort.outcome(), aborted());
        }
        world.expect_unsent(EndTxn);
    }
}

/// R5, T-24 … T-26: offsets join the transaction in two steps with version 1, in one with version 2, and the end comes after both.
#[test]
fn offsets_join_the_transaction_before_its_end() {
    for (version, additions) in [(1, 1), (2, 0)] {
        let world = World::seeded(11).topic("orders", 1).transaction_version(version);
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "a");
        let offsets = producer.send_offset("readers", "orders", 7);
        world.rule(hold(TxnOffsetCommit).once());
        let commit = producer.commit();
        world.run();
        assert_eq!((offsets.outcome(), commit.outcome()), (waiting(), waiting()));
        world.expect_sent(AddOffsetsToTxn, additions);
        world.expect_unsent(EndTxn);
        world.release(TxnOffsetCommit);
        world.run();
        assert_eq!(
            (offsets.outcome(), commit.outcome()),
            (CallOutcome::OffsetsAdded, committed())
        );
        world.expect_sent(EndTxn, 1);
    }
}

/// T-26, S-36: a group coordinator that moved is found again.
#[test]
fn a_group_coordinator_that_moved_is_found_again() {
    for version in [1, 2] {
        let world = World::with_brokers(11, 2)
            .topic("orders", 1)
            .transaction_version(version);
        world.move_group_coordinator(1);
        let producer = world.transactional("t-1");
        producer.begin();
        let first = producer.send_offset("readers", "orders", 7);
        world.run();
        world.move_group_coordinator(2);
        let second = producer.send_offset("readers", "orders", 8);
        let commit = producer.commit();
        world.run();
        assert_eq!(
            [first.outcome(), second.outcome()],
            [CallOutcome::OffsetsAdded, CallOutcome::OffsetsAdded]
        );
        assert_eq!(commit.outcome(), committed());
        let brokers: Vec<i32> = world
            .sent(TxnOffsetCommit)
            .iter()
            .map(|request| request.broker)
            .collect();
        assert_eq!(brokers, [1, 1, 2]);
    }
}

/// R7, H01: a commit whose answer is lost is asked for again, the same and nothing else, until it is answered.
#[test]
fn a_commit_without_an_answer_is_repeated_and_stays_a_commit() {
    for version in [1, 2] {
        for fault in [drop_answer(EndTxn), drop_request(EndTxn)] {
            let world = World::seeded(11).topic("orders", 1).transaction_version(version);
            let producer = world.transactional("t-1");
            producer.begin();
            producer.send("orders", 0, "a");
            world.rule(fault.once());
            let commit = producer.commit();
            world.run_for(29 * SECOND);
            assert_eq!(commit.outcome(), waiting());
            world.expect_sent(EndTxn, 1);
            world.run_for(5 * SECOND);
            assert_eq!(commit.outcome(), committed());
            let ends = world.sent(EndTxn);
            assert_eq!((ends.len(), &ends[0].summary), (2, &ends[1].summary));
            assert_ne!(ends[0].connection, ends[1].connection);
            assert_eq!(world.committed("orders", 0), ["a"]);

            producer.begin();
            producer.send("orders", 0, "b");
            let commit = producer.commit();
            world.run();
            assert_eq!(commit.outcome(), committed());
            assert_eq!(world.committed("orders", 0), ["a", "b"]);
        }
    }
}

/// R6, H01: after an end that went unanswered once, version 1 takes a new epoch before the next transaction, so that the first copy of the end,
/// when it comes late, decides nothing. Version 2 has a new epoch anyway.
#[test]
fn a_late_end_decides_no_later_transaction() {
    for (version, identities) in [(1, 2), (2, 1)] {
        for how in ["commit", "abort"] {
            let world = World::seeded(11).topic("orders", 1).transaction_version(version);
            let producer = world.transactional("t-1");
            producer.begin();
            producer.send("orders", 0, "a");
            world.run();
            world.rule(deliver_late(EndTxn, 10 * SECOND).once());
            let end = if how == "commit" {
                producer.commit()
            } else {
                producer.abort()
            };
            world.run();
            assert_eq!(
                end.outcome(),
                if how == "commit" { committed() } else { aborted() }
            );
            world.expect_sent(InitProducerId, identities);

            producer.begin();
            producer.send("orders", 0, "b");
            world.run_for(15 * SECOND);
            assert!(
                !world.committed("orders", 0).contains(&"b".to_owned()),
                "the late end decided it"
            );
            producer.send("orders", 0, "c");
            let next = if how == "commit" {
                producer.abort()
            } else {
                producer.commit()
            };
            world.run();
            let expected: &[&str] = if how == "commit" { &["a"] } else { &["b", "c"] };
            assert_eq!(
                next.outcome(),
                if how == "commit" { aborted() } else { committed() }
            );
            assert_eq!(world.committed("orders", 0), expected);
        }
    }
}

/// R6, H04: the same after an addition that went unanswered once.
#[test]
fn a_late_addition_opens_no_later_transaction() {
    let world = World::seeded(11).topic("orders", 1).transaction_version(1);
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(deliver_late(AddPartitionsToTxn, 10 * SECOND).once());
    producer.send("orders", 0, "a");
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    world.expect_sent(InitProducerId, 2);
    world.run_for(100 * SECOND);
    producer.begin();
    producer.send("orders", 0, "b");
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    assert_eq!(world.committed("orders", 0), ["a", "b"]);
}

/// R12, H06: a record that expired makes the commit impossible; the abort repairs it.
#[test]
fn an_expired_record_makes_the_commit_impossible() {
    for version in [1, 2] {
        let world = World::seeded(11)
            .topic("orders", 2)
            .transaction_version(version)
            .set(|settings| settings.delivery_timeout = 5 * SECOND);
        let producer = world.transactional("t-1");
        world.move_leader("orders", 0, None);
        producer.begin();
        let kept = producer.send("orders", 1, "kept");
        world.run_for(SECOND);
        let expired = producer.send("orders", 0, "expired");
        world.run_for(7 * SECOND);
        assert!(matches!(kept.outcome(), RecordOutcome::Written(_)));
        let error = expired.outcome().error();
        assert!(!error.may_be_written(), "{error}");
        let commit = producer.commit();
        world.run_for(SECOND);
        assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
        let abort = producer.abort();
        world.move_leader("orders", 0, Some(1));
        world.run();
        assert_eq!(abort.outcome(), aborted());
        producer.begin();
        producer.send("orders", 0, "b");
        let commit = producer.commit();
        world.run();
        assert_eq!(commit.outcome(), committed());
        assert_eq!(
            (world.committed("orders", 0), world.committed("orders", 1).len()),
            (vec!["b".to_owned()], 0)
        );
    }
}

/// R12: also while the commit is waiting for that very record.
#[test]
fn a_commit_that_waits_for_a_record_that_expires_must_abort() {
    let world = World::seeded(11)
        .topic("orders", 1)
        .set(|settings| settings.delivery_timeout = 5 * SECOND);
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(hold(Produce));
    producer.send("orders", 0, "a");
    let commit = producer.commit();
    world.run_for(10 * SECOND);
    assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
    world.release(Produce);
    let abort = producer.abort();
    world.run();
    assert_eq!(abort.outcome(), aborted());
    assert_eq!(world.committed("orders", 0), NOTHING);
}

/// H17, T-74: a transaction that begins while the markers of the one before are still written is told so, and repeats with a short pause.
#[test]
fn a_transaction_waits_for_the_markers_of_the_one_before() {
    let world = World::seeded(11).topic("orders", 1).transaction_version(1);
    world.configure(|config| config.marker_delay = 300 * MILLI);
    let producer = world.transactional("t-1");
    for value in ["a", "b"] {
        producer.begin();
        producer.send("orders", 0, value);
        let commit = producer.commit();
        while commit.outcome() == waiting() {
            world.run_for(MILLI);
        }
        assert_eq!(commit.outcome(), committed());
    }
    let additions = world.sent(AddPartitionsToTxn);
    assert!(
        (8..=16).contains(&additions.len()),
        "every 20 ms or so for 300 ms: {}",
        additions.len()
    );
    world.run();
    assert_eq!(world.committed("orders", 0), ["a", "b"]);
}

/// T-103, H18: a coordinator that aborted the transaction because it took too long does not commit it.
#[test]
fn a_transaction_that_took_too_long_does_not_commit() {
    for version in [1, 2] {
        let world = World::seeded(11)
            .topic("orders", 1)
            .transaction_version(version)
            .set(|settings| settings.transaction_timeout = 10 * SECOND);
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "a");
        world.run_for(60 * SECOND);
        let commit = producer.commit();
        world.run();
        let outcome = commit.outcome();
        let is_told =
            matches!(outcome, CallOutcome::Dead(_, TransactionFate::NotCommitted)) || outcome.must_abort();
        assert!(is_told, "{outcome:?}");
        assert_eq!(world.committed("orders", 0), NOTHING);
    }
}

/// H18, R8: a fence after an end that went unanswered leaves the outcome open, and says so.
#[test]
fn a_fence_after_an_unanswered_commit_leaves_it_in_doubt() {
    let world = World::seeded(11).topic("orders", 1).transaction_version(1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.rule(drop_answer(EndTxn).once());
    let commit = producer.commit();
    world.run_for(10 * SECOND);
    world.transactional("t-1");
    world.run_for(30 * SECOND);
    assert!(
        matches!(commit.outcome(), CallOutcome::Dead(_, TransactionFate::InDoubt)),
        "{:?}",
        commit.outcome()
    );
    assert_eq!(world.committed("orders", 0), ["a"]);
}

/// H19, T-50: only the code 0 is a commit: every other answer is repeated, demands an abort, or ends the producer.
#[test]
fn no_error_of_the_end_is_taken_for_a_commit() {
    for code in [
        ErrorCode::UnknownServerError,
        ErrorCode::InvalidTxnState,
        ErrorCode::InvalidProducerIdMapping,
    ] {
        let world = World::seeded(11).topic("orders", 1);
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "a");
        world.rule(answer(EndTxn, code));
        let commit = producer.commit();
        world.run_for(20 * SECOND);
        assert_ne!(commit.outcome(), committed(), "{code:?}");
        assert_eq!(world.committed("orders", 0), NOTHING);
    }
}
