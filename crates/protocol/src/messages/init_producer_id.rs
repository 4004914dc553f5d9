//! `InitProducerId` (key 22): getting a producer id and an epoch. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{ProducerEpoch, ProducerId};

message! {
    /// The request `InitProducerId`.
    pub struct InitProducerIdRequest {
        transactional_id: Option<String>, 0.., null 0.., default Some(String::new());
        transaction_timeout_ms: i32, 0..;
        producer_id: ProducerId, 3.., default ProducerId::NONE;
        producer_epoch: ProducerEpoch, 3.., default ProducerEpoch::NONE;
    }
}

message! {
    /// The response `InitProducerId`.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        producer_id: ProducerId, 0.., default ProducerId::NONE;
        producer_epoch: ProducerEpoch, 0.., default ProducerEpoch(0);
    }
}
