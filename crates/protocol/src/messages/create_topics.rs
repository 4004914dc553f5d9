//! `CreateTopics` (key 19): creating topics. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{NodeId, PartitionId, TopicId};

message! {
    /// The request `CreateTopics`.
    pub struct CreateTopicsRequest {
        topics: Vec<CreateTopicsRequestTopic>, 0..;
        timeout_ms: i32, 0.., default 60000;
        validate_only: bool, 1..;
    }
}

message! {
    /// An element of `topics` in [`CreateTopicsRequest`].
    pub struct CreateTopicsRequestTopic {
        name: String, 0..;
        num_partitions: i32, 0..;
        replication_factor: i16, 0..;
        assignments: Vec<CreateTopicsRequestAssignment>, 0..;
        configs: Vec<CreateTopicsRequestConfig>, 0..;
    }
}

message! {
    /// An element of `assignments` in [`CreateTopicsRequestTopic`].
    pub struct CreateTopicsRequestAssignment {
        partition_index: PartitionId, 0.., default PartitionId(0);
        broker_ids: Vec<NodeId>, 0..;
    }
}

message! {
    /// An element of `configs` in [`CreateTopicsRequestTopic`].
    pub struct CreateTopicsRequestConfig {
        name: String, 0..;
        value: Option<String>, 0.., null 0.., default Some(String::new());
    }
}

message! {
    /// The response `CreateTopics`.
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32, 2..;
        topics: Vec<CreateTopicsResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`CreateTopicsResponse`].
    pub struct CreateTopicsResponseTopic {
        name: String, 0..;
        topic_id: TopicId, 7..;
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 1.., null 1.., default Some(String::new());
        topic_config_error_code: ErrorCode, 5.., tag 0;
        num_partitions: i32, 5.., default -1;
        replication_factor: i16, 5.., default -1;
        configs: Option<Vec<CreateTopicsResponseConfig>>, 5.., null 5.., default Some(Vec::new());
    }
}

message! {
    /// An element of `configs` in [`CreateTopicsResponseTopic`].
    pub struct CreateTopicsResponseConfig {
        name: String, 5..;
        value: Option<String>, 5.., null 5.., default Some(String::new());
        read_only: bool, 5..;
        config_source: i8, 5.., default -1;
        is_sensitive: bool, 5..;
    }
}
