//! What becomes of transactions: H01, H02, H04, H05, H06, H16 … H19.

use kommit_protocol::api::ApiKey::{
    self, AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, FindCoordinator, InitProducerId, Produce,
    TxnOffsetCommit,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, deliver_late, drop_answer, hold_request, serve_then_answer};
use kommit_tests::world::{CallOutcome, Fault, World, aborted, committed, waiting};
use kommit_txn_manager::TransactionFate;

use crate::{NOTHING, SECOND, begun, commits, with_both_versions};

/// H01, R6: a commit that was not answered is repeated, and its first copy comes when the next transaction is open. It must not commit that.
#[test]
pub(crate) fn late_endtxn_commit() {
    with_both_versions(|world, _| {
        let producer = begun(&world);
        world.rule(deliver_late(EndTxn, 10 * SECOND).once());
        let first = producer.commit();
        world.run();
        assert_eq!(first.outcome(), committed());
        producer.begin();
        producer.send("orders", 0, "b");
        world.run_for(15 * SECOND);
        let second = producer.abort();
        world.run();
        world.audit();
        assert_eq!(second.outcome(), aborted());
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// H01, R6: the same with an abort, which must not take records from the next transaction.
#[test]
pub(crate) fn late_endtxn_abort() {
    with_both_versions(|world, _| {
        let producer = begun(&world);
        world.rule(deliver_late(EndTxn, 10 * SECOND).once());
        let first = producer.abort();
        world.run();
        assert_eq!(first.outcome(), aborted());
        producer.begin();
        producer.send("orders", 0, "b");
        world.run_for(15 * SECOND);
        producer.send("orders", 0, "c");
        let second = producer.commit();
        world.run();
        assert_eq!(second.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["b", "c"]);
        world.audit();
    });
}

/// H02, R7: an abort behind a commit without an answer is refused, and the commit is found out.
#[test]
pub(crate) fn commit_timeout_then_abort() {
    with_both_versions(|world, _| {
        let producer = begun(&world);
        world.rule(drop_answer(EndTxn).once());
        let commit = producer.commit();
        world.run_for(SECOND);
        let abort = producer.abort();
        world.run_for(SECOND);
        assert!(
            matches!(abort.outcome(), CallOutcome::Refused(_)),
            "{:?}",
            abort.outcome()
        );
        assert_eq!(commit.outcome(), waiting());
        world.run_for(40 * SECOND);
        assert_eq!(commit.outcome(), committed());
        commits(&world, &producer, "b");
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
        world.audit();
    });
}

/// H02, R7: behind a commit without an answer the coordinator asks for an abort. There must be none: the commit may
/// have been carried out, and was.
#[test]
pub(crate) fn abort_asked_for_behind_a_commit() {
    with_both_versions(|world, _| {
        let producer = begun(&world);
        world.rule(drop_answer(EndTxn).once());
        world.rule(answer(EndTxn, ErrorCode::TransactionAbortable).once());
        let commit = producer.commit();
        world.run_for(60 * SECOND);
        // Were it told so, the application would abort.
        if commit.outcome().must_abort() {
            producer.abort();
        }
        world.audit();
        assert_eq!(commit.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// R5: a record expires while its request is out, and the transaction is aborted at once. The end must wait for that request.
#[test]
pub(crate) fn end_behind_an_expired_record() {
    with_both_versions(|world, _| {
        let world = world.set(|settings| settings.delivery_timeout = 5 * SECOND);
        let producer = world.transactional("t-1");
        commits(&world, &producer, "a");
        producer.begin();
        world.rule(drop_answer(Produce).once());
        producer.send("orders", 0, "expires");
        world.run_for(6 * SECOND);
        let abort = producer.abort();
        world.run_for(SECOND);
        assert_eq!(abort.outcome(), waiting());
        world.audit();
        assert_eq!(abort.outcome(), aborted());
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// H18, R8: another instance takes over behind a commit without an answer. The older one must not say that nothing was committed.
#[test]
pub(crate) fn fenced_behind_a_commit() {
    with_both_versions(|world, _| {
        let producer = begun(&world);
        world.rule(drop_answer(EndTxn).once());
        let commit = producer.commit();
        world.run_for(10 * SECOND);
        world.transactional("t-1");
        world.run_for(30 * SECOND);
        assert_ne!(commit.outcome(), waiting());
        world.audit();
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// H04, R6: an addition that was not answered comes late, when its transaction is over. It must open no other one.
#[test]
pub(crate) fn late_addpartitions() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(deliver_late(AddPartitionsToTxn, 10 * SECOND).once());
        commits(&world, &producer, "a");
        // Longer than `transaction.timeout.ms`: whatever the late copy had opened would be aborted, and the producer fenced.
        world.run_for(100 * SECOND);
        commits(&world, &producer, "b");
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
        world.audit();
    });
}

/// H04, H05, R6: the late addition comes between the end of its transaction and the new epoch, and opens one that nobody knows of. The coordinator
/// ends that by fencing this producer, which says so: its transaction is committed, and another instance goes on.
#[test]
pub(crate) fn late_addpartitions_before_the_new_epoch() {
    with_both_versions(|world, version| {
        let producer = world.transactional("t-1");
        world.rule(deliver_late(AddPartitionsToTxn, 2 * SECOND).once());
        world.rule(hold_request(InitProducerId).once());
        producer.begin();
        producer.send("orders", 0, "a");
        let commit = producer.commit();
        world.run_for(5 * SECOND);
        world.release(InitProducerId);
        world.run();
        assert_eq!(commit.outcome(), committed());
        let next = if version == 1 {
            let abort = producer.abort();
            world.run();
            let text = format!("{:?}", abort.outcome());
            assert!(text.contains("FencedAtRenewal"), "{text}");
            world.transactional("t-1")
        } else {
            producer
        };
        commits(&world, &next, "b");
        assert_eq!(world.committed("orders", 0), ["a", "b"]);
        world.audit();
    });
}

/// H05, R9: no new epoch is asked for while the transaction is open: its end is decided first.
#[test]
pub(crate) fn init_while_ongoing() {
    with_both_versions(|world, version| {
        let producer = begun(&world);
        world.rule(answer(Produce, ErrorCode::OutOfOrderSequenceNumber).once());
        producer.send("orders", 0, "b");
        world.run();
        world.expect_sent(InitProducerId, 1);
        let commit = producer.commit();
        world.run();
        assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        let identities = world.sent(InitProducerId);
        assert_eq!(identities.len(), if version == 1 { 2 } else { 1 });
        let ended = world.sent(EndTxn)[0].at;
        assert!(identities.iter().skip(1).all(|request| ended < request.at));
        commits(&world, &producer, "c");
        assert_eq!(world.committed("orders", 0), ["c"]);
        world.audit();
    });
}

/// H06, R12: a record expires before its partition was added, and nobody looks at its outcome. The commit must not succeed without it.
#[test]
pub(crate) fn expire_then_commit() {
    with_both_versions(|world, _| {
        let world = world.set(|settings| settings.delivery_timeout = 35 * SECOND);
        let producer = world.transactional("t-1");
        world.move_leader("orders", 0, None);
        producer.begin();
        producer.send("orders", 1, "kept");
        world.run_for(SECOND);
        producer.send("orders", 0, "expires");
        world.run_for(40 * SECOND);
        let commit = producer.commit();
        world.run_for(SECOND);
        world.move_leader("orders", 0, Some(1));
        assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        commits(&world, &producer, "next");
        assert_eq!(world.committed("orders", 1), NOTHING);
        world.audit();
    });
}

/// H16: a transaction without records ends without a request, and leaves the next one as it was.
#[test]
pub(crate) fn empty_txn() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        producer.begin();
        let commit = producer.commit();
        world.run();
        producer.begin();
        let abort = producer.abort();
        world.run();
        assert_eq!((commit.outcome(), abort.outcome()), (committed(), aborted()));
        world.expect_unsent(EndTxn);
        commits(&world, &producer, "a");
        world.audit();
    });
}

/// H16: a transaction whose only record failed may be known to the coordinator, and must be ended there.
#[test]
pub(crate) fn all_failed_txn() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        producer.begin();
        world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
        producer.send("orders", 0, "refused");
        world.run();
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        world.expect_sent(EndTxn, 1);
        commits(&world, &producer, "b");
        assert_eq!(world.committed("orders", 0), ["b"]);
        world.audit();
    });
}

/// H17: a coordinator that asks for patience is waited for as long as a transaction may last; then the commit is in doubt and never done.
#[test]
pub(crate) fn concurrent_txn_storm() {
    with_both_versions(|world, _| {
        let producer = world.transactional("t-1");
        world.rule(answer(EndTxn, ErrorCode::ConcurrentTransactions).times(5));
        commits(&world, &producer, "patience helps");
        producer.begin();
        producer.send("orders", 0, "patience ends");
        world.rule(answer(EndTxn, ErrorCode::ConcurrentTransactions));
        let commit = producer.commit();
        world.run_for(90 * SECOND);
        let outcome = commit.outcome();
        assert!(
            matches!(outcome, CallOutcome::Dead(_, TransactionFate::InDoubt)),
            "{outcome:?}"
        );
        world.audit();
        assert_eq!(world.committed("orders", 0), ["patience helps"]);
    });
}

/// H18: the coordinator aborts what takes too long. The commit behind that is told as not committed.
#[test]
pub(crate) fn txn_timeout_race() {
    with_both_versions(|world, _| {
        let world = world.set(|settings| settings.transaction_timeout = 10 * SECOND);
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
        world.audit();
    });
}

/// Every number that may stand in an answer, those included that Kafka has not given out yet.
const CODES: std::ops::RangeInclusive<i16> = -1..=134;

/// One transaction with offsets, and an answer that does not belong there: whatever is told of it must be true.
fn play_with(world: World, fault: Fault) {
    let producer = world.transactional("t-1");
    world.rule(fault.once());
    producer.begin();
    producer.send("orders", 0, "a");
    producer.send_offset("readers", "orders", 1);
    world.run_for(SECOND);
    producer.send("orders", 1, "b");
    let commit = producer.commit();
    world.run_for(40 * SECOND);
    assert_ne!(commit.outcome(), waiting());
    if commit.outcome().must_abort() {
        producer.abort();
    }
    world.audit();
}

/// The answers to EndTxn that prove that it was not carried out. A broker that carries it out and says so lies, which no client finds out.
const PROOFS: [ErrorCode; 7] = [
    ErrorCode::InvalidTxnState,
    ErrorCode::ProducerFenced,
    ErrorCode::InvalidProducerEpoch,
    ErrorCode::InvalidProducerIdMapping,
    ErrorCode::TransactionalIdAuthorizationFailed,
    ErrorCode::UnknownProducerId,
    ErrorCode::TransactionAbortable,
];

/// H19: whatever code EndTxn is answered with, whether the end was carried out or not, only the truth is told.
#[test]
pub(crate) fn endtxn_weird_errors() {
    for number in CODES.filter(|number| *number != 0) {
        let code = ErrorCode::from_code(number);
        with_both_versions(|world, _| play_with(world, answer(EndTxn, code)));
        if !PROOFS.contains(&code) {
            with_both_versions(|world, _| play_with(world, serve_then_answer(EndTxn, code)));
        }
    }
}

/// H19: the same for every other request of a transaction.
#[test]
pub(crate) fn weird_errors_elsewhere() {
    const APIS: [ApiKey; 5] = [
        Produce,
        AddPartitionsToTxn,
        AddOffsetsToTxn,
        TxnOffsetCommit,
        FindCoordinator,
    ];
    // "It is there already" is said of a batch that is not there: a lie, too.
    let duplicate = ErrorCode::DuplicateSequenceNumber.code();
    for number in CODES.filter(|number| ![0, duplicate].contains(number)) {
        for api in APIS {
            let code = ErrorCode::from_code(number);
            with_both_versions(|world, _| play_with(world, answer(api, code)));
        }
    }
}
