//! DescribeConfigs: the topic settings that this broker honours, and a few broker settings that tools ask for.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;

use crate::core::World;

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
/// Where a setting comes from: the defaults.
pub(super) const SOURCE_DEFAULT: i8 = 5;

/// Answers DescribeConfigs.
pub(super) fn describe(world: &World, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let (error_code, settings) = match settings_of(world, resource) {
            Ok(settings) => (ErrorCode::None, settings),
            Err(code) => (code, Vec::new()),
        };
        let is_wanted = |name: &str| {
            resource
                .configuration_keys
                .as_ref()
                .is_none_or(|keys| keys.iter().any(|key| key == name))
        };
        let configs = settings
            .into_iter()
            .filter(|(name, _)| is_wanted(name))
            .map(described);
        DescribeConfigsResponseResource {
            error_code,
            error_message: None,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: configs.collect(),
        }
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

fn settings_of(
    world: &World,
    resource: &DescribeConfigsRequestResource,
) -> Result<Vec<(&'static str, String)>, ErrorCode> {
    match resource.resource_type {
        RESOURCE_TOPIC => {
            let topic = world
                .cluster
                .topic(&resource.resource_name)
                .ok_or(ErrorCode::UnknownTopicOrPartition)?;
            Ok(topic.config.entries())
        }
        RESOURCE_BROKER => Ok(broker_settings(world)),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

fn broker_settings(world: &World) -> Vec<(&'static str, String)> {
    let config = &world.config;
    let max_timeout = config.coordinator.transaction_max_timeout.as_millis();
    vec![
        ("num.partitions", config.default_partitions.to_string()),
        ("socket.request.max.bytes", config.max_frame_bytes.to_string()),
        ("transaction.max.timeout.ms", max_timeout.to_string()),
        (
            "producer.id.expiration.ms",
            config.producer_id_expiration.as_millis().to_string(),
        ),
    ]
}

fn described((name, value): (&'static str, String)) -> DescribeConfigsResponseConfig {
    DescribeConfigsResponseConfig {
        name: name.to_owned(),
        value: Some(value),
        read_only: false,
        config_source: SOURCE_DEFAULT,
        documentation: None,
        ..Default::default()
    }
}
