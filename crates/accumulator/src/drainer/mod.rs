//! Room 4: the half of the accumulator that the sender core owns. Which partitions are ready, and what happens to batches after they left.
//!
//! Every operation costs what it finds to do, never the number of partitions; flush, abort and close are the exceptions. Reads no clock,
//! waits for nothing, and asks a gate for everything that has to do with identities, sequences and transactions.
//!
//! Reading order: `lane` (one partition), `ready` (A-34 … A-42), `pace`, `drain` (A-43 … A-54), `split` (A-74 … A-79), `end`
//! (expiry, abort: A-69 … … A-86), `stop` (partitions behind a gap: H07).

mod drain;
mod end;
mod lane;
mod pace;
mod ready;
mod split;
mod stop;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kommit_protocol::random::Random;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, Offset, PartitionIndex, Sequence, Timestamp, TopicPartition};
use thiserror::Error;

use crate::accumulator::Accumulator;
use crate::completion::{BatchCompletion, BatchFailure, BatchOutcome, BatchWatch, Settled};
use crate::in_flight::InFlightBatch;
use crate::incomplete::NothingIncomplete;
use crate::queue::{Front, PartitionQueue};
use crate::stamped::{Origin, Stamp, StampedBatch};

pub use drain::{DrainGate, Drained, Left};
pub use end::ExpiredBatch;
pub use lane::Leader;
use lane::{Lane, Listed, Mute, Retry, Urgency, Waiting};
use pace::NodePace;
pub use pace::Pace;
pub use ready::Ready;
pub use stop::GivenUp;

/// Whether the transaction is being committed or aborted, which makes all its batches sendable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completing {
    /// Batches linger as usual.
    No,
    /// Batches leave at once.
    Yes,
}

/// Why a queued batch did not get another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RestampRefusal {
    /// No batch of this sequence waits for a retry.
    #[error("no queued batch has this sequence")]
    NotQueued,
    /// A request of an earlier attempt may still be read; the batch is as it was.
    #[error("the bytes of the batch are still in use")]
    BytesInUse,
}

/// The half of the accumulator that has one owner. Dropping it closes the accumulator and fails whatever is incomplete.
#[derive(Debug)]
pub struct Drainer {
    shared: Arc<Accumulator>,
    lanes: Vec<Option<Lane>>,
    /// The doorbell's list of this turn; kept for its capacity.
    rung: Vec<Arc<PartitionQueue>>,
    /// Partitions that rang since the last report to the core.
    unreported: Vec<PartitionIndex>,
    reported: Vec<PartitionIndex>,
    /// Ready partitions that have no leader, or whose leader has not been asked for.
    unassigned: VecDeque<PartitionIndex>,
    /// Ready partitions in the order in which their leader serves them.
    nodes: BTreeMap<NodeId, VecDeque<PartitionIndex>>,
    /// How the nodes took what was ready for them.
    paces: BTreeMap<NodeId, NodePace>,
    /// When unready partitions become ready, one entry per partition at most.
    timers: BTreeSet<(Instant, PartitionIndex)>,
    /// The partitions among `timers` whose first batch waits for a retry.
    backing_off: BTreeSet<PartitionIndex>,
    /// When the first batch of a partition expires: one entry for every partition that has anything queued.
    expiries: BTreeSet<(Instant, PartitionIndex)>,
    flushes: u32,
    completing: Completing,
    urgency: Urgency,
    random: Random,
    /// How many batches were split so far.
    splits: u64,
}

impl Drainer {
    pub(crate) fn new(shared: Arc<Accumulator>) -> Self {
        let random = Random::seeded(shared.config.seed);
        Self {
            shared,
            lanes: Vec::new(),
            rung: Vec::new(),
            unreported: Vec::new(),
            reported: Vec::new(),
            unassigned: VecDeque::new(),
            nodes: BTreeMap::new(),
            paces: BTreeMap::new(),
            timers: BTreeSet::new(),
            backing_off: BTreeSet::new(),
            expiries: BTreeSet::new(),
            flushes: 0,
            completing: Completing::No,
            urgency: Urgency::Ordinary,
            random,
            splits: 0,
        }
    }

    /// Looks at the partitions that the doorbell named. Returns those with something queued, so that they can join the transaction; a
    /// partition may be named again with every new batch.
    pub fn collect(&mut self) -> &[PartitionIndex] {
        self.gather();
        self.reported.clear();
        std::mem::swap(&mut self.reported, &mut self.unreported);
        // What has been aborted or has expired since it rang joins nothing.
        let lanes = &self.lanes;
        self.reported.retain(|partition| {
            lanes[partition.position()]
                .as_ref()
                .is_some_and(|lane| lane.front != Front::Empty)
        });
        &self.reported
    }

