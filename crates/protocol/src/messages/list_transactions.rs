//! `ListTransactions` (key 66): which transactions there are. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::ProducerId;

message! {
    /// The request `ListTransactions`.
    pub struct ListTransactionsRequest {
        state_filters: Vec<String>, 0..;
        producer_id_filters: Vec<ProducerId>, 0..;
        duration_filter: i64, 1.., default -1;
        transactional_id_pattern: Option<String>, 2.., null 2..;
    }
}

message! {
    /// The response `ListTransactions`.
    pub struct ListTransactionsResponse {
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        unknown_state_filters: Vec<String>, 0..;
        transaction_states: Vec<ListTransactionsResponseTransaction>, 0..;
    }
}

message! {
    /// An element of `transaction_states` in [`ListTransactionsResponse`].
    pub struct ListTransactionsResponseTransaction {
        transactional_id: String, 0..;
        producer_id: ProducerId, 0.., default ProducerId(0);
        transaction_state: String, 0..;
    }
}
