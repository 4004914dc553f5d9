//! Batches that end in their queue: because their time is over (A-69 … A-71), or because nobody wants them sent any more (A-84 … A-86).

use std::sync::Arc;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{PartitionIndex, TopicPartition};

use super::Drainer;
use super::lane::Waiting;
use crate::completion::{BatchFailure, BatchOutcome, Promise, Settled};
use crate::error::{Fate, Progress, SendError, SendErrorKind};
use crate::queue::{Front, PartitionQueue, Taken};
use crate::split::Part;
use crate::stamped::{Stamp, StampedBatch};
use crate::topic::TopicQueues;

/// A batch that reached its delivery timeout while it was queued. It has no outcome yet: the core gives it, with its knowledge of the
/// transaction. What was never sent has given its page back already.
#[derive(Debug)]
#[must_use = "an expired batch waits for its outcome"]
pub struct ExpiredBatch {
    partition: PartitionIndex,
    batch: Expired,
}

#[derive(Debug)]
enum Expired {
    NeverSent {
        promise: Promise,
        records: u32,
        created: Instant,
    },
    Retry(StampedBatch),
    /// Part of a batch that was split; as a part it was never sent.
    Part(Part),
}

impl ExpiredBatch {
    /// Gives the batch its outcome.
    pub fn fail(self, failure: impl Into<BatchFailure>) -> Settled {
        self.promise()
            .completion()
            .settle(BatchOutcome::Failed(failure.into()))
    }

    /// The error of an expiry at `now`, with the fate that the attempts so far have left (S-44, R1).
    pub fn error(&self, now: Instant) -> SendError {
        let kind = SendErrorKind::DeliveryTimeout {
            records: self.record_count(),
            age: now - self.created(),
            progress: Progress::NotSent,
        };
        SendError::new(kind).with_fate(self.fate())
    }

    /// The partition as an index.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// The partition by name.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.promise().completion().topic_partition()
    }

    /// The batch itself, when it was sent at least once.
    pub fn stamped(&self) -> Option<&StampedBatch> {
        match &self.batch {
            Expired::NeverSent { .. } | Expired::Part(_) => None,
            Expired::Retry(batch) => Some(batch),
        }
    }

    /// The batch's stamp, when it has one. Its sequences are unresolved when it was sent under it (T-88), which a part of a split batch was
    /// not.
    pub fn stamp(&self) -> Option<&Stamp> {
        match &self.batch {
            Expired::NeverSent { .. } => None,
            Expired::Retry(batch) => Some(batch.stamp()),
            Expired::Part(part) => Some(&part.stamp),
        }
    }

    /// How many records the batch holds.
    pub fn record_count(&self) -> u32 {
        match &self.batch {
            Expired::NeverSent { records, .. } => *records,
            Expired::Retry(batch) => batch.record_count(),
            Expired::Part(part) => part.cut.records,
        }
    }

    /// When the batch got its first record.
    pub fn created(&self) -> Instant {
        match &self.batch {
            Expired::NeverSent { created, .. } => *created,
            Expired::Retry(batch) => batch.created(),
            Expired::Part(part) => part.created,
        }
    }

    /// What is known about the records.
    pub fn fate(&self) -> Fate {
        self.stamped().map_or(Fate::NotWritten, StampedBatch::fate)
    }

    fn promise(&self) -> &Promise {
        match &self.batch {
            Expired::NeverSent { promise, .. } => promise,
            Expired::Retry(batch) => batch.promise(),
            Expired::Part(part) => &part.promise,
        }
    }
}

impl Drainer {
    /// Takes every queued batch whose delivery timeout is reached, retries and muted partitions included.
    pub fn expired(&mut self, now: Instant) -> Vec<ExpiredBatch> {
        let mut expired = Vec::new();
        while let Some(&(expiry, partition)) = self.expiries.first()
            && expiry <= now
        {
            let before = expired.len();
            self.expire_lane(partition, now, &mut expired);
            self.rearm(partition);
            debug_assert!(
                expired.len() > before || self.lane(partition).expiry.is_none_or(|later| later > now),
                "an expiry that is due leaves the list"
            );
        }
        expired
    }

