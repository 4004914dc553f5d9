//! What is known about the cluster at one moment: an immutable value that many readers share (N-47).
//!
//! Says which node leads a partition; never how to reach it or when to ask again.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{LeaderEpoch, NodeId, PartitionId, TopicId, TopicPartition};
use thiserror::Error;

use crate::address::BrokerAddress;
use crate::metadata::MetadataError;

/// A snapshot of the metadata. A newer one has a higher `update_version`, leader hints excepted (N-77).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSnapshot {
    /// The brokers, or the bootstrap addresses under negative ids as long as nothing else is known (N-1).
    pub nodes: BTreeMap<NodeId, BrokerAddress>,
    /// The topics that were asked for and answered.
    pub topics: BTreeMap<Arc<str>, TopicSnapshot>,
    /// Grows by 1 with every applied response and every (re)bootstrap (N-48).
    pub update_version: u64,
    /// The id of the cluster, once a broker has told it.
    pub cluster_id: Option<Arc<str>>,
    /// The controller, if there is one.
    pub controller: Option<NodeId>,
    /// Why newer metadata cannot be had. Stands until metadata comes again; that of another cluster for ever (N-63, H30).
    pub failure: Option<MetadataError>,
}

/// What stands in the way of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopicFailure {
    /// There is no metadata of any topic.
    #[error(transparent)]
    Metadata(MetadataError),
    /// The last response refused the topic, and waiting does not mend that.
    #[error("{}: {}", .0.name(), .0.text())]
    Topic(ErrorCode),
}

/// A topic within a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSnapshot {
    /// The topic's id; zero when the broker did not tell it.
    pub id: TopicId,
    /// The partitions; the position is the partition's number.
    pub partitions: Vec<PartitionSnapshot>,
    /// What the broker said instead of naming partitions.
    pub error: Option<ErrorCode>,
    /// Whether the topic is Kafka's own.
    pub origin: TopicOrigin,
}

/// Whose topic it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicOrigin {
    /// An application's.
    #[default]
    Application,
    /// Kafka's own, such as the one in which transactions are logged.
    Internal,
}

/// A partition within a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSnapshot {
    /// The leader; it may be a node that the snapshot does not have.
    pub leader: Option<NodeId>,
    /// How often the leadership has changed, when the broker told it reliably (N-57).
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the broker said about this partition.
    pub error: Option<ErrorCode>,
    /// The nodes that hold the partition, the preferred leader first. Shared between snapshots, as the other two lists are.
    pub replicas: Arc<[NodeId]>,
    /// The replicas that keep up with the leader.
    pub in_sync_replicas: Arc<[NodeId]>,
    /// The replicas that cannot be used.
    pub offline_replicas: Arc<[NodeId]>,
}

/// A leader that is known with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLeader {
    /// The leading node.
    pub node: NodeId,
    /// Its epoch, when known.
    pub epoch: Option<LeaderEpoch>,
}

impl ClusterSnapshot {
    /// The leader of a partition; `None` when there is none or its node is not known (N-73).
    pub fn leader(&self, of: &TopicPartition) -> Option<PartitionLeader> {
        let partition = self.partition(&of.topic, of.partition)?;
        let node = partition.leader.filter(|node| self.nodes.contains_key(node))?;
        Some(PartitionLeader {
            node,
            epoch: partition.leader_epoch,
        })
    }

    /// A partition of a topic, or `None` when it is not known.
    pub fn partition(&self, topic: &str, partition: PartitionId) -> Option<&PartitionSnapshot> {
        let position = usize::try_from(partition.0).ok()?;
        self.topics.get(topic)?.partitions.get(position)
    }

    /// How many partitions a topic has, or `None` when the topic is not known, or known only by its error.
    pub fn partition_count(&self, topic: &str) -> Option<u32> {
        let topic = self.topics.get(topic).filter(|topic| topic.error.is_none())?;
        u32::try_from(topic.partitions.len())
            .ok()
            .filter(|count| *count > 0)
    }

