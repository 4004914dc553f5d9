//! What a commit or an abort tells its caller: committed, must abort, in doubt, dead (R6, R7, R8, H18, H19).

use kommit_protocol::error_code::ErrorCode;
use kommit_txn_manager::*;

use crate::stage::*;

const BOTH: [Flavour; 2] = [Flavour::V1, Flavour::V2];

fn committing(flavour: Flavour) -> Stage {
    let mut stage = Stage::transactional(flavour);
    stage.begin_with_partition();
    stage.commit();
    stage
}

/// The only outcome, which must be a death: what became of the transaction.
fn fate_of_death(stage: &mut Stage) -> TransactionFate {
    assert_eq!(stage.state(), StateName::FatalError);
    match stage.outcomes().as_slice() {
        [Outcome::Dead { transaction, .. }] => *transaction,
        other => panic!("one death, not {other:?}"),
    }
}

/// R7, T-48, T-49, T-51: a commit without an answer is repeated as it is, at whoever coordinates now.
#[test]
fn an_unanswered_commit_is_repeated_as_it_is() {
    for flavour in BOTH {
        let mut stage = committing(flavour);
        let request = stage.take(RequestKind::EndTxn);
        let first = request.body().clone();
        stage.manager.answered(request, Answer::TimedOut);
        assert_eq!(stage.manager.coordinator(CoordinatorType::Transaction), None);
        stage.succeed(RequestKind::FindCoordinator);
        let again = stage.take(RequestKind::EndTxn);
        assert_eq!((again.body(), again.is_retry()), (&first, true));
    }
}

/// R6, H01, T-45: in V1 a late copy of an unanswered EndTxn is fenced off before the result is told.
#[test]
fn an_unanswered_v1_commit_is_followed_by_a_bump_before_its_result() {
    let mut stage = committing(Flavour::V1);
    stage.disconnect(RequestKind::EndTxn);
    stage.succeed(RequestKind::FindCoordinator);
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(
        (stage.outcomes(), stage.state()),
        (vec![], StateName::Initializing)
    );
    let request = stage.take(RequestKind::InitProducerId);
    assert_eq!(request.min_version(), Some(3), "it must carry the identity");
    let RequestBody::InitProducerId(body) = request.body() else {
        panic!("asserted above")
    };
    assert_eq!(
        (body.producer_id, body.producer_epoch),
        (ID, identity(0).epoch),
        "R9"
    );
    let yes = answer(&request, ErrorCode::None);
    stage.manager.answered(request, yes);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(stage.manager.identity(), Some(identity(1)));
}

/// R6: an unanswered produce request counts, too. V2 needs none of it: its epoch changes anyway.
#[test]
fn an_unanswered_batch_is_followed_by_a_bump_in_v1_only() {
    for flavour in BOTH {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        stage.manager.note_unanswered();
        stage.abort();
        stage.succeed(RequestKind::EndTxn);
        if flavour == Flavour::V1 {
            stage.succeed(RequestKind::InitProducerId);
        }
        stage.expect_nothing();
        assert_eq!(stage.outcomes(), [Outcome::Aborted]);
        assert_eq!(stage.manager.identity(), Some(identity(1)));
    }
}

