//! InitProducerId (table E-1, T-75).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::InitProducerIdResponse;
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId};

use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::outcome::Outcome;
use crate::requests::{TransactionalRequest, Work};
use crate::state::Event;

/// What an answer to InitProducerId leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityAction {
    Adopt,
    FindCoordinator,
    Repeat,
    /// Back to the start, where it can be tried again (S-24).
    Unauthorized,
    Fenced,
    Abort,
    Fail,
}

/// E-1.
pub(crate) fn identity_action(code: ErrorCode) -> IdentityAction {
    use ErrorCode as E;
    match code {
        E::None => IdentityAction::Adopt,
        E::NotCoordinator | E::CoordinatorNotAvailable => IdentityAction::FindCoordinator,
        retriable if retriable.is_retriable() => IdentityAction::Repeat,
        E::TransactionalIdAuthorizationFailed | E::ClusterAuthorizationFailed => IdentityAction::Unauthorized,
        E::InvalidProducerEpoch | E::ProducerFenced => IdentityAction::Fenced,
        E::TransactionAbortable => IdentityAction::Abort,
        any_other => fail_on_any_other(any_other),
    }
}

/// The last row of E-1.
fn fail_on_any_other(_code: ErrorCode) -> IdentityAction {
    IdentityAction::Fail
}

impl TransactionManager {
    pub(crate) fn identity_answered(&mut self, request: TransactionalRequest, body: &InitProducerIdResponse) {
        let code = body.error_code;
        match identity_action(code) {
            IdentityAction::Adopt if matches!(request.work, Work::TakeOver) => {
                let error = TransactionError::TakenOver { who: self.who() };
                self.fail_request_fatally(&request, error);
            }
            IdentityAction::Adopt => self.identity_given(&request, body),
            IdentityAction::FindCoordinator => self.look_up_and_repeat(request, code),
            IdentityAction::Repeat => self.repeat_refused(request, code),
            IdentityAction::Unauthorized | IdentityAction::Abort
                if matches!(request.work, Work::TakeOver) =>
            {
                let error = self.fatal_refusal(&request, code);
                self.fail_request_fatally(&request, error);
            }
            IdentityAction::Unauthorized => {
                self.identity_refusals = self.identity_refusals.saturating_add(1);
                let error = self.fatal_refusal(&request, code);
                self.fail_request_abortably(&request, error);
            }
            IdentityAction::Abort => {
                let error = self.abortable_refusal(&request, code, None);
                self.fail_request_abortably(&request, error);
            }
            IdentityAction::Fail if code == ErrorCode::InvalidTransactionTimeout => {
                let error = self.timeout_refusal();
                self.fail_request_fatally(&request, error);
            }
            IdentityAction::Fenced | IdentityAction::Fail => {
                let error = self.fatal_refusal(&request, code);
                self.fail_request_fatally(&request, error);
            }
        }
    }

    /// B-56, D-22: the broker bounds how long a transaction may take, and only it knows the bound.
    fn timeout_refusal(&self) -> TransactionError {
        let millis = self.config.transaction_timeout.as_millis();
        let subject = format!("transaction.timeout.ms = {millis}, of which the broker allows less");
        let code = ErrorCode::InvalidTransactionTimeout;
        TransactionError::Refused(self.rejection("InitProducerId", code, Some(subject.into())))
    }

    /// T-75.
    fn identity_given(&mut self, request: &TransactionalRequest, body: &InitProducerIdResponse) {
        let Some(identity) = identity(body.producer_id, body.producer_epoch) else {
            let error = TransactionError::BrokenAnswer {
                who: self.who(),
                what: "InitProducerId succeeded without a producer id".into(),
            };
            return self.fail_request_fatally(request, error);
        };
        self.identity_refusals = 0;
        self.adopt(identity);
        self.versions.take_over_with_fresh_identity();
        self.step(Event::IdentityReceived);
        let decided = self.pending.as_ref().and_then(|pending| pending.decided.clone());
        self.complete(decided.unwrap_or(Outcome::Initialized));
    }
}

/// The identity in a response, unless it carries none.
pub(crate) fn identity(id: ProducerId, epoch: ProducerEpoch) -> Option<Identity> {
    (id.0 >= 0 && epoch.0 >= 0).then_some(Identity { id, epoch })
}
