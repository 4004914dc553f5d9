//! The settings as values: one field a key, with Kafka's defaults.

use std::time::Duration;

use kommit_accumulator::{Partitioning, StickyChoice};
use kommit_network::{BrokerAddress, RecoveryStrategy};
use kommit_txn_manager::{Fencing, OnGap, PartitionVerification};

use super::{ConfigError, ConfigWarning, ProducerBuilder};

/// How many replicas must have a record before the broker acknowledges it (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// `all` or `-1`: the leader and every in-sync replica.
    All,
    /// `1`: the leader alone.
    Leader,
    /// `0`: nobody; the record counts as sent once its bytes are written.
    None,
}

impl Acks {
    /// The number that travels in a produce request.
    pub fn wire(self) -> i16 {
        match self {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::None => 0,
        }
    }
}

/// Everything a producer was told, checked: it cannot be wrong once built.
///
/// Made by [`ProducerConfig::builder`], [`ProducerConfig::from_properties`] or [`ProducerConfig::from_environment`]. What each key holds and does is
/// printed by [`ProducerConfig::documentation`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProducerConfig {
    /// `bootstrap.servers`: where the first metadata is asked for.
    pub bootstrap_servers: Vec<BrokerAddress>,
    /// `client.id`: the name that brokers see in requests and quotas.
    pub client_id: String,
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`, after the rules that may switch it off.
    pub idempotence: bool,
    /// `transactional.id`.
    pub transactional_id: Option<String>,
    /// `transaction.timeout.ms`: when the coordinator aborts a transaction that nobody ended.
    pub transaction_timeout: Duration,
    /// `retries`: how often a batch is put back into its queue.
    pub retries: u32,
    /// `delivery.timeout.ms`: from the creation of a batch to its outcome.
    pub delivery_timeout: Duration,
    /// `request.timeout.ms`: how long one answer may take.
    pub request_timeout: Duration,
    /// `linger.ms`: how long a batch waits for more records.
    pub linger: Duration,
    /// `batch.size`, in bytes.
    pub batch_size: usize,
    /// `buffer.memory`, in bytes: a hard bound on record bytes and encoded batches together.
    pub buffer_memory: usize,
    /// `max.block.ms`: how long `send` waits for metadata and memory together, and a transactional call for its answer.
    pub max_block: Duration,
    /// `max.request.size`, in bytes.
    pub max_request_size: usize,
    /// `max.in.flight.requests.per.connection`.
    pub max_in_flight: usize,
    /// `partitioner.class`, `partitioner.ignore.keys`, or a partitioner of your own.
    pub partitioning: Partitioning,
    /// `partitioner.adaptive.partitioning.enable` and `partitioner.availability.timeout.ms`.
    pub sticky_choice: StickyChoice,
    /// `compression.type`.
    pub compression: kommit_protocol::batch::Compression,
    /// `compression.gzip.level`, `compression.lz4.level` or `compression.zstd.level`, whichever belongs to [`compression`](Self::compression);
    /// `None` is the codec's default. gzip and zstd follow it: the encoder of lz4 has one level, the fast one.
    pub compression_level: Option<i32>,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry_backoff: (Duration, Duration),
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect_backoff: (Duration, Duration),
    /// `socket.connection.setup.timeout.ms` and `socket.connection.setup.timeout.max.ms`.
    pub connection_setup_timeout: (Duration, Duration),
    /// `connections.max.idle.ms`; `None` keeps idle connections for ever.
    pub connections_max_idle: Option<Duration>,
    /// `send.buffer.bytes`; `None` leaves it to the system.
    pub send_buffer: Option<u32>,
    /// `receive.buffer.bytes`; `None` leaves it to the system.
    pub receive_buffer: Option<u32>,
    /// `metadata.max.age.ms`.
    pub metadata_max_age: Duration,
    /// `metadata.max.idle.ms`.
    pub metadata_max_idle: Duration,
    /// `metadata.recovery.strategy` and `metadata.recovery.rebootstrap.trigger.ms`.
    pub metadata_recovery: RecoveryStrategy,
    /// `on_gap`, which Kafka does not have: what an idempotent producer does behind a record that may or may not be in the log.
    pub on_gap: OnGap,
    /// `fence_every_transaction`, which Kafka does not have: when a transactional producer renews its epoch on clusters of transaction version 1.
    pub fencing: Fencing,
    /// `brokers_verify_partitions`, which Kafka does not have: whether a batch that arrives behind the abort of its transaction is known to be refused.
    pub partition_verification: PartitionVerification,
    /// What was accepted although it has no effect here, or another one than its text says. It was logged as well.
    pub warnings: Vec<ConfigWarning>,
}

impl ProducerConfig {
    /// Begins with Kafka's defaults; only `bootstrap.servers` must be given.
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder::default()
    }

    /// Reads the text of a properties file, as Java reads it: [`ProducerBuilder::properties`].
    ///
    /// # Errors
    ///
    /// The first line, key, value or combination that is not valid.
    pub fn from_properties(text: &str) -> Result<Self, ConfigError> {
        Self::builder().properties(text)?.build()
    }

    /// Reads the variables of this process's environment: [`ProducerBuilder::environment`]. With the prefix `KOMMIT`,
    /// `KOMMIT_BOOTSTRAP_SERVERS` is `bootstrap.servers`.
    ///
    /// # Errors
    ///
    /// The first variable, value or combination that is not valid.
    pub fn from_environment(prefix: &str) -> Result<Self, ConfigError> {
        let variables = std::env::vars_os().map(|(name, value)| {
            // What is not text belongs to no setting; a setting's value that is not text is refused by its key.
            let name = name.to_string_lossy().into_owned();
            (name, value.to_string_lossy().into_owned())
        });
        Self::builder().environment(prefix, variables)?.build()
    }
}
