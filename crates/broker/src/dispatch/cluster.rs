//! DescribeCluster and DescribeProducers: what administrators ask (B-52).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::NodeId;

use super::{Context, named};
use crate::core::World;
use crate::partition::Partition;

/// Answers DescribeCluster.
pub(super) fn describe(world: &World, request: &DescribeClusterRequest) -> DescribeClusterResponse {
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
            let led = found.and_then(|partition| match partition.leader {
                Some(leader) if leader == context.node => Ok(partition),
                _ => Err(ErrorCode::NotLeaderOrFollower),
            });
            DescribeProducersResponsePartition {
                partition_index: *index,
                error_code: led.err().unwrap_or_default(),
                error_message: None,
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
