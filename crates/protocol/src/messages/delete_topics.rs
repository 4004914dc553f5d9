//! `DeleteTopics` (key 20): deleting topics. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::TopicId;

message! {
    /// The request `DeleteTopics`.
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicsRequestTopic>, 6..;
        topic_names: Vec<String>, 0..=5;
        timeout_ms: i32, 0..;
    }
}

message! {
    /// An element of `topics` in [`DeleteTopicsRequest`].
    pub struct DeleteTopicsRequestTopic {
        name: Option<String>, 6.., null 6..;
        topic_id: TopicId, 6..;
    }
}

message! {
    /// The response `DeleteTopics`.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32, 1..;
        responses: Vec<DeleteTopicsResponseTopic>, 0..;
    }
}

message! {
    /// An element of `responses` in [`DeleteTopicsResponse`].
    pub struct DeleteTopicsResponseTopic {
        name: Option<String>, 0.., null 6.., default Some(String::new());
        topic_id: TopicId, 6..;
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 5.., null 5..;
    }
}
