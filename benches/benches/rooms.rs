//! Nanoseconds and allocations of each room that a record passes, without a network: `cargo bench -p kommit-benches --bench rooms`.
//!
//! Batches of 100-byte records go round and round through an accumulator; each room is timed for itself, in turn.
#![allow(clippy::disallowed_methods, reason = "measuring is what this is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use kommit_accumulator::{
    Accumulator, AccumulatorConfig, AppendRefusal, Delivery, DrainGate, Drainer, Leader, Page, RecordRef,
    Stamp, StampScope, StampedBatch, TopicQueues, accumulator,
};
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::{ProduceFrame, ProducePartition, decode_response, encode_response};
use kommit_protocol::messages::{
    ProduceRequest, ProduceResponse, ProduceResponsePartition, ProduceResponseTopic,
};
use kommit_protocol::time::{Instant as CoreInstant, Now};
use kommit_protocol::units::{
    Identity, NodeId, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId,
};

const RECORDS: u64 = 500;
/// More than a batch holds, so that each round chooses another partition.
const UNKEYED: u64 = 1_500;
const ROUNDS: u64 = 2_000;
const NOW: Now = Now {
    instant: CoreInstant::from_millis(1),
    wall: Timestamp(1_700_000_000_000),
};
const PRODUCE: i16 = 12;

fn main() {
    println!("{:<44} {:>12} {:>14}", "room", "ns", "allocations");
    for partitions in [1, 6, 100, 1_000, 10_000] {
        let mut stage = Stage::set(partitions);
        for _ in 0..ROUNDS / 10 + u64::from(partitions) {
            stage.round();
        }
        stage.rooms = Rooms::default();
        for _ in 0..ROUNDS {
            stage.round();
        }
        println!("{partitions} partition(s), batches of {RECORDS} records");
        stage.rooms.print();
    }
    for waiting in [0, 100, 10_000] {
        let mut crowd = Crowd::waiting(waiting);
        println!("{waiting} partition(s) whose batches wait for their linger");
        crowd.print();
    }
}

/// What a room has cost so far.
#[derive(Default)]
struct Room {
    rounds: Vec<Duration>,
    allocations: u64,
}

impl Room {
    fn enter<T>(&mut self, act: impl FnOnce() -> T) -> T {
        let mut result = None;
        let mut passed = Duration::ZERO;
        let counted: AllocationInfo = measure(|| {
            let begun = Instant::now();
            result = Some(act());
            passed = begun.elapsed();
        });
        self.rounds.push(passed);
        self.allocations += counted.count_total;
        result.expect("it was just done")
    }

    /// The median round, which a busy machine does not move as it moves the mean.
    fn print(&mut self, what: &str, per_round: u64) {
        self.rounds.sort_unstable();
        let median = self.rounds[self.rounds.len() / 2].as_nanos() as f64 / per_round as f64;
        let allocations = self.allocations as f64 / (per_round * ROUNDS) as f64;
        println!("  {what:<42} {median:>12.1} {allocations:>14.3}");
    }
}

#[derive(Default)]
struct Rooms {
    append: Room,
    drain: Room,
    frame: Room,
    response: Room,
    completion: Room,
    delivery: Room,
    unkeyed: Room,
}

impl Rooms {
    fn print(&mut self) {
        self.append.print("append, per record", RECORDS);
        self.drain.print("ready, close, drain and stamp, per batch", 1);
        self.frame.print("frame, per request", 1);
        self.response.print("response, per request", 1);
        self.completion.print("completion, per batch", 1);
        self.delivery.print("delivery, per record", RECORDS);
        self.unkeyed
            .print("append where unkeyed records stick, per record", UNKEYED);
    }
}

struct Stage {
    accumulator: Arc<Accumulator>,
    drainer: Drainer,
    topic: Arc<TopicQueues>,
    sequences: Sequences,
    next: u32,
    value: Vec<u8>,
    deliveries: Vec<Delivery>,
    answer: Bytes,
    rooms: Rooms,
}

impl Stage {
    fn set(partitions: u32) -> Self {
        let config = AccumulatorConfig {
            batch_size: 128 << 10,
            linger: Duration::ZERO,
            ..AccumulatorConfig::default()
        };
        Self::with(partitions, config)
    }

    fn with(partitions: u32, config: AccumulatorConfig) -> Self {
        let (accumulator, drainer) = accumulator(config, || {});
        accumulator.gate().open();
        Self {
            topic: accumulator.topic("orders", partitions),
            sequences: Sequences(vec![Sequence::ZERO; partitions as usize]),
            accumulator,
            drainer,
            next: 0,
            value: vec![b'v'; 100],
            deliveries: Vec::with_capacity(UNKEYED as usize),
            answer: answer(),
            rooms: Rooms::default(),
        }
    }