    /// When the next queued batch expires, if nothing happens to it before.
    pub fn next_expiry(&self) -> Instant {
        self.expiries
            .first()
            .map_or(Instant::NEVER, |(expiry, _)| *expiry)
    }

    /// Fails everything that has never been drained; retries and what is in flight are left alone. To be repeated while an aborted
    /// transaction has incomplete batches, since an append that was running when the gate closed may have added one.
    pub fn abort_undrained(&mut self, error: SendError) {
        self.gather();
        let failure = BatchFailure::from(error);
        let queued: Vec<PartitionIndex> = self.expiries.iter().map(|(_, partition)| *partition).collect();
        for partition in queued {
            let lane = self.lane(partition);
            lane.front = abort_queue(&lane.queue, &failure);
            self.rearm(partition);
        }
    }

    /// Fails every batch that has no outcome yet, wherever it is. What is in flight keeps its bytes until the caller gives the
    /// batch up. A batch is said to be possibly written unless all its attempts are known to have failed.
    ///
    /// The gate should be closed before: then nothing can be added afterwards. Costs the number of partitions.
    pub fn abort_all(&mut self, error: SendError) {
        self.gather();
        let unsent = BatchFailure::from(error.clone());
        let topics: Vec<Arc<TopicQueues>> = self
            .shared
            .topics
            .iter()
            .map(|topic| Arc::clone(topic.value()))
            .collect();
        for queue in topics.iter().flat_map(|topic| topic.queues()) {
            let front = abort_queue(queue, &unsent);
            if let Some(lane) = queue.index().and_then(|index| self.known_lane(index)) {
                lane.front = front;
            }
        }
        for position in 0..self.lanes.len() {
            let Some(lane) = &mut self.lanes[position] else {
                continue;
            };
            let in_flight = std::mem::take(&mut lane.in_flight);
            let retries = std::mem::take(&mut lane.retries);
            for retry in retries {
                let fate = retry.batch.fate();
                retry
                    .batch
                    .completion()
                    .settle(BatchOutcome::Failed(error.clone().with_fate(fate).into()));
            }
            for completion in in_flight {
                let unknown = error.clone().with_fate(Fate::MayBeWritten);
                completion.settle(BatchOutcome::Failed(unknown.into()));
            }
            self.rearm(index_of(position));
        }
    }

    fn expire_lane(&mut self, partition: PartitionIndex, now: Instant, expired: &mut Vec<ExpiredBatch>) {
        let timeout = self.shared.config.delivery_timeout;
        let lane = self.lane(partition);
        while let Some(first) = lane.retries.front()
            && first.batch.created() + timeout <= now
            && let Some(retry) = lane.retries.pop_front()
        {
            let batch = match retry.batch {
                Waiting::Again(batch) => Expired::Retry(batch),
                Waiting::Part(part) => Expired::Part(part),
            };
            expired.push(ExpiredBatch { partition, batch });
        }
        if !lane.retries.is_empty() {
            return;
        }
        let mut taken = Vec::new();
        lane.front = lane
            .queue
            .take_while(|created| created + timeout <= now, &mut taken);
        expired.extend(taken.into_iter().map(|batch| {
            let (records, created) = (batch.record_count(), batch.created());
            let batch = Expired::NeverSent {
                promise: batch.into_promise(),
                records,
                created,
            };
            ExpiredBatch { partition, batch }
        }));
    }
}

impl Drop for Drainer {
    fn drop(&mut self) {
        self.shared.close();
        self.abort_all(SendError::new(SendErrorKind::ProducerGone));
    }
}

fn abort_queue(queue: &PartitionQueue, failure: &BatchFailure) -> Front {
    let mut taken = Vec::new();
    let front = queue.take_all(failure, &mut taken);
    settle_all(taken, failure);
    front
}

/// Gives up the bytes of batches that were never drained, and tells their records.
pub(super) fn settle_all(taken: Vec<Taken>, failure: &BatchFailure) {
    for batch in taken.into_iter().map(Taken::into_promise) {
        batch.completion().settle(BatchOutcome::Failed(failure.clone()));
    }
}

fn index_of(position: usize) -> PartitionIndex {
    PartitionIndex(u32::try_from(position).expect("lanes are numbered in 32 bits"))
}
