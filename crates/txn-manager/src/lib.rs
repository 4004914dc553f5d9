//! Who this producer is, which sequence is next, where the transaction stands.
//!
//! [`TransactionManager`] is moved by one owner, the sender core. It reads no clock, opens no socket, sees no record and holds no
//! lock; the same calls in the same order give the same requests and answers. Nothing in it waits: a request is taken with
//! [`TransactionManager::next_request`], carried out by the owner, and handed back with [`TransactionManager::answered`].
//!
//! Reading order: `state` (the machine and its table), `transaction` (what is known of the open one), `manager` (the parts put
//! together), `commands` (what the application asks), `requests` and `steps` (what is sent, in which order), `responses` (what an
//! answer means: one table per request), `batch`, `sequences`, `produce` and `identity` (batches, their fates, new epochs), `gaps`
//! (partitions that stop behind a record of unknown fate), `version` (which protocol flavour a transaction speaks), `offsets` (consumer
//! offsets inside a transaction).
//!
//! Left out: two-phase commit (the state PREPARED_TRANSACTION, T-27). No request of the baseline carries it, so it could only be
//! reached by a caller that no broker supports.

mod batch;
mod commands;
mod config;
mod coordinators;
mod error;
#[cfg(test)]
#[path = "../../../tests/support/error_tables.rs"]
mod error_tables;
mod gaps;
mod identity;
mod manager;
mod offsets;
mod outcome;
mod produce;
mod requests;
mod responses;
mod sequences;
mod state;
mod steps;
mod transaction;
mod version;

pub use batch::{BatchFailure, BatchId, FailureReason, Fate, Retry, Stamp, Transactional};
pub use config::{Fencing, OnGap, PartitionVerification, TransactionConfig};
pub use coordinators::{CoordinatorNode, CoordinatorType, EpochBumpSupport};
pub use error::{CommandError, Rejection, TransactionError};
#[doc(hidden)]
pub use manager::TransactionManager;
pub use offsets::{ConsumerGroupMetadata, OffsetAndMetadata};
pub use outcome::{Answered, Outcome, Ticket, TransactionFate};
pub use requests::{Answer, Batches, RequestBody, RequestKind, ResponseBody, TransactionalRequest};
pub use sequences::Renumbering;
pub use state::StateName;
pub use version::{FinalizedFeatures, Flavour};
