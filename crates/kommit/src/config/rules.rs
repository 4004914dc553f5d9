//! What keys do to each other (C-42 … C-48), in the order in which Kafka's producer looks (C-51).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kommit_accumulator::{Partitioning, StickyChoice};
use kommit_protocol::batch::Compression;

use super::given::Given;
use super::keys::Key;
use super::warning::Warnings;
use super::{Acks, ConfigError, ProducerConfig};

/// Ids of producers without a `client.id` or `transactional.id`, from 1 per process (C-3).
static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

/// Checks all combinations, and settles what depends on more than one key.
pub(super) fn apply(
    given: &Given<'_>,
    config: &mut ProducerConfig,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    security(given)?;
    backoffs(given, config, warnings);
    config.idempotence = idempotence(given, config)?;
    two_phase_commit(given)?;
    if !given.has(Key::ClientId) {
        config.client_id = generated_client_id(config.transactional_id.as_deref());
    }
    config.delivery_timeout = delivery_timeout(given, config, warnings)?;
    tell_what_has_no_effect(given, config, warnings);
    Ok(())
}

/// C-35, C-48.
fn security(given: &Given<'_>) -> Result<(), ConfigError> {
    let Some(text) = given.text(Key::SecurityProtocol) else {
        return Ok(());
    };
    match text.to_ascii_uppercase().as_str() {
        "PLAINTEXT" => Ok(()),
        protocol @ ("SASL_PLAINTEXT" | "SASL_SSL") if given.text(Key::SaslMechanism) == Some("") => {
            let keys = format!(
                "{} = {protocol} and an empty sasl.mechanism",
                Key::SecurityProtocol.name()
            );
            Err(ConfigError::combination(keys, "SASL needs a mechanism"))
        }
        "SSL" | "SASL_PLAINTEXT" | "SASL_SSL" => Err(given.refuse(
            Key::SecurityProtocol,
            "PLAINTEXT (TLS and SASL are not there yet)",
        )),
        _ => Err(given.refuse(
            Key::SecurityProtocol,
            "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
        )),
    }
}

/// C-25 … C-27: a base above the largest wait makes a constant one.
fn backoffs(given: &Given<'_>, config: &mut ProducerConfig, warnings: &mut Warnings) {
    // N-13: a reconnect back-off without a maximum is constant; for the others the larger default stays.
    if given.has(Key::ReconnectBackoff) && !given.has(Key::ReconnectBackoffMax) {
        config.reconnect_backoff.1 = config.reconnect_backoff.0;
    }
    for (key, largest, wait) in [
        (Key::RetryBackoff, Key::RetryBackoffMax, &mut config.retry_backoff),
        (
            Key::ConnectionSetupTimeout,
            Key::ConnectionSetupTimeoutMax,
            &mut config.connection_setup_timeout,
        ),
        (
            Key::ReconnectBackoff,
            Key::ReconnectBackoffMax,
            &mut config.reconnect_backoff,
        ),
    ] {
        if wait.0 > wait.1 {
            let text = format!(
                "{} ms is above {} = {} and stays constant there",
                wait.0.as_millis(),
                largest.name(),
                wait.1.as_millis()
            );
            warnings.warn(given.spelling(key), text);
            wait.0 = wait.1;
        }
    }
}

/// Whether the producer is idempotent: asked for, or by default where nothing contradicts it (C-42 … C-45).
fn idempotence(given: &Given<'_>, config: &ProducerConfig) -> Result<bool, ConfigError> {
    let wanted = config.idempotence;
    let explicit = given.has(Key::EnableIdempotence);
    let mut idempotent = wanted;
    if wanted && config.retries == 0 {
        if explicit {
            return Err(ConfigError::combination(
                "enable.idempotence = true and retries = 0",
                "an idempotent producer repeats a batch until its fate is known; leave retries at its default",
            ));
        }
        tracing::info!("retries = 0 switches idempotence off");
        idempotent = false;
    }
    if wanted && config.acks != Acks::All {
        if explicit {
            let keys = format!("enable.idempotence = true and acks = {}", config.acks.wire());
            return Err(ConfigError::combination(
                keys,
                "an idempotent producer needs acks = all",
            ));
        }
        tracing::info!("acks other than all switches idempotence off");
        idempotent = false;
    }
    if wanted && config.max_in_flight > 5 {
        let keys = format!(
            "idempotence and {} = {}",
            Key::MaxInFlight.name(),
            config.max_in_flight
        );
        return Err(ConfigError::combination(
            keys,
            "a broker remembers five batches; set at most 5",
        ));
    }
    if config.transactional_id.is_some() && !idempotent {
        return Err(ConfigError::combination(
            "transactional.id and a producer that is not idempotent",
            "transactions need idempotence: remove enable.idempotence = false, retries = 0 and acks other than all",
        ));
    }
    Ok(idempotent)
}

