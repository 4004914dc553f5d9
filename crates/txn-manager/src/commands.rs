//! What the application asks (table O-2): the guards in their order, then the effect.
//!
//! A refused command changes nothing (T-10).

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::messages::{AddOffsetsToTxnRequest, EndTxnRequest};
use kommit_protocol::units::{Identity, PartitionIndex, TopicPartition};

use crate::error::{CommandError, TransactionError};
use crate::manager::TransactionManager;
use crate::offsets::{ConsumerGroupMetadata, OffsetAndMetadata, OffsetCommit};
use crate::outcome::{Operation, Outcome, Pending, Ticket};
use crate::requests::{Decision, IdentityPurpose, RequestBody, Work};
use crate::state::{Event, State};
use crate::transaction::{Started, Transaction};
use crate::version::Flavour;

/// Whether a repeated operation found its earlier call.
enum Repetition {
    First,
    /// T-34: the ticket waits for the result of the earlier call.
    Joined,
}

impl TransactionManager {
    /// Asks for the first identity. R9: only this call takes over from other instances.
    ///
    /// # Errors
    ///
    /// Illegal state when there is an identity already (T-19); the last error when there is one (T-18).
    pub fn initialize(&mut self, ticket: Ticket) -> Result<(), CommandError> {
        self.ensure_transactional("initialize")?;
        self.ensure_no_error()?;
        if let Repetition::Joined = self.repeat_call(Operation::Initialize, ticket)? {
            return Ok(());
        }
        self.take(Event::Initialize)?;
        self.pending = Some(Pending::new(Operation::Initialize, ticket));
        self.enqueue_identity(IdentityPurpose::First);
        Ok(())
    }

    /// Begins a transaction and latches its flavour (R10). Sends nothing.
    ///
    /// # Errors
    ///
    /// Illegal state unless initialized and idle (T-20); the last error when there is one.
    pub fn begin(&mut self) -> Result<(), CommandError> {
        self.ensure_transactional("begin")?;
        self.ensure_nothing_pending("begin")?;
        self.ensure_no_error()?;
        if !matches!(self.state, State::Ready) {
            return self.take(Event::Begin(Transaction::nothing()));
        }
        let flavour = self.versions.latch();
        self.take(Event::Begin(Transaction::begun(flavour)))
    }

