//! Which nodes have taken nothing for too long: unkeyed records go around their partitions.

use std::time::Duration;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, PartitionIndex};

use super::Drainer;

/// Whether a node for which something is ready could be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It takes a request now.
    Taking,
    /// It is not connected, throttled, or has as many requests in flight as it may.
    Waiting,
}

/// What is remembered of a node.
#[derive(Debug)]
pub(super) struct NodePace {
    /// When it could last be sent to, among the times when something was ready for it.
    last_taken: Instant,
    is_stalled: bool,
}

impl NodePace {
    fn since(now: Instant) -> Self {
        Self {
            last_taken: now,
            is_stalled: false,
        }
    }

    fn update(&mut self, pace: Pace, now: Instant, timeout: Duration) {
        if pace == Pace::Taking {
            self.last_taken = now;
        }
        self.is_stalled = now - self.last_taken > timeout;
    }
}

impl Drainer {
    /// S-40: to be called for every node that [`Drainer::ready`] found, before it is drained. Does nothing without
    /// `partitioner.availability.timeout.ms`.
    pub fn note_pace(&mut self, node: NodeId, pace: Pace, now: Instant) {
        let Some(timeout) = self.shared.config.sticky_choice.availability_timeout() else {
            return;
        };
        let known = self.paces.entry(node).or_insert_with(|| NodePace::since(now));
        let before = known.is_stalled;
        known.update(pace, now, timeout);
        let is_stalled = known.is_stalled;
        if is_stalled == before {
            return;
        }
        let partitions: Vec<PartitionIndex> = self.nodes.get(&node).into_iter().flatten().copied().collect();
        for partition in partitions {
            self.lane(partition).queue.load().set_stalled(is_stalled);
        }
    }

    pub(super) fn is_stalled(&self, node: NodeId) -> bool {
        self.paces.get(&node).is_some_and(|pace| pace.is_stalled)
    }
}
