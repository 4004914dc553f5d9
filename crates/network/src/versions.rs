//! Which version of a request both sides understand (N-39, N-41), and which features the cluster has settled on (T-33).
//!
//! Knows what one broker said; never asks it.

use std::collections::BTreeMap;

use kommit_protocol::api::{ApiKey, VersionRange};
use kommit_protocol::messages::ApiVersionsResponse;

/// What a broker said about itself in its ApiVersions response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeApiVersions {
    ranges: BTreeMap<ApiKey, VersionRange>,
}

/// The finalised features of the cluster: the answer with the highest epoch of all brokers (T-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedFeatures {
    /// Grows with every change of a feature level; never negative.
    pub epoch: i64,
    /// The level of `transaction.version`; 0 when the cluster does not name it.
    pub transaction_version: i16,
}

/// The versions that a sender accepts for one request, within those that the client knows at all.
///
/// `None` is no limit, `Some(n)` is "at most n": `send` takes either directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionLimits {
    /// The lowest version that can say what the sender means.
    pub min: Option<i16>,
    /// The highest version that the sender wants, for example under transaction version 1 (Annex B).
    pub max: Option<i16>,
}

impl VersionLimits {
    /// No limit.
    pub const ANY: Self = Self { min: None, max: None };

    /// At least this version.
    pub const fn at_least(min: i16) -> Self {
        Self {
            min: Some(min),
            max: None,
        }
    }

    /// At most this version.
    pub const fn at_most(max: i16) -> Self {
        Self {
            min: None,
            max: Some(max),
        }
    }

    fn narrow(self, range: VersionRange) -> VersionRange {
        VersionRange::new(
            self.min.unwrap_or(range.min).max(range.min),
            self.max.unwrap_or(range.max).min(range.max),
        )
    }
}

impl From<Option<i16>> for VersionLimits {
    fn from(max: Option<i16>) -> Self {
        Self { min: None, max }
    }
}

impl NodeApiVersions {
    /// The ranges of a response. Keys that we do not know are left out (N-40); so are ranges that end before they begin, which is
    /// as if the broker did not know the request.
    pub fn new(response: &ApiVersionsResponse) -> Self {
        let known = response.api_keys.iter().filter_map(|api| {
            let key = ApiKey::from_code(api.api_key)?;
            let range = VersionRange::new(api.min_version, api.max_version);
            (range.min <= range.max).then_some((key, range))
        });
        Self {
            ranges: known.collect(),
        }
    }

    /// The versions that the broker understands, or `None` when it does not know the request.
    pub fn range(&self, key: ApiKey) -> Option<VersionRange> {
        self.ranges.get(&key).copied()
    }

    /// The highest version that the broker, this client and the sender have in common; else a sentence about all three (N-41).
    pub fn choose(&self, key: ApiKey, limits: VersionLimits) -> Result<i16, String> {
        let Some(client) = key.client_range() else {
            return Err(format!("{key} is not a request of a producer"));
        };
        let wanted = limits.narrow(client);
        let Some(broker) = self.range(key) else {
            return Err(format!("the broker does not know {key}"));
        };
        match wanted.intersect(broker) {
            Some(common) if wanted.min <= wanted.max => Ok(common.max),
            _ => Err(format!(
                "{key}: the broker has versions {broker}, this client needs one of {wanted}"
            )),
        }
    }
}

impl FinalizedFeatures {
    /// The features of a response, or `None` when the broker does not know them (epoch −1).
    pub fn new(response: &ApiVersionsResponse) -> Option<Self> {
        let mut features = response.finalized_features.iter();
        let transaction_version = features.find(|feature| feature.name == "transaction.version");
        (response.finalized_features_epoch >= 0).then_some(Self {
            epoch: response.finalized_features_epoch,
            transaction_version: transaction_version.map_or(0, |feature| feature.max_version_level),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kommit_protocol::messages::{ApiVersionsResponseApi, ApiVersionsResponseFinalizedFeature};

    fn versions(ranges: &[(i16, i16, i16)]) -> NodeApiVersions {
        let api = |&(api_key, min_version, max_version): &(i16, i16, i16)| ApiVersionsResponseApi {
            api_key,
            min_version,
            max_version,
        };
        NodeApiVersions::new(&ApiVersionsResponse {
            api_keys: ranges.iter().map(api).collect(),
            ..ApiVersionsResponse::default()
        })
    }

    /// N-39: the highest version that both sides know; Annex B: a cap narrows what is offered.
    #[test]
    fn the_highest_common_version_is_chosen() {
        let broker = versions(&[(0, 0, 11), (26, 0, 9)]);
        assert_eq!(broker.choose(ApiKey::Produce, VersionLimits::ANY), Ok(11));
        assert_eq!(broker.choose(ApiKey::EndTxn, VersionLimits::ANY), Ok(5));
        assert_eq!(broker.choose(ApiKey::EndTxn, Some(4).into()), Ok(4));
        assert_eq!(
            versions(&[(24, 0, 5)]).choose(ApiKey::AddPartitionsToTxn, VersionLimits::ANY),
            Ok(3)
        );
    }

    /// N-41: no common version, an unknown request, or a request that cannot be said in so old a version.
    #[test]
    fn a_mismatch_names_both_sides() {
        let broker = versions(&[(0, 12, 13), (28, 0, 2)]);
        assert_eq!(
            broker.choose(ApiKey::Produce, Some(11).into()),
            Err("Produce: the broker has versions 12-13, this client needs one of 3-11".to_owned())
        );
        assert_eq!(
            broker.choose(ApiKey::TxnOffsetCommit, VersionLimits::at_least(3)),
            Err("TxnOffsetCommit: the broker has versions 0-2, this client needs one of 3-5".to_owned())
        );
        assert!(
            broker
                .choose(ApiKey::EndTxn, VersionLimits::ANY)
                .is_err_and(|text| text.contains("does not know"))
        );
    }

    /// N-40, malicious broker suite: unknown keys and inverted ranges.
    #[test]
    fn keys_nobody_knows_and_inverted_ranges_are_left_out() {
        let broker = versions(&[(i16::MAX, 0, 3), (-7, 0, 3), (0, 11, 3)]);
        assert_eq!(broker, NodeApiVersions::default());
    }

    /// T-33: epoch −1 means that the broker does not know the features.
    #[test]
    fn features_count_only_with_an_epoch() {
        let feature = ApiVersionsResponseFinalizedFeature {
            name: "transaction.version".to_owned(),
            max_version_level: 2,
            min_version_level: 0,
        };
        let mut response = ApiVersionsResponse {
            finalized_features: vec![feature],
            ..ApiVersionsResponse::default()
        };
        assert_eq!(FinalizedFeatures::new(&response), None);
        response.finalized_features_epoch = 5;
        let expected = FinalizedFeatures {
            epoch: 5,
            transaction_version: 2,
        };
        assert_eq!(FinalizedFeatures::new(&response), Some(expected));
    }
}
