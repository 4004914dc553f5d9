//! What the application's side counts: time that calls took, and records that never came into a batch. Touched only where a call waits or fails, never
//! on the way of a record that goes straight into its batch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kommit_accumulator::{SendError, SendErrorKind};

/// What a call spent its time on (K-14, K-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    BufferWait,
    MetadataWait,
    Flush,
    Init,
    Begin,
    SendOffsets,
    Commit,
    Abort,
}

impl Spent {
    /// All of them, each with Kafka's name.
    pub(super) const ALL: [(Self, &'static str); 8] = [
        (Self::BufferWait, "bufferpool-wait-time-ns-total"),
        (Self::MetadataWait, "metadata-wait-time-ns-total"),
        (Self::Flush, "flush-time-ns-total"),
        (Self::Init, "txn-init-time-ns-total"),
        (Self::Begin, "txn-begin-time-ns-total"),
        (Self::SendOffsets, "txn-send-offsets-time-ns-total"),
        (Self::Commit, "txn-commit-time-ns-total"),
        (Self::Abort, "txn-abort-time-ns-total"),
    ];
}

/// The counters of one producer's calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    nanos: [AtomicU64; Spent::ALL.len()],
    exhausted: AtomicU64,
    refused: AtomicU64,
}

impl Calls {
    pub(crate) fn spent(&self, on: Spent, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos[on as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    /// K-8, K-15, P-18: a record came into no batch. What is an illegal state or an invalid argument is not counted.
    pub(crate) fn refused(&self, error: &SendError) {
        match error.kind() {
            SendErrorKind::Refused(_) | SendErrorKind::InvalidRecord(_) => return,
            SendErrorKind::BufferExhausted { .. } => {
                self.exhausted.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn nanos_of(&self, on: Spent) -> u64 {
        self.nanos[on as usize].load(Ordering::Relaxed)
    }

    pub(super) fn exhausted_count(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }

    pub(super) fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
