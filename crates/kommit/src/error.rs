//! What can go wrong, one type for each call, and each answers four questions: may the same call be repeated, must the transaction be aborted, is
//! the producer of no more use, may the records be in the log all the same.

use std::time::Duration;

use kommit_accumulator::{Delivery, GateReason};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::TopicPartition;
use kommit_txn_manager::{TransactionError, TransactionFate};
use thiserror::Error;

pub use kommit_accumulator::{Fate, SendError, SendErrorKind};

use crate::config::ConfigError;
use crate::record::Record;
use crate::transaction::{InDoubt, MustAbort, UnfinishedAbort};
use crate::transactional::Ending;

/// A record that was not taken without waiting.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrySendError<'r> {
    /// Memory is short: `buffer.memory` is used up. The record is given back.
    #[error("buffer.memory is used up")]
    Full(Record<'r>),
    /// The topic's partitions are not known yet; they have been asked for. The record is given back.
    #[error("the metadata of topic {} is not there yet", .0.topic())]
    TopicNotReady(Record<'r>),
    /// The record cannot be sent.
    #[error(transparent)]
    Failed(#[from] SendError),
}

impl TrySendError<'_> {
    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Full(_) | Self::TopicNotReady(_) => true,
            Self::Failed(error) => error.is_retriable(),
        }
    }

    /// Whether the transaction that the record was for can only be aborted.
    pub fn requires_abort(&self) -> bool {
        matches!(self, Self::Failed(error) if error.requires_abort())
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_fatal())
    }

    /// Never: the record is in no batch.
    pub fn may_be_written(&self) -> bool {
        false
    }
}

/// A slice whose records were taken up to the one that was refused. Those behind it were not tried.
#[derive(Debug, Error)]
#[error("record {} of the slice was refused: {error}", .sent.len())]
#[non_exhaustive]
pub struct SendAllError {
    /// What becomes of the records before it; there are as many as the refused record's index.
    pub sent: Vec<Delivery>,
    /// Why it was refused.
    #[source]
    pub error: SendError,
}

impl SendAllError {
    /// Whether the rest of the slice, from the refused record on, may be taken later.
    pub fn is_retriable(&self) -> bool {
        self.error.is_retriable()
    }

    /// Whether the transaction that the records were for can only be aborted.
    pub fn requires_abort(&self) -> bool {
        self.error.requires_abort()
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        self.error.is_fatal()
    }

    /// Never for the refused record and those behind it; those before it have their deliveries.
    pub fn may_be_written(&self) -> bool {
        false
    }
}

/// A producer that could not be started.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting that this producer needs is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No producer id within `max.block.ms`.
    #[error("no producer id within max.block.ms = {} ms: {diagnosis}", .max_block.as_millis())]
    TimedOut {
        /// How long was waited.
        max_block: Duration,
        /// What the connections said.
        diagnosis: String,
    },
    /// The coordinator refused.
    #[error("{}{}", .0, setting_clause(.0))]
    Refused(TransactionError),
    /// The sender ended before it was ready.
    #[error("the producer is closed")]
    Closed,
}

/// Which setting a refusal is about, where the code alone does not say it.
fn setting_clause(error: &TransactionError) -> &'static str {
    match error.code() {
        Some(ErrorCode::InvalidTransactionTimeout) => {
            "; lower transaction.timeout.ms to at most the broker's transaction.max.timeout.ms"
        }
        _ => "",
    }
}

impl ConnectError {
    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// Never: no transaction was open.
    pub fn requires_abort(&self) -> bool {
        false
    }

    /// Whether a change of settings or permissions is needed.
    pub fn is_fatal(&self) -> bool {
        !self.is_retriable()
    }

    /// Never: nothing was sent.
    pub fn may_be_written(&self) -> bool {
        false
    }
}

/// A transaction that could not be begun.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BeginError {
    /// An earlier transaction was left without an end, and ending it was not finished within `max.block.ms`. Call again.
    #[error("the earlier transaction could not be ended yet: {diagnosis}")]
    EarlierNotEnded {
        /// What the connections said.
        diagnosis: String,
    },
    /// The producer cannot begin as it stands.
    #[error("{0}")]
    Refused(GateReason),
    /// The producer is of no more use.
    #[error(transparent)]
    Dead(DeadProducer),
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

impl BeginError {
    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::EarlierNotEnded { .. })
    }

    /// Never: no transaction is open.
    pub fn requires_abort(&self) -> bool {
        false
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        !self.is_retriable()
    }

    /// Never: nothing was sent.
    pub fn may_be_written(&self) -> bool {
        false
    }
}

