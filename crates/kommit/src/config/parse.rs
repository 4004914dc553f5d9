//! From texts to values: the type, range and default of each key (C-1 … C-41, in one pass), then the rules between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::{Partitioner, Partitioning, StickyChoice};
use kommit_network::{BrokerAddress, RecoveryStrategy};
use kommit_protocol::batch::Compression;
use kommit_txn_manager::{Fencing, OnGap, PartitionVerification};

use super::given::Given;
use super::keys::Key;
use super::rules;
use super::warning::Warnings;
use super::{Acks, ConfigError, ProducerConfig};

/// C-8: more is as much.
const MOST_LINGER: Duration = Duration::from_millis(i32::MAX as u64);

/// All checks in their order: each key's range, then the combinations (C-51).
pub(super) fn parse(
    texts: &BTreeMap<String, String>,
    partitioner: Option<Arc<dyn Partitioner>>,
) -> Result<ProducerConfig, ConfigError> {
    let mut warnings = Warnings::default();
    let given = Given::new(texts, &mut warnings)?;
    let mut config = values(&given, partitioner, &mut warnings)?;
    rules::apply(&given, &mut config, &mut warnings)?;
    config.warnings = warnings.into_list();
    Ok(config)
}

/// Each key by itself.
fn values(
    given: &Given<'_>,
    partitioner: Option<Arc<dyn Partitioner>>,
    warnings: &mut Warnings,
) -> Result<ProducerConfig, ConfigError> {
    without_effect(given, warnings)?;
    let (compression, compression_level) = compression(given)?;
    Ok(ProducerConfig {
        bootstrap_servers: bootstrap_servers(given)?,
        client_id: given.text(Key::ClientId).unwrap_or_default().to_owned(),
        acks: acks(given)?,
        idempotence: given.switch(Key::EnableIdempotence)?,
        transactional_id: transactional_id(given)?,
        // C-16, D-22: a time-out of nothing is refused here, before any request is built.
        transaction_timeout: given.millis(Key::TransactionTimeout)?,
        retries: u32::try_from(given.number(Key::Retries)?).unwrap_or(u32::MAX),
        delivery_timeout: given.millis(Key::DeliveryTimeout)?,
        request_timeout: given.millis(Key::RequestTimeout)?,
        linger: given.millis(Key::Linger)?.min(MOST_LINGER),
        batch_size: given.size(Key::BatchSize)?.max(1),
        buffer_memory: given.size(Key::BufferMemory)?,
        max_block: given.millis(Key::MaxBlock)?,
        max_request_size: given.size(Key::MaxRequestSize)?,
        max_in_flight: given.size(Key::MaxInFlight)?,
        partitioning: partitioning(given, partitioner, warnings)?,
        sticky_choice: sticky_choice(given)?,
        compression,
        compression_level,
        retry_backoff: pair(given, Key::RetryBackoff, Key::RetryBackoffMax)?,
        reconnect_backoff: pair(given, Key::ReconnectBackoff, Key::ReconnectBackoffMax)?,
        connection_setup_timeout: pair(given, Key::ConnectionSetupTimeout, Key::ConnectionSetupTimeoutMax)?,
        connections_max_idle: connections_max_idle(given)?,
        send_buffer: socket_buffer(given, Key::SendBuffer)?,
        receive_buffer: socket_buffer(given, Key::ReceiveBuffer)?,
        metadata_max_age: given.millis(Key::MetadataMaxAge)?,
        metadata_max_idle: given.millis(Key::MetadataMaxIdle)?,
        metadata_recovery: metadata_recovery(given)?,
        on_gap: on_gap(given)?,
        fencing: fencing(given)?,
        partition_verification: partition_verification(given)?,
        warnings: Vec::new(),
    })
}

