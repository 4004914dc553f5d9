//! Which nodes have something to be sent to them now (A-34 … A-42).
//!
//! Looks at the partitions that are ready, at those whose time has come, at those that wait for a retry (a new leader ends that wait) and
//! at those without leader; all others cost nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, PartitionIndex, TopicPartition};

use super::lane::{Leader, Listed, Urgency};
use super::{Completing, Drainer};
use crate::gate::{GateReason, GateState};
use crate::queue::Front;

/// What [`Drainer::ready`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The leaders for which something can be drained.
    pub nodes: BTreeSet<NodeId>,
    /// Topics with a ready batch for a partition without leader: reasons to ask for metadata (S-39).
    pub unknown_leader_topics: BTreeSet<Arc<str>>,
}

impl Drainer {
    /// Finds the nodes that something can be drained for, given who leads which partition now.
    ///
    /// A partition without leader is reported once its batch is ready, not while it still lingers (a difference to A-36).
    pub fn ready(&mut self, now: Instant, leader: &dyn Fn(&TopicPartition) -> Option<Leader>) -> Ready {
        self.urgency = self.current_urgency();
        self.list_due(now);
        self.list_lingering_if_urgent();
        self.list_retries_with_new_leader(leader);
        self.check_listed(now, leader);
        let unknown_leader_topics = self.assign(now, leader);
        self.nodes.retain(|_node, partitions| !partitions.is_empty());
        Ready {
            nodes: self.nodes.keys().copied().collect(),
            unknown_leader_topics,
        }
    }

    /// memory is short, the producer is closed, a flush is running, or the transaction is being ended.
    fn current_urgency(&self) -> Urgency {
        let closed = self.shared.gate.state() == GateState::Closed(GateReason::ProducerClosed);
        let urgent = closed
            || self.flushes > 0
            || self.completing == Completing::Yes
            || self.shared.pool.is_exhausted();
        if urgent {
            Urgency::Urgent
        } else {
            Urgency::Ordinary
        }
    }

    fn list_due(&mut self, now: Instant) {
        while let Some(&(timer, partition)) = self.timers.first()
            && timer <= now
        {
            self.list(partition);
        }
    }

    fn list_lingering_if_urgent(&mut self) {
        if self.urgency == Urgency::Ordinary || self.timers.len() == self.backing_off.len() {
            return;
        }
        let timed: Vec<PartitionIndex> = self.timers.iter().map(|(_, partition)| *partition).collect();
        for partition in timed {
            if !self.backing_off.contains(&partition) {
                self.list(partition);
            }
        }
    }

    /// a new leader makes waiting for the old one pointless.
    fn list_retries_with_new_leader(&mut self, leader: &dyn Fn(&TopicPartition) -> Option<Leader>) {
        let waiting: Vec<PartitionIndex> = self.backing_off.iter().copied().collect();
        for partition in waiting {
            let lane = self.lane(partition);
            let epoch = leader(lane.topic_partition()).and_then(|leader| leader.epoch);
            let Some(retry) = lane.retries.front_mut() else {
                continue;
            };
            retry.batch.see_leader(epoch);
            if retry.batch.leader_changed_for_retry() {
                self.list(partition);
            }
        }
    }

    /// Takes partitions off the lists of nodes that do not lead them any more, or that have nothing to send after all.
    fn check_listed(&mut self, now: Instant, leader: &dyn Fn(&TopicPartition) -> Option<Leader>) {
        let mut nodes = std::mem::take(&mut self.nodes);
        for (node, partitions) in &mut nodes {
            partitions.retain(|&partition| {
                if !self.is_sendable(partition, now) {
                    self.unlist(partition);
                    return false;
                }
                let current = leader(self.lane(partition).topic_partition());
                if current.is_some_and(|leader| leader.node == *node) {
                    self.note_leader(partition, current);
                    return true;
                }
                self.lane(partition).listed = Listed::Unassigned;
                self.unassigned.push_back(partition);
                false
            });
        }
        self.nodes = nodes;
    }

    /// Gives every unassigned partition to its leader. Returns the topics of those that have none.
    fn assign(
        &mut self,
        now: Instant,
        leader: &dyn Fn(&TopicPartition) -> Option<Leader>,
    ) -> BTreeSet<Arc<str>> {
        let mut unknown = BTreeSet::new();
        for _ in 0..self.unassigned.len() {
            let Some(partition) = self.unassigned.pop_front() else {
                break;
            };
            if !self.is_sendable(partition, now) {
                self.unlist(partition);
                continue;
            }
            let current = leader(self.lane(partition).topic_partition());
            self.note_leader(partition, current);
            match current {
                Some(current) => {
                    let is_stalled = self.is_stalled(current.node);
                    let lane = self.lane(partition);
                    lane.listed = Listed::OnNode;
                    lane.queue.load().set_stalled(is_stalled);
                    self.nodes.entry(current.node).or_default().push_back(partition);
                }
                None => {
                    unknown.insert(Arc::clone(&self.lane(partition).topic_partition().topic));
                    self.unassigned.push_back(partition);
                }
            }
        }
        unknown
    }

    pub(super) fn is_sendable(&mut self, partition: PartitionIndex, now: Instant) -> bool {
        let (linger, urgency) = (self.shared.config.linger, self.urgency);
        self.lane(partition)
            .due(linger, urgency)
            .is_some_and(|due| due <= now)
    }

    /// A lane that has just been taken off its list waits for its time again.
    pub(super) fn unlist(&mut self, partition: PartitionIndex) {
        self.lane(partition).listed = Listed::Nowhere;
        self.rearm(partition);
    }

    /// the first batch learns the leader's epoch.
    fn note_leader(&mut self, partition: PartitionIndex, leader: Option<Leader>) {
        let lane = self.lane(partition);
        lane.leader = leader;
        if let Some(retry) = lane.retries.front_mut() {
            retry.batch.see_leader(leader.and_then(|leader| leader.epoch));
        }
        debug_assert!(
            !lane.retries.is_empty() || lane.front != Front::Empty,
            "a sendable lane has a batch"
        );
    }
}
