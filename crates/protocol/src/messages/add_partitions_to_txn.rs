//! `AddPartitionsToTxn` (key 24): adding partitions to a transaction. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{PartitionId, ProducerEpoch, ProducerId};

message! {
    /// The request `AddPartitionsToTxn`.
    pub struct AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnRequestTransaction>, 4..;
        v3_and_below_transactional_id: String, 0..=3;
        v3_and_below_producer_id: ProducerId, 0..=3, default ProducerId(0);
        v3_and_below_producer_epoch: ProducerEpoch, 0..=3, default ProducerEpoch(0);
        v3_and_below_topics: Vec<AddPartitionsToTxnRequestTopic>, 0..=3;
    }
}

message! {
    /// An element of `transactions` in [`AddPartitionsToTxnRequest`].
    pub struct AddPartitionsToTxnRequestTransaction {
        transactional_id: String, 4..;
        producer_id: ProducerId, 4.., default ProducerId(0);
        producer_epoch: ProducerEpoch, 4.., default ProducerEpoch(0);
        verify_only: bool, 4..;
        topics: Vec<AddPartitionsToTxnRequestTopic>, 4..;
    }
}

message! {
    /// An element of `topics` in [`AddPartitionsToTxnRequestTransaction`].
    pub struct AddPartitionsToTxnRequestTopic {
        name: String, 0..;
        partitions: Vec<PartitionId>, 0..;
    }
}

message! {
    /// The response `AddPartitionsToTxn`.
    pub struct AddPartitionsToTxnResponse {
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 4..;
        results_by_transaction: Vec<AddPartitionsToTxnResponseTransaction>, 4..;
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnResponseTopic>, 0..=3;
    }
}

message! {
    /// An element of `results_by_transaction` in [`AddPartitionsToTxnResponse`].
    pub struct AddPartitionsToTxnResponseTransaction {
        transactional_id: String, 4..;
        topic_results: Vec<AddPartitionsToTxnResponseTopic>, 4..;
    }
}

message! {
    /// An element of `topic_results` in [`AddPartitionsToTxnResponseTransaction`].
    pub struct AddPartitionsToTxnResponseTopic {
        name: String, 0..;
        results_by_partition: Vec<AddPartitionsToTxnResponsePartition>, 0..;
    }
}

message! {
    /// An element of `results_by_partition` in [`AddPartitionsToTxnResponseTopic`].
    pub struct AddPartitionsToTxnResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        partition_error_code: ErrorCode, 0..;
    }
}