/// C-1: at least one address, none of them empty or given twice.
fn bootstrap_servers(given: &Given<'_>) -> Result<Vec<BrokerAddress>, ConfigError> {
    let text = given.text(Key::BootstrapServers).ok_or(ConfigError::Missing {
        key: Key::BootstrapServers.name(),
        needed: "the producer asks these brokers for the cluster's metadata, for example localhost:9092",
    })?;
    let entries: Vec<&str> = text.split(',').map(str::trim).collect();
    if entries.contains(&"") {
        return Err(given.refuse(
            Key::BootstrapServers,
            "one or more addresses host:port, separated by commas, none of them empty",
        ));
    }
    let servers = BrokerAddress::parse_list(text)
        .map_err(|problem| given.refuse(Key::BootstrapServers, problem.to_string()))?;
    match (1..servers.len()).find(|index| servers[..*index].contains(&servers[*index])) {
        Some(twice) => {
            let allowed = format!("each address once; {} is there twice", entries[twice]);
            Err(given.refuse(Key::BootstrapServers, allowed))
        }
        None => Ok(servers),
    }
}

fn acks(given: &Given<'_>) -> Result<Acks, ConfigError> {
    match given.choice(Key::Acks)? {
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        _ => Ok(Acks::All),
    }
}

/// H07.
fn on_gap(given: &Given<'_>) -> Result<OnGap, ConfigError> {
    match given.choice(Key::OnGap)? {
        "continue" => Ok(OnGap::Continue),
        _ => Ok(OnGap::Stop),
    }
}

/// H01, R6.
fn fencing(given: &Given<'_>) -> Result<Fencing, ConfigError> {
    if given.switch(Key::FenceEveryTransaction)? {
        Ok(Fencing::EveryTransaction)
    } else {
        Ok(Fencing::WhenUnanswered)
    }
}

/// H03.
fn partition_verification(given: &Given<'_>) -> Result<PartitionVerification, ConfigError> {
    if given.switch(Key::BrokersVerifyPartitions)? {
        Ok(PartitionVerification::Enabled)
    } else {
        Ok(PartitionVerification::NotProven)
    }
}

fn transactional_id(given: &Given<'_>) -> Result<Option<String>, ConfigError> {
    let allowed = "a name that is not empty and stays the same across restarts of this instance";
    match given.text(Key::TransactionalId) {
        Some("") => Err(given.refuse(Key::TransactionalId, allowed)),
        text => Ok(text.map(str::to_owned)),
    }
}

/// The codec and its level. Every level is checked, whichever codec was chosen (C-50).
fn compression(given: &Given<'_>) -> Result<(Compression, Option<i32>), ConfigError> {
    let gzip = gzip_level(given)?;
    let level = |number: i64| i32::try_from(number).ok();
    let lz4 = level(given.number(Key::Lz4Level)?);
    let zstd = level(given.number(Key::ZstdLevel)?);
    match given.choice(Key::CompressionType)? {
        "gzip" => Ok((Compression::Gzip, gzip)),
        "snappy" => Ok((Compression::Snappy, None)),
        "lz4" => Ok((Compression::Lz4, lz4)),
        "zstd" => Ok((Compression::Zstd, zstd)),
        _ => Ok((Compression::None, None)),
    }
}

/// C-19: the codec's default (-1) or 1 to 9; a level 0, which would store, is none.
fn gzip_level(given: &Given<'_>) -> Result<Option<i32>, ConfigError> {
    let allowed = "-1 for the codec's default, or a whole number from 1 to 9";
    match given.text(Key::GzipLevel) {
        None | Some("-1") => Ok(None),
        Some(text) => match text.parse() {
            Ok(level @ 1..=9) => Ok(Some(level)),
            _ => Err(given.refuse(Key::GzipLevel, allowed)),
        },
    }
}

