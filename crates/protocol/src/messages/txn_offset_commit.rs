//! `TxnOffsetCommit` (key 28): storing a group's offsets within a transaction. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, PartitionId, ProducerEpoch, ProducerId};

message! {
    /// The request `TxnOffsetCommit`.
    pub struct TxnOffsetCommitRequest {
        transactional_id: String, 0..;
        group_id: String, 0..;
        producer_id: ProducerId, 0.., default ProducerId(0);
        producer_epoch: ProducerEpoch, 0.., default ProducerEpoch(0);
        generation_id: i32, 3.., default -1;
        member_id: String, 3..;
        group_instance_id: Option<String>, 3.., null 3..;
        topics: Vec<TxnOffsetCommitRequestTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`TxnOffsetCommitRequest`].
    pub struct TxnOffsetCommitRequestTopic {
        name: String, 0..;
        partitions: Vec<TxnOffsetCommitRequestPartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`TxnOffsetCommitRequestTopic`].
    pub struct TxnOffsetCommitRequestPartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        committed_offset: i64, 0..;
        committed_leader_epoch: LeaderEpoch, 2.., default LeaderEpoch(-1);
        committed_metadata: Option<String>, 0.., null 0.., default Some(String::new());
    }
}

message! {
    /// The response `TxnOffsetCommit`.
    pub struct TxnOffsetCommitResponse {
        throttle_time_ms: i32, 0..;
        topics: Vec<TxnOffsetCommitResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`TxnOffsetCommitResponse`].
    pub struct TxnOffsetCommitResponseTopic {
        name: String, 0..;
        partitions: Vec<TxnOffsetCommitResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`TxnOffsetCommitResponseTopic`].
    pub struct TxnOffsetCommitResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
    }
}
