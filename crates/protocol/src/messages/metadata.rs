//! `Metadata` (key 3): which brokers, topics and partitions there are. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, NodeId, PartitionId, TopicId};

message! {
    /// The request `Metadata`.
    pub struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>>, 0.., null 1.., default Some(Vec::new());
        allow_auto_topic_creation: bool, 4.., default true;
        include_cluster_authorized_operations: bool, 8..=10;
        include_topic_authorized_operations: bool, 8..;
    }
}

message! {
    /// An element of `topics` in [`MetadataRequest`].
    pub struct MetadataRequestTopic {
        topic_id: TopicId, 10..;
        name: Option<String>, 0.., null 10.., default Some(String::new());
    }
}

message! {
    /// The response `Metadata`.
    pub struct MetadataResponse {
        throttle_time_ms: i32, 3..;
        brokers: Vec<MetadataResponseBroker>, 0..;
        cluster_id: Option<String>, 2.., null 2..;
        controller_id: NodeId, 1.., default NodeId(-1);
        topics: Vec<MetadataResponseTopic>, 0..;
        cluster_authorized_operations: i32, 8..=10, default i32::MIN;
        error_code: ErrorCode, 13..;
    }
}

message! {
    /// An element of `brokers` in [`MetadataResponse`].
    pub struct MetadataResponseBroker {
        node_id: NodeId, 0.., default NodeId(0);
        host: String, 0..;
        port: i32, 0..;
        rack: Option<String>, 1.., null 1..;
    }
}

message! {
    /// An element of `topics` in [`MetadataResponse`].
    pub struct MetadataResponseTopic {
        error_code: ErrorCode, 0..;
        name: Option<String>, 0.., null 12.., default Some(String::new());
        topic_id: TopicId, 10..;
        is_internal: bool, 1..;
        partitions: Vec<MetadataResponsePartition>, 0..;
        topic_authorized_operations: i32, 8.., default i32::MIN;
    }
}

message! {
    /// An element of `partitions` in [`MetadataResponseTopic`].
    pub struct MetadataResponsePartition {
        error_code: ErrorCode, 0..;
        partition_index: PartitionId, 0.., default PartitionId(0);
        leader_id: NodeId, 0.., default NodeId(0);
        leader_epoch: LeaderEpoch, 7.., default LeaderEpoch(-1);
        replica_nodes: Vec<NodeId>, 0..;
        isr_nodes: Vec<NodeId>, 0..;
        offline_replicas: Vec<NodeId>, 5..;
    }
}
