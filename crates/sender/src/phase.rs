//! `run()`: the main loop, the graceful drain, the abort of an unfinished transaction, the forced close, and the end (S-5 … S-17).
//!
//! Each turn makes one pass of the loop that the phase is in. A phase never goes back.

use kommit_protocol::time::{Instant, Now};

use kommit_txn_manager::TransactionManager;

use crate::core::SenderCore;

/// Where `run()` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The main loop, until the producer is closed (S-5).
    Running,
    /// Records are no longer accepted; what was accepted is sent and answered (S-7).
    Draining,
    /// A transaction that nobody ended is aborted; one that is being ended may end (S-9).
    Aborting,
    /// Everything that waits fails at once (S-13).
    Forced,
    /// The connections are closed and nothing will happen any more (S-14).
    Closed,
}

impl SenderCore {
    /// One pass of `run()`. Returns when the next is due at the latest.
    pub(crate) fn run(&mut self, now: Now) -> Instant {
        if self.phase == Phase::Running {
            return self.run_once(now);
        }
        if self.phase == Phase::Draining {
            if self.has_work_to_drain() {
                return self.run_once(now);
            }
            self.phase = Phase::Aborting;
        }
        if self.phase == Phase::Aborting {
            if self.has_ongoing_transaction() {
                self.abort_unfinished_transaction();
                return self.run_once(now);
            }
            self.phase = Phase::Closed;
            self.close_client(now.instant);
        }
        if self.phase == Phase::Forced {
            self.fail_everything();
            self.phase = Phase::Closed;
            self.close_client(now.instant);
        }
        Instant::NEVER
    }

    /// S-16: first no record is accepted any more, then the main loop ends, so that nothing is appended behind its back.
    pub(crate) fn initiate_close(&mut self) {
        self.accumulator.close();
        if self.phase == Phase::Running {
            tracing::debug!("sender begins its shutdown: sending the remaining records");
            self.phase = Phase::Draining;
        }
    }

    /// S-17: as a close, but nothing is waited for any more.
    pub(crate) fn force_close(&mut self) {
        self.accumulator.close();
        if self.phase < Phase::Forced {
            self.phase = Phase::Forced;
        }
    }

    /// S-7, S-8: undrained batches, unanswered requests, or transactional requests of an open transaction.
    fn has_work_to_drain(&self) -> bool {
        let transactional_requests = self
            .txn
            .as_ref()
            .is_some_and(|txn| txn.has_pending_requests() && txn.has_ongoing_transaction());
        self.drainer.has_undrained() || self.network.in_flight_count() > 0 || transactional_requests
    }

    fn has_ongoing_transaction(&self) -> bool {
        self.txn
            .as_ref()
            .is_some_and(TransactionManager::has_ongoing_transaction)
    }

    /// S-9 … S-11: an unfinished transaction is aborted, one that is committing or aborting already is left to end.
    fn abort_unfinished_transaction(&mut self) {
        let ticket = self.own_ticket();
        let Some(txn) = self.txn.as_mut() else { return };
        if txn.is_completing() {
            return;
        }
        tracing::info!("aborting the incomplete transaction because the producer is closed");
        if let Err(error) = txn.begin_abort(ticket) {
            tracing::error!(%error, "the incomplete transaction cannot be aborted; closing by force");
            self.phase = Phase::Forced;
        }
    }

    /// S-13: the transaction manager's waiters first, then every record.
    fn fail_everything(&mut self) {
        if let Some(txn) = self.txn.as_mut() {
            tracing::debug!("failing incomplete transactional requests because of a forced close");
            txn.close();
        }
        tracing::debug!("failing incomplete batches because of a forced close");
        self.fail_incomplete_batches(&self.closed_forcefully());
    }
}
