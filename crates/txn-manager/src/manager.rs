//! The manager: its parts, what can be asked of it, and the three ways in which an error changes it.

use std::sync::Arc;

use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::units::{Identity, PartitionIndex, TopicPartition};
use tracing::{debug, info};

use crate::config::TransactionConfig;
use crate::coordinators::{CoordinatorNode, CoordinatorType, Coordinators, EpochBumpSupport};
use crate::error::TransactionError;
use crate::gaps::Gaps;
use crate::identity::EpochBump;
use crate::outcome::{Answered, Outcome, Pending, Ticket, TransactionFate};
use crate::requests::{Decision, RequestQueue, TransactionalRequest};
use crate::sequences::{Renumbering, Sequences};
use crate::state::{Event, IllegalTransition, State, StateName};
use crate::transaction::CommitAttempts;
use crate::version::{FinalizedFeatures, Flavour, Versions};

/// Everything an idempotent or transactional producer knows about its identity, its sequences and its transaction.
///
/// Commands come from the application and are refused with an error that changes nothing (T-10). Events come from the owner's
/// work and cannot be refused: one that does not fit makes the state fatal (T-11).
#[derive(Debug)]
pub struct TransactionManager {
    pub(crate) config: TransactionConfig,
    pub(crate) state: State,
    pub(crate) identity: Option<Identity>,
    pub(crate) epoch_bump: EpochBump,
    pub(crate) versions: Versions,
    pub(crate) coordinators: Coordinators,
    pub(crate) queue: RequestQueue,
    pub(crate) in_flight: Option<RequestInFlight>,
    pub(crate) pending: Option<Pending>,
    pub(crate) sequences: Sequences,
    pub(crate) names: Vec<Option<TopicPartition>>,
    pub(crate) gaps: Gaps,
    pub(crate) next_number: u64,
    /// D-11: refused attempts to get a first identity since the last success.
    pub(crate) identity_refusals: u32,
    pub(crate) renumberings: Vec<Renumbering>,
    pub(crate) answers: Vec<Answered>,
}

/// What is remembered of the request that the owner holds (S-26, D-4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestInFlight {
    pub(crate) number: u64,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) decision: Option<Decision>,
}

impl TransactionManager {
    /// A manager without an identity.
    pub fn new(config: TransactionConfig) -> Self {
        Self {
            config,
            state: State::Uninitialized,
            identity: None,
            epoch_bump: EpochBump::default(),
            versions: Versions::new(),
            coordinators: Coordinators::none(),
            queue: RequestQueue::default(),
            in_flight: None,
            pending: None,
            sequences: Sequences::default(),
            names: Vec::new(),
            gaps: Gaps::default(),
            next_number: 0,
            identity_refusals: 0,
            renumberings: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Moves the answers given since the last call to the end of `out`, oldest first.
    pub fn drain_answers(&mut self, out: &mut Vec<Answered>) {
        out.append(&mut self.answers);
    }

    /// Moves the batches that need a new stamp to the end of `out`. To be carried out before the next drain (T-70).
    pub fn drain_renumberings(&mut self, out: &mut Vec<Renumbering>) {
        out.append(&mut self.renumberings);
    }

    /// T-33: what a broker reported about finalised features.
    pub fn features(&mut self, features: FinalizedFeatures) {
        self.versions.learn(features);
    }

    /// T-62: the transaction coordinator is ready; whether its InitProducerId reaches version 3.
    pub fn coordinator_ready(&mut self, epoch_bump: EpochBumpSupport) {
        self.coordinators.epoch_bump = epoch_bump;
    }

    /// Where the machine stands.
    pub fn state(&self) -> StateName {
        self.state.name()
    }

    /// Whether there is a transactional id.
    pub fn is_transactional(&self) -> bool {
        self.config.transactional_id.is_some()
    }

    /// The transactional id, for produce requests (S-49).
    pub fn transactional_id(&self) -> Option<&Arc<str>> {
        self.config.transactional_id.as_ref()
    }

    /// T-9: whether the transaction is ending.
    pub fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing(_) | State::Aborting(_))
    }

    /// Whether undrained batches have to be aborted because the user aborts (S-27).
    pub fn is_aborting(&self) -> bool {
        matches!(self.state, State::Aborting(_))
    }

    /// T-8: whether a transaction is open.
    pub fn has_ongoing_transaction(&self) -> bool {
        self.state.transaction().is_some()
    }

    /// S-8: whether transactional requests wait or are out.
    pub fn has_pending_requests(&self) -> bool {
        self.in_flight.is_some() || !self.queue.is_empty()
    }

    /// Whether the owner holds a request (S-26).
    pub fn has_request_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The error of the fatal state (S-21).
    pub fn fatal_error(&self) -> Option<&TransactionError> {
        match &self.state {
            State::FatalError { error } => Some(error),
            _ => None,
        }
    }

