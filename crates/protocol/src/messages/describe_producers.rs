//! `DescribeProducers` (key 61): which producers write to partitions. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{PartitionId, ProducerId};

message! {
    /// The request `DescribeProducers`.
    pub struct DescribeProducersRequest {
        topics: Vec<DescribeProducersRequestTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`DescribeProducersRequest`].
    pub struct DescribeProducersRequestTopic {
        name: String, 0..;
        partition_indexes: Vec<PartitionId>, 0..;
    }
}

message! {
    /// The response `DescribeProducers`.
    pub struct DescribeProducersResponse {
        throttle_time_ms: i32, 0..;
        topics: Vec<DescribeProducersResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`DescribeProducersResponse`].
    pub struct DescribeProducersResponseTopic {
        name: String, 0..;
        partitions: Vec<DescribeProducersResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`DescribeProducersResponseTopic`].
    pub struct DescribeProducersResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 0.., null 0..;
        active_producers: Vec<DescribeProducersResponseProducer>, 0..;
    }
}

message! {
    /// An element of `active_producers` in [`DescribeProducersResponsePartition`].
    pub struct DescribeProducersResponseProducer {
        producer_id: ProducerId, 0.., default ProducerId(0);
        producer_epoch: i32, 0..;
        last_sequence: i32, 0.., default -1;
        last_timestamp: i64, 0.., default -1;
        coordinator_epoch: i32, 0..;
        current_txn_start_offset: i64, 0.., default -1;
    }
}
