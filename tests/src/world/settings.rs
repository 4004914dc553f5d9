//! The settings of a producer in a scene, and how they become its parts. Kafka's defaults, except that nothing lingers.

use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::{AccumulatorConfig, Compression, StickyChoice};
use kommit_network::{Acks, NetworkConfig};
use kommit_protocol::backoff::Backoff;
use kommit_sender::{Order, SenderConfig};
use kommit_txn_manager::{Fencing, OnGap, PartitionVerification, TransactionConfig};

/// What a scene can choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `acks`.
    pub acks: Acks,
    /// `retries`.
    pub retries: u32,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`.
    pub delivery_timeout: Duration,
    /// `linger.ms`.
    pub linger: Duration,
    /// `batch.size`.
    pub batch_size: usize,
    /// `max.request.size`.
    pub max_request_size: usize,
    /// `compression.type`.
    pub compression: Compression,
    /// `partitioner.adaptive.partitioning.enable` and `partitioner.availability.timeout.ms`.
    pub sticky_choice: StickyChoice,
    /// `max.in.flight.requests.per.connection`.
    pub max_in_flight: usize,
    /// `transaction.timeout.ms`.
    pub transaction_timeout: Duration,
    /// What an idempotent producer does behind a record of unknown fate.
    pub on_gap: OnGap,
    /// When the epoch is renewed under transaction version 1.
    pub fencing: Fencing,
    /// Whether the producer takes for granted that brokers verify partitions; those of a world do unless told otherwise.
    pub partition_verification: PartitionVerification,
    /// `retry.backoff.ms` and its maximum.
    pub retry_backoff: Backoff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            retries: u32::MAX,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            linger: Duration::ZERO,
            batch_size: 16_384,
            max_request_size: 1_048_576,
            compression: Compression::None,
            sticky_choice: StickyChoice::default(),
            max_in_flight: 5,
            transaction_timeout: Duration::from_secs(60),
            on_gap: OnGap::Stop,
            fencing: Fencing::WhenUnanswered,
            partition_verification: PartitionVerification::Enabled,
            retry_backoff: Backoff {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(1),
            },
        }
    }
}

impl Settings {
    pub(crate) fn sender(&self, transactional_id: Option<Arc<str>>) -> SenderConfig {
        SenderConfig {
            acks: self.acks,
            retries: self.retries,
            request_timeout: self.request_timeout,
            delivery_timeout: self.delivery_timeout,
            retry_backoff: self.retry_backoff,
            max_request_size: self.max_request_size,
            transactional_id,
            order: if self.max_in_flight == 1 {
                Order::OneInFlight
            } else {
                Order::Pipelined
            },
        }
    }

    pub(crate) fn accumulator(&self, seed: u64) -> AccumulatorConfig {
        AccumulatorConfig {
            batch_size: self.batch_size,
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
            retry_backoff: self.retry_backoff,
            max_request_size: self.max_request_size,
            compression: self.compression,
            sticky_choice: self.sticky_choice,
            seed,
            ..AccumulatorConfig::default()
        }
    }

    pub(crate) fn network(&self, client_id: &str, seed: u64) -> NetworkConfig {
        NetworkConfig {
            client_id: Some(client_id.to_owned()),
            max_in_flight: self.max_in_flight,
            request_timeout: self.request_timeout,
            retry_backoff: self.retry_backoff,
            seed,
            ..NetworkConfig::default()
        }
    }

    pub(crate) fn transaction(&self, transactional_id: Option<Arc<str>>) -> TransactionConfig {
        TransactionConfig {
            transactional_id,
            transaction_timeout: self.transaction_timeout,
            retry_backoff: self.retry_backoff,
            on_gap: self.on_gap,
            fencing: self.fencing,
            partition_verification: self.partition_verification,
        }
    }
}
