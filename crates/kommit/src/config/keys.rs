//! The table of keys: name, range and default of each, and the rules between them (C-1 … C-51).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kommit_network::BrokerAddress;
use kommit_protocol::batch::Compression;

use super::{Acks, ConfigError, ProducerConfig};

macro_rules! keys {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A key that a producer knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Key { $($variant),+ }

        impl Key {
            const ALL: &[Key] = &[$(Key::$variant),+];

            /// Kafka's name of the key.
            pub(super) fn name(self) -> &'static str {
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
    CompressionType = "compression.type",
    GzipLevel = "compression.gzip.level",
    Lz4Level = "compression.lz4.level",
    ZstdLevel = "compression.zstd.level",
    IgnoreKeys = "partitioner.ignore.keys",
    RetryBackoff = "retry.backoff.ms",
    RetryBackoffMax = "retry.backoff.max.ms",
    ReconnectBackoff = "reconnect.backoff.ms",
    ReconnectBackoffMax = "reconnect.backoff.max.ms",
    ConnectionSetupTimeout = "socket.connection.setup.timeout.ms",
    ConnectionSetupTimeoutMax = "socket.connection.setup.timeout.max.ms",
    ConnectionsMaxIdle = "connections.max.idle.ms",
    MetadataMaxAge = "metadata.max.age.ms",
    MetadataMaxIdle = "metadata.max.idle.ms",
    SecurityProtocol = "security.protocol",
}

/// Ids of producers without a `client.id` or `transactional.id`, from 1 per process (C-3).
static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

const MAX_I32: i64 = i32::MAX as i64;

/// The values that were given, each known to belong to a key.
struct Given<'a>(BTreeMap<Key, &'a str>);

impl<'a> Given<'a> {
    fn new(texts: &'a BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut given = BTreeMap::new();
        for (name, value) in texts {
            let key = Key::ALL.iter().copied().find(|key| key.name() == name);
            let key = key.ok_or_else(|| ConfigError::UnknownKey {
                key: name.clone(),
                hint: hint(name),
            })?;
            given.insert(key, value.trim());
        }
        Ok(Self(given))
    }

    fn has(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    fn text(&self, key: Key) -> Option<&'a str> {
        self.0.get(&key).copied()
    }

    /// The number under `key`, or `default`; anything but a whole number in `range` is an error.
    fn number(
        &self,
        key: Key,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, ConfigError> {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        match text.parse::<i64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => {
                let allowed = format!("a whole number from {} to {}", range.start(), range.end());
                Err(ConfigError::value(key.name(), text, allowed))
            }
        }
    }

    fn millis(&self, key: Key, default: i64, most: i64) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(
            self.number(key, default, 0..=most)?.unsigned_abs(),
        ))
    }

    /// A base and a largest back-off; a base above the largest makes a constant one (C-25 … C-27).
    fn backoff(&self, base: (Key, i64), largest: (Key, i64)) -> Result<(Duration, Duration), ConfigError> {
        let first = self.millis(base.0, base.1, i64::MAX)?;
        let most = self.millis(largest.0, largest.1, i64::MAX)?;
        // N-13: a reconnect back-off without a maximum is constant; for the others the larger default stays.
        if base.0 == Key::ReconnectBackoff && self.has(base.0) && !self.has(largest.0) {
            return Ok((first, first));
        }
        if first > most {
            tracing::warn!(
                key = base.0.name(),
                "back-off is above its maximum and stays constant at the maximum"
            );
        }
        Ok((first.min(most), most))
    }

    fn switch(&self, key: Key, default: bool) -> Result<bool, ConfigError> {
        match self.text(key).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => {
                let text = self.text(key).unwrap_or_default();
                Err(ConfigError::value(key.name(), text, "true or false"))
            }
        }
    }
}