    /// Excludes a partition from draining until it is unmuted (S-77, A-88). Does nothing to an unknown one.
    pub fn mute(&mut self, partition: PartitionIndex) {
        self.set_mute(partition, Mute::Muted);
    }

    /// Lets a partition be drained again.
    pub fn unmute(&mut self, partition: PartitionIndex) {
        self.set_mute(partition, Mute::Unmuted);
    }

    /// Puts an unsuccessful batch back: counts the attempt, starts the backoff, and inserts it in the order of sequences.
    pub fn requeue(&mut self, mut batch: StampedBatch, now: Instant) {
        batch.begin_retry(now);
        let failures = batch.attempts() - 1;
        let wait = self
            .shared
            .config
            .retry_backoff
            .after(failures, self.random.unit());
        let partition = batch.partition();
        let lane = self.lane_of(&batch);
        lane.forget_in_flight(&batch);
        let due = batch.last_attempt() + wait;
        let batch = Waiting::Again(batch);
        lane.insert_retry(Retry { batch, due });
        self.rearm(partition);
    }

    /// Ends a batch that the broker has taken.
    pub fn complete(
        &mut self,
        batch: StampedBatch,
        base_offset: Option<Offset>,
        log_append_time: Option<Timestamp>,
    ) -> Settled {
        self.end_drained(
            batch,
            BatchOutcome::Written {
                base_offset,
                log_append_time,
            },
        )
    }

    /// Ends a batch that will not be delivered. The caller decides the fate of its records.
    pub fn fail(&mut self, batch: StampedBatch, failure: impl Into<BatchFailure>) -> Settled {
        self.end_drained(batch, BatchOutcome::Failed(failure.into()))
    }

    /// Gives the outcome of a batch whose bytes the wire may still read: the batch itself stays with its request until that has ended
    /// (S-45).
    pub fn fail_in_flight(&mut self, held: &InFlightBatch, failure: impl Into<BatchFailure>) -> Settled {
        if let Some(lane) = self.known_lane(held.partition()) {
            lane.in_flight
                .retain(|completion| !Arc::ptr_eq(completion, held.completion()));
        }
        held.completion().settle(BatchOutcome::Failed(failure.into()))
    }

    /// Gives a batch that waits for a retry another stamp. The order of the queue stays as it is.
    ///
    /// # Errors
    ///
    /// When there is no such batch, or its bytes are in use; nothing has changed then.
    pub fn restamp(
        &mut self,
        partition: PartitionIndex,
        base_sequence: Sequence,
        stamp: Stamp,
    ) -> Result<(), RestampRefusal> {
        let lane = self.known_lane(partition).ok_or(RestampRefusal::NotQueued)?;
        let mut batches = lane.retries.iter_mut().map(|retry| &mut retry.batch);
        let batch = batches.find(|batch| batch.stamp().base_sequence() == Some(base_sequence));
        let batch = batch.ok_or(RestampRefusal::NotQueued)?;
        batch.restamp(stamp).map_err(|_in_use| RestampRefusal::BytesInUse)
    }

    /// From now on everything queued is sendable, until the flush is ended.
    pub fn begin_flush(&mut self) {
        self.flushes += 1;
    }

    /// Ends one flush.
    pub fn end_flush(&mut self) {
        debug_assert!(self.flushes > 0, "a flush that ends has begun");
        self.flushes = self.flushes.saturating_sub(1);
    }

    /// Tells whether the transaction is being ended.
    pub fn set_completing(&mut self, completing: Completing) {
        self.completing = completing;
    }

    /// All batches that have no outcome yet: what a flush that begins now waits for. Costs the number of partitions.
    pub fn incomplete_completions(&mut self) -> Vec<BatchWatch> {
        self.gather();
        let mut found: Vec<Arc<BatchCompletion>> = Vec::new();
        for lane in self.lanes.iter().flatten() {
            found.extend(lane.in_flight.iter().cloned());
            found.extend(
                lane.retries
                    .iter()
                    .map(|retry| Arc::clone(retry.batch.completion())),
            );
            if lane.front != Front::Empty {
                lane.queue.completions(&mut found);
            }
        }
        found
            .iter()
            .filter(|completion| !completion.is_settled())
            .map(BatchCompletion::watch)
            .collect()
    }

    /// When the next partition becomes ready by the mere passing of time; to be asked after a drain, which may bring it forward.
    pub fn next_check(&self) -> Instant {
        self.timers.first().map_or(Instant::NEVER, |(timer, _)| *timer)
    }

    /// Whether anything is queued, retries included.
    pub fn has_undrained(&self) -> bool {
        !self.expiries.is_empty() || !self.shared.doorbell.is_empty()
    }

