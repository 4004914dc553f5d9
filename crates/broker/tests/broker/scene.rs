//! A cluster in virtual time, its clients' connections, and batches to send. Drives the core; expects nothing by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kommit_broker::check::FaultKind;
use kommit_broker::{
    BrokerAction, BrokerConfig, BrokerCore, BrokerEvent, ConnectionId, Recovery, Rule, Verdict,
};
use kommit_protocol::api::{ApiKey, Request};
use kommit_protocol::batch::{self, Attributes, HeaderFields, RecordFields};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame;
use kommit_protocol::messages::*;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{
    NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition,
};

/// The topic of most scenes.
pub(crate) const TOPIC: &str = "orders";
/// The first produce version of TV2 clients, and the last one of TV1 clients.
pub(crate) const TV2: i16 = 12;
pub(crate) const TV1: i16 = 11;

/// What a broker starts again from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory {
    /// All that it has to keep, at the moment of its end.
    Image,
    /// The pieces that it gave away turn by turn.
    Pieces,
}

pub(crate) struct Scene {
    pub(crate) core: BrokerCore,
    millis: u64,
    connections: u64,
    correlation: i32,
    answers: BTreeMap<ConnectionId, VecDeque<Bytes>>,
    /// What the core has given away to be kept.
    pieces: Vec<Bytes>,
    closed: BTreeSet<ConnectionId>,
    /// What the built-in checker is to find when the scene is over.
    pub(crate) expected_faults: Vec<FaultKind>,
}

/// B-125: whatever a scene has done, its logs are whole, unless it says otherwise.
impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let faults: Vec<FaultKind> = self.core.faults().iter().map(|fault| fault.kind).collect();
            assert_eq!(faults, self.expected_faults);
        }
    }
}

impl Scene {
    /// One node, one topic with two partitions.
    pub(crate) fn new() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Self {
        let mut core = BrokerCore::new(config);
        core.create_topic(TOPIC, 2)
            .expect("a fresh cluster has no topics");
        Self {
            core,
            millis: 1_000_000,
            connections: 0,
            correlation: 0,
            answers: BTreeMap::new(),
            pieces: Vec::new(),
            closed: BTreeSet::new(),
            expected_faults: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let millis = i64::try_from(self.millis).expect("a scene is short");
        Now {
            instant: Instant::from_millis(self.millis),
            wall: Timestamp(millis),
        }
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        self.connect_to(1)
    }

    pub(crate) fn connect_to(&mut self, node: i32) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.core.event(BrokerEvent::Opened {
            connection,
            node: NodeId(node),
        });
        self.turn();
        connection
    }

    /// Sends without waiting; returns the correlation id.
    pub(crate) fn send<R: Request>(&mut self, connection: ConnectionId, request: &R, version: i16) -> i32 {
        self.correlation += 1;
        let frame = frame::encode_request(request, version, self.correlation, Some("scene"));
        self.send_frame(connection, frame.slice(4..));
        self.correlation
    }

    pub(crate) fn send_frame(&mut self, connection: ConnectionId, frame: Bytes) {
        self.core.event(BrokerEvent::Frame { connection, frame });
        self.turn();
    }

    pub(crate) fn turn(&mut self) -> Instant {
        let mut actions = Vec::new();
        let deadline = self.core.turn(self.now(), &mut actions);
        self.pieces.push(self.core.take_unsaved());
        for action in actions {
            match action {
                BrokerAction::Send { connection, frame } => {
                    self.answers.entry(connection).or_default().push_back(frame);
                }
                BrokerAction::Close { connection } => {
                    self.closed.insert(connection);
                }
                BrokerAction::Finished { .. } => {}
            }
        }
        deadline
    }

    /// Stops everything at once, and starts again with what was kept.
    pub(crate) fn restart(&mut self, memory: Memory) {
        self.turn();
        let now = self.now();
        match memory {
            Memory::Image => self.core.restart(now).expect("what was kept is whole"),
            Memory::Pieces => {
                let mut recovery = Recovery::new(self.core.config().clone());
                for piece in &self.pieces {
                    recovery.read(piece.clone()).expect("what was kept is whole");
                }
                self.core = recovery.finish(now);
            }
        }
        self.turn();
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.millis + millis;
        loop {
            let deadline = self.turn().as_nanos().div_ceil(1_000_000);
            if deadline >= end {
                break;
            }
            self.millis = deadline.max(self.millis + 1);
        }
        self.millis = end;
        self.turn();
    }

