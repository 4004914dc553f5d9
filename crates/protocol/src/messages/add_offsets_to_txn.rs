//! `AddOffsetsToTxn` (key 25): adding a group's offsets to a transaction. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{ProducerEpoch, ProducerId};

message! {
    /// The request `AddOffsetsToTxn`.
    pub struct AddOffsetsToTxnRequest {
        transactional_id: String, 0..;
        producer_id: ProducerId, 0.., default ProducerId(0);
        producer_epoch: ProducerEpoch, 0.., default ProducerEpoch(0);
        group_id: String, 0..;
    }
}

message! {
    /// The response `AddOffsetsToTxn`.
    pub struct AddOffsetsToTxnResponse {
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
    }
}
