//! Calls that do not fit the state: refused, and nothing changes (T-10, T-16 … T-21).

use std::collections::BTreeMap;

use kommit_protocol::error_code::ErrorCode;
use kommit_txn_manager::*;

use crate::stage::*;

fn assert_illegal(result: Result<(), CommandError>) {
    assert!(matches!(result, Err(CommandError::IllegalState(_))), "{result:?}");
}

/// T-19, T-20: transactions need an identity, and there is one initialize.
#[test]
fn begin_needs_initialize_and_initialize_happens_once() {
    let mut stage = Stage::uninitialized();
    assert_illegal(stage.manager.begin());
    assert_eq!(stage.state(), StateName::Uninitialized);
    let mut stage = Stage::transactional(Flavour::V1);
    let ticket = stage.ticket();
    assert_illegal(stage.manager.initialize(ticket));
    assert_eq!(stage.state(), StateName::Ready);
}

/// T-15: a step that the state does not have names the transactional id, where the producer stands and where it was to go.
#[test]
fn a_refused_step_names_the_producer_and_both_states() {
    let mut stage = Stage::uninitialized();
    let refused = stage.manager.begin().expect_err("no identity").to_string();
    for part in ["\"t-1\"", "from Uninitialized to InTransaction"] {
        assert!(refused.contains(part), "{part} is missing in: {refused}");
    }
}

/// T-21, T-23: the records of an idempotent-only producer need no transaction and no identity, but a producer that has not failed.
#[test]
fn an_idempotent_producer_takes_records_until_it_has_failed() {
    let mut stage = Stage::of(TransactionConfig::idempotent());
    stage.join(0);
    stage.manager.refresh_identity();
    assert_eq!(stage.state(), StateName::Initializing);
    stage.join(1);
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(stage.state(), StateName::Ready);
    stage.join(2);
    assert!(stage.manager.may_drain(partition(2), None));
    stage.manager.close();
    assert!(!stage.manager.may_drain(partition(2), None));
    let refused = stage.manager.join(partition(3), &topic_partition(3));
    assert!(matches!(refused, Err(CommandError::Failed(_))), "{refused:?}");
}

/// T-16: an idempotent-only producer has no transactions.
#[test]
fn an_idempotent_producer_has_no_transactions() {
    let mut stage = Stage::idempotent();
    let ticket = stage.ticket();
    assert_illegal(stage.manager.initialize(ticket));
    assert_illegal(stage.manager.begin());
    assert_illegal(stage.manager.begin_commit(ticket));
    assert_illegal(stage.manager.begin_abort(ticket));
    assert_illegal(
        stage
            .manager
            .send_offsets(ticket, ConsumerGroupMetadata::of_group("g"), BTreeMap::new()),
    );
}

/// O-2: ends, offsets and records belong into a transaction.
#[test]
fn nothing_of_a_transaction_is_possible_outside_of_one() {
    let mut stage = Stage::transactional(Flavour::V2);
    let ticket = stage.ticket();
    assert_illegal(stage.manager.begin_commit(ticket));
    assert_illegal(stage.manager.begin_abort(ticket));
    assert_illegal(
        stage
            .manager
            .send_offsets(ticket, ConsumerGroupMetadata::of_group("g"), BTreeMap::new()),
    );
    assert_illegal(stage.manager.join(partition(0), &topic_partition(0)));
    stage.begin();
    assert_illegal(stage.manager.begin());
    assert_eq!(stage.state(), StateName::InTransaction);
}

/// T-17: while an operation is under way every other call is refused, and the text says which one to repeat.
#[test]
fn a_running_operation_refuses_the_others() {
    let mut stage = Stage::uninitialized();
    let ticket = stage.ticket();
    stage.manager.initialize(ticket).expect("uninitialized");
    let refused = stage.manager.begin().expect_err("initialize is under way");
    assert!(refused.to_string().contains("call initialize again"), "{refused}");
}

/// T-18: behind an abortable error only the abort is possible; the others report the error.
#[test]
fn behind_an_abortable_error_only_the_abort_is_possible() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage
        .manager
        .records_failed(Some(partition(0)), &FailureReason::Expired);
    let ticket = stage.ticket();
    let group = ConsumerGroupMetadata::of_group("g");
    for refused in [
        stage.manager.begin(),
        stage.manager.begin_commit(ticket),
        stage.manager.send_offsets(ticket, group, BTreeMap::new()),
    ] {
        let Err(CommandError::Failed(error)) = refused else {
            panic!("{refused:?}")
        };
        assert!(error.to_string().contains("delivery.timeout.ms"), "{error}");
    }
    stage.abort();
}

/// T-6, T-18, D-20: behind a fatal error everything reports that error, and it stays the first one.
#[test]
fn behind_a_fatal_error_everything_reports_it() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage
        .manager
        .records_failed(None, &FailureReason::Code(ErrorCode::ProducerFenced));
    stage.manager.records_failed(None, &FailureReason::Expired);
    stage.manager.close();
    let first = stage.manager.fatal_error().expect("fenced").clone();
    assert!(matches!(first, TransactionError::ProducerFenced(_)));
    let ticket = stage.ticket();
    let expected = Err(CommandError::Failed(first));
    assert_eq!(stage.manager.begin(), expected);
    assert_eq!(stage.manager.begin_commit(ticket), expected);
    assert_eq!(stage.manager.begin_abort(ticket), expected);
    assert_eq!(stage.manager.join(partition(1), &topic_partition(1)), expected);
    assert!(!stage.manager.may_drain(partition(0), None), "T-23");
    stage.expect_nothing();
}

/// T-50: an answer that nobody waits for means that two requests were out.
#[test]
fn an_answer_to_no_request_is_fatal() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    stage.commit();
    let request = stage.take(RequestKind::EndTxn);
    let mut other = Stage::transactional(Flavour::V2);
    other.manager.answered(request, Answer::Disconnected);
    assert_eq!(other.state(), StateName::FatalError);
}

/// T-11: a failed batch in a state that has no transaction cannot be.
#[test]
fn a_failed_batch_outside_of_a_transaction_is_fatal() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage
        .manager
        .records_failed(Some(partition(0)), &FailureReason::Expired);
    let error = stage.manager.fatal_error().expect("illegal");
    assert!(
        error.to_string().contains("from Ready to AbortableError"),
        "{error}"
    );
}
