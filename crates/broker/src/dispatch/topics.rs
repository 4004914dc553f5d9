//! CreateTopics, DeleteTopics and CreatePartitions, as far as Kafka's own tools and tests need them.

use std::collections::{BTreeMap, BTreeSet};

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{NodeId, TopicId};

use super::Context;
use crate::core::World;
use crate::topics::{NewTopic, is_internal, is_legal_name};

/// The first version of DeleteTopics that names topics by name or id, one by one.
const FIRST_ID_DELETION: i16 = 6;

/// Answers CreateTopics.
pub(super) fn create(world: &mut World, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let mut response = CreateTopicsResponse::default();
    for (place, topic) in request.topics.iter().enumerate() {
        let mut same = (0..)
            .zip(&request.topics)
            .filter(|(_, other)| other.name == topic.name);
        if same.next().is_some_and(|(first, _)| first < place) {
            continue;
        }
        let created = match same.next() {
            Some(_) => Err((
                ErrorCode::InvalidRequest,
                "the topic is named more than once".to_owned(),
            )),
            None => create_one(world, topic, request.validate_only),
        };
        response.topics.push(
            created.unwrap_or_else(|(error_code, text)| CreateTopicsResponseTopic {
                name: topic.name.clone(),
                error_code,
                error_message: Some(text),
                ..Default::default()
            }),
        );
    }
    world.note_change();
    response
}

fn create_one(
    world: &mut World,
    topic: &CreateTopicsRequestTopic,
    validate_only: bool,
) -> Result<CreateTopicsResponseTopic, (ErrorCode, String)> {
    let new = planned(world, topic)?;
    let answer = CreateTopicsResponseTopic {
        name: topic.name.clone(),
        error_message: None,
        num_partitions: i32::try_from(new.partitions).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(new.replication_factor).unwrap_or(i16::MAX),
        configs: Some(new.config.entries().into_iter().map(described_setting).collect()),
        ..Default::default()
    };
    if validate_only {
        return match world.cluster.topic(&new.name) {
            Some(_) => Err((ErrorCode::TopicAlreadyExists, "the topic exists".to_owned())),
            None => Ok(CreateTopicsResponseTopic {
                topic_id: world.cluster.fresh_topic_id(),
                ..answer
            }),
        };
    }
    let topic_id = world
        .cluster
        .create_topic(new)
        .map_err(|code| (code, code.text().to_owned()))?;
    Ok(CreateTopicsResponseTopic { topic_id, ..answer })
}

/// What is to be created, once counts and settings are found legal.
fn planned(world: &World, topic: &CreateTopicsRequestTopic) -> Result<NewTopic, (ErrorCode, String)> {
    if !is_legal_name(&topic.name) {
        return Err((
            ErrorCode::InvalidTopicException,
            "the name is not legal".to_owned(),
        ));
    }
    let assigned = assigned_replicas(world, topic)?;
    let partitions = match topic.num_partitions {
        _ if assigned.is_some() => u32::try_from(topic.assignments.len()).unwrap_or(u32::MAX),
        -1 => world.config.default_partitions.max(1),
        count => u32::try_from(count).unwrap_or(0),
    };
    if partitions == 0 || partitions > world.config.max_partitions_per_topic {
        return Err((
            ErrorCode::InvalidPartitions,
            format!("a topic cannot have {partitions} partitions"),
        ));
    }
    let nodes = world.cluster.nodes().len();
    let replication_factor = match topic.replication_factor {
        _ if assigned.is_some() => assigned.unwrap_or_default(),
        -1 => world.default_replication_factor(),
        factor => u16::try_from(factor).unwrap_or(0),
    };
    if replication_factor == 0 || usize::from(replication_factor) > nodes {
        let text = format!("{replication_factor} replicas on {nodes} brokers are impossible");
        return Err((ErrorCode::InvalidReplicationFactor, text));
    }
    let mut config = world.config.topic_defaults.clone();
    for setting in &topic.configs {
        let refused = |text: String| (ErrorCode::InvalidConfig, text);
        let value = setting.value.as_deref();
        let value = value.ok_or_else(|| refused(format!("topic setting {} has no value", setting.name)))?;
        config
            .set(&setting.name, value)
            .map_err(|error| refused(error.to_string()))?;
    }
    Ok(NewTopic {
        name: topic.name.clone(),
        partitions,
        replication_factor,
        config,
    })
}

