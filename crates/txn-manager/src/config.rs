//! What a manager is told once and for all.

use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::backoff::Backoff;

/// The settings of a [`TransactionManager`](crate::TransactionManager) (T-1).
#[derive(Clone, Debug)]
pub struct TransactionConfig {
    /// `transactional.id`; without one the producer is idempotent-only.
    pub transactional_id: Option<Arc<str>>,
    /// `transaction.timeout.ms`: travels to the coordinator, which measures it (T-109).
    pub transaction_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`: the pauses before a request is repeated.
    pub retry_backoff: Backoff,
    /// What an idempotent-only producer does behind a record whose fate is not known (H07).
    pub on_gap: OnGap,
    /// When the epoch is renewed under transaction version 1 (R6).
    pub fencing: Fencing,
    /// Whether the brokers verify partitions under transaction version 1 (H03).
    pub partition_verification: PartitionVerification,
}

/// What an idempotent-only producer does behind a record that may or may not be in the log (H07).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// The partition takes no more records until the application acknowledges the gap.
    #[default]
    Stop,
    /// Later records follow, perhaps behind a lost one.
    Continue,
}

/// When a transactional producer renews its epoch under transaction version 1. Version 2 renews it with every transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Behind a transaction in which a request went unanswered, or something failed (R6, T-98).
    #[default]
    WhenUnanswered,
    /// Behind every transaction that reached the coordinator: one more request each (H01).
    EveryTransaction,
}

/// Whether the brokers check that a partition is in a transaction before they append to it (`transaction.partition.verification.enable`, since
/// Kafka 3.6). No answer of theirs proves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartitionVerification {
    /// Under transaction version 1 an abort over a batch that may still be on its way takes the transactional id over, and ends the producer.
    #[default]
    NotProven,
    /// They do, all of them: a late batch is refused, and the producer goes on.
    Enabled,
}

impl TransactionConfig {
    /// An idempotent-only producer with Kafka's defaults.
    pub fn idempotent() -> Self {
        Self {
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            retry_backoff: Backoff {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(1),
            },
            on_gap: OnGap::Stop,
            fencing: Fencing::WhenUnanswered,
            partition_verification: PartitionVerification::NotProven,
        }
    }

    /// A transactional producer with Kafka's defaults.
    pub fn transactional(transactional_id: impl Into<Arc<str>>) -> Self {
        Self {
            transactional_id: Some(transactional_id.into()),
            ..Self::idempotent()
        }
    }
}