    /// The latest error of a transaction that can only be aborted (S-27).
    pub fn abortable_error(&self) -> Option<&TransactionError> {
        match &self.state {
            State::AbortableError { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The flavour of the open transaction, or of the next one (R10).
    pub fn flavour(&self) -> Flavour {
        if !HazardRule::R10.is_kept() {
            return self.versions.latest();
        }
        self.state
            .transaction()
            .map_or(self.versions.in_use(), |transaction| transaction.flavour)
    }

    /// Who this producer is now.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The cached coordinator of a type.
    pub fn coordinator(&self, of: CoordinatorType) -> Option<&CoordinatorNode> {
        self.coordinators.node(of)
    }

    pub(crate) fn name(&self, partition: PartitionIndex) -> Arc<str> {
        match self.names.get(partition.position()) {
            Some(Some(name)) => name.to_string().into(),
            _ => format!("partition #{}", partition.0).into(),
        }
    }

    /// The producer, for the text of an error.
    pub(crate) fn who(&self) -> Arc<str> {
        match &self.config.transactional_id {
            Some(id) => format!("producer with transactional.id \"{id}\"").into(),
            None => "idempotent producer".into(),
        }
    }

    /// T-60: whether a bump takes a request of this client.
    pub(crate) fn must_bump_itself(&self) -> bool {
        self.coordinators.epoch_bump == EpochBumpSupport::Supported && self.flavour() == Flavour::V1
    }

    /// T-61: whether the end of the transaction brings a new epoch, one way or the other.
    pub(crate) fn can_recover_by_abort(&self) -> bool {
        self.coordinators.epoch_bump == EpochBumpSupport::Supported || self.flavour() == Flavour::V2
    }

    /// An event's step; one that does not fit is fatal (T-11).
    pub(crate) fn step(&mut self, event: Event) {
        if let Err(illegal) = self.state.apply(event) {
            self.fail_fatally(TransactionError::IllegalState(self.illegal(&illegal)));
        }
    }

    /// T-15.
    pub(crate) fn illegal(&self, transition: &IllegalTransition) -> Arc<str> {
        format!("{}: {transition}", self.who()).into()
    }

    /// T-13, T-54, T-105, D-3: the producer is of no more use, and everybody who waits hears it now.
    pub(crate) fn fail_fatally(&mut self, error: TransactionError) {
        let fate = self.fate_of_open_transaction();
        self.die(error, fate);
    }

    /// As `fail_fatally`, when the answer itself says what became of the transaction.
    pub(crate) fn die(&mut self, error: TransactionError, transaction: TransactionFate) {
        info!(%error, "fatal");
        // Every state allows it (O-1).
        let _ = self.state.apply(Event::Fail(error.clone()));
        if let Some(pending) = self.pending.take() {
            let outcome = pending.outcome_of_death(error.clone(), transaction);
            self.answer_pending(pending, outcome);
        }
        let dropped = self.queue.take_unless(|_| false);
        let held = self.in_flight.take().and_then(|request| request.ticket);
        for ticket in held
            .into_iter()
            .chain(dropped.iter().filter_map(TransactionalRequest::ticket))
        {
            self.answer(
                ticket,
                Outcome::Dead {
                    error: error.clone(),
                    transaction,
                },
            );
        }
    }

    /// T-12, T-54, T-106: the transaction can only be aborted. R7: not once its commit may have been carried out.
    pub(crate) fn fail_abortably(&mut self, error: TransactionError) {
        if self.fate_of_open_transaction() == TransactionFate::InDoubt && HazardRule::R7.is_kept() {
            return self.fail_fatally(error);
        }
        if matches!(self.state, State::Aborting(_) | State::FatalError { .. }) {
            debug!(%error, "ignored: the transaction is being aborted, or the producer has failed");
            return;
        }
        info!(%error, "abortable");
        if let Err(illegal) = self.state.apply(Event::Abort(error.clone())) {
            return self.fail_fatally(TransactionError::IllegalState(self.illegal(&illegal)));
        }
        if let Some(pending) = self.pending.take() {
            match pending.outcome_of_abortable(error.clone()) {
                Some(outcome) => self.answer_pending(pending, outcome),
                None => self.pending = Some(pending),
            }
        }
        self.refuse_queued(&error);
    }

    /// T-55: abortable when an abort brings a new epoch, fatal otherwise.
    pub(crate) fn fail_recoverably(&mut self, error: TransactionError) {
        if !self.can_recover_by_abort() {
            return self.fail_fatally(error);
        }
        if self.must_bump_itself() {
            self.epoch_bump.require();
        }
        self.fail_abortably(error);
    }

    /// T-41: in an error state only a FindCoordinator goes on.
    pub(crate) fn refuse_queued(&mut self, error: &TransactionError) {
        let refused = self.queue.take_unless(|request| request.is_lookup());
        for ticket in refused.iter().filter_map(TransactionalRequest::ticket) {
            self.answer(ticket, Outcome::MustAbort(error.clone()));
        }
    }

    /// R8: what a death at this moment would mean for the transaction.
    pub(crate) fn fate_of_open_transaction(&self) -> TransactionFate {
        let Some(transaction) = self.state.transaction() else {
            return TransactionFate::NoneOpen;
        };
        let commit_is_out = self
            .in_flight
            .is_some_and(|request| request.decision == Some(Decision::Commit));
        if commit_is_out || transaction.commit == CommitAttempts::Unknown {
            TransactionFate::InDoubt
        } else {
            TransactionFate::NotCommitted
        }
    }

    /// Completes the operation under way.
    pub(crate) fn complete(&mut self, outcome: Outcome) {
        if let Some(pending) = self.pending.take() {
            self.answer_pending(pending, outcome);
        }
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        self.answers.push(Answered { ticket, outcome });
    }

    pub(crate) fn answer_pending(&mut self, pending: Pending, outcome: Outcome) {
        for ticket in pending.tickets {
            self.answer(ticket, outcome.clone());
        }
    }
}
