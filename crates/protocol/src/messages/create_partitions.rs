//! `CreatePartitions` (key 37): adding partitions to topics. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::NodeId;

message! {
    /// The request `CreatePartitions`.
    pub struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsRequestTopic>, 0..;
        timeout_ms: i32, 0..;
        validate_only: bool, 0..;
    }
}

message! {
    /// An element of `topics` in [`CreatePartitionsRequest`].
    pub struct CreatePartitionsRequestTopic {
        name: String, 0..;
        count: i32, 0..;
        assignments: Option<Vec<CreatePartitionsRequestAssignment>>, 0.., null 0.., default Some(Vec::new());
    }
}

message! {
    /// An element of `assignments` in [`CreatePartitionsRequestTopic`].
    pub struct CreatePartitionsRequestAssignment {
        broker_ids: Vec<NodeId>, 0..;
    }
}

message! {
    /// The response `CreatePartitions`.
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<CreatePartitionsResponseTopic>, 0..;
    }
}

message! {
    /// An element of `results` in [`CreatePartitionsResponse`].
    pub struct CreatePartitionsResponseTopic {
        name: String, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 0.., null 0..;
    }
}