/// Offsets that are not part of the transaction.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum OffsetsError {
    /// The transaction can only be aborted.
    #[error(transparent)]
    MustAbort(TransactionError),
    /// The group's metadata contradicts itself (P-8). Nothing was asked of anybody, and the transaction goes on.
    #[error("the consumer group's metadata is not valid: {0}")]
    InvalidGroup(&'static str),
    /// No answer within `max.block.ms`: abort, because the offsets may or may not be part of the transaction.
    #[error("the group coordinator did not answer within max.block.ms: {diagnosis}")]
    TimedOut {
        /// What the connections said.
        diagnosis: String,
    },
    /// The producer is of no more use.
    #[error(transparent)]
    Dead(DeadProducer),
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

impl OffsetsError {
    /// Whether the whole transaction may succeed when it is repeated.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::MustAbort(_) | Self::TimedOut { .. })
    }

    /// Whether the transaction can only be aborted.
    pub fn requires_abort(&self) -> bool {
        matches!(self, Self::MustAbort(_) | Self::TimedOut { .. })
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Dead(_) | Self::Closed)
    }

    /// Never visibly: offsets count only when the transaction commits.
    pub fn may_be_written(&self) -> bool {
        false
    }
}

/// A commit that did not succeed: each variant has only the calls that make sense for it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError<'p> {
    /// Nothing is visible, and nothing will be: abort.
    #[error("the transaction was not committed: {}", .0.error())]
    MustAbort(MustAbort<'p>),
    /// The commit was asked for and not answered in time: resolve.
    #[error("the outcome of the commit is not known yet: {}", .0.diagnosis)]
    InDoubt(InDoubt<'p>),
    /// The producer is of no more use; [`DeadProducer::transaction`] says what became of the transaction.
    #[error(transparent)]
    Dead(DeadProducer),
}

impl CommitError<'_> {
    /// Whether the transaction may succeed when it is aborted and repeated.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::MustAbort(_))
    }

    /// Whether the transaction can only be aborted.
    pub fn requires_abort(&self) -> bool {
        matches!(self, Self::MustAbort(_))
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Dead(_))
    }

    /// Whether the records may be visible in spite of the error.
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::MustAbort(_) => false,
            Self::InDoubt(_) => true,
            Self::Dead(dead) => dead.may_be_written(),
        }
    }
}

impl CommitError<'_> {
    /// Gives up what could still be done, and keeps what is known: an error without a borrow, for `?`.
    ///
    /// A transaction that must be aborted is then aborted by the next [`begin`](crate::TransactionalProducer::begin), and a commit in doubt
    /// goes on in the background.
    pub fn give_up(self) -> TransactionFailed {
        let text = self.to_string();
        let outcome = match &self {
            Self::MustAbort(_) => TransactionFate::NotCommitted,
            Self::InDoubt(_) => TransactionFate::InDoubt,
            Self::Dead(dead) => dead.transaction(),
        };
        TransactionFailed {
            text,
            outcome,
            dead: self.is_fatal(),
        }
    }
}

/// An abort that did not end. The transaction is not committed in any case.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AbortError<'p> {
    /// Not answered within `max.block.ms`: wait again, or begin the next transaction, which waits for it.
    #[error("the abort is not finished yet: {}", .0.diagnosis)]
    Unfinished(UnfinishedAbort<'p>),
    /// The producer is of no more use.
    #[error(transparent)]
    Dead(DeadProducer),
}

impl AbortError<'_> {
    /// Whether waiting again may succeed.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unfinished(_))
    }

    /// Whether the transaction still has to be aborted.
    pub fn requires_abort(&self) -> bool {
        matches!(self, Self::Unfinished(_))
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Dead(_))
    }

    /// Never visibly: an aborted transaction shows none of its records.
    pub fn may_be_written(&self) -> bool {
        false
    }
}

impl AbortError<'_> {
    /// Gives up the waiting, and keeps what is known: an error without a borrow, for `?`.
    pub fn give_up(self) -> TransactionFailed {
        let text = self.to_string();
        TransactionFailed {
            text,
            outcome: TransactionFate::NotCommitted,
            dead: self.is_fatal(),
        }
    }
}

/// A transaction that did not end as it should have, when nothing is to be done about it any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct TransactionFailed {
    text: String,
    outcome: TransactionFate,
    dead: bool,
}

