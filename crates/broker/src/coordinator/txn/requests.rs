//! Messages in, messages out: which checks come before the transactional id is looked at, and how codes look in old versions.
//!
//! What a request does is decided in the modules next to this one.

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnRequestTopic, AddPartitionsToTxnRequestTransaction, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResponsePartition, AddPartitionsToTxnResponseTopic,
    AddPartitionsToTxnResponseTransaction, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse,
};
use kommit_protocol::time::Now;
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId, TopicPartition};

use super::{Scene, TransactionCoordinator};
use crate::coordinator::interface::{
    CONSUMER_OFFSETS_TOPIC, Call, ClusterView, CoordinatorKind, MarkerOutcome, TRANSACTION_STATE_TOPIC,
    TransactionVersion, VerifyMode, VerifyRequest, shard_number,
};
use crate::denials::Operation;

/// Versions of AddPartitionsToTxn up to this one come from clients and carry one transaction (B-8).
const LAST_CLIENT_ADD_PARTITIONS: i16 = 3;

impl TransactionCoordinator {
    pub(in crate::coordinator) fn init_producer_id(
        &mut self,
        request: &InitProducerIdRequest,
        call: &Call<'_>,
    ) -> InitProducerIdResponse {
        let answer = self.initialized(request, call);
        let mut response = InitProducerIdResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
        };
        match answer {
            Ok(identity) => {
                response.producer_id = identity.id;
                response.producer_epoch = identity.epoch;
            }
            Err(error) => response.error_code = fenced_before(4, call.version, error),
        }
        response
    }

    fn initialized(
        &mut self,
        request: &InitProducerIdRequest,
        call: &Call<'_>,
    ) -> Result<Identity, ErrorCode> {
        let scene = Scene::of(call);
        match request.transactional_id.as_deref() {
            Some(id) => call.denials.check_transactional_id(Operation::Write, id),
            None => call.denials.check_idempotent_write(),
        }?;
        let expected = expected_identity(request.producer_id, request.producer_epoch)?;
        let Some(id) = request.transactional_id.as_deref() else {
            return self.allocate_idempotent(scene);
        };
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let timeout = self.check_timeout(request.transaction_timeout_ms)?;
        self.check_shard(id, call)?;
        self.initialize(id, timeout, expected, scene)
    }

    pub(in crate::coordinator) fn add_partitions_to_txn(
        &mut self,
        request: &AddPartitionsToTxnRequest,
        call: &Call<'_>,
    ) -> AddPartitionsToTxnResponse {
        let mut response = AddPartitionsToTxnResponse::default();
        if call.version <= LAST_CLIENT_ADD_PARTITIONS {
            let transaction = AddPartitionsToTxnRequestTransaction {
                transactional_id: request.v3_and_below_transactional_id.clone(),
                producer_id: request.v3_and_below_producer_id,
                producer_epoch: request.v3_and_below_producer_epoch,
                verify_only: false,
                topics: request.v3_and_below_topics.clone(),
            };
            let results = self.joined(&transaction, TransactionVersion::V1, call);
            let answered = by_topic(&transaction.topics, &results);
            response.results_by_topic_v3_and_below = match results.contains(&ErrorCode::OperationNotAttempted)
                || results.contains(&ErrorCode::UnknownTopicOrPartition)
            {
                true => named_once(answered),
                false => answered,
            };
            return response;
        }
        for transaction in &request.transactions {
            let results = self.joined(transaction, TransactionVersion::V2, call);
            response
                .results_by_transaction
                .push(AddPartitionsToTxnResponseTransaction {
                    transactional_id: transaction.transactional_id.clone(),
                    topic_results: by_topic(&transaction.topics, &results),
                });
        }
        response
    }

    /// B-71, B-72: one code per partition, in the request's order.
    fn joined(
        &mut self,
        transaction: &AddPartitionsToTxnRequestTransaction,
        rules: TransactionVersion,
        call: &Call<'_>,
    ) -> Vec<ErrorCode> {
        let partitions = named_partitions(&transaction.topics);
        let id = transaction.transactional_id.as_str();
        if let Err(error) = call.denials.check_transactional_id(Operation::Write, id) {
            return vec![error; partitions.len()];
        }
        let checks: Vec<_> = partitions
            .iter()
            .map(|partition| check_partition(partition, call))
            .collect();
        if checks.iter().any(Result::is_err) {
            let code =
                |check: &Result<(), ErrorCode>| check.err().unwrap_or(ErrorCode::OperationNotAttempted);
            return checks.iter().map(code).collect();
        }
        let identity = Identity {
            id: transaction.producer_id,
            epoch: transaction.producer_epoch,
        };
        if let Err(error) = self.admit(id, call) {
            return vec![error; partitions.len()];
        }
        let results = if transaction.verify_only {
            self.verify(id, identity, &partitions)
        } else {
            vec![self.join(id, identity, &partitions, rules, Scene::of(call)); partitions.len()]
        };
        results
            .into_iter()
            .map(|result| fenced_before(2, call.version, code_of(result)))
            .collect()
    }

    pub(in crate::coordinator) fn add_offsets_to_txn(
        &mut self,
        request: &AddOffsetsToTxnRequest,
        call: &Call<'_>,
    ) -> AddOffsetsToTxnResponse {
        let id = request.transactional_id.as_str();
        let identity = Identity {
            id: request.producer_id,
            epoch: request.producer_epoch,
        };
        let offsets = [offsets_partition(&request.group_id)];
        let result = self
            .admit(id, call)
            .and_then(|()| call.denials.check_group(Operation::Read, &request.group_id))
            .and_then(|()| self.join(id, identity, &offsets, TransactionVersion::V1, Scene::of(call)));
        AddOffsetsToTxnResponse {
            throttle_time_ms: 0,
            error_code: fenced_before(2, call.version, code_of(result)),
        }
    }

    pub(in crate::coordinator) fn end_txn(
        &mut self,
        request: &EndTxnRequest,
        call: &Call<'_>,
    ) -> EndTxnResponse {
        let id = request.transactional_id.as_str();
        let identity = Identity {
            id: request.producer_id,
            epoch: request.producer_epoch,
        };
        let outcome = if request.committed {
            MarkerOutcome::Commit
        } else {
            MarkerOutcome::Abort
        };
        let result = self
            .admit(id, call)
            .and_then(|()| match rules_of_end(call.version) {
                TransactionVersion::V0 | TransactionVersion::V1 => {
                    self.end_v1(id, identity, outcome, Scene::of(call)).map(|()| None)
                }
                TransactionVersion::V2 => self.end_v2(id, identity, outcome, Scene::of(call)).map(Some),
            });
        let mut response = EndTxnResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
        };
        match result {
            Ok(None) => {}
            Ok(Some(next)) => {
                response.producer_id = next.id;
                response.producer_epoch = next.epoch;
            }
            Err(error) => response.error_code = fenced_before(2, call.version, error),
        }
        response
    }

    /// B-77, B-78: the answer for each partition, in the request's order, in the coordinator's own codes.
    pub(in crate::coordinator) fn verify_or_add(
        &mut self,
        request: &VerifyRequest,
        cluster: &ClusterView<'_>,
        now: Now,
    ) -> Vec<Result<(), ErrorCode>> {
        let id = &*request.transactional_id;
        let count = request.partitions.len();
        if id.is_empty() {
            return vec![Err(ErrorCode::InvalidRequest); count];
        }
        self.observe(cluster, now);
        // The partition's leader asks whoever coordinates now; that there is nobody is all that can go wrong on the way.
        let leader = cluster
            .shard_of(CoordinatorKind::Transaction, id)
            .1
            .and_then(|shard| shard.leader);
        let Some(node) = leader else {
            return vec![Err(ErrorCode::CoordinatorNotAvailable); count];
        };
        if let Err(error) = cluster.coordinator_shard(CoordinatorKind::Transaction, id, node) {
            return vec![Err(error); count];
        }
        match request.mode {
            VerifyMode::VerifyOnly => self.verify(id, request.identity, &request.partitions),
            VerifyMode::Add => {
                let scene = Scene {
                    node,
                    now,
                    level: cluster.transaction_version,
                };
                let rules = TransactionVersion::V2;
                vec![self.join(id, request.identity, &request.partitions, rules, scene); count]
            }
        }
    }

    /// What every request about a transactional id has to pass first.
    fn admit(&mut self, id: &str, call: &Call<'_>) -> Result<(), ErrorCode> {
        call.denials.check_transactional_id(Operation::Write, id)?;
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.check_shard(id, call)
    }
}

