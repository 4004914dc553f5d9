//! Where the transaction stands: one machine, one table (O-1).
//!
//! Everything that exists in one state lives in that state. This file decides which step is legal; it never decides what to send
//! and never answers anybody.

use std::mem;

use crate::error::TransactionError;
use crate::transaction::Transaction;

/// The state of the manager.
///
/// ```text
///                     Initialize            IdentityReceived            Begin
///   Uninitialized ---------------> Initializing ----------> Ready ---------------> InTransaction
///     ^   ^                          ^   |                  ^  |                     |        |
///     |   |                          |   |                  |  |         BeginCommit |        | BeginAbort
///     |   +--------------------------|---|------------------|--+                     v        v
///     |        Uninitialize          |   |                  +---- TransactionEnded -- Committing / Aborting
///     |                              +---|------------------- EndedNeedsIdentity ---- Committing / Aborting
///     |        Uninitialize              v                                             |           ^
///     +---------------------------- AbortableError <---- Abort(error) ----- InTransaction, Committing, itself
///                                        |                                                         |
///                                        +---------------------- BeginAbort -----------------------+
///
///   every state ---- Fail(error) ----> FatalError, which nothing leaves (T-6)
/// ```
#[derive(Debug)]
pub(crate) enum State {
    /// No identity, and none asked for.
    Uninitialized,
    /// An InitProducerId is on its way: the first one, or the bump behind a transaction.
    Initializing,
    /// An identity, no transaction. An idempotent-only producer stays here.
    Ready,
    /// A transaction that accepts records and offsets.
    InTransaction(Transaction),
    /// Commit was asked for; EndTxn follows the last batch.
    Committing(Transaction),
    /// Abort was asked for; EndTxn follows the last batch.
    Aborting(Transaction),
    /// The transaction can only be aborted.
    AbortableError {
        /// Why.
        error: TransactionError,
        /// What is to be aborted; nothing, when initializing failed.
        transaction: Transaction,
    },
    /// The producer is of no more use.
    FatalError {
        /// Why: the first fatal error, later ones do not replace it (D-20).
        error: TransactionError,
    },
}

/// The name of a state, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// No identity, and none asked for.
    Uninitialized,
    /// An InitProducerId is on its way.
    Initializing,
    /// An identity, no transaction.
    Ready,
    /// A transaction that accepts records and offsets.
    InTransaction,
    /// Commit was asked for.
    Committing,
    /// Abort was asked for.
    Aborting,
    /// The transaction can only be aborted.
    AbortableError,
    /// The producer is of no more use.
    FatalError,
}

/// What can happen to the machine.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The application, or an idempotent-only producer itself, asks for an identity.
    Initialize,
    /// InitProducerId succeeded.
    IdentityReceived,
    /// The application begins a transaction.
    Begin(Transaction),
    /// The application asks for the commit.
    BeginCommit,
    /// The application, or the shutdown, asks for the abort.
    BeginAbort,
    /// EndTxn succeeded or was not needed, and the identity stays.
    TransactionEnded,
    /// EndTxn succeeded or was not needed, and a new epoch has to be fetched first.
    EndedNeedsIdentity,
    /// An error after which the transaction can only be aborted.
    Abort(TransactionError),
    /// An error after which the producer is of no more use.
    Fail(TransactionError),
    /// The identity is given up: epochs used up (T-94), or authorization recovery (S-24).
    Uninitialize,
}

/// A step that table O-1 does not have. The machine is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot go from {from:?} to {to:?}")]
pub(crate) struct IllegalTransition {
    pub(crate) from: StateName,
    pub(crate) to: StateName,
}

impl State {
    /// Takes the step, or changes nothing.
    pub(crate) fn apply(&mut self, event: Event) -> Result<(), IllegalTransition> {
        let refused = IllegalTransition {
            from: self.name(),
            to: event.target(),
        };
        if !self.allows(&event) {
            return Err(refused);
        }
        let before = mem::replace(self, State::Uninitialized);
        *self = before.after(event);
        Ok(())
    }

