//! `SyncGroup` (key 14): distributing the assignment within a group. Field tables only.

use bytes::Bytes;

use crate::error_code::ErrorCode;

message! {
    /// The request `SyncGroup`.
    pub struct SyncGroupRequest {
        group_id: String, 0..;
        generation_id: i32, 0..;
        member_id: String, 0..;
        group_instance_id: Option<String>, 3.., null 3..;
        protocol_type: Option<String>, 5.., null 5..;
        protocol_name: Option<String>, 5.., null 5..;
        assignments: Vec<SyncGroupRequestAssignment>, 0..;
    }
}

message! {
    /// An element of `assignments` in [`SyncGroupRequest`].
    pub struct SyncGroupRequestAssignment {
        member_id: String, 0..;
        assignment: Bytes, 0..;
    }
}

message! {
    /// The response `SyncGroup`.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
        protocol_type: Option<String>, 5.., null 5..;
        protocol_name: Option<String>, 5.., null 5..;
        assignment: Bytes, 0..;
    }
}