    /// Sends consumer offsets with the transaction (T-24, T-25). The ticket is answered when the group coordinator holds them.
    ///
    /// # Errors
    ///
    /// Illegal state outside of an open transaction; the last error when there is one.
    pub fn send_offsets(
        &mut self,
        ticket: Ticket,
        group: ConsumerGroupMetadata,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<(), CommandError> {
        self.ensure_transactional("send_offsets")?;
        self.ensure_nothing_pending("send_offsets")?;
        self.ensure_no_error()?;
        let (State::InTransaction(transaction), Some(identity)) = (&mut self.state, self.identity) else {
            return Err(self.not_in_transaction("send_offsets"));
        };
        if offsets.is_empty() {
            self.answer(ticket, Outcome::OffsetsAdded);
            return Ok(());
        }
        let commit = OffsetCommit::new(ticket, group, offsets);
        match transaction.flavour {
            Flavour::V1 => self.enqueue_add_offsets(commit, identity),
            Flavour::V2 => {
                transaction.started = Started::Yes;
                self.enqueue_offset_commit(commit);
            }
        }
        Ok(())
    }

    /// Asks for the commit: EndTxn follows the last batch and the last addition (R5).
    ///
    /// # Errors
    ///
    /// Illegal state outside of an open transaction or while another operation is under way; the last error when there is one.
    pub fn begin_commit(&mut self, ticket: Ticket) -> Result<(), CommandError> {
        self.ensure_transactional("commit")?;
        if let Repetition::Joined = self.repeat_call(Operation::Commit, ticket)? {
            return Ok(());
        }
        self.ensure_no_error()?;
        self.take(Event::BeginCommit)?;
        self.end(Operation::Commit, ticket);
        Ok(())
    }

    /// Asks for the abort. Partitions that were not announced yet never are.
    ///
    /// # Errors
    ///
    /// Illegal state without a transaction or while another operation is under way; a fatal error when there is one.
    pub fn begin_abort(&mut self, ticket: Ticket) -> Result<(), CommandError> {
        self.ensure_transactional("abort")?;
        if let Repetition::Joined = self.repeat_call(Operation::Abort, ticket)? {
            return Ok(());
        }
        if let Some(error) = self.fatal_error() {
            return Err(error.clone().into());
        }
        self.take(Event::BeginAbort)?;
        if let Some(transaction) = self.state.transaction_mut() {
            transaction.drop_new_partitions();
        }
        self.end(Operation::Abort, ticket);
        Ok(())
    }

    /// The first record of a partition, in this transaction or at all (T-21, T-22).
    ///
    /// In a transaction that is being aborted nothing joins: the records will be aborted.
    ///
    /// # Errors
    ///
    /// Illegal state without an open transaction, when transactional; the fatal error when there is one.
    pub fn join(&mut self, partition: PartitionIndex, name: &TopicPartition) -> Result<(), CommandError> {
        if let Some(error) = self.fatal_error() {
            return Err(error.clone().into());
        }
        if self.names.len() <= partition.position() {
            self.names.resize(partition.position() + 1, None);
        }
        if self.names[partition.position()].is_none() {
            self.names[partition.position()] = Some(name.clone());
            self.sequences.create(partition);
        }
        if !self.is_transactional() {
            return Ok(());
        }
        match &mut self.state {
            State::InTransaction(transaction) | State::Committing(transaction) => transaction.join(partition),
            State::Aborting(_) | State::AbortableError { .. } => {}
            State::Uninitialized | State::Initializing | State::Ready | State::FatalError { .. } => {
                return Err(self.not_in_transaction("send"));
            }
        }
        Ok(())
    }

    /// T-58: everybody who waits hears that the producer was closed.
    pub fn close(&mut self) {
        let who = self.who();
        self.fail_fatally(TransactionError::Closed { who });
    }

    /// T-36: EndTxn with the identity of now. The bump, if one is due, follows its answer (D-18).
    fn end(&mut self, operation: Operation, ticket: Ticket) {
        self.pending = Some(Pending::new(operation, ticket));
        let flavour = self.flavour();
        let (Some(identity), Some(transactional_id)) = (self.identity, self.config.transactional_id.clone())
        else {
            // An abort behind a failed initialize: there is nothing to end, only an identity to get.
            return self.finish(Outcome::Aborted);
        };
        let decision = if operation == Operation::Commit {
            Decision::Commit
        } else {
            Decision::Abort
        };
        let body = EndTxnRequest {
            transactional_id: transactional_id.as_ref().to_owned(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            committed: decision == Decision::Commit,
        };
        self.enqueue(RequestBody::EndTxn(body), Work::End { decision, flavour });
    }

    fn enqueue_add_offsets(&mut self, commit: OffsetCommit, identity: Identity) {
        let body = AddOffsetsToTxnRequest {
            transactional_id: self
                .config
                .transactional_id
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            group_id: commit.group.group_id.as_ref().to_owned(),
        };
        self.enqueue(RequestBody::AddOffsetsToTxn(body), Work::AddOffsets(commit));
    }

    /// T-34.
    fn repeat_call(&mut self, operation: Operation, ticket: Ticket) -> Result<Repetition, CommandError> {
        if let Some(pending) = &mut self.pending
            && pending.operation == operation
        {
            pending.tickets.push(ticket);
            return Ok(Repetition::Joined);
        }
        self.ensure_nothing_pending(operation.name())?;
        Ok(Repetition::First)
    }

    /// T-16.
    fn ensure_transactional(&self, call: &str) -> Result<(), CommandError> {
        if self.is_transactional() {
            return Ok(());
        }
        Err(illegal(format!(
            "{call} needs a producer with a transactional.id, and this one is only idempotent"
        )))
    }

    /// T-17.
    fn ensure_nothing_pending(&self, call: &str) -> Result<(), CommandError> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let (who, name) = (self.who(), pending.operation.name());
        Err(illegal(format!(
            "{who}: cannot {call}, because {name} is not finished; call {name} again"
        )))
    }

    /// T-18.
    fn ensure_no_error(&self) -> Result<(), CommandError> {
        match self.state.error() {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    fn take(&mut self, event: Event) -> Result<(), CommandError> {
        self.state
            .apply(event)
            .map_err(|refused| CommandError::IllegalState(self.illegal(&refused)))
    }

    fn not_in_transaction(&self, call: &str) -> CommandError {
        let (who, state) = (self.who(), self.state());
        illegal(format!(
            "{who}: cannot {call} in state {state:?}; begin a transaction first"
        ))
    }
}

fn illegal(text: String) -> CommandError {
    CommandError::IllegalState(Arc::from(text))
}
