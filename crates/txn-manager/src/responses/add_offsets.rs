//! AddOffsetsToTxn (table E-5). V1 only.

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;

use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::requests::{TransactionalRequest, Work};
use crate::transaction::Started;

/// What an answer to AddOffsetsToTxn leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddOffsetsAction {
    CommitOffsets,
    FindCoordinator,
    Repeat,
    Recover,
    Fenced,
    Fail,
    AbortGroupDenied,
    Abort,
}

/// E-5.
pub(crate) fn add_offsets_action(code: ErrorCode) -> AddOffsetsAction {
    use ErrorCode as E;
    match code {
        E::None => AddOffsetsAction::CommitOffsets,
        E::CoordinatorNotAvailable | E::NotCoordinator => AddOffsetsAction::FindCoordinator,
        retriable if retriable.is_retriable() => AddOffsetsAction::Repeat,
        E::UnknownProducerId => AddOffsetsAction::Recover,
        E::InvalidProducerEpoch | E::ProducerFenced => AddOffsetsAction::Fenced,
        E::TransactionalIdAuthorizationFailed | E::InvalidTxnState | E::InvalidProducerIdMapping => {
            AddOffsetsAction::Fail
        }
        E::GroupAuthorizationFailed => AddOffsetsAction::AbortGroupDenied,
        E::TransactionAbortable => AddOffsetsAction::Abort,
        any_other => fail_on_any_other(any_other),
    }
}

/// The last row of E-5.
fn fail_on_any_other(_code: ErrorCode) -> AddOffsetsAction {
    AddOffsetsAction::Fail
}

impl TransactionManager {
    pub(crate) fn add_offsets_answered(&mut self, request: TransactionalRequest, code: ErrorCode) {
        match add_offsets_action(code) {
            AddOffsetsAction::CommitOffsets => self.offsets_added(request),
            AddOffsetsAction::FindCoordinator => self.look_up_and_repeat(request, code),
            AddOffsetsAction::Repeat => self.repeat_refused(request, code),
            AddOffsetsAction::Fenced | AddOffsetsAction::Fail => {
                let error = self.fatal_refusal(&request, code);
                self.fail_request_fatally(&request, error);
            }
            AddOffsetsAction::Recover => {
                let error = self.abortable_refusal(&request, code, group_of(&request));
                self.fail_request_recoverably(&request, error);
            }
            AddOffsetsAction::AbortGroupDenied => {
                let rejection = self.rejection(request.kind().name(), code, group_of(&request));
                self.fail_request_abortably(&request, TransactionError::AccessDenied(rejection));
            }
            AddOffsetsAction::Abort => {
                let error = self.abortable_refusal(&request, code, group_of(&request));
                self.fail_request_abortably(&request, error);
            }
        }
    }

    /// T-24: the same ticket waits for the TxnOffsetCommit.
    fn offsets_added(&mut self, request: TransactionalRequest) {
        let Some(transaction) = self.state.transaction_mut() else {
            return;
        };
        transaction.started = Started::Yes;
        match request.work {
            Work::AddOffsets(commit) => self.enqueue_offset_commit(commit),
            _ => self.mislabelled(&request),
        }
    }
}

/// The group, for the text of an error.
pub(crate) fn group_of(request: &TransactionalRequest) -> Option<Arc<str>> {
    match &request.work {
        Work::AddOffsets(commit) | Work::CommitOffsets { commit, .. } => {
            Some(format!("group \"{}\"", commit.group.group_id).into())
        }
        _ => None,
    }
}
