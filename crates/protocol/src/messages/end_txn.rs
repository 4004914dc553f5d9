//! `EndTxn` (key 26): committing or aborting a transaction. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{ProducerEpoch, ProducerId};

message! {
    /// The request `EndTxn`.
    pub struct EndTxnRequest {
        transactional_id: String, 0..;
        producer_id: ProducerId, 0.., default ProducerId(0);
        producer_epoch: ProducerEpoch, 0.., default ProducerEpoch(0);
        committed: bool, 0..;
    }
}

message! {
    /// The response `EndTxn`.
    pub struct EndTxnResponse {
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        producer_id: ProducerId, 5.., default ProducerId::NONE;
        producer_epoch: ProducerEpoch, 5.., default ProducerEpoch::NONE;
    }
}
