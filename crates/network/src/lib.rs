//! Which brokers there are and what may be sent to them now; under [`io`], sockets.
//!
//! Reading order: [`Network`] is the room that the sender enters; `boundary` holds what crosses the border of the core ([`NetEvent`] in,
//! [`NetAction`] and [`Completed`] out); `connection` is the state machine of one connection and `in_flight` what it carries; `metadata`
//! and `cluster` are what is known of the cluster; `versions` says which version of a request both sides understand.
//!
//! The core has no sockets, no clock and no randomness of its own. [`io`] has no policy: it connects, cuts frames, writes and closes
//! as it is told. No part of this crate knows what a response means to a producer, metadata and versions excepted.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test ends with a panic when something is not as it should be"
    )
)]

mod address;
mod boundary;
mod cluster;
mod config;
mod connection;
mod correlation;
mod counts;
mod failures;
mod in_flight;
pub mod io;
mod metadata;
mod network;
mod versions;

pub use address::{AddressError, BrokerAddress};
pub use boundary::{Completed, ConnectionId, LinkFailure, NetAction, NetEvent, Outcome, Sent};
pub use cluster::{
    ClusterSnapshot, PartitionLeader, PartitionSnapshot, TopicFailure, TopicOrigin, TopicSnapshot,
};
pub use config::{NetworkConfig, RecoveryStrategy};
pub use connection::ConnectionState;
pub use counts::{NetworkCounts, NodeCounts, Spread};
pub use metadata::{LeaderHint, MetadataError};
pub use network::{Acks, Network, ProduceEnvelope};
pub use versions::{FinalizedFeatures, NodeApiVersions, VersionLimits};