    /// The partitions of a topic that have a reachable leader (N-74).
    pub fn available_partitions(&self, topic: &str) -> impl Iterator<Item = PartitionId> + '_ {
        let partitions = self.topics.get(topic).map_or(&[][..], |topic| &topic.partitions);
        let has_leader = |p: &PartitionSnapshot| p.leader.is_some_and(|node| self.nodes.contains_key(&node));
        let numbered = partitions.iter().zip(0..);
        numbered
            .filter(move |(partition, _)| has_leader(partition))
            .map(|(_, number)| PartitionId(number))
    }

    /// The id of a topic; zero when it is not known (S-50).
    pub fn topic_id(&self, topic: &str) -> TopicId {
        self.topics.get(topic).map_or(TopicId::ZERO, |topic| topic.id)
    }

    /// What the last response said about a topic instead of naming its partitions (N-65, N-92).
    pub fn topic_error(&self, topic: &str) -> Option<ErrorCode> {
        self.topics.get(topic)?.error
    }

    /// What stands in the way of a topic: first what stops all metadata, then an access that was denied or an illegal name (N-64). Other
    /// topic errors pass.
    pub fn topic_failure(&self, topic: &str) -> Option<TopicFailure> {
        if let Some(failure) = &self.failure {
            return Some(TopicFailure::Metadata(failure.clone()));
        }
        let refused = [
            ErrorCode::TopicAuthorizationFailed,
            ErrorCode::InvalidTopicException,
        ];
        let error = self.topic_error(topic)?;
        refused.contains(&error).then_some(TopicFailure::Topic(error))
    }

    /// The name of the topic with this id. Looks through all topics.
    pub fn topic_name(&self, id: TopicId) -> Option<&Arc<str>> {
        let mut topics = self.topics.iter().filter(|_| id.is_known());
        topics.find(|(_, topic)| topic.id == id).map(|(name, _)| name)
    }

    /// The topics to which the last response denied access.
    pub fn unauthorized_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics_with(|topic| topic.error == Some(ErrorCode::TopicAuthorizationFailed))
    }

    /// The topics whose names the last response called illegal.
    pub fn invalid_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics_with(|topic| topic.error == Some(ErrorCode::InvalidTopicException))
    }

    /// The topics that are Kafka's own.
    pub fn internal_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics_with(|topic| topic.origin == TopicOrigin::Internal)
    }

    fn topics_with(&self, wanted: impl Fn(&TopicSnapshot) -> bool) -> impl Iterator<Item = &Arc<str>> {
        let topics = self.topics.iter().filter(move |(_, topic)| wanted(topic));
        topics.map(|(name, _)| name)
    }

    /// Whether nothing is known but the bootstrap addresses.
    pub fn is_bootstrap(&self) -> bool {
        self.nodes.keys().all(|node| node.0 < 0)
    }

    pub(crate) fn bootstrap(addresses: &[BrokerAddress]) -> Self {
        let ids = (1..).map(|number: i32| NodeId(-number));
        Self {
            nodes: ids.zip(addresses.iter().cloned()).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(leader: i32) -> PartitionSnapshot {
        PartitionSnapshot {
            leader: Some(NodeId(leader)),
            leader_epoch: Some(LeaderEpoch(3)),
            ..PartitionSnapshot::default()
        }
    }

    /// N-73, N-74: a leader whose node is not known is no leader.
    #[test]
    fn a_partition_has_a_leader_only_when_its_node_is_known() {
        let mut cluster = ClusterSnapshot::default();
        cluster.nodes.insert(NodeId(1), BrokerAddress::new("one", 9092));
        let partitions = vec![partition(1), partition(2), PartitionSnapshot::default()];
        cluster.topics.insert(
            "t".into(),
            TopicSnapshot {
                partitions,
                ..TopicSnapshot::default()
            },
        );

        let expected = PartitionLeader {
            node: NodeId(1),
            epoch: Some(LeaderEpoch(3)),
        };
        assert_eq!(cluster.leader(&TopicPartition::new("t", 0)), Some(expected));
        for number in [1, 2, 3, -1] {
            assert_eq!(
                cluster.leader(&TopicPartition::new("t", number)),
                None,
                "{number}"
            );
        }
        assert_eq!(
            cluster.available_partitions("t").collect::<Vec<_>>(),
            [PartitionId(0)]
        );
        assert_eq!(cluster.partition_count("t"), Some(3));
        assert_eq!(cluster.partition_count("other"), None);
    }

    /// N-1: bootstrap nodes have the ids −1, −2, … in configured order.
    #[test]
    fn bootstrap_addresses_get_negative_ids() {
        let addresses = [BrokerAddress::new("a", 1), BrokerAddress::new("b", 2)];
        let cluster = ClusterSnapshot::bootstrap(&addresses);
        assert_eq!(cluster.nodes[&NodeId(-1)], addresses[0]);
        assert_eq!(cluster.nodes[&NodeId(-2)], addresses[1]);
        assert!(cluster.is_bootstrap());
    }
}
