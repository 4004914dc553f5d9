//! The sender's loop: the core that owns all protocol state, and the tokio task that drives it.
//!
//! Whoever knows the reference producer's `run()`, `runOnce()` and `sendProducerData()` finds them in [`phase`](SenderCore::turn),
//! `run_once` and `producer_data`, in the same order. Where the reference blocks or sleeps, the core returns a deadline.
//!
//! Reading order: `command` (what the application can ask), `core` (the parts and how they are fed), `phase` (main loop, drain,
//! abort, forced close, close), `run_once`, `at_hand` (the transactional request that is under way), `producer_data` (ready,
//! connect, drain, mute, expire, send), `produce_response` and `produce_outcome` (what an answer means), `in_flight`, `gap`
//! (partitions that stop behind a record of unknown fate), `topic_ids` (topics that were created anew), `pace` (the pause between two
//! transactions), `markers` (asking whether it was long enough), `next_transaction` (the one that is begun while a commit is under way), and at last `driver`, the
//! only place that knows tokio.

mod at_hand;
mod command;
mod core;
mod counts;
mod driver;
#[cfg(test)]
#[path = "../../../tests/support/error_tables.rs"]
mod error_tables;
mod flush;
mod gap;
mod gate;
mod in_flight;
mod markers;
mod next_transaction;
mod pace;
mod phase;
mod produce_outcome;
mod produce_response;
mod producer_data;
mod run_once;
mod topic_ids;
mod transactional_wire;

pub use command::{Command, Reply};
pub use core::{Actions, Order, Purpose, SenderConfig, SenderCore};
pub use counts::{SenderCounts, SenderReport, TopicCounts};
pub use driver::{Clock, Driver, Parts, PendingReply, SenderGone, SenderHandle, SystemClock};
pub use pace::MarkersQuestion;
pub use phase::Phase;
pub use produce_outcome::{ProduceAction, Proof, Situation, produce_action, proof_of};
pub use produce_response::ProduceRequest;
