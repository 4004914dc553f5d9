//! The life of the connection to one node: one state machine, transitions and nothing else.
//!
//! Draws no jitter and chooses no node: it is told deadlines. Events of an earlier generation are filtered by the caller (H28).

use std::mem;
use std::sync::Arc;

use kommit_protocol::time::Instant;

use crate::address::BrokerAddress;
use crate::boundary::ConnectionId;
use crate::in_flight::Session;
use crate::versions::NodeApiVersions;

/// The states of a connection (N, section 5.1).
///
/// ```text
///                  start                connected                negotiated
///  Disconnected ----------> Connecting ----------> Negotiating ------------> Ready
///        ^                      |                       |                      |  |
///        |      disconnect      |                       |                      |  | drain: the node has moved
///        +----------------------+-----------------------+----------------------+  v
///        ^                                                                   Draining
///        +-----------------------------------------------------------------------+
///                               disconnect, or nothing in flight any more
/// ```
#[derive(Debug)]
enum State<P> {
    /// There is no connection; a new one may be started at `retry_at` (N-10).
    Disconnected {
        retry_at: Instant,
        authentication: Option<Arc<str>>,
    },
    /// The link is being established; given up at `deadline` (N-14).
    Connecting { id: ConnectionId, deadline: Instant },
    /// The link is up and the ApiVersions request is out (N-34).
    Negotiating { session: Session<P> },
    /// The node can be used.
    Ready {
        session: Session<P>,
        versions: NodeApiVersions,
    },
    /// The node has another address now: what is in flight is still answered, nothing new is sent.
    Draining { session: Session<P> },
}

/// The state of a connection by name, for decisions and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionState {
    /// There is no connection.
    Disconnected,
    /// A connection is being established.
    Connecting,
    /// The versions are being negotiated.
    Negotiating,
    /// The node can be used.
    Ready,
    /// What is in flight is still answered, nothing new is sent.
    Draining,
}

/// An event that the state of the connection does not allow. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IllegalTransition {
    pub(crate) from: ConnectionState,
}

/// Why a connection goes back to `Disconnected`, as far as the counting of failures is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setback {
    /// Counts as one failure (N-12).
    Failure,
    /// Counts as two failures and is remembered (N-9, N-12).
    Authentication(Arc<str>),
    /// The node has moved: the new address has not failed yet (N-16).
    Moved,
}

/// The connection to one node, and how often it has failed.
#[derive(Debug)]
pub(crate) struct Connection<P> {
    state: State<P>,
    address: BrokerAddress,
    last_attempt: Option<Instant>,
    reconnect_failures: u32,
    setup_failures: u32,
}

impl<P> Connection<P> {
    pub(crate) fn new(address: BrokerAddress) -> Self {
        Self {
            state: State::Disconnected {
                retry_at: Instant::ORIGIN,
                authentication: None,
            },
            address,
            last_attempt: None,
            reconnect_failures: 0,
            setup_failures: 0,
        }
    }

    /// N-11: an attempt begins, which is given up at `deadline`.
    pub(crate) fn start(
        &mut self,
        id: ConnectionId,
        deadline: Instant,
        now: Instant,
    ) -> Result<(), IllegalTransition> {
        let State::Disconnected { .. } = self.state else {
            return Err(self.illegal());
        };
        self.state = State::Connecting { id, deadline };
        self.last_attempt = Some(now);
        Ok(())
    }

    /// N-15: the link is up, and the ApiVersions request goes out in this very turn.
    pub(crate) fn connected(&mut self, now: Instant) -> Result<&mut Session<P>, IllegalTransition> {
        let State::Connecting { id, .. } = self.state else {
            return Err(self.illegal());
        };
        self.setup_failures = 0;
        self.state = State::Negotiating {
            session: Session::new(id, now),
        };
        self.session_mut().ok_or(IllegalTransition {
            from: ConnectionState::Connecting,
        })
    }

    /// N-38: the versions are known; the node can be used, and its failures are forgiven.
    pub(crate) fn negotiated(&mut self, versions: NodeApiVersions) -> Result<(), IllegalTransition> {
        let disconnected = State::Disconnected {
            retry_at: Instant::ORIGIN,
            authentication: None,
        };
        match mem::replace(&mut self.state, disconnected) {
            State::Negotiating { session } => {
                self.state = State::Ready { session, versions };
                self.reconnect_failures = 0;
                self.setup_failures = 0;
                Ok(())
            }
            other => {
                self.state = other;
                Err(self.illegal())
            }
        }
    }

