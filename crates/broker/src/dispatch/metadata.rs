//! Metadata: which brokers and topics there are, and the creation of topics that a client names (B-15 to B-18).

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{NodeId, PartitionId, TopicId};

use super::Context;
use super::cluster::CLUSTER_OPERATIONS;
use crate::config::AutoCreateTopics;
use crate::coordinator::interface::{CONSUMER_OFFSETS_TOPIC, CoordinatorKind, TRANSACTION_STATE_TOPIC};
use crate::core::World;
use crate::denials::Operation;
use crate::partition::Partition;
use crate::topics::{NewTopic, Topic, is_internal, is_legal_name};

/// The first version in which a topic can be asked for by its id (B-17).
const FIRST_ID_VERSION: i16 = 12;
/// The versions in which a null or an empty list of topics have their meaning; before, an empty one means all.
const FIRST_NULL_VERSION: i16 = 1;
/// The first version in which clients say whether topics may be created.
const FIRST_AUTO_CREATION_VERSION: i16 = 4;

/// One bit for each operation on a topic, all allowed: Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs.
const TOPIC_OPERATIONS: i32 = 3576;

/// Answers Metadata.
pub(super) fn describe(
    world: &mut World,
    context: &Context<'_>,
    request: &MetadataRequest,
) -> MetadataResponse {
    let names_id = request
        .topics
        .iter()
        .flatten()
        .any(|topic| topic.topic_id.is_known() || topic.name.is_none());
    if names_id && context.version < FIRST_ID_VERSION {
        return refused(request, ErrorCode::InvalidRequest);
    }
    if request.topics.iter().flatten().any(is_nameless) {
        return refused(request, ErrorCode::UnknownServerError);
    }
    let mut response = MetadataResponse {
        brokers: brokers(world),
        cluster_id: Some(world.config.cluster_id.clone()),
        controller_id: world.cluster.controller().unwrap_or(NodeId(-1)),
        ..Default::default()
    };
    let wanted = request
        .topics
        .as_ref()
        .filter(|topics| context.version >= FIRST_NULL_VERSION || !topics.is_empty());
    match wanted {
        None => {
            response.topics = world
                .cluster
                .topics()
                .filter(|topic| !is_hidden(world, &topic.name))
                .map(|topic| described(world, topic))
                .collect()
        }
        Some(topics) => {
            let may_create =
                request.allow_auto_topic_creation || context.version < FIRST_AUTO_CREATION_VERSION;
            let mut answered = BTreeSet::new();
            for topic in topics {
                let entry = named_topic(world, topic, may_create);
                let key = (entry.name.clone(), entry.topic_id);
                if !answered.contains(&key) {
                    answered.insert(key);
                    response.topics.push(entry);
                }
            }
        }
    }
    if request.include_topic_authorized_operations {
        let known = response
            .topics
            .iter_mut()
            .filter(|topic| topic.error_code == ErrorCode::None);
        known.for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
    }
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn is_nameless(topic: &MetadataRequestTopic) -> bool {
    topic.name.is_none() && !topic.topic_id.is_known()
}

/// B-17: for topic ids in versions 10 and 11, and for a topic with neither id nor name.
fn refused(request: &MetadataRequest, error_code: ErrorCode) -> MetadataResponse {
    let topics = request
        .topics
        .iter()
        .flatten()
        .map(|topic| MetadataResponseTopic {
            error_code,
            name: Some(topic.name.clone().unwrap_or_default()),
            topic_id: topic.topic_id,
            ..Default::default()
        });
    MetadataResponse {
        topics: topics.collect(),
        error_code: match error_code {
            ErrorCode::InvalidRequest => ErrorCode::None,
            of_request => of_request,
        },
        ..Default::default()
    }
}

fn brokers(world: &World) -> Vec<MetadataResponseBroker> {
    let nodes = world.cluster.live_nodes().map(|node| MetadataResponseBroker {
        node_id: node.id,
        host: node.host.clone(),
        port: i32::from(node.port),
        rack: None,
    });
    nodes.collect()
}

fn named_topic(world: &mut World, wanted: &MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let Some(name) = wanted.name.as_deref().filter(|_| !wanted.topic_id.is_known()) else {
        return match world.cluster.topic_by_id(wanted.topic_id) {
            Some(topic) if is_hidden(world, &topic.name) => MetadataResponseTopic {
                error_code: ErrorCode::TopicAuthorizationFailed,
                name: None,
                topic_id: wanted.topic_id,
                ..Default::default()
            },
            Some(topic) => described(world, topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId,
                name: None,
                topic_id: wanted.topic_id,
                ..Default::default()
            },
        };
    };
    let is_hidden = is_hidden(world, name);
    if let Some(topic) = world.cluster.topic(name).filter(|_| !is_hidden) {
        return described(world, topic);
    }
    let error_code = if is_hidden {
        ErrorCode::TopicAuthorizationFailed
    } else if is_legal_name(name) {
        if may_create {
            create(world, name);
        }
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    };
    MetadataResponseTopic {
        error_code,
        name: Some(name.to_owned()),
        topic_id: TopicId::ZERO,
        is_internal: is_internal(name) && !is_hidden,
        ..Default::default()
    }
}

/// B-16: whether clients may not know of the topic.
fn is_hidden(world: &World, name: &str) -> bool {
    let denials = &world.config.denials;
    denials.check_topic(Operation::Describe, name).is_err()
}

/// B-16: the topic exists after this answer, which does not say so yet.
fn create(world: &mut World, name: &str) {
    match name {
        TRANSACTION_STATE_TOPIC => {
            return world
                .cluster
                .ensure_coordinator_topic(CoordinatorKind::Transaction);
        }
        CONSUMER_OFFSETS_TOPIC => return world.cluster.ensure_coordinator_topic(CoordinatorKind::Group),
        _ => {}
    }
    if world.config.auto_create_topics == AutoCreateTopics::Disabled {
        return;
    }
    let new = NewTopic {
        name: name.to_owned(),
        partitions: world.config.default_partitions.max(1),
        replication_factor: world.default_replication_factor(),
        config: world.config.topic_defaults.clone(),
    };
    if let Err(code) = world.cluster.create_topic(new) {
        tracing::warn!(topic = name, code = code.name(), "a topic could not be created");
    }
    world.note_change();
}

fn described(world: &World, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .zip(0..)
        .map(|(partition, index)| described_partition(world, topic, partition, index));
    MetadataResponseTopic {
        error_code: ErrorCode::None,
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// B-18: a partition without leader keeps its epoch. B-20: for a while, the leader may be the one before.
fn described_partition(
    world: &World,
    topic: &Topic,
    partition: &Partition,
    index: i32,
) -> MetadataResponsePartition {
    let (leader, leader_epoch) = world
        .announced_leader(&topic.name, index)
        .unwrap_or((partition.leader, partition.leader_epoch));
    let view = world.cluster.view();
    let is_offline = |node: &NodeId| view.live_node(*node).is_none() || partition.failed_on.contains(node);
    MetadataResponsePartition {
        error_code: if leader.is_some() {
            ErrorCode::None
        } else {
            ErrorCode::LeaderNotAvailable
        },
        partition_index: PartitionId(index),
        leader_id: leader.unwrap_or(NodeId(-1)),
        leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.in_sync.clone(),
        offline_replicas: partition.replicas.iter().copied().filter(is_offline).collect(),
    }
}
