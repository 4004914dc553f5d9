//! An embedded broker that speaks Kafka's protocol: for development, for tests, and as the judge of the producer.
//!
//! Reading order: [`config`] (how it is set up), `core` (the broker without sockets and clock: events in, actions out), `dispatch`
//! (what each request does), `partition` (a log with its producers and its transactions), `topics` (what all nodes share),
//! [`coordinator`] (transactions and groups), [`denials`] (what clients may not do), [`faults`] (rules that make it misbehave), [`inspect`] (what tests may look at), [`check`] (what must hold in the logs),
//! `durable` (what survives a restart), [`server`] (the only place with sockets, files and a clock).
//!
//! It shares nothing with the client but `kommit-protocol`: no sequence and no transaction logic, so that it can judge both. It
//! reads from memory only, also when it has a data directory, has no fetch sessions, of the group protocols only the classic one, and no listeners with SASL or TLS.

pub mod check;
pub mod config;
pub mod coordinator;
mod core;
pub mod denials;
mod dispatch;
mod durable;
pub mod faults;
mod ignored_settings;
pub mod inspect;
mod messages;
mod partition;
mod refusals;
pub mod server;
mod topics;

pub use config::{BrokerConfig, Storage};
pub use coordinator::interface::TransactionVersion;
pub use core::{BrokerAction, BrokerCore, BrokerEvent, ConnectionId};
pub use durable::{CorruptPiece, Recovery};
pub use faults::{Rule, RuleId, Verdict};
pub use messages::{RequestMessage, ResponseMessage};
pub use server::{EmbeddedBroker, RuleGuard};
pub use topics::DirectoryState;