    /// The proof that every batch has its outcome, if that is so. It means something for longer than a moment only after the gate was
    /// closed.
    pub fn nothing_incomplete(&self) -> Option<NothingIncomplete> {
        NothingIncomplete::proved_by(&self.shared.incomplete)
    }

    /// The partition of an index that this drainer has reported.
    ///
    /// # Panics
    ///
    /// For an index that it has not.
    pub fn topic_partition(&self, partition: PartitionIndex) -> &TopicPartition {
        let lane = self.lanes.get(partition.position()).and_then(Option::as_ref);
        lane.expect("an index comes from a partition that was reported")
            .topic_partition()
    }

    fn end_drained(&mut self, batch: StampedBatch, outcome: BatchOutcome) -> Settled {
        let (partition, settled) = (batch.partition(), batch.settle(outcome));
        let lane = self.lane(partition);
        lane.forget_in_flight(&batch);
        if let Origin::Part(_) = batch.origin() {
            lane.pass_page_on(batch);
            self.rearm(partition);
        }
        settled
    }

    /// Takes the doorbell's list.
    fn gather(&mut self) {
        let mut rung = std::mem::take(&mut self.rung);
        self.shared.doorbell.take(&mut rung);
        for queue in rung.drain(..) {
            let index = queue
                .index()
                .expect("a queue gets its index before it is put on the list");
            let front = queue.answer_bell();
            self.lane_for(index, queue).front = front;
            if front != Front::Empty {
                self.unreported.push(index);
            }
            self.rearm(index);
        }
        self.rung = rung;
    }

    fn lane_for(&mut self, index: PartitionIndex, queue: Arc<PartitionQueue>) -> &mut Lane {
        if self.lanes.len() <= index.position() {
            self.lanes.resize_with(index.position() + 1, || None);
        }
        self.lanes[index.position()].get_or_insert_with(|| Lane::new(queue))
    }

    fn known_lane(&mut self, partition: PartitionIndex) -> Option<&mut Lane> {
        self.lanes.get_mut(partition.position()).and_then(Option::as_mut)
    }

    fn lane_of(&mut self, batch: &StampedBatch) -> &mut Lane {
        self.lane(batch.partition())
    }

    fn lane(&mut self, partition: PartitionIndex) -> &mut Lane {
        self.known_lane(partition)
            .expect("an index comes from a lane of this drainer")
    }

    fn set_mute(&mut self, partition: PartitionIndex, mute: Mute) {
        if let Some(lane) = self.known_lane(partition) {
            lane.mute = mute;
            self.rearm(partition);
        }
    }

    /// Brings timers, lists and expiries in line with a lane that has changed. A lane that is listed stays so until [`Drainer::ready`] or
    /// [`Drainer::drain`] looks at it.
    fn rearm(&mut self, partition: PartitionIndex) {
        let (linger, timeout) = (self.shared.config.linger, self.shared.config.delivery_timeout);
        let lane = self.lane(partition);
        lane.queue.load().set_retries(lane.retries.len());
        let due = lane.due(linger, Urgency::Ordinary);
        let expiry = lane.expires(timeout);
        self.set_expiry(partition, expiry);
        match due {
            _ if self.lane(partition).listed != Listed::Nowhere => self.set_timer(partition, None),
            Some(Instant::ORIGIN) => self.list(partition),
            later_or_never => self.set_timer(partition, later_or_never),
        }
    }

    /// Puts a lane among those whose leader is looked up next.
    fn list(&mut self, partition: PartitionIndex) {
        self.set_timer(partition, None);
        let lane = self.lane(partition);
        if lane.listed == Listed::Nowhere {
            lane.listed = Listed::Unassigned;
            self.unassigned.push_back(partition);
        }
    }

    fn set_timer(&mut self, partition: PartitionIndex, timer: Option<Instant>) {
        let lane = self.lane(partition);
        let is_backing_off = timer.is_some() && lane.is_backing_off();
        let before = std::mem::replace(&mut lane.timer, timer);
        if before != timer {
            before.map(|before| self.timers.remove(&(before, partition)));
            timer.map(|timer| self.timers.insert((timer, partition)));
        }
        if is_backing_off {
            self.backing_off.insert(partition);
        } else if !self.backing_off.is_empty() {
            self.backing_off.remove(&partition);
        }
    }

    fn set_expiry(&mut self, partition: PartitionIndex, expiry: Option<Instant>) {
        let before = std::mem::replace(&mut self.lane(partition).expiry, expiry);
        if before != expiry {
            before.map(|before| self.expiries.remove(&(before, partition)));
            expiry.map(|expiry| self.expiries.insert((expiry, partition)));
        }
    }
}
