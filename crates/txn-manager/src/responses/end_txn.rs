//! EndTxn (table E-4, T-77), and what its answer proves about the transaction (R7, R8, H18, H19).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::messages::EndTxnResponse;

use super::init_producer_id::identity;
use crate::manager::TransactionManager;
use crate::outcome::TransactionFate;
use crate::requests::{Decision, TransactionalRequest, Work};
use crate::steps::decided;
use crate::transaction::{CommitAttempts, Started};

/// What an answer to EndTxn leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndAction {
    Done,
    FindCoordinator,
    Repeat,
    Fenced,
    Fail,
    /// T-55.
    Recover,
    /// The abort cannot be carried out: fatal (also D-19).
    FailToAbort,
    Abort,
}

/// E-4.
pub(crate) fn end_action(code: ErrorCode, decision: Decision) -> EndAction {
    use ErrorCode as E;
    match (code, decision) {
        (E::None, _) => EndAction::Done,
        (E::CoordinatorNotAvailable | E::NotCoordinator, _) => EndAction::FindCoordinator,
        (retriable, _) if retriable.is_retriable() => EndAction::Repeat,
        (E::InvalidProducerEpoch | E::ProducerFenced, _) => EndAction::Fenced,
        (E::TransactionalIdAuthorizationFailed | E::InvalidTxnState | E::InvalidProducerIdMapping, _) => {
            EndAction::Fail
        }
        (E::UnknownProducerId, Decision::Commit) => EndAction::Recover,
        (E::UnknownProducerId | E::TransactionAbortable, Decision::Abort) => EndAction::FailToAbort,
        (E::TransactionAbortable, Decision::Commit) => EndAction::Abort,
        (any_other, _) => fail_on_any_other(any_other),
    }
}

/// The last row of E-4. H19: UNKNOWN_SERVER_ERROR decides nothing, so the transaction is in doubt.
fn fail_on_any_other(_code: ErrorCode) -> EndAction {
    EndAction::Fail
}

/// What an error that is not repeated proves about a commit, given what is known of the earlier attempts.
pub(crate) fn proof_about_commit(code: ErrorCode, earlier: CommitAttempts) -> TransactionFate {
    use ErrorCode as E;
    match (code, earlier) {
        // H18: the coordinator has nothing to commit: the transaction was aborted, or never was.
        (E::InvalidTxnState, _) => TransactionFate::NotCommitted,
        (
            E::ProducerFenced
            | E::InvalidProducerEpoch
            | E::InvalidProducerIdMapping
            | E::TransactionalIdAuthorizationFailed
            | E::UnknownProducerId
            | E::TransactionAbortable,
            CommitAttempts::NoneApplied,
        ) => TransactionFate::NotCommitted,
        (_, _) => TransactionFate::InDoubt,
    }
}

impl TransactionManager {
    pub(crate) fn end_answered(&mut self, request: TransactionalRequest, body: &EndTxnResponse) {
        let Work::End { decision, .. } = request.work else {
            return self.mislabelled(&request);
        };
        let code = body.error_code;
        if decision == Decision::Abort && code == ErrorCode::InvalidTxnState && self.may_have_added_nothing()
        {
            // H16: no addition was acknowledged, and the coordinator confirms that there was none.
            return self.finish(decided(decision));
        }
        match end_action(code, decision) {
            EndAction::Done => {
                let fresh = identity(body.producer_id, body.producer_epoch);
                self.finish_with(decided(decision), fresh);
            }
            EndAction::FindCoordinator => {
                self.commit_is_unknown(decision);
                self.look_up_and_repeat(request, code);
            }
            EndAction::Repeat => {
                self.commit_is_unknown(decision);
                self.repeat_refused(request, code);
            }
            EndAction::Fenced
            | EndAction::Fail
            | EndAction::FailToAbort
            | EndAction::Recover
            | EndAction::Abort
                if self.proof(decision, code) == TransactionFate::InDoubt && HazardRule::R7.is_kept() =>
            {
                // R7: an earlier attempt may have committed; an abort is out of the question.
                self.commit_is_unknown(decision);
                let error = self.fatal_refusal(&request, code);
                self.ask_what_became(error);
            }
            EndAction::Fenced | EndAction::Fail | EndAction::FailToAbort => {
                let error = self.fatal_refusal(&request, code);
                self.die(error, self.proof(decision, code));
            }
            EndAction::Recover => {
                let error = self.abortable_refusal(&request, code, None);
                self.fail_request_recoverably(&request, error);
            }
            EndAction::Abort => {
                let error = self.abortable_refusal(&request, code, None);
                self.fail_request_abortably(&request, error);
            }
        }
    }

    pub(crate) fn mislabelled(&mut self, request: &TransactionalRequest) {
        let error = self.broken(format!("{} does not fit its purpose", request.kind().name()));
        self.fail_request_fatally(request, error);
    }

    fn proof(&self, decision: Decision, code: ErrorCode) -> TransactionFate {
        let earlier = self
            .state
            .transaction()
            .map_or(CommitAttempts::Unknown, |transaction| transaction.commit);
        match decision {
            Decision::Commit if HazardRule::R8.is_kept() => proof_about_commit(code, earlier),
            Decision::Commit | Decision::Abort => TransactionFate::NotCommitted,
        }
    }

    /// A retriable answer does not prove that the commit was not carried out.
    fn commit_is_unknown(&mut self, decision: Decision) {
        if let (Decision::Commit, Some(transaction)) = (decision, self.state.transaction_mut()) {
            transaction.commit = CommitAttempts::Unknown;
        }
    }

    fn may_have_added_nothing(&self) -> bool {
        self.state
            .transaction()
            .is_some_and(|transaction| transaction.started == Started::Unknown)
    }
}
