//! Errors in a transaction, and what they leave behind for the next one (2.11, 2.12, 2.15).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::Sequence;
use kommit_txn_manager::*;

use crate::stage::*;

/// T-36, T-38, T-43, T-73, T-83, T-98: V1 follows the abort of a failed transaction with a bump, and all sequences restart.
#[test]
fn a_failed_v1_transaction_is_followed_by_a_new_epoch() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    let written = stage.drain(0, 3);
    stage.manager.batch_completed(&written);
    let refused = stage.drain(0, 2);
    assert_eq!(
        stage
            .manager
            .retry(ErrorCode::InvalidRecord, &refused, Fate::NotWritten),
        Retry::Fail
    );
    stage
        .manager
        .batch_failed(&refused, &not_written(ErrorCode::InvalidRecord));
    assert_eq!(stage.state(), StateName::AbortableError);
    stage.abort();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [], "the abort completes behind the bump");
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    stage.begin_with_partition();
    let next = stage.drain(0, 1);
    assert_eq!((next.identity, next.base_sequence), (identity(1), Sequence::ZERO));
}

/// T-99, T-71: a coordinator that cannot bump keeps the epoch; proven unused sequences are used again.
#[test]
fn without_a_bump_unused_sequences_are_used_by_the_next_transaction() {
    let mut stage = Stage::transactional_with(Flavour::V1, EpochBumpSupport::Unsupported);
    stage.begin_with_partition();
    let written = stage.drain(0, 3);
    stage.manager.batch_completed(&written);
    let refused = stage.drain(0, 2);
    stage
        .manager
        .batch_failed(&refused, &not_written(ErrorCode::MessageTooLarge));
    stage.manager.resolve_sequences();
    stage.abort();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    stage.begin_with_partition();
    let next = stage.drain(0, 1);
    assert_eq!((next.identity, next.base_sequence), (identity(0), sequence(3)));
}

/// T-113, T-71, R3: whatever condemned the transaction, the sequences of a batch that is proven not written are used again.
#[test]
fn every_proven_refusal_gives_its_sequences_back() {
    for code in [
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::InvalidTxnState,
        ErrorCode::TransactionAbortable,
        ErrorCode::NotEnoughReplicas,
    ] {
        let mut stage = Stage::transactional_with(Flavour::V1, EpochBumpSupport::Unsupported);
        stage.begin_with_partition();
        let written = stage.drain(0, 3);
        stage.manager.batch_completed(&written);
        let refused = stage.drain(0, 2);
        stage.manager.batch_failed(&refused, &not_written(code));
        assert_eq!(stage.state(), StateName::AbortableError, "{code:?}");
        stage.abort();
        stage.succeed(RequestKind::EndTxn);
        stage.begin_with_partition();
        let next = stage.drain(0, 1);
        assert_eq!(
            (next.identity, next.base_sequence),
            (identity(0), sequence(3)),
            "{code:?}"
        );
    }
}

/// T-90, T-99, R3: without a bump, lost acknowledgements leave no safe sequence.
#[test]
fn without_a_bump_lost_acknowledgements_are_fatal() {
    let mut stage = Stage::transactional_with(Flavour::V1, EpochBumpSupport::Unsupported);
    stage.begin_with_partition();
    let lost = stage.drain(0, 2);
    stage
        .manager
        .batch_failed(&lost, &perhaps_written(ErrorCode::RequestTimedOut));
    assert_eq!(stage.state(), StateName::AbortableError);
    stage.manager.resolve_sequences();
    let error = stage.manager.fatal_error().expect("not safe to continue");
    assert!(error.to_string().contains("not safe to continue"), "{error}");
    assert!(error.to_string().contains("orders-0"), "{error}");
}

