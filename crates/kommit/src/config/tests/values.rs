//! Each key by itself: default, range, and what an illegal value is told.

use kommit_accumulator::{Partitioner, Partitioning, Partitions, StickyChoice};
use kommit_network::RecoveryStrategy;
use kommit_protocol::batch::Compression;
use kommit_protocol::units::PartitionId;
use std::sync::Arc;

use super::{built, millis, refused, valid, warned};
use crate::{Acks, Fencing, OnGap, ProducerConfig};

/// C-4 … C-16: a producer that was told nothing sends as Kafka's does.
#[test]
fn the_defaults_of_sending_are_kafkas() {
    let config = valid(&[]);
    assert_eq!(config.acks, Acks::All);
    assert_eq!(config.retries, 2_147_483_647);
    assert_eq!(config.delivery_timeout, millis(120_000));
    assert_eq!(config.request_timeout, millis(30_000));
    assert_eq!(config.linger, millis(5));
    assert_eq!(config.batch_size, 16_384);
    assert_eq!(config.buffer_memory, 33_554_432);
    assert_eq!(config.max_block, millis(60_000));
    assert_eq!(config.max_request_size, 1_048_576);
    assert_eq!(config.max_in_flight, 5);
    assert!(config.idempotence);
    assert_eq!(config.transactional_id, None);
    assert_eq!(config.transaction_timeout, millis(60_000));
    assert!(config.warnings.is_empty());
}

/// C-18, C-20, C-25 … C-33: and it connects as Kafka's does.
#[test]
fn the_defaults_of_connections_are_kafkas() {
    let config = valid(&[]);
    assert_eq!(
        (config.compression, config.compression_level),
        (Compression::None, None)
    );
    assert!(matches!(config.partitioning, Partitioning::HashedKeys));
    assert_eq!(config.retry_backoff, (millis(100), millis(1_000)));
    assert_eq!(config.reconnect_backoff, (millis(50), millis(1_000)));
    assert_eq!(config.connection_setup_timeout, (millis(10_000), millis(30_000)));
    assert_eq!(config.connections_max_idle, Some(millis(540_000)));
    assert_eq!(
        (config.send_buffer, config.receive_buffer),
        (Some(131_072), Some(32_768))
    );
    assert_eq!(config.metadata_max_age, millis(300_000));
    assert_eq!(config.metadata_max_idle, millis(300_000));
    let rebootstrap = RecoveryStrategy::Rebootstrap {
        trigger: millis(300_000),
    };
    assert_eq!(config.metadata_recovery, rebootstrap);
}

/// C-5 … C-13, C-16, C-19, C-22, C-25 … C-31, C-33, C-39: both ends of each range are legal, the next numbers are not, and the error names key,
/// value and range.
#[test]
fn every_number_has_its_range() {
    let i32_max = i64::from(i32::MAX);
    for (key, least, most) in [
        ("retries", 0, i32_max),
        ("delivery.timeout.ms", 30_005, i32_max),
        ("request.timeout.ms", 0, i32_max),
        ("linger.ms", 0, i64::MAX),
        ("batch.size", 0, i32_max),
        ("buffer.memory", 0, i64::MAX),
        ("max.block.ms", 0, i64::MAX),
        ("max.request.size", 0, i32_max),
        ("max.in.flight.requests.per.connection", 1, 5),
        ("transaction.timeout.ms", 1, i32_max),
        ("compression.lz4.level", 1, 17),
        ("compression.zstd.level", -131_072, 22),
        ("partitioner.availability.timeout.ms", 0, i64::MAX),
        ("retry.backoff.ms", 0, i64::MAX),
        ("retry.backoff.max.ms", 0, i64::MAX),
        ("reconnect.backoff.ms", 0, i64::MAX),
        ("reconnect.backoff.max.ms", 0, i64::MAX),
        ("socket.connection.setup.timeout.ms", 0, i64::MAX),
        ("socket.connection.setup.timeout.max.ms", 0, i64::MAX),
        ("connections.max.idle.ms", i64::MIN, i64::MAX),
        ("send.buffer.bytes", -1, i32_max),
        ("receive.buffer.bytes", -1, i32_max),
        ("metadata.max.age.ms", 0, i64::MAX),
        ("metadata.max.idle.ms", 5_000, i64::MAX),
        ("metadata.recovery.rebootstrap.trigger.ms", 0, i64::MAX),
        ("metrics.sample.window.ms", 0, i64::MAX),
        ("metrics.num.samples", 1, i32_max),
    ] {
        for legal in [least, most] {
            valid(&[(key, &legal.to_string())]);
        }
        let outside = [i128::from(least) - 1, i128::from(most) + 1].map(|number| number.to_string());
        for wrong in outside.iter().map(String::as_str).chain(["5.0", "five", ""]) {
            let text = refused(&[(key, wrong)]);
            assert!(
                text.contains(key) && text.contains(wrong),
                "{key} = {wrong}: {text}"
            );
        }
    }
}

