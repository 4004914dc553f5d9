//! The table of keys: Kafka's name, what a key holds, its default and range, what it does here, and what is different from Kafka. The parser reads defaults and
//! ranges from here, and `docs/configuration.md` is printed from here, so that neither can disagree with the other.
//!
//! What keys do to each other is in `rules`; keys of other producers are in `foreign` and `librdkafka`.

mod table;

use table::TABLE;

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// Any text, or one with a form of its own; both columns as a reader sees them.
    Text {
        default: &'static str,
        form: &'static str,
    },
    /// `true` or `false`.
    Switch { default: bool },
    /// One text of a list.
    OneOf {
        default: &'static str,
        allowed: &'static [&'static str],
        spelling: Spelling,
    },
    /// A whole number.
    Number {
        unit: Unit,
        default: i64,
        least: i64,
        most: i64,
    },
}

/// Whether small and capital letters are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Exact,
    AnyCase,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Bytes,
    Count,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) does: &'static str,
    /// Empty where nothing is different.
    pub(super) differs: &'static str,
}

/// A key that this producer follows, in the order of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    BootstrapServers,
    ClientId,
    Acks,
    Retries,
    DeliveryTimeout,
    RequestTimeout,
    Linger,
    BatchSize,
    BufferMemory,
    MaxBlock,
    MaxRequestSize,
    MaxInFlight,
    EnableIdempotence,
    OnGap,
    TransactionalId,
    TransactionTimeout,
    FenceEveryTransaction,
    BrokersVerifyPartitions,
    TwoPhaseCommit,
    CompressionType,
    GzipLevel,
    Lz4Level,
    ZstdLevel,
    PartitionerClass,
    AdaptivePartitioning,
    AvailabilityTimeout,
    IgnoreKeys,
    RetryBackoff,
    RetryBackoffMax,
    ReconnectBackoff,
    ReconnectBackoffMax,
    ConnectionSetupTimeout,
    ConnectionSetupTimeoutMax,
    ConnectionsMaxIdle,
    SendBuffer,
    ReceiveBuffer,
    MetadataMaxAge,
    MetadataMaxIdle,
    RecoveryStrategy,
    RebootstrapTrigger,
    DnsLookup,
    SecurityProtocol,
    SaslMechanism,
    MetricsPush,
    MetricsWindow,
    MetricsSamples,
    MetricsLevel,
}

impl Key {
    /// The key of exactly this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.key)
    }

    /// Kafka's name of the key.
    pub(super) fn name(self) -> &'static str {
        self.row().name
    }

    /// What the key holds.
    pub(super) fn holds(self) -> Holds {
        self.row().holds
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// All rows, in the order of the specification.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> + Clone {
    TABLE.iter()
}