/// C-17, C-47.
fn two_phase_commit(given: &Given<'_>) -> Result<(), ConfigError> {
    if !given.switch(Key::TwoPhaseCommit)? {
        return Ok(());
    }
    if given.has(Key::TransactionTimeout) {
        return Err(ConfigError::combination(
            "transaction.two.phase.commit.enable = true and transaction.timeout.ms",
            "a transaction that is committed in two phases has no time-out",
        ));
    }
    Err(given.refuse(Key::TwoPhaseCommit, "false (two-phase commit is not there yet)"))
}

fn generated_client_id(transactional_id: Option<&str>) -> String {
    match transactional_id {
        Some(id) => format!("producer-{id}"),
        None => format!("producer-{}", NEXT_CLIENT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// The delivery time-out leaves room for one linger and one request (C-46).
fn delivery_timeout(
    given: &Given<'_>,
    config: &ProducerConfig,
    warnings: &mut Warnings,
) -> Result<Duration, ConfigError> {
    let key = Key::DeliveryTimeout;
    let least = config.linger.saturating_add(config.request_timeout);
    if config.delivery_timeout >= least {
        return Ok(config.delivery_timeout);
    }
    let millis = least.as_millis();
    if given.has(key) {
        let keys = format!(
            "{} = {}, linger.ms and request.timeout.ms",
            given.spelling(key),
            config.delivery_timeout.as_millis()
        );
        let reason = format!("it must be at least linger.ms + request.timeout.ms = {millis}");
        return Err(ConfigError::combination(keys, reason));
    }
    warnings.warn(
        key.name(),
        format!("raised to linger.ms + request.timeout.ms = {millis}"),
    );
    Ok(least.min(Duration::from_millis(i32::MAX as u64)))
}

/// Settings that are valid and that another one makes idle.
fn tell_what_has_no_effect(given: &Given<'_>, config: &ProducerConfig, warnings: &mut Warnings) {
    let own_choice = matches!(
        config.partitioning,
        Partitioning::RoundRobin | Partitioning::Custom(_)
    );
    if given.has(Key::IgnoreKeys) && own_choice {
        warnings.warn(
            Key::IgnoreKeys.name(),
            "the partitioner decides; this key is for the built-in one",
        );
    }
    if given.has(Key::AvailabilityTimeout) && config.sticky_choice == StickyChoice::Uniform {
        warnings.warn(
            Key::AvailabilityTimeout.name(),
            "without adaptive partitioning slow brokers are not avoided",
        );
    }
    if given.has(Key::TransactionTimeout) && config.transactional_id.is_none() {
        warnings.warn(
            Key::TransactionTimeout.name(),
            "without transactional.id there are no transactions",
        );
    }
    if config.connections_max_idle == Some(Duration::ZERO) {
        warnings.warn(
            Key::ConnectionsMaxIdle.name(),
            "0 closes an idle connection at once; a negative number never closes one",
        );
    }
    if given.has(Key::SaslMechanism) {
        warnings.warn(
            given.spelling(Key::SaslMechanism),
            "it has no meaning here: TLS and SASL are not there yet, and security.protocol is PLAINTEXT",
        );
    }
    let levels = [
        (Key::GzipLevel, Compression::Gzip),
        (Key::Lz4Level, Compression::Lz4),
        (Key::ZstdLevel, Compression::Zstd),
    ];
    for (key, codec) in levels.into_iter().filter(|(key, _)| given.has(*key)) {
        if codec != config.compression {
            let text = format!(
                "compression.type is {}",
                given.text(Key::CompressionType).unwrap_or("none")
            );
            warnings.warn(key.name(), text);
        } else if codec == Compression::Lz4 {
            warnings.warn(key.name(), "this encoder has one level, the fast one");
        }
    }
}
