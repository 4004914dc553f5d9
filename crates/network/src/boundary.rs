//! Everything that crosses the border of the core: events in, actions and completions out.
//!
//! These are plain values. Who carries the actions out (sockets, an in-memory pipe, a script) is not known here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::units::NodeId;

use crate::address::BrokerAddress;

/// One connection to one node. Every attempt to connect gets a new generation, so an event of an earlier connection of the
/// same node can never be taken for one of the present connection (H28).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The node at the other end; negative for a bootstrap address (N-1).
    pub node: NodeId,
    /// Unique within one [`Network`](crate::Network).
    pub generation: u64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.node, self.generation)
    }
}

/// What happened to a connection. Events of one connection arrive in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// The connection is established; requests may be written.
    Connected(ConnectionId),
    /// The connection could not be established.
    ConnectFailed(ConnectionId, LinkFailure),
    /// A complete frame arrived, without its length prefix.
    Frame(ConnectionId, Bytes),
    /// So many bytes of this connection have been given to the socket since it was established.
    Written(ConnectionId, u64),
    /// The connection ended by itself. Before this event come all complete frames that arrived, and a last `Written` that counts every
    /// byte that may have left.
    Closed(ConnectionId, LinkFailure),
}

impl NetEvent {
    /// The connection that the event is about.
    pub fn connection(&self) -> ConnectionId {
        match self {
            Self::Connected(id)
            | Self::ConnectFailed(id, _)
            | Self::Frame(id, _)
            | Self::Written(id, _)
            | Self::Closed(id, _) => *id,
        }
    }
}

/// What has to be done. Actions of one connection are carried out in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetAction {
    /// Connect; answer with `Connected` or `ConnectFailed`.
    Connect(ConnectionId, BrokerAddress),
    /// The peer has shown that it is a Kafka broker: from now on, frames may be as long as configured. A link may ignore this.
    Trust(ConnectionId),
    /// Write these parts one after the other; they are one request.
    Write(ConnectionId, Vec<Bytes>),
    /// Close at once and forget what is not written. No event is expected; a late one does no harm.
    Close(ConnectionId),
}

impl NetAction {
    /// The connection that the action is about.
    pub fn connection(&self) -> ConnectionId {
        match self {
            Self::Connect(id, _) | Self::Trust(id) | Self::Write(id, _) | Self::Close(id) => *id,
        }
    }
}

/// Why a link failed, in the words of whoever noticed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFailure {
    /// No connection could be established ("connection refused").
    Connect(Arc<str>),
    /// The host has no address ("cannot resolve the host").
    Unresolved(Arc<str>),
    /// The peer refused who we are, or we refused the peer (TLS, SASL).
    Authentication(Arc<str>),
    /// The peer closed the connection.
    PeerClosed,
    /// Reading or writing failed.
    Io(Arc<str>),
    /// What arrived cannot be cut into frames.
    Frame(Arc<str>),
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(text) | Self::Unresolved(text) | Self::Io(text) | Self::Frame(text) => {
                f.write_str(text)
            }
            Self::Authentication(text) => write!(f, "authentication failed: {text}"),
            Self::PeerClosed => f.write_str("the broker closed the connection"),
        }
    }
}

/// A request that has come to its end, with the purpose that was given to `send`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<T> {
    /// What the sender wanted with the request.
    pub purpose: T,
    /// The connection on which it was sent.
    pub connection: ConnectionId,
    /// How it ended.
    pub result: Outcome,
    /// Whether the broker may have seen any of it (R1).
    pub sent: Sent,
}

impl<T> Completed<T> {
    /// The node to which the request was sent.
    pub fn node(&self) -> NodeId {
        self.connection.node
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker answered. `body` begins behind the response header; nobody has read it yet.
    Response {
        /// The version of the request, and so of the response.
        version: i16,
        /// The response message, to be decoded in that version.
        body: Bytes,
        /// From queueing the request to the arrival of the response.
        latency: Duration,
    },
    /// The request expects no response (acks = 0) and is completely written (S-60).
    Written,
    /// The connection was lost before the response came.
    Disconnected {
        /// What happened, naming the broker.
        reason: Arc<str>,
    },
    /// This request, or another one of the same connection, was not answered in time; the connection is closed (N-27).
    TimedOut {
        /// What happened, naming the broker.
        reason: Arc<str>,
    },
    /// The broker has no version of this request that the sender accepts; nothing was sent (N-41).
    VersionMismatch {
        /// Which request, and which versions both sides have.
        reason: Arc<str>,
    },
    /// The connection ended because authentication failed.
    AuthenticationFailed {
        /// What happened, naming the broker.
        reason: Arc<str>,
    },
}

/// Whether bytes of a request may have left this process: the difference between "not applied" and "unknown" (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Not a single byte was written, so the broker cannot have applied the request.
    NotWritten,
    /// Bytes were written, or it is not known that none were.
    MayBeWritten,
}