/// T-90: with a bump it is safe to abort.
#[test]
fn with_a_bump_lost_acknowledgements_are_abortable() {
    for flavour in [Flavour::V1, Flavour::V2] {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        let lost = stage.drain(0, 2);
        stage.manager.mark_unresolved(&lost);
        assert!(!stage.manager.may_drain(partition(0), None), "T-91");
        stage.manager.batch_failed(
            &lost,
            &BatchFailure {
                reason: FailureReason::Expired,
                fate: Fate::MayBeWritten,
            },
        );
        stage.manager.resolve_sequences();
        let error = stage.manager.abortable_error().expect("safe to abort");
        assert!(error.to_string().contains("safe to abort"), "{error}");
    }
}

/// D-18, T-101, T-112: a bump that becomes due during the abort is still carried out, and the abort completes.
#[test]
fn a_bump_that_becomes_due_during_the_abort_is_carried_out() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    let lost = stage.drain(0, 2);
    stage.abort();
    stage.manager.mark_unresolved(&lost);
    stage.manager.batch_failed(
        &lost,
        &BatchFailure {
            reason: FailureReason::Expired,
            fate: Fate::MayBeWritten,
        },
    );
    stage.manager.resolve_sequences();
    assert_eq!(stage.state(), StateName::Aborting, "T-12");
    stage.succeed(RequestKind::EndTxn);
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    stage.begin();
}

/// T-102, T-41, R12: a batch that fails while the commit waits for it makes the commit fail, at once.
#[test]
fn a_batch_that_fails_during_the_commit_makes_it_fail() {
    for flavour in [Flavour::V1, Flavour::V2] {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        let batch = stage.drain(0, 1);
        stage.commit();
        stage.manager.batch_failed(
            &batch,
            &BatchFailure {
                reason: FailureReason::Expired,
                fate: Fate::MayBeWritten,
            },
        );
        assert!(matches!(
            stage.outcomes().as_slice(),
            [Outcome::MustAbort(TransactionError::RecordsFailed { .. })]
        ));
        stage.expect_nothing();
        stage.abort();
        stage.succeed(RequestKind::EndTxn);
    }
}

/// R12, H06: records that expire before their partition was ever announced condemn the transaction as well.
#[test]
fn a_record_that_expires_undrained_makes_the_commit_impossible() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    stage
        .manager
        .records_failed(Some(partition(0)), &FailureReason::Expired);
    let ticket = stage.ticket();
    assert!(matches!(
        stage.manager.begin_commit(ticket),
        Err(CommandError::Failed(_))
    ));
}

/// T-23, S-27: behind an error new batches stay where they are, and batches in retry can finish.
#[test]
fn behind_an_error_retries_finish_and_new_batches_stay() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    let acked = stage.drain(0, 1);
    stage.manager.batch_completed(&acked);
    let batch = stage.drain(0, 1);
    assert_eq!(
        stage
            .manager
            .retry(ErrorCode::NotLeaderOrFollower, &batch, Fate::MayBeWritten),
        Retry::Requeue
    );
    stage
        .manager
        .records_failed(None, &FailureReason::Refused("too large".into()));
    assert!(!stage.manager.may_drain(partition(0), None));
    assert!(
        stage
            .manager
            .may_drain(partition(0), Some((batch.identity, batch.base_sequence)))
    );
}

/// T-106: queued requests fail with the error; their callers hear it.
#[test]
fn queued_offsets_fail_with_the_transaction() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(1);
    stage.offsets(1);
    stage.fail(RequestKind::TxnOffsetCommit, ErrorCode::UnknownMemberId);
    let outcomes = stage.outcomes();
    assert!(
        matches!(
            outcomes.as_slice(),
            [
                Outcome::MustAbort(TransactionError::CommitFailed(_)),
                Outcome::MustAbort(TransactionError::CommitFailed(_))
            ]
        ),
        "{outcomes:?}"
    );
    stage.expect_nothing();
}

/// D-3, T-13, T-54, T-105: a fatal error answers everybody at once, the request that is out included (D-4).
#[test]
fn a_fatal_error_answers_everybody_who_waits() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(1);
    stage.offsets(1);
    stage.commit();
    let out = stage.take(RequestKind::TxnOffsetCommit);
    stage.manager.authentication_failed("bad password");
    let answered = stage.answered_tickets();
    assert_eq!(answered.len(), 3, "two for offsets and one for the commit");
    assert!(
        answered
            .iter()
            .all(|(_, outcome)| matches!(outcome, Outcome::Dead { .. }))
    );
    stage.manager.answered(out, Answer::Disconnected);
    assert_eq!(stage.answered_tickets(), [], "answered once");
}

