//! The producer's settings: parsed once, under Kafka's own names, and never wrong once built.
//!
//! [`ProducerBuilder`] collects keys, [`ProducerBuilder::build`] checks each value and then the combinations; what comes out is a
//! [`ProducerConfig`], which the rest of the crate reads without asking again.

mod builder;
mod error;
mod keys;
mod settings;

pub use builder::ProducerBuilder;
pub use error::ConfigError;
pub use settings::{Acks, ProducerConfig};
