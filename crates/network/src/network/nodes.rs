//! Which node can be reached, which one is least busy, and when a connection is started (N-2 … N-16, N-42, N-43).

use std::sync::Arc;

use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;
use tracing::debug;

use super::{Network, Phase};
use crate::address::BrokerAddress;
use crate::boundary::{ConnectionId, NetAction};
use crate::connection::{Connection, ConnectionState};
use crate::failures::Cause;

/// The answer to "which node is least loaded?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeastLoaded {
    pub(super) node: Option<NodeId>,
    pub(super) readiness: Readiness,
}

/// Whether any node has a connection that is ready, even if it cannot take a request just now (N-43).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    SomeNodeIsReady,
    NoNodeIsReady,
}

/// Coordinators that are remembered apart from metadata; there are two at a time.
const MAX_COORDINATORS: usize = 16;

impl<T> Network<T> {
    /// Whether a request can be sent to the node now. If not, a connection is started when that is allowed (N-2).
    pub fn ready(&mut self, node: NodeId, now: Instant) -> bool {
        if self.is_ready(node, now) {
            return true;
        }
        if self.may_start(node, now) {
            self.start(node, now);
        }
        false
    }

    /// Whether a request can be sent to the node now, and no metadata update is waiting for a place (N-3).
    pub fn is_ready(&self, node: NodeId, now: Instant) -> bool {
        !self.metadata.schedule().is_due(now) && self.sendable(node, now).is_some()
    }

    /// When it is worth asking again for a node that is not ready (N-8): the end of throttling, of the connection set-up or of the reconnect
    /// backoff; at once for a node without an attempt; never when only an event can change its state.
    pub fn poll_deadline(&self, node: NodeId, now: Instant) -> Instant {
        let Some(connection) = self.connections.get(&node) else {
            return now;
        };
        let throttled_until = connection.usable().map(|(session, _)| session.throttled_until());
        let throttled_until = throttled_until.filter(|until| *until > now);
        let waits = throttled_until
            .or(connection.setup_deadline())
            .or(connection.retry_at());
        waits.map_or(Instant::NEVER, |deadline| deadline.max(now))
    }

    /// The node that a request which any node can answer should go to (N-42); `None` when no node can be used or connected to.
    pub fn least_loaded_node(&mut self, now: Instant) -> Option<NodeId> {
        self.least_loaded(now).node
    }

    /// Makes a node known that FindCoordinator has named. It is connected to with [`Network::ready`], as any other node. Gives `false` when
    /// nobody can connect to such an address.
    pub fn add_coordinator_node(&mut self, node: NodeId, host: &str, port: i32, now: Instant) -> bool {
        let Some(address) = BrokerAddress::advertised(host, port).filter(|_| node.0 >= 0) else {
            return false;
        };
        self.coordinators.insert(node, address);
        while self.coordinators.len() > MAX_COORDINATORS {
            let other = self.coordinators.keys().copied().find(|other| *other != node);
            other.map(|other| self.coordinators.remove(&other));
        }
        self.follow_address(node, now);
        true
    }

    /// Where a node listens, as far as it is known.
    pub fn address(&self, node: NodeId) -> Option<&BrokerAddress> {
        self.coordinators
            .get(&node)
            .or_else(|| self.cluster().nodes.get(&node))
    }