/// D-4, T-56: an InitProducerId that is out when authentication fails is not lost.
#[test]
fn a_failed_authentication_reaches_the_caller_whose_request_is_out() {
    let mut stage = Stage::uninitialized();
    let ticket = stage.ticket();
    stage.manager.initialize(ticket).expect("uninitialized");
    let request = stage.take(RequestKind::InitProducerId);
    stage.manager.authentication_failed("bad password");
    assert!(matches!(
        stage.outcomes().as_slice(),
        [Outcome::Dead {
            transaction: TransactionFate::NoneOpen,
            ..
        }]
    ));
    stage.manager.put_back(request);
    stage.expect_nothing();
}

/// S-24, S-25, T-14, T-57, T-75: an identity that is refused for lack of permission can be asked for again.
#[test]
fn an_unauthorized_initialize_can_be_repeated() {
    for code in [
        ErrorCode::TransactionalIdAuthorizationFailed,
        ErrorCode::ClusterAuthorizationFailed,
    ] {
        let mut stage = Stage::uninitialized();
        let ticket = stage.ticket();
        stage.manager.initialize(ticket).expect("uninitialized");
        stage.fail(RequestKind::InitProducerId, code);
        assert!(matches!(
            stage.outcomes().as_slice(),
            [Outcome::NotInitialized(_)]
        ));
        let error = stage
            .manager
            .recover_authorization()
            .expect("an authorization error");
        assert_eq!(error.code(), Some(code));
        assert_eq!(stage.state(), StateName::Uninitialized);
        let ticket = stage.ticket();
        stage.manager.initialize(ticket).expect("uninitialized again");
        stage.succeed(RequestKind::InitProducerId);
        assert_eq!(stage.outcomes(), [Outcome::Initialized]);
    }
}

/// S-24: other abortable errors are not recovered from like that.
#[test]
fn only_missing_permissions_lead_back_to_the_start() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage
        .manager
        .records_failed(None, &FailureReason::Code(ErrorCode::TopicAuthorizationFailed));
    assert_eq!(stage.manager.recover_authorization(), None);
    assert_eq!(stage.state(), StateName::AbortableError);
}

/// E-1: a first identity refused with TRANSACTION_ABORTABLE is asked for again behind the abort.
#[test]
fn an_abort_behind_a_failed_initialize_asks_for_the_identity_again() {
    let mut stage = Stage::uninitialized();
    let ticket = stage.ticket();
    stage.manager.initialize(ticket).expect("uninitialized");
    stage.fail(RequestKind::InitProducerId, ErrorCode::TransactionAbortable);
    assert!(matches!(
        stage.outcomes().as_slice(),
        [Outcome::NotInitialized(_)]
    ));
    stage.abort();
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(
        (stage.outcomes(), stage.state()),
        (vec![Outcome::Aborted], StateName::Ready)
    );
}

/// T-103, T-109: an old epoch answered to a batch is abortable; a V1 abort then finds out that the producer is fenced.
#[test]
fn an_old_epoch_in_a_produce_answer_is_decided_by_the_abort() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    let batch = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&batch, &not_written(ErrorCode::InvalidProducerEpoch));
    assert!(matches!(
        stage.manager.abortable_error(),
        Some(TransactionError::InvalidProducerEpoch(_))
    ));
    stage.abort();
    stage.fail(RequestKind::EndTxn, ErrorCode::ProducerFenced);
    assert!(matches!(
        stage.outcomes().as_slice(),
        [Outcome::Dead {
            transaction: TransactionFate::NotCommitted,
            ..
        }]
    ));
}

