//! `DeleteRecords` (key 21): deleting records before an offset. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::PartitionId;

message! {
    /// The request `DeleteRecords`.
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsRequestTopic>, 0..;
        timeout_ms: i32, 0..;
    }
}

message! {
    /// An element of `topics` in [`DeleteRecordsRequest`].
    pub struct DeleteRecordsRequestTopic {
        name: String, 0..;
        partitions: Vec<DeleteRecordsRequestPartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`DeleteRecordsRequestTopic`].
    pub struct DeleteRecordsRequestPartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        offset: i64, 0..;
    }
}

message! {
    /// The response `DeleteRecords`.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32, 0..;
        topics: Vec<DeleteRecordsResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`DeleteRecordsResponse`].
    pub struct DeleteRecordsResponseTopic {
        name: String, 0..;
        partitions: Vec<DeleteRecordsResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`DeleteRecordsResponseTopic`].
    pub struct DeleteRecordsResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        low_watermark: i64, 0..;
        error_code: ErrorCode, 0..;
    }
}
