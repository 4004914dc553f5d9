//! TxnOffsetCommit (table E-6, T-78). Goes to the group coordinator.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::messages::TxnOffsetCommitResponse;

use super::add_offsets::group_of;
use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::outcome::Outcome;
use crate::requests::{TransactionalRequest, Work};

/// What the answer for one partition leads to. The rows from `AbortGroupDenied` on end the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetCommitAction {
    Done,
    /// Look up the group coordinator, once per response.
    FindCoordinator,
    Repeat,
    AbortGroupDenied,
    Abort,
    /// The consumer is no longer the member that it was.
    AbortCommitFailed,
    Fenced,
    Fail,
}

/// E-6.
pub(crate) fn offset_commit_action(code: ErrorCode) -> OffsetCommitAction {
    use ErrorCode as E;
    match code {
        E::None => OffsetCommitAction::Done,
        E::CoordinatorNotAvailable | E::NotCoordinator | E::RequestTimedOut => {
            OffsetCommitAction::FindCoordinator
        }
        retriable if retriable.is_retriable() => OffsetCommitAction::Repeat,
        E::GroupAuthorizationFailed => OffsetCommitAction::AbortGroupDenied,
        E::FencedInstanceId | E::TransactionAbortable => OffsetCommitAction::Abort,
        E::UnknownMemberId | E::IllegalGeneration | E::GroupIdNotFound | E::StaleMemberEpoch => {
            OffsetCommitAction::AbortCommitFailed
        }
        E::InvalidProducerEpoch | E::ProducerFenced => OffsetCommitAction::Fenced,
        E::TransactionalIdAuthorizationFailed | E::UnsupportedForMessageFormat => OffsetCommitAction::Fail,
        any_other => fail_on_any_other(any_other),
    }
}

/// The last row of E-6: TOPIC_AUTHORIZATION_FAILED, OFFSET_METADATA_TOO_LARGE, INVALID_TXN_STATE …
fn fail_on_any_other(_code: ErrorCode) -> OffsetCommitAction {
    OffsetCommitAction::Fail
}

/// Whether the group coordinator of the next attempt is the one of this attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NextCoordinator {
    Same,
    LookUp,
}

impl TransactionManager {
    pub(crate) fn offset_commit_answered(
        &mut self,
        mut request: TransactionalRequest,
        body: &TxnOffsetCommitResponse,
    ) {
        let Work::CommitOffsets { commit, .. } = &mut request.work else {
            return self.mislabelled(&request);
        };
        let mut next = NextCoordinator::Same;
        let mut refused_with = None;
        for topic in &body.topics {
            for partition in &topic.partitions {
                match offset_commit_action(partition.error_code) {
                    OffsetCommitAction::Done => commit.acknowledged(&topic.name, partition.partition_index.0),
                    OffsetCommitAction::FindCoordinator => {
                        next = NextCoordinator::LookUp;
                        refused_with = Some(partition.error_code);
                    }
                    OffsetCommitAction::Repeat => refused_with = Some(partition.error_code),
                    OffsetCommitAction::AbortCommitFailed if !HazardRule::R13.is_kept() => {
                        refused_with = Some(partition.error_code);
                    }
                    ending => return self.offset_commit_failed(&request, ending, partition.error_code),
                }
            }
        }
        let (ticket, complete) = (commit.ticket, commit.remaining.is_empty());
        if next == NextCoordinator::LookUp {
            self.look_up_for(&request);
        }
        match refused_with {
            _ if complete => self.answer(ticket, Outcome::OffsetsAdded),
            Some(code) => self.repeat_refused(request, code),
            None => self.repeat_unanswered(request),
        }
    }

    fn offset_commit_failed(
        &mut self,
        request: &TransactionalRequest,
        action: OffsetCommitAction,
        code: ErrorCode,
    ) {
        let rejection = self.rejection(request.kind().name(), code, group_of(request));
        match action {
            OffsetCommitAction::Done | OffsetCommitAction::FindCoordinator | OffsetCommitAction::Repeat => {}
            OffsetCommitAction::AbortGroupDenied => {
                self.fail_request_abortably(request, TransactionError::AccessDenied(rejection));
            }
            OffsetCommitAction::Abort => {
                self.fail_request_abortably(request, TransactionError::MustAbort(rejection));
            }
            OffsetCommitAction::AbortCommitFailed => {
                self.fail_request_abortably(request, TransactionError::CommitFailed(rejection));
            }
            OffsetCommitAction::Fenced | OffsetCommitAction::Fail => {
                let error = self.fatal_refusal(request, code);
                self.fail_request_fatally(request, error);
            }
        }
    }
}
