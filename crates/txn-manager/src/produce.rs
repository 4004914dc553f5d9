//! Batches, as far as identity, sequences and the transaction are concerned (2.12, table E-7).
//!
//! A batch is known by partition, identity and base sequence; its bytes and its outcome belong to others. Where the reference
//! renumbers what may be written, the hazard rules win: a name is never given to other records (R3), and an epoch never passes a
//! batch of unknown fate (R4).

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::units::{Identity, PartitionIndex, Sequence};

use crate::batch::{BatchFailure, BatchId, FailureReason, Fate, Retry, Stamp, Transactional};
use crate::error::{Rejection, TransactionError};
use crate::manager::TransactionManager;
use crate::outcome::TransactionFate;
use crate::sequences::Order;
use crate::state::State;
use crate::transaction::{Answers, BatchFates};
use crate::version::Flavour;

/// What a failed batch does to the producer (T-83, E-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProduceAction {
    /// The producer is of no more use.
    Fatal,
    /// The transaction can only be aborted; an idempotent-only producer goes on under a new epoch.
    Abort,
    /// As `Abort`, when the broker said that the epoch is old (T-103).
    AbortOldEpoch,
}

/// E-7: what a code that is not retried does. Idempotent-only producers share the fatal rows (T-83).
pub(crate) fn produce_action(code: ErrorCode) -> ProduceAction {
    use ErrorCode as E;
    match code {
        retriable if retriable.is_retriable() => ProduceAction::Abort,
        E::OutOfOrderSequenceNumber | E::UnknownProducerId => ProduceAction::Abort,
        E::InvalidProducerEpoch => ProduceAction::AbortOldEpoch,
        E::ProducerFenced => ProduceAction::Fatal,
        E::InvalidTxnState | E::TransactionAbortable => ProduceAction::Abort,
        E::TopicAuthorizationFailed
        | E::InvalidRecord
        | E::InvalidTimestamp
        | E::MessageTooLarge
        | E::RecordListTooLarge
        | E::InvalidRequiredAcks
        | E::UnsupportedForMessageFormat
        | E::UnsupportedCompressionType => ProduceAction::Abort,
        E::TransactionalIdAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::InvalidProducerIdMapping
        | E::UnsupportedVersion => ProduceAction::Fatal,
        any_other => abort_on_any_other(any_other),
    }
}

/// The last row of E-7: UNKNOWN_SERVER_ERROR, INVALID_REQUEST, codes newer than this crate.
fn abort_on_any_other(_code: ErrorCode) -> ProduceAction {
    ProduceAction::Abort
}

impl TransactionManager {
    /// A-48, T-23, D-16: whether a batch of this partition may be drained now; `stamped` is its stamp when it is a retry.
    ///
    /// A permission for a stamped batch counts as sending it: until it is answered its fate is open again.
    pub fn may_drain(&mut self, partition: PartitionIndex, stamped: Option<(Identity, Sequence)>) -> bool {
        let Some(current) = self.identity else {
            return false;
        };
        let bump_is_due = !self.is_transactional() && self.epoch_bump.is_due();
        match stamped {
            None => {
                self.may_send_new(partition) && !bump_is_due && self.sequences.may_stamp(partition, current)
            }
            Some((identity, base)) => {
                if !self.may_send_to(partition) {
                    return false;
                }
                let may = match self.sequences.waiting(partition, identity, base) {
                    // R4: what is proven not written waits for the new epoch, unless the epoch waits for a batch behind it.
                    Some(Fate::NotWritten) => !bump_is_due || self.holds_up_the_epoch(partition),
                    Some(Fate::MayBeWritten) => true,
                    None => false,
                };
                if may {
                    self.sequences.resent(partition);
                }
                may
            }
        }
    }

    /// A-52, T-64, T-72: names a batch that `may_drain` allowed, and takes its sequences.
    ///
    /// # Panics
    ///
    /// Without an identity: `may_drain` allows nothing then.
    pub fn stamp(&mut self, partition: PartitionIndex, records: u32) -> Stamp {
        let identity = self
            .identity
            .expect("may_drain allows no batch without an identity");
        let base_sequence = self.sequences.stamp(partition, records, identity);
        let transactional = if self.is_transactional() {
            Transactional::Yes
        } else {
            Transactional::No
        };
        Stamp {
            identity,
            base_sequence,
            transactional,
        }
    }

    /// T-80, S-65: the broker has the batch, now or since an earlier attempt.
    pub fn batch_completed(&mut self, batch: &BatchId) {
        self.sequences.acknowledged(batch);
    }

