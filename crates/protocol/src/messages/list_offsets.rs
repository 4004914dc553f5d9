//! `ListOffsets` (key 2): finding offsets by time or by position. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, NodeId, PartitionId};

message! {
    /// The request `ListOffsets`.
    pub struct ListOffsetsRequest {
        replica_id: NodeId, 0.., default NodeId(0);
        isolation_level: i8, 2..;
        topics: Vec<ListOffsetsRequestTopic>, 0..;
        timeout_ms: i32, 10..;
    }
}

message! {
    /// An element of `topics` in [`ListOffsetsRequest`].
    pub struct ListOffsetsRequestTopic {
        name: String, 0..;
        partitions: Vec<ListOffsetsRequestPartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`ListOffsetsRequestTopic`].
    pub struct ListOffsetsRequestPartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        current_leader_epoch: LeaderEpoch, 4.., default LeaderEpoch(-1);
        timestamp: i64, 0..;
    }
}

message! {
    /// The response `ListOffsets`.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32, 2..;
        topics: Vec<ListOffsetsResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`ListOffsetsResponse`].
    pub struct ListOffsetsResponseTopic {
        name: String, 0..;
        partitions: Vec<ListOffsetsResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`ListOffsetsResponseTopic`].
    pub struct ListOffsetsResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
        timestamp: i64, 1.., default -1;
        offset: i64, 1.., default -1;
        leader_epoch: LeaderEpoch, 4.., default LeaderEpoch(-1);
    }
}
