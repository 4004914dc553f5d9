//! Why a connection ended, in words, and the last such words per address: what a time-out error of the façade quotes.
//!
//! Decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::api::ApiKey;

use crate::address::BrokerAddress;
use crate::boundary::{LinkFailure, Outcome};
use crate::connection::{ConnectionState, Setback};

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The link failed by itself.
    Link(LinkFailure),
    /// N-14: not established in time.
    SetupTimeout,
    /// N-27: a request was not answered in time.
    RequestTimeout(ApiKey, Duration),
    /// D-2, R14: the peer said something that Kafka brokers do not say here.
    Protocol(String),
    /// N-37: the broker refuses to tell its versions.
    Refused(String),
    /// N-19: nothing happened for too long.
    Idle,
    /// The node has another address now.
    Moved,
    /// N-61: all connections are given up for the bootstrap servers.
    Rebootstrap,
    /// N-23: the producer is closed.
    Closing,
}

impl Cause {
    /// The whole story in one sentence that names the broker.
    pub(crate) fn sentence(&self, broker: &BrokerAddress, state: ConnectionState) -> String {
        let is_first_contact = state == ConnectionState::Negotiating;
        match self {
            Self::Link(LinkFailure::PeerClosed) if is_first_contact => {
                format!("{broker} closed the connection instead of answering (does it expect TLS or SASL?)")
            }
            Self::Link(LinkFailure::Frame(text)) if is_first_contact => no_kafka(broker, text),
            Self::Protocol(text) if is_first_contact => no_kafka(broker, text),
            Self::Link(failure) => format!("{broker}: {failure}"),
            Self::SetupTimeout => {
                format!("{broker}: no connection within socket.connection.setup.timeout.ms")
            }
            Self::RequestTimeout(key, timeout) => {
                format!("{broker} did not answer {key} within {} ms", timeout.as_millis())
            }
            Self::Protocol(text) => format!("{broker} broke the protocol: {text}"),
            Self::Refused(text) => format!("{broker} refused ApiVersions: {text}"),
            Self::Idle => format!("{broker}: the connection was idle"),
            Self::Moved => format!("{broker}: the node has another address now"),
            Self::Rebootstrap => format!("{broker}: starting again from the bootstrap servers"),
            Self::Closing => format!("{broker}: the producer is closed"),
        }
    }

    /// How a request that was in flight ends.
    pub(crate) fn outcome(&self, reason: Arc<str>) -> Outcome {
        match self {
            Self::RequestTimeout(..) => Outcome::TimedOut { reason },
            Self::Link(LinkFailure::Authentication(_)) => Outcome::AuthenticationFailed { reason },
            _ => Outcome::Disconnected { reason },
        }
    }

    /// How the end counts for the next attempt (N-12).
    pub(crate) fn setback(&self, reason: Arc<str>) -> Setback {
        match self {
            Self::Link(LinkFailure::Authentication(_)) => Setback::Authentication(reason),
            Self::Moved => Setback::Moved,
            _ => Setback::Failure,
        }
    }

    /// Whether the address itself is wrong.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Link(LinkFailure::Unresolved(_)) => FailureKind::Unresolved,
            _ => FailureKind::Other,
        }
    }

    /// Whether somebody who asks why nothing works should hear of it.
    pub(crate) fn is_worth_telling(&self) -> bool {
        !matches!(self, Self::Idle | Self::Moved | Self::Rebootstrap | Self::Closing)
    }

    /// Whether metadata is told that a node was lost (N-72). Not when nobody is interested any more, and not when metadata itself has told it.
    pub(crate) fn concerns_metadata(&self) -> bool {
        !matches!(self, Self::Closing | Self::Moved)
    }
}

fn no_kafka(broker: &BrokerAddress, why: &str) -> String {
    format!("{broker} does not answer like a Kafka broker: {why}")
}

/// The last failure per address, until the address works again. Bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    by_address: BTreeMap<BrokerAddress, Failure>,
}

#[derive(Clone, Debug)]
struct Failure {
    reason: Arc<str>,
    kind: FailureKind,
}

/// Whether a failure is one of the network, or of the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The host has no address (N-18).
    Unresolved,
    Other,
}

impl Failures {
    const MAX: usize = 64;

    pub(crate) fn record(&mut self, broker: &BrokerAddress, reason: &Arc<str>, kind: FailureKind) {
        if self.by_address.len() >= Self::MAX && !self.by_address.contains_key(broker) {
            self.by_address.pop_first();
        }
        let reason = Arc::clone(reason);
        self.by_address.insert(broker.clone(), Failure { reason, kind });
    }

    pub(crate) fn forgive(&mut self, broker: &BrokerAddress) {
        self.by_address.remove(broker);
    }

    pub(crate) fn all(&self) -> Vec<(BrokerAddress, Arc<str>)> {
        self.by_address
            .iter()
            .map(|(broker, failure)| (broker.clone(), Arc::clone(&failure.reason)))
            .collect()
    }

    /// Why a host could not be resolved the last time, if that is why it was not reached.
    pub(crate) fn unresolved(&self, broker: &BrokerAddress) -> Option<&Arc<str>> {
        let failure = self.by_address.get(broker)?;
        (failure.kind == FailureKind::Unresolved).then_some(&failure.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many addresses a hostile broker invents, what is remembered about them is bounded.
    #[test]
    fn only_so_many_failures_are_remembered() {
        let mut failures = Failures::default();
        for port in 1..1_000 {
            failures.record(
                &BrokerAddress::new("broker", port),
                &"refused".into(),
                FailureKind::Other,
            );
        }
        assert_eq!(failures.all().len(), Failures::MAX);
        failures.forgive(&BrokerAddress::new("broker", 999));
        assert_eq!(failures.all().len(), Failures::MAX - 1);
    }
}
