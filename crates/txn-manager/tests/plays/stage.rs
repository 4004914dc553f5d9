//! A manager with a scripted other side: what the plays of this crate are made of.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::time::Instant;
use kommit_protocol::units::*;
use kommit_txn_manager::*;

pub(crate) const ID: ProducerId = ProducerId(7);
/// The time in plays in which none passes.
pub(crate) const NOW: Instant = Instant::ORIGIN;

pub(crate) struct Stage {
    pub(crate) manager: TransactionManager,
    next_ticket: u64,
    /// What the next request is taken at.
    pub(crate) now: Instant,
}

pub(crate) fn identity(epoch: i16) -> Identity {
    Identity {
        id: ID,
        epoch: ProducerEpoch(epoch),
    }
}

pub(crate) fn sequence(number: i32) -> Sequence {
    Sequence::new(number).expect("not negative")
}

pub(crate) fn partition(index: u32) -> PartitionIndex {
    PartitionIndex(index)
}

pub(crate) fn topic_partition(index: u32) -> TopicPartition {
    TopicPartition::new("orders", i32::try_from(index).expect("a small number"))
}

impl Stage {
    /// A producer that has not asked for an identity.
    pub(crate) fn of(config: TransactionConfig) -> Self {
        Self {
            manager: TransactionManager::new(config),
            next_ticket: 0,
            now: Instant::ORIGIN,
        }
    }

    /// A transactional producer that has not asked for an identity.
    pub(crate) fn uninitialized() -> Self {
        Self::of(TransactionConfig::transactional("t-1"))
    }

    /// A transactional producer with epoch 0 and its coordinator at hand.
    pub(crate) fn transactional(flavour: Flavour) -> Self {
        Self::transactional_with(flavour, EpochBumpSupport::Supported)
    }

    pub(crate) fn transactional_with(flavour: Flavour, epoch_bump: EpochBumpSupport) -> Self {
        Self::with(TransactionConfig::transactional("t-1"), flavour, epoch_bump)
    }

    /// As `transactional`, with settings of its own.
    pub(crate) fn with(config: TransactionConfig, flavour: Flavour, epoch_bump: EpochBumpSupport) -> Self {
        let mut stage = Self::of(config);
        stage.manager.coordinator_ready(epoch_bump);
        stage.level(1, if flavour == Flavour::V2 { 2 } else { 1 });
        let ticket = stage.ticket();
        stage.manager.initialize(ticket).expect("uninitialized");
        stage.succeed(RequestKind::InitProducerId);
        assert_eq!(stage.outcomes(), [Outcome::Initialized]);
        assert_eq!(stage.manager.flavour(), flavour);
        stage
    }

    /// An idempotent-only producer with epoch 0 that goes on behind a gap.
    pub(crate) fn idempotent() -> Self {
        Self::idempotent_with(OnGap::Continue)
    }

