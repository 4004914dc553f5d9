//! What a failed record tells its sender: why, whether the record may be in the log all the same, and what to do about it.
//!
//! Classifies nothing by itself beyond the classes of the error codes; what a failure means for a transaction is told by the core.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::TopicPartition;
use thiserror::Error;

use crate::gate::GateReason;

/// Whether a record is in the log (R1). The order is that of growing suspicion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It is certain that the broker did not take the record.
    #[default]
    NotWritten,
    /// Some attempt got no answer that proves anything.
    MayBeWritten,
    /// The broker has the record.
    Written,
}

impl Fate {
    /// The fate after one more attempt: one unknown attempt keeps the whole unknown (R1).
    #[must_use]
    pub fn joined_with(self, attempt: Fate) -> Fate {
        self.max(attempt)
    }
}

/// What a failed record means for the producer that sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consequence {
    /// The producer goes on as before.
    #[default]
    None,
    /// The transaction that the record belongs to can only be aborted.
    MustAbort,
    /// The producer cannot be used any more.
    Fatal,
}

/// Why a record was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The broker answered with this code.
    #[error("{}: {}", .0.name(), .0.text())]
    Broker(ErrorCode),
    /// The connection broke before an answer came.
    #[error("the connection was lost before an answer came")]
    Disconnected,
    /// The request got no answer within `request.timeout.ms`.
    #[error("the request got no answer in time")]
    RequestTimedOut,
    /// `delivery.timeout.ms` passed (S-44).
    #[error("{records} record(s) expired {} ms after the batch was created: {}", .age.as_millis(), .progress)]
    DeliveryTimeout {
        /// How many records the batch holds.
        records: u32,
        /// The time since the batch was created.
        age: Duration,
        /// How far the batch had come.
        progress: Progress,
    },
    /// The record or its batch is larger than what a request may hold (P-15, S-68).
    #[error("the record of up to {size} bytes is larger than {limit}")]
    RecordTooLarge {
        /// The upper bound of the record's batch in bytes.
        size: usize,
        /// The limit that it exceeds.
        limit: usize,
    },
    /// No room was free in `buffer.memory` in time.
    #[error("no room for {size} bytes became free in the buffer memory")]
    BufferExhausted {
        /// The bytes that were asked for.
        size: usize,
    },
    /// The topic, or the partition of it, did not show up in the metadata in time (P-13).
    #[error("the topic or partition is not present in the metadata")]
    NotInMetadata,
    /// The record itself is not legal (P-10).
    #[error("the record is not valid: {0}")]
    InvalidRecord(&'static str),
    /// The producer does not take the record now.
    #[error("the record was refused: {0}")]
    Refused(GateReason),
    /// Whether an earlier record of the partition was written is not known, and this one must not follow it before somebody has
    /// acknowledged that (H07).
    #[error(
        "the partition is stopped behind a record that may or may not have been written; acknowledge the gap to go on"
    )]
    BehindGap,
    /// Another record of the batch was refused by the broker, and this one with it (S-72).
    #[error("the batch held invalid records")]
    BatchHadInvalidRecords,
    /// The transaction was aborted before the record was sent.
    #[error("the transaction was aborted")]
    TransactionAborted,
    /// The transaction can only be aborted, so that the record was not sent.
    #[error("the transaction has failed and must be aborted")]
    TransactionFailed,
    /// The producer was closed before the record was delivered.
    #[error("the producer was closed forcefully")]
    ClosedForcefully,
    /// The producer was dropped before the record was delivered.
    #[error("the producer is gone")]
    ProducerGone,
}

/// How far an expired batch had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was still in its queue.
    NotSent,
    /// It was in a request that has not been answered.
    NotAnswered,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Progress::NotSent => "the request was not sent",
            Progress::NotAnswered => "no response was received",
        })
    }
}

/// A record was not delivered. Cheap to clone, and one word long, since every record's result has room for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendError {
    facts: Arc<Facts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    kind: SendErrorKind,
    fate: Fate,
    consequence: Consequence,
    topic_partition: Option<TopicPartition>,
    message: Option<Arc<str>>,
}

impl SendError {
    /// An error whose record is certainly not in the log and that has no consequence for the producer.
    pub fn new(kind: SendErrorKind) -> Self {
        Self {
            facts: Arc::new(Facts {
                kind,
                fate: Fate::NotWritten,
                consequence: Consequence::None,
                topic_partition: None,
                message: None,
            }),
        }
    }

