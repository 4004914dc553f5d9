//! Collects keys and values; decides nothing until it is built.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::Partitioner;
use kommit_txn_manager::{Fencing, OnGap, PartitionVerification};

use super::keys::Key;
use super::{ConfigError, ProducerConfig, environment, parse, properties};

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
    partitioner: Option<Arc<dyn Partitioner>>,
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

    /// Sets `on_gap`: what an idempotent producer does behind a record that may or may not be in the log: by default its partition stops.
    #[must_use]
    pub fn on_gap(self, on_gap: OnGap) -> Self {
        let text = match on_gap {
            OnGap::Stop => "stop",
            OnGap::Continue => "continue",
        };
        self.set(Key::OnGap.name(), text)
    }

    /// Sets `fence_every_transaction`: when a transactional producer renews its epoch on clusters of transaction version 1: by default only behind a transaction
    /// in which a request went unanswered.
    #[must_use]
    pub fn fencing(self, fencing: Fencing) -> Self {
        let every = fencing == Fencing::EveryTransaction;
        self.set(Key::FenceEveryTransaction.name(), every.to_string())
    }

    /// Sets `brokers_verify_partitions`: whether all brokers check that a partition is in a transaction before they append to it, as Kafka 3.6 and newer do
    /// unless told otherwise. By default that is not taken for granted.
    #[must_use]
    pub fn partition_verification(self, verification: PartitionVerification) -> Self {
        let enabled = verification == PartitionVerification::Enabled;
        self.set(Key::BrokersVerifyPartitions.name(), enabled.to_string())
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

    /// Sets a partitioner of your own, which chooses for all records that name no partition. It wins over `partitioner.class`.
    #[must_use]
    pub fn partitioner(mut self, partitioner: Arc<dyn Partitioner>) -> Self {
        self.partitioner = Some(partitioner);
        self
    }

    /// Adds the lines of a properties text, as Java reads one: `key=value`, `key: value` or `key value`, comments that begin with `#` or `!`, lines that
    /// go on after a backslash, and Java's escapes. A later value replaces an earlier one.
    ///
    /// # Errors
    ///
    /// A line that is neither empty, nor a comment, nor a key with a value.
    pub fn properties(mut self, text: &str) -> Result<Self, ConfigError> {
        self.given.extend(properties::settings(text)?);
        Ok(self)
    }

    /// Adds the variables whose names begin with `prefix` and an underscore: the rest of the name is the key, in capital letters and with
    /// an underscore for each dot. Other variables are passed over. A later value replaces an earlier one.
    ///
    /// ```
    /// let variables = [("KOMMIT_BOOTSTRAP_SERVERS", "localhost:9092"), ("KOMMIT_LINGER_MS", "20"), ("HOME", "/")];
    /// let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// let config = kommit::ProducerConfig::builder().environment("KOMMIT", variables)?.build()?;
    /// assert_eq!(config.linger.as_millis(), 20);
    /// # Ok::<(), kommit::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A variable with the prefix whose name is no key.
    pub fn environment(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        for (variable, value) in variables {
            if let Some(key) = environment::key_of(prefix, &variable)? {
                self.given.insert(key, value);
            }
        }
        Ok(self)
    }

    /// Checks every value, then every combination (C-51).
    ///
    /// # Errors
    ///
    /// The first key, value or combination that is not valid, with what would be.
    pub fn build(self) -> Result<ProducerConfig, ConfigError> {
        parse::parse(&self.given, self.partitioner)
    }
}
