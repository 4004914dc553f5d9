//! The owner's steps: taking the next request, giving it back, and looking for coordinators (2.6, S-26 … S-37).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnRequestTopic, FindCoordinatorRequest,
};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{Identity, PartitionIndex};

use crate::coordinators::CoordinatorType;
use crate::error::TransactionError;
use crate::manager::{RequestInFlight, TransactionManager};
use crate::offsets::OffsetCommit;
use crate::outcome::Outcome;
use crate::requests::{Batches, Decision, IdentityPurpose, Pause, RequestBody, TransactionalRequest, Work};
use crate::state::State;
use crate::transaction::{Started, Transaction};
use crate::version::Flavour;

impl TransactionManager {
    /// T-40: the next request to send, or none. At most one is out at a time (S-26).
    ///
    /// `now` bounds the repetitions (H17): what was repeated for `transaction.timeout.ms` is given up.
    pub fn next_request(&mut self, batches: Batches, now: Instant) -> Option<TransactionalRequest> {
        if self.in_flight.is_some() || self.fatal_error().is_some() {
            return None;
        }
        self.give_up_overdue(now);
        self.announce_partitions();
        if let Some(error) = self.abortable_error().cloned() {
            self.refuse_queued(&error);
        }
        loop {
            let is_end = self.queue.first()?.decision().is_some();
            if is_end && batches == Batches::SomeIncomplete {
                return None;
            }
            let mut request = self.queue.pop()?;
            if let Some(decision) = request.decision()
                && self.has_nothing_to_end()
            {
                self.finish(decided(decision));
                continue;
            }
            if request.decision() == Some(Decision::Abort) {
                self.take_over_if_due(&mut request);
            }
            request.first_taken.get_or_insert(now);
            if let Work::CommitOffsets { commit, .. } = &mut request.work
                && commit.asks_again(now)
            {
                self.look_up_for(&request);
                self.queue.push(request);
                continue;
            }
            self.in_flight = Some(RequestInFlight {
                number: request.number,
                ticket: request.ticket(),
                decision: request.decision(),
            });
            return Some(request);
        }
    }

    /// H17: what was repeated too long condemns the transaction, or leaves its commit in doubt. It never counts as done.
    fn give_up_overdue(&mut self, now: Instant) {
        let bound = self.config.transaction_timeout;
        for request in self.queue.take_unless(|request| !request.is_overdue(now, bound)) {
            let error = TransactionError::RetriesExhausted {
                who: self.who(),
                request: request.kind().name(),
                code: request.refused_with,
                bound,
            };
            match &request.work {
                Work::Partitions(_) | Work::AddOffsets(_) | Work::CommitOffsets { .. } => {
                    self.fail_request_abortably(&request, error);
                }
                Work::End { .. }
                | Work::TakeOver
                | Work::Identity(_)
                | Work::Coordinator { .. }
                | Work::Describe(_) => {
                    self.fail_request_fatally(&request, error);
                }
            }
        }
    }

    /// A request that was taken and not sent: not one byte was written (R1, S-32). It goes again after its backoff.
    pub fn put_back(&mut self, request: TransactionalRequest) {
        if self.takes_back(&request) {
            self.repeat_unanswered(request);
        }
    }

    /// S-36: as `put_back`, and its coordinator is looked up first.
    pub fn find_coordinator_and_put_back(&mut self, request: TransactionalRequest) {
        if !self.takes_back(&request) {
            return;
        }
        self.look_up_for(&request);
        self.repeat_unanswered(request);
    }

    /// T-56, D-4: a connection could not be authenticated while requests wait or are out.
    pub fn authentication_failed(&mut self, reason: &str) {
        if self.queue.is_empty() && self.in_flight.is_none() {
            return;
        }
        let who = self.who();
        self.fail_fatally(TransactionError::AuthenticationFailed {
            who,
            reason: reason.into(),
        });
    }

    /// H30: another cluster answers, in which the sequences of this producer mean nothing. `what` names both.
    pub fn cluster_changed(&mut self, what: &str) {
        if self.fatal_error().is_some() {
            return;
        }
        let who = self.who();
        self.fail_fatally(TransactionError::BrokenAnswer {
            who,
            what: what.into(),
        });
    }

    /// T-50: ends the flight of a request. Not in the fatal state, where everybody was answered already.
    pub(crate) fn takes_back(&mut self, request: &TransactionalRequest) -> bool {
        if self.fatal_error().is_some() {
            return false;
        }
        match self.in_flight.take() {
            Some(out) if out.number == request.number => true,
            other => {
                self.in_flight = other;
                let text = format!(
                    "{}: {} came back without being out",
                    self.who(),
                    request.kind().name()
                );
                self.fail_fatally(TransactionError::IllegalState(text.into()));
                false
            }
        }
    }

    /// T-48: a broker refused it for now.
    pub(crate) fn repeat_refused(&mut self, mut request: TransactionalRequest, code: ErrorCode) {
        request.refused_with = Some(code);
        request.pause = if code == ErrorCode::ConcurrentTransactions && self.meets_markers(&request.work) {
            Pause::Markers
        } else {
            Pause::Usual
        };
        self.repeat(request);
    }

