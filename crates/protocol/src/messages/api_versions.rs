//! `ApiVersions` (key 18): which requests a broker knows, and which features the cluster has. Field tables only.

use crate::error_code::ErrorCode;

message! {
    /// The request `ApiVersions`.
    pub struct ApiVersionsRequest {
        client_software_name: String, 3..;
        client_software_version: String, 3..;
    }
}

message! {
    /// The response `ApiVersions`.
    pub struct ApiVersionsResponse {
        error_code: ErrorCode, 0..;
        api_keys: Vec<ApiVersionsResponseApi>, 0..;
        throttle_time_ms: i32, 1..;
        supported_features: Vec<ApiVersionsResponseSupportedFeature>, 3.., tag 0;
        finalized_features_epoch: i64, 3.., tag 1, default -1;
        finalized_features: Vec<ApiVersionsResponseFinalizedFeature>, 3.., tag 2;
        zk_migration_ready: bool, 3.., tag 3;
    }
}

message! {
    /// An element of `api_keys` in [`ApiVersionsResponse`].
    pub struct ApiVersionsResponseApi {
        api_key: i16, 0..;
        min_version: i16, 0..;
        max_version: i16, 0..;
    }
}

message! {
    /// An element of `supported_features` in [`ApiVersionsResponse`].
    pub struct ApiVersionsResponseSupportedFeature {
        name: String, 3..;
        min_version: i16, 3..;
        max_version: i16, 3..;
    }
}

message! {
    /// An element of `finalized_features` in [`ApiVersionsResponse`].
    pub struct ApiVersionsResponseFinalizedFeature {
        name: String, 3..;
        max_version_level: i16, 3..;
        min_version_level: i16, 3..;
    }
}
