//! Partitions of an idempotent-only producer that stop behind a record of unknown fate, until the application has taken note (H07).
//!
//! A record that may be lost is told to the application as an error of its delivery. Were the next records of the partition simply
//! sent, they could follow a lost one before anybody has read that error. A transactional producer needs none of this: its transaction
//! cannot be committed any more (R12).

use std::collections::BTreeSet;

use kommit_protocol::units::{PartitionIndex, TopicPartition};
use tracing::{info, warn};

use crate::batch::{BatchFailure, BatchId, Fate};
use crate::config::OnGap;
use crate::manager::TransactionManager;

/// The partitions that have stopped.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    stopped: BTreeSet<PartitionIndex>,
    /// Those that the owner has not been told of.
    fresh: Vec<PartitionIndex>,
}

impl Gaps {
    pub(crate) fn has_stopped(&self, partition: PartitionIndex) -> bool {
        self.stopped.contains(&partition)
    }
}

impl TransactionManager {
    /// Moves the partitions that have stopped since the last call to the end of `out`. Nothing of them is to be sent any more, beside
    /// what may be written already.
    pub fn drain_gaps(&mut self, out: &mut Vec<PartitionIndex>) {
        out.append(&mut self.gaps.fresh);
    }

    /// The partitions that have stopped, by name.
    pub fn stopped_partitions(&self) -> Vec<TopicPartition> {
        let names = self.gaps.stopped.iter();
        names
            .filter_map(|partition| self.names.get(partition.position())?.clone())
            .collect()
    }

    /// The application has taken note of what may be lost in a partition: later records may follow. Gives the partition if it had
    /// stopped.
    pub fn acknowledge_gap(&mut self, name: &TopicPartition) -> Option<PartitionIndex> {
        let named = |partition: &&PartitionIndex| {
            let known = self.names.get(partition.position());
            known.is_some_and(|known| known.as_ref() == Some(name))
        };
        let partition = self.gaps.stopped.iter().find(named).copied()?;
        self.gaps.stopped.remove(&partition);
        self.gaps.fresh.retain(|fresh| *fresh != partition);
        info!(partition = %name, "the gap is acknowledged");
        Some(partition)
    }

    /// A batch of unknown fate failed: its partition stops, and what its sequences came to is found out before the next one is given.
    pub(crate) fn stop_behind(&mut self, batch: &BatchId, failure: &BatchFailure) {
        if self.config.on_gap == OnGap::Continue || failure.fate == Fate::NotWritten {
            return;
        }
        self.sequences.mark_unresolved(batch);
        if self.gaps.stopped.insert(batch.partition) {
            warn!(
                partition = %self.name(batch.partition),
                "stopped behind a record that may or may not have been written"
            );
            self.gaps.fresh.push(batch.partition);
        }
    }
}
