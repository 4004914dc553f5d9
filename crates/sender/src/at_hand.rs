//! The transactional request that is being taken care of: at most one per producer, and while there is one no batch is drained (S-26).
//!
//! Where the reference blocks for a node or sleeps for a back-off, the request waits here, with a deadline.

use std::time::Duration;

use kommit_accumulator::{Consequence, SendError, SendErrorKind};
use kommit_network::{ConnectionId, Outcome, Sent};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::NodeId;
use kommit_txn_manager::{
    Answer, Batches, CoordinatorType, RequestKind, ResponseBody, StateName, TransactionalRequest,
};

use crate::core::SenderCore;
use crate::pace::FirstAnswer;
use crate::run_once::fatal;
use crate::transactional_wire;

/// Where the transactional request stands.
#[derive(Debug)]
pub(crate) enum AtHand {
    /// There is none.
    Idle,
    /// Its back-off runs (S-33, S-36).
    WaitingForTime {
        request: Box<TransactionalRequest>,
        until: Instant,
    },
    /// Its broker is being connected (S-30).
    WaitingForNode {
        request: Box<TransactionalRequest>,
        node: NodeId,
        until: Instant,
    },
    /// It was sent, and its answer is awaited (S-34).
    WaitingForAnswer,
}

/// H25: how long a group coordinator is waited for before it is looked up again; the connection is made meanwhile.
const GROUP_COORDINATOR_PATIENCE: Duration = Duration::from_secs(1);

impl SenderCore {
    /// `maybeSendAndPollTransactionalRequest()`. Returns when this is due again, or `None` when there is no request and batches may go.
    pub(crate) fn send_transactional_request(&mut self, now: Now) -> Option<Instant> {
        loop {
            match std::mem::replace(&mut self.at_hand, AtHand::Idle) {
                AtHand::WaitingForAnswer => {
                    self.at_hand = AtHand::WaitingForAnswer;
                    return Some(Instant::NEVER);
                }
                AtHand::WaitingForTime { request, until } if now.instant < until => {
                    self.at_hand = AtHand::WaitingForTime { request, until };
                    return Some(until);
                }
                AtHand::WaitingForTime { request, .. } => self.take_to_node(request, now),
                AtHand::WaitingForNode { request, node, until } => {
                    if let Some(due) = self.send_or_wait(request, node, until, now) {
                        return Some(due);
                    }
                }
                AtHand::Idle => {
                    self.abort_undrained_batches();
                    let request = Box::new(self.next_request(now)?);
                    if request.kind() == RequestKind::EndTxn {
                        self.go_ahead();
                    }
                    let until = now.instant + request.retry_after();
                    self.at_hand = AtHand::WaitingForTime { request, until };
                }
            }
        }
    }

    /// S-27: what was not drained of a transaction that cannot commit fails now.
    fn abort_undrained_batches(&mut self) {
        let Some(txn) = self.txn.as_ref() else { return };
        let error = match (txn.state(), txn.abortable_error()) {
            (StateName::AbortableError, Some(error)) => fatal(error).with_consequence(Consequence::MustAbort),
            (StateName::Aborting, _) => SendError::new(SendErrorKind::TransactionAborted),
            _ => return,
        };
        self.drainer.abort_undrained(error);
    }

    /// S-28, T-40: the end of a transaction is asked for only when no batch is incomplete, and no request of an expired one is still
    /// out (R5).
    fn next_request(&mut self, now: Now) -> Option<TransactionalRequest> {
        let batches = match self.drainer.nothing_incomplete() {
            // What is incomplete belongs to the next transaction.
            _ if self.next.is_ahead() => Batches::AllComplete,
            Some(_proof) if self.unanswered_requests == 0 || !HazardRule::R5.is_kept() => {
                Batches::AllComplete
            }
            _ => Batches::SomeIncomplete,
        };
        self.txn.as_mut()?.next_request(batches, now.instant)
    }

    /// S-29, S-32: the coordinator, or any broker.
    fn take_to_node(&mut self, request: Box<TransactionalRequest>, now: Now) {
        let target = match request.coordinator() {
            Some(of) => self.coordinator_node(of, now),
            None => self.network.least_loaded_node(now.instant),
        };
        let patience = match request.coordinator() {
            Some(CoordinatorType::Group) => self.config.request_timeout.min(GROUP_COORDINATOR_PATIENCE),
            Some(CoordinatorType::Transaction) | None => self.config.request_timeout,
        };
        let until = now.instant + patience;
        match target {
            Some(node) => self.at_hand = AtHand::WaitingForNode { request, node, until },
            None if request.coordinator().is_some() => self.find_coordinator_and_retry(request),
            None => self.put_back(request),
        }
    }

    fn coordinator_node(&mut self, of: CoordinatorType, now: Now) -> Option<NodeId> {
        let node = self.txn.as_ref()?.coordinator(of)?;
        let reachable = self
            .network
            .add_coordinator_node(node.id, &node.host, node.port, now.instant);
        reachable.then_some(node.id)
    }

    /// S-30, S-31, S-34: sends when the node is ready; `None` when the request went somewhere else and the loop goes on.
    fn send_or_wait(
        &mut self,
        request: Box<TransactionalRequest>,
        node: NodeId,
        until: Instant,
        now: Now,
    ) -> Option<Instant> {
        if self.network.ready(node, now.instant) {
            if request.coordinator() == Some(CoordinatorType::Transaction) {
                self.coordinator_ready(node);
            }
            self.send_request(request, node, now);
            return Some(Instant::NEVER);
        }
        if self.network.connection_failed(node) || now.instant >= until {
            tracing::debug!(
                node = node.0,
                "the broker for a transactional request cannot be reached"
            );
            self.find_coordinator_and_retry(request);
            return None;
        }
        self.at_hand = AtHand::WaitingForNode { request, node, until };
        Some(until)
    }