    /// The next answer on a connection, if one has arrived, with its correlation id.
    pub(crate) fn answer<R: Request>(
        &mut self,
        connection: ConnectionId,
        version: i16,
    ) -> Option<(i32, R::Response)> {
        let frame = self.answers.get_mut(&connection)?.pop_front()?;
        Some(
            frame::decode_response::<R>(frame.slice(4..), version)
                .expect("the broker answers what it was asked"),
        )
    }

    pub(crate) fn raw_answer(&mut self, connection: ConnectionId) -> Option<Bytes> {
        self.answers.get_mut(&connection)?.pop_front()
    }

    pub(crate) fn ask<R: Request>(
        &mut self,
        connection: ConnectionId,
        request: &R,
        version: i16,
    ) -> R::Response {
        let sent = self.send(connection, request, version);
        let (correlation, response) = self
            .answer::<R>(connection, version)
            .expect("the answer comes at once");
        assert_eq!(correlation, sent);
        response
    }

    pub(crate) fn is_closed(&self, connection: ConnectionId) -> bool {
        self.closed.contains(&connection)
    }

    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.core.event(BrokerEvent::Closed { connection });
        self.turn();
    }

    /// Produces one batch to partition 0 with acks = all, as an idempotent client of version 12.
    pub(crate) fn produce(&mut self, connection: ConnectionId, batch: &Batch) -> ProduceResponsePartition {
        self.produce_as(connection, batch, TV2)
    }

    pub(crate) fn produce_as(
        &mut self,
        connection: ConnectionId,
        batch: &Batch,
        version: i16,
    ) -> ProduceResponsePartition {
        let response = self.ask(connection, &batch.request(), version);
        only_partition(response)
    }

    pub(crate) fn fetch(
        &mut self,
        connection: ConnectionId,
        request: &FetchRequest,
    ) -> FetchResponsePartition {
        let mut response = self.ask(connection, request, 12);
        assert_eq!(response.error_code, ErrorCode::None);
        response.responses.remove(0).partitions.remove(0)
    }

    /// A connection to the node that coordinates a transactional id.
    pub(crate) fn coordinator(&mut self, transactional_id: &str) -> ConnectionId {
        let lookup = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec![transactional_id.to_owned()],
            ..Default::default()
        };
        let anybody = self.connect();
        // The first question creates the shards, the second one finds them.
        self.ask(anybody, &lookup, 4);
        let found = self.ask(anybody, &lookup, 4);
        self.connect_to(found.coordinators[0].node_id.0)
    }

    /// A transactional id with its identity, after FindCoordinator and InitProducerId.
    pub(crate) fn initialize(
        &mut self,
        connection: ConnectionId,
        transactional_id: &str,
    ) -> (ProducerId, ProducerEpoch) {
        let lookup = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec![transactional_id.to_owned()],
            ..Default::default()
        };
        self.ask(connection, &lookup, 4);
        let request = InitProducerIdRequest {
            transactional_id: Some(transactional_id.to_owned()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let response = self.ask(connection, &request, 4);
        assert_eq!(response.error_code, ErrorCode::None);
        (response.producer_id, response.producer_epoch)
    }

    pub(crate) fn end(
        &mut self,
        connection: ConnectionId,
        identity: (ProducerId, ProducerEpoch),
        committed: bool,
        version: i16,
    ) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: "t".to_owned(),
            producer_id: identity.0,
            producer_epoch: identity.1,
            committed,
        };
        self.ask(connection, &request, version)
    }

    /// Adds partition 0 of the topic to the transaction, as TV1 clients do.
    pub(crate) fn add_partition(
        &mut self,
        connection: ConnectionId,
        identity: (ProducerId, ProducerEpoch),
    ) -> ErrorCode {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: "t".to_owned(),
            v3_and_below_producer_id: identity.0,
            v3_and_below_producer_epoch: identity.1,
            v3_and_below_topics: vec![AddPartitionsToTxnRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![PartitionId(0)],
            }],
            ..Default::default()
        };
        let response = self.ask(connection, &request, 3);
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    pub(crate) fn rule(&mut self, api: ApiKey, verdict: Verdict) -> kommit_broker::RuleId {
        self.core.add_rule(Rule::on(api, verdict).once())
    }

    pub(crate) fn log_len(&self) -> usize {
        self.core.log(&partition_0()).expect("the topic exists").len()
    }
}

