//! DescribeCluster and DescribeProducers: what administrators ask (B-52). And what a listener without authentication says to SASL.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::NodeId;

use super::{Context, named};
use crate::core::World;
use crate::partition::Partition;
use crate::topics::is_legal_name;

/// The listeners that clients use.
const BROKER_ENDPOINTS: i8 = 1;
/// The listeners that no node of this cluster has.
const CONTROLLER_ENDPOINTS: i8 = 2;
/// One bit for each operation on the cluster, all allowed: Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs,
/// IdempotentWrite.
pub(super) const CLUSTER_OPERATIONS: i32 = 8096;

/// Answers DescribeCluster.
pub(super) fn describe(world: &World, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let wrong = match request.endpoint_type {
        BROKER_ENDPOINTS => None,
        CONTROLLER_ENDPOINTS => Some(ErrorCode::MismatchedEndpointType),
        _ => Some(ErrorCode::UnsupportedEndpointType),
    };
    if let Some(error_code) = wrong {
        return DescribeClusterResponse {
            error_code,
            error_message: Some(error_code.text().to_owned()),
            ..Default::default()
        };
    }
    let brokers = world
        .cluster
        .live_nodes()
        .map(|node| DescribeClusterResponseBroker {
            broker_id: node.id,
            host: node.host.clone(),
            port: i32::from(node.port),
            rack: None,
            is_fenced: false,
        });
    DescribeClusterResponse {
        endpoint_type: request.endpoint_type,
        cluster_id: world.config.cluster_id.clone(),
        controller_id: world.cluster.controller().unwrap_or(NodeId(-1)),
        brokers: brokers.collect(),
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..Default::default()
    }
}

/// A listener without authentication takes no handshake.
pub(super) fn refuse_handshake() -> SaslHandshakeResponse {
    SaslHandshakeResponse {
        error_code: ErrorCode::IllegalSaslState,
        ..Default::default()
    }
}

/// A listener without authentication takes no token.
pub(super) fn refuse_authentication() -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState,
        error_message: Some(ErrorCode::IllegalSaslState.text().to_owned()),
        ..Default::default()
    }
}

/// Answers DescribeProducers.
pub(super) fn describe_producers(
    world: &World,
    context: &Context<'_>,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let found = world.cluster.partition(&named(&topic.name, index.0));
            let legal = is_legal_name(&topic.name)
                .then_some(())
                .ok_or(ErrorCode::InvalidTopicException);
            let led = legal
                .and(found)
                .and_then(|partition| partition.check_served_by(context.node).map(|()| partition));
            DescribeProducersResponsePartition {
                partition_index: *index,
                error_code: led.err().unwrap_or_default(),
                error_message: led
                    .err()
                    .filter(|_| world.cluster.topic(&topic.name).is_none())
                    .map(|code| code.text().to_owned()),
                active_producers: led.map(producers).unwrap_or_default(),
            }
        });
        DescribeProducersResponseTopic {
            name: topic.name.clone(),
            partitions: partitions.collect(),
        }
    });
    DescribeProducersResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn producers(partition: &Partition) -> Vec<DescribeProducersResponseProducer> {
    let entries =
        partition
            .producers()
            .entries()
            .iter()
            .map(|(id, entry)| DescribeProducersResponseProducer {
                producer_id: *id,
                producer_epoch: i32::from(entry.epoch.0),
                last_sequence: entry.last_sequence().map_or(-1, |sequence| sequence.number()),
                last_timestamp: entry.last_timestamp.0,
                coordinator_epoch: entry.coordinator_epoch.unwrap_or(-1),
                current_txn_start_offset: entry.open_since.map_or(-1, |offset| offset.0),
            });
    entries.collect()
}
