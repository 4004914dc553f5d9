//! Partitions that stop behind a record of unknown fate: what the transaction manager found is carried out in the accumulator (H07).
//!
//! Decides nothing.

use kommit_accumulator::{SendError, SendErrorKind};
use kommit_protocol::units::TopicPartition;
use kommit_txn_manager::{self as txn, FailureReason};

use crate::command::Reply;
use crate::core::SenderCore;
use crate::gate::batch_id;

impl SenderCore {
    /// What waits in a partition that has stopped fails, unless it may be written already.
    pub(crate) fn stop_behind_gaps(&mut self) {
        let Some(txn) = self.txn.as_mut() else { return };
        let mut gaps = Vec::new();
        txn.drain_gaps(&mut gaps);
        for partition in gaps {
            let error = SendError::new(SendErrorKind::BehindGap);
            for batch in self.drainer.stop(partition, error) {
                let Some(id) = batch_id(partition, &batch.stamp, batch.records) else {
                    continue;
                };
                let failure = txn::BatchFailure {
                    reason: FailureReason::Refused("behind a gap".into()),
                    fate: txn::Fate::NotWritten,
                };
                txn.batch_failed(&id, &failure);
            }
        }
    }

    pub(crate) fn stopped_partitions(&self) -> Reply {
        let txn = self.txn.as_ref();
        Reply::Stopped(txn.map_or_else(Vec::new, |txn| txn.stopped_partitions()))
    }

    pub(crate) fn acknowledge_gap(&mut self, partition: &TopicPartition) -> Reply {
        match self.txn.as_mut().and_then(|txn| txn.acknowledge_gap(partition)) {
            Some(index) => {
                self.drainer.resume(index);
                Reply::GapAcknowledged
            }
            None => Reply::NoGap,
        }
    }
}