    /// T-74: whether it can come while the markers of the transaction before are still being written.
    fn meets_markers(&self, work: &Work) -> bool {
        match work {
            Work::Partitions(_) => !self.state.transaction().is_some_and(Transaction::has_partitions),
            Work::Identity(IdentityPurpose::Bump)
            | Work::TakeOver
            | Work::AddOffsets(_)
            | Work::CommitOffsets { .. } => true,
            Work::Identity(IdentityPurpose::First)
            | Work::Coordinator { .. }
            | Work::End { .. }
            | Work::Describe(_) => false,
        }
    }

    /// T-48: it was not sent, or not answered.
    pub(crate) fn repeat_unanswered(&mut self, mut request: TransactionalRequest) {
        request.refused_with = None;
        if request.outlasts_outages() {
            request.first_taken = None;
        }
        self.repeat(request);
    }

    /// R8: its answer may be another one in a moment.
    pub(crate) fn look_again(&mut self, mut request: TransactionalRequest) {
        request.refused_with = None;
        request.pause = Pause::Usual;
        self.repeat(request);
    }

    fn repeat(&mut self, mut request: TransactionalRequest) {
        request.attempts = request.attempts.saturating_add(1);
        self.queue.push(request);
    }

    pub(crate) fn look_up_for(&mut self, request: &TransactionalRequest) {
        match (request.coordinator(), &request.body) {
            (None, _) => {}
            (Some(CoordinatorType::Group), RequestBody::TxnOffsetCommit(body)) => {
                let group = body.group_id.clone();
                self.look_up(CoordinatorType::Group, group);
            }
            (Some(_), _) => {
                let id = self
                    .config
                    .transactional_id
                    .as_deref()
                    .unwrap_or_default()
                    .to_owned();
                self.look_up(CoordinatorType::Transaction, id);
            }
        }
    }

    /// T-47. The key goes into both fields: the version decides which one travels.
    fn look_up(&mut self, of: CoordinatorType, key: String) {
        self.coordinators.forget(of);
        if self.queue.is_looking_for(of, &key) {
            return;
        }
        let body = FindCoordinatorRequest {
            key: key.clone(),
            key_type: of.wire(),
            coordinator_keys: vec![key.clone()],
        };
        self.enqueue(RequestBody::FindCoordinator(body), Work::Coordinator { of, key });
    }

    pub(crate) fn enqueue_offset_commit(&mut self, commit: OffsetCommit) {
        let flavour = self.flavour();
        let Some(identity) = self.identity else {
            return;
        };
        let transactional_id = self.config.transactional_id.as_deref().unwrap_or_default();
        let body = commit.request(transactional_id, identity);
        self.enqueue(
            RequestBody::TxnOffsetCommit(body),
            Work::CommitOffsets { commit, flavour },
        );
    }

    pub(crate) fn enqueue(&mut self, body: RequestBody, work: Work) {
        let number = self.next_number;
        self.next_number += 1;
        let backoff = self.config.retry_backoff;
        self.queue.push(TransactionalRequest {
            number,
            body,
            work,
            attempts: 0,
            pause: Pause::Usual,
            backoff,
            first_taken: None,
            refused_with: None,
        });
    }

    /// T-40 (1), T-46.
    fn announce_partitions(&mut self) {
        let Some(identity) = self.identity else {
            return;
        };
        let (State::InTransaction(transaction) | State::Committing(transaction)) = &mut self.state else {
            return;
        };
        if !transaction.has_new_partitions() {
            return;
        }
        let partitions = transaction.announce();
        let body = self.add_partitions(&partitions, identity);
        self.enqueue(
            RequestBody::AddPartitionsToTxn(body),
            Work::Partitions(partitions),
        );
    }

    fn add_partitions(&self, partitions: &[PartitionIndex], identity: Identity) -> AddPartitionsToTxnRequest {
        let mut names: Vec<_> = partitions
            .iter()
            .filter_map(|partition| self.names.get(partition.position())?.as_ref())
            .collect();
        names.sort_unstable();
        let mut topics: Vec<AddPartitionsToTxnRequestTopic> = Vec::new();
        for name in names {
            match topics.last_mut() {
                Some(last) if *last.name == *name.topic => last.partitions.push(name.partition),
                _ => topics.push(AddPartitionsToTxnRequestTopic {
                    name: name.topic.as_ref().to_owned(),
                    partitions: vec![name.partition],
                }),
            }
        }
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self
                .config
                .transactional_id
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
            v3_and_below_producer_id: identity.id,
            v3_and_below_producer_epoch: identity.epoch,
            v3_and_below_topics: topics,
            ..AddPartitionsToTxnRequest::default()
        }
    }

    /// T-42, H16: V1 skips EndTxn when nothing was added or may have been; V2 when no record joined and no offset was sent.
    fn has_nothing_to_end(&self) -> bool {
        self.state
            .transaction()
            .is_some_and(|transaction| transaction.started == Started::No)
    }

    /// Whether the open transaction speaks V1.
    pub(crate) fn speaks_v1(&self) -> bool {
        self.flavour() == Flavour::V1
    }
}

impl TransactionalRequest {
    pub(crate) fn is_lookup(&self) -> bool {
        matches!(self.work, Work::Coordinator { .. })
    }
}

/// How a transaction ended that took this decision.
pub(crate) fn decided(decision: Decision) -> Outcome {
    match decision {
        Decision::Commit => Outcome::Committed,
        Decision::Abort => Outcome::Aborted,
    }
}