    /// The same error with this fate.
    #[must_use]
    pub fn with_fate(mut self, fate: Fate) -> Self {
        self.facts_mut().fate = fate;
        self
    }

    /// The same error with this consequence for the producer.
    #[must_use]
    pub fn with_consequence(mut self, consequence: Consequence) -> Self {
        self.facts_mut().consequence = consequence;
        self
    }

    /// The same error, naming the partition.
    #[must_use]
    pub fn at(mut self, topic_partition: TopicPartition) -> Self {
        self.facts_mut().topic_partition = Some(topic_partition);
        self
    }

    /// The same error with the broker's own words (S-71).
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.facts_mut().message = Some(message.into());
        self
    }

    fn facts_mut(&mut self) -> &mut Facts {
        Arc::make_mut(&mut self.facts)
    }

    /// Why the record was not delivered.
    pub fn kind(&self) -> &SendErrorKind {
        &self.facts.kind
    }

    /// Whether the record is in the log.
    pub fn fate(&self) -> Fate {
        self.facts.fate
    }

    /// Where the record was to go, when that was known.
    pub fn topic_partition(&self) -> Option<&TopicPartition> {
        self.facts.topic_partition.as_ref()
    }

    /// The broker's code, when a broker refused the record.
    pub fn code(&self) -> Option<ErrorCode> {
        match self.facts.kind {
            SendErrorKind::Broker(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the same record might be delivered when it is sent again (Annex A).
    pub fn is_retriable(&self) -> bool {
        match self.facts.kind {
            SendErrorKind::Broker(code) => code.is_retriable(),
            SendErrorKind::Disconnected
            | SendErrorKind::RequestTimedOut
            | SendErrorKind::DeliveryTimeout { .. }
            | SendErrorKind::BufferExhausted { .. }
            | SendErrorKind::NotInMetadata => true,
            SendErrorKind::RecordTooLarge { .. }
            | SendErrorKind::InvalidRecord(_)
            | SendErrorKind::Refused(_)
            | SendErrorKind::BehindGap
            | SendErrorKind::BatchHadInvalidRecords
            | SendErrorKind::TransactionAborted
            | SendErrorKind::TransactionFailed
            | SendErrorKind::ClosedForcefully
            | SendErrorKind::ProducerGone => false,
        }
    }

    /// Whether the record's transaction can only be aborted now.
    pub fn requires_abort(&self) -> bool {
        self.facts.consequence == Consequence::MustAbort
    }

    /// Whether the producer cannot be used any more.
    pub fn is_fatal(&self) -> bool {
        self.facts.consequence == Consequence::Fatal
    }

    /// Whether the record may be in the log in spite of the error.
    pub fn may_be_written(&self) -> bool {
        self.facts.fate != Fate::NotWritten
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(topic_partition) = &self.facts.topic_partition {
            write!(f, "{topic_partition}: ")?;
        }
        self.facts.kind.fmt(f)?;
        if let Some(message) = &self.facts.message {
            write!(f, " ({message})")?;
        }
        if self.may_be_written() {
            f.write_str("; the record may have been written")?;
        }
        Ok(())
    }
}

impl std::error::Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1: one unknown attempt keeps the whole batch unknown.
    #[test]
    fn one_unknown_attempt_makes_the_fate_unknown() {
        let fate = Fate::NotWritten
            .joined_with(Fate::MayBeWritten)
            .joined_with(Fate::NotWritten);
        assert_eq!(fate, Fate::MayBeWritten);
    }

    /// S-44: the text of an expiry states the count, the partition, the age and the progress.
    #[test]
    fn an_expiry_says_how_far_the_batch_came() {
        let kind = SendErrorKind::DeliveryTimeout {
            records: 3,
            age: Duration::from_millis(1500),
            progress: Progress::NotAnswered,
        };
        let error = SendError::new(kind)
            .with_fate(Fate::MayBeWritten)
            .at(TopicPartition::new("orders", 4));
        assert_eq!(
            error.to_string(),
            "orders-4: 3 record(s) expired 1500 ms after the batch was created: no response was received; \
             the record may have been written"
        );
        assert!(error.is_retriable() && error.may_be_written());
    }
}