impl TransactionFailed {
    /// A commit that was refused behind its transaction's back: the next transaction is to be aborted, and this one with it.
    pub(crate) fn not_committed(error: &TransactionError) -> Self {
        Self {
            text: format!("the transaction was not committed: {error}"),
            outcome: TransactionFate::NotCommitted,
            dead: false,
        }
    }

    /// What became of the transaction.
    pub fn transaction(&self) -> TransactionFate {
        self.outcome
    }

    /// Whether the transaction may succeed when it is repeated on the same producer.
    pub fn is_retriable(&self) -> bool {
        !self.dead && self.outcome == TransactionFate::NotCommitted
    }

    /// Never: the next `begin` aborts what is left.
    pub fn requires_abort(&self) -> bool {
        false
    }

    /// Whether the producer is of no more use.
    pub fn is_fatal(&self) -> bool {
        self.dead
    }

    /// Whether the records may be visible.
    pub fn may_be_written(&self) -> bool {
        self.outcome == TransactionFate::InDoubt
    }
}

/// A producer that is of no more use, why, and what became of its transaction. Build a new one, if no other instance took over.
#[derive(Clone, Debug, Error)]
#[error("{error}{}", fate_clause(*.transaction))]
pub struct DeadProducer {
    error: TransactionError,
    transaction: TransactionFate,
}

fn fate_clause(transaction: TransactionFate) -> &'static str {
    match transaction {
        TransactionFate::NoneOpen => "",
        TransactionFate::NotCommitted => "; the open transaction is not committed",
        TransactionFate::InDoubt => {
            "; its transaction was being committed, and whether it was is not known: see what a read_committed reader gets before you repeat it"
        }
    }
}

impl DeadProducer {
    pub(crate) fn new(error: TransactionError, transaction: TransactionFate) -> Self {
        Self { error, transaction }
    }

    /// The sender ended while the transaction was being ended.
    pub(crate) fn closed(how: Ending) -> Self {
        let transaction = match how {
            Ending::Commit | Ending::CommitAndBegin => TransactionFate::InDoubt,
            Ending::Abort => TransactionFate::NotCommitted,
        };
        Self::new(
            TransactionError::Closed {
                who: "producer".into(),
            },
            transaction,
        )
    }

    /// Why.
    pub fn error(&self) -> &TransactionError {
        &self.error
    }

    /// What became of the open transaction.
    pub fn transaction(&self) -> TransactionFate {
        self.transaction
    }

    /// Whether another instance with the same `transactional.id` took over, or the coordinator ended the transaction after its time-out.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.error.origin(),
            TransactionError::ProducerFenced(_)
                | TransactionError::FencedAtRenewal(_)
                | TransactionError::NothingToEnd(_)
        )
    }

    /// Never: build a new producer.
    pub fn is_retriable(&self) -> bool {
        false
    }

    /// Never: this producer can end nothing any more.
    pub fn requires_abort(&self) -> bool {
        false
    }

    /// Always.
    pub fn is_fatal(&self) -> bool {
        true
    }

    /// Whether the records of the open transaction may be visible.
    pub fn may_be_written(&self) -> bool {
        self.transaction == TransactionFate::InDoubt
    }
}

/// A flush that was not finished.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

/// A gap that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GapError {
    /// The partition has not stopped: there is nothing to acknowledge.
    #[error("{partition} has not stopped behind a record of unknown fate")]
    NoGap {
        /// The partition that was named.
        partition: TopicPartition,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

/// A close that had to be forced.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// `timeout` passed: what still waited failed, and an open transaction was left to the coordinator's time-out or the next instance.
    #[error("not everything could be finished within {} ms; what was left has failed", .timeout.as_millis())]
    Forced {
        /// The time that was given.
        timeout: Duration,
    },
}

/// What a record's [`Delivery`] ends with.
pub type DeliveryResult = <Delivery as Future>::Output;

#[cfg(test)]
mod tests {
    use super::*;

    /// H18: who reads that a producer is dead must learn what it leaves behind.
    #[test]
    fn a_dead_producer_says_what_became_of_its_transaction() {
        let text = |transaction| {
            let closed = TransactionError::Closed {
                who: "producer".into(),
            };
            DeadProducer::new(closed, transaction).to_string()
        };
        assert!(text(TransactionFate::NotCommitted).ends_with("; the open transaction is not committed"));
        let in_doubt = text(TransactionFate::InDoubt);
        assert!(
            in_doubt.contains("was being committed, and whether it was is not known"),
            "{in_doubt}"
        );
        assert!(in_doubt.contains("read_committed"), "{in_doubt}");
        assert!(!text(TransactionFate::NoneOpen).contains("transaction is"));
    }
}
