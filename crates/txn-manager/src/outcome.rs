//! What the application is told: tickets, outcomes, and the operation that is under way.
//!
//! A call of the application becomes a ticket; being told is an entry in a list that the owner empties, not a state.

use crate::error::TransactionError;

/// The number of a waiting call, chosen by the owner of the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The answer to a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The call.
    pub ticket: Ticket,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `initialize`: there is an identity, transactions can begin.
    Initialized,
    /// `initialize`: refused in a way that allows another `initialize` on the same producer (S-25).
    NotInitialized(TransactionError),
    /// `send_offsets`: the group coordinator holds the offsets; they count when the transaction commits.
    OffsetsAdded,
    /// `begin_commit`: everything of the transaction is committed.
    Committed,
    /// `begin_abort`: nothing of the transaction is committed.
    Aborted,
    /// `begin_commit`, `send_offsets`: nothing was decided, and only `begin_abort` is left.
    MustAbort(TransactionError),
    /// Any call: the producer is of no more use.
    Dead {
        /// Why, and what to do.
        error: TransactionError,
        /// What became of the open transaction.
        transaction: TransactionFate,
    },
}

/// What became of a transaction whose producer died (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionFate {
    /// None was open.
    NoneOpen,
    /// It is not committed and never will be: aborted, or left to the coordinator's time-out.
    NotCommitted,
    /// A commit was asked for, and whether it was carried out is not known.
    InDoubt,
}

/// An operation of which at most one is under way (T-34).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Initialize,
    Commit,
    Abort,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Initialize => "initialize",
            Operation::Commit => "commit",
            Operation::Abort => "abort",
        }
    }
}

/// The operation under way and who waits for it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) operation: Operation,
    pub(crate) tickets: Vec<Ticket>,
    /// Set when the transaction has ended and only a new epoch is awaited: the result no later error can change (R8).
    pub(crate) decided: Option<Outcome>,
}

impl Pending {
    pub(crate) fn new(operation: Operation, ticket: Ticket) -> Self {
        Self {
            operation,
            tickets: vec![ticket],
            decided: None,
        }
    }

    /// What the waiters hear when the producer dies.
    pub(crate) fn outcome_of_death(&self, error: TransactionError, transaction: TransactionFate) -> Outcome {
        self.decided
            .clone()
            .unwrap_or(Outcome::Dead { error, transaction })
    }

    /// What the waiters hear when the transaction can only be aborted; none for an abort, which goes on (T-12).
    pub(crate) fn outcome_of_abortable(&self, error: TransactionError) -> Option<Outcome> {
        match (&self.decided, self.operation) {
            (Some(decided), _) => Some(decided.clone()),
            (None, Operation::Initialize) => Some(Outcome::NotInitialized(error)),
            (None, Operation::Commit) => Some(Outcome::MustAbort(error)),
            (None, Operation::Abort) => None,
        }
    }
}
