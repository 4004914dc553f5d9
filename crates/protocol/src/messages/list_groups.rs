//! `ListGroups` (key 16): which groups there are. Field tables only.

use crate::error_code::ErrorCode;

message! {
    /// The request `ListGroups`.
    pub struct ListGroupsRequest {
        states_filter: Vec<String>, 4..;
        types_filter: Vec<String>, 5..;
    }
}

message! {
    /// The response `ListGroups`.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 0..;
        groups: Vec<ListGroupsResponseGroup>, 0..;
    }
}

message! {
    /// An element of `groups` in [`ListGroupsResponse`].
    pub struct ListGroupsResponseGroup {
        group_id: String, 0..;
        protocol_type: String, 0..;
        group_state: String, 4..;
        group_type: String, 5..;
    }
}
