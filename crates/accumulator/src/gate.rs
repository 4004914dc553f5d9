//! Room 1: may a record enter now, and into which transaction?
//!
//! One atomic word, loaded by application tasks and stored by the sender core. The gate decides nothing by itself and never blocks.
//! A closed gate says why, so that the refused caller gets a precise error without asking the core.

use std::fmt;
use std::sync::atomic::Ordering;

use kommit_protocol::error_code::ErrorCode;
use thiserror::Error;

use crate::sync::AtomicU64;

/// The number of a transaction within one producer: 1 for the first, counting on with every begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionNumber(u64);

impl TransactionNumber {
    /// The first transaction of a producer.
    pub const FIRST: Self = Self(1);
    const LARGEST: u64 = (1 << 56) - 1;

    /// The transaction after this one. Transactions are numbered in 56 bits, more than a producer can begin.
    #[must_use]
    pub fn next(self) -> Self {
        Self(if self.0 == Self::LARGEST { 1 } else { self.0 + 1 })
    }
}

impl fmt::Display for TransactionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why the gate refuses a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateReason {
    /// The producer was closed; this is final.
    #[error("the producer is closed")]
    ProducerClosed,
    /// The transactional producer has not been initialised yet.
    #[error("the producer has not been initialised")]
    NotInitialized,
    /// A transactional producer accepts records inside a transaction only.
    #[error("no transaction has been begun")]
    NoTransaction,
    /// A commit or an abort is running.
    #[error("the transaction is being ended")]
    Ending,
    /// The record belongs to a transaction that is over, or to none while one is running.
    #[error("the record's transaction is not the running one")]
    OtherTransaction,
    /// The transaction can only be aborted.
    #[error("the transaction must be aborted: {}", .0.text())]
    MustAbort(ErrorCode),
    /// The producer cannot go on.
    #[error("the producer has failed: {}", .0.text())]
    Fatal(ErrorCode),
}

impl GateReason {
    /// The error code of what went wrong, where a reason has one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::MustAbort(code) | Self::Fatal(code) => Some(*code),
            Self::ProducerClosed
            | Self::NotInitialized
            | Self::NoTransaction
            | Self::Ending
            | Self::OtherTransaction => None,
        }
    }
}

/// What the gate says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// Records are refused for this reason.
    Closed(GateReason),
    /// Records enter without a transaction.
    Open,
    /// Records of this transaction enter, and no others.
    InTransaction(TransactionNumber),
}

/// The gate that every record passes (room 1). One atomic load per record; starts closed.
#[derive(Debug)]
pub struct SendGate {
    word: AtomicU64,
}

impl SendGate {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(encode(GateState::Closed(GateReason::NotInitialized))),
        }
    }

    /// Lets records in that belong to no transaction. Does nothing once the producer is closed.
    pub fn open(&self) {
        self.store(GateState::Open);
    }

    /// Lets in the records of one transaction. Does nothing once the producer is closed.
    pub fn open_for(&self, transaction: TransactionNumber) {
        self.store(GateState::InTransaction(transaction));
    }

    /// Refuses every record from now on. A record whose append is running may still be accepted; it is counted as incomplete
    /// by then, so that nobody who closes the gate first and asks for incomplete batches afterwards can miss it (D-9).
    pub fn close(&self, reason: GateReason) {
        self.store(GateState::Closed(reason));
    }

    /// What the gate says now.
    pub fn state(&self) -> GateState {
        decode(self.word.load(Ordering::SeqCst))
    }

    /// Whether a record of this transaction (`None`: of no transaction) may enter now.
    ///
    /// # Errors
    ///
    /// The reason for which it may not.
    pub fn check(&self, transaction: Option<TransactionNumber>) -> Result<(), GateReason> {
        let wanted = encode(match transaction {
            Some(number) => GateState::InTransaction(number),
            None => GateState::Open,
        });
        let word = self.word.load(Ordering::SeqCst);
        if word == wanted {
            return Ok(());
        }
        Err(match decode(word) {
            GateState::Closed(reason) => reason,
            GateState::Open | GateState::InTransaction(_) => GateReason::OtherTransaction,
        })
    }

    fn store(&self, state: GateState) {
        let closed_for_ever = encode(GateState::Closed(GateReason::ProducerClosed));
        let update = |word| (word != closed_for_ever).then_some(encode(state));
        // An error says that the producer is closed, which is final.
        let _final = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
    }
}