pub(crate) fn only_partition(mut response: ProduceResponse) -> ProduceResponsePartition {
    assert_eq!(response.responses.len(), 1);
    response.responses.remove(0).partition_responses.remove(0)
}

pub(crate) fn partition_0() -> TopicPartition {
    TopicPartition::new(TOPIC, 0)
}

/// A fetch of partition 0 from `offset`, that does not wait.
pub(crate) fn fetch_from(offset: i64, isolation_level: i8) -> FetchRequest {
    FetchRequest {
        isolation_level,
        topics: vec![FetchRequestTopic {
            topic: TOPIC.to_owned(),
            topic_id: TopicId::ZERO,
            partitions: vec![FetchRequestPartition {
                fetch_offset: offset,
                partition_max_bytes: i32::MAX,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

/// A batch to produce.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) records: u32,
    pub(crate) identity: Option<(ProducerId, ProducerEpoch)>,
    pub(crate) sequence: i32,
    pub(crate) transactional_id: Option<String>,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'static [u8]>,
    pub(crate) acks: i16,
}

impl Batch {
    /// One record without producer.
    pub(crate) fn plain() -> Self {
        Self {
            records: 1,
            identity: None,
            sequence: 0,
            transactional_id: None,
            timestamp: 1_000_000,
            key: Some(b"k"),
            acks: -1,
        }
    }

    pub(crate) fn of(id: i64, epoch: i16, sequence: i32) -> Self {
        Self {
            identity: Some((ProducerId(id), ProducerEpoch(epoch))),
            sequence,
            ..Self::plain()
        }
    }

    pub(crate) fn in_transaction(identity: (ProducerId, ProducerEpoch), sequence: i32) -> Self {
        Self {
            identity: Some(identity),
            sequence,
            transactional_id: Some("t".to_owned()),
            ..Self::plain()
        }
    }

    pub(crate) fn records(self, records: u32) -> Self {
        Self { records, ..self }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let mut records = Vec::new();
        for offset_delta in 0..i32::try_from(self.records).expect("few records") {
            let fields = RecordFields {
                offset_delta,
                timestamp_delta: 0,
                key: self.key,
                value: Some(b"v"),
                headers: &[],
            };
            batch::put_record(&mut records, &fields);
        }
        let attributes = match self.transactional_id {
            Some(_) => Attributes::default().transactional(),
            None => Attributes::default(),
        };
        let (producer_id, producer_epoch) = self.identity.unwrap_or_default();
        let fields = HeaderFields {
            attributes,
            last_offset_delta: i32::try_from(self.records).expect("few records") - 1,
            base_timestamp: Timestamp(self.timestamp),
            max_timestamp: Timestamp(self.timestamp),
            producer_id,
            producer_epoch,
            base_sequence: self.identity.and_then(|_| Sequence::new(self.sequence)),
            record_count: self.records,
            ..HeaderFields::default()
        };
        batch::encode_batch(&fields, &records)
    }

    pub(crate) fn request(&self) -> ProduceRequest {
        self.request_of(self.bytes())
    }

    /// The same request with other bytes as records of partition 0.
    pub(crate) fn request_of(&self, records: Bytes) -> ProduceRequest {
        ProduceRequest {
            transactional_id: self.transactional_id.clone(),
            acks: self.acks,
            timeout_ms: 1000,
            topic_data: vec![ProduceRequestTopic {
                name: TOPIC.to_owned(),
                topic_id: TopicId::ZERO,
                partition_data: vec![ProduceRequestPartition {
                    index: PartitionId(0),
                    records: Some(records),
                }],
            }],
        }
    }
}
