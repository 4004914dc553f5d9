//! Which requests exist, in which versions, and which answer belongs to which request.
//!
//! What a request contains is in [`crate::messages`]; which version is chosen for a broker is decided by the network crate.

use std::fmt;

use crate::wire::{Field, Version};

/// A request message: its key and the type of its answer.
pub trait Request: Field {
    /// The key that names the request in its header.
    const KEY: ApiKey;
    /// What the broker answers with.
    type Response: Response;
}

/// A response message.
pub trait Response: Field {}

/// Versions from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl VersionRange {
    /// The versions from `min` to `max`.
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// The versions in both ranges, or `None` when there is none.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let both = Self {
            min: self.min.max(other.min),
            max: self.max.min(other.max),
        };
        (both.min <= both.max).then_some(both)
    }

    /// Whether `version` is in the range.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

macro_rules! api_keys {
    ($($name:ident = $code:literal, $min:literal..=$max:literal, flexible $flexible:expr;)*) => {
        /// The requests that this crate can write and read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("`", stringify!($name), "`, key ", stringify!($code), ".")] $name = $code,)*
        }

        impl ApiKey {
            /// Every request, in the order of the keys.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name,)*];

            /// The request with this key, or `None` for one that this crate does not know.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The versions that this crate can write and read.
            pub const fn supported(self) -> VersionRange {
                match self {
                    $(ApiKey::$name => VersionRange::new($min, $max),)*
                }
            }

            /// The first flexible version (KIP-482), or `None` when no version is.
            pub const fn flexible_from(self) -> Option<i16> {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }

            /// Kafka's name of the request.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }
        }
    };
}

api_keys! {
    Produce = 0, 3..=13, flexible Some(9);
    Fetch = 1, 4..=18, flexible Some(12);
    ListOffsets = 2, 1..=11, flexible Some(6);
    Metadata = 3, 0..=13, flexible Some(9);
    OffsetCommit = 8, 2..=10, flexible Some(8);
    OffsetFetch = 9, 1..=10, flexible Some(6);
    FindCoordinator = 10, 0..=6, flexible Some(3);
    JoinGroup = 11, 0..=9, flexible Some(6);
    Heartbeat = 12, 0..=4, flexible Some(4);
    LeaveGroup = 13, 0..=5, flexible Some(4);
    SyncGroup = 14, 0..=5, flexible Some(4);
    DescribeGroups = 15, 0..=6, flexible Some(5);
    ListGroups = 16, 0..=5, flexible Some(3);
    SaslHandshake = 17, 0..=1, flexible None;
    ApiVersions = 18, 0..=4, flexible Some(3);
    CreateTopics = 19, 2..=7, flexible Some(5);
    DeleteTopics = 20, 1..=6, flexible Some(4);
    DeleteRecords = 21, 0..=2, flexible Some(2);
    InitProducerId = 22, 0..=5, flexible Some(2);
    AddPartitionsToTxn = 24, 0..=5, flexible Some(3);
    AddOffsetsToTxn = 25, 0..=4, flexible Some(3);
    EndTxn = 26, 0..=5, flexible Some(3);
    WriteTxnMarkers = 27, 1..=2, flexible Some(1);
    TxnOffsetCommit = 28, 0..=5, flexible Some(3);
    DescribeConfigs = 32, 1..=4, flexible Some(4);
    SaslAuthenticate = 36, 0..=2, flexible Some(2);
    CreatePartitions = 37, 0..=3, flexible Some(2);
    DescribeCluster = 60, 0..=2, flexible Some(0);
    DescribeProducers = 61, 0..=0, flexible Some(0);
    DescribeTransactions = 65, 0..=0, flexible Some(0);
    ListTransactions = 66, 0..=2, flexible Some(0);
}

impl ApiKey {
    /// The number that names the request in its header.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The layout of this request, and of its response, in version `number`.
    pub fn version(self, number: i16) -> Version {
        Version {
            number,
            flexible: self.flexible_from().is_some_and(|first| number >= first),
        }
    }

    /// The versions that the producer uses (Annex B), or `None` for a request that it never sends.
    pub fn client_range(self) -> Option<VersionRange> {
        CLIENT_RANGES
            .iter()
            .find(|(key, _)| *key == self)
            .map(|(_, range)| *range)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The requests of the producer and the versions in which it uses them (Annex B).
pub const CLIENT_RANGES: [(ApiKey, VersionRange); 12] = [
    (ApiKey::Produce, VersionRange::new(3, 13)),
    (ApiKey::Metadata, VersionRange::new(0, 13)),
    (ApiKey::FindCoordinator, VersionRange::new(0, 6)),
    (ApiKey::SaslHandshake, VersionRange::new(0, 1)),
    (ApiKey::ApiVersions, VersionRange::new(0, 4)),
    (ApiKey::InitProducerId, VersionRange::new(0, 5)),
    (ApiKey::AddPartitionsToTxn, VersionRange::new(0, 3)),
    (ApiKey::AddOffsetsToTxn, VersionRange::new(0, 4)),
    (ApiKey::EndTxn, VersionRange::new(0, 5)),
    (ApiKey::TxnOffsetCommit, VersionRange::new(0, 5)),
    (ApiKey::SaslAuthenticate, VersionRange::new(0, 2)),
    // Not in the annex: asked about a commit in doubt (R8).
    (ApiKey::DescribeTransactions, VersionRange::new(0, 0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// N-39: the versions that both sides know.
    #[test]
    fn two_ranges_meet_in_their_common_versions() {
        let ours = VersionRange::new(3, 13);
        assert_eq!(
            ours.intersect(VersionRange::new(0, 11)),
            Some(VersionRange::new(3, 11))
        );
        assert_eq!(ours.intersect(VersionRange::new(0, 2)), None);
    }

    /// Annex B: the producer never speaks a version that cannot be written.
    #[test]
    fn the_producer_speaks_only_versions_that_can_be_written() {
        for (key, range) in CLIENT_RANGES {
            assert_eq!(key.supported().intersect(range), Some(range), "{key}");
        }
    }

    #[test]
    fn every_key_is_found_by_its_code() {
        for &key in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(key.code()), Some(key));
        }
        assert_eq!(ApiKey::from_code(-1), None);
    }
}