/// R6: the dirty bit belongs to its transaction.
#[test]
fn the_next_clean_transaction_needs_no_bump() {
    let mut stage = committing(Flavour::V1);
    stage.manager.note_unanswered();
    stage.succeed(RequestKind::EndTxn);
    stage.succeed(RequestKind::InitProducerId);
    stage.outcomes();
    stage.begin_with_partition();
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    stage.expect_nothing();
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// R8: what was decided stays decided, even if the bump behind it kills the producer.
#[test]
fn a_commit_stays_committed_when_the_bump_behind_it_is_fenced() {
    let mut stage = committing(Flavour::V1);
    stage.manager.note_unanswered();
    stage.succeed(RequestKind::EndTxn);
    stage.fail(RequestKind::InitProducerId, ErrorCode::ProducerFenced);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(stage.state(), StateName::FatalError);
}

/// H18: fenced without an earlier unknown attempt means aborted; behind one it means in doubt.
#[test]
fn a_fenced_commit_is_in_doubt_only_behind_an_unanswered_one() {
    for code in [
        ErrorCode::ProducerFenced,
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::InvalidProducerIdMapping,
    ] {
        let mut stage = committing(Flavour::V1);
        stage.fail(RequestKind::EndTxn, code);
        assert_eq!(
            fate_of_death(&mut stage),
            TransactionFate::NotCommitted,
            "{code:?}"
        );

        let mut stage = committing(Flavour::V1);
        stage.disconnect(RequestKind::EndTxn);
        stage.succeed(RequestKind::FindCoordinator);
        stage.fail(RequestKind::EndTxn, code);
        stage.leave_in_doubt();
        assert_eq!(fate_of_death(&mut stage), TransactionFate::InDoubt, "{code:?}");
    }
}

/// The table of what answers prove: a retriable answer to a commit leaves its fate open.
#[test]
fn a_commit_that_was_answered_with_a_retriable_error_may_have_been_carried_out() {
    let retriable = [
        ErrorCode::ConcurrentTransactions,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::CoordinatorLoadInProgress,
    ];
    for code in retriable {
        let mut stage = committing(Flavour::V2);
        stage.fail(RequestKind::EndTxn, code);
        if code == ErrorCode::CoordinatorNotAvailable {
            stage.succeed(RequestKind::FindCoordinator);
        }
        stage.fail(RequestKind::EndTxn, ErrorCode::ProducerFenced);
        stage.leave_in_doubt();
        assert_eq!(fate_of_death(&mut stage), TransactionFate::InDoubt, "{code:?}");
    }
}

/// H18, E-4: INVALID_TXN_STATE proves that nothing was committed; the producer is dead all the same.
#[test]
fn invalid_txn_state_means_not_committed() {
    for flavour in BOTH {
        let mut stage = committing(flavour);
        stage.disconnect(RequestKind::EndTxn);
        stage.succeed(RequestKind::FindCoordinator);
        stage.fail(RequestKind::EndTxn, ErrorCode::InvalidTxnState);
        assert_eq!(fate_of_death(&mut stage), TransactionFate::NotCommitted);
    }
}

/// H19: only 0 is success.
#[test]
fn an_unknown_server_error_leaves_a_commit_in_doubt() {
    let mut stage = committing(Flavour::V2);
    stage.fail(RequestKind::EndTxn, ErrorCode::UnknownServerError);
    stage.leave_in_doubt();
    assert_eq!(fate_of_death(&mut stage), TransactionFate::InDoubt);
}

/// E-4: a commit that the broker refuses with TRANSACTION_ABORTABLE can be aborted.
#[test]
fn a_refused_commit_must_be_aborted() {
    for flavour in BOTH {
        let mut stage = committing(flavour);
        stage.fail(RequestKind::EndTxn, ErrorCode::TransactionAbortable);
        assert!(matches!(stage.outcomes().as_slice(), [Outcome::MustAbort(_)]));
        stage.abort();
        stage.succeed(RequestKind::EndTxn);
        assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    }
}

/// R7: behind an unknown commit there is no abort, whatever the broker asks for.
#[test]
fn a_commit_that_may_have_been_carried_out_is_never_aborted() {
    for code in [ErrorCode::TransactionAbortable, ErrorCode::UnknownProducerId] {
        let mut stage = committing(Flavour::V2);
        stage.disconnect(RequestKind::EndTxn);
        stage.succeed(RequestKind::FindCoordinator);
        stage.fail(RequestKind::EndTxn, code);
        stage.leave_in_doubt();
        assert_eq!(fate_of_death(&mut stage), TransactionFate::InDoubt, "{code:?}");
    }
}

/// R7, H02: while a commit is under way an abort is refused.
#[test]
fn an_abort_beside_a_running_commit_is_refused() {
    let mut stage = committing(Flavour::V1);
    let _out = stage.take(RequestKind::EndTxn);
    let ticket = stage.ticket();
    let refused = stage
        .manager
        .begin_abort(ticket)
        .expect_err("a commit is under way");
    assert!(matches!(refused, CommandError::IllegalState(_)));
    assert!(refused.to_string().contains("call commit again"), "{refused}");
}

/// T-4, T-34: the same operation, called again, waits for the same result.
#[test]
fn a_repeated_commit_joins_the_running_one() {
    let mut stage = committing(Flavour::V1);
    let request = stage.take(RequestKind::EndTxn);
    stage.commit();
    let yes = answer(&request, ErrorCode::None);
    stage.manager.answered(request, yes);
    stage.expect_nothing();
    assert_eq!(stage.outcomes(), [Outcome::Committed, Outcome::Committed]);
}

/// T-45, T-52, R8: a coordinator whose InitProducerId cannot carry the identity ends the producer; what was committed stays committed.
#[test]
fn a_bump_that_no_version_carries_is_fatal_behind_the_commit() {
    let mut stage = committing(Flavour::V1);
    stage.disconnect(RequestKind::EndTxn);
    stage.succeed(RequestKind::FindCoordinator);
    stage.succeed(RequestKind::EndTxn);
    let bump = stage.take(RequestKind::InitProducerId);
    stage.manager.answered(bump, Answer::VersionMismatch);
    assert_eq!(stage.state(), StateName::FatalError);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// T-58, R8: closing while a commit is out leaves it in doubt; while it waits for batches, not committed.
#[test]
fn a_forced_close_tells_whether_the_commit_is_in_doubt() {
    let mut stage = committing(Flavour::V2);
    let _out = stage.take(RequestKind::EndTxn);
    stage.manager.close();
    assert_eq!(fate_of_death(&mut stage), TransactionFate::InDoubt);

    let mut stage = committing(Flavour::V2);
    stage.manager.close();
    assert_eq!(fate_of_death(&mut stage), TransactionFate::NotCommitted);
}

/// R1: a commit that was taken and put back was not written, so nothing is in doubt.
#[test]
fn a_commit_that_never_left_is_not_in_doubt() {
    let mut stage = committing(Flavour::V2);
    let request = stage.take(RequestKind::EndTxn);
    stage.manager.find_coordinator_and_put_back(request);
    stage.manager.close();
    assert_eq!(fate_of_death(&mut stage), TransactionFate::NotCommitted);
}

/// T-52: a version mismatch writes nothing. An undecodable answer was an answer, but what it said is unknown.
#[test]
fn a_mismatch_decides_nothing_and_an_undecodable_answer_leaves_doubt() {
    for (answer, fate) in [
        (Answer::VersionMismatch, TransactionFate::NotCommitted),
        (Answer::Undecodable, TransactionFate::InDoubt),
    ] {
        let mut stage = committing(Flavour::V2);
        let request = stage.take(RequestKind::EndTxn);
        stage.manager.answered(request, answer);
        if fate == TransactionFate::InDoubt {
            stage.leave_in_doubt();
        }
        assert_eq!(fate_of_death(&mut stage), fate);
    }
}

/// D-19: an abort that cannot be carried out kills the producer; nothing was committed.
#[test]
fn an_abort_that_is_refused_is_fatal_and_nothing_is_committed() {
    for code in [
        ErrorCode::UnknownProducerId,
        ErrorCode::TransactionAbortable,
        ErrorCode::UnknownServerError,
    ] {
        let mut stage = Stage::transactional(Flavour::V1);
        stage.begin_with_partition();
        stage.abort();
        stage.fail(RequestKind::EndTxn, code);
        assert_eq!(
            fate_of_death(&mut stage),
            TransactionFate::NotCommitted,
            "{code:?}"
        );
    }
}

/// H18: the time-out of a transaction looks like fencing, or like a transaction that was never there, so that the text names both causes and
/// what to do; it never says that one of them is certain.
#[test]
fn an_end_that_comes_too_late_hears_of_both_causes() {
    for flavour in BOTH {
        for code in [ErrorCode::ProducerFenced, ErrorCode::InvalidTxnState] {
            let mut stage = committing(flavour);
            stage.fail(RequestKind::EndTxn, code);
            let text = stage.manager.fatal_error().expect("too late").to_string();
            for piece in [
                "\"t-1\"",
                "EndTxn",
                code.name(),
                "another instance",
                "transaction.timeout.ms",
                "Close this producer",
            ] {
                assert!(
                    text.to_lowercase().contains(&piece.to_lowercase()),
                    "{piece} is missing in: {text}"
                );
            }
        }
    }
}

/// E-4, H18: what an abort mends is told apart from what ends the producer: the former says to abort, and names no instance that took over.
#[test]
fn a_broker_that_demands_an_abort_is_not_taken_for_fencing() {
    let mut stage = committing(Flavour::V2);
    stage.fail(RequestKind::EndTxn, ErrorCode::TransactionAbortable);
    let text = stage.manager.abortable_error().expect("abortable").to_string();
    assert!(
        text.contains("TRANSACTION_ABORTABLE") && text.contains("Abort the transaction"),
        "{text}"
    );
    assert!(!text.contains("instance") && !text.contains("Close"), "{text}");
}
