//! DescribeTransactions: what became of a commit whose own answers cannot tell any more (R8).
//!
//! The producer ends in any case, with the truth if the coordinator knows it. What fits two stories is left in doubt: nothing is guessed.

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribeTransactionsResponseTransaction,
};
use kommit_protocol::units::Identity;
use tracing::info;

use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::outcome::{Outcome, TransactionFate};
use crate::requests::{RequestBody, TransactionalRequest, Work};
use crate::version::Flavour;

/// A commit in doubt, and what ended the producer.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    pub(crate) cause: TransactionError,
    /// Who committed: the identity in the EndTxn.
    pub(crate) identity: Identity,
    pub(crate) flavour: Flavour,
    pub(crate) look: Look,
}

/// How often the transaction was seen open: an end that the coordinator is just writing down shows a moment later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    First,
    Last,
}

/// What the code of an answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DescribeAction {
    Read,
    FindCoordinator,
    Repeat,
    GiveUp,
}

pub(crate) fn describe_action(code: ErrorCode) -> DescribeAction {
    use ErrorCode as E;
    match code {
        E::None => DescribeAction::Read,
        E::CoordinatorNotAvailable | E::NotCoordinator => DescribeAction::FindCoordinator,
        retriable if retriable.is_retriable() => DescribeAction::Repeat,
        any_other => give_up_on_any_other(any_other),
    }
}

/// TRANSACTIONAL_ID_NOT_FOUND, TRANSACTIONAL_ID_AUTHORIZATION_FAILED …: the coordinator does not tell.
fn give_up_on_any_other(_code: ErrorCode) -> DescribeAction {
    DescribeAction::GiveUp
}

/// What a description proves about the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Committed,
    NotCommitted,
    /// The transaction is open: whether a late copy of the commit still ends it is not known.
    Open,
    /// It fits more than one story.
    NotTold,
}

/// Whose epoch is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epoch {
    /// That of the commit.
    Same,
    /// The one behind it: a V2 transaction that has ended, or under V1 a fencing abort or the next instance.
    Next,
    Other,
}

/// The rows: a V2 transaction ends with the next epoch, whoever ends it, and a newer instance has a later one. A V1 transaction keeps its
/// epoch when its producer ends it; at the next epoch an abort may be that of this transaction (its time-out) or that of a newer
/// instance's transaction, behind a commit of this one.
pub(crate) fn standing(
    described: &DescribeTransactionsResponseTransaction,
    identity: Identity,
    flavour: Flavour,
) -> Standing {
    if described.producer_id != identity.id {
        return Standing::NotTold;
    }
    let epoch = match described.producer_epoch {
        same if same == identity.epoch => Epoch::Same,
        next if identity.epoch.next() == Some(next) => Epoch::Next,
        _ => Epoch::Other,
    };
    match (flavour, epoch, described.transaction_state.as_str()) {
        (Flavour::V1, Epoch::Same, "PrepareCommit" | "CompleteCommit") => Standing::Committed,
        (Flavour::V1, Epoch::Same, "PrepareAbort" | "CompleteAbort") => Standing::NotCommitted,
        (Flavour::V2, Epoch::Next, "PrepareCommit" | "CompleteCommit") => Standing::Committed,
        (Flavour::V2, Epoch::Next, "PrepareAbort" | "CompleteAbort") => Standing::NotCommitted,
        (Flavour::V1 | Flavour::V2, Epoch::Same, "Ongoing") => Standing::Open,
        (Flavour::V1 | Flavour::V2, Epoch::Same | Epoch::Next | Epoch::Other, _) => Standing::NotTold,
    }
}

/// Whether the coordinator has moved on from the identity that committed: only a newer instance or a time-out does that, but for a commit.
fn is_newer(described: &DescribeTransactionsResponseTransaction, identity: Identity) -> bool {
    described.producer_id != identity.id || described.producer_epoch > identity.epoch
}

