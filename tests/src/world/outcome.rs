//! What an application is told in a scene, as values that can be compared.

use kommit_accumulator::{AppendRefusal, RecordMetadata, SendError};
use kommit_protocol::units::TopicPartition;
use kommit_sender::Reply;
use kommit_txn_manager::{CommandError, Outcome, TransactionError, TransactionFate};

/// What became of a call so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// Nobody has answered it.
    Waiting,
    /// The producer has its identity.
    Initialized,
    /// The identity was refused; another attempt is possible.
    NotInitialized(TransactionError),
    /// The offsets are in the transaction.
    OffsetsAdded,
    /// The transaction is committed.
    Committed,
    /// The transaction is aborted.
    Aborted,
    /// The transaction can only be aborted.
    MustAbort(TransactionError),
    /// The producer is of no more use.
    Dead(TransactionError, TransactionFate),
    /// The call changed nothing.
    Refused(CommandError),
    /// The next transaction has begun behind a commit.
    Begun,
    /// Everything before the flush has its outcome.
    Flushed,
    /// The partitions that have stopped behind a record of unknown fate.
    Stopped(Vec<TopicPartition>),
    /// The partition had stopped, and takes records again.
    GapAcknowledged,
    /// The partition has not stopped.
    NoGap,
    /// The sender ended without an answer.
    SenderGone,
}

impl CallOutcome {
    pub(crate) fn of(reply: Reply) -> Self {
        match reply {
            Reply::Transaction(Outcome::Initialized) => Self::Initialized,
            Reply::Transaction(Outcome::NotInitialized(error)) => Self::NotInitialized(error),
            Reply::Transaction(Outcome::OffsetsAdded) => Self::OffsetsAdded,
            Reply::Transaction(Outcome::Committed) => Self::Committed,
            Reply::Transaction(Outcome::Aborted) => Self::Aborted,
            Reply::Transaction(Outcome::MustAbort(error)) => Self::MustAbort(error),
            Reply::Transaction(Outcome::Dead { error, transaction }) => Self::Dead(error, transaction),
            Reply::Refused(error) => Self::Refused(error),
            Reply::Begun => Self::Begun,
            Reply::Flushed | Reply::Diagnosis(_) | Reply::Report(_) => Self::Flushed,
            Reply::Stopped(partitions) => Self::Stopped(partitions),
            Reply::GapAcknowledged => Self::GapAcknowledged,
            Reply::NoGap => Self::NoGap,
        }
    }

    /// Whether there is an answer that says that only an abort is left.
    pub fn must_abort(&self) -> bool {
        matches!(self, Self::MustAbort(_) | Self::Refused(CommandError::Failed(_)))
    }

    /// Whether there is an answer that says that the producer is of no more use.
    pub fn is_dead(&self) -> bool {
        matches!(self, Self::Dead(..))
    }
}

/// What became of a record so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is under way.
    Waiting,
    /// It is in the log at this offset; `None` when the broker did not say where.
    Written(Option<i64>),
    /// It was not delivered.
    Failed(SendError),
    /// It was not accepted.
    Refused(AppendRefusal),
}

impl RecordOutcome {
    pub(crate) fn of(outcome: Result<RecordMetadata, SendError>) -> Self {
        match outcome {
            Ok(metadata) => Self::Written(metadata.offset.map(|offset| offset.0)),
            Err(error) => Self::Failed(error),
        }
    }

    /// The error of a record that was not delivered.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn error(self) -> SendError {
        match self {
            Self::Failed(error) => error,
            other => panic!("an error was expected, not {other:?}"),
        }
    }
}

/// The record is in the log at `offset`.
pub fn written_at(offset: i64) -> RecordOutcome {
    RecordOutcome::Written(Some(offset))
}

/// The transaction is committed.
pub fn committed() -> CallOutcome {
    CallOutcome::Committed
}

/// The transaction is aborted.
pub fn aborted() -> CallOutcome {
    CallOutcome::Aborted
}

/// The next transaction has begun behind a commit.
pub fn begun() -> CallOutcome {
    CallOutcome::Begun
}

/// Nobody has answered the call.
pub fn waiting() -> CallOutcome {
    CallOutcome::Waiting
}
