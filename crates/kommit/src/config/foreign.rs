//! Keys that stand in the properties files of Java producers and that this producer does not follow: plumbing of the JVM, things that are not there yet,
//! and keys of consumers. Each is either without meaning, or possible with a few values only; the reason is part of the table.

/// What becomes of a key that this producer does not follow.
#[derive(Clone, Copy, Debug)]
pub(super) enum Foreign {
    /// Accepted with a warning: whatever it says, nothing here depends on it.
    WithoutMeaning(&'static str),
    /// Only with these values, which ask for what happens anyway; any other is refused for the reason.
    Only(&'static [&'static str], &'static str),
}

use Foreign::{Only, WithoutMeaning};

const BYTES: &str = "records are bytes already; encode keys and values before they are sent";
const SECURITY: &str = "TLS and SASL are not there yet, and security.protocol is PLAINTEXT";
const CONSUMER: &str = "it is a consumer's key, and this is a producer";
const JVM: &str = "it belongs to the Java virtual machine";

/// The keys by their full name, in alphabetical order.
const BY_NAME: &[(&str, Foreign)] = &[
    ("auto.include.jmx.reporter", WithoutMeaning(JVM)),
    ("auto.offset.reset", Only(&[], CONSUMER)),
    (
        "bootstrap.resolve.timeout.ms",
        Only(
            &["0"],
            "bootstrap addresses are resolved whenever one is connected to",
        ),
    ),
    (
        "buffer.memory.allocation.strategy",
        Only(&["full"], "a page is taken as a whole"),
    ),
    (
        "client.rack",
        WithoutMeaning("partitions are not chosen by rack yet"),
    ),
    (
        "config.providers",
        WithoutMeaning("values are taken as they stand, without ${…}"),
    ),
    ("enable.auto.commit", Only(&[], CONSUMER)),
    ("group.id", Only(&[], CONSUMER)),
    ("group.instance.id", Only(&[], CONSUMER)),
    (
        "interceptor.classes",
        WithoutMeaning("it names Java classes; call what they do around send"),
    ),
    ("key.serializer", WithoutMeaning(BYTES)),
    (
        "metadata.cluster.check.enable",
        Only(
            &["true"],
            "another cluster behind known addresses is always told apart by its id",
        ),
    ),
    (
        "metric.reporters",
        WithoutMeaning("it names Java classes; ask for metrics() instead"),
    ),
    (
        "partitioner.rack.aware",
        Only(&["false"], "partitions are not chosen by rack yet"),
    ),
    ("security.providers", WithoutMeaning(JVM)),
    ("value.serializer", WithoutMeaning(BYTES)),
];

/// Families of keys, by the beginning of their names.
const BY_PREFIX: &[(&str, Foreign)] = &[
    (
        "config.providers.",
        WithoutMeaning("values are taken as they stand, without ${…}"),
    ),
    ("key.serializer.", WithoutMeaning(BYTES)),
    (
        "metrics.context.",
        WithoutMeaning("it is for Java's metric reporters; ask for metrics() instead"),
    ),
    (
        "schema.registry.",
        WithoutMeaning("it is for a serializer, and records are bytes already"),
    ),
    ("sasl.", WithoutMeaning(SECURITY)),
    ("ssl.", WithoutMeaning(SECURITY)),
    ("value.serializer.", WithoutMeaning(BYTES)),
];

/// What becomes of the key `name`; nothing for one that nobody knows.
pub(super) fn foreign(name: &str) -> Option<Foreign> {
    let by_name = BY_NAME.iter().find(|(known, _)| *known == name);
    let by_prefix = || BY_PREFIX.iter().find(|(prefix, _)| name.starts_with(prefix));
    by_name.or_else(by_prefix).map(|(_, foreign)| *foreign)
}

/// The beginnings of the names of families.
pub(super) fn prefixes() -> impl Iterator<Item = &'static str> {
    BY_PREFIX.iter().map(|(prefix, _)| *prefix)
}

/// The names in the table, for hints.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BY_NAME.iter().map(|(name, _)| *name)
}
