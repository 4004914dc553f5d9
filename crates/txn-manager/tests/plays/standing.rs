//! What a manager says of itself, and what its coordinator can do for it (2.2, 2.8, 2.17).

use kommit_protocol::error_code::ErrorCode;
use kommit_txn_manager::*;

use crate::stage::*;

/// T-8, T-9: a transaction is ongoing from its begin to its end, an error between the two included, and completing while it is being ended.
#[test]
fn a_transaction_is_ongoing_until_it_has_ended() {
    for flavour in [Flavour::V1, Flavour::V2] {
        let mut stage = Stage::transactional(flavour);
        let said = |stage: &Stage| {
            (
                stage.manager.has_ongoing_transaction(),
                stage.manager.is_completing(),
            )
        };
        assert_eq!(said(&stage), (false, false));
        stage.begin_with_partition();
        assert_eq!(said(&stage), (true, false));
        stage
            .manager
            .records_failed(Some(partition(0)), &FailureReason::Expired);
        assert_eq!(
            (stage.state(), said(&stage)),
            (StateName::AbortableError, (true, false))
        );
        stage.abort();
        assert_eq!(said(&stage), (true, true));
        stage.succeed(RequestKind::EndTxn);
        if stage.state() == StateName::Initializing {
            stage.succeed(RequestKind::InitProducerId);
        }
        assert_eq!((stage.state(), said(&stage)), (StateName::Ready, (false, false)));
    }
}

/// T-107: a commit reports the failed record of its transaction although nobody has looked at the record's own error.
#[test]
fn a_commit_reports_a_record_whose_error_nobody_has_seen() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    let batch = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&batch, &not_written(ErrorCode::MessageTooLarge));
    let ticket = stage.ticket();
    let refused = stage
        .manager
        .begin_commit(ticket)
        .expect_err("a record is missing");
    assert!(refused.to_string().contains("MESSAGE_TOO_LARGE"), "{refused}");
}

/// T-12, D-8: a batch that fails while its transaction is being aborted does not disturb the abort. In V1 a new epoch follows it.
#[test]
fn a_batch_that_fails_during_the_abort_does_not_disturb_it() {
    for flavour in [Flavour::V1, Flavour::V2] {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        let batch = stage.drain(0, 1);
        stage.abort();
        stage
            .manager
            .batch_failed(&batch, &not_written(ErrorCode::InvalidTxnState));
        assert_eq!(stage.state(), StateName::Aborting);
        stage.succeed(RequestKind::EndTxn);
        if flavour == Flavour::V1 {
            stage.succeed(RequestKind::InitProducerId);
        }
        stage.expect_nothing();
        assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    }
}

/// T-55, T-61, T-62: what only a new epoch mends is abortable when an abort brings one, from this client or from the broker, and fatal
/// otherwise.
#[test]
fn what_only_a_new_epoch_mends_is_fatal_without_one() {
    use EpochBumpSupport::{Supported, Unsupported};
    for (support, state) in [
        (Supported, StateName::AbortableError),
        (Unsupported, StateName::FatalError),
    ] {
        let mut stage = Stage::transactional_with(Flavour::V1, support);
        stage.begin();
        stage.offsets(1);
        stage.fail(RequestKind::AddOffsetsToTxn, ErrorCode::UnknownProducerId);
        assert_eq!(stage.state(), state, "{support:?}");
    }
    let mut stage = Stage::transactional_with(Flavour::V2, Unsupported);
    stage.begin_with_partition();
    stage.commit();
    stage.fail(RequestKind::EndTxn, ErrorCode::UnknownProducerId);
    assert_eq!(stage.state(), StateName::AbortableError, "the broker brings it");
}

/// T-60: only in V1, and only with a coordinator that can, a failed transaction is followed by a request for a new epoch.
#[test]
fn a_new_epoch_is_asked_for_where_no_end_brings_it() {
    use EpochBumpSupport::{Supported, Unsupported};
    for (flavour, support, epoch) in [
        (Flavour::V1, Supported, Some(1)),
        (Flavour::V1, Unsupported, None),
        (Flavour::V2, Supported, None),
    ] {
        let mut stage = Stage::transactional_with(flavour, support);
        stage.begin_with_partition();
        let refused = stage.drain(0, 1);
        stage
            .manager
            .batch_failed(&refused, &not_written(ErrorCode::InvalidRecord));
        stage.abort();
        stage.succeed(RequestKind::EndTxn);
        if let Some(epoch) = epoch {
            stage.succeed(RequestKind::InitProducerId);
            assert_eq!(stage.manager.identity(), Some(identity(epoch)));
        }
        stage.expect_nothing();
        assert_eq!(stage.outcomes(), [Outcome::Aborted], "{flavour:?}, {support:?}");
    }
}

/// T-60, H16: a V2 transaction whose only record never left ends without a request, and no epoch is asked for behind it.
#[test]
fn a_v2_transaction_without_records_asks_for_no_epoch() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.manager.records_failed(None, &FailureReason::Expired);
    assert_eq!(stage.state(), StateName::AbortableError);
    stage.abort();
    stage.expect_nothing();
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
}

/// T-115, E-6: the offsets of another group go to the group coordinator that is known, and are put right by its NOT_COORDINATOR.
#[test]
fn the_offsets_of_another_group_go_to_the_coordinator_that_is_known() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets_of(ConsumerGroupMetadata::of_group("one"), 1);
    let request = stage.take(RequestKind::TxnOffsetCommit);
    stage.manager.find_coordinator_and_put_back(request);
    stage.succeed(RequestKind::FindCoordinator);
    stage.succeed(RequestKind::TxnOffsetCommit);
    assert!(stage.manager.coordinator(CoordinatorType::Group).is_some());

    stage.offsets_of(ConsumerGroupMetadata::of_group("other"), 1);
    stage.fail(RequestKind::TxnOffsetCommit, ErrorCode::NotCoordinator);
    assert!(stage.manager.coordinator(CoordinatorType::Group).is_none());
    let lookup = stage.take(RequestKind::FindCoordinator);
    let RequestBody::FindCoordinator(body) = lookup.body() else {
        panic!("asserted above")
    };
    assert_eq!(body.coordinator_keys, ["other"]);
}
