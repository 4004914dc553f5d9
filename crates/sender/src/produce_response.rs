//! A produce request from its making to the outcome of each of its batches (S-49 … S-75).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kommit_accumulator::{BatchFailure, Consequence, Fate, SendError, SendErrorKind, Stamp, StampedBatch};
use kommit_network::{
    BrokerAddress, ConnectionId, LeaderHint, Outcome, ProduceEnvelope, Sent, VersionLimits,
};
use kommit_protocol::api::ApiKey;
use kommit_protocol::batch::Compression;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::decode_message;
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::messages::{
    ProduceResponse, ProduceResponseNodeEndpoint, ProduceResponsePartition, ProduceResponseRecordError,
    ProduceResponseTopic,
};
use kommit_protocol::time::Now;
use kommit_protocol::units::{Offset, Timestamp, TopicId, TopicPartition};
use kommit_protocol::wire::{DecodeError, Reader};
use kommit_txn_manager::{self as txn, BatchFailure as FailedBatch, BatchId, FailureReason, Retry};

use crate::core::{Order, Purpose, SenderCore};
use crate::gate::{batch_id, stamp_of};
use crate::pace::FirstAnswer;
use crate::produce_outcome::{ProduceAction, Proof, Situation, produce_action, proof_of};
use crate::producer_data::NodeBatches;

/// The first version of Produce whose brokers know zstd.
const FIRST_PRODUCE_WITH_ZSTD: i16 = 7;

/// A produce request that has not been answered: its batches, and the topic ids that it was sent with (S-52).
#[derive(Debug)]
pub struct ProduceRequest {
    batches: Vec<StampedBatch>,
    topics: BTreeMap<TopicId, Arc<str>>,
}

/// What one partition of an answer, or the end of the whole request, says about a batch.
struct Verdict {
    code: ErrorCode,
    proof: Proof,
    base_offset: Option<Offset>,
    log_append_time: Option<Timestamp>,
    /// The error of the records, should they fail.
    kind: SendErrorKind,
    message: Option<Arc<str>>,
    record_errors: Vec<ProduceResponseRecordError>,
}

impl Verdict {
    fn new(code: ErrorCode, proof: Proof, kind: SendErrorKind) -> Self {
        Self {
            code,
            proof,
            base_offset: None,
            log_append_time: None,
            kind,
            message: None,
            record_errors: Vec::new(),
        }
    }

    fn with_message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// S-63 … S-68: the broker spoke about this partition.
    fn of_answer(answer: ProduceResponsePartition) -> Self {
        let code = answer.error_code;
        Self {
            base_offset: Offset::known(answer.base_offset),
            log_append_time: (answer.log_append_time_ms >= 0).then_some(Timestamp(answer.log_append_time_ms)),
            message: answer.error_message.map(Into::into),
            record_errors: answer.record_errors,
            ..Self::new(code, proof_of(code), SendErrorKind::Broker(code))
        }
    }

    /// S-60: nobody answers, and the bytes are written.
    fn written() -> Self {
        Self::new(ErrorCode::None, Proof::Nothing, SendErrorKind::Disconnected)
    }

    /// S-56: no answer came. Only when not one byte left, the broker cannot have the batch (R1).
    fn unanswered(code: ErrorCode, kind: SendErrorKind, sent: Sent, reason: Arc<str>) -> Self {
        let proof = match sent {
            Sent::NotWritten => Proof::NotApplied,
            Sent::MayBeWritten => Proof::Nothing,
        };
        Self::new(code, proof, kind).with_message(reason)
    }

    /// S-58: no version fits, so nothing was sent.
    fn version_mismatch(reason: Arc<str>) -> Self {
        let code = ErrorCode::UnsupportedVersion;
        Self::new(code, Proof::NotApplied, SendErrorKind::Broker(code)).with_message(reason)
    }

    /// The connection took no request although it was ready a moment ago.
    fn not_sent() -> Self {
        Self::new(
            ErrorCode::NetworkException,
            Proof::NotApplied,
            SendErrorKind::Disconnected,
        )
    }

    /// D-14: an answer that leaves a batch out proves nothing about it.
    fn not_mentioned() -> Self {
        let code = ErrorCode::UnknownServerError;
        Self::new(code, Proof::Nothing, SendErrorKind::Broker(code))
            .with_message("the broker's answer leaves this partition out")
    }

