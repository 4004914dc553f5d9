//! What the user decided about connections and metadata: one value, read-only afterwards.

use std::time::Duration;

use kommit_protocol::backoff::Backoff;

/// The settings of a [`Network`](crate::Network). `Default` gives Kafka's defaults (C-7, C-13, C-25 … C-33).
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// `client.id`, sent in every request header.
    pub client_id: Option<String>,
    /// `max.in.flight.requests.per.connection`, at least 1.
    pub max_in_flight: usize,
    /// `request.timeout.ms`: after it, the connection of an unanswered request is closed (N-27).
    pub request_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`: between metadata requests (N-51).
    pub retry_backoff: Backoff,
    /// `reconnect.backoff.ms` and its maximum (N-12).
    pub reconnect_backoff: Backoff,
    /// `socket.connection.setup.timeout.ms` and its maximum (N-14).
    pub connection_setup_timeout: Backoff,
    /// `connections.max.idle.ms`; `None` never closes an idle connection (N-19).
    pub connections_max_idle: Option<Duration>,
    /// `metadata.max.age.ms` (N-50).
    pub metadata_max_age: Duration,
    /// `metadata.max.idle.ms`: a topic that is not used for so long is forgotten (N-54).
    pub metadata_max_idle: Duration,
    /// `metadata.recovery.strategy` (N-61).
    pub recovery: RecoveryStrategy,
    /// The longest time for which a broker's throttling is honoured (N-30).
    pub max_throttle: Duration,
    /// The seed of jitter and of the choice of the least loaded node.
    pub seed: u64,
}

/// What happens when no known node can be reached any more (N-61).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStrategy {
    /// Keep trying the known nodes.
    None,
    /// Start again from the bootstrap addresses, at once when no node is available, and in any case after this time without an answer.
    Rebootstrap {
        /// `metadata.recovery.rebootstrap.trigger.ms`.
        trigger: Duration,
    },
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            client_id: None,
            max_in_flight: 5,
            request_timeout: millis(30_000),
            retry_backoff: Backoff {
                initial: millis(100),
                max: millis(1_000),
            },
            reconnect_backoff: Backoff {
                initial: millis(50),
                max: millis(1_000),
            },
            connection_setup_timeout: Backoff {
                initial: millis(10_000),
                max: millis(30_000),
            },
            connections_max_idle: Some(millis(540_000)),
            metadata_max_age: millis(300_000),
            metadata_max_idle: millis(300_000),
            recovery: RecoveryStrategy::Rebootstrap {
                trigger: millis(300_000),
            },
            max_throttle: millis(60_000),
            seed: 0,
        }
    }
}
