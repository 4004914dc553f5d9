//! The broker's settings, with Kafka's defaults where Kafka has the setting. Holds values only; nothing here acts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kommit_protocol::api::{ApiKey, VersionRange};
use kommit_protocol::units::NodeId;

use crate::coordinator::interface::{CoordinatorConfig, TransactionVersion};
use crate::denials::Denials;
use crate::ignored_settings::is_taken;

/// How an embedded broker is set up: how many nodes, where they listen, and how they behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// How many brokers the process plays, at least 1; their ids are 1, 2, 3 …
    pub nodes: u16,
    /// The host to listen on and to advertise.
    pub host: String,
    /// The port of the first node; node i gets `port` + i. With 0 every node gets a free port of its own.
    pub port: u16,
    /// The cluster id.
    pub cluster_id: String,
    /// The finalised `transaction.version` at the start (B-6).
    pub transaction_version: TransactionVersion,
    /// Whether Metadata may create topics (B-16).
    pub auto_create_topics: AutoCreateTopics,
    /// `num.partitions`: partitions of a topic that is created without a count.
    pub default_partitions: u32,
    /// The most partitions that one topic may have.
    pub max_partitions_per_topic: u32,
    /// What every topic gets unless its own configuration says otherwise.
    pub topic_defaults: TopicConfig,
    /// Whether the logs keep what is appended.
    pub storage: Storage,
    /// Where everything that survives a restart is written; without one, it lasts as long as the process. Only for [`Storage::Memory`].
    pub data_directory: Option<PathBuf>,
    /// What the tables and logs may take: everything is in memory.
    pub limits: Limits,
    /// How long an append takes to be replicated: acks = all waits for it, and the high watermark lags by it (B-30, B-110).
    pub replication_delay: Duration,
    /// How long Metadata still names the leader before, after [`BrokerCore::move_leader`](crate::BrokerCore::move_leader) (B-20).
    pub metadata_delay: Duration,
    /// How long after PrepareX the markers are written (B-70).
    pub marker_delay: Duration,
    /// `transaction.partition.verification.enable` (B-82).
    pub verification: Verification,
    /// How often a produce repeats an add call that met CONCURRENT_TRANSACTIONS (B-78).
    pub verification_retry: VerificationRetry,
    /// How long the coordinator's answer is on its way to the leader of a partition that asks about a batch (B-80, B-81).
    pub verification_delay: Duration,
    /// `producer.id.expiration.ms` (B-107).
    pub producer_id_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms` (B-107).
    pub producer_id_expiration_interval: Duration,
    /// The largest frame that is read; a larger one closes the connection (`socket.request.max.bytes`).
    pub max_frame_bytes: usize,
    /// How many requests of one connection may wait before the server stops reading from it.
    pub max_queued_requests: usize,
    /// How many requests the journal remembers; the oldest go first.
    pub journal_capacity: usize,
    /// Reported in every answer; when above zero the connection is not served for that long after an answer (B-14).
    pub throttle: Duration,
    /// Narrowed version ranges per node, to imitate old brokers (B-11); `None` as node means all nodes.
    pub version_overrides: BTreeMap<(Option<NodeId>, ApiKey), Option<VersionRange>>,
    /// What clients may not do (B-126).
    pub denials: Denials,
    /// Settings of the coordinators.
    pub coordinator: CoordinatorConfig,
    /// Where topic ids come from.
    pub seed: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            nodes: 1,
            host: "127.0.0.1".to_owned(),
            port: 0,
            cluster_id: "a29tbWl0LWVtYmVkZGVkLQ".to_owned(),
            transaction_version: TransactionVersion::V2,
            auto_create_topics: AutoCreateTopics::Enabled,
            default_partitions: 1,
            max_partitions_per_topic: 10_000,
            topic_defaults: TopicConfig::default(),
            storage: Storage::Memory,
            data_directory: None,
            limits: Limits::default(),
            replication_delay: Duration::ZERO,
            metadata_delay: Duration::ZERO,
            marker_delay: Duration::ZERO,
            verification: Verification::Enabled,
            verification_retry: VerificationRetry::default(),
            verification_delay: Duration::ZERO,
            producer_id_expiration: Duration::from_millis(86_400_000),
            producer_id_expiration_interval: Duration::from_millis(600_000),
            max_frame_bytes: 100 * 1024 * 1024,
            max_queued_requests: 64,
            journal_capacity: 100_000,
            throttle: Duration::ZERO,
            version_overrides: BTreeMap::new(),
            denials: Denials::default(),
            coordinator: CoordinatorConfig::default(),
            seed: 0,
        }
    }
}

/// Bounds of what clients can make the broker keep, with Kafka's defaults where Kafka has the setting. Those of the coordinators are in [`CoordinatorConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all logs together; behind it a produce is answered with KAFKA_STORAGE_ERROR, as by a full disk.
    pub log_bytes: u64,
    /// Partitions of all topics together; behind it a topic is answered with POLICY_VIOLATION.
    pub partitions: usize,
    /// Producers that a partition remembers; behind it a batch of one more is answered with POLICY_VIOLATION, until others expire (B-107).
    pub producers_per_partition: usize,
    /// `max.connections`: connections to all nodes together. One more is served when another one ends.
    pub connections: usize,
    /// `connections.max.idle.ms`: a connection that asks for nothing so long is closed.
    pub connection_idle: Duration,
    /// Bytes of the requests of one connection that wait; behind it nothing more is read. A single request may have more.
    pub queued_bytes: u32,
    /// `fetch.max.bytes`: record bytes of one answer, unless its first batch alone has more.
    pub fetch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 4 * 1024 * 1024 * 1024,
            partitions: 100_000,
            producers_per_partition: 100_000,
            connections: 10_000,
            connection_idle: Duration::from_millis(600_000),
            queued_bytes: 128 * 1024 * 1024,
            fetch_bytes: 57_671_680,
        }
    }
}

