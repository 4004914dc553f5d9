//! Keys of others: what a file of a Java producer or of librdkafka may hold, and slips of the pen.

use super::super::librdkafka;
use super::{built, millis, refused, valid, warned};
use crate::Acks;

/// C-2, C-24, C-36, C-37, C-40, C-41: what a Java producer's file holds besides is accepted, and told.
#[test]
fn keys_of_java_are_warned_of() {
    for key in [
        "key.serializer",
        "value.serializer",
        "interceptor.classes",
        "ssl.truststore.location",
        "sasl.jaas.config",
        "metric.reporters",
        "config.providers",
        "security.providers",
    ] {
        let warnings = warned(&[(key, "anything")]);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(key),
            "{warnings:?}"
        );
        assert!(
            !warnings[0].contains("anything"),
            "a value may be a secret: {warnings:?}"
        );
    }
}

#[test]
fn keys_of_consumers_are_refused() {
    let text = refused(&[("group.id", "g")]);
    assert_eq!(
        text,
        "group.id = \"g\" cannot be followed: it is a consumer's key, and this is a producer"
    );
}

#[test]
fn keys_of_librdkafka_are_kafkas_with_a_hint() {
    let config = valid(&[
        ("queue.buffering.max.ms", "20.0"),
        ("queue.buffering.max.kbytes", "2048"),
        ("request.required.acks", "-1"),
        ("message.timeout.ms", "90000"),
        ("compression.codec", "lz4"),
        ("socket.send.buffer.bytes", "0"),
    ]);
    assert_eq!(config.linger, millis(20));
    assert_eq!(config.buffer_memory, 2 << 20);
    assert_eq!(config.acks, Acks::All);
    assert_eq!(config.delivery_timeout, millis(90_000));
    assert_eq!(config.send_buffer, None);
    let hints: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let hint = "queue.buffering.max.kbytes: this is librdkafka's name; Kafka's is buffer.memory = 2097152";
    assert!(hints.iter().any(|text| text == hint), "{hints:?}");
    assert_eq!(hints.len(), 6);
}

#[test]
fn a_value_that_kafkas_key_cannot_say_is_refused() {
    for (key, value, said) in [
        ("queue.buffering.max.ms", "0.5", "linger.ms"),
        ("message.timeout.ms", "0", "no unlimited time"),
        (
            "topic.metadata.refresh.interval.ms",
            "-1",
            "cannot be switched off",
        ),
        ("queue.buffering.max.kbytes", "much", "units of 1024 bytes"),
        ("batch.num.messages", "100", "batch.size"),
        ("partitioner", "consistent_random", "murmur2"),
    ] {
        let text = refused(&[(key, value)]);
        assert!(
            text.starts_with(&format!("{key} = \"{value}\"")) && text.contains(said),
            "{text}"
        );
    }
    let text = refused(&[("queue.buffering.max.ms", "-3")]);
    assert!(
        text.contains("linger.ms") && text.contains("given as queue.buffering.max.ms"),
        "{text}"
    );
}

#[test]
fn one_setting_under_two_names_is_a_contradiction() {
    let text = refused(&[("linger.ms", "5"), ("queue.buffering.max.ms", "5")]);
    assert!(text.contains("leave one of them out"), "{text}");
}

#[test]
fn every_key_of_librdkafka_leads_somewhere() {
    for name in librdkafka::names() {
        let outcome = built(&[(name, "1")]);
        let told = match &outcome {
            Ok(config) => {
                config.warnings.iter().any(|warning| warning.key == name) || name == "socket.max.fails"
            }
            Err(error) => error.to_string().contains(name),
        };
        assert!(told, "{name}: {outcome:?}");
    }
}

#[test]
fn a_slip_of_the_pen_gets_a_hint() {
    for (wrong, meant) in [
        ("linger_ms", "linger.ms"),
        ("Batch.Size", "batch.size"),
        ("delivery.timout.ms", "delivery.timeout.ms"),
        ("max.in.flight.requests", "max.in.flight.requests.per.connection"),
    ] {
        let text = refused(&[(wrong, "5")]);
        assert_eq!(text, format!("unknown key \"{wrong}\": did you mean {meant}?"));
    }
    assert!(refused(&[("nonsense", "5")]).contains("the keys are bootstrap.servers, "));
}

#[test]
fn the_order_of_settings_changes_nothing() {
    let pairs = [("acks", "2"), ("nonsense", "1"), ("retries", "-1")];
    let text = refused(&pairs);
    let backwards: Vec<_> = pairs.into_iter().rev().collect();
    assert_eq!(refused(&backwards), text);
}
