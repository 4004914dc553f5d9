//! The keys of librdkafka and of the clients built on it, read as Kafka's: old name, Kafka's name, and the change of unit. Where the two do
//! not say the same thing, the key is refused with what to write instead. Facts are those of its CONFIGURATION.md, versions 2.x.

use std::borrow::Cow;

use super::foreign::Foreign::{self, Only, WithoutMeaning};
use super::keys::Key;

/// What a key of librdkafka is here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Translation {
    /// The same setting, in this unit.
    Key(Key, Unit),
    /// Nothing that Kafka's producer has.
    Foreign(Foreign),
}

/// How a value changes on its way to Kafka's key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Not at all.
    Same,
    /// From units of 1024 bytes to bytes.
    Kibibytes,
    /// A number with an optional fraction; only whole milliseconds can be said in Kafka's key.
    WholeMillis,
    /// 0 is "no limit", which Kafka's key cannot say.
    NoInfinity,
    /// -1 is "never", which Kafka's key cannot say.
    NoNever,
    /// 0 is the system's default, which Kafka's key calls -1.
    ZeroIsSystem,
}

impl Unit {
    /// The value for Kafka's key, or what would have one.
    pub(super) fn translate(self, text: &str) -> Result<Cow<'_, str>, &'static str> {
        match self {
            Unit::Same => Ok(Cow::Borrowed(text)),
            Unit::Kibibytes => {
                let bytes = text.parse::<i64>().ok().and_then(|kib| kib.checked_mul(1024));
                bytes
                    .map(|bytes| Cow::Owned(bytes.to_string()))
                    .ok_or("a whole number of units of 1024 bytes")
            }
            Unit::WholeMillis => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                if fraction.bytes().all(|digit| digit == b'0') {
                    Ok(Cow::Borrowed(whole))
                } else {
                    Err("a whole number of milliseconds")
                }
            }
            Unit::NoInfinity if text == "0" => Err("a number above 0; there is no unlimited time"),
            Unit::NoNever if text == "-1" => Err("a number of at least 0; it cannot be switched off"),
            Unit::NoInfinity | Unit::NoNever => Ok(Cow::Borrowed(text)),
            Unit::ZeroIsSystem if text == "0" => Ok(Cow::Borrowed("-1")),
            Unit::ZeroIsSystem => Ok(Cow::Borrowed(text)),
        }
    }
}

impl Unit {
    /// What a reader of the page must know of the change.
    pub(super) fn clause(self) -> &'static str {
        match self {
            Unit::Same => "",
            Unit::Kibibytes => ", in units of 1024 bytes",
            Unit::WholeMillis => ", whole milliseconds only",
            Unit::NoInfinity => "; 0, which is endless there, is an error",
            Unit::NoNever => "; -1, which is never there, is an error",
            Unit::ZeroIsSystem => "; 0 leaves it to the system",
        }
    }
}

/// The same setting under another name, in alphabetical order.
const SAME: &[(&str, Key, Unit)] = &[
    ("compression.codec", Key::CompressionType, Unit::Same),
    ("max.in.flight", Key::MaxInFlight, Unit::Same),
    ("message.max.bytes", Key::MaxRequestSize, Unit::Same),
    ("message.send.max.retries", Key::Retries, Unit::Same),
    ("message.timeout.ms", Key::DeliveryTimeout, Unit::NoInfinity),
    ("metadata.broker.list", Key::BootstrapServers, Unit::Same),
    ("queue.buffering.max.kbytes", Key::BufferMemory, Unit::Kibibytes),
    ("queue.buffering.max.ms", Key::Linger, Unit::WholeMillis),
    ("request.required.acks", Key::Acks, Unit::Same),
    ("sasl.mechanisms", Key::SaslMechanism, Unit::Same),
    (
        "socket.receive.buffer.bytes",
        Key::ReceiveBuffer,
        Unit::ZeroIsSystem,
    ),
    ("socket.send.buffer.bytes", Key::SendBuffer, Unit::ZeroIsSystem),
    ("socket.timeout.ms", Key::RequestTimeout, Unit::Same),
    (
        "topic.metadata.refresh.interval.ms",
        Key::MetadataMaxAge,
        Unit::NoNever,
    ),
];

