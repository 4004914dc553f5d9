//! Partitions that stop behind a record of unknown fate (H07). Who decides that they do is not asked here.

use kommit_protocol::units::PartitionIndex;

use super::Drainer;
use super::end::settle_all;
use super::lane::Waiting;
use crate::completion::{BatchFailure, BatchOutcome};
use crate::error::{Fate, SendError};
use crate::stamped::Stamp;

/// A batch that had a stamp, was proven not written, and failed because its partition stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its stamp.
    pub stamp: Stamp,
    /// How many records it held.
    pub records: u32,
}

impl Drainer {
    /// Fails what waits in a partition and is certainly not written, and takes no record of it until [`Drainer::resume`]. What may be
    /// written stays: its repetition tells.
    pub fn stop(&mut self, partition: PartitionIndex, error: SendError) -> Vec<GivenUp> {
        self.gather();
        let failure = BatchFailure::from(error);
        let Some(lane) = self.known_lane(partition) else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        lane.front = lane.queue.stop(&failure, &mut taken);
        settle_all(taken, &failure);
        let mut given_up = Vec::new();
        lane.retries.retain(|retry| {
            let keep = retry.batch.fate() != Fate::NotWritten;
            if !keep {
                given_up.push(GivenUp {
                    stamp: *retry.batch.stamp(),
                    records: retry.batch.record_count(),
                });
                let outcome = BatchOutcome::Failed(failure.clone());
                retry.batch.completion().settle(outcome);
            }
            keep
        });
        self.rearm(partition);
        given_up
    }

    /// Takes records of the partition again.
    pub fn resume(&mut self, partition: PartitionIndex) {
        if let Some(lane) = self.known_lane(partition) {
            lane.queue.resume();
        }
    }
}

impl Waiting {
    fn record_count(&self) -> u32 {
        match self {
            Waiting::Again(batch) => batch.record_count(),
            Waiting::Part(part) => part.cut.records,
        }
    }
}
