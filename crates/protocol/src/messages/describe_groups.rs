//! `DescribeGroups` (key 15): the state of groups. Field tables only.

use bytes::Bytes;

use crate::error_code::ErrorCode;

message! {
    /// The request `DescribeGroups`.
    pub struct DescribeGroupsRequest {
        groups: Vec<String>, 0..;
        include_authorized_operations: bool, 3..;
    }
}

message! {
    /// The response `DescribeGroups`.
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32, 1..;
        groups: Vec<DescribeGroupsResponseGroup>, 0..;
    }
}

message! {
    /// An element of `groups` in [`DescribeGroupsResponse`].
    pub struct DescribeGroupsResponseGroup {
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 6.., null 6..;
        group_id: String, 0..;
        group_state: String, 0..;
        protocol_type: String, 0..;
        protocol_data: String, 0..;
        members: Vec<DescribeGroupsResponseMember>, 0..;
        authorized_operations: i32, 3.., default i32::MIN;
    }
}

message! {
    /// An element of `members` in [`DescribeGroupsResponseGroup`].
    pub struct DescribeGroupsResponseMember {
        member_id: String, 0..;
        group_instance_id: Option<String>, 4.., null 4..;
        client_id: String, 0..;
        client_host: String, 0..;
        member_metadata: Bytes, 0..;
        member_assignment: Bytes, 0..;
    }
}
