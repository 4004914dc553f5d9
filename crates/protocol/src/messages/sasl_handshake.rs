//! `SaslHandshake` (key 17): choosing a SASL mechanism. Field tables only.

use crate::error_code::ErrorCode;

message! {
    /// The request `SaslHandshake`.
    pub struct SaslHandshakeRequest {
        mechanism: String, 0..;
    }
}

message! {
    /// The response `SaslHandshake`.
    pub struct SaslHandshakeResponse {
        error_code: ErrorCode, 0..;
        mechanisms: Vec<String>, 0..;
    }
}
