//! Exactly-once production to Apache Kafka, native, on tokio.
//!
//! [`Producer`] writes each record once, in order, across retries. [`TransactionalProducer`] makes records and consumer offsets visible together or
//! not at all; its [`Transaction`] is a guard, so that a wrong transaction does not compile. A [`Record`] borrows its bytes, a
//! [`Delivery`] tells where it was written, and every error says what happened to the record and what to do.
//!
//! Reading order: [`record`], [`Producer`], [`TransactionalProducer`], [`Transaction`], [`error`], [`ProducerConfig`].

mod client;
mod commit_outcome;
mod config;
pub mod error;
pub mod metrics;
mod producer;
pub mod record;
mod topic;
mod transaction;
mod transactional;

pub use commit_outcome::CommitOutcome;
pub use config::{Acks, ConfigError, ConfigWarning, ProducerBuilder, ProducerConfig};
pub use error::{
    AbortError, BeginError, CloseError, CommitError, ConnectError, DeadProducer, Fate, FlushError, GapError,
    OffsetsError, SendAllError, SendError, SendErrorKind, TransactionFailed, TrySendError,
};
pub use kommit_accumulator::{
    Delivery, GateReason, Partitioner, Partitioning, Partitions, RecordMetadata, StickyChoice,
};
pub use kommit_network::io::{Connector, TcpConnector};
pub use kommit_network::{AddressError, BrokerAddress, PartitionSnapshot, RecoveryStrategy};
pub use kommit_protocol::batch::Compression;
pub use kommit_protocol::error_code::ErrorCode;
pub use kommit_protocol::units::{Offset, PartitionId, TopicPartition};
pub use kommit_sender::{Clock, SenderGone as ProducerClosed, SystemClock};
pub use kommit_txn_manager::{
    ConsumerGroupMetadata, Fencing, OffsetAndMetadata, OnGap, PartitionVerification, TransactionError,
    TransactionFate,
};
pub use metrics::{Metrics, MetricsSnapshot};
pub use producer::Producer;
pub use record::{Header, Record};
pub use topic::Topic;
pub use transaction::{InDoubt, MustAbort, Transaction, UnfinishedAbort};
pub use transactional::TransactionalProducer;

/// The programs in the README are compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
