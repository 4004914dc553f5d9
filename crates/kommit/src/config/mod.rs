//! The producer's settings: parsed once, under Kafka's own names, and never wrong once built.
//!
//! [`ProducerBuilder`] collects keys, [`ProducerBuilder::build`] checks each value and then the combinations; what comes out is a
//! [`ProducerConfig`], which the rest of the crate reads without asking again.
//!
//! Reading order: `keys` (what there is), `given` (each value under its key), `parse` (each key by itself), `rules` (what keys do to each
//! other); `foreign` and `librdkafka` (keys of others), `properties` and `environment` (where texts come from), `hint`, `warning`, `error`.

mod builder;
mod document;
mod environment;
mod error;
mod foreign;
mod given;
mod hint;
mod keys;
mod librdkafka;
mod parse;
mod properties;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod warning;

pub use builder::ProducerBuilder;
pub use error::ConfigError;
pub use settings::{Acks, ProducerConfig};
pub use warning::ConfigWarning;
