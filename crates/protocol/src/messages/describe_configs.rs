//! `DescribeConfigs` (key 32): the configuration of topics and brokers. Field tables only.

use crate::error_code::ErrorCode;

message! {
    /// The request `DescribeConfigs`.
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsRequestResource>, 0..;
        include_synonyms: bool, 1..;
        include_documentation: bool, 3..;
    }
}

message! {
    /// An element of `resources` in [`DescribeConfigsRequest`].
    pub struct DescribeConfigsRequestResource {
        resource_type: i8, 0..;
        resource_name: String, 0..;
        configuration_keys: Option<Vec<String>>, 0.., null 0.., default Some(Vec::new());
    }
}

message! {
    /// The response `DescribeConfigs`.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<DescribeConfigsResponseResource>, 0..;
    }
}

message! {
    /// An element of `results` in [`DescribeConfigsResponse`].
    pub struct DescribeConfigsResponseResource {
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 0.., null 0.., default Some(String::new());
        resource_type: i8, 0..;
        resource_name: String, 0..;
        configs: Vec<DescribeConfigsResponseConfig>, 0..;
    }
}

message! {
    /// An element of `configs` in [`DescribeConfigsResponseResource`].
    pub struct DescribeConfigsResponseConfig {
        name: String, 0..;
        value: Option<String>, 0.., null 0.., default Some(String::new());
        read_only: bool, 0..;
        config_source: i8, 1.., default -1;
        is_sensitive: bool, 0..;
        synonyms: Vec<DescribeConfigsResponseSynonym>, 1..;
        config_type: i8, 3..;
        documentation: Option<String>, 3.., null 3.., default Some(String::new());
    }
}

message! {
    /// An element of `synonyms` in [`DescribeConfigsResponseConfig`].
    pub struct DescribeConfigsResponseSynonym {
        name: String, 1..;
        value: Option<String>, 1.., null 1.., default Some(String::new());
        source: i8, 1..;
    }
}