    /// T-81 … T-83: a stamped batch failed for good. `mark_unresolved` is the owner's to call (S-44).
    pub fn batch_failed(&mut self, batch: &BatchId, failure: &BatchFailure) {
        self.sequences.failed(batch, failure.fate);
        if let (Fate::MayBeWritten, Some(transaction)) = (failure.fate, self.state.transaction_mut()) {
            transaction.batches = BatchFates::SomeUnknown;
        }
        if !self.is_transactional() {
            self.stop_behind(batch, failure);
            self.bump_behind_failure(batch, failure);
        } else if !self.must_bump_itself() && self.speaks_v1() {
            self.keep_epoch_behind_failure(batch, failure);
        }
        self.records_failed(Some(batch.partition), &failure.reason);
    }

    /// T-83, T-84, R12: records failed that have no stamp, or never became a batch: an open transaction cannot be committed.
    pub fn records_failed(&mut self, partition: Option<PartitionIndex>, reason: &FailureReason) {
        if !HazardRule::R12.is_kept() {
            return;
        }
        let decided = self.fate_of_open_transaction() != TransactionFate::NotCommitted;
        if matches!(reason, FailureReason::Refused(_)) && decided {
            // No transaction is open, or its end is out: a record that was never taken cannot belong to it any more (D-20).
            return;
        }
        let code = match reason {
            FailureReason::Code(code) => *code,
            FailureReason::Expired => ErrorCode::RequestTimedOut,
            FailureReason::Refused(_) => ErrorCode::InvalidRecord,
        };
        let subject = partition.map(|partition| self.name(partition));
        match produce_action(code) {
            ProduceAction::Fatal => {
                let error = self.fatal_produce_error(code, subject);
                self.fail_fatally(error);
            }
            ProduceAction::Abort | ProduceAction::AbortOldEpoch if !self.is_transactional() => {}
            ProduceAction::AbortOldEpoch => {
                let rejection = self.rejection("Produce", code, subject);
                self.condemn(TransactionError::InvalidProducerEpoch(rejection));
            }
            ProduceAction::Abort => {
                let error = self.condemning_error(reason, subject);
                self.condemn(error);
            }
        }
    }

    /// T-85, with H09, H13 and D-15: whether a failed attempt is followed by another one, time and retries permitting.
    ///
    /// `fate` joins all attempts so far, this one included. With [`Retry::Requeue`] the batch counts as waiting.
    pub fn retry(&mut self, code: ErrorCode, batch: &BatchId, fate: Fate) -> Retry {
        if fate == Fate::NotWritten && self.gaps.has_stopped(batch.partition) {
            // H07: behind a gap only what may be written already is repeated.
            return Retry::Fail;
        }
        let retry = match code {
            ErrorCode::UnknownProducerId => self.retry_under_new_epoch(batch, fate),
            ErrorCode::OutOfOrderSequenceNumber => match self.sequences.order_of(batch) {
                Order::BehindInFlight if self.abortable_error().is_none() => Retry::Requeue,
                Order::Overtaken => Retry::Requeue,
                Order::BehindInFlight | Order::NextExpected => self.retry_under_new_epoch(batch, fate),
            },
            retriable if retriable.is_retriable() => Retry::Requeue,
            _ => Retry::Fail,
        };
        if retry == Retry::Requeue {
            self.sequences.waits(batch, fate);
        }
        retry
    }

    /// A-77, S-63, H27: a batch that the broker found too large is sent in parts, which keep its sequences and wait to be sent.
    ///
    /// Gives the stamps of the parts. Only for a batch that is proven not written.
    pub fn split(&mut self, batch: &BatchId, parts: &[u32]) -> Vec<Stamp> {
        let transactional = if self.is_transactional() {
            Transactional::Yes
        } else {
            Transactional::No
        };
        let bases = self.sequences.split(batch, parts);
        let stamp = |base_sequence| Stamp {
            identity: batch.identity,
            base_sequence,
            transactional,
        };
        bases.into_iter().map(stamp).collect()
    }

    /// T-88: a batch in retry expired: whether its sequences are used is not known.
    pub fn mark_unresolved(&mut self, batch: &BatchId) {
        self.sequences.mark_unresolved(batch);
    }

    /// R6: a produce request of the open transaction went unanswered: a copy of it may still be on its way.
    pub fn note_unanswered(&mut self) {
        if let Some(transaction) = self.state.transaction_mut() {
            transaction.answers = Answers::SomeMissing;
        }
    }

    /// R4: whether a batch of unknown fate, for which a new epoch waits, comes to its turn only when those before it have left. What waits
    /// in a partition that is to be restarted could not be written anyway.
    fn holds_up_the_epoch(&self, partition: PartitionIndex) -> bool {
        self.sequences.has_unknown_waiting(partition) && !self.epoch_bump.concerns(partition)
    }