    /// The node has another address: nothing new is sent on the old connection.
    pub(crate) fn drain(&mut self) -> Result<(), IllegalTransition> {
        let disconnected = State::Disconnected {
            retry_at: Instant::ORIGIN,
            authentication: None,
        };
        match mem::replace(&mut self.state, disconnected) {
            State::Ready { session, .. } => {
                self.state = State::Draining { session };
                Ok(())
            }
            other => {
                self.state = other;
                Err(self.illegal())
            }
        }
    }

    /// The connection is over; what it carried comes back. `retry_at` is computed from the failures after this one.
    pub(crate) fn disconnect(
        &mut self,
        setback: Setback,
        now: Instant,
        retry_at: impl FnOnce(u32) -> Instant,
    ) -> Result<Option<Session<P>>, IllegalTransition> {
        if self.is_disconnected() {
            return Err(self.illegal()); // N-91: the backoff that runs is not restarted
        }
        let was_connecting = self.state() == ConnectionState::Connecting;
        self.setup_failures = if was_connecting {
            self.setup_failures.saturating_add(1)
        } else {
            0
        };
        self.last_attempt = Some(now);
        let (failures, authentication) = match setback {
            Setback::Failure => (1, None),
            Setback::Authentication(reason) => (2, Some(reason)),
            Setback::Moved => (0, None),
        };
        let retry_at = if failures == 0 {
            self.reconnect_failures = 0;
            self.setup_failures = 0;
            now
        } else {
            self.reconnect_failures = self.reconnect_failures.saturating_add(failures);
            retry_at(self.reconnect_failures)
        };
        let ended = mem::replace(
            &mut self.state,
            State::Disconnected {
                retry_at,
                authentication,
            },
        );
        Ok(match ended {
            State::Negotiating { session } | State::Ready { session, .. } | State::Draining { session } => {
                Some(session)
            }
            State::Disconnected { .. } | State::Connecting { .. } => None,
        })
    }

