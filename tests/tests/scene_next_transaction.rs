//! The transaction that is begun while the commit of the one before is under way: what is sent when, and what becomes of it when that commit
//! fails, with both versions.

use std::time::Duration;

use kommit_protocol::api::ApiKey::{
    self, AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, InitProducerId, Produce, TxnOffsetCommit,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, drop_answer, drop_request, hold};
use kommit_tests::world::{
    Call, CallOutcome, Producer, RecordOutcome, World, aborted, begun, committed, waiting, written_at,
};
use kommit_txn_manager::TransactionFate;

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [&str; 0] = [];
const ADDITIONS: [ApiKey; 4] = [Produce, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit];

fn with_both_versions(play: impl Fn(World, u8)) {
    for version in [1, 2] {
        let world = World::seeded(17).topic("orders", 2).transaction_version(version);
        play(world, version);
    }
}

/// A transaction with one record, whose commit is on its way while the next one is open.
fn goes_on(world: &World, producer: &Producer, value: &str) -> Call {
    producer.begin();
    producer.send("orders", 0, value);
    let (commit, next) = producer.commit_and_begin();
    world.run_until_sent(EndTxn, 1);
    assert_eq!(next.outcome(), begun());
    commit
}

fn additions(world: &World) -> usize {
    ADDITIONS.iter().map(|api| world.sent(*api).len()).sum()
}

/// P-28, S-26: while EndTxn is out, records and offsets of the next transaction are taken, and nothing of them is sent; behind its answer
/// they go, without another call.
#[test]
fn nothing_of_the_next_transaction_is_sent_before_the_commit_is_answered() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(hold(EndTxn).once());
        let first = goes_on(&world, &producer, "a");
        let before = additions(&world);
        let records = [producer.send("orders", 0, "b"), producer.send("orders", 1, "c")];
        let offsets = producer.send_offset("readers", "orders", 1);
        world.run_for(5 * SECOND);
        assert_eq!(additions(&world), before);
        assert_eq!((first.outcome(), offsets.outcome()), (waiting(), waiting()));
        world.release(EndTxn);
        world.run();
        assert_eq!(
            (first.outcome(), offsets.outcome()),
            (committed(), CallOutcome::OffsetsAdded)
        );
        assert!(
            records
                .iter()
                .all(|it| matches!(it.outcome(), RecordOutcome::Written(_)))
        );
        assert_eq!(world.committed("orders", 0), ["a"]);
        let second = producer.commit();
        world.run();
        assert_eq!(second.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
        assert_eq!(world.committed("orders", 1), ["c"]);
        world.audit();
    });
}

/// T-40: the next transaction begins when nothing of the one before is incomplete, and no sooner.
#[test]
fn the_next_transaction_begins_when_everything_of_the_one_before_is_written() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        producer.begin();
        world.rule(hold(Produce).once());
        producer.send("orders", 0, "a");
        let (commit, next) = producer.commit_and_begin();
        world.run_for(SECOND);
        assert_eq!((commit.outcome(), next.outcome()), (waiting(), waiting()));
        let early = producer.send("orders", 0, "too early");
        assert!(matches!(early.outcome(), RecordOutcome::Refused(_)));
        world.release(Produce);
        world.run();
        assert_eq!((commit.outcome(), next.outcome()), (committed(), begun()));
        world.audit();
    });
}

/// P-30: the end of the next transaction, whichever it is, waits for the outcome of the one before, and so does another one behind it.
#[test]
fn transactions_follow_each_other_without_a_pause_of_the_application() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(hold(EndTxn).once());
        let first = goes_on(&world, &producer, "a");
        producer.send("orders", 0, "b");
        let (second, third_begun) = producer.commit_and_begin();
        world.run_for(SECOND);
        world.expect_sent(EndTxn, 1);
        assert_eq!((second.outcome(), third_begun.outcome()), (waiting(), waiting()));
        world.release(EndTxn);
        world.run();
        assert_eq!((first.outcome(), second.outcome()), (committed(), committed()));
        assert_eq!(third_begun.outcome(), begun());
        producer.send("orders", 0, "c");
        let third = producer.abort();
        world.run();
        assert_eq!(third.outcome(), aborted());
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
        world.audit();
    });
}

/// H16: behind a transaction without records the next one begins at once, and nothing is asked of anybody.
#[test]
fn behind_an_empty_transaction_the_next_begins_at_once() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        producer.begin();
        for _ in 0..3 {
            let (commit, next) = producer.commit_and_begin();
            world.run();
            assert_eq!((commit.outcome(), next.outcome()), (committed(), begun()));
        }
        world.expect_unsent(EndTxn);
        let record = producer.send("orders", 0, "a");
        let commit = producer.commit();
        world.run();
        assert_eq!((record.outcome(), commit.outcome()), (written_at(0), committed()));
        world.audit();
    });
}

