//! One partition as the core sees it: what waits to be sent again or in parts, what is in flight, and what the front of the shared queue looks like.
//!
//! Answers one question, from when on the partition may be drained, and touches nothing outside of itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{LeaderEpoch, NodeId, TopicPartition};

use crate::completion::BatchCompletion;
use crate::error::Fate;
use crate::queue::{Front, PartitionQueue};
use crate::split::Part;
use crate::stamped::{BytesInUse, Origin, Stamp, StampedBatch};

/// Who leads a partition, and since which election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leader's node.
    pub node: NodeId,
    /// The epoch of its leadership, when metadata tells.
    pub epoch: Option<LeaderEpoch>,
}

/// Whether batches leave although they could still wait for more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Ordinary,
    Urgent,
}

/// Whether the partition is excluded from draining (S-77).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mute {
    Muted,
    Unmuted,
}

/// On which list the lane stands; on exactly one, or on none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Nowhere,
    /// Looking for a leader.
    Unassigned,
    /// Behind the other ready partitions of its leader.
    OnNode,
}

/// What has a stamp and waits to be sent.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) batch: Waiting,
    pub(super) due: Instant,
}

#[derive(Debug)]
pub(super) enum Waiting {
    /// It was sent before.
    Again(StampedBatch),
    /// What a split left, not sent yet and not even written.
    Part(Part),
}

impl Retry {
    /// the end of the backoff, unless the leader has changed meanwhile. `None` for a part whose predecessor has not ended.
    fn due(&self) -> Option<Instant> {
        match &self.batch {
            Waiting::Again(batch) if batch.leader_changed_for_retry() => Some(Instant::ORIGIN),
            Waiting::Part(part) if part.source.is_none() => None,
            Waiting::Again(_) | Waiting::Part(_) => Some(self.due),
        }
    }
}

impl Waiting {
    pub(super) fn stamp(&self) -> &Stamp {
        match self {
            Waiting::Again(batch) => batch.stamp(),
            Waiting::Part(part) => &part.stamp,
        }
    }

    pub(super) fn created(&self) -> Instant {
        match self {
            Waiting::Again(batch) => batch.created(),
            Waiting::Part(part) => part.created,
        }
    }

    pub(super) fn completion(&self) -> &Arc<BatchCompletion> {
        match self {
            Waiting::Again(batch) => batch.completion(),
            Waiting::Part(part) => part.completion(),
        }
    }

    /// What is known about the records: nothing was sent of a part (H27).
    pub(super) fn fate(&self) -> Fate {
        match self {
            Waiting::Again(batch) => batch.fate(),
            Waiting::Part(_) => Fate::NotWritten,
        }
    }

    /// No smaller than the batch is.
    pub(super) fn size(&self) -> usize {
        match self {
            Waiting::Again(batch) => batch.size(),
            Waiting::Part(part) => part.largest_size(),
        }
    }

    /// Whether its bytes are there or can be written now.
    pub(super) fn is_at_hand(&mut self) -> bool {
        match self {
            Waiting::Again(_) => true,
            Waiting::Part(part) => part.is_writable(),
        }
    }

    pub(super) fn restamp(&mut self, stamp: Stamp) -> Result<(), BytesInUse> {
        match self {
            Waiting::Again(batch) => batch.restamp(stamp),
            Waiting::Part(part) => {
                part.stamp = stamp;
                Ok(())
            }
        }
    }

    /// A part has no retry that a new leader could shorten.
    pub(super) fn see_leader(&mut self, epoch: Option<LeaderEpoch>) {
        if let Waiting::Again(batch) = self {
            batch.see_leader(epoch);
        }
    }

    pub(super) fn leader_changed_for_retry(&self) -> bool {
        matches!(self, Waiting::Again(batch) if batch.leader_changed_for_retry())
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: Arc<PartitionQueue>,
    /// In the order of their sequences.
    pub(super) retries: VecDeque<Retry>,
    pub(super) in_flight: Vec<Arc<BatchCompletion>>,
    /// The front of the shared queue when it was last looked at; every later change rings the doorbell.
    pub(super) front: Front,
    pub(super) mute: Mute,
    pub(super) listed: Listed,
    pub(super) leader: Option<Leader>,
    /// The entry among the timers.
    pub(super) timer: Option<Instant>,
    /// The entry among the expiries.
    pub(super) expiry: Option<Instant>,
}

impl Lane {
    pub(super) fn new(queue: Arc<PartitionQueue>) -> Self {
        Self {
            queue,
            retries: VecDeque::new(),
            in_flight: Vec::new(),
            front: Front::Empty,
            mute: Mute::Unmuted,
            listed: Listed::Nowhere,
            leader: None,
            timer: None,
            expiry: None,
        }
    }

    /// A-73, D-7: the place of a batch among the retries is that of its sequence, across the wrap. Without sequences it goes first.
    pub(super) fn insert_retry(&mut self, retry: Retry) {
        let behind = self
            .retries
            .iter()
            .take_while(|waiting| is_before(&waiting.batch, &retry.batch))
            .count();
        self.retries.insert(behind, retry);
    }

    pub(super) fn forget_in_flight(&mut self, batch: &StampedBatch) {
        self.in_flight
            .retain(|completion| !Arc::ptr_eq(completion, batch.completion()));
    }

    /// The page of a part that has ended goes to the next one, which can be written then.
    pub(super) fn pass_page_on(&mut self, ended: StampedBatch) {
        let Origin::Part(split) = ended.origin() else {
            return;
        };
        let waiting = self.retries.iter_mut().map(|retry| &mut retry.batch);
        let next = waiting.filter_map(|waiting| match waiting {
            Waiting::Part(part) if part.split == split => Some(part),
            Waiting::Part(_) | Waiting::Again(_) => None,
        });
        if let Some(next) = { next }.next() {
            next.source = Some(ended.into_page());
        }
    }

    pub(super) fn topic_partition(&self) -> &TopicPartition {
        self.queue.topic_partition()
    }

    /// From when on the first batch may be drained; `None` when only an event can change that.
    pub(super) fn due(&self, linger: Duration, urgency: Urgency) -> Option<Instant> {
        if self.mute == Mute::Muted {
            return None;
        }
        if let Some(retry) = self.retries.front() {
            return retry.due();
        }
        match self.front {
            Front::Empty | Front::Closing => None,
            Front::Full { .. } => Some(Instant::ORIGIN),
            Front::Open { .. } if urgency == Urgency::Urgent => Some(Instant::ORIGIN),
            Front::Open { created } => Some(created + linger),
        }
    }

    /// When the first batch expires; `None` when nothing is queued.
    pub(super) fn expires(&self, delivery_timeout: Duration) -> Option<Instant> {
        if let Some(retry) = self.retries.front() {
            return Some(retry.batch.created() + delivery_timeout);
        }
        match self.front {
            Front::Empty => None,
            // Comes back within moments, and is looked at then.
            Front::Closing => Some(Instant::NEVER),
            Front::Full { created } | Front::Open { created } => Some(created + delivery_timeout),
        }
    }

    pub(super) fn is_backing_off(&self) -> bool {
        !self.retries.is_empty()
    }
}

fn is_before(waiting: &Waiting, other: &Waiting) -> bool {
    match (waiting.stamp().base_sequence(), other.stamp().base_sequence()) {
        (Some(first), Some(second)) if waiting.stamp().identity() == other.stamp().identity() => {
            first.distance_from(second) < 0
        }
        // Sequences of different identities have no order, but batches of a partition leave in the order of their creation.
        (Some(_), Some(_)) => waiting.created() <= other.created(),
        _ => false,
    }
}