    /// S-71, S-72: the error of each record.
    fn failure(&self, fate: Fate, consequence: Consequence) -> BatchFailure {
        let error = |kind: SendErrorKind, message: Option<Arc<str>>| {
            let error = SendError::new(kind).with_fate(fate).with_consequence(consequence);
            match message {
                Some(message) => error.with_message(message),
                None => error,
            }
        };
        if self.record_errors.is_empty() {
            return error(self.kind.clone(), self.message.clone()).into();
        }
        let kind = match self.record_errors.len() {
            1 => self.kind.clone(),
            _ => SendErrorKind::Broker(ErrorCode::InvalidRecord),
        };
        let listed = self.record_errors.iter().filter_map(|record| {
            let own = record.batch_index_error_message.as_deref().map(Arc::from);
            let index = u32::try_from(record.batch_index).ok()?;
            Some((index, error(kind.clone(), own.or_else(|| self.message.clone()))))
        });
        let unlisted = error(SendErrorKind::BatchHadInvalidRecords, self.message.clone());
        BatchFailure::per_record(listed.collect(), unlisted)
    }
}

impl SenderCore {
    /// S-48 … S-53: one request with the batches of one broker.
    pub(crate) fn send_produce_request(&mut self, drained: NodeBatches, now: Now) {
        let cluster = Arc::clone(self.network.cluster());
        let NodeBatches { node, batches } = drained;
        let parts: Vec<(TopicPartition, TopicId, Bytes)> = batches
            .iter()
            .map(|batch| {
                let place = batch.topic_partition();
                (place.clone(), cluster.topic_id(&place.topic), batch.bytes())
            })
            .collect();
        let topics = parts
            .iter()
            .filter(|(_, id, _)| id.is_known())
            .map(|(place, id, _)| (*id, place.topic.clone()));
        let topics = topics.collect();
        let envelope = ProduceEnvelope {
            acks: self.config.acks,
            timeout: self.config.request_timeout,
            transactional_id: self.config.transactional_id.clone(),
            batches: parts,
        };
        let limits = self.produce_versions(&batches);
        let purpose = Purpose::Produce(ProduceRequest { batches, topics });
        let refused = self
            .network
            .send_produce(node, &envelope, limits, purpose, now.instant);
        self.unanswered_requests += 1;
        self.pace.sent(now.instant);
        if let Err(Purpose::Produce(request)) = refused {
            self.unanswered_requests -= 1;
            // The node took no request although it was ready a moment ago: the batches go back as a retry.
            self.end_all(request, &Verdict::not_sent(), now);
        }
    }

    /// S-51: a transaction of version 1 must look like one to the broker. S-55: older versions do not know zstd.
    fn produce_versions(&self, batches: &[StampedBatch]) -> VersionLimits {
        let has_zstd = batches
            .iter()
            .any(|batch| batch.compression() == Compression::Zstd);
        let txn = self.txn.as_ref();
        VersionLimits {
            min: has_zstd.then_some(FIRST_PRODUCE_WITH_ZSTD),
            max: txn.and_then(txn::TransactionManager::max_produce_version),
        }
    }

    /// S-56 … S-61: the request has come to its end.
    pub(crate) fn produce_ended(
        &mut self,
        request: ProduceRequest,
        connection: ConnectionId,
        result: Outcome,
        sent: Sent,
        now: Now,
    ) {
        self.unanswered_requests -= 1;
        let verdict = match result {
            Outcome::Response { version, body, .. } => {
                return self.produce_answered(request, connection, version, body, now);
            }
            Outcome::Written => Verdict::written(),
            Outcome::TimedOut { reason } => {
                self.note_unanswered(sent);
                Verdict::unanswered(
                    ErrorCode::RequestTimedOut,
                    SendErrorKind::RequestTimedOut,
                    sent,
                    reason,
                )
            }
            Outcome::Disconnected { reason } | Outcome::AuthenticationFailed { reason } => {
                self.note_unanswered(sent);
                Verdict::unanswered(
                    ErrorCode::NetworkException,
                    SendErrorKind::Disconnected,
                    sent,
                    reason,
                )
            }
            Outcome::VersionMismatch { reason } => Verdict::version_mismatch(reason),
        };
        self.end_all(request, &verdict, now);
    }

    fn end_all(&mut self, request: ProduceRequest, verdict: &Verdict, now: Now) {
        for batch in request.batches {
            self.batch_ended(batch, verdict, now);
        }
    }