/// Why there is no description, as a clause about the coordinator.
pub(super) fn no_answer(error: &TransactionError) -> Arc<str> {
    match error {
        TransactionError::UnsupportedVersion { .. } => "it knows no DescribeTransactions".into(),
        TransactionError::BrokenAnswer { what, .. } => Arc::clone(what),
        TransactionError::RetriesExhausted {
            code: Some(code),
            bound,
            ..
        } => format!("it answered {} for {} ms", code.name(), bound.as_millis()).into(),
        other => other.to_string().into(),
    }
}

impl TransactionManager {
    /// R8: the commit cannot be repeated any more, and may have been carried out: the coordinator is asked before the producer ends.
    pub(crate) fn ask_what_became(&mut self, cause: TransactionError) {
        let (Some(identity), Some(id)) = (self.identity, self.config.transactional_id.clone()) else {
            return self.die(cause, TransactionFate::InDoubt);
        };
        info!(%cause, "the commit is in doubt; asking the coordinator what became of it");
        let flavour = self.flavour();
        let body = DescribeTransactionsRequest {
            transactional_ids: vec![id.as_ref().to_owned()],
        };
        let doubt = Doubt {
            cause,
            identity,
            flavour,
            look: Look::First,
        };
        self.enqueue(RequestBody::DescribeTransactions(body), Work::Describe(doubt));
    }

    pub(crate) fn described(
        &mut self,
        mut request: TransactionalRequest,
        body: &DescribeTransactionsResponse,
    ) {
        let Work::Describe(doubt) = &mut request.work else {
            return self.mislabelled(&request);
        };
        let id = self.config.transactional_id.as_deref();
        let own = |it: &&DescribeTransactionsResponseTransaction| Some(it.transactional_id.as_str()) == id;
        let Some(described) = body.transaction_states.iter().find(own) else {
            return self.stay_in_doubt(doubt.cause.clone(), "its answer leaves the transactional id out");
        };
        let code = described.error_code;
        match describe_action(code) {
            DescribeAction::Read => {
                let standing = standing(described, doubt.identity, doubt.flavour);
                if standing == Standing::Open && doubt.look == Look::First {
                    doubt.look = Look::Last;
                    return self.look_again(request);
                }
                self.settle(standing, doubt, described);
            }
            DescribeAction::FindCoordinator => self.look_up_and_repeat(request, code),
            DescribeAction::Repeat => self.repeat_refused(request, code),
            DescribeAction::GiveUp => {
                let reason = format!("it answered {}", code.name());
                self.stay_in_doubt(doubt.cause.clone(), reason);
            }
        }
    }

    fn settle(
        &mut self,
        standing: Standing,
        doubt: &Doubt,
        described: &DescribeTransactionsResponseTransaction,
    ) {
        let mut cause = doubt.cause.clone();
        if standing != Standing::Committed && is_newer(described, doubt.identity) {
            cause = cause.behind_a_newer_epoch();
        }
        let shown = || {
            format!(
                "it shows {} of producer id {} with epoch {}, and the commit was that of {} with epoch {}",
                described.transaction_state,
                described.producer_id.0,
                described.producer_epoch.0,
                doubt.identity.id.0,
                doubt.identity.epoch.0,
            )
        };
        match standing {
            Standing::Committed => {
                if let Some(pending) = &mut self.pending {
                    pending.decided = Some(Outcome::Committed);
                }
                self.die(cause, TransactionFate::NoneOpen);
            }
            Standing::NotCommitted => self.die(cause, TransactionFate::NotCommitted),
            Standing::Open => {
                let reason = format!("{}; the transaction is still open", shown());
                self.stay_in_doubt(cause, reason);
            }
            Standing::NotTold => self.stay_in_doubt(cause, shown()),
        }
    }

    /// The coordinator did not tell.
    pub(crate) fn stay_in_doubt(&mut self, cause: TransactionError, reason: impl Into<Arc<str>>) {
        let error = TransactionError::Undecided {
            cause: Arc::new(cause),
            reason: reason.into(),
        };
        self.die(error, TransactionFate::InDoubt);
    }
}