/// R12, T-84: a record of the next transaction that expires while the commit is out condemns its own transaction, not the one before.
#[test]
fn an_expired_record_condemns_its_own_transaction() {
    with_both_versions(|world, _| {
        let world = world.set(|settings| settings.delivery_timeout = 5 * SECOND);
        let producer = world.transactional("t-1");
        world.rule(hold(EndTxn).once());
        let first = goes_on(&world, &producer, "a");
        let record = producer.send("orders", 0, "expires");
        let second = producer.commit();
        world.run_for(6 * SECOND);
        assert!(!record.outcome().error().may_be_written());
        world.release(EndTxn);
        world.run();
        assert_eq!(first.outcome(), committed());
        assert!(second.outcome().must_abort(), "{:?}", second.outcome());
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        world.audit();
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// T-54, R8: a commit that is refused takes the next transaction with it: its records are surely in no log, and only an abort is left.
#[test]
fn a_refused_commit_leaves_the_next_transaction_only_its_abort() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(answer(EndTxn, ErrorCode::TransactionAbortable).once());
        let first = goes_on(&world, &producer, "a");
        let record = producer.send("orders", 1, "b");
        let offsets = producer.send_offset("readers", "orders", 1);
        world.run();
        assert!(first.outcome().must_abort(), "{:?}", first.outcome());
        assert!(offsets.outcome().must_abort(), "{:?}", offsets.outcome());
        let error = record.outcome().error();
        assert!(!error.may_be_written() && error.requires_abort(), "{error}");
        let late = producer.send("orders", 1, "c");
        assert!(matches!(late.outcome(), RecordOutcome::Refused(_)));
        let second = producer.commit();
        world.run();
        assert!(second.outcome().must_abort(), "{:?}", second.outcome());
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        world.audit();
        assert_eq!(world.log("orders", 1), NOTHING);
    });
}

/// R8, H18: a commit in doubt takes the producer with it, and what is said of the next transaction is certain all the same.
#[test]
fn a_commit_in_doubt_ends_the_next_transaction_for_certain() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(answer(EndTxn, ErrorCode::ConcurrentTransactions));
        let first = goes_on(&world, &producer, "a");
        let record = producer.send("orders", 1, "b");
        let second = producer.commit();
        world.run_for(90 * SECOND);
        assert!(
            matches!(first.outcome(), CallOutcome::Dead(_, TransactionFate::InDoubt)),
            "{:?}",
            first.outcome()
        );
        assert!(!record.outcome().error().may_be_written());
        assert!(
            matches!(second.outcome(), CallOutcome::Refused(_)),
            "{:?}",
            second.outcome()
        );
        world.audit();
        assert_eq!(world.log("orders", 1), NOTHING);
    });
}

/// R6: a commit with an unanswered attempt is followed by a new epoch with version 1, and the next transaction waits for that, too.
#[test]
fn the_next_transaction_has_the_new_epoch_behind_an_unanswered_commit() {
    with_both_versions(|world, version| {
        let producer = world.transactional("t-1");
        world.rule(drop_answer(EndTxn).once());
        world.rule(hold(InitProducerId).once());
        let first = goes_on(&world, &producer, "a");
        let record = producer.send("orders", 0, "b");
        world.run_for(40 * SECOND);
        if version == 1 {
            assert_eq!(
                (first.outcome(), record.outcome()),
                (waiting(), RecordOutcome::Waiting)
            );
        }
        world.release(InitProducerId);
        let second = producer.commit();
        world.run();
        assert_eq!((first.outcome(), second.outcome()), (committed(), committed()));
        let epochs = world.epochs("orders", 0);
        assert!(epochs[0] < epochs[1], "{epochs:?}");
        world.audit();
    });
}

/// R10: the version of the next transaction is that of the moment at which it begins for the coordinator.
#[test]
fn the_version_is_fixed_when_the_next_transaction_really_begins() {
    let world = World::seeded(17).topic("orders", 1).transaction_version(1);
    let producer = world.transactional("t-1");
    world.rule(hold(EndTxn).once());
    let first = goes_on(&world, &producer, "a");
    producer.send("orders", 0, "b");
    let world = world.transaction_version(2);
    // The upgrade is learned of on a new connection.
    world.cut(1);
    world.release(EndTxn);
    let second = producer.commit();
    world.run();
    assert_eq!((first.outcome(), second.outcome()), (committed(), committed()));
    let ends: Vec<i16> = world.sent(EndTxn).iter().map(|request| request.version).collect();
    assert_eq!((ends.first(), ends.last()), (Some(&4), Some(&5)), "{ends:?}");
    world.audit();
}

/// S-7, S-9: a close waits for the commit, sends what the next transaction has, and aborts it, since nobody ended it.
#[test]
fn a_close_ends_both_transactions() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(hold(EndTxn).once());
        let first = goes_on(&world, &producer, "a");
        producer.send("orders", 0, "b");
        producer.close();
        world.run_for(SECOND);
        assert!(!producer.is_closed());
        world.release(EndTxn);
        world.run();
        assert!(producer.is_closed());
        assert_eq!(first.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["a"]);
        world.audit();
    });
}

/// S-13: a forced close tells everybody, and the records of the next transaction are in no log.
#[test]
fn a_forced_close_ends_both_transactions_at_once() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(drop_request(EndTxn).once());
        let first = goes_on(&world, &producer, "a");
        let record = producer.send("orders", 1, "b");
        let second = producer.commit();
        producer.force_close();
        world.run();
        assert!(
            matches!(first.outcome(), CallOutcome::Dead(_, TransactionFate::InDoubt)),
            "{:?}",
            first.outcome()
        );
        assert!(matches!(second.outcome(), CallOutcome::Refused(_)));
        assert!(!record.outcome().error().may_be_written());
        world.audit();
        assert_eq!(world.log("orders", 1), NOTHING);
    });
}