    /// S-59, D-14: each batch gets its part of the answer; one that the broker did not mention counts as unanswered.
    fn produce_answered(
        &mut self,
        request: ProduceRequest,
        connection: ConnectionId,
        version: i16,
        body: Bytes,
        now: Now,
    ) {
        let response: Result<ProduceResponse, DecodeError> =
            decode_message(&mut Reader::new(body), ApiKey::Produce, version);
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                self.network
                    .protocol_error(connection, &error.to_string(), now.instant);
                self.note_unanswered(Sent::MayBeWritten);
                let reason = error.to_string().into();
                let kind = SendErrorKind::Disconnected;
                let verdict =
                    Verdict::unanswered(ErrorCode::NetworkException, kind, Sent::MayBeWritten, reason);
                return self.end_all(request, &verdict, now);
            }
        };
        self.counts.throttled(response.throttle_time_ms);
        self.network
            .throttle_produce(connection, version, response.throttle_time_ms, now.instant);
        self.pace.answered(FirstAnswer::Given, now.instant);
        let mut hints = Vec::new();
        let mut answers = answers_by_partition(&request.topics, response.responses);
        for batch in request.batches {
            let place = batch.topic_partition().clone();
            let verdict = match answers.remove(&place) {
                Some(answer) => {
                    hints.extend(leader_hint(&place, &answer));
                    Verdict::of_answer(answer)
                }
                None => Verdict::not_mentioned(),
            };
            self.batch_ended(batch, &verdict, now);
        }
        self.take_hints(&hints, &response.node_endpoints);
    }

    /// S-61, S-75: leaders that the brokers named are taken over without asking for metadata.
    fn take_hints(&mut self, hints: &[LeaderHint], nodes: &[ProduceResponseNodeEndpoint]) {
        if hints.is_empty() {
            return;
        }
        let nodes = nodes
            .iter()
            .filter_map(|node| Some((node.node_id, BrokerAddress::advertised(&node.host, node.port)?)))
            .collect();
        self.network.update_leadership(hints, &nodes);
    }

    /// S-62 … S-69: one batch, one action.
    fn batch_ended(&mut self, mut batch: StampedBatch, verdict: &Verdict, now: Now) {
        let partition = batch.partition();
        batch.join_fate(match verdict.proof {
            Proof::Applied => Fate::Written,
            Proof::Nothing if HazardRule::R1.is_kept() => Fate::MayBeWritten,
            Proof::NotApplied | Proof::Nothing => Fate::NotWritten,
        });
        self.in_flight.remove(&batch);
        let situation = self.situation(&batch, verdict, now);
        if verdict.code.is_invalid_metadata() {
            tracing::warn!(partition = %batch.topic_partition(), code = verdict.code.name(), "asking for new metadata");
            self.network.request_update();
        }
        match produce_action(verdict.code, situation) {
            ProduceAction::Complete => self.complete(batch, verdict.base_offset, verdict.log_append_time),
            ProduceAction::CompleteWithoutOffset => self.complete(batch, None, None),
            ProduceAction::Split => self.split(batch, verdict),
            ProduceAction::Requeue => self.requeue(batch, verdict, now),
            ProduceAction::Fail => self.fail(batch, verdict),
            ProduceAction::Release => self.release(&batch, verdict),
        }
        if self.config.order == Order::OneInFlight {
            self.drainer.unmute(partition);
        }
    }

    /// S-63, S-70: may the batch be sent again, as it is or in parts?
    fn situation(&mut self, batch: &StampedBatch, verdict: &Verdict, now: Now) -> Situation {
        if batch.outcome_given() {
            return Situation::OutcomeGiven;
        }
        // Neither the delivery timeout nor `retries` is looked at: a split is no retry.
        if verdict.code == ErrorCode::MessageTooLarge
            && batch.record_count() > 1
            && batch.fate() == Fate::NotWritten
        {
            return Situation::Splittable;
        }
        let has_expired = batch.created() + self.config.delivery_timeout <= now.instant;
        if verdict.code == ErrorCode::None || has_expired || batch.attempts() >= self.config.retries {
            return Situation::LastAttempt;
        }
        let may_retry = match (self.txn.as_mut(), id_of(batch)) {
            (Some(txn), Some(id)) => txn.retry(verdict.code, &id, fate_of(batch)) == Retry::Requeue,
            _ => verdict.code.is_retriable(),
        };
        if may_retry {
            Situation::Retriable
        } else {
            Situation::LastAttempt
        }
    }

    /// S-65, S-67.
    fn complete(
        &mut self,
        batch: StampedBatch,
        base_offset: Option<Offset>,
        log_append_time: Option<Timestamp>,
    ) {
        if let (Some(txn), Some(id)) = (self.txn.as_mut(), id_of(&batch)) {
            txn.batch_completed(&id);
        }
        self.drainer.complete(batch, base_offset, log_append_time);
    }

    /// S-63: the batch goes back in parts under the sequences that it had. It fails when it cannot be cut, or is not known any more.
    fn split(&mut self, batch: StampedBatch, verdict: &Verdict) {
        let split = match self.drainer.plan_split(batch) {
            Ok(split) => split,
            Err(whole) => return self.fail(*whole, verdict),
        };
        let counts = split.record_counts();
        let stamps = match (self.txn.as_mut(), id_of(split.whole())) {
            (Some(txn), Some(id)) => txn.split(&id, &counts).into_iter().map(stamp_of).collect(),
            _ => vec![Stamp::Anonymous; counts.len()],
        };
        tracing::warn!(
            partition = %split.whole().topic_partition(),
            size = split.whole().size(),
            parts = counts.len(),
            "a batch is too large for the broker and is sent in parts"
        );
        match self.drainer.requeue_parts(split, &stamps) {
            Ok(()) => self.counts.splits += 1,
            Err(split) => self.fail(split.into_whole(), verdict),
        }
    }

    /// S-64.
    fn requeue(&mut self, batch: StampedBatch, verdict: &Verdict, now: Now) {
        tracing::warn!(
            partition = %batch.topic_partition(),
            code = verdict.code.name(),
            reason = verdict.message.as_deref().unwrap_or_default(),
            attempts = batch.attempts() + 1,
            "a batch is sent again"
        );
        self.counts.retried(&batch);
        self.drainer.requeue(batch, now.instant);
    }

    /// S-66, S-71 … S-73.
    fn fail(&mut self, batch: StampedBatch, verdict: &Verdict) {
        if let (Some(txn), Some(id)) = (self.txn.as_mut(), id_of(&batch)) {
            let reason = FailureReason::Code(verdict.code);
            txn.batch_failed(
                &id,
                &FailedBatch {
                    reason,
                    fate: fate_of(&batch),
                },
            );
        }
        let consequence = self.consequence();
        let failure = verdict.failure(batch.fate(), consequence);
        tracing::warn!(partition = %batch.topic_partition(), code = verdict.code.name(), "a batch failed");
        self.counts
            .failed(&batch.topic_partition().topic, batch.record_count());
        self.drainer.fail(batch, failure);
    }

    /// S-67, S-69: its records were told before. The broker may have taken it all the same, which its sequences must know.
    fn release(&mut self, batch: &StampedBatch, verdict: &Verdict) {
        if verdict.proof == Proof::Applied
            && let (Some(txn), Some(id)) = (self.txn.as_mut(), id_of(batch))
        {
            txn.batch_completed(&id);
        }
    }

    /// What the failure of a record means for the producer now.
    pub(crate) fn consequence(&self) -> Consequence {
        match &self.txn {
            Some(txn) if txn.fatal_error().is_some() => Consequence::Fatal,
            Some(txn) if txn.is_transactional() => Consequence::MustAbort,
            _ => Consequence::None,
        }
    }

    /// R6: a copy of the request may still be on its way, unless not one byte of it was written.
    fn note_unanswered(&mut self, sent: Sent) {
        self.pace.unanswered();
        if let (Sent::MayBeWritten, Some(txn)) = (sent, self.txn.as_mut()) {
            txn.note_unanswered();
        }
    }
}

