//! What the core keeps of a batch that travels with its request: enough to expire it, and none of its bytes.

use std::sync::Arc;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{PartitionIndex, TopicPartition};

use crate::completion::BatchCompletion;
use crate::stamped::{Stamp, StampedBatch};

/// A hold on the outcome of a batch that is under way, apart from its bytes: what expiry looks at while the batch travels with its
/// request (S-43, S-45).
#[derive(Debug)]
pub struct InFlightBatch {
    completion: Arc<BatchCompletion>,
    partition: PartitionIndex,
    stamp: Stamp,
    records: u32,
    created: Instant,
}

impl InFlightBatch {
    pub(crate) fn of(batch: &StampedBatch) -> Self {
        Self {
            completion: Arc::clone(batch.completion()),
            partition: batch.partition(),
            stamp: *batch.stamp(),
            records: batch.record_count(),
            created: batch.created(),
        }
    }

    /// Whether this is the hold on `batch`.
    pub fn is_of(&self, batch: &StampedBatch) -> bool {
        Arc::ptr_eq(&self.completion, batch.completion())
    }

    /// The partition as an index.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// The partition by name.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.completion.topic_partition()
    }

    /// Who sent it, and under which sequence.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// How many records it holds.
    pub fn record_count(&self) -> u32 {
        self.records
    }

    /// When it got its first record.
    pub fn created(&self) -> Instant {
        self.created
    }

    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        &self.completion
    }
}