/// C-1: nothing works without an address, and the error says what one looks like.
#[test]
fn bootstrap_servers_are_required() {
    let error = ProducerConfig::builder()
        .build()
        .expect_err("no address")
        .to_string();
    assert!(error.starts_with("bootstrap.servers is missing"), "{error}");
    assert!(error.contains("localhost:9092"), "{error}");
}

/// C-1: an empty entry, an entry without a port, and an address that is there twice are refused.
#[test]
fn bootstrap_servers_is_a_list_of_different_addresses() {
    let two = valid(&[("bootstrap.servers", "one:9092, two:9092")]);
    assert_eq!(two.bootstrap_servers.len(), 2);
    for (wrong, said) in [
        ("", "none of them empty"),
        ("one:9092,", "none of them empty"),
        ("one:9092,,two:9092", "none of them empty"),
        ("one", "has no port"),
        ("one:9092,two:9092,one:9092", "one:9092 is there twice"),
    ] {
        let text = refused(&[("bootstrap.servers", wrong)]);
        assert!(text.contains(said), "{wrong}: {text}");
    }
}

/// C-3: a generated name has the transactional id, or a number that no other producer of the process has; an empty name that was given stays empty.
#[test]
fn a_client_id_is_generated_only_when_none_is_given() {
    assert_eq!(valid(&[("transactional.id", "t")]).client_id, "producer-t");
    let numbers = [valid(&[]).client_id, valid(&[]).client_id];
    assert!(numbers.iter().all(|name| name.starts_with("producer-")));
    assert_ne!(numbers[0], numbers[1]);
    assert_eq!(valid(&[("client.id", "")]).client_id, "");
    assert_eq!(valid(&[("client.id", " billing ")]).client_id, "billing");
}

/// C-4, C-49: texts are trimmed, and then only the four spellings of acks are taken, case included.
#[test]
fn acks_has_four_spellings() {
    for (text, acks) in [
        ("all", Acks::All),
        (" -1 ", Acks::All),
        ("1", Acks::Leader),
        ("0", Acks::None),
    ] {
        assert_eq!(valid(&[("acks", text)]).acks, acks);
    }
    for text in ["ALL", "2", "+1", ""] {
        assert!(refused(&[("acks", text)]).contains("all, -1, 0, 1"));
    }
}

/// C-8, C-9: a linger beyond 31 bits is one of 31 bits, and a batch has room for something.
#[test]
fn linger_and_batch_size_have_an_inner_bound() {
    let most = millis(i32::MAX.unsigned_abs().into());
    let long = [
        ("linger.ms", "9223372036854775807"),
        ("delivery.timeout.ms", "2147483647"),
    ];
    let text = refused(&long);
    assert!(
        text.contains("2147513647"),
        "linger of 31 bits and a request: {text}"
    );
    assert_eq!(valid(&long[..1]).linger, most);
    assert_eq!(valid(&[("batch.size", "0")]).batch_size, 1);
}

/// C-14, C-17, C-21, C-23, C-38: a switch is true or false, in any case of letters.
#[test]
fn a_switch_is_true_or_false() {
    for key in [
        "enable.idempotence",
        "transaction.two.phase.commit.enable",
        "partitioner.adaptive.partitioning.enable",
        "partitioner.ignore.keys",
        "enable.metrics.push",
    ] {
        assert!(built(&[(key, "FALSE")]).is_ok(), "{key}");
        let text = refused(&[(key, "yes")]);
        assert_eq!(text, format!("{key} = \"yes\" is not valid: true or false"));
    }
}

