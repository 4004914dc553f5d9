//! `runOnce()`: resolve sequences, stop on fatal errors, refresh the identity, send the transactional request, and only then send batches
//! (S-19 … S-25).

use kommit_accumulator::{Consequence, SendError, SendErrorKind};
use kommit_protocol::time::{Instant, Now};
use kommit_txn_manager::TransactionError;

use crate::core::SenderCore;

impl SenderCore {
    /// One iteration. Returns when the next is due at the latest; an event may make it due before.
    pub(crate) fn run_once(&mut self, now: Now) -> Instant {
        if let Some(txn) = self.txn.as_mut() {
            txn.resolve_sequences();

            if let Some(error) = txn.fatal_error().cloned() {
                self.fail_incomplete_batches(&fatal(&error));
                // S-21: nothing is sent any more; answers and rings still come, and nothing else can happen.
                return Instant::NEVER;
            }
            if let Some(error) = txn.recover_authorization() {
                // S-24: what waits fails, and the application may try again.
                self.fail_incomplete_batches(&fatal(&error).with_consequence(Consequence::MustAbort));
                return now.instant + self.config.retry_backoff.initial;
            }
            txn.refresh_identity();

            if let Some(until) = self.hold_transaction(now.instant) {
                return until.min(self.expire_batches(now));
            }
            if let Some(due) = self.send_transactional_request(now) {
                // No batch is drained meanwhile, but time goes on for those that wait (S-43, S-44).
                return due.min(self.expire_batches(now));
            }
            if self.next.is_ahead() {
                return self.expire_batches(now);
            }
        }
        self.send_producer_data(now)
    }

    /// S-23: every record that waits is told; the lists of what is under way are emptied, its bytes stay with the wire.
    pub(crate) fn fail_incomplete_batches(&mut self, error: &SendError) {
        if self.drainer.nothing_incomplete().is_some() {
            return;
        }
        tracing::error!(%error, "failing all incomplete batches");
        self.drainer.abort_all(error.clone());
        self.in_flight.clear();
    }
}

/// The error of a transaction or identity as a record sees it.
pub(crate) fn fatal(error: &TransactionError) -> SendError {
    let kind = match error.code() {
        Some(code) => SendErrorKind::Broker(code),
        None => SendErrorKind::TransactionFailed,
    };
    SendError::new(kind)
        .with_consequence(Consequence::Fatal)
        .with_message(error.to_string())
}