/// What becomes of records that were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// They stay in memory.
    Memory,
    /// Checksum, header and sequence of a batch are checked, and it is thrown away: offsets go on, and nothing can be read. Each connection is
    /// served by a single task, so that little time is spent beside the producer that is measured.
    Discard {
        /// How much later each answer is sent; requests go on being served meanwhile.
        answer_delay: Duration,
    },
}

/// Whether a Metadata request may create the topics that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCreateTopics {
    /// Yes, when the request allows it too.
    Enabled,
    /// Never.
    Disabled,
}

/// Whether transactional batches of TV1 clients are checked with the coordinator (B-77, B-82).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// They are.
    Enabled,
    /// They are not; those of TV2 clients still are.
    Disabled,
}

/// How a broker repeats the add call of a produce that met CONCURRENT_TRANSACTIONS (B-78).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationRetry {
    /// Time between two calls.
    pub interval: Duration,
    /// After this the code is handed to the client.
    pub limit: Duration,
}

impl Default for VerificationRetry {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(20),
            limit: Duration::from_millis(100),
        }
    }
}

/// The topic settings that this broker honours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: usize,
    /// `segment.bytes`: a batch above it is RECORD_LIST_TOO_LARGE.
    pub segment_bytes: usize,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max: Duration,
    /// `min.insync.replicas`, capped at the number of replicas (B-29).
    pub min_insync_replicas: u32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            segment_bytes: 1_073_741_824,
            cleanup_policy: CleanupPolicy::Delete,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max: Duration::from_millis(i64::MAX.unsigned_abs()),
            timestamp_after_max: Duration::from_millis(3_600_000),
            min_insync_replicas: 1,
        }
    }
}

/// How old records of a topic go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// By age or size (this broker keeps them).
    Delete,
    /// By key: every record needs one (B-33).
    Compact,
}

/// Whose clock the timestamps of a topic come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at the append (B-34).
    LogAppendTime,
}

/// A topic setting that is unknown or has an impossible value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic setting {name} cannot be {value:?}")]
pub struct TopicConfigError {
    /// Kafka's name of the setting.
    pub name: String,
    /// What was given.
    pub value: String,
}

impl TopicConfig {
    /// The settings as Kafka's names and values, for DescribeConfigs.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let policy = match self.cleanup_policy {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
        };
        let timestamps = match self.timestamp_type {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        vec![
            ("cleanup.policy", policy.to_owned()),
            ("max.message.bytes", self.max_message_bytes.to_string()),
            (
                "message.timestamp.after.max.ms",
                self.timestamp_after_max.as_millis().to_string(),
            ),
            (
                "message.timestamp.before.max.ms",
                self.timestamp_before_max.as_millis().to_string(),
            ),
            ("message.timestamp.type", timestamps.to_owned()),
            ("min.insync.replicas", self.min_insync_replicas.to_string()),
            ("segment.bytes", self.segment_bytes.to_string()),
        ]
    }

    /// Changes the setting that Kafka calls `name`. Other settings that Kafka knows for topics are accepted and ignored.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), TopicConfigError> {
        let wrong = || TopicConfigError {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let value = value.trim();
        let number = || {
            let number = value.parse::<i64>().ok();
            number
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(wrong)
        };
        let size = || {
            value
                .parse::<u32>()
                .map(|size| size as usize)
                .map_err(|_| wrong())
        };
        let at_least = |least| size().and_then(|size| (size >= least).then_some(size).ok_or_else(wrong));
        match name {
            "max.message.bytes" => self.max_message_bytes = size()?,
            "segment.bytes" => self.segment_bytes = at_least(SMALLEST_SEGMENT)?,
            "message.timestamp.before.max.ms" => self.timestamp_before_max = Duration::from_millis(number()?),
            "message.timestamp.after.max.ms" => self.timestamp_after_max = Duration::from_millis(number()?),
            "min.insync.replicas" => {
                self.min_insync_replicas = value.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
            }
            "message.timestamp.type" => {
                self.timestamp_type = match value {
                    "CreateTime" => TimestampType::CreateTime,
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    _ => return Err(wrong()),
                }
            }
            "cleanup.policy" => {
                let policies = || {
                    value
                        .split(',')
                        .map(str::trim)
                        .filter(|policy| !policy.is_empty())
                };
                if !policies().all(|policy| matches!(policy, "delete" | "compact")) {
                    return Err(wrong());
                }
                self.cleanup_policy = if policies().any(|policy| policy == "compact") {
                    CleanupPolicy::Compact
                } else {
                    CleanupPolicy::Delete
                };
            }
            ignored if is_taken(ignored, value) => {}
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// Kafka makes no shorter segments.
const SMALLEST_SEGMENT: usize = 1024 * 1024;