/// What Kafka's producer has no key for, in alphabetical order.
const OTHER: &[(&str, Foreign)] = &[
    (
        "api.version.fallback.ms",
        WithoutMeaning("a broker's versions are asked for on every connection"),
    ),
    (
        "api.version.request",
        Only(&["true"], "a broker's versions are asked for on every connection"),
    ),
    (
        "api.version.request.timeout.ms",
        Only(
            &[],
            "set socket.connection.setup.timeout.ms and request.timeout.ms instead",
        ),
    ),
    (
        "allow.auto.create.topics",
        Only(
            &["true"],
            "a producer always lets the broker create topics; forbid it there",
        ),
    ),
    (
        "batch.num.messages",
        Only(&[], "batches are bounded in bytes; set batch.size instead"),
    ),
    (
        "broker.address.family",
        Only(&["any"], "all addresses of a host are tried, of both families"),
    ),
    (
        "broker.address.ttl",
        WithoutMeaning("a host is resolved whenever it is connected to"),
    ),
    (
        "broker.version.fallback",
        WithoutMeaning("a broker's versions are asked for on every connection"),
    ),
    (
        "compression.level",
        Only(
            &["-1"],
            "each codec has its own scale; set compression.gzip.level, compression.lz4.level or compression.zstd.level instead",
        ),
    ),
    (
        "debug",
        WithoutMeaning("what is logged is decided by the subscriber of the crate tracing"),
    ),
    (
        "delivery.report.only.error",
        WithoutMeaning("every record has a Delivery, which may be dropped"),
    ),
    (
        "dr_cb",
        WithoutMeaning("every record has a Delivery, which may be awaited"),
    ),
    (
        "dr_msg_cb",
        WithoutMeaning("every record has a Delivery, which may be awaited"),
    ),
    (
        "enable.gapless.guarantee",
        WithoutMeaning("a partition stops behind a gap until the gap is acknowledged"),
    ),
    (
        "enable.random.seed",
        WithoutMeaning("the producer has random numbers of its own"),
    ),
    (
        "enable.sasl.oauthbearer.unsecure.jwt",
        Only(&["false"], "SASL is not there yet"),
    ),
    ("enabled_events", WithoutMeaning("there are no callbacks")),
    (
        "internal.termination.signal",
        WithoutMeaning("there are no threads of its own"),
    ),
    (
        "log.connection.close",
        WithoutMeaning("what is logged is decided by the subscriber of the crate tracing"),
    ),
    (
        "log.queue",
        WithoutMeaning("what is logged is decided by the subscriber of the crate tracing"),
    ),
    (
        "log.thread.name",
        WithoutMeaning("what is logged is decided by the subscriber of the crate tracing"),
    ),
    (
        "log_level",
        WithoutMeaning("what is logged is decided by the subscriber of the crate tracing"),
    ),
    (
        "message.copy.max.bytes",
        WithoutMeaning("a record is written once, into its batch"),
    ),
    (
        "partitioner",
        Only(
            &["murmur2_random"],
            "keys are placed by murmur2 as in Java's producer; give a partitioner in code, or set partitioner.class or \
         partitioner.ignore.keys instead",
        ),
    ),
    ("plugin.library.paths", Only(&[], "there are no plug-ins")),
    (
        "produce.offset.report",
        WithoutMeaning("every Delivery tells the offset"),
    ),
    (
        "queue.buffering.backpressure.threshold",
        Only(&[], "batches wait for linger.ms and batch.size alone"),
    ),
    (
        "queue.buffering.max.messages",
        Only(&[], "what waits is bounded in bytes; set buffer.memory instead"),
    ),
    (
        "queuing.strategy",
        Only(&["fifo"], "records of a partition are always sent in their order"),
    ),
    (
        "receive.message.max.bytes",
        WithoutMeaning("answers are bounded by the client itself"),
    ),
    (
        "reconnect.backoff.jitter.ms",
        WithoutMeaning("reconnect.backoff.ms always has a jitter of 20 %"),
    ),
    ("socket.blocking.max.ms", WithoutMeaning("nothing blocks")),
    (
        "socket.keepalive.enable",
        Only(&["true"], "TCP keep-alive is always on"),
    ),
    (
        "socket.max.fails",
        Only(&["1"], "a connection is closed when one answer is overdue"),
    ),
    (
        "socket.nagle.disable",
        Only(&["true"], "Nagle's algorithm is always off"),
    ),
    (
        "statistics.interval.ms",
        WithoutMeaning("nothing is called back; ask for metrics() when you want them"),
    ),
    (
        "sticky.partitioning.linger.ms",
        Only(&[], "the sticky partition changes after batch.size bytes"),
    ),
    (
        "topic.blacklist",
        Only(&[], "metadata is only asked for topics that are written to"),
    ),
    (
        "topic.metadata.propagation.max.ms",
        Only(
            &[],
            "a new topic is waited for within max.block.ms; set that instead",
        ),
    ),
    (
        "topic.metadata.refresh.fast.interval.ms",
        Only(
            &[],
            "metadata requests are spaced by retry.backoff.ms; set that instead",
        ),
    ),
    (
        "topic.metadata.refresh.sparse",
        Only(&["true"], "metadata is only asked for topics that are written to"),
    ),
];

/// What the key `name` of librdkafka is here; nothing when it is not one, or is spelled as Kafka's.
pub(super) fn translation(name: &str) -> Option<Translation> {
    let same = SAME.iter().find(|(old, _, _)| *old == name);
    if let Some((_, key, unit)) = same {
        return Some(Translation::Key(*key, *unit));
    }
    let other = OTHER.iter().find(|(old, _)| *old == name);
    other.map(|(_, foreign)| Translation::Foreign(*foreign))
}

/// The names in the tables, for hints.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let same = SAME.iter().map(|(name, _, _)| *name);
    same.chain(OTHER.iter().map(|(name, _)| *name))
}
