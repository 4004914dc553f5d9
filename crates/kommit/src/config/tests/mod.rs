//! The requirements of the configuration (C-1 … C-51): `values` (each key by itself), `rules` (keys together), `spellings` (keys of others, and slips of
//! the pen), `sources` (where texts come from).

mod rules;
mod sources;
mod spellings;
mod values;

use super::{ConfigError, ProducerConfig};

fn built(pairs: &[(&str, &str)]) -> Result<ProducerConfig, ConfigError> {
    let start = ProducerConfig::builder().set("bootstrap.servers", "localhost:9092");
    pairs
        .iter()
        .fold(start, |builder, (key, value)| builder.set(*key, *value))
        .build()
}

fn valid(pairs: &[(&str, &str)]) -> ProducerConfig {
    built(pairs).unwrap_or_else(|error| panic!("{pairs:?}: {error}"))
}

fn refused(pairs: &[(&str, &str)]) -> String {
    match built(pairs) {
        Ok(_) => panic!("{pairs:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

/// The warnings of valid settings, one text each.
fn warned(pairs: &[(&str, &str)]) -> Vec<String> {
    valid(pairs).warnings.iter().map(ToString::to_string).collect()
}

fn millis(number: u64) -> std::time::Duration {
    std::time::Duration::from_millis(number)
}
