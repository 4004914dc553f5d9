//! The hazards of a commit when the next transaction is open already: H01, H02, H05, H17.

use kommit_protocol::api::ApiKey::{
    AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, InitProducerId, Produce, TxnOffsetCommit,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, deliver_late, drop_answer};
use kommit_tests::world::{Call, CallOutcome, Producer, World, aborted, begun, committed, waiting};

use crate::{NOTHING, SECOND, commits, with_both_versions};

/// Commits a record, and sends another one into the transaction behind that, whose commit is under way.
fn goes_on(world: &World, producer: &Producer) -> Call {
    producer.begin();
    producer.send("orders", 0, "a");
    let (commit, next) = producer.commit_and_begin();
    world.run_until_sent(EndTxn, 1);
    assert_eq!(next.outcome(), begun());
    producer.send("orders", 0, "b");
    commit
}

/// H01, R6: a commit that was not answered is repeated, and its first copy comes when the next transaction, begun meanwhile, is open for the
/// coordinator, too.
#[test]
pub(crate) fn late_endtxn_commit() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(deliver_late(EndTxn, 10 * SECOND).once());
        let first = goes_on(&world, &producer);
        world.run_for(5 * SECOND);
        assert_eq!(first.outcome(), committed());
        world.run_for(15 * SECOND);
        let second = producer.abort();
        world.run();
        world.audit();
        assert_eq!(second.outcome(), aborted());
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// H02, R7: the next transaction is aborted while the commit before it has no answer. The abort waits, and is not that commit's.
#[test]
pub(crate) fn abort_of_the_next_behind_a_commit() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(drop_answer(EndTxn).once());
        let first = goes_on(&world, &producer);
        let second = producer.abort();
        world.run_for(10 * SECOND);
        assert_eq!((first.outcome(), second.outcome()), (waiting(), waiting()));
        world.run_for(40 * SECOND);
        assert_eq!((first.outcome(), second.outcome()), (committed(), aborted()));
        commits(&world, &producer, "c");
        world.audit();
        assert_eq!(world.committed("orders", 0), ["a", "c"]);
    });
}

/// H02, R7: the coordinator asks for an abort behind a commit without an answer. The commit may have been carried out, and was. The producer
/// is of no more use then, and the next transaction is nowhere.
#[test]
pub(crate) fn abort_asked_for_behind_a_commit() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(drop_answer(EndTxn).once());
        world.rule(answer(EndTxn, ErrorCode::TransactionAbortable).once());
        let first = goes_on(&world, &producer);
        let second = producer.commit();
        world.run_for(60 * SECOND);
        if first.outcome().must_abort() || second.outcome().must_abort() {
            producer.abort();
        }
        world.audit();
        assert_eq!(first.outcome(), committed());
        assert!(
            matches!(second.outcome(), CallOutcome::Refused(_)),
            "{:?}",
            second.outcome()
        );
        assert_eq!(world.log("orders", 0), ["a"]);
    });
}

/// H05, R9: the new epoch behind an unanswered commit comes before anything of the next transaction, which was begun before it.
#[test]
pub(crate) fn init_while_ongoing() {
    with_both_versions(|world, version| {
        let producer = world.transactional("t-1");
        world.rule(drop_answer(EndTxn).once());
        let first = goes_on(&world, &producer);
        producer.send_offset("readers", "orders", 1);
        world.run_for(40 * SECOND);
        assert_eq!(first.outcome(), committed());
        let second = producer.commit();
        world.run();
        assert_eq!(second.outcome(), committed());
        let renewed = world.sent(InitProducerId);
        assert_eq!(renewed.len(), if version == 1 { 2 } else { 1 });
        let decided = world.sent(EndTxn)[1].at;
        let next_of = |api| world.sent(api).into_iter().find(|it| it.at > decided);
        let next = [AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, Produce].map(next_of);
        let before = |it: &kommit_tests::world::SentFrame| renewed.iter().all(|init| init.at < it.at);
        assert!(next.iter().flatten().all(before), "{next:?}");
        world.audit();
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
    });
}

/// H17: the coordinator asks for patience, behind the commit and before the first addition of the next transaction: both are waited for.
#[test]
pub(crate) fn concurrent_txn_storm() {
    for api in [EndTxn, AddPartitionsToTxn, AddOffsetsToTxn] {
        with_both_versions(|world, _| {
            let producer = world.transactional("t-1");
            let first = goes_on(&world, &producer);
            world.rule(answer(api, ErrorCode::ConcurrentTransactions).times(5));
            producer.send_offset("readers", "orders", 1);
            let second = producer.commit();
            world.run_for(20 * SECOND);
            assert_eq!((first.outcome(), second.outcome()), (committed(), committed()));
            world.audit();
            assert_eq!(world.committed("orders", 0), ["a", "b"]);
        });
    }
}

/// H18: the transaction before was aborted by its time-out, and its commit says so. The next one is in no log.
#[test]
pub(crate) fn txn_timeout_race() {
    with_both_versions(|world, _| {
        let world = world.set(|settings| settings.transaction_timeout = 10 * SECOND);
        let producer = world.transactional("t-1");
        world.rule(deliver_late(EndTxn, 60 * SECOND).once());
        world.rule(answer(EndTxn, ErrorCode::NotCoordinator).times(300));
        let first = goes_on(&world, &producer);
        world.run_for(90 * SECOND);
        assert_ne!(first.outcome(), committed());
        world.audit();
        assert_eq!(world.log("orders", 0).len(), 1);
        assert_eq!(world.committed("orders", 0), NOTHING);
    });
}