    /// Table O-1, rows in its order: which events each target accepts from where.
    fn allows(&self, event: &Event) -> bool {
        use State as S;
        match (event, self) {
            (Event::Uninitialize, S::Ready | S::AbortableError { .. }) => true,
            (Event::Initialize, S::Uninitialized) => true,
            (Event::EndedNeedsIdentity, S::Aborting(_) | S::Committing(_)) => true,
            (Event::IdentityReceived, S::Initializing) => true,
            (Event::TransactionEnded, S::Committing(_) | S::Aborting(_)) => true,
            (Event::Begin(_), S::Ready) => true,
            (Event::BeginCommit, S::InTransaction(_)) => true,
            (Event::BeginAbort, S::InTransaction(_) | S::AbortableError { .. }) => true,
            (Event::Abort(_), S::InTransaction(_) | S::Committing(_) | S::Initializing) => true,
            (Event::Abort(_), S::AbortableError { .. }) => true,
            // T-12: an abort that is under way is not disturbed. D-20: a fatal error stays what it was.
            (Event::Abort(_), S::Aborting(_) | S::FatalError { .. }) => true,
            (Event::Fail(_), _) => true,
            (
                Event::Uninitialize
                | Event::Initialize
                | Event::EndedNeedsIdentity
                | Event::IdentityReceived
                | Event::TransactionEnded
                | Event::Begin(_)
                | Event::BeginCommit
                | Event::BeginAbort
                | Event::Abort(_),
                _,
            ) => false,
        }
    }

    /// The state behind an allowed event.
    fn after(self, event: Event) -> State {
        match event {
            Event::Initialize | Event::EndedNeedsIdentity => State::Initializing,
            Event::IdentityReceived | Event::TransactionEnded => State::Ready,
            Event::Begin(transaction) => State::InTransaction(transaction),
            Event::BeginCommit => State::Committing(self.into_transaction()),
            Event::BeginAbort => State::Aborting(self.into_transaction()),
            Event::Abort(error) => match self {
                kept @ (State::Aborting(_) | State::FatalError { .. }) => kept,
                other => State::AbortableError {
                    error,
                    transaction: other.into_transaction(),
                },
            },
            Event::Fail(error) => match self {
                kept @ State::FatalError { .. } => kept,
                _ => State::FatalError { error },
            },
            Event::Uninitialize => State::Uninitialized,
        }
    }

    fn into_transaction(self) -> Transaction {
        match self {
            State::InTransaction(transaction)
            | State::Committing(transaction)
            | State::Aborting(transaction)
            | State::AbortableError { transaction, .. } => transaction,
            State::Uninitialized | State::Initializing | State::Ready | State::FatalError { .. } => {
                Transaction::nothing()
            }
        }
    }

    pub(crate) fn name(&self) -> StateName {
        match self {
            State::Uninitialized => StateName::Uninitialized,
            State::Initializing => StateName::Initializing,
            State::Ready => StateName::Ready,
            State::InTransaction(_) => StateName::InTransaction,
            State::Committing(_) => StateName::Committing,
            State::Aborting(_) => StateName::Aborting,
            State::AbortableError { .. } => StateName::AbortableError,
            State::FatalError { .. } => StateName::FatalError,
        }
    }

    /// The transaction in the four states that have one (T-8).
    pub(crate) fn transaction(&self) -> Option<&Transaction> {
        match self {
            State::InTransaction(transaction)
            | State::Committing(transaction)
            | State::Aborting(transaction)
            | State::AbortableError { transaction, .. } => Some(transaction),
            State::Uninitialized | State::Initializing | State::Ready | State::FatalError { .. } => None,
        }
    }

    pub(crate) fn transaction_mut(&mut self) -> Option<&mut Transaction> {
        match self {
            State::InTransaction(transaction)
            | State::Committing(transaction)
            | State::Aborting(transaction)
            | State::AbortableError { transaction, .. } => Some(transaction),
            State::Uninitialized | State::Initializing | State::Ready | State::FatalError { .. } => None,
        }
    }

    /// The last error, in the two states that have one (T-7).
    pub(crate) fn error(&self) -> Option<&TransactionError> {
        match self {
            State::AbortableError { error, .. } | State::FatalError { error } => Some(error),
            _ => None,
        }
    }
}

impl Event {
    fn target(&self) -> StateName {
        match self {
            Event::Initialize | Event::EndedNeedsIdentity => StateName::Initializing,
            Event::IdentityReceived | Event::TransactionEnded => StateName::Ready,
            Event::Begin(_) => StateName::InTransaction,
            Event::BeginCommit => StateName::Committing,
            Event::BeginAbort => StateName::Aborting,
            Event::Abort(_) => StateName::AbortableError,
            Event::Fail(_) => StateName::FatalError,
            Event::Uninitialize => StateName::Uninitialized,
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
