//! `SaslAuthenticate` (key 36): exchanging SASL tokens. Field tables only.

use bytes::Bytes;

use crate::error_code::ErrorCode;

message! {
    /// The request `SaslAuthenticate`.
    pub struct SaslAuthenticateRequest {
        auth_bytes: Bytes, 0..;
    }
}

message! {
    /// The response `SaslAuthenticate`.
    pub struct SaslAuthenticateResponse {
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 0.., null 0.., default Some(String::new());
        auth_bytes: Bytes, 0..;
        session_lifetime_ms: i64, 1..;
    }
}
