//! What the application can ask of the core, and what it is told. Values only.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_accumulator::TransactionNumber;
use kommit_network::BrokerAddress;
use kommit_protocol::units::TopicPartition;
use kommit_txn_manager::{CommandError, ConsumerGroupMetadata, OffsetAndMetadata, Outcome, Ticket};

use crate::counts::SenderReport;

/// A call of the application, on its way to the core. Those with a ticket are answered by a [`Reply`], exactly once.
#[derive(Clone, Debug)]
pub enum Command {
    /// Somebody writes to this topic: keep it in the metadata, and ask for it if it is not there (P-12).
    NeedTopic(Arc<str>),
    /// Somebody needs a partition that this topic did not have: ask for it again (P-12).
    RefreshTopic(Arc<str>),
    /// Obtain the identity of a transactional producer (P-26).
    Initialize(Ticket),
    /// A transaction has been begun and the gate opened for it; no request is sent (P-28).
    Begin,
    /// Begin the next transaction as soon as EndTxn goes out for the open one, whose commit is asked for next. Its records wait for the outcome.
    BeginNext {
        /// Who is told that it has begun.
        ticket: Ticket,
        /// The number of the next transaction, for which the gate is opened.
        number: TransactionNumber,
    },
    /// Put consumer offsets into the transaction (P-29).
    SendOffsets {
        /// Who is told.
        ticket: Ticket,
        /// The consumer whose offsets these are.
        group: ConsumerGroupMetadata,
        /// The next offset to read of each partition.
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    },
    /// Commit the transaction (P-30).
    Commit(Ticket),
    /// Abort the transaction (P-31).
    Abort(Ticket),
    /// A record of the transaction was refused before it reached a batch, so that the transaction cannot be committed (T-84).
    Condemn(Arc<str>),
    /// Send everything that waits, and tell when it is done (P-36).
    Flush(Ticket),
    /// Tell which partitions have stopped behind a record of unknown fate (H07).
    StoppedPartitions(Ticket),
    /// The application has taken note of the gap in a partition: later records may follow (H07).
    AcknowledgeGap {
        /// Who is told.
        ticket: Ticket,
        /// The partition.
        partition: TopicPartition,
    },
    /// Tell why brokers could not be reached, for the text of a time-out.
    Diagnose(Ticket),
    /// Tell what was counted up to now (P-39).
    Report(Ticket),
    /// Stop accepting records, finish what there is, abort an open transaction, end (S-16).
    Close,
    /// Stop now and fail everything that waits (S-17).
    ForceClose,
}

/// What a waiting call is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The outcome of a transactional call.
    Transaction(Outcome),
    /// The next transaction has begun: its records are taken.
    Begun,
    /// Everything that was sent before the flush has its outcome.
    Flushed,
    /// The call was refused and changed nothing.
    Refused(CommandError),
    /// The partitions that have stopped.
    Stopped(Vec<TopicPartition>),
    /// The partition had stopped, and takes records again.
    GapAcknowledged,
    /// The partition has not stopped.
    NoGap,
    /// The last failure of each broker that could not be reached.
    Diagnosis(Vec<(BrokerAddress, Arc<str>)>),
    /// What was counted.
    Report(Box<SenderReport>),
}
