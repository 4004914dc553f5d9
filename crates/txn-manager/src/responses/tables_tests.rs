//! The error tables of the transactional responses, printed into the documentation and compared with it.

use kommit_protocol::error_code::ErrorCode;

use super::add_offsets::add_offsets_action;
use super::add_partitions::add_partition_action;
use super::describe_transactions::describe_action;
use super::end_txn::{end_action, proof_about_commit};
use super::find_coordinator::coordinator_action;
use super::init_producer_id::identity_action;
use super::offset_commit::offset_commit_action;
use crate::error_tables::{self, codes, print};
use crate::outcome::TransactionFate;
use crate::produce::produce_action;
use crate::requests::Decision;
use crate::transaction::CommitAttempts;

/// E-1 … E-7, R8: every code that Kafka has, and one that it does not have.
#[test]
fn every_code_has_its_row_in_every_table() {
    let mut out = String::new();
    print(&mut out, "E-1 InitProducerId", identity_action);
    print(
        &mut out,
        "E-2 AddPartitionsToTxn, per partition",
        add_partition_action,
    );
    print(&mut out, "E-3 FindCoordinator", coordinator_action);
    print(&mut out, "E-4 EndTxn, commit", |code| {
        end_action(code, Decision::Commit)
    });
    print(&mut out, "E-4 EndTxn, abort", |code| {
        end_action(code, Decision::Abort)
    });
    print(&mut out, "E-5 AddOffsetsToTxn", add_offsets_action);
    print(
        &mut out,
        "E-6 TxnOffsetCommit, per partition",
        offset_commit_action,
    );
    print(&mut out, "E-7 Produce, when not retried", produce_action);
    print(
        &mut out,
        "Commit: what a final error proves, no earlier attempt unknown",
        |code| proof_about_commit(code, CommitAttempts::NoneApplied),
    );
    print(
        &mut out,
        "Commit: what a final error proves, behind an unknown attempt",
        |code| proof_about_commit(code, CommitAttempts::Unknown),
    );
    print(
        &mut out,
        "DescribeTransactions, about a commit in doubt",
        describe_action,
    );
    error_tables::compare("transactions", &out);
}

/// R7, H18: behind an attempt of unknown fate only "there is nothing to commit" proves that nothing was committed.
#[test]
fn behind_an_unknown_commit_only_invalid_txn_state_proves_that_nothing_is_committed() {
    let proven: Vec<_> = codes()
        .filter(|code| proof_about_commit(*code, CommitAttempts::Unknown) == TransactionFate::NotCommitted)
        .collect();
    assert_eq!(proven, [ErrorCode::InvalidTxnState]);
}
