//! `FindCoordinator` (key 10): which broker coordinates a group or a transactional id. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::NodeId;

message! {
    /// The request `FindCoordinator`.
    pub struct FindCoordinatorRequest {
        key: String, 0..=3;
        key_type: i8, 1..;
        coordinator_keys: Vec<String>, 4..;
    }
}

message! {
    /// The response `FindCoordinator`.
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..=3;
        error_message: Option<String>, 1..=3, null 1..=3, default Some(String::new());
        node_id: NodeId, 0..=3, default NodeId(0);
        host: String, 0..=3;
        port: i32, 0..=3;
        coordinators: Vec<FindCoordinatorResponseCoordinator>, 4..;
    }
}

message! {
    /// An element of `coordinators` in [`FindCoordinatorResponse`].
    pub struct FindCoordinatorResponseCoordinator {
        key: String, 4..;
        node_id: NodeId, 4.., default NodeId(0);
        host: String, 4..;
        port: i32, 4..;
        error_code: ErrorCode, 4..;
        error_message: Option<String>, 4.., null 4.., default Some(String::new());
    }
}