/// How many replicas each partition gets by the assignment of the request, if it has one. Which nodes they are is not kept: all
/// nodes share one process.
fn assigned_replicas(
    world: &World,
    topic: &CreateTopicsRequestTopic,
) -> Result<Option<u16>, (ErrorCode, String)> {
    let Some(first) = topic.assignments.first() else {
        return Ok(None);
    };
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err((
            ErrorCode::InvalidRequest,
            "counts and an assignment exclude each other".to_owned(),
        ));
    }
    let numbers: BTreeSet<i32> = topic
        .assignments
        .iter()
        .map(|assignment| assignment.partition_index.0)
        .collect();
    let is_complete =
        numbers.len() == topic.assignments.len() && numbers.into_iter().eq(0..numbers_end(topic));
    let is_possible = |nodes: &[NodeId]| {
        let different: BTreeSet<&NodeId> = nodes.iter().collect();
        let known = |node: &&NodeId| world.cluster.nodes().iter().any(|known| known.id == **node);
        different.len() == nodes.len() && nodes.len() == first.broker_ids.len() && different.iter().all(known)
    };
    let are_possible = topic
        .assignments
        .iter()
        .all(|assignment| is_possible(&assignment.broker_ids));
    if first.broker_ids.is_empty() || !is_complete || !are_possible {
        return Err((
            ErrorCode::InvalidReplicaAssignment,
            "the assignment is not possible".to_owned(),
        ));
    }
    Ok(u16::try_from(first.broker_ids.len()).ok())
}

fn numbers_end(topic: &CreateTopicsRequestTopic) -> i32 {
    i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX)
}

fn described_setting((name, value): (&'static str, String)) -> CreateTopicsResponseConfig {
    CreateTopicsResponseConfig {
        name: name.to_owned(),
        value: Some(value),
        read_only: false,
        config_source: super::configs::SOURCE_DEFAULT,
        is_sensitive: false,
    }
}

/// Answers DeleteTopics.
pub(super) fn delete(
    world: &mut World,
    context: &Context<'_>,
    request: &DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| (Some(name.clone()), TopicId::ZERO));
    let either = request
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.topic_id));
    let wanted: Vec<(Option<String>, TopicId)> = if context.version < FIRST_ID_DELETION {
        by_name.collect()
    } else {
        either.collect()
    };
    let mut response = DeleteTopicsResponse::default();
    for (name, id) in wanted {
        let known = match &name {
            Some(_) if id.is_known() => Err(ErrorCode::InvalidRequest),
            None if !id.is_known() => Err(ErrorCode::InvalidRequest),
            Some(name) => Ok(name.clone()),
            None => world
                .cluster
                .topic_by_id(id)
                .map(|topic| topic.name.to_string())
                .ok_or(ErrorCode::UnknownTopicId),
        };
        let deleted = known.clone().and_then(|name| match is_internal(&name) {
            true => Err(ErrorCode::InvalidRequest),
            false => world.cluster.delete_topic(&name),
        });
        response.responses.push(DeleteTopicsResponseTopic {
            name: name.or(known.ok()),
            topic_id: deleted.unwrap_or(id),
            error_code: deleted.err().unwrap_or_default(),
            error_message: deleted.err().map(|code| code.text().to_owned()),
        });
    }
    world.note_change();
    response
}

/// Answers CreatePartitions.
pub(super) fn expand(world: &mut World, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut response = CreatePartitionsResponse::default();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    for topic in &request.topics {
        let expanded = match times.insert(&topic.name, 0) {
            Some(0) => continue,
            Some(1) | None => expand_one(world, topic, request.validate_only),
            Some(_) => Err(ErrorCode::InvalidRequest),
        };
        let is_explained =
            |code: &ErrorCode| matches!(code, ErrorCode::InvalidPartitions | ErrorCode::InvalidRequest);
        response.results.push(CreatePartitionsResponseTopic {
            name: topic.name.clone(),
            error_code: expanded.err().unwrap_or_default(),
            error_message: expanded
                .err()
                .filter(is_explained)
                .map(|code| code.text().to_owned()),
        });
    }
    world.note_change();
    response
}

fn expand_one(
    world: &mut World,
    topic: &CreatePartitionsRequestTopic,
    validate_only: bool,
) -> Result<(), ErrorCode> {
    let count = u32::try_from(topic.count).map_err(|_| ErrorCode::InvalidPartitions)?;
    if count > world.config.max_partitions_per_topic {
        return Err(ErrorCode::InvalidPartitions);
    }
    if validate_only {
        return match world.cluster.topic(&topic.name) {
            None => Err(ErrorCode::UnknownTopicOrPartition),
            Some(known) if count as usize <= known.partitions.len() => Err(ErrorCode::InvalidPartitions),
            Some(_) => Ok(()),
        };
    }
    world.cluster.expand_topic(&topic.name, count)
}
