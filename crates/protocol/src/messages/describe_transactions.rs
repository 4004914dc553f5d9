//! `DescribeTransactions` (key 65): the state of transactions. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{PartitionId, ProducerEpoch, ProducerId};

message! {
    /// The request `DescribeTransactions`.
    pub struct DescribeTransactionsRequest {
        transactional_ids: Vec<String>, 0..;
    }
}

message! {
    /// The response `DescribeTransactions`.
    pub struct DescribeTransactionsResponse {
        throttle_time_ms: i32, 0..;
        transaction_states: Vec<DescribeTransactionsResponseTransaction>, 0..;
    }
}

message! {
    /// An element of `transaction_states` in [`DescribeTransactionsResponse`].
    pub struct DescribeTransactionsResponseTransaction {
        error_code: ErrorCode, 0..;
        transactional_id: String, 0..;
        transaction_state: String, 0..;
        transaction_timeout_ms: i32, 0..;
        transaction_start_time_ms: i64, 0..;
        producer_id: ProducerId, 0.., default ProducerId(0);
        producer_epoch: ProducerEpoch, 0.., default ProducerEpoch(0);
        topics: Vec<DescribeTransactionsResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`DescribeTransactionsResponseTransaction`].
    pub struct DescribeTransactionsResponseTopic {
        topic: String, 0..;
        partitions: Vec<PartitionId>, 0..;
    }
}
