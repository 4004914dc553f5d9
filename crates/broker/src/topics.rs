//! The cluster as all nodes share it: brokers, topics with their partitions, shards of the coordinators, the finalised feature.
//!
//! Every change of leadership goes through here, so that what the coordinators see (`ClusterView`) never disagrees with metadata.

mod liveness;
mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{NodeId, Offset, TopicId, TopicPartition};

use crate::config::{BrokerConfig, TopicConfig};
use crate::coordinator::interface::{
    CONSUMER_OFFSETS_TOPIC, ClusterNode, ClusterView, CoordinatorKind, NodeState, SHARD_COUNT, Shard,
    ShardState, TRANSACTION_STATE_TOPIC, TopicView, TransactionVersion,
};
use crate::durable::FeatureState;
use crate::partition::Partition;

pub use liveness::DirectoryState;

/// The longest topic name (B-16).
const LONGEST_TOPIC_NAME: usize = 249;

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) config: TopicConfig,
    pub(crate) partitions: Vec<Partition>,
}

impl Topic {
    /// Whether only the coordinators write to it.
    pub(crate) fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// The partition with this number.
    pub(crate) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// The partition with this number, to change it.
    pub(crate) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }
}

/// Whether a topic of this name belongs to a coordinator.
pub(crate) fn is_internal(name: &str) -> bool {
    name == TRANSACTION_STATE_TOPIC || name == CONSUMER_OFFSETS_TOPIC
}

/// Whether Kafka accepts the name (B-16).
pub(crate) fn is_legal_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= LONGEST_TOPIC_NAME && name.bytes().all(is_legal)
}

/// How a new topic is laid out.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) replication_factor: u16,
    pub(crate) config: TopicConfig,
}

/// What all nodes share.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<ClusterNode>,
    topics: BTreeMap<Arc<str>, Topic>,
    names: BTreeMap<TopicId, Arc<str>>,
    views: BTreeMap<Arc<str>, TopicView>,
    transaction_shards: Vec<Shard>,
    group_shards: Vec<Shard>,
    transaction_version: TransactionVersion,
    features_epoch: i64,
    random: u64,
    max_partitions: usize,
    /// Topics that are not as they were last given away.
    changed: BTreeSet<Arc<str>>,
    /// The features as they were last given away.
    saved_features: Option<FeatureState>,
}

impl Cluster {
    /// A cluster of these nodes, without topics.
    pub(crate) fn new(nodes: Vec<ClusterNode>, config: &BrokerConfig) -> Self {
        Self {
            nodes,
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            views: BTreeMap::new(),
            transaction_shards: Vec::new(),
            group_shards: Vec::new(),
            transaction_version: config.transaction_version,
            features_epoch: 1,
            random: config.seed,
            max_partitions: config.limits.partitions,
            changed: BTreeSet::new(),
            saved_features: None,
        }
    }

