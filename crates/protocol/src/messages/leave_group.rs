//! `LeaveGroup` (key 13): ceasing to be a member of a group. Field tables only.

use crate::error_code::ErrorCode;

message! {
    /// The request `LeaveGroup`.
    pub struct LeaveGroupRequest {
        group_id: String, 0..;
        member_id: String, 0..=2;
        members: Vec<LeaveGroupRequestMember>, 3..;
    }
}

message! {
    /// An element of `members` in [`LeaveGroupRequest`].
    pub struct LeaveGroupRequestMember {
        member_id: String, 3..;
        group_instance_id: Option<String>, 3.., null 3..;
        reason: Option<String>, 5.., null 5..;
    }
}

message! {
    /// The response `LeaveGroup`.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
        members: Vec<LeaveGroupResponseMember>, 3..;
    }
}

message! {
    /// An element of `members` in [`LeaveGroupResponse`].
    pub struct LeaveGroupResponseMember {
        member_id: String, 3..;
        group_instance_id: Option<String>, 3.., null 3.., default Some(String::new());
        error_code: ErrorCode, 3..;
    }
}
