//! The room that the sender enters: all connections, all requests in flight, and the metadata of one producer.
//!
//! Feed events, move it with `turn`, carry out the actions, wait until the deadline or the next event. Nothing here waits, reads a
//! clock or draws unseeded numbers. What a response means to the producer is decided by the sender.

mod events;
mod nodes;
mod send;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::random::Random;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, TopicPartition};

use crate::address::BrokerAddress;
use crate::boundary::{Completed, NetAction};
use crate::cluster::ClusterSnapshot;
use crate::config::NetworkConfig;
use crate::connection::{Connection, ConnectionState};
use crate::correlation::CorrelationIds;
use crate::counts::NetworkCounts;
use crate::failures::{Cause, Failures};
use crate::in_flight::End;
use crate::metadata::{LeaderHint, Metadata, UpdateRequest};
use crate::versions::{FinalizedFeatures, NodeApiVersions};

pub use send::{Acks, ProduceEnvelope};

/// What a request in flight is for: our own housekeeping, or the sender's purpose.
#[derive(Debug)]
enum Purpose<T> {
    ApiVersions,
    Metadata(UpdateRequest),
    Sender(T),
}

/// Whether anything is still sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closed,
}

/// The connections and the metadata of one producer. `T` is what the sender wants with a request; it comes back with the completion.
///
/// ```
/// use kommit_network::{BrokerAddress, NetAction, NetEvent, Network, NetworkConfig};
/// use kommit_protocol::time::Instant;
///
/// let bootstrap = BrokerAddress::parse_list("localhost:9092")?;
/// let mut network = Network::<&str>::new(NetworkConfig::default(), bootstrap);
/// let (mut actions, mut completed) = (Vec::new(), Vec::new());
///
/// // The first turn wants metadata, and so a connection.
/// let deadline = network.turn(Instant::ORIGIN, &mut actions, &mut completed);
/// let Some(NetAction::Connect(id, address)) = actions.pop() else { panic!("{actions:?}") };
/// assert_eq!(address.to_string(), "localhost:9092");
///
/// // Whoever carries actions out tells what came of them. Then comes the next turn.
/// assert!(deadline < Instant::NEVER);
/// network.event(NetEvent::Connected(id), Instant::from_millis(3));
/// network.turn(Instant::from_millis(3), &mut actions, &mut completed);
/// assert!(matches!(actions[..], [NetAction::Write(..)]));
/// # Ok::<(), kommit_network::AddressError>(())
/// ```
#[derive(Debug)]
pub struct Network<T> {
    config: NetworkConfig,
    metadata: Metadata,
    connections: BTreeMap<NodeId, Connection<Purpose<T>>>,
    /// Nodes that were named by FindCoordinator after the last metadata that names them.
    coordinators: BTreeMap<NodeId, BrokerAddress>,
    features: Option<FinalizedFeatures>,
    correlation_ids: CorrelationIds,
    counts: NetworkCounts,
    generations: u64,
    random: Random,
    failures: Failures,
    actions: Vec<NetAction>,
    completed: Vec<Completed<T>>,
    phase: Phase,
    /// No time-out of a connection comes before this moment; some may have been settled since. Saves looking through all connections.
    alarm: Instant,
}

impl<T> Network<T> {
    /// A network that knows only the bootstrap addresses (ids −1, −2, …) and wants metadata.
    pub fn new(config: NetworkConfig, bootstrap: Vec<BrokerAddress>) -> Self {
        Self {
            metadata: Metadata::new(&config, bootstrap),
            connections: BTreeMap::new(),
            coordinators: BTreeMap::new(),
            features: None,
            correlation_ids: CorrelationIds::default(),
            counts: NetworkCounts::default(),
            generations: 0,
            random: Random::seeded(config.seed),
            failures: Failures::default(),
            actions: Vec::new(),
            completed: Vec::new(),
            phase: Phase::Open,
            alarm: Instant::NEVER,
            config,
        }
    }

    /// Uses a topic: it joins the working set, or its expiry moves. A new one is asked for in the next turn (N-54).
    pub fn add_topic(&mut self, topic: &str, now: Instant) {
        self.metadata.add_topic(topic, now);
    }

    /// Wants a full metadata update, within the backoffs (N-68). Gives the present update version.
    pub fn request_update(&mut self) -> u64 {
        self.metadata.request_update();
        self.cluster().update_version
    }