fn id_of(batch: &StampedBatch) -> Option<BatchId> {
    batch_id(batch.partition(), batch.stamp(), batch.record_count())
}

fn fate_of(batch: &StampedBatch) -> txn::Fate {
    match batch.fate() {
        Fate::NotWritten => txn::Fate::NotWritten,
        Fate::MayBeWritten | Fate::Written => txn::Fate::MayBeWritten,
    }
}

/// S-59: an answer names a topic by the id that the request was sent with, or by its name.
fn answers_by_partition(
    topics: &BTreeMap<TopicId, Arc<str>>,
    responses: Vec<ProduceResponseTopic>,
) -> BTreeMap<TopicPartition, ProduceResponsePartition> {
    let mut answers = BTreeMap::new();
    for topic in responses {
        let name = topics
            .get(&topic.topic_id)
            .cloned()
            .unwrap_or_else(|| Arc::from(topic.name.as_str()));
        for answer in topic.partition_responses {
            let place = TopicPartition {
                topic: Arc::clone(&name),
                partition: answer.index,
            };
            answers.insert(place, answer);
        }
    }
    answers
}

/// S-75: who leads the partition now, as the broker says that does not.
fn leader_hint(place: &TopicPartition, answer: &ProduceResponsePartition) -> Option<LeaderHint> {
    let told = matches!(
        answer.error_code,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    );
    let leader = &answer.current_leader;
    (told && leader.leader_id.0 >= 0 && leader.leader_epoch.0 >= 0).then(|| LeaderHint {
        topic_partition: place.clone(),
        leader: leader.leader_id,
        leader_epoch: leader.leader_epoch,
    })
}
