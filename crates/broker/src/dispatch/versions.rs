//! ApiVersions: what this node serves (B-8 to B-11).

use kommit_protocol::api::{ApiKey, VersionRange};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::NodeId;

use super::Context;
use crate::core::World;
use crate::messages::SERVED;

/// Produce is advertised from 0, though nothing below 3 is served (B-8, KIP-896).
const ADVERTISED_PRODUCE_MIN: i16 = 0;
const METADATA_VERSION: &str = "metadata.version";
/// The level that Kafka 4.3 finalises.
const METADATA_VERSION_LEVELS: (i16, i16) = (7, 30);
const TRANSACTION_VERSION: &str = "transaction.version";
const TRANSACTION_VERSION_MAX: i16 = 2;

/// The versions of `api` that `node` serves, after its overrides (B-11).
pub(crate) fn served_range(world: &World, node: NodeId, api: ApiKey) -> Option<VersionRange> {
    let (_, full) = SERVED.iter().find(|(served, _)| *served == api)?;
    let overrides = &world.config.version_overrides;
    match overrides
        .get(&(Some(node), api))
        .or_else(|| overrides.get(&(None, api)))
    {
        Some(None) => None,
        Some(Some(narrowed)) => full.intersect(*narrowed),
        None => Some(*full),
    }
}

/// Answers ApiVersions of a version that is served.
pub(super) fn describe(
    world: &World,
    context: &Context<'_>,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    if context.version >= 3
        && !(is_legal(&request.client_software_name) && is_legal(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest,
            ..Default::default()
        };
    }
    let level = world.cluster.view().transaction_version.level();
    let mut response = ApiVersionsResponse {
        api_keys: served_apis(world, context.node),
        finalized_features_epoch: world.cluster.features_epoch(),
        supported_features: vec![supported(METADATA_VERSION, METADATA_VERSION_LEVELS)],
        finalized_features: vec![finalized(METADATA_VERSION, METADATA_VERSION_LEVELS.1)],
        ..Default::default()
    };
    if context.version >= 4 {
        response
            .supported_features
            .push(supported(TRANSACTION_VERSION, (0, TRANSACTION_VERSION_MAX)));
    }
    if level > 0 {
        response
            .finalized_features
            .push(finalized(TRANSACTION_VERSION, level));
    }
    response
}

/// B-9: the answer to a version that is not served, in the layout of version 0.
pub(crate) fn unsupported(world: &World, node: NodeId) -> ApiVersionsResponse {
    let mut api_keys = served_apis(world, node);
    api_keys.retain(|api| api.api_key == ApiKey::ApiVersions.code());
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys,
        ..Default::default()
    }
}

fn served_apis(world: &World, node: NodeId) -> Vec<ApiVersionsResponseApi> {
    let ranges = SERVED.iter().filter_map(|(api, full)| {
        let range = served_range(world, node, *api)?;
        let is_produce = *api == ApiKey::Produce && range.min == full.min;
        let min_version = if is_produce {
            ADVERTISED_PRODUCE_MIN
        } else {
            range.min
        };
        Some(ApiVersionsResponseApi {
            api_key: api.code(),
            min_version,
            max_version: range.max,
        })
    });
    ranges.collect()
}

fn supported(name: &str, (min_version, max_version): (i16, i16)) -> ApiVersionsResponseSupportedFeature {
    ApiVersionsResponseSupportedFeature {
        name: name.to_owned(),
        min_version,
        max_version,
    }
}

fn finalized(name: &str, level: i16) -> ApiVersionsResponseFinalizedFeature {
    ApiVersionsResponseFinalizedFeature {
        name: name.to_owned(),
        max_version_level: level,
        min_version_level: level,
    }
}

/// KIP-511: letters and digits, inside them also dash and dot.
fn is_legal(text: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge)
        && bytes
            .iter()
            .all(|byte| is_edge(byte) || matches!(byte, b'-' | b'.'))
}
