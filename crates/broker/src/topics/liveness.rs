//! Which replicas can serve: nodes stop and start (B-122), directories fail (B-37). What a lost replica led goes to the next one in sync.

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{NodeId, TopicPartition};

use super::Cluster;
use crate::coordinator::interface::{CONSUMER_OFFSETS_TOPIC, NodeState, TRANSACTION_STATE_TOPIC};
use crate::partition::Partition;

/// Whether a node can use the directory in which it has partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryState {
    /// It can.
    Online,
    /// Its disk has failed: KAFKA_STORAGE_ERROR.
    Failed,
}

impl Cluster {
    /// Stops or starts a node.
    pub(crate) fn set_node_state(&mut self, id: NodeId, state: NodeState) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
            node.state = state;
        }
        let live = self.live_ids();
        self.changed.extend(self.topics.keys().cloned());
        let partitions = self.topics.values_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| elect(partition, &live));
        self.refresh_shards(TRANSACTION_STATE_TOPIC);
        self.refresh_shards(CONSUMER_OFFSETS_TOPIC);
    }

    /// B-37: the directory fails in which `node` has these partitions, or works again.
    pub(crate) fn set_directory(
        &mut self,
        node: NodeId,
        partitions: &[TopicPartition],
        state: DirectoryState,
    ) -> Result<(), ErrorCode> {
        let live = self.live_ids();
        for name in partitions {
            let partition = self.partition_mut(name)?;
            match state {
                DirectoryState::Online => partition.failed_on.remove(&node),
                DirectoryState::Failed => partition.failed_on.insert(node),
            };
            elect(partition, &live);
            self.changed.insert(name.topic.clone());
            self.refresh_shards(&name.topic);
        }
        Ok(())
    }

    fn live_ids(&self) -> BTreeSet<NodeId> {
        self.live_nodes().map(|node| node.id).collect()
    }
}

/// Replicas that can serve are in sync; a leader that cannot is followed by the first of them.
fn elect(partition: &mut Partition, live: &BTreeSet<NodeId>) {
    let can_serve = |node: &NodeId| live.contains(node) && !partition.failed_on.contains(node);
    let in_sync: Vec<NodeId> = partition.replicas.iter().copied().filter(can_serve).collect();
    let is_led = partition.leader.is_some_and(|leader| can_serve(&leader));
    let next = in_sync.first().copied();
    partition.in_sync = in_sync;
    if !is_led && partition.leader != next {
        partition.lead_by(next);
    }
}