    /// What the coordinators see.
    pub(crate) fn view(&self) -> ClusterView<'_> {
        ClusterView {
            nodes: &self.nodes,
            topics: &self.views,
            transaction_shards: &self.transaction_shards,
            group_shards: &self.group_shards,
            transaction_version: self.transaction_version,
        }
    }

    /// B-6: finalises another level; the features' epoch rises.
    pub(crate) fn set_transaction_version(&mut self, version: TransactionVersion) {
        self.transaction_version = version;
        self.features_epoch += 1;
    }

    /// Rises with every change of a finalised feature.
    pub(crate) fn features_epoch(&self) -> i64 {
        self.features_epoch
    }

    /// Creates a topic with a fresh id. Its name and counts must have been checked, except that the name may be taken.
    pub(crate) fn create_topic(&mut self, new: NewTopic) -> Result<TopicId, ErrorCode> {
        if !is_legal_name(&new.name) {
            return Err(ErrorCode::InvalidTopicException);
        }
        if self.topics.contains_key(new.name.as_str()) {
            return Err(ErrorCode::TopicAlreadyExists);
        }
        self.check_room(new.partitions as usize)?;
        Ok(self.add_topic(new))
    }

    /// Whether so many more partitions may exist.
    fn check_room(&self, more: usize) -> Result<(), ErrorCode> {
        let present: usize = self.topics.values().map(|topic| topic.partitions.len()).sum();
        if present.saturating_add(more) > self.max_partitions {
            return Err(ErrorCode::PolicyViolation);
        }
        Ok(())
    }

    fn add_topic(&mut self, new: NewTopic) -> TopicId {
        let id = self.fresh_topic_id();
        let name: Arc<str> = new.name.into();
        let first = self.topics.len();
        let partitions = (0..new.partitions as usize)
            .map(|index| Partition::new(self.replicas(first + index, usize::from(new.replication_factor))))
            .collect();
        self.insert_topic(Topic {
            name,
            id,
            config: new.config,
            partitions,
        });
        id
    }

    fn insert_topic(&mut self, topic: Topic) {
        let name = Arc::clone(&topic.name);
        let view = TopicView {
            id: topic.id,
            partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
        };
        self.names.insert(topic.id, Arc::clone(&name));
        self.views.insert(Arc::clone(&name), view);
        self.topics.insert(Arc::clone(&name), topic);
        self.refresh_shards(&name);
        self.changed.insert(name);
    }

    /// Creates the topic behind a coordinator when it does not exist yet (B-21).
    pub(crate) fn ensure_coordinator_topic(&mut self, kind: CoordinatorKind) {
        let name = coordinator_topic(kind);
        if self.topics.contains_key(name) {
            return;
        }
        let replication_factor = u16::try_from(self.nodes.len().min(3)).unwrap_or(1);
        let config = TopicConfig {
            cleanup_policy: crate::config::CleanupPolicy::Compact,
            ..TopicConfig::default()
        };
        let new = NewTopic {
            name: name.to_owned(),
            partitions: SHARD_COUNT,
            replication_factor,
            config,
        };
        self.add_topic(new);
    }

    /// Deletes a topic with its records.
    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<TopicId, ErrorCode> {
        let topic = self
            .topics
            .remove(name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        self.names.remove(&topic.id);
        self.views.remove(name);
        self.refresh_shards(name);
        self.changed.insert(topic.name);
        Ok(topic.id)
    }

    /// B-122: adds partitions, up to `count`.
    pub(crate) fn expand_topic(&mut self, name: &str, count: u32) -> Result<(), ErrorCode> {
        let topic = self.topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let present = topic.partitions.len();
        if (count as usize) <= present {
            return Err(ErrorCode::InvalidPartitions);
        }
        self.check_room(count as usize - present)?;
        let factor = topic
            .partitions
            .first()
            .map_or(1, |partition| partition.replicas.len());
        let added: Vec<_> = (present..count as usize)
            .map(|index| Partition::new(self.replicas(index, factor)))
            .collect();
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions.extend(added);
            self.changed.insert(Arc::clone(&topic.name));
        }
        if let Some(view) = self.views.get_mut(name) {
            view.partition_count = count;
        }
        Ok(())
    }

    /// Moves the leadership of a partition (B-1). A shard that moves gets a new coordinator epoch (B-69).
    pub(crate) fn move_leader(
        &mut self,
        partition: &TopicPartition,
        leader: Option<NodeId>,
    ) -> Result<(), ErrorCode> {
        self.partition_mut(partition)?.lead_by(leader);
        self.changed.insert(Arc::clone(&partition.topic));
        self.refresh_shards(&partition.topic);
        Ok(())
    }

    /// B-117: moves the start of a log.
    pub(crate) fn delete_records(
        &mut self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, ErrorCode> {
        let start = self.partition_mut(partition)?.delete_records(before)?;
        self.changed.insert(Arc::clone(&partition.topic));
        Ok(start)
    }

    /// Whether a shard answers (B-22).
    pub(crate) fn set_shard_state(&mut self, kind: CoordinatorKind, number: u32, state: ShardState) {
        let shards = match kind {
            CoordinatorKind::Group => &mut self.group_shards,
            CoordinatorKind::Transaction => &mut self.transaction_shards,
        };
        if let Some(shard) = shards.get_mut(number as usize) {
            shard.state = state;
        }
    }

    /// Where a node can be reached from now on.
    pub(crate) fn set_address(&mut self, id: NodeId, host: &str, port: u16) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
            node.host = host.to_owned();
            node.port = port;
        }
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// The topic of this name, to change it.
    pub(crate) fn topic_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.get_mut(name)
    }

    /// The topic with this id.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(self.names.get(&id)?)
    }

    /// All topics, in order of their names.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// All topics, to change them.
    pub(crate) fn topics_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.topics.values_mut()
    }

    /// How many bytes all logs take together.
    pub(crate) fn log_bytes(&self) -> u64 {
        let partitions = self.topics.values().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.log().bytes()).sum()
    }

    /// A partition by name.
    pub(crate) fn partition(&self, partition: &TopicPartition) -> Result<&Partition, ErrorCode> {
        let topic = self
            .topics
            .get(&partition.topic)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic
            .partition(partition.partition.0)
            .ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// A partition by name, to change it.
    pub(crate) fn partition_mut(&mut self, partition: &TopicPartition) -> Result<&mut Partition, ErrorCode> {
        let topic = self
            .topics
            .get_mut(&partition.topic)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic
            .partition_mut(partition.partition.0)
            .ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    /// The nodes that run.
    pub(crate) fn live_nodes(&self) -> impl Iterator<Item = &ClusterNode> {
        self.nodes.iter().filter(|node| node.state == NodeState::Live)
    }

    /// The first node that runs plays the controller.
    pub(crate) fn controller(&self) -> Option<NodeId> {
        self.live_nodes().next().map(|node| node.id)
    }

    fn replicas(&self, first: usize, factor: usize) -> Vec<NodeId> {
        let count = self.nodes.len();
        (0..factor.min(count))
            .filter_map(|step| self.nodes.get((first + step) % count))
            .map(|node| node.id)
            .collect()
    }

    fn refresh_shards(&mut self, topic: &str) {
        let shards = match topic {
            TRANSACTION_STATE_TOPIC => &mut self.transaction_shards,
            CONSUMER_OFFSETS_TOPIC => &mut self.group_shards,
            _ => return,
        };
        let partitions = self.topics.get(topic).map_or(&[][..], |topic| &topic.partitions);
        *shards = partitions
            .iter()
            .enumerate()
            .map(|(index, partition)| Shard {
                leader: partition.leader,
                coordinator_epoch: partition.leader_epoch.0,
                state: shards.get(index).map_or(ShardState::Active, |shard| shard.state),
            })
            .collect();
    }

    /// An id that no topic has.
    pub(crate) fn fresh_topic_id(&mut self) -> TopicId {
        loop {
            let mut id = [0; 16];
            let (high, low) = id.split_at_mut(8);
            high.copy_from_slice(&self.next_random().to_be_bytes());
            low.copy_from_slice(&self.next_random().to_be_bytes());
            let id = TopicId(id);
            if id.is_known() && !self.names.contains_key(&id) {
                return id;
            }
        }
    }

    /// SplitMix64: all that topic ids need is that they differ.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// The topic whose partitions are the shards of a coordinator.
pub(crate) fn coordinator_topic(kind: CoordinatorKind) -> &'static str {
    match kind {
        CoordinatorKind::Group => CONSUMER_OFFSETS_TOPIC,
        CoordinatorKind::Transaction => TRANSACTION_STATE_TOPIC,
    }
}