    /// N-16: while disconnected, another address forgets the failures of the old one.
    pub(crate) fn readdress(&mut self, address: BrokerAddress) {
        if self.address == address {
            return;
        }
        self.address = address;
        if self.is_disconnected() {
            self.reconnect_failures = 0;
            self.setup_failures = 0;
            self.state = State::Disconnected {
                retry_at: Instant::ORIGIN,
                authentication: None,
            };
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session<P>> {
        match &mut self.state {
            State::Negotiating { session } | State::Ready { session, .. } | State::Draining { session } => {
                Some(session)
            }
            State::Disconnected { .. } | State::Connecting { .. } => None,
        }
    }

    pub(crate) fn session(&self) -> Option<&Session<P>> {
        match &self.state {
            State::Negotiating { session } | State::Ready { session, .. } | State::Draining { session } => {
                Some(session)
            }
            State::Disconnected { .. } | State::Connecting { .. } => None,
        }
    }

    /// The session and the versions, when the node can be used.
    pub(crate) fn usable(&self) -> Option<(&Session<P>, &NodeApiVersions)> {
        match &self.state {
            State::Ready { session, versions } => Some((session, versions)),
            _ => None,
        }
    }

    pub(crate) fn state(&self) -> ConnectionState {
        match self.state {
            State::Disconnected { .. } => ConnectionState::Disconnected,
            State::Connecting { .. } => ConnectionState::Connecting,
            State::Negotiating { .. } => ConnectionState::Negotiating,
            State::Ready { .. } => ConnectionState::Ready,
            State::Draining { .. } => ConnectionState::Draining,
        }
    }

    /// The connection at hand, unless there is none.
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        match &self.state {
            State::Connecting { id, .. } => Some(*id),
            _ => self.session().map(Session::id),
        }
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.state() == ConnectionState::Disconnected
    }

    /// Whether there is no connection, and the last one, or the last attempt, was lost at `since` or later (N-61).
    pub(crate) fn has_failed_since(&self, since: Instant) -> bool {
        let is_lost = self.is_disconnected() && self.reconnect_failures > 0;
        is_lost && self.last_attempt.is_some_and(|last| last >= since)
    }

    /// When a connection may be started (N-10); `None` while there is one.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match self.state {
            State::Disconnected { retry_at, .. } => Some(retry_at),
            _ => None,
        }
    }

    /// When the attempt at hand is given up (N-14).
    pub(crate) fn setup_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    /// Why authentication failed the last time, until the node can be used again (N-9).
    pub(crate) fn authentication_failure(&self) -> Option<&Arc<str>> {
        match &self.state {
            State::Disconnected { authentication, .. } => authentication.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn address(&self) -> &BrokerAddress {
        &self.address
    }

    pub(crate) fn last_attempt(&self) -> Option<Instant> {
        self.last_attempt
    }

    pub(crate) fn setup_failures(&self) -> u32 {
        self.setup_failures
    }

    fn illegal(&self) -> IllegalTransition {
        IllegalTransition { from: self.state() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kommit_protocol::units::NodeId;

    const NOW: Instant = Instant::from_millis(5);

    fn in_state(state: ConnectionState) -> Connection<()> {
        let mut connection = Connection::new(BrokerAddress::new("broker", 9092));
        let id = ConnectionId {
            node: NodeId(1),
            generation: 1,
        };
        let steps = match state {
            ConnectionState::Disconnected => 0,
            ConnectionState::Connecting => 1,
            ConnectionState::Negotiating => 2,
            ConnectionState::Ready => 3,
            ConnectionState::Draining => 4,
        };
        if steps > 0 {
            connection.start(id, Instant::NEVER, NOW).unwrap();
        }
        if steps > 1 {
            connection.connected(NOW).unwrap();
        }
        if steps > 2 {
            connection.negotiated(NodeApiVersions::default()).unwrap();
        }
        if steps > 3 {
            connection.drain().unwrap();
        }
        connection
    }

    /// Section 5.1, N-91: every state with every event; what is not in the diagram changes nothing.
    #[test]
    fn only_the_transitions_of_the_diagram_are_legal() {
        use ConnectionState::{Connecting, Disconnected, Draining, Negotiating, Ready};
        type Event = fn(&mut Connection<()>) -> bool;
        let id = ConnectionId {
            node: NodeId(1),
            generation: 2,
        };
        assert_eq!(id.to_string(), "1#2");
        let events: [(&str, Event, [Option<ConnectionState>; 5]); 5] = [
            (
                "start",
                |c| {
                    c.start(
                        ConnectionId {
                            node: NodeId(1),
                            generation: 2,
                        },
                        Instant::NEVER,
                        NOW,
                    )
                    .is_ok()
                },
                [Some(Connecting), None, None, None, None],
            ),
            (
                "connected",
                |c| c.connected(NOW).is_ok(),
                [None, Some(Negotiating), None, None, None],
            ),
            (
                "negotiated",
                |c| c.negotiated(NodeApiVersions::default()).is_ok(),
                [None, None, Some(Ready), None, None],
            ),
            (
                "drain",
                |c| c.drain().is_ok(),
                [None, None, None, Some(Draining), None],
            ),
            (
                "disconnect",
                |c| c.disconnect(Setback::Failure, NOW, |_| NOW).is_ok(),
                [
                    None,
                    Some(Disconnected),
                    Some(Disconnected),
                    Some(Disconnected),
                    Some(Disconnected),
                ],
            ),
        ];
        for (name, event, expected) in events {
            for (from, to) in [Disconnected, Connecting, Negotiating, Ready, Draining]
                .into_iter()
                .zip(expected)
            {
                let mut connection = in_state(from);
                assert_eq!(event(&mut connection), to.is_some(), "{name} in {from:?}");
                assert_eq!(connection.state(), to.unwrap_or(from), "{name} in {from:?}");
            }
        }
    }

    /// N-12: failures count up at each disconnect, twice for an authentication failure, and are forgiven when the node is ready.
    #[test]
    fn failures_are_forgiven_when_the_node_is_ready() {
        let mut connection = in_state(ConnectionState::Connecting);
        let mut seen = Vec::new();
        let id = ConnectionId {
            node: NodeId(1),
            generation: 2,
        };
        for setback in [
            Setback::Failure,
            Setback::Authentication("no".into()),
            Setback::Failure,
        ] {
            connection
                .disconnect(setback, NOW, |failures| {
                    seen.push(failures);
                    NOW
                })
                .unwrap();
            connection.start(id, Instant::NEVER, NOW).unwrap();
        }
        assert_eq!(seen, [1, 3, 4]);
        assert_eq!(connection.setup_failures(), 3);
        connection.connected(NOW).unwrap();
        assert_eq!(connection.setup_failures(), 0);
        connection.negotiated(NodeApiVersions::default()).unwrap();
        connection
            .disconnect(Setback::Failure, NOW, |failures| {
                Instant::from_millis(failures.into())
            })
            .unwrap();
        assert_eq!(connection.retry_at(), Some(Instant::from_millis(1)));
    }
}