/// B-73, B-119: where a group keeps its offsets.
pub(in crate::coordinator) fn offsets_partition(group_id: &str) -> TopicPartition {
    let shard = i32::try_from(shard_number(group_id)).expect("there are 50 shards");
    TopicPartition::new(CONSUMER_OFFSETS_TOPIC, shard)
}

/// B-55: both halves of an identity, or none.
fn expected_identity(id: ProducerId, epoch: ProducerEpoch) -> Result<Option<Identity>, ErrorCode> {
    match (id == ProducerId::NONE, epoch == ProducerEpoch::NONE) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(Identity { id, epoch })),
        (true, false) | (false, true) => Err(ErrorCode::InvalidRequest),
    }
}

/// B-84.
fn rules_of_end(version: i16) -> TransactionVersion {
    if version >= 5 {
        TransactionVersion::V2
    } else {
        TransactionVersion::V1
    }
}

/// B-71: clients may not name internal topics, and nobody what does not exist.
fn check_partition(partition: &TopicPartition, call: &Call<'_>) -> Result<(), ErrorCode> {
    let is_internal = matches!(
        &*partition.topic,
        CONSUMER_OFFSETS_TOPIC | TRANSACTION_STATE_TOPIC
    );
    if is_internal && call.version <= LAST_CLIENT_ADD_PARTITIONS {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    call.denials.check_topic(Operation::Write, &partition.topic)?;
    if call.cluster.has_partition(partition) {
        Ok(())
    } else {
        Err(ErrorCode::UnknownTopicOrPartition)
    }
}

/// B-61, B-72, B-86: request versions before `known` do not know PRODUCER_FENCED.
fn fenced_before(known: i16, version: i16, error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::ProducerFenced && version < known {
        ErrorCode::InvalidProducerEpoch
    } else {
        error
    }
}

fn code_of(result: Result<(), ErrorCode>) -> ErrorCode {
    result.err().unwrap_or(ErrorCode::None)
}

fn named_partitions(topics: &[AddPartitionsToTxnRequestTopic]) -> Vec<TopicPartition> {
    let of_topic = |topic: &AddPartitionsToTxnRequestTopic| {
        let name: std::sync::Arc<str> = topic.name.as_str().into();
        let partitions = topic.partitions.clone();
        partitions.into_iter().map(move |partition| TopicPartition {
            topic: name.clone(),
            partition,
        })
    };
    topics.iter().flat_map(of_topic).collect()
}

fn by_topic(
    topics: &[AddPartitionsToTxnRequestTopic],
    codes: &[ErrorCode],
) -> Vec<AddPartitionsToTxnResponseTopic> {
    let mut codes = codes.iter().copied();
    let results = |topic: &AddPartitionsToTxnRequestTopic| {
        let partitions = topic.partitions.iter().zip(codes.by_ref());
        AddPartitionsToTxnResponseTopic {
            name: topic.name.clone(),
            results_by_partition: partitions
                .map(
                    |(partition_index, partition_error_code)| AddPartitionsToTxnResponsePartition {
                        partition_index: *partition_index,
                        partition_error_code,
                    },
                )
                .collect(),
        }
    };
    topics.iter().map(results).collect()
}

/// What was refused for single partitions has each of them once: Kafka keeps those answers in a map.
fn named_once(topics: Vec<AddPartitionsToTxnResponseTopic>) -> Vec<AddPartitionsToTxnResponseTopic> {
    let mut merged: Vec<AddPartitionsToTxnResponseTopic> = Vec::new();
    let mut seen = BTreeSet::new();
    for mut topic in topics {
        let is_new = |result: &AddPartitionsToTxnResponsePartition| {
            seen.insert((topic.name.clone(), result.partition_index))
        };
        topic.results_by_partition.retain(is_new);
        match merged.iter_mut().find(|known| known.name == topic.name) {
            Some(known) => known.results_by_partition.append(&mut topic.results_by_partition),
            None => merged.push(topic),
        }
    }
    merged
}
