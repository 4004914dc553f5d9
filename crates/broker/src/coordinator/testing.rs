//! A tiny cluster for scenes with the coordinators: nodes, shards and topics as values, time that is set by hand.
//!
//! It keeps no partition logs: a marker is written as soon as a scene says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnRequestTopic,
    DescribeTransactionsRequest, DescribeTransactionsResponseTransaction, EndTxnRequest,
    InitProducerIdRequest,
};
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{
    Identity, NodeId, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};

use super::Coordinators;
use super::interface::{
    CONSUMER_OFFSETS_TOPIC, Call, ClusterNode, ClusterView, CoordinatorConfig, MarkerOutcome, MarkerWrite,
    NodeState, SHARD_COUNT, Shard, ShardState, TRANSACTION_STATE_TOPIC, TopicView, TransactionVersion,
    VerifyMode, VerifyRequest, shard_number,
};
use crate::denials::Denials;

/// What an answer comes down to: what was given, or the code.
pub(super) type Answer<T> = Result<T, ErrorCode>;

/// The wall clock when a scene begins, in milliseconds.
const WALL_ORIGIN: i64 = 1_700_000_000_000;

/// A cluster and its coordinators.
pub(super) struct World {
    pub(super) coordinators: Coordinators,
    pub(super) cluster: Cluster,
    pub(super) now: Now,
}

/// The cluster as the coordinators see it.
pub(super) struct Cluster {
    nodes: Vec<ClusterNode>,
    topics: BTreeMap<Arc<str>, TopicView>,
    pub(super) transaction_shards: Vec<Shard>,
    pub(super) group_shards: Vec<Shard>,
    pub(super) level: TransactionVersion,
    /// The broker that gets the next requests.
    pub(super) called: NodeId,
    denials: Denials,
}

impl Cluster {
    pub(super) fn view(&self) -> ClusterView<'_> {
        ClusterView {
            nodes: &self.nodes,
            topics: &self.topics,
            transaction_shards: &self.transaction_shards,
            group_shards: &self.group_shards,
            transaction_version: self.level,
        }
    }

    pub(super) fn call(&self, version: i16, now: Now) -> Call<'_> {
        Call {
            node: self.called,
            version,
            now,
            client_id: None,
            cluster: self.view(),
            denials: &self.denials,
        }
    }
}

impl World {
    /// Brokers 1 and 2, of which 1 leads everything; a topic `orders` of three partitions.
    pub(super) fn new(level: TransactionVersion) -> Self {
        let node = |id: i32, port| ClusterNode {
            id: NodeId(id),
            host: "localhost".into(),
            port,
            state: NodeState::Live,
        };
        let topic = |id: u8, partition_count| TopicView {
            id: TopicId([id; 16]),
            partition_count,
        };
        let shard = Shard {
            leader: Some(NodeId(1)),
            coordinator_epoch: 0,
            state: ShardState::Active,
        };
        let topics = [
            (TRANSACTION_STATE_TOPIC, topic(1, SHARD_COUNT)),
            (CONSUMER_OFFSETS_TOPIC, topic(2, SHARD_COUNT)),
            ("orders", topic(3, 3)),
        ];
        Self {
            coordinators: Coordinators::new(CoordinatorConfig::default()),
            cluster: Cluster {
                nodes: vec![node(1, 9092), node(2, 9093)],
                topics: topics
                    .into_iter()
                    .map(|(name, view)| (name.into(), view))
                    .collect(),
                transaction_shards: vec![shard; SHARD_COUNT as usize],
                group_shards: vec![shard; SHARD_COUNT as usize],
                level,
                called: NodeId(1),
                denials: Denials::default(),
            },
            now: Now {
                instant: Instant::ORIGIN,
                wall: Timestamp(WALL_ORIGIN),
            },
        }
    }

    /// Time passes; what it makes due is done. Returns the next deadline.
    pub(super) fn pass(&mut self, millis: u64) -> Instant {
        self.now.instant += std::time::Duration::from_millis(millis);
        self.now.wall.0 += i64::try_from(millis).expect("scenes are short");
        self.coordinators.turn(&self.cluster.view(), self.now)
    }

    pub(super) fn init(&mut self, id: &str) -> Answer<Identity> {
        self.init_as(5, id, None)
    }

    pub(super) fn init_as(&mut self, version: i16, id: &str, expected: Option<Identity>) -> Answer<Identity> {
        self.send_init(
            version,
            &InitProducerIdRequest {
                transactional_id: Some(id.to_owned()),
                transaction_timeout_ms: 60_000,
                producer_id: expected.map_or(ProducerId::NONE, |identity| identity.id),
                producer_epoch: expected.map_or(ProducerEpoch::NONE, |identity| identity.epoch),
            },
        )
    }