const TAG_SHIFT: u32 = 56;
const PAYLOAD: u64 = (1 << TAG_SHIFT) - 1;
const OPEN: u64 = 0;
const IN_TRANSACTION: u64 = 1;
const PRODUCER_CLOSED: u64 = 2;
const NOT_INITIALIZED: u64 = 3;
const NO_TRANSACTION: u64 = 4;
const ENDING: u64 = 5;
const OTHER_TRANSACTION: u64 = 6;
const MUST_ABORT: u64 = 7;
const FATAL: u64 = 8;

fn encode(state: GateState) -> u64 {
    let (tag, payload) = match state {
        GateState::Open => (OPEN, 0),
        GateState::InTransaction(number) => (IN_TRANSACTION, number.0),
        GateState::Closed(reason) => match reason {
            GateReason::ProducerClosed => (PRODUCER_CLOSED, 0),
            GateReason::NotInitialized => (NOT_INITIALIZED, 0),
            GateReason::NoTransaction => (NO_TRANSACTION, 0),
            GateReason::Ending => (ENDING, 0),
            GateReason::OtherTransaction => (OTHER_TRANSACTION, 0),
            GateReason::MustAbort(code) => (MUST_ABORT, u64::from(code.code().cast_unsigned())),
            GateReason::Fatal(code) => (FATAL, u64::from(code.code().cast_unsigned())),
        },
    };
    tag << TAG_SHIFT | payload
}

fn decode(word: u64) -> GateState {
    let payload = word & PAYLOAD;
    let code = || {
        let code = u16::try_from(payload).expect("an error code was encoded in 16 bits");
        ErrorCode::from_code(code.cast_signed())
    };
    GateState::Closed(match word >> TAG_SHIFT {
        OPEN => return GateState::Open,
        IN_TRANSACTION => return GateState::InTransaction(TransactionNumber(payload)),
        NOT_INITIALIZED => GateReason::NotInitialized,
        NO_TRANSACTION => GateReason::NoTransaction,
        ENDING => GateReason::Ending,
        OTHER_TRANSACTION => GateReason::OtherTransaction,
        MUST_ABORT => GateReason::MustAbort(code()),
        FATAL => GateReason::Fatal(code()),
        _producer_closed => GateReason::ProducerClosed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room 1: one word holds every state, its reason included.
    #[test]
    fn every_state_survives_its_encoding() {
        let reasons = [
            GateReason::ProducerClosed,
            GateReason::NotInitialized,
            GateReason::NoTransaction,
            GateReason::Ending,
            GateReason::OtherTransaction,
            GateReason::MustAbort(ErrorCode::UnknownServerError),
            GateReason::Fatal(ErrorCode::ProducerFenced),
        ];
        let states = reasons.map(GateState::Closed).into_iter().chain([
            GateState::Open,
            GateState::InTransaction(TransactionNumber::FIRST),
            GateState::InTransaction(TransactionNumber(TransactionNumber::LARGEST)),
        ]);
        for state in states {
            assert_eq!(decode(encode(state)), state);
        }
    }

    /// A program decides on the code, not on the text.
    #[test]
    fn a_reason_that_comes_from_an_error_has_its_code() {
        let fenced = GateReason::Fatal(ErrorCode::ProducerFenced);
        assert_eq!(fenced.code(), Some(ErrorCode::ProducerFenced));
        let aborted = GateReason::MustAbort(ErrorCode::TransactionAbortable);
        assert_eq!(aborted.code(), Some(ErrorCode::TransactionAbortable));
        assert_eq!(GateReason::Ending.code(), None);
    }

    /// D-9: a record of another transaction never enters the running one.
    #[test]
    fn a_record_enters_only_its_own_transaction() {
        let gate = SendGate::new();
        let first = TransactionNumber::FIRST;
        assert_eq!(gate.check(Some(first)), Err(GateReason::NotInitialized));
        gate.open_for(first);
        assert_eq!(gate.check(Some(first)), Ok(()));
        assert_eq!(gate.check(None), Err(GateReason::OtherTransaction));
        gate.close(GateReason::Ending);
        assert_eq!(gate.check(Some(first)), Err(GateReason::Ending));
        gate.open_for(first.next());
        assert_eq!(gate.check(Some(first)), Err(GateReason::OtherTransaction));
    }

    /// nothing opens the gate of a closed producer again, and the reason stays.
    #[test]
    fn a_closed_producer_stays_closed() {
        let gate = SendGate::new();
        gate.close(GateReason::ProducerClosed);
        gate.open();
        gate.close(GateReason::Fatal(ErrorCode::ProducerFenced));
        assert_eq!(gate.check(None), Err(GateReason::ProducerClosed));
    }
}