/// C-16, D-22: a transaction time-out of nothing is refused before any request is built.
#[test]
fn a_transaction_timeout_is_positive() {
    assert!(refused(&[("transaction.timeout.ms", "0")]).contains("from 1 to"));
}

/// C-18: five spellings, and the level belongs to the codec that was chosen.
#[test]
fn compression_has_five_spellings_and_a_level() {
    for (name, codec, level) in [
        ("none", Compression::None, None),
        ("gzip", Compression::Gzip, None),
        ("snappy", Compression::Snappy, None),
        ("lz4", Compression::Lz4, Some(9)),
        ("zstd", Compression::Zstd, Some(3)),
    ] {
        let config = valid(&[("compression.type", name)]);
        assert_eq!((config.compression, config.compression_level), (codec, level));
    }
    let fastest = valid(&[("compression.type", "gzip"), ("compression.gzip.level", "1")]);
    assert_eq!(fastest.compression_level, Some(1));
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
    for right in ["-1", "1", "9"] {
        valid(&[("compression.gzip.level", right)]);
    }
}

/// The first partition for everything.
#[derive(Debug)]
struct First;

impl Partitioner for First {
    fn partition(&self, _: &str, _: Option<&[u8]>, _: Option<&[u8]>, _: &dyn Partitions) -> PartitionId {
        PartitionId(0)
    }
}

/// C-20, C-23: no class, Kafka's round robin, the two classes that Kafka 4.0 removed, or one's own in code, which wins.
#[test]
fn a_partitioner_is_built_in_or_given_in_code() {
    let class = |name: &str| valid(&[("partitioner.class", name)]).partitioning;
    assert!(matches!(class(""), Partitioning::HashedKeys));
    let package = "org.apache.kafka.clients.producer";
    let round_robin = class(&format!("{package}.RoundRobinPartitioner"));
    assert!(matches!(round_robin, Partitioning::RoundRobin));
    let default = class(&format!("{package}.internals.DefaultPartitioner"));
    assert!(matches!(default, Partitioning::HashedKeys));
    assert!(matches!(
        class("UniformStickyPartitioner"),
        Partitioning::IgnoredKeys
    ));
    assert!(refused(&[("partitioner.class", "com.example.Mine")]).contains("in code"));
    let ignored = valid(&[("partitioner.ignore.keys", "true")]).partitioning;
    assert!(matches!(ignored, Partitioning::IgnoredKeys));
    let own = ProducerConfig::builder()
        .bootstrap_servers("localhost:9092")
        .set("partitioner.class", "RoundRobinPartitioner")
        .partitioner(Arc::new(First))
        .build()
        .expect("one wins");
    assert!(matches!(own.partitioning, Partitioning::Custom(_)));
    assert!(own.warnings[0].to_string().contains("in code wins"));
}

/// C-28, C-29: a negative idle time never closes a connection, and a buffer of -1 is the system's.
#[test]
fn minus_one_leaves_connections_open_and_buffers_alone() {
    let idle = valid(&[("connections.max.idle.ms", "-1")]);
    assert_eq!(idle.connections_max_idle, None);
    let buffers = valid(&[("send.buffer.bytes", "-1"), ("receive.buffer.bytes", "-1")]);
    assert_eq!((buffers.send_buffer, buffers.receive_buffer), (None, None));
    assert!(warned(&[("connections.max.idle.ms", "0")])[0].contains("at once"));
}

/// C-32, C-33: the strategy is spelled in any case, and its trigger is checked in any case.
#[test]
fn metadata_recovers_by_starting_again_or_not_at_all() {
    let strategy = |pairs: &[(&str, &str)]| valid(pairs).metadata_recovery;
    assert_eq!(
        strategy(&[("metadata.recovery.strategy", "NONE")]),
        RecoveryStrategy::None
    );
    let trigger = [
        ("metadata.recovery.strategy", "Rebootstrap"),
        ("metadata.recovery.rebootstrap.trigger.ms", "7"),
    ];
    assert_eq!(
        strategy(&trigger),
        RecoveryStrategy::Rebootstrap { trigger: millis(7) }
    );
    assert!(refused(&[("metadata.recovery.strategy", "hope")]).contains("none, rebootstrap"));
    let wrong = [
        ("metadata.recovery.strategy", "none"),
        ("metadata.recovery.rebootstrap.trigger.ms", "-1"),
    ];
    assert!(refused(&wrong).contains("rebootstrap.trigger.ms = \"-1\""));
}

