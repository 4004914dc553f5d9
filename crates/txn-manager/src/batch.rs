//! A batch as the transaction manager knows it: its name, its stamp, its fate. No bytes, no policy.

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Identity, PartitionIndex, Sequence};

/// The name of a stamped batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId {
    /// Where it goes.
    pub partition: PartitionIndex,
    /// Who it comes from.
    pub identity: Identity,
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// How many records it has, at least one.
    pub records: u32,
}

impl BatchId {
    /// The sequence of its last record (A-63, with the wrap of W-9).
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.advanced_by(self.records.saturating_sub(1))
    }
}

/// Whether the records of a batch that is not acknowledged may be in the log: all its attempts together (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Every attempt is proven not written.
    NotWritten,
    /// Some attempt may have been written.
    MayBeWritten,
}

/// Whether a batch belongs to a transaction: a bit in its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transactional {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What is written into the header of a batch when it is drained for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who it comes from.
    pub identity: Identity,
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// Whether it belongs to a transaction.
    pub transactional: Transactional,
}

/// Why records failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// A broker answered with this code, or the network layer reported it (time-out, disconnect, version mismatch).
    Code(ErrorCode),
    /// `delivery.timeout.ms` passed (S-44).
    Expired,
    /// The client itself refused them (T-84): too large, no memory, no metadata.
    Refused(Arc<str>),
}

/// A stamped batch that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFailure {
    /// Why.
    pub reason: FailureReason,
    /// Whether it may be in the log.
    pub fate: Fate,
}

/// Whether a batch is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is put back into the queue with its stamp.
    Requeue,
    /// It fails.
    Fail,
}