    /// One batch from its first record to its last delivery.
    fn round(&mut self) {
        let partition = self.next % self.topic.partition_count();
        self.next += 1;
        let mut rooms = std::mem::take(&mut self.rooms);
        rooms
            .append
            .enter(|| self.append(Some(PartitionId(partition as i32)), RECORDS));
        let batch = rooms.drain.enter(|| self.drain());
        let frame = rooms.frame.enter(|| frame(&batch));
        drop(frame);
        let response = rooms
            .response
            .enter(|| decode_response::<ProduceRequest>(self.answer.clone(), PRODUCE));
        let base_offset = response.expect("an answer").1.responses[0].partition_responses[0].base_offset;
        rooms
            .completion
            .enter(|| self.drainer.complete(batch, Some(Offset(base_offset)), None));
        rooms.delivery.enter(|| {
            for delivery in self.deliveries.drain(..) {
                assert!(delivery.outcome().is_some_and(|outcome| outcome.is_ok()));
            }
        });
        rooms.unkeyed.enter(|| self.append(None, UNKEYED));
        self.write_all();
        self.deliveries.clear();
        self.rooms = rooms;
    }

    fn append(&mut self, partition: Option<PartitionId>, records: u64) {
        let record = RecordRef {
            value: Some(&self.value),
            ..RecordRef::default()
        };
        let mut page: Option<Page> = None;
        let place = (&*self.topic, partition);
        while self.deliveries.len() < records as usize {
            if let Some(delivery) = self.accumulator.append_amid(place, &record, None, NOW.wall) {
                self.deliveries.push(delivery);
                continue;
            }
            let destination = self
                .accumulator
                .destination(&self.topic, partition, &record)
                .expect("a partition of the topic");
            match self
                .accumulator
                .append(&destination, &record, &mut page, None, NOW)
            {
                Ok(delivery) => self.deliveries.push(delivery),
                Err(AppendRefusal::NeedsPage(size)) => page = self.accumulator.try_page(size).ok(),
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }

    fn drain(&mut self) -> StampedBatch {
        self.ready_batches().pop().expect("one batch")
    }

    fn write_all(&mut self) {
        loop {
            let batches = self.ready_batches();
            if batches.is_empty() {
                return;
            }
            for batch in batches {
                self.drainer.complete(batch, Some(Offset(0)), None);
            }
        }
    }

    fn ready_batches(&mut self) -> Vec<StampedBatch> {
        self.drainer.collect();
        let leader = Leader {
            node: NodeId(1),
            epoch: None,
        };
        self.drainer.ready(NOW.instant, &|_| Some(leader));
        let drained = self
            .drainer
            .drain(NodeId(1), 1 << 20, NOW.instant, &mut self.sequences);
        drained.batches
    }
}

/// A turn of the core while many batches wait that it can do nothing for.
struct Crowd(Stage);

impl Crowd {
    const BATCH: usize = 1 << 10;

    /// So many partitions have an open batch each, and so has partition 0.
    fn waiting(partitions: u32) -> Self {
        let config = AccumulatorConfig {
            batch_size: Self::BATCH,
            buffer_memory: (partitions as usize + 16) * Self::BATCH,
            linger: Duration::from_secs(3600),
            ..AccumulatorConfig::default()
        };
        let mut stage = Stage::with(partitions + 1, config);
        stage.value = vec![b'v'; Self::BATCH * 9 / 10];
        for partition in 0..=partitions {
            stage.append(Some(PartitionId(partition as i32)), 1);
            stage.deliveries.clear();
        }
        assert!(stage.ready_batches().is_empty(), "they wait for an hour");
        Self(stage)
    }

    fn print(&mut self) {
        let (mut idle, mut busy) = (Room::default(), Room::default());
        for _ in 0..ROUNDS {
            idle.enter(|| assert!(self.0.ready_batches().is_empty()));
            // It finds no room behind the one before, whose batch is full by that.
            self.0.append(Some(PartitionId(0)), 1);
            self.0.deliveries.clear();
            let batch = busy.enter(|| self.0.drain());
            self.0.drainer.complete(batch, Some(Offset(0)), None);
        }
        idle.print("turn with nothing to send", 1);
        busy.print("turn with one full batch, its checksum included", 1);
    }
}

/// Stamps as an idempotent producer's.
struct Sequences(Vec<Sequence>);

impl DrainGate for Sequences {
    fn may_drain(&mut self, _partition: PartitionIndex, _stamped: Option<&Stamp>) -> bool {
        true
    }

    fn stamp(&mut self, partition: PartitionIndex, records: u32) -> Stamp {
        let next = &mut self.0[partition.position()];
        let base_sequence = *next;
        *next = next.advanced_by(records);
        Stamp::Sequenced {
            identity: Identity {
                id: ProducerId(7),
                epoch: ProducerEpoch(0),
            },
            base_sequence,
            scope: StampScope::Idempotent,
        }
    }
}

fn frame(batch: &StampedBatch) -> Vec<Bytes> {
    let partitions = [ProducePartition {
        topic: "orders",
        topic_id: TopicId::ZERO,
        partition: PartitionId(0),
        batch: batch.bytes(),
    }];
    let frame = ProduceFrame {
        version: PRODUCE,
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        partitions: &partitions,
    };
    frame.encode(1, Some("benches"))
}

fn answer() -> Bytes {
    let response = ProduceResponse {
        responses: vec![ProduceResponseTopic {
            name: "orders".to_owned(),
            partition_responses: vec![ProduceResponsePartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = encode_response(ApiKey::Produce, PRODUCE, 1, &response);
    frame.slice(4..)
}