/// C-34, C-39: texts of a closed list are refused with the list.
#[test]
fn a_text_of_a_list_is_refused_with_the_list() {
    valid(&[
        ("client.dns.lookup", "use_all_dns_ips"),
        ("metrics.recording.level", "DEBUG"),
    ]);
    assert!(refused(&[("client.dns.lookup", "default")]).contains("use_all_dns_ips"));
    assert!(
        refused(&[("client.dns.lookup", "resolve_canonical_bootstrap_servers_only")]).contains("not there")
    );
    assert!(refused(&[("metrics.recording.level", "info")]).contains("one of INFO, DEBUG, TRACE"));
}

/// C-21, C-22: sticky partitions are chosen by their load unless that is switched off; slow brokers are avoided when asked for.
#[test]
fn sticky_partitions_are_chosen_by_their_load() {
    let adaptive = "partitioner.adaptive.partitioning.enable";
    let timeout = "partitioner.availability.timeout.ms";
    let choice = |pairs: &[(&str, &str)]| valid(pairs).sticky_choice;
    let by_load = |availability_timeout| StickyChoice::Adaptive { availability_timeout };
    assert_eq!(choice(&[]), by_load(None));
    assert_eq!(choice(&[(timeout, "0")]), by_load(None));
    assert_eq!(choice(&[(timeout, "250")]), by_load(Some(millis(250))));
    let uniform = [(adaptive, "false"), (timeout, "250")];
    assert_eq!(choice(&uniform), StickyChoice::Uniform);
    assert_eq!(warned(&uniform).len(), 1, "nothing is avoided without it");
}

/// C-38, C-39: what is understood and not followed is told.
#[test]
fn a_key_without_effect_is_warned_of() {
    for (key, value) in [("enable.metrics.push", "true"), ("metrics.num.samples", "3")] {
        let warnings = warned(&[(key, value)]);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(key),
            "{warnings:?}"
        );
    }
    assert!(warned(&[("enable.metrics.push", "false")]).is_empty());
}

/// H03: that brokers verify partitions is not taken for granted.
#[test]
fn partition_verification_has_to_be_told() {
    use crate::PartitionVerification::{Enabled, NotProven};
    assert_eq!(valid(&[]).partition_verification, NotProven);
    let told = valid(&[("brokers_verify_partitions", "true")]);
    assert_eq!(told.partition_verification, Enabled);
    let set = ProducerConfig::builder()
        .bootstrap_servers("localhost:9092")
        .partition_verification(Enabled)
        .build()
        .expect("valid");
    assert_eq!(set.partition_verification, Enabled);
}

/// H07, H01, R6: the two keys that Kafka does not have, by text and by setter; the careful choice where it costs nothing.
#[test]
fn gaps_stop_and_epochs_are_kept_unless_told_otherwise() {
    let config = valid(&[]);
    assert_eq!(
        (config.on_gap, config.fencing),
        (OnGap::Stop, Fencing::WhenUnanswered)
    );
    let config = valid(&[("on_gap", "continue"), ("fence_every_transaction", "true")]);
    assert_eq!(
        (config.on_gap, config.fencing),
        (OnGap::Continue, Fencing::EveryTransaction)
    );
    let set = ProducerConfig::builder()
        .bootstrap_servers("localhost:9092")
        .on_gap(OnGap::Continue)
        .fencing(Fencing::EveryTransaction)
        .build()
        .expect("valid");
    assert_eq!(
        (set.on_gap, set.fencing),
        (OnGap::Continue, Fencing::EveryTransaction)
    );
    assert!(refused(&[("on_gap", "ask")]).contains("one of stop, continue"));
}