/// C-20, C-23: a partitioner given in code wins over a class by name, and both over `partitioner.ignore.keys`.
fn partitioning(
    given: &Given<'_>,
    partitioner: Option<Arc<dyn Partitioner>>,
    warnings: &mut Warnings,
) -> Result<Partitioning, ConfigError> {
    let built_in = if given.switch(Key::IgnoreKeys)? {
        Partitioning::IgnoredKeys
    } else {
        Partitioning::HashedKeys
    };
    if let Some(own) = partitioner {
        if given.has(Key::PartitionerClass) {
            warnings.warn(
                Key::PartitionerClass.name(),
                "the partitioner that was given in code wins",
            );
        }
        return Ok(Partitioning::Custom(own));
    }
    let Some(class) = given.text(Key::PartitionerClass) else {
        return Ok(built_in);
    };
    let removed = "Kafka 4.0 removed this class; leave partitioner.class out";
    match class.rsplit('.').next().unwrap_or(class) {
        "" => Ok(built_in),
        "RoundRobinPartitioner" => Ok(Partitioning::RoundRobin),
        "DefaultPartitioner" => {
            warnings.warn(Key::PartitionerClass.name(), removed);
            Ok(built_in)
        }
        "UniformStickyPartitioner" => {
            let instead = format!("{removed}, and set partitioner.ignore.keys = true");
            warnings.warn(Key::PartitionerClass.name(), instead);
            Ok(Partitioning::IgnoredKeys)
        }
        _ => {
            let allowed = "nothing, or RoundRobinPartitioner; classes of Java cannot be loaded, so give a partitioner of your own in code";
            Err(given.refuse(Key::PartitionerClass, allowed))
        }
    }
}

/// A base and a largest wait (C-25 … C-27); which of them wins is a rule.
fn pair(given: &Given<'_>, base: Key, largest: Key) -> Result<(Duration, Duration), ConfigError> {
    Ok((given.millis(base)?, given.millis(largest)?))
}

/// C-28: a negative number never closes an idle connection.
fn connections_max_idle(given: &Given<'_>) -> Result<Option<Duration>, ConfigError> {
    let millis = given.number(Key::ConnectionsMaxIdle)?;
    Ok(u64::try_from(millis).ok().map(Duration::from_millis))
}

/// C-29: -1 leaves the size to the system.
fn socket_buffer(given: &Given<'_>, key: Key) -> Result<Option<u32>, ConfigError> {
    Ok(u32::try_from(given.number(key)?).ok())
}

/// C-32, C-33. The trigger is checked also where the strategy does not use it.
fn metadata_recovery(given: &Given<'_>) -> Result<RecoveryStrategy, ConfigError> {
    let trigger = given.millis(Key::RebootstrapTrigger)?;
    match given.choice(Key::RecoveryStrategy)? {
        "none" => Ok(RecoveryStrategy::None),
        _ => Ok(RecoveryStrategy::Rebootstrap { trigger }),
    }
}

/// C-21, C-22.
fn sticky_choice(given: &Given<'_>) -> Result<StickyChoice, ConfigError> {
    let timeout = given.millis(Key::AvailabilityTimeout)?;
    let adaptive = StickyChoice::Adaptive {
        availability_timeout: (!timeout.is_zero()).then_some(timeout),
    };
    if given.switch(Key::AdaptivePartitioning)? {
        Ok(adaptive)
    } else {
        Ok(StickyChoice::Uniform)
    }
}

/// Keys that are checked as Kafka checks them, although nothing here follows them (yet).
fn without_effect(given: &Given<'_>, warnings: &mut Warnings) -> Result<(), ConfigError> {
    let told = |key: Key, why: &str, warnings: &mut Warnings| {
        if given.has(key) {
            warnings.warn(given.spelling(key), why);
        }
    };
    // C-34
    if given.text(Key::DnsLookup) == Some("resolve_canonical_bootstrap_servers_only") {
        let allowed = "use_all_dns_ips; canonical names are not there yet";
        return Err(given.refuse(Key::DnsLookup, allowed));
    }
    given.choice(Key::DnsLookup)?;
    // C-38
    if given.switch(Key::MetricsPush)? {
        told(
            Key::MetricsPush,
            "metrics are not pushed to brokers yet",
            warnings,
        );
    }
    // C-39
    given.number(Key::MetricsWindow)?;
    given.number(Key::MetricsSamples)?;
    given.choice(Key::MetricsLevel)?;
    for key in [Key::MetricsWindow, Key::MetricsSamples, Key::MetricsLevel] {
        told(
            key,
            "metrics() counts everything from the start of the producer; rates are differences of two snapshots",
            warnings,
        );
    }
    Ok(())
}