/// T-109: in V2 the abort of a timed-out transaction brings the producer back.
#[test]
fn a_v2_producer_recovers_from_a_timed_out_transaction() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    let batch = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&batch, &not_written(ErrorCode::InvalidProducerEpoch));
    stage.abort();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    assert_eq!(stage.manager.identity(), Some(identity(1)));
}

/// H09: out of order behind a batch in flight is the normal consequence; at the head it condemns the transaction.
#[test]
fn out_of_order_matters_for_the_first_batch_only() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    let acked = stage.drain(0, 1);
    stage.manager.batch_completed(&acked);
    let first = stage.drain(0, 1);
    let second = stage.drain(0, 1);
    let code = ErrorCode::OutOfOrderSequenceNumber;
    assert_eq!(
        stage.manager.retry(code, &second, Fate::NotWritten),
        Retry::Requeue
    );
    assert_eq!(stage.manager.retry(code, &first, Fate::NotWritten), Retry::Fail);
}

/// T-47: the node is forgotten while it is looked for, and looked for once.
#[test]
fn a_lost_coordinator_is_looked_for_once() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage.commit();
    for _ in 0..2 {
        let request = stage.take(RequestKind::EndTxn);
        stage.manager.find_coordinator_and_put_back(request);
        stage.succeed(RequestKind::FindCoordinator);
    }
    let node = stage
        .manager
        .coordinator(CoordinatorType::Transaction)
        .expect("found");
    assert_eq!((node.host.as_str(), node.port), ("broker-3", 9092));
    stage.succeed(RequestKind::EndTxn);
    stage.expect_nothing();
}

/// D-20, T-84: a record that the client refuses behind the end of the transaction does not touch the end.
#[test]
fn a_record_refused_too_late_changes_nothing() {
    let mut stage = Stage::transactional(Flavour::V2);
    let refused = FailureReason::Refused("no metadata".into());
    stage.manager.records_failed(None, &refused);
    assert_eq!(stage.state(), StateName::Ready);
    stage.begin_with_partition();
    stage.commit();
    let request = stage.take(RequestKind::EndTxn);
    stage.manager.records_failed(None, &refused);
    let yes = answer(&request, ErrorCode::None);
    stage.manager.answered(request, yes);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// H14, T-64, T-80, D-7: five batches are in flight across the last sequence. The first is refused, so that the others are out of order, and all of
/// them go again in order under their own names; behind i32::MAX comes 0.
#[test]
fn wrap_seq() {
    let producers = [
        Stage::idempotent(),
        Stage::transactional(Flavour::V1),
        Stage::transactional(Flavour::V2),
    ];
    for mut stage in producers {
        if stage.manager.is_transactional() {
            stage.begin_with_partition();
        } else {
            stage.join(0);
        }
        for records in [1 << 30, (1 << 30) - 5] {
            let acknowledged = stage.drain(0, records);
            stage.manager.batch_completed(&acknowledged);
        }
        let batches = [(); 5].map(|()| stage.drain(0, 2));
        let bases = batches.map(|batch| batch.base_sequence);
        assert_eq!(bases, [i32::MAX - 4, i32::MAX - 2, i32::MAX, 1, 3].map(sequence));
        assert!(!stage.manager.may_drain(partition(0), None), "not a sixth");

        let refused = ErrorCode::NotEnoughReplicas;
        let out_of_order = ErrorCode::OutOfOrderSequenceNumber;
        for (number, batch) in batches.iter().enumerate() {
            let code = if number == 0 { refused } else { out_of_order };
            let retry = stage.manager.retry(code, batch, Fate::NotWritten);
            assert_eq!(retry, Retry::Requeue);
        }
        for (number, batch) in batches.iter().enumerate() {
            for later in &batches[number + 1..] {
                let named = Some((later.identity, later.base_sequence));
                assert!(!stage.manager.may_drain(partition(0), named), "in order");
            }
            let named = Some((batch.identity, batch.base_sequence));
            assert!(stage.manager.may_drain(partition(0), named));
            stage.manager.batch_completed(batch);
        }
        let next = stage.drain(0, 1);
        assert_eq!((next.identity, next.base_sequence), (identity(0), sequence(5)));
    }
}
