//! `Produce` (key 0): writing batches into partitions. Field tables only.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, NodeId, PartitionId, TopicId};

message! {
    /// The request `Produce`.
    pub struct ProduceRequest {
        transactional_id: Option<String>, 3.., null 3..;
        acks: i16, 0..;
        timeout_ms: i32, 0..;
        topic_data: Vec<ProduceRequestTopic>, 0..;
    }
}

message! {
    /// An element of `topic_data` in [`ProduceRequest`].
    pub struct ProduceRequestTopic {
        name: String, 0..=12;
        topic_id: TopicId, 13..;
        partition_data: Vec<ProduceRequestPartition>, 0..;
    }
}

message! {
    /// An element of `partition_data` in [`ProduceRequestTopic`].
    pub struct ProduceRequestPartition {
        index: PartitionId, 0.., default PartitionId(0);
        records: Option<Bytes>, 0.., null 0..;
    }
}

message! {
    /// The response `Produce`.
    pub struct ProduceResponse {
        responses: Vec<ProduceResponseTopic>, 0..;
        throttle_time_ms: i32, 1..;
        node_endpoints: Vec<ProduceResponseNodeEndpoint>, 10.., tag 0;
    }
}

message! {
    /// An element of `responses` in [`ProduceResponse`].
    pub struct ProduceResponseTopic {
        name: String, 0..=12;
        topic_id: TopicId, 13..;
        partition_responses: Vec<ProduceResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partition_responses` in [`ProduceResponseTopic`].
    pub struct ProduceResponsePartition {
        index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
        base_offset: i64, 0..;
        log_append_time_ms: i64, 2.., default -1;
        log_start_offset: i64, 5.., default -1;
        record_errors: Vec<ProduceResponseRecordError>, 8..;
        error_message: Option<String>, 8.., null 8..;
        current_leader: ProduceResponseCurrentLeader, 10.., tag 0;
    }
}

message! {
    /// An element of `record_errors` in [`ProduceResponsePartition`].
    pub struct ProduceResponseRecordError {
        batch_index: i32, 8..;
        batch_index_error_message: Option<String>, 8.., null 8..;
    }
}

message! {
    /// The `current_leader` of a [`ProduceResponsePartition`].
    pub struct ProduceResponseCurrentLeader {
        leader_id: NodeId, 10.., default NodeId(-1);
        leader_epoch: LeaderEpoch, 10.., default LeaderEpoch(-1);
    }
}

message! {
    /// An element of `node_endpoints` in [`ProduceResponse`].
    pub struct ProduceResponseNodeEndpoint {
        node_id: NodeId, 10.., default NodeId(0);
        host: String, 10..;
        port: i32, 10..;
        rack: Option<String>, 10.., null 10..;
    }
}
