//! The keys that this producer follows, each under Kafka's own name. Nothing else: what they may hold is in `parse`, what they do
//! to each other in `rules`, and keys of other producers in `foreign` and `librdkafka`.

macro_rules! keys {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A key that this producer follows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Key { $($variant),+ }

        impl Key {
            /// All of them, in the order of the specification.
            pub(super) const ALL: &[Key] = &[$(Key::$variant),+];

            /// Kafka's name of the key.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Key::$variant => $name),+ }
            }
        }
    };
}

keys! {
    BootstrapServers = "bootstrap.servers",
    ClientId = "client.id",
    Acks = "acks",
    Retries = "retries",
    DeliveryTimeout = "delivery.timeout.ms",
    RequestTimeout = "request.timeout.ms",
    Linger = "linger.ms",
    BatchSize = "batch.size",
    BufferMemory = "buffer.memory",
    MaxBlock = "max.block.ms",
    MaxRequestSize = "max.request.size",
    MaxInFlight = "max.in.flight.requests.per.connection",
    EnableIdempotence = "enable.idempotence",
    TransactionalId = "transactional.id",
    TransactionTimeout = "transaction.timeout.ms",
    TwoPhaseCommit = "transaction.two.phase.commit.enable",
    CompressionType = "compression.type",
    GzipLevel = "compression.gzip.level",
    Lz4Level = "compression.lz4.level",
    ZstdLevel = "compression.zstd.level",
    PartitionerClass = "partitioner.class",
    AdaptivePartitioning = "partitioner.adaptive.partitioning.enable",
    AvailabilityTimeout = "partitioner.availability.timeout.ms",
    IgnoreKeys = "partitioner.ignore.keys",
    RetryBackoff = "retry.backoff.ms",
    RetryBackoffMax = "retry.backoff.max.ms",
    ReconnectBackoff = "reconnect.backoff.ms",
    ReconnectBackoffMax = "reconnect.backoff.max.ms",
    ConnectionSetupTimeout = "socket.connection.setup.timeout.ms",
    ConnectionSetupTimeoutMax = "socket.connection.setup.timeout.max.ms",
    ConnectionsMaxIdle = "connections.max.idle.ms",
    SendBuffer = "send.buffer.bytes",
    ReceiveBuffer = "receive.buffer.bytes",
    MetadataMaxAge = "metadata.max.age.ms",
    MetadataMaxIdle = "metadata.max.idle.ms",
    RecoveryStrategy = "metadata.recovery.strategy",
    RebootstrapTrigger = "metadata.recovery.rebootstrap.trigger.ms",
    DnsLookup = "client.dns.lookup",
    SecurityProtocol = "security.protocol",
    SaslMechanism = "sasl.mechanism",
    MetricsPush = "enable.metrics.push",
    MetricsWindow = "metrics.sample.window.ms",
    MetricsSamples = "metrics.num.samples",
    MetricsLevel = "metrics.recording.level",
}

impl Key {
    /// The key of exactly this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }
}