    pub(crate) fn idempotent_with(on_gap: OnGap) -> Self {
        let mut stage = Self::of(TransactionConfig {
            on_gap,
            ..TransactionConfig::idempotent()
        });
        stage.manager.refresh_identity();
        stage.succeed(RequestKind::InitProducerId);
        stage
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(crate) fn level(&mut self, epoch: i64, transaction_version: i16) {
        self.manager.features(FinalizedFeatures {
            epoch,
            transaction_version,
        });
    }

    pub(crate) fn begin(&mut self) {
        self.manager.begin().expect("ready");
    }

    pub(crate) fn commit(&mut self) {
        let ticket = self.ticket();
        self.manager.begin_commit(ticket).expect("in a transaction");
    }

    pub(crate) fn abort(&mut self) {
        let ticket = self.ticket();
        self.manager.begin_abort(ticket).expect("in a transaction");
    }

    pub(crate) fn offsets(&mut self, partitions: u32) {
        self.offsets_of(ConsumerGroupMetadata::of_group("readers"), partitions);
    }

    pub(crate) fn offsets_of(&mut self, group: ConsumerGroupMetadata, partitions: u32) {
        let ticket = self.ticket();
        let offset = |index| (topic_partition(index), OffsetAndMetadata::of_offset(Offset(5)));
        let offsets = (0..partitions).map(offset).collect();
        self.manager
            .send_offsets(ticket, group, offsets)
            .expect("in a transaction");
    }

    pub(crate) fn join(&mut self, index: u32) {
        self.manager
            .join(partition(index), &topic_partition(index))
            .expect("in a transaction");
    }

    /// Drains a new batch, which must be allowed.
    pub(crate) fn drain(&mut self, index: u32, records: u32) -> BatchId {
        assert!(
            self.manager.may_drain(partition(index), None),
            "the batch may be drained"
        );
        let stamp = self.manager.stamp(partition(index), records);
        BatchId {
            partition: partition(index),
            identity: stamp.identity,
            base_sequence: stamp.base_sequence,
            records,
        }
    }

    /// Begins, joins partition 0 and lets the coordinator know, so that the transaction has something to end.
    pub(crate) fn begin_with_partition(&mut self) {
        self.begin();
        self.join(0);
        if self.manager.flavour() == Flavour::V1 {
            self.succeed(RequestKind::AddPartitionsToTxn);
        }
    }

    /// Takes the next request, which must be of this kind.
    pub(crate) fn take(&mut self, kind: RequestKind) -> TransactionalRequest {
        let request = self
            .manager
            .next_request(Batches::AllComplete, self.now)
            .expect("a request");
        assert_eq!(request.kind(), kind);
        request
    }

    pub(crate) fn expect_nothing(&mut self) {
        let next = self.manager.next_request(Batches::AllComplete, self.now);
        assert!(next.is_none(), "unexpected {next:?}");
    }

    /// Takes the next request and answers it with success.
    pub(crate) fn succeed(&mut self, kind: RequestKind) {
        self.fail(kind, ErrorCode::None);
    }

    /// Takes the next request and answers it with a code.
    pub(crate) fn fail(&mut self, kind: RequestKind, code: ErrorCode) {
        let request = self.take(kind);
        let answer = answer(&request, code);
        self.manager.answered(request, answer);
    }

    /// The coordinator, asked about a commit in doubt, does not tell (R8).
    pub(crate) fn leave_in_doubt(&mut self) {
        self.fail(
            RequestKind::DescribeTransactions,
            ErrorCode::TransactionalIdNotFound,
        );
    }

    /// Takes the next request and never answers it.
    pub(crate) fn disconnect(&mut self, kind: RequestKind) {
        let request = self.take(kind);
        self.manager.answered(request, Answer::Disconnected);
    }

    pub(crate) fn outcomes(&mut self) -> Vec<Outcome> {
        let mut answers = Vec::new();
        self.manager.drain_answers(&mut answers);
        answers.into_iter().map(|answered| answered.outcome).collect()
    }

    pub(crate) fn answered_tickets(&mut self) -> Vec<(Ticket, Outcome)> {
        let mut answers = Vec::new();
        self.manager.drain_answers(&mut answers);
        answers
            .into_iter()
            .map(|answered| (answered.ticket, answered.outcome))
            .collect()
    }

    pub(crate) fn renumberings(&mut self) -> Vec<Renumbering> {
        let mut renumberings = Vec::new();
        self.manager.drain_renumberings(&mut renumberings);
        renumberings
    }

    pub(crate) fn state(&self) -> StateName {
        self.manager.state()
    }
}

pub(crate) fn not_written(code: ErrorCode) -> BatchFailure {
    BatchFailure {
        reason: FailureReason::Code(code),
        fate: Fate::NotWritten,
    }
}

pub(crate) fn perhaps_written(code: ErrorCode) -> BatchFailure {
    BatchFailure {
        reason: FailureReason::Code(code),
        fate: Fate::MayBeWritten,
    }
}

/// The response that an obedient broker gives with this code.
pub(crate) fn answer(request: &TransactionalRequest, code: ErrorCode) -> Answer {
    let version_2 = request.max_version().is_none();
    Answer::Response(match request.body() {
        RequestBody::FindCoordinator(_) => ResponseBody::FindCoordinator(coordinator(code)),
        RequestBody::InitProducerId(body) => {
            ResponseBody::InitProducerId(given(code, body.producer_id, body.producer_epoch))
        }
        RequestBody::AddPartitionsToTxn(body) => {
            ResponseBody::AddPartitionsToTxn(AddPartitionsToTxnResponse {
                results_by_topic_v3_and_below: body
                    .v3_and_below_topics
                    .iter()
                    .map(|topic| added(topic, code))
                    .collect(),
                ..AddPartitionsToTxnResponse::default()
            })
        }
        RequestBody::AddOffsetsToTxn(_) => ResponseBody::AddOffsetsToTxn(AddOffsetsToTxnResponse {
            error_code: code,
            ..AddOffsetsToTxnResponse::default()
        }),
        RequestBody::TxnOffsetCommit(body) => ResponseBody::TxnOffsetCommit(TxnOffsetCommitResponse {
            topics: body.topics.iter().map(|topic| committed(topic, code)).collect(),
            ..TxnOffsetCommitResponse::default()
        }),
        RequestBody::EndTxn(body) => {
            let mut response = EndTxnResponse {
                error_code: code,
                ..EndTxnResponse::default()
            };
            if version_2 && code == ErrorCode::None {
                response.producer_id = body.producer_id;
                response.producer_epoch = ProducerEpoch(body.producer_epoch.0 + 1);
            }
            ResponseBody::EndTxn(response)
        }
        RequestBody::DescribeTransactions(_) => {
            let epoch = if code == ErrorCode::None { 1 } else { -1 };
            ResponseBody::DescribeTransactions(shown(code, "CompleteCommit", identity(epoch)))
        }
    })
}

/// A description of the stage's transactional id.
pub(crate) fn shown(code: ErrorCode, state: &str, of: Identity) -> DescribeTransactionsResponse {
    DescribeTransactionsResponse {
        transaction_states: vec![DescribeTransactionsResponseTransaction {
            error_code: code,
            transactional_id: "t-1".into(),
            transaction_state: state.into(),
            producer_id: of.id,
            producer_epoch: of.epoch,
            ..DescribeTransactionsResponseTransaction::default()
        }],
        ..DescribeTransactionsResponse::default()
    }
}

fn coordinator(code: ErrorCode) -> FindCoordinatorResponse {
    FindCoordinatorResponse {
        coordinators: vec![FindCoordinatorResponseCoordinator {
            node_id: NodeId(3),
            host: "broker-3".into(),
            port: 9092,
            error_code: code,
            ..FindCoordinatorResponseCoordinator::default()
        }],
        ..FindCoordinatorResponse::default()
    }
}

fn given(code: ErrorCode, id: ProducerId, epoch: ProducerEpoch) -> InitProducerIdResponse {
    let known = if id == ProducerId::NONE { ID } else { id };
    let (producer_id, producer_epoch) = match code {
        ErrorCode::None => (known, ProducerEpoch(epoch.0 + 1)),
        _ => (ProducerId::NONE, ProducerEpoch::NONE),
    };
    InitProducerIdResponse {
        error_code: code,
        producer_id,
        producer_epoch,
        ..InitProducerIdResponse::default()
    }
}

fn added(topic: &AddPartitionsToTxnRequestTopic, code: ErrorCode) -> AddPartitionsToTxnResponseTopic {
    let result = |partition: &PartitionId| AddPartitionsToTxnResponsePartition {
        partition_index: *partition,
        partition_error_code: code,
    };
    AddPartitionsToTxnResponseTopic {
        name: topic.name.clone(),
        results_by_partition: topic.partitions.iter().map(result).collect(),
    }
}

fn committed(topic: &TxnOffsetCommitRequestTopic, code: ErrorCode) -> TxnOffsetCommitResponseTopic {
    let result = |partition: &TxnOffsetCommitRequestPartition| TxnOffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: code,
    };
    TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: topic.partitions.iter().map(result).collect(),
    }
}
