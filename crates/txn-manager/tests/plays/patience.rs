//! How long a request is repeated, and when a group coordinator is looked up again (H17, H25).

use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_txn_manager::*;

use crate::stage::*;

/// `transaction.timeout.ms` of the stage.
const BOUND: Duration = Duration::from_secs(60);
/// Just short of it.
const ALMOST: Duration = Duration::from_millis(59_999);

/// Lets the broker refuse the request for as long as a transaction may last, and lets that time pass.
fn storm(stage: &mut Stage, kind: RequestKind) {
    stage.fail(kind, ErrorCode::ConcurrentTransactions);
    stage.now += ALMOST;
    stage.fail(kind, ErrorCode::ConcurrentTransactions);
    stage.now += BOUND - ALMOST;
}

/// H17: a partition that cannot be added for as long as the transaction may last condemns it, and the abort still works.
#[test]
fn a_storm_against_additions_condemns_the_transaction() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    storm(&mut stage, RequestKind::AddPartitionsToTxn);
    stage.expect_nothing();
    let error = stage.manager.abortable_error().expect("condemned").to_string();
    for piece in [
        "\"t-1\"",
        "AddPartitionsToTxn",
        "60000 ms",
        "CONCURRENT_TRANSACTIONS",
    ] {
        assert!(error.contains(piece), "{piece} is missing in: {error}");
    }
    stage.abort();
    stage.expect_nothing();
    assert_eq!(
        stage.outcomes(),
        [Outcome::Aborted],
        "nothing was added, so there is nothing to end"
    );
}

/// H17: offsets that cannot be added fail their caller with the transaction.
#[test]
fn a_storm_against_offsets_fails_their_caller() {
    for (flavour, kind) in [
        (Flavour::V1, RequestKind::AddOffsetsToTxn),
        (Flavour::V2, RequestKind::TxnOffsetCommit),
    ] {
        let mut stage = Stage::transactional(flavour);
        stage.begin();
        stage.offsets(1);
        stage.fail(kind, ErrorCode::ConcurrentTransactions);
        stage.now += BOUND;
        stage.expect_nothing();
        assert!(matches!(
            stage.outcomes().as_slice(),
            [Outcome::MustAbort(TransactionError::RetriesExhausted { .. })]
        ));
        assert_eq!(stage.state(), StateName::AbortableError);
    }
}

/// H17, R7: a commit that is answered "later" for ever is in doubt, never a success, and never an abort.
#[test]
fn a_storm_against_a_commit_leaves_it_in_doubt() {
    for flavour in [Flavour::V1, Flavour::V2] {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        stage.commit();
        storm(&mut stage, RequestKind::EndTxn);
        stage.leave_in_doubt();
        stage.expect_nothing();
        assert!(matches!(
            stage.outcomes().as_slice(),
            [Outcome::Dead {
                transaction: TransactionFate::InDoubt,
                ..
            }]
        ));
    }
}

/// H17: an abort that is refused for ever ends the producer; nothing is committed.
#[test]
fn a_storm_against_an_abort_ends_the_producer() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    stage.abort();
    storm(&mut stage, RequestKind::EndTxn);
    stage.expect_nothing();
    assert!(matches!(
        stage.outcomes().as_slice(),
        [Outcome::Dead {
            transaction: TransactionFate::NotCommitted,
            ..
        }]
    ));
}

/// R8, H17: a storm against the bump behind a commit cannot change what was decided.
#[test]
fn a_storm_behind_a_commit_keeps_it_committed() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage.manager.note_unanswered();
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    storm(&mut stage, RequestKind::InitProducerId);
    stage.expect_nothing();
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(stage.state(), StateName::FatalError);
}

/// R7, H17: an outage is no storm. A commit that nobody answers is repeated until somebody tells the truth.
#[test]
fn a_commit_without_an_answer_is_repeated_through_an_outage() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    stage.commit();
    for _ in 0..10 {
        stage.disconnect(RequestKind::EndTxn);
        stage.now += BOUND;
        stage.succeed(RequestKind::FindCoordinator);
    }
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// H17: what a storm lasted is counted from its beginning, not from the beginning of the outage before it.
#[test]
fn the_first_refusal_behind_an_outage_ends_nothing() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    stage.commit();
    stage.disconnect(RequestKind::EndTxn);
    stage.now += BOUND;
    stage.succeed(RequestKind::FindCoordinator);
    stage.fail(RequestKind::EndTxn, ErrorCode::CoordinatorLoadInProgress);
    stage.now += ALMOST;
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// H25: while offsets wait for a group coordinator that asks for patience, it is looked up once per second.
#[test]
fn the_group_coordinator_is_looked_up_once_per_second_while_offsets_wait() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(1);
    let mut lookups = 0;
    // Five seconds in steps of a quarter: the first attempt begins the first second, so that five lookups follow.
    for _ in 0..=20 {
        let mut request = stage
            .manager
            .next_request(Batches::AllComplete, stage.now)
            .expect("the offsets wait");
        if request.kind() == RequestKind::FindCoordinator {
            lookups += 1;
            let found = answer(&request, ErrorCode::None);
            stage.manager.answered(request, found);
            request = stage.take(RequestKind::TxnOffsetCommit);
        }
        let loading = answer(&request, ErrorCode::CoordinatorLoadInProgress);
        stage.manager.answered(request, loading);
        stage.now += Duration::from_millis(250);
    }
    assert_eq!(lookups, 5);
}

/// H25, H17: a lookup that never succeeds holds the offsets no longer than the transaction may last.
#[test]
fn offsets_do_not_wait_for_a_lookup_longer_than_the_transaction_may_last() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(1);
    let request = stage.take(RequestKind::TxnOffsetCommit);
    stage.manager.find_coordinator_and_put_back(request);
    stage.fail(RequestKind::FindCoordinator, ErrorCode::CoordinatorNotAvailable);
    stage.now += BOUND;
    let _lookup = stage.take(RequestKind::FindCoordinator);
    assert!(matches!(
        stage.outcomes().as_slice(),
        [Outcome::MustAbort(TransactionError::RetriesExhausted {
            code: None,
            ..
        })]
    ));
}

/// H01: on request, every V1 transaction that reached the coordinator is followed by a new epoch, and no empty one is.
#[test]
fn every_transaction_can_be_followed_by_a_new_epoch() {
    let config = TransactionConfig {
        fencing: Fencing::EveryTransaction,
        ..TransactionConfig::transactional("t-1")
    };
    let mut stage = Stage::with(config, Flavour::V1, EpochBumpSupport::Supported);
    stage.begin_with_partition();
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [], "the new epoch comes first");
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(stage.manager.identity(), Some(identity(1)));
    stage.begin();
    stage.commit();
    stage.expect_nothing();
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}
