//! `OffsetFetch` (key 9): reading a group's offsets. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, PartitionId, TopicId};

message! {
    /// The request `OffsetFetch`.
    pub struct OffsetFetchRequest {
        group_id: String, 0..=7;
        topics: Option<Vec<OffsetFetchRequestTopic>>, 0..=7, null 2..=7, default Some(Vec::new());
        groups: Vec<OffsetFetchRequestGroup>, 8..;
        require_stable: bool, 7..;
    }
}

message! {
    /// An element of `topics` in [`OffsetFetchRequest`].
    pub struct OffsetFetchRequestTopic {
        name: String, 0..=9;
        topic_id: TopicId, 10..;
        partition_indexes: Vec<PartitionId>, 0..;
    }
}

message! {
    /// An element of `groups` in [`OffsetFetchRequest`].
    pub struct OffsetFetchRequestGroup {
        group_id: String, 8..;
        member_id: Option<String>, 9.., null 9..;
        member_epoch: i32, 9.., default -1;
        topics: Option<Vec<OffsetFetchRequestTopic>>, 8.., null 8.., default Some(Vec::new());
    }
}

message! {
    /// The response `OffsetFetch`.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetFetchResponseTopic>, 0..=7;
        error_code: ErrorCode, 2..=7;
        groups: Vec<OffsetFetchResponseGroup>, 8..;
    }
}

message! {
    /// An element of `topics` in [`OffsetFetchResponse`].
    pub struct OffsetFetchResponseTopic {
        name: String, 0..=9;
        topic_id: TopicId, 10..;
        partitions: Vec<OffsetFetchResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`OffsetFetchResponseTopic`].
    pub struct OffsetFetchResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        committed_offset: i64, 0..;
        committed_leader_epoch: LeaderEpoch, 5.., default LeaderEpoch(-1);
        metadata: Option<String>, 0.., null 0.., default Some(String::new());
        error_code: ErrorCode, 0..;
    }
}

message! {
    /// An element of `groups` in [`OffsetFetchResponse`].
    pub struct OffsetFetchResponseGroup {
        group_id: String, 8..;
        topics: Vec<OffsetFetchResponseTopic>, 8..;
        error_code: ErrorCode, 8..;
    }
}
