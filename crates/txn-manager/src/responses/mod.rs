//! What an answer means: per response one pure table, then the application of its action (2.7, 2.11).
//!
//! The tables are in their own files, rows in the order of the specification; nothing outside of this folder looks at the error
//! code of a transactional response.

mod add_offsets;
mod add_partitions;
mod describe_transactions;
mod end_txn;
mod find_coordinator;
mod init_producer_id;
mod offset_commit;
#[cfg(test)]
mod tables_tests;

use std::sync::Arc;

pub(crate) use describe_transactions::Doubt;
use describe_transactions::no_answer;
use kommit_protocol::error_code::ErrorCode;
use tracing::debug;

use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::outcome::{Outcome, TransactionFate};
use crate::requests::{
    Answer, Decision, IdentityPurpose, RequestBody, ResponseBody, TransactionalRequest, Work,
};
use crate::transaction::{Answers, CommitAttempts};

impl TransactionManager {
    /// A request that was sent came back (T-50 … T-53).
    pub fn answered(&mut self, request: TransactionalRequest, answer: Answer) {
        if !self.takes_back(&request) {
            return;
        }
        match answer {
            Answer::Response(body) => self.apply(request, body),
            Answer::Disconnected | Answer::TimedOut => self.unanswered(request),
            Answer::Undecodable => self.undecodable(&request),
            Answer::VersionMismatch => {
                let error = TransactionError::UnsupportedVersion {
                    who: self.who(),
                    request: request.kind().name(),
                };
                self.fail_request_fatally(&request, error);
            }
        }
    }

    fn apply(&mut self, request: TransactionalRequest, body: ResponseBody) {
        match (&request.body, body) {
            (RequestBody::FindCoordinator(_), ResponseBody::FindCoordinator(body)) => {
                self.coordinator_answered(request, body);
            }
            (RequestBody::InitProducerId(_), ResponseBody::InitProducerId(body)) => {
                self.identity_answered(request, &body)
            }
            (RequestBody::AddPartitionsToTxn(_), ResponseBody::AddPartitionsToTxn(body)) => {
                self.partitions_answered(request, &body);
            }
            (RequestBody::AddOffsetsToTxn(_), ResponseBody::AddOffsetsToTxn(body)) => {
                self.add_offsets_answered(request, body.error_code);
            }
            (RequestBody::TxnOffsetCommit(_), ResponseBody::TxnOffsetCommit(body)) => {
                self.offset_commit_answered(request, &body);
            }
            (RequestBody::EndTxn(_), ResponseBody::EndTxn(body)) => self.end_answered(request, &body),
            (RequestBody::DescribeTransactions(_), ResponseBody::DescribeTransactions(body)) => {
                self.described(request, &body);
            }
            (_, _) => {
                self.may_have_been_applied(&request);
                let error = self.broken(format!(
                    "{} was answered with another response",
                    request.kind().name()
                ));
                self.fail_request_fatally(&request, error);
            }
        }
    }

    /// T-51. The broker may have carried it out (R1), and a copy may still arrive (R6).
    fn unanswered(&mut self, request: TransactionalRequest) {
        debug!(request = request.kind().name(), "unanswered");
        self.may_have_been_applied(&request);
        self.look_up_for(&request);
        self.repeat_unanswered(request);
    }

    fn undecodable(&mut self, request: &TransactionalRequest) {
        self.may_have_been_applied(request);
        let error = self.broken(format!(
            "the response to {} could not be decoded",
            request.kind().name()
        ));
        self.fail_request_fatally(request, error);
    }

    /// What an attempt without a usable answer leaves behind in the transaction.
    fn may_have_been_applied(&mut self, request: &TransactionalRequest) {
        let Some(transaction) = self.state.transaction_mut() else {
            return;
        };
        match &request.work {
            Work::Coordinator { .. } | Work::Identity(_) | Work::Describe(_) => return,
            Work::Partitions(_) | Work::AddOffsets(_) => transaction.may_have_started(),
            Work::CommitOffsets { .. } => {}
            Work::End {
                decision: Decision::Commit,
                ..
            } => transaction.commit = CommitAttempts::Unknown,
            Work::End {
                decision: Decision::Abort,
                ..
            }
            | Work::TakeOver => {}
        }
        transaction.answers = Answers::SomeMissing;
    }

    /// T-54. R8: a commit that may have been carried out is asked about first.
    pub(crate) fn fail_request_fatally(&mut self, request: &TransactionalRequest, error: TransactionError) {
        let fate = self.fate_of_open_transaction();
        match &request.work {
            Work::End {
                decision: Decision::Commit,
                ..
            } if fate == TransactionFate::InDoubt => return self.ask_what_became(error),
            Work::Describe(doubt) => return self.stay_in_doubt(doubt.cause.clone(), no_answer(&error)),
            _ => {}
        }
        if let Some(ticket) = request.ticket() {
            self.answer(
                ticket,
                Outcome::Dead {
                    error: error.clone(),
                    transaction: fate,
                },
            );
        }
        self.die(error, fate);
    }

    /// T-54.
    pub(crate) fn fail_request_abortably(&mut self, request: &TransactionalRequest, error: TransactionError) {
        if let Some(ticket) = request.ticket() {
            self.answer(ticket, Outcome::MustAbort(error.clone()));
        }
        self.fail_abortably(error);
    }

    /// T-54, T-55.
    pub(crate) fn fail_request_recoverably(
        &mut self,
        request: &TransactionalRequest,
        error: TransactionError,
    ) {
        if !self.can_recover_by_abort() {
            return self.fail_request_fatally(request, error);
        }
        if let Some(ticket) = request.ticket() {
            self.answer(ticket, Outcome::MustAbort(error.clone()));
        }
        self.fail_recoverably(error);
    }

    pub(crate) fn look_up_and_repeat(&mut self, request: TransactionalRequest, code: ErrorCode) {
        self.look_up_for(&request);
        self.repeat_refused(request, code);
    }

    /// The error of a fatal row that is about this producer's standing.
    pub(crate) fn fatal_refusal(&self, request: &TransactionalRequest, code: ErrorCode) -> TransactionError {
        let rejection = self.rejection(request.kind().name(), code, None);
        match code {
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => match request.work {
                Work::Identity(IdentityPurpose::Bump) => TransactionError::FencedAtRenewal(rejection),
                _ => TransactionError::ProducerFenced(rejection),
            },
            ErrorCode::InvalidTxnState if matches!(request.work, Work::End { .. }) => {
                TransactionError::NothingToEnd(rejection)
            }
            ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed => {
                TransactionError::Unauthorized(rejection)
            }
            _ => TransactionError::Refused(rejection),
        }
    }

    pub(crate) fn abortable_refusal(
        &self,
        request: &TransactionalRequest,
        code: ErrorCode,
        subject: Option<Arc<str>>,
    ) -> TransactionError {
        TransactionError::MustAbort(self.rejection(request.kind().name(), code, subject))
    }

    fn broken(&self, what: String) -> TransactionError {
        TransactionError::BrokenAnswer {
            who: self.who(),
            what: what.into(),
        }
    }
}
