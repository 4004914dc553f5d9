//! `Heartbeat` (key 12): staying a member of a group. Field tables only.

use crate::error_code::ErrorCode;

message! {
    /// The request `Heartbeat`.
    pub struct HeartbeatRequest {
        group_id: String, 0..;
        generation_id: i32, 0..;
        member_id: String, 0..;
        group_instance_id: Option<String>, 3.., null 3..;
    }
}

message! {
    /// The response `Heartbeat`.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
    }
}
