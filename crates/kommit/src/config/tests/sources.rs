//! Where texts come from: a file, the environment, and typed setters, all to the same keys.

use super::millis;
use crate::{ConfigError, ProducerBuilder, ProducerConfig};

#[test]
fn properties_are_lines_with_comments() {
    let text = "# where\nbootstrap.servers = localhost:9092\n\n! how\nlinger.ms=7\n";
    let config = ProducerConfig::from_properties(text).expect("valid");
    assert_eq!(config.linger, millis(7));
    let broken = ProducerConfig::from_properties("bootstrap.servers").expect_err("no value");
    assert!(broken.to_string().contains("line 1"), "{broken}");
}

fn from_variables(variables: &[(&str, &str)]) -> Result<ProducerBuilder, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ProducerConfig::builder().environment("KOMMIT", variables)
}

#[test]
fn variables_with_the_prefix_are_settings() {
    let variables = [
        ("KOMMIT_BOOTSTRAP_SERVERS", "localhost:9092"),
        ("KOMMIT_QUEUE_BUFFERING_MAX_MS", "20"),
        ("KOMMITTED_LINGER_MS", "1"),
        ("PATH", "/bin"),
    ];
    let config = from_variables(&variables).and_then(ProducerBuilder::build);
    assert_eq!(config.expect("valid").linger, millis(20));
}

#[test]
fn a_variable_with_the_prefix_that_is_no_setting_is_refused() {
    let error = from_variables(&[("KOMMIT_LINGR_MS", "20")]).expect_err("no such key");
    let text = error.to_string();
    assert!(
        text.contains("KOMMIT_LINGR_MS") && text.contains("did you mean linger.ms?"),
        "{text}"
    );
}

#[test]
fn a_later_source_replaces_an_earlier_one() {
    let builder = ProducerConfig::builder()
        .properties("bootstrap.servers=localhost:9092\nlinger.ms=1\nacks=1\n")
        .expect("legal lines")
        .set("linger.ms", "2")
        .linger(millis(3));
    let config = builder.build().expect("valid");
    assert_eq!(config.linger, millis(3));
    assert_eq!(config.acks, crate::Acks::Leader);
}

#[test]
fn typed_setters_are_keys_by_another_way() {
    let config = ProducerConfig::builder()
        .bootstrap_servers("localhost:9092")
        .client_id("c")
        .transactional_id("t")
        .transaction_timeout(millis(5))
        .batch_size(6)
        .buffer_memory(7)
        .delivery_timeout(millis(40_000))
        .request_timeout(millis(8))
        .max_block(millis(9))
        .build()
        .expect("valid");
    assert_eq!(
        (&*config.client_id, config.transactional_id.as_deref()),
        ("c", Some("t"))
    );
    assert_eq!(config.transaction_timeout, millis(5));
    assert_eq!((config.batch_size, config.buffer_memory), (6, 7));
    assert_eq!(config.delivery_timeout, millis(40_000));
    assert_eq!((config.request_timeout, config.max_block), (millis(8), millis(9)));
    assert!(config.warnings.is_empty());
}
