//! The batches inside unanswered requests, per partition in drain order (S-3): what expiry looks at while the batches themselves travel
//! with their request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kommit_accumulator::{InFlightBatch, StampedBatch};
use kommit_protocol::time::Instant;
use kommit_protocol::units::PartitionIndex;

/// The sender's in-flight lists. An entry is a hold on the outcome of a batch, not on its bytes, so that a batch can be told
/// its outcome while the wire still reads it (S-45).
#[derive(Debug)]
pub(crate) struct InFlight {
    partitions: BTreeMap<PartitionIndex, VecDeque<InFlightBatch>>,
    delivery_timeout: Duration,
    /// When the first batch may expire; never later than it does.
    next_expiry: Instant,
}

impl InFlight {
    pub(crate) fn new(delivery_timeout: Duration) -> Self {
        Self {
            partitions: BTreeMap::new(),
            delivery_timeout,
            next_expiry: Instant::NEVER,
        }
    }

    pub(crate) fn push(&mut self, batch: &StampedBatch) {
        self.next_expiry = self.next_expiry.min(batch.created() + self.delivery_timeout);
        self.partitions
            .entry(batch.partition())
            .or_default()
            .push_back(batch.hold());
    }

    /// Takes out a batch that was answered; one that expired before is not here any more.
    pub(crate) fn remove(&mut self, batch: &StampedBatch) {
        let Some(list) = self.partitions.get_mut(&batch.partition()) else {
            return;
        };
        if let Some(position) = list.iter().position(|held| held.is_of(batch)) {
            list.remove(position);
        }
        if list.is_empty() {
            self.partitions.remove(&batch.partition());
        }
        if self.partitions.is_empty() {
            self.next_expiry = Instant::NEVER;
        }
    }

    pub(crate) fn next_expiry(&self) -> Instant {
        self.next_expiry
    }

    /// Takes out the batches whose time is over, from the head of each partition up to the first that has time left (S-43).
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<InFlightBatch> {
        if self.next_expiry > now {
            return Vec::new();
        }
        let timeout = self.delivery_timeout;
        let mut expired = Vec::new();
        let mut next = Instant::NEVER;
        self.partitions.retain(|_, list| {
            while list.front().is_some_and(|batch| batch.created() + timeout <= now) {
                expired.extend(list.pop_front());
            }
            if let Some(head) = list.front() {
                next = next.min(head.created() + timeout);
            }
            !list.is_empty()
        });
        self.next_expiry = next;
        expired
    }

    /// Empties the lists (S-23).
    pub(crate) fn clear(&mut self) {
        self.partitions.clear();
        self.next_expiry = Instant::NEVER;
    }
}