    pub(super) fn send_init(&mut self, version: i16, request: &InitProducerIdRequest) -> Answer<Identity> {
        let response = self
            .coordinators
            .init_producer_id(request, &self.cluster.call(version, self.now));
        answer(
            response.error_code,
            Identity {
                id: response.producer_id,
                epoch: response.producer_epoch,
            },
        )
    }

    /// AddPartitionsToTxn for partitions of `orders`: one code each.
    pub(super) fn add(
        &mut self,
        version: i16,
        id: &str,
        identity: Identity,
        partitions: &[i32],
    ) -> Vec<ErrorCode> {
        self.add_topic(version, id, identity, "orders", partitions)
    }

    pub(super) fn add_topic(
        &mut self,
        version: i16,
        id: &str,
        identity: Identity,
        topic: &str,
        partitions: &[i32],
    ) -> Vec<ErrorCode> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.to_owned(),
            v3_and_below_producer_id: identity.id,
            v3_and_below_producer_epoch: identity.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnRequestTopic {
                name: topic.to_owned(),
                partitions: partitions.iter().copied().map(PartitionId).collect(),
            }],
            ..Default::default()
        };
        let response = self
            .coordinators
            .add_partitions_to_txn(&request, &self.cluster.call(version, self.now));
        let topics = response.results_by_topic_v3_and_below.into_iter();
        topics
            .flat_map(|topic| topic.results_by_partition)
            .map(|result| result.partition_error_code)
            .collect()
    }

    pub(super) fn add_offsets(
        &mut self,
        version: i16,
        id: &str,
        identity: Identity,
        group: &str,
    ) -> ErrorCode {
        let request = AddOffsetsToTxnRequest {
            transactional_id: id.to_owned(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            group_id: group.to_owned(),
        };
        self.coordinators
            .add_offsets_to_txn(&request, &self.cluster.call(version, self.now))
            .error_code
    }

    /// What the leader of a partition of `orders` asks before it appends.
    pub(super) fn ask(
        &mut self,
        mode: VerifyMode,
        id: &str,
        identity: Identity,
        partition: i32,
    ) -> Answer<()> {
        let partitions = vec![TopicPartition::new("orders", partition)];
        let request = VerifyRequest {
            transactional_id: id.into(),
            identity,
            partitions,
            mode,
        };
        let answers = self
            .coordinators
            .verify_or_add(&request, &self.cluster.view(), self.now);
        assert_eq!(answers.len(), 1, "one answer per partition");
        answers[0]
    }

    pub(super) fn end(
        &mut self,
        version: i16,
        id: &str,
        identity: Identity,
        outcome: MarkerOutcome,
    ) -> Answer<Identity> {
        let request = EndTxnRequest {
            transactional_id: id.to_owned(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            committed: outcome == MarkerOutcome::Commit,
        };
        let response = self
            .coordinators
            .end_txn(&request, &self.cluster.call(version, self.now));
        answer(
            response.error_code,
            Identity {
                id: response.producer_id,
                epoch: response.producer_epoch,
            },
        )
    }

    /// All markers that are due get written.
    pub(super) fn write_markers(&mut self) -> Vec<MarkerWrite> {
        let markers = self.coordinators.take_markers();
        for marker in &markers {
            self.coordinators.apply_offsets_marker(marker);
            self.coordinators
                .markers_written(&marker.transactional_id, &marker.topic_partition, self.now);
        }
        markers
    }

    pub(super) fn describe(&mut self, id: &str) -> DescribeTransactionsResponseTransaction {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![id.to_owned()],
        };
        let mut response = self
            .coordinators
            .describe_transactions(&request, &self.cluster.call(0, self.now));
        response.transaction_states.pop().expect("one answer per id")
    }

    pub(super) fn state(&mut self, id: &str) -> String {
        self.describe(id).transaction_state
    }

    /// The shard of a transactional id.
    pub(super) fn shard_mut(&mut self, id: &str) -> &mut Shard {
        &mut self.cluster.transaction_shards[shard_number(id) as usize]
    }

    /// A transactional id whose next identity is this one, as if it had gone through all epochs before.
    pub(super) fn aged(&mut self, id: &str, epoch: i16) -> Identity {
        let mut identity = self.init(id).expect("a new transactional id");
        while identity.epoch < ProducerEpoch(epoch) {
            identity = self.init(id).expect("nothing is open");
        }
        identity
    }
}

/// The identity of these numbers.
pub(super) fn identity(id: i64, epoch: i16) -> Identity {
    Identity {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
    }
}

fn answer<T>(code: ErrorCode, given: T) -> Answer<T> {
    if code == ErrorCode::None {
        Ok(given)
    } else {
        Err(code)
    }
}
