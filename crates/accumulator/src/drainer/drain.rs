//! Taking batches off the ready partitions of a node, one each, in turn (A-43 … A-54).

use std::collections::VecDeque;
use std::time::Duration;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, PartitionIndex};

use super::Drainer;
use super::lane::{Listed, Waiting};
use crate::queue::NotTaken;
use crate::stamped::{Stamp, StampedBatch};

/// Who knows identities, sequences and transactions. Asked while a node is drained.
pub trait DrainGate {
    /// Whether the first batch of the partition may leave now; `stamped` is its stamp when it was sent before.
    fn may_drain(&mut self, partition: PartitionIndex, stamped: Option<&Stamp>) -> bool;

    /// The stamp of a batch of `records` records that leaves for the first time. The batch has been taken off its queue.
    fn stamp(&mut self, partition: PartitionIndex, records: u32) -> Stamp;
}

/// What a node gets, and what was left.
#[derive(Debug, Default)]
#[must_use]
pub struct Drained {
    /// At most one batch per partition.
    pub batches: Vec<StampedBatch>,
    /// What the node could still get.
    pub left: Left,
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing that is ready.
    #[default]
    Nothing,
    /// Only batches that the gate holds back: another drain is pointless until something happens (D-1).
    Blocked,
    /// Batches that are ready: drain again as soon as the node can take more.
    Sendable,
}

/// When a part is looked at again whose page is still held by the request that is to blame for the split.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

enum Step {
    Took(StampedBatch),
    Blocked,
    NoRoom,
    Nothing,
}

impl Drainer {
    /// Takes at most one batch from every ready partition of `node`, up to `max_size` bytes; a single larger batch goes alone.
    ///
    /// A partition that the gate holds back is passed over, and the others are served (D-1). Which partitions belong to the node, and
    /// whether lingering batches leave, was found by the last [`Drainer::ready`].
    pub fn drain(
        &mut self,
        node: NodeId,
        max_size: usize,
        now: Instant,
        gate: &mut (impl DrainGate + ?Sized),
    ) -> Drained {
        let mut drained = Drained::default();
        let mut size = 0;
        let mut turn = self.nodes.get_mut(&node).map(std::mem::take).unwrap_or_default();
        for _ in 0..turn.len() {
            let Some(partition) = turn.pop_front() else { break };
            let room = (!drained.batches.is_empty()).then(|| max_size.saturating_sub(size));
            match self.step(partition, room, now, gate) {
                Step::Took(batch) => {
                    size += batch.size();
                    drained.batches.push(batch);
                    self.keep_turn(partition, now, &mut turn, &mut drained.left);
                }
                Step::Blocked => {
                    drained.left = drained.left.max(Left::Blocked);
                    turn.push_back(partition);
                }
                Step::NoRoom => {
                    // the next drain begins with the partition that did not fit.
                    drained.left = Left::Sendable;
                    turn.push_front(partition);
                    break;
                }
                Step::Nothing => self.unlist(partition),
            }
        }
        self.nodes.insert(node, turn);
        drained
    }

    /// A partition that still has something to send goes behind the others.
    fn keep_turn(
        &mut self,
        partition: PartitionIndex,
        now: Instant,
        turn: &mut VecDeque<PartitionIndex>,
        left: &mut Left,
    ) {
        if self.is_sendable(partition, now) {
            *left = Left::Sendable;
            turn.push_back(partition);
            self.rearm(partition);
        } else {
            self.unlist(partition);
        }
    }

    fn step(
        &mut self,
        partition: PartitionIndex,
        room: Option<usize>,
        now: Instant,
        gate: &mut (impl DrainGate + ?Sized),
    ) -> Step {
        if !self.is_sendable(partition, now) {
            return Step::Nothing;
        }
        debug_assert_eq!(
            self.lane(partition).listed,
            Listed::OnNode,
            "a turn holds the lanes of its node"
        );
        if self.lane(partition).retries.is_empty() {
            self.take_new(partition, room, gate)
        } else {
            self.take_retry(partition, room, now, gate)
        }
    }

    fn take_retry(
        &mut self,
        partition: PartitionIndex,
        room: Option<usize>,
        now: Instant,
        gate: &mut (impl DrainGate + ?Sized),
    ) -> Step {
        let codec = self.shared.config.codec();
        let lane = self.lane(partition);
        let Some(first) = lane.retries.front_mut() else {
            return Step::Nothing;
        };
        if room.is_some_and(|room| first.batch.size() > room) {
            return Step::NoRoom;
        }
        // Before the gate is asked, which takes its permission for a promise.
        if !first.batch.is_at_hand() {
            first.due = now + LOOK_AGAIN;
            return Step::Nothing;
        }
        if !gate.may_drain(partition, Some(first.batch.stamp())) {
            return Step::Blocked;
        }
        let Some(retry) = lane.retries.pop_front() else {
            return Step::Nothing;
        };
        let batch = match retry.batch {
            Waiting::Again(batch) => batch,
            Waiting::Part(part) => {
                let mut batch = part.write(codec, lane.queue.ratio());
                batch.see_leader(lane.leader.and_then(|leader| leader.epoch));
                batch
            }
        };
        lane.in_flight.push(batch.completion().clone());
        Step::Took(batch)
    }

    fn take_new(
        &mut self,
        partition: PartitionIndex,
        room: Option<usize>,
        gate: &mut (impl DrainGate + ?Sized),
    ) -> Step {
        if !gate.may_drain(partition, None) {
            return Step::Blocked;
        }
        let codec = self.shared.config.codec();
        let lane = self.lane(partition);
        let (taken, front) = lane.queue.take_first(room);
        lane.front = front;
        let taken = match taken {
            Ok(taken) => taken,
            Err(NotTaken::TooLarge) => return Step::NoRoom,
            Err(NotTaken::NotThere) => return Step::Nothing,
        };
        let closed = taken.into_closed(codec);
        let stamp = gate.stamp(partition, closed.record_count());
        let mut batch = StampedBatch::new(closed, partition, stamp);
        batch.see_leader(lane.leader.and_then(|leader| leader.epoch));
        lane.in_flight.push(batch.completion().clone());
        Step::Took(batch)
    }
}