fn size(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What somebody probably meant by an unknown key.
fn hint(name: &str) -> String {
    let known = Key::ALL.iter().map(|key| key.name());
    let spelled = |text: &str| text.replace(['_', '-'], ".").to_ascii_lowercase();
    if let Some(same) = known.clone().find(|key| spelled(name) == *key) {
        return format!(": did you mean {same}?");
    }
    match known
        .clone()
        .find(|key| key.starts_with(name) || name.starts_with(key))
    {
        Some(near) => format!(": did you mean {near}?"),
        None => format!(": the keys are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// All checks in their order: each key's range, then the combinations (C-51).
pub(super) fn parse(texts: &BTreeMap<String, String>) -> Result<ProducerConfig, ConfigError> {
    let given = Given::new(texts)?;
    let acks = acks(&given)?;
    let max_in_flight = given.number(Key::MaxInFlight, 5, 1..=MAX_I32)?;
    let retries = given.number(Key::Retries, MAX_I32, 0..=MAX_I32)?;
    let transactional_id = transactional_id(&given)?;
    let (compression, compression_level) = compression(&given)?;
    let mut config = ProducerConfig {
        bootstrap_servers: bootstrap_servers(&given)?,
        client_id: given.text(Key::ClientId).unwrap_or_default().to_owned(),
        acks,
        idempotence: true,
        transaction_timeout: Duration::from_millis(
            given
                .number(Key::TransactionTimeout, 60_000, 1..=MAX_I32)?
                .unsigned_abs(),
        ),
        retries: u32::try_from(retries).unwrap_or(u32::MAX),
        delivery_timeout: given.millis(Key::DeliveryTimeout, 120_000, MAX_I32)?,
        request_timeout: given.millis(Key::RequestTimeout, 30_000, MAX_I32)?,
        linger: given
            .millis(Key::Linger, 5, i64::MAX)?
            .min(Duration::from_millis(MAX_I32.unsigned_abs())),
        batch_size: size(given.number(Key::BatchSize, 16_384, 0..=MAX_I32)?.max(1)),
        buffer_memory: size(given.number(Key::BufferMemory, 33_554_432, 0..=i64::MAX)?),
        max_block: given.millis(Key::MaxBlock, 60_000, i64::MAX)?,
        max_request_size: size(given.number(Key::MaxRequestSize, 1_048_576, 0..=MAX_I32)?),
        max_in_flight: size(max_in_flight),
        ignore_keys: given.switch(Key::IgnoreKeys, false)?,
        compression,
        compression_level,
        retry_backoff: given.backoff((Key::RetryBackoff, 100), (Key::RetryBackoffMax, 1_000))?,
        reconnect_backoff: given.backoff((Key::ReconnectBackoff, 50), (Key::ReconnectBackoffMax, 1_000))?,
        connection_setup_timeout: given.backoff(
            (Key::ConnectionSetupTimeout, 10_000),
            (Key::ConnectionSetupTimeoutMax, 30_000),
        )?,
        connections_max_idle: connections_max_idle(&given)?,
        metadata_max_age: given.millis(Key::MetadataMaxAge, 300_000, i64::MAX)?,
        metadata_max_idle: Duration::from_millis(
            given
                .number(Key::MetadataMaxIdle, 300_000, 5_000..=i64::MAX)?
                .unsigned_abs(),
        ),
        transactional_id,
    };
    security_protocol(&given)?;
    config.idempotence = idempotence(&given, &config)?;
    if !given.has(Key::ClientId) {
        config.client_id = generated_client_id(config.transactional_id.as_deref());
    }
    config.delivery_timeout = delivery_timeout(&given, &config)?;
    Ok(config)
}

fn bootstrap_servers(given: &Given<'_>) -> Result<Vec<BrokerAddress>, ConfigError> {
    let key = Key::BootstrapServers.name();
    let text = given.text(Key::BootstrapServers).ok_or(ConfigError::Missing {
        key,
        needed: "the producer asks these brokers for the cluster's metadata, for example localhost:9092",
    })?;
    BrokerAddress::parse_list(text).map_err(|problem| ConfigError::value(key, text, problem.to_string()))
}

fn acks(given: &Given<'_>) -> Result<Acks, ConfigError> {
    match given.text(Key::Acks) {
        None | Some("all" | "-1") => Ok(Acks::All),
        Some("1") => Ok(Acks::Leader),
        Some("0") => Ok(Acks::None),
        Some(text) => Err(ConfigError::value(Key::Acks.name(), text, "one of all, -1, 0, 1")),
    }
}

fn transactional_id(given: &Given<'_>) -> Result<Option<String>, ConfigError> {
    match given.text(Key::TransactionalId) {
        Some("") => {
            let allowed = "a name that is not empty and stays the same across restarts of this instance";
            Err(ConfigError::value(Key::TransactionalId.name(), "", allowed))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// The codec and its level. Every level is checked, whichever codec was chosen (C-50).
fn compression(given: &Given<'_>) -> Result<(Compression, Option<i32>), ConfigError> {
    let gzip = gzip_level(given)?;
    let level = |number: i64| i32::try_from(number).ok();
    let lz4 = level(given.number(Key::Lz4Level, 9, 1..=17)?);
    let zstd = level(given.number(Key::ZstdLevel, 3, -131_072..=22)?);
    match given.text(Key::CompressionType).unwrap_or("none") {
        "none" => Ok((Compression::None, None)),
        "gzip" => Ok((Compression::Gzip, gzip)),
        "snappy" => Ok((Compression::Snappy, None)),
        "lz4" => Ok((Compression::Lz4, lz4)),
        "zstd" => Ok((Compression::Zstd, zstd)),
        text => {
            let allowed = "one of none, gzip, snappy, lz4, zstd";
            Err(ConfigError::value(Key::CompressionType.name(), text, allowed))
        }
    }
}

/// C-19: the codec's default (-1) or 1 to 9; a level 0, which would store, is none.
fn gzip_level(given: &Given<'_>) -> Result<Option<i32>, ConfigError> {
    let allowed = "-1 for the codec's default, or a whole number from 1 to 9";
    match given.text(Key::GzipLevel) {
        None | Some("-1") => Ok(None),
        Some(text) => match text.parse() {
            Ok(level @ 1..=9) => Ok(Some(level)),
            _ => Err(ConfigError::value(Key::GzipLevel.name(), text, allowed)),
        },
    }
}

fn connections_max_idle(given: &Given<'_>) -> Result<Option<Duration>, ConfigError> {
    let millis = given.number(Key::ConnectionsMaxIdle, 540_000, i64::MIN..=i64::MAX)?;
    Ok(u64::try_from(millis).ok().map(Duration::from_millis))
}

fn security_protocol(given: &Given<'_>) -> Result<(), ConfigError> {
    match given.text(Key::SecurityProtocol) {
        None => Ok(()),
        Some(text) if text.eq_ignore_ascii_case("PLAINTEXT") => Ok(()),
        Some(text) => {
            let allowed = "PLAINTEXT (TLS and SASL are not there yet)";
            Err(ConfigError::value(Key::SecurityProtocol.name(), text, allowed))
        }
    }
}

/// Whether the producer is idempotent: asked for, or by default where nothing contradicts it (C-42 … C-45).
fn idempotence(given: &Given<'_>, config: &ProducerConfig) -> Result<bool, ConfigError> {
    let wanted = given.switch(Key::EnableIdempotence, true)?;
    let explicit = given.has(Key::EnableIdempotence);
    let mut idempotent = wanted;
    if wanted && config.retries == 0 {
        if explicit {
            let reason = "an idempotent producer repeats a batch until its fate is known; leave retries at its default";
            return Err(ConfigError::combination(
                "enable.idempotence = true and retries = 0",
                reason,
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
        let reason = "transactions need idempotence: remove enable.idempotence = false, retries = 0 and acks other than all";
        return Err(ConfigError::combination(
            "transactional.id and a producer that is not idempotent",
            reason,
        ));
    }
    Ok(idempotent)
}

fn generated_client_id(transactional_id: Option<&str>) -> String {
    match transactional_id {
        Some(id) => format!("producer-{id}"),
        None => format!("producer-{}", NEXT_CLIENT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// The delivery time-out leaves room for one linger and one request (C-46).
fn delivery_timeout(given: &Given<'_>, config: &ProducerConfig) -> Result<Duration, ConfigError> {
    let least = config.linger.saturating_add(config.request_timeout);
    if config.delivery_timeout >= least {
        return Ok(config.delivery_timeout);
    }
    if given.has(Key::DeliveryTimeout) {
        let keys = format!("delivery.timeout.ms = {}", config.delivery_timeout.as_millis());
        let reason = format!(
            "it must be at least linger.ms + request.timeout.ms = {}",
            least.as_millis()
        );
        return Err(ConfigError::combination(
            keys + ", linger.ms and request.timeout.ms",
            reason,
        ));
    }
    tracing::warn!("delivery.timeout.ms raised to linger.ms + request.timeout.ms");
    Ok(least.min(Duration::from_millis(MAX_I32.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(pairs: &[(&str, &str)]) -> Result<ProducerConfig, ConfigError> {
        let start = ProducerConfig::builder().set("bootstrap.servers", "localhost:9092");
        pairs
            .iter()
            .fold(start, |builder, (key, value)| builder.set(*key, *value))
            .build()
    }

    fn refused(pairs: &[(&str, &str)]) -> String {
        built(pairs).expect_err("the settings are not valid").to_string()
    }

    /// C-1 … C-31: a producer that was told nothing has Kafka's defaults.
    #[test]
    fn the_defaults_are_kafkas() {
        let config = built(&[]).expect("only bootstrap.servers is required");
        assert_eq!(config.acks, Acks::All);
        assert!(config.idempotence);
        assert_eq!(config.linger, Duration::from_millis(5));
        assert_eq!(config.batch_size, 16_384);
        assert_eq!(config.buffer_memory, 32 << 20);
        assert_eq!(config.delivery_timeout, Duration::from_secs(120));
        assert_eq!(config.max_in_flight, 5);
        assert_eq!(config.retries, 2_147_483_647);
    }

    /// C-1: nothing works without an address, and the error says what one looks like.
    #[test]
    fn bootstrap_servers_are_required() {
        let error = ProducerConfig::builder()
            .build()
            .expect_err("no address")
            .to_string();
        assert!(error.starts_with("bootstrap.servers is missing"), "{error}");
    }

    /// C-4, C-49: only the four spellings of acks are taken, case included.
    #[test]
    fn acks_has_four_spellings() {
        assert_eq!(
            built(&[("acks", " -1 ")]).map(|config| config.acks),
            Ok(Acks::All)
        );
        for text in ["ALL", "2", "+1", ""] {
            assert!(refused(&[("acks", text)]).contains("all, -1, 0, 1"));
        }
    }

    /// C-42, C-43: what contradicts idempotence is an error when idempotence was asked for, and switches it off otherwise.
    #[test]
    fn idempotence_gives_way_only_when_nobody_asked_for_it() {
        assert!(
            !built(&[("acks", "1")])
                .expect("default idempotence gives way")
                .idempotence
        );
        assert!(
            !built(&[("retries", "0")])
                .expect("default idempotence gives way")
                .idempotence
        );
        assert!(refused(&[("acks", "1"), ("enable.idempotence", "true")]).contains("acks = all"));
        assert!(refused(&[("retries", "0"), ("enable.idempotence", "true")]).contains("retries"));
    }

    /// C-44: more than five in flight is refused even where idempotence would be switched off by another rule.
    #[test]
    fn six_in_flight_are_too_many_for_an_idempotent_producer() {
        let six = ("max.in.flight.requests.per.connection", "6");
        assert!(refused(&[six]).contains("at most 5"));
        assert!(refused(&[six, ("acks", "1")]).contains("at most 5"));
        assert!(built(&[six, ("enable.idempotence", "false")]).is_ok());
    }

    /// C-15, C-45: transactions need a name and idempotence.
    #[test]
    fn a_transactional_id_needs_a_name_and_idempotence() {
        assert!(refused(&[("transactional.id", "  ")]).contains("not empty"));
        assert!(refused(&[("transactional.id", "t"), ("acks", "1")]).contains("idempotence"));
        let config = built(&[("transactional.id", "t")]).expect("a name is enough");
        assert_eq!(config.client_id, "producer-t");
    }

    /// C-46: a delivery time-out that leaves no room for a request is an error, and a default one is raised.
    #[test]
    fn the_delivery_timeout_leaves_room_for_a_request() {
        assert!(refused(&[("delivery.timeout.ms", "30000")]).contains("30005"));
        let raised = built(&[("request.timeout.ms", "130000")]).expect("the default is raised");
        assert_eq!(raised.delivery_timeout, Duration::from_millis(130_005));
    }

    /// C-18: five spellings, and the level belongs to the codec that was chosen.
    #[test]
    fn compression_has_five_spellings_and_a_level() {
        let chosen = |pairs: &[(&str, &str)]| {
            let config = built(pairs).expect("valid");
            (config.compression, config.compression_level)
        };
        assert_eq!(chosen(&[]), (Compression::None, None));
        assert_eq!(chosen(&[("compression.type", "gzip")]), (Compression::Gzip, None));
        assert_eq!(
            chosen(&[("compression.type", "snappy")]),
            (Compression::Snappy, None)
        );
        assert_eq!(
            chosen(&[("compression.type", "lz4")]),
            (Compression::Lz4, Some(9))
        );
        assert_eq!(
            chosen(&[("compression.type", "zstd")]),
            (Compression::Zstd, Some(3))
        );
        let levels = [("compression.type", "gzip"), ("compression.gzip.level", "1")];
        assert_eq!(chosen(&levels), (Compression::Gzip, Some(1)));
        assert!(refused(&[("compression.type", "GZIP")]).contains("one of none, gzip, snappy, lz4, zstd"));
    }

    /// C-19, C-50: a level out of its codec's range is refused, also where another codec was chosen.
    #[test]
    fn every_compression_level_is_checked() {
        for (key, wrong) in [
            ("compression.gzip.level", "0"),
            ("compression.gzip.level", "10"),
            ("compression.lz4.level", "0"),
            ("compression.lz4.level", "18"),
            ("compression.zstd.level", "-131073"),
            ("compression.zstd.level", "23"),
        ] {
            let text = refused(&[(key, wrong), ("compression.type", "snappy")]);
            assert!(text.starts_with(&format!("{key} = \"{wrong}\"")), "{text}");
        }
        for (key, right) in [
            ("compression.gzip.level", "-1"),
            ("compression.gzip.level", "9"),
            ("compression.lz4.level", "17"),
            ("compression.zstd.level", "-131072"),
            ("compression.zstd.level", "22"),
        ] {
            assert!(built(&[(key, right)]).is_ok(), "{key} = {right}");
        }
    }

    /// C-16, D-22: a transaction time-out of nothing is refused before any request is built.
    #[test]
    fn a_transaction_timeout_is_positive() {
        assert!(refused(&[("transaction.timeout.ms", "0")]).contains("from 1 to"));
    }

    /// N-13: a reconnect back-off without its maximum is constant.
    #[test]
    fn a_reconnect_backoff_alone_is_constant() {
        let config = built(&[("reconnect.backoff.ms", "70")]).expect("valid");
        assert_eq!(
            config.reconnect_backoff,
            (Duration::from_millis(70), Duration::from_millis(70))
        );
    }

    #[test]
    fn an_unknown_key_gets_a_hint() {
        assert!(refused(&[("linger_ms", "5")]).contains("did you mean linger.ms"));
        assert!(refused(&[("nonsense", "5")]).contains("bootstrap.servers"));
    }

    #[test]
    fn properties_are_lines_with_comments() {
        let text = "# where\nbootstrap.servers = localhost:9092\n\n! how\nlinger.ms=7\n";
        assert_eq!(
            ProducerConfig::from_properties(text).expect("valid").linger,
            Duration::from_millis(7)
        );
        let broken = ProducerConfig::from_properties("bootstrap.servers").expect_err("no value");
        assert!(broken.to_string().contains("line 1"), "{broken}");
    }
}