    fn send_request(&mut self, request: Box<TransactionalRequest>, node: NodeId, now: Now) {
        if adds_to_transaction(request.kind()) {
            self.pace.sent(now.instant);
        }
        match transactional_wire::send(&mut self.network, node, request, now.instant) {
            Ok(()) => self.at_hand = AtHand::WaitingForAnswer,
            Err(request) => self.put_back(request),
        }
    }

    /// S-36: look the coordinator up again, or ask for newer metadata; the request goes back into the queue as a retry.
    fn find_coordinator_and_retry(&mut self, request: Box<TransactionalRequest>) {
        if request.coordinator().is_none() {
            self.network.request_update();
            return self.put_back(request);
        }
        if let Some(txn) = self.txn.as_mut() {
            txn.find_coordinator_and_put_back(*request);
        }
    }

    fn put_back(&mut self, request: Box<TransactionalRequest>) {
        if let Some(txn) = self.txn.as_mut() {
            txn.put_back(*request);
        }
    }

    /// The transactional request at hand has come to its end (2.7, 2.11).
    pub(crate) fn transactional_request_ended(
        &mut self,
        request: TransactionalRequest,
        connection: ConnectionId,
        (result, sent): (Outcome, Sent),
        now: Now,
    ) {
        self.at_hand = AtHand::Idle;
        if sent == Sent::NotWritten
            && matches!(result, Outcome::Disconnected { .. } | Outcome::TimedOut { .. })
        {
            // R1: not one byte left, so it is as if the request had never been sent.
            return self.find_coordinator_and_retry(Box::new(request));
        }
        let Some(txn) = self.txn.as_mut() else { return };
        let latency = match &result {
            Outcome::Response { latency, .. } => *latency,
            _ => Duration::ZERO,
        };
        let answer = match result {
            Outcome::Response { version, body, .. } => {
                match transactional_wire::decode(request.kind(), version, body) {
                    Ok(response) => Answer::Response(response),
                    Err(error) => {
                        self.network
                            .protocol_error(connection, &error.to_string(), now.instant);
                        Answer::Undecodable
                    }
                }
            }
            Outcome::TimedOut { .. } => Answer::TimedOut,
            Outcome::Disconnected { .. } | Outcome::Written => Answer::Disconnected,
            Outcome::VersionMismatch { .. } => Answer::VersionMismatch,
            Outcome::AuthenticationFailed { reason } => {
                txn.authentication_failed(&reason);
                return;
            }
        };
        if let Some(features) = self.network.finalized_features() {
            txn.features(features_of(features));
        }
        let kind = request.kind();
        let first_answer = first_answer(&answer);
        txn.answered(request, answer);
        match (kind, first_answer) {
            (RequestKind::EndTxn, _) => self.transaction_ended(latency, now.instant),
            (_, Some(first_answer)) if adds_to_transaction(kind) => {
                self.pace.answered(first_answer, now.instant);
            }
            (_, Some(_)) => {}
            (_, None) => self.pace.unanswered(),
        }
    }

    /// The markers are on their way, unless the coordinator did not end the transaction after all.
    fn transaction_ended(&mut self, latency: Duration, now: Instant) {
        let Some(txn) = self.txn.as_ref() else { return };
        if let (StateName::Ready, Some(node)) = (txn.state(), txn.coordinator(CoordinatorType::Transaction)) {
            self.pace.ended(node.id, latency, now);
        }
    }

    /// T-62: what the coordinator speaks decides whether an epoch can be bumped.
    fn coordinator_ready(&mut self, node: NodeId) {
        let support = transactional_wire::epoch_bump_support(&self.network, node);
        if let Some(txn) = self.txn.as_mut() {
            txn.coordinator_ready(support);
            if let Some(features) = self.network.finalized_features() {
                txn.features(features_of(features));
            }
        }
    }
}

fn adds_to_transaction(kind: RequestKind) -> bool {
    match kind {
        RequestKind::AddPartitionsToTxn | RequestKind::AddOffsetsToTxn | RequestKind::TxnOffsetCommit => true,
        RequestKind::FindCoordinator
        | RequestKind::InitProducerId
        | RequestKind::EndTxn
        | RequestKind::DescribeTransactions => false,
    }
}

/// What an answer says about the markers of the last transaction, when it says anything.
fn first_answer(answer: &Answer) -> Option<FirstAnswer> {
    let is_too_early = |code: ErrorCode| code == ErrorCode::ConcurrentTransactions;
    let too_early = match answer {
        Answer::Response(ResponseBody::AddPartitionsToTxn(body)) => {
            let mut results = body
                .results_by_topic_v3_and_below
                .iter()
                .flat_map(|topic| &topic.results_by_partition);
            results.any(|result| is_too_early(result.partition_error_code))
        }
        Answer::Response(ResponseBody::AddOffsetsToTxn(body)) => is_too_early(body.error_code),
        Answer::Response(ResponseBody::TxnOffsetCommit(body)) => {
            let mut results = body.topics.iter().flat_map(|topic| &topic.partitions);
            results.any(|result| is_too_early(result.error_code))
        }
        Answer::Response(_) => false,
        Answer::Disconnected | Answer::TimedOut | Answer::VersionMismatch | Answer::Undecodable => {
            return None;
        }
    };
    Some(if too_early {
        FirstAnswer::TooEarly
    } else {
        FirstAnswer::Given
    })
}

fn features_of(features: kommit_network::FinalizedFeatures) -> kommit_txn_manager::FinalizedFeatures {
    kommit_txn_manager::FinalizedFeatures {
        epoch: features.epoch,
        transaction_version: features.transaction_version,
    }
}
