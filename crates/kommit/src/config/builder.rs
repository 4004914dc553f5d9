//! Collects keys and values; decides nothing until it is built.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::{self, Key};
use super::{ConfigError, ProducerConfig};

/// Settings on their way to a [`ProducerConfig`], each under Kafka's own key.
///
/// ```
/// let config = kommit::ProducerConfig::builder()
///     .set("bootstrap.servers", "localhost:9092")
///     .set("linger.ms", "20")
///     .build()?;
/// assert_eq!(config.linger.as_millis(), 20);
/// # Ok::<(), kommit::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProducerBuilder {
    given: BTreeMap<String, String>,
}

impl ProducerBuilder {
    /// Sets one key as text, as it would stand in a properties file. A later value replaces an earlier one.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.insert(key.into(), value.into());
        self
    }

    /// Sets `bootstrap.servers`: `host:port`, several separated by commas.
    #[must_use]
    pub fn bootstrap_servers(self, servers: impl Into<String>) -> Self {
        self.set(Key::BootstrapServers.name(), servers)
    }

    /// Sets `client.id`.
    #[must_use]
    pub fn client_id(self, id: impl Into<String>) -> Self {
        self.set(Key::ClientId.name(), id)
    }

    /// Sets `transactional.id`, which a [`crate::TransactionalProducer`] needs.
    #[must_use]
    pub fn transactional_id(self, id: impl Into<String>) -> Self {
        self.set(Key::TransactionalId.name(), id)
    }

    /// Sets `transaction.timeout.ms`.
    #[must_use]
    pub fn transaction_timeout(self, timeout: Duration) -> Self {
        self.set(Key::TransactionTimeout.name(), timeout.as_millis().to_string())
    }

    /// Sets `linger.ms`.
    #[must_use]
    pub fn linger(self, linger: Duration) -> Self {
        self.set(Key::Linger.name(), linger.as_millis().to_string())
    }

    /// Sets `batch.size`, in bytes.
    #[must_use]
    pub fn batch_size(self, bytes: usize) -> Self {
        self.set(Key::BatchSize.name(), bytes.to_string())
    }

    /// Sets `buffer.memory`, in bytes.
    #[must_use]
    pub fn buffer_memory(self, bytes: usize) -> Self {
        self.set(Key::BufferMemory.name(), bytes.to_string())
    }

    /// Sets `delivery.timeout.ms`.
    #[must_use]
    pub fn delivery_timeout(self, timeout: Duration) -> Self {
        self.set(Key::DeliveryTimeout.name(), timeout.as_millis().to_string())
    }

    /// Sets `request.timeout.ms`.
    #[must_use]
    pub fn request_timeout(self, timeout: Duration) -> Self {
        self.set(Key::RequestTimeout.name(), timeout.as_millis().to_string())
    }

    /// Sets `max.block.ms`.
    #[must_use]
    pub fn max_block(self, bound: Duration) -> Self {
        self.set(Key::MaxBlock.name(), bound.as_millis().to_string())
    }

    /// Adds the lines of a properties text.
    ///
    /// # Errors
    ///
    /// A line that is neither empty, nor a comment (`#`, `!`), nor `key=value`.
    pub fn properties(mut self, text: &str) -> Result<Self, ConfigError> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return Err(ConfigError::Line {
                    line: index + 1,
                    text: line.to_owned(),
                });
            };
            self.given.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        Ok(self)
    }

    /// Checks every value, then every combination (C-51).
    ///
    /// # Errors
    ///
    /// The first key, value or combination that is not valid, with what would be.
    pub fn build(self) -> Result<ProducerConfig, ConfigError> {
        keys::parse(&self.given)
    }
}
