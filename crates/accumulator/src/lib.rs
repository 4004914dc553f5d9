//! Records in, batches out, within a fixed memory.
//!
//! Two halves, made by [`accumulator()`]. The [`Accumulator`] is shared by the tasks that send: `gate` (may a record enter),
//! `partitioner`, `load` and `topic` (where does it go), `accumulator` and `queue` (into which batch), `ratio` (how full), `pool` (in which memory), `way` (not
//! too fast), `doorbell` (who must know). The [`Drainer`] belongs to the sender core: which partitions are ready, in which order batches leave, and how they end.
//! Between them: `batch` and `stamped` (the stages of a batch), `split` (one that was too large), `completion` and `error` (what the sender
//! of a record gets).
//!
//! This crate knows no brokers beyond their numbers, no transactions (it asks a gate), no clock and no runtime.

mod accumulator;
mod batch;
mod completion;
mod config;
mod doorbell;
mod drainer;
mod error;
mod gate;
mod in_flight;
mod incomplete;
mod load;
mod partitioner;
mod pool;
mod queue;
mod random;
mod ratio;
mod split;
mod stamped;
mod sync;
mod topic;
mod way;

pub use accumulator::{Accumulator, AppendRefusal, accumulator};
pub use batch::RecordRef;
pub use completion::{BatchFailure, BatchWatch, Delivery, RecordMetadata, Settled};
pub use config::{AccumulatorConfig, Partitioning, StickyChoice};
pub use drainer::{
    Completing, DrainGate, Drained, Drainer, ExpiredBatch, GivenUp, Leader, Left, Pace, Ready, RestampRefusal,
};
pub use error::{Consequence, Fate, Progress, SendError, SendErrorKind};
pub use gate::{GateReason, GateState, SendGate, TransactionNumber};
pub use in_flight::InFlightBatch;
pub use incomplete::NothingIncomplete;
pub use kommit_protocol::batch::{Compression, HeaderRef};
pub use partitioner::{Partitioner, Partitions, murmur2, partition_of_key};
pub use pool::{Page, PageWait, PoolRefusal};
pub use split::Split;
pub use stamped::{BytesInUse, Stamp, StampScope, StampedBatch};
pub use topic::{Destination, TopicQueues};
pub use way::MakeWay;