    /// T-23. In an abort, or behind an error, retries can finish.
    fn may_send_to(&self, partition: PartitionIndex) -> bool {
        if matches!(self.state, State::FatalError { .. }) {
            return false;
        }
        !self.is_transactional()
            || self
                .state
                .transaction()
                .is_some_and(|transaction| transaction.has_joined(partition))
    }

    /// New batches of a transaction that is being aborted are aborted, not sent; and none follows EndTxn (R5).
    fn may_send_new(&self, partition: PartitionIndex) -> bool {
        if !self.is_transactional() {
            return self.may_send_to(partition) && !self.gaps.has_stopped(partition);
        }
        let open = matches!(self.state, State::InTransaction(_) | State::Committing(_));
        open && self.fate_of_open_transaction() == TransactionFate::NotCommitted
            && self.may_send_to(partition)
    }

    /// T-85: idempotent-only, and only what is proven not written (R4, H13): repeated under the next epoch.
    fn retry_under_new_epoch(&mut self, batch: &BatchId, fate: Fate) -> Retry {
        if self.is_transactional() || fate == Fate::MayBeWritten {
            return Retry::Fail;
        }
        self.epoch_bump.require_for(batch.partition);
        Retry::Requeue
    }

    /// T-82 a, c for idempotent-only producers. A partition that has stopped is looked at when nothing of it is in flight (H07).
    fn bump_behind_failure(&mut self, batch: &BatchId, failure: &BatchFailure) {
        if self.gaps.has_stopped(batch.partition) {
            return;
        }
        let lost_track = matches!(
            failure.reason,
            FailureReason::Code(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId)
        );
        let gap = matches!(failure.reason, FailureReason::Code(_)) && failure.fate == Fate::NotWritten;
        if lost_track || gap {
            self.epoch_bump.require_for(batch.partition);
        }
    }

    /// T-99: a coordinator that cannot bump the epoch. The sequences must fit without a new one, or it is not safe to go on (T-90).
    fn keep_epoch_behind_failure(&mut self, batch: &BatchId, failure: &BatchFailure) {
        match (failure.fate, &failure.reason) {
            (Fate::NotWritten, FailureReason::Code(ErrorCode::UnknownProducerId)) => {
                self.sequences.forget(batch.partition);
            }
            (Fate::NotWritten, _) => {}
            (Fate::MayBeWritten, _) => self.sequences.mark_unresolved(batch),
        }
    }

    /// T-83: condemns the open transaction. A new epoch follows its end, also when it is being completed (D-8 bumps here, too).
    fn condemn(&mut self, error: TransactionError) {
        if self.must_bump_itself() && self.state.transaction().is_some() {
            self.epoch_bump.require();
        }
        self.fail_abortably(error);
    }

    fn fatal_produce_error(&self, code: ErrorCode, subject: Option<Arc<str>>) -> TransactionError {
        use ErrorCode as E;
        let rejection = self.rejection("Produce", code, subject);
        match code {
            E::ProducerFenced => TransactionError::ProducerFenced(rejection),
            E::TransactionalIdAuthorizationFailed | E::ClusterAuthorizationFailed => {
                TransactionError::Unauthorized(rejection)
            }
            E::UnsupportedVersion => TransactionError::UnsupportedVersion {
                who: self.who(),
                request: "Produce",
            },
            _ => TransactionError::Refused(rejection),
        }
    }

    fn condemning_error(&self, reason: &FailureReason, subject: Option<Arc<str>>) -> TransactionError {
        let records = subject.map_or_else(
            || "records".to_owned(),
            |partition| format!("records to {partition}"),
        );
        let (text, code) = match reason {
            FailureReason::Code(code) => (format!("{records} failed with {}", code.name()), Some(*code)),
            FailureReason::Expired => (
                format!("{records} were not acknowledged within delivery.timeout.ms"),
                None,
            ),
            FailureReason::Refused(why) => (format!("{records} were refused: {why}"), None),
        };
        let transactional_id = self.config.transactional_id.clone().unwrap_or_else(|| "".into());
        TransactionError::RecordsFailed {
            transactional_id,
            reason: text.into(),
            code,
        }
    }

    pub(crate) fn rejection(
        &self,
        request: &'static str,
        code: ErrorCode,
        subject: Option<Arc<str>>,
    ) -> Rejection {
        Rejection {
            transactional_id: self.config.transactional_id.clone(),
            request,
            code,
            subject,
        }
    }

    /// Whether produce requests of the open transaction are limited to the versions of V1 (S-51: at most 11).
    pub fn max_produce_version(&self) -> Option<i16> {
        (self.is_transactional() && self.flavour() == Flavour::V1).then_some(11)
    }
}