    pub(super) fn least_loaded(&mut self, now: Instant) -> LeastLoaded {
        let cluster = Arc::clone(self.cluster());
        let start = self.random.below(cluster.nodes.len());
        let mut readiness = Readiness::NoNodeIsReady;
        let mut fewest: Option<(usize, NodeId)> = None;
        let mut connecting = None;
        let mut oldest: Option<(Option<Instant>, NodeId)> = None;
        for &node in cluster.nodes.keys().cycle().skip(start).take(cluster.nodes.len()) {
            let connection = self.connections.get(&node);
            if let Some((session, _)) = connection.and_then(Connection::usable) {
                if session.throttled_until() <= now {
                    readiness = Readiness::SomeNodeIsReady;
                }
                let count = session.in_flight_count();
                if session.may_send(self.config.max_in_flight, now)
                    && fewest.is_none_or(|(least, _)| count < least)
                {
                    fewest = Some((count, node));
                    if count == 0 {
                        break;
                    }
                }
                continue;
            }
            match connection.map_or(ConnectionState::Disconnected, Connection::state) {
                ConnectionState::Connecting | ConnectionState::Negotiating => connecting = Some(node),
                ConnectionState::Disconnected if self.may_start(node, now) => {
                    let last_attempt = connection.and_then(Connection::last_attempt);
                    if oldest.is_none_or(|(oldest, _)| last_attempt < oldest) {
                        oldest = Some((last_attempt, node));
                    }
                }
                // A node that is changing its address is no reason to give up the cluster (N-61 a).
                ConnectionState::Draining => readiness = Readiness::SomeNodeIsReady,
                ConnectionState::Disconnected | ConnectionState::Ready => {}
            }
        }
        let node = fewest
            .map(|(_, node)| node)
            .or(connecting)
            .or(oldest.map(|(_, node)| node));
        LeastLoaded { node, readiness }
    }

    /// N-10: the node has an address, no connection, and its backoff is over.
    pub(super) fn may_start(&self, node: NodeId, now: Instant) -> bool {
        let backoff_is_over = match self.connections.get(&node) {
            Some(connection) => connection.retry_at().is_some_and(|retry_at| retry_at <= now),
            None => true,
        };
        self.phase == Phase::Open && backoff_is_over && self.address(node).is_some()
    }

    /// N-11, N-14: starts a connection; only after [`Network::may_start`].
    pub(super) fn start(&mut self, node: NodeId, now: Instant) {
        let Some(address) = self.address(node).cloned() else {
            return;
        };
        let jitter = self.draw();
        self.generations += 1;
        let id = ConnectionId {
            node,
            generation: self.generations,
        };
        let connection = self
            .connections
            .entry(node)
            .or_insert_with(|| Connection::new(address.clone()));
        connection.readdress(address.clone());
        let deadline = now
            + self
                .config
                .connection_setup_timeout
                .after(connection.setup_failures(), jitter);
        if connection.start(id, deadline, now).is_ok() {
            debug!(connection = %id, %address, "connecting");
            self.actions.push(NetAction::Connect(id, address));
            self.set_alarm(deadline);
        }
    }

    /// N-16: a node that has moved gets a new connection; what is in flight on the old one is still answered.
    pub(super) fn follow_address(&mut self, node: NodeId, now: Instant) {
        let Some(address) = self.address(node).cloned() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&node) else {
            return;
        };
        if *connection.address() == address {
            return;
        }
        match connection.state() {
            ConnectionState::Disconnected => connection.readdress(address),
            ConnectionState::Ready if connection.drain().is_ok() => self.set_alarm(now),
            ConnectionState::Connecting | ConnectionState::Negotiating | ConnectionState::Ready => {
                self.cut(node, &Cause::Moved, now);
            }
            ConnectionState::Draining => {}
        }
    }

    /// After new metadata: nodes that moved are followed, and connections that nobody can ask for any more are forgotten.
    pub(super) fn follow_metadata(&mut self, now: Instant) {
        let cluster = Arc::clone(self.cluster());
        self.coordinators
            .retain(|node, _| !cluster.nodes.contains_key(node));
        let coordinators = &self.coordinators;
        self.connections.retain(|node, connection| {
            !connection.is_disconnected()
                || cluster.nodes.contains_key(node)
                || coordinators.contains_key(node)
        });
        let nodes: Vec<NodeId> = self.connections.keys().copied().collect();
        for node in nodes {
            self.follow_address(node, now);
        }
    }
}