    /// Wants metadata of a topic: only of new topics when this one is new, else a full update (N-69). Gives the present update version.
    pub fn request_update_for_topic(&mut self, topic: &str) -> u64 {
        self.metadata.request_update_for_topic(topic);
        self.cluster().update_version
    }

    /// Takes leader hints of a produce response that are newer than what is known, with the nodes that came with them (KIP-951, N-77).
    /// Gives the partitions whose leader changed; the update version stays.
    pub fn update_leadership(
        &mut self,
        hints: &[LeaderHint],
        nodes: &BTreeMap<NodeId, BrokerAddress>,
    ) -> Vec<TopicPartition> {
        self.metadata.update_leadership(hints, nodes)
    }

    /// Closes every connection, and gives back what was in flight. Afterwards nothing is sent (N-23). `out` gets what is to be carried out.
    pub fn close(&mut self, now: Instant, out: &mut Vec<NetAction>) -> Vec<Completed<T>> {
        self.phase = Phase::Closed;
        let nodes: Vec<NodeId> = self.connections.keys().copied().collect();
        for node in nodes {
            self.cut(node, &Cause::Closing, now);
        }
        out.append(&mut self.actions);
        std::mem::take(&mut self.completed)
    }

    /// What is known of the cluster at this moment. Cheap to clone and to keep (N-47).
    pub fn cluster(&self) -> &Arc<ClusterSnapshot> {
        self.metadata.snapshot()
    }

    /// The versions that a node understands, while there is a negotiated connection to it.
    pub fn api_versions(&self, node: NodeId) -> Option<&NodeApiVersions> {
        self.connections
            .get(&node)?
            .usable()
            .map(|(_, versions)| versions)
    }

    /// The finalised features with the highest epoch that any broker has told (T-33).
    pub fn finalized_features(&self) -> Option<FinalizedFeatures> {
        self.features
    }

    /// The state of the connection to a node.
    pub fn connection_state(&self, node: NodeId) -> ConnectionState {
        self.connections
            .get(&node)
            .map_or(ConnectionState::Disconnected, Connection::state)
    }

    /// Whether the last connection to a node was lost or refused, and no new one was started (N-9).
    pub fn connection_failed(&self, node: NodeId) -> bool {
        self.connections
            .get(&node)
            .is_some_and(Connection::is_disconnected)
    }

    /// Why authentication with a node failed the last time, until the next attempt (N-9).
    pub fn authentication_failure(&self, node: NodeId) -> Option<Arc<str>> {
        self.connections.get(&node)?.authentication_failure().cloned()
    }

    /// How many requests are in flight on all connections, our own housekeeping included.
    pub fn in_flight_count(&self) -> usize {
        let sessions = self.connections.values().filter_map(Connection::session);
        sessions.map(|session| session.in_flight_count()).sum()
    }

    /// What was counted since the network was made (K-18, K-20, K-23).
    pub fn counts(&self) -> &NetworkCounts {
        &self.counts
    }

    /// How long ago the last full metadata update was; nothing before the first (K-11).
    pub fn metadata_age(&self, now: Instant) -> Option<Duration> {
        let last = self.metadata.schedule().last_success()?;
        Some(now.saturating_since(last))
    }

    /// Per address that does not work, why: one sentence each that names the address. For errors of whoever waited in vain.
    pub fn last_failures(&self) -> Vec<(BrokerAddress, Arc<str>)> {
        self.failures.all()
    }

    /// Whether a metadata request is out or due (N-3).
    pub fn is_updating_metadata(&self, now: Instant) -> bool {
        self.metadata.schedule().is_in_progress() || self.metadata.schedule().is_due(now)
    }

    fn draw(&mut self) -> f64 {
        self.random.unit()
    }

    /// A time-out may come at this moment.
    fn set_alarm(&mut self, at: Instant) {
        self.alarm = self.alarm.min(at);
    }

    /// Closes the connection of a node from our side, if there is one.
    fn cut(&mut self, node: NodeId, cause: &Cause, now: Instant) {
        if let Some(id) = self.connections.get(&node).and_then(Connection::id) {
            self.actions.push(NetAction::Close(id));
            self.lost(node, cause, End::Cut, now);
        }
    }
}

#[cfg(test)]
mod tests;
