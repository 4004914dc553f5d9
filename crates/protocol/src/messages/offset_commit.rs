//! `OffsetCommit` (key 8): storing a group's offsets. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, PartitionId, TopicId};

message! {
    /// The request `OffsetCommit`.
    pub struct OffsetCommitRequest {
        group_id: String, 0..;
        generation_id_or_member_epoch: i32, 1.., default -1;
        member_id: String, 1..;
        group_instance_id: Option<String>, 7.., null 7..;
        retention_time_ms: i64, 2..=4, default -1;
        topics: Vec<OffsetCommitRequestTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`OffsetCommitRequest`].
    pub struct OffsetCommitRequestTopic {
        name: String, 0..=9;
        topic_id: TopicId, 10..;
        partitions: Vec<OffsetCommitRequestPartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`OffsetCommitRequestTopic`].
    pub struct OffsetCommitRequestPartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        committed_offset: i64, 0..;
        committed_leader_epoch: LeaderEpoch, 6.., default LeaderEpoch(-1);
        committed_metadata: Option<String>, 0.., null 0.., default Some(String::new());
    }
}

message! {
    /// The response `OffsetCommit`.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetCommitResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`OffsetCommitResponse`].
    pub struct OffsetCommitResponseTopic {
        name: String, 0..=9;
        topic_id: TopicId, 10..;
        partitions: Vec<OffsetCommitResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`OffsetCommitResponseTopic`].
    pub struct OffsetCommitResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
    }
}
