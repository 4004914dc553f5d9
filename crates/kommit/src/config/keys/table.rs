//! The rows. A row stands where its key stands in [`Key`].

use super::Holds::{Number, OneOf, Switch, Text};
use super::{Holds, Key, Row, Spelling, Unit};

const I32: i64 = i32::MAX as i64;
const I64: i64 = i64::MAX;

/// What there is to say of security as long as there is none.
const NOT_SECURE_YET: &str = "TLS and SASL are not there yet";

const fn millis(default: i64, least: i64, most: i64) -> Holds {
    number(Unit::Millis, default, least, most)
}

const fn bytes(default: i64, least: i64, most: i64) -> Holds {
    number(Unit::Bytes, default, least, most)
}

const fn count(default: i64, least: i64, most: i64) -> Holds {
    number(Unit::Count, default, least, most)
}

const fn number(unit: Unit, default: i64, least: i64, most: i64) -> Holds {
    Number {
        unit,
        default,
        least,
        most,
    }
}

const fn one_of(default: &'static str, allowed: &'static [&'static str], spelling: Spelling) -> Holds {
    OneOf {
        default,
        allowed,
        spelling,
    }
}

const fn text(default: &'static str, form: &'static str) -> Holds {
    Text { default, form }
}

const fn row(key: Key, name: &'static str, holds: Holds, does: &'static str, differs: &'static str) -> Row {
    Row {
        key,
        name,
        holds,
        does,
        differs,
    }
}

use Key as K;
use Spelling::{AnyCase, Exact};

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    row(K::BootstrapServers, "bootstrap.servers", text("none: required", "`host:port` or `[v6]:port`, separated by commas; none empty, none twice"),
        "where the first metadata is asked for", ""),
    row(K::ClientId, "client.id", text("`producer-<transactional.id>`, or `producer-<n>`", "any; a text that is given stays as it is, the empty one too"),
        "the name that brokers see in requests, logs and quotas", ""),
    row(K::Acks, "acks", one_of("all", &["all", "-1", "0", "1"], Exact),
        "how many replicas must have a record before it counts as written: all in-sync ones (`all`, `-1`), the leader (`1`), none (`0`)", ""),
    row(K::Retries, "retries", count(I32, 0, I32),
        "how often a batch is put back into its queue; leave it, and bound the time with `delivery.timeout.ms`", ""),
    row(K::DeliveryTimeout, "delivery.timeout.ms", millis(120_000, 0, I32),
        "from the first record of a batch to its outcome, at the longest; at least `linger.ms` + `request.timeout.ms`", ""),
    row(K::RequestTimeout, "request.timeout.ms", millis(30_000, 0, I32),
        "how long an answer may take; the broker gets as long to replicate a batch", "a late answer closes its connection"),
    row(K::Linger, "linger.ms", millis(5, 0, I64),
        "how long a batch waits for more records; above 2147483647 it counts as that", ""),
    row(K::BatchSize, "batch.size", bytes(16_384, 0, I32),
        "the size that a batch is filled to; 0 is 1, which sends each record alone", ""),
    row(K::BufferMemory, "buffer.memory", bytes(33_554_432, 0, I64),
        "the memory of all batches; a `send` waits when it is used up", "a hard bound: the parts of a split batch count as well; with compression, a batch that fills takes up to four times `batch.size`"),
    row(K::MaxBlock, "max.block.ms", millis(60_000, 0, I64),
        "how long `send` waits for metadata and memory together, and a transactional call for its answer", ""),
    row(K::MaxRequestSize, "max.request.size", bytes(1_048_576, 0, I32),
        "the largest request, and the largest record before compression", ""),
    row(K::MaxInFlight, "max.in.flight.requests.per.connection", count(5, 1, I32),
        "how many requests may wait for their answer on one connection; at most 5 with idempotence", ""),
    row(K::EnableIdempotence, "enable.idempotence", Switch { default: true },
        "each record is written once, in order; switched off by `acks` other than `all` and by `retries=0` when not asked for", ""),
    row(K::OnGap, "on_gap", one_of("stop", &["stop", "continue"], Exact),
        "what an idempotent producer does behind a record that may or may not be written: its partition takes no more records until the application \
         acknowledges the gap (`stop`), or later records follow (`continue`)", "not in Kafka, which continues"),
    row(K::TransactionalId, "transactional.id", text("none: no transactions", "not empty; the same across restarts of an instance, and of no other one"),
        "the name that a transactional producer has in the cluster", ""),
    row(K::TransactionTimeout, "transaction.timeout.ms", millis(60_000, 1, I32),
        "when the coordinator aborts a transaction that nobody ended; at most the broker's `transaction.max.timeout.ms`", "0 and less are refused here, not at the first request"),
    row(K::FenceEveryTransaction, "fence_every_transaction", Switch { default: false },
        "on clusters of transaction version 1: a new epoch behind every transaction, not only behind one in which a request went unanswered", "not in Kafka, which goes on at the same epoch"),
    row(K::BrokersVerifyPartitions, "brokers_verify_partitions", Switch { default: false },
        "on clusters of transaction version 1: whether all brokers verify partitions (Kafka 3.6 and newer, unless switched off). If not, an abort over a record \
         that may still be on its way ends the producer", "not in Kafka, which takes it for granted"),
    row(K::TwoPhaseCommit, "transaction.two.phase.commit.enable", Switch { default: false },
        "nothing", "`true` is refused: two-phase commit is not there yet"),
    row(K::CompressionType, "compression.type", one_of("none", &["none", "gzip", "snappy", "lz4", "zstd"], Exact),
        "how batches are compressed", "a batch that would get longer travels uncompressed"),
    row(K::GzipLevel, "compression.gzip.level", text("-1", "-1 (the codec's default), or 1 to 9"),
        "the level of gzip", ""),
    row(K::Lz4Level, "compression.lz4.level", count(9, 1, 17),
        "nothing", "checked only: this encoder has one level, the fast one"),
    row(K::ZstdLevel, "compression.zstd.level", count(3, -131_072, 22),
        "the level of zstd", ""),
    row(K::PartitionerClass, "partitioner.class", text("none: the built-in one", "`RoundRobinPartitioner`, with or without its package"),
        "records go to the partitions in turn, whatever their keys", "other classes cannot be loaded: give a partitioner in code"),
    row(K::AdaptivePartitioning, "partitioner.adaptive.partitioning.enable", Switch { default: true },
        "records without a key stick the more often to a partition, the fewer batches wait for it; otherwise to all equally often", ""),
    row(K::AvailabilityTimeout, "partitioner.availability.timeout.ms", millis(0, 0, I64),
        "a partition with waiting batches is passed over when its leader has taken nothing for longer than this; 0 switches it off", ""),
    row(K::IgnoreKeys, "partitioner.ignore.keys", Switch { default: false },
        "records with a key are placed like those without", ""),
    row(K::RetryBackoff, "retry.backoff.ms", millis(100, 0, I64),
        "the first pause before a request or a batch is sent again; doubles up to the maximum", ""),
    row(K::RetryBackoffMax, "retry.backoff.max.ms", millis(1_000, 0, I64),
        "the longest such pause", ""),
    row(K::ReconnectBackoff, "reconnect.backoff.ms", millis(50, 0, I64),
        "the first pause before a broker is connected to again; doubles up to the maximum, and stays as it is when only this key is given", ""),
    row(K::ReconnectBackoffMax, "reconnect.backoff.max.ms", millis(1_000, 0, I64),
        "the longest such pause", ""),
    row(K::ConnectionSetupTimeout, "socket.connection.setup.timeout.ms", millis(10_000, 0, I64),
        "how long the first attempt to connect may take; doubles up to the maximum", ""),
    row(K::ConnectionSetupTimeoutMax, "socket.connection.setup.timeout.max.ms", millis(30_000, 0, I64),
        "how long a later one may take", ""),
    row(K::ConnectionsMaxIdle, "connections.max.idle.ms", millis(540_000, i64::MIN, I64),
        "when an idle connection is closed; a negative number never closes one", ""),
    row(K::SendBuffer, "send.buffer.bytes", bytes(131_072, -1, I32),
        "the socket's send buffer; -1 leaves it to the system", ""),
    row(K::ReceiveBuffer, "receive.buffer.bytes", bytes(32_768, -1, I32),
        "the socket's receive buffer; -1 leaves it to the system", ""),
    row(K::MetadataMaxAge, "metadata.max.age.ms", millis(300_000, 0, I64),
        "when metadata is asked for again though nothing went wrong", ""),
    row(K::MetadataMaxIdle, "metadata.max.idle.ms", millis(300_000, 5_000, I64),
        "when a topic that nobody writes to is forgotten", ""),
    row(K::RecoveryStrategy, "metadata.recovery.strategy", one_of("rebootstrap", &["none", "rebootstrap"], AnyCase),
        "whether the bootstrap addresses are gone back to when no known broker answers", ""),
    row(K::RebootstrapTrigger, "metadata.recovery.rebootstrap.trigger.ms", millis(300_000, 0, I64),
        "after how long without metadata they are in any case", ""),
    row(K::DnsLookup, "client.dns.lookup", one_of("use_all_dns_ips", &["use_all_dns_ips"], Exact),
        "all addresses of a host are tried", "`resolve_canonical_bootstrap_servers_only` is not there yet"),
    row(K::SecurityProtocol, "security.protocol", one_of("PLAINTEXT", &["PLAINTEXT"], AnyCase),
        "how connections are secured", NOT_SECURE_YET),
    row(K::SaslMechanism, "sasl.mechanism", text("GSSAPI", "any"),
        "nothing", NOT_SECURE_YET),
    row(K::MetricsPush, "enable.metrics.push", Switch { default: true },
        "nothing", "metrics are not pushed to brokers"),
    row(K::MetricsWindow, "metrics.sample.window.ms", millis(30_000, 0, I64),
        "nothing", "checked only: totals count from the start, and a rate is the difference of two snapshots"),
    row(K::MetricsSamples, "metrics.num.samples", count(2, 1, I32),
        "nothing", "checked only, as `metrics.sample.window.ms`"),
    row(K::MetricsLevel, "metrics.recording.level", one_of("INFO", &["INFO", "DEBUG", "TRACE"], Exact),
        "nothing", "checked only: everything is counted"),
];
