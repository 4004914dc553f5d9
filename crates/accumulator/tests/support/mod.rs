//! A scene: both halves of an accumulator, a topic, a clock that is moved by hand, and a gate that does as it is told.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use kommit_accumulator::{
    Accumulator, AccumulatorConfig, AppendRefusal, Delivery, DrainGate, Drained, Drainer, Leader, Page,
    Ready, RecordRef, SendError, SendErrorKind, Stamp, StampScope, StampedBatch, TopicQueues, accumulator,
};
use kommit_protocol::backoff::Backoff;
use kommit_protocol::batch::BatchView;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{
    Identity, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    Timestamp, TopicPartition,
};

pub const NODE: NodeId = NodeId(1);
pub const IDENTITY: Identity = Identity {
    id: ProducerId(7),
    epoch: ProducerEpoch(0),
};
pub const LINGER: Duration = Duration::from_millis(5);
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// Larger than any batch of the tests.
pub const MAX_SIZE: usize = 1 << 20;

/// Room for a few small records: a record of one byte takes 8 bytes behind a header of 61.
pub const BATCH_SIZE: usize = 100;

pub struct Scene {
    pub accumulator: Arc<Accumulator>,
    pub drainer: Drainer,
    pub topic: Arc<TopicQueues>,
    pub gate: ScriptedGate,
    /// Who leads which partition; partition 0 … are led by [`NODE`] in the beginning.
    pub leaders: BTreeMap<i32, Leader>,
    rings: Arc<AtomicUsize>,
    now: Instant,
}

pub fn config() -> AccumulatorConfig {
    AccumulatorConfig {
        batch_size: BATCH_SIZE,
        buffer_memory: 100 * BATCH_SIZE,
        linger: LINGER,
        delivery_timeout: TIMEOUT,
        retry_backoff: Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_millis(100),
        },
        seed: 7,
        ..AccumulatorConfig::default()
    }
}

pub fn scene(partitions: u32) -> Scene {
    scene_with(partitions, config())
}

pub fn scene_with(partitions: u32, config: AccumulatorConfig) -> Scene {
    let rings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rings);
    let (accumulator, drainer) = accumulator(config, move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    accumulator.gate().open();
    let topic = accumulator.topic("orders", partitions);
    let leader = Leader {
        node: NODE,
        epoch: Some(LeaderEpoch(1)),
    };
    let leaders = (0..partitions)
        .map(|partition| (i32::try_from(partition).unwrap(), leader))
        .collect();
    let now = Instant::from_millis(1_000);
    Scene {
        accumulator,
        drainer,
        topic,
        gate: ScriptedGate::default(),
        leaders,
        rings,
        now,
    }
}

pub fn record(value: &[u8]) -> RecordRef<'_> {
    RecordRef {
        value: Some(value),
        ..RecordRef::default()
    }
}

impl Scene {
    pub fn now(&self) -> Now {
        Now {
            instant: self.now,
            wall: Timestamp(1_700_000_000_000),
        }
    }

    pub fn instant(&self) -> Instant {
        self.now
    }

    pub fn pass(&mut self, duration: Duration) {
        self.now += duration;
    }

    pub fn rings(&self) -> usize {
        self.rings.load(Ordering::SeqCst)
    }

    pub fn try_send(
        &self,
        partition: Option<i32>,
        record: &RecordRef<'_>,
        page: &mut Option<Page>,
    ) -> Result<Delivery, AppendRefusal> {
        let destination = self
            .accumulator
            .destination(&self.topic, partition.map(PartitionId), record)?;
        self.accumulator
            .append(&destination, record, page, None, self.now())
    }

    /// Appends a record, with memory from the pool when it is needed.
    pub fn send_record(&self, partition: Option<i32>, record: &RecordRef<'_>) -> Delivery {
        let named = partition.map(PartitionId);
        let destination = self.accumulator.destination(&self.topic, named, record).unwrap();
        let mut page = None;
        loop {
            match self
                .accumulator
                .append(&destination, record, &mut page, None, self.now())
            {
                Err(AppendRefusal::NeedsPage(size)) => page = Some(self.accumulator.try_page(size).unwrap()),
                other => return other.unwrap(),
            }
        }
    }

    pub fn send(&self, partition: i32, value: &[u8]) -> Delivery {
        self.send_record(Some(partition), &record(value))
    }

    /// Appends until the partition has one more full batch, and returns how many records that took.
    pub fn fill_batch(&self, partition: i32) -> usize {
        let mut sent = 0;
        while self.try_send(Some(partition), &record(b"x"), &mut None).is_ok() {
            sent += 1;
        }
        sent
    }

    pub fn ready(&mut self) -> Ready {
        self.drainer.collect();
        let leaders = self.leaders.clone();
        let leader = |at: &TopicPartition| leaders.get(&at.partition.0).copied();
        self.drainer.ready(self.now, &leader)
    }

    pub fn drain(&mut self, max_size: usize) -> Drained {
        self.drainer.drain(NODE, max_size, self.now, &mut self.gate)
    }

    /// What the leader of all partitions gets now.
    pub fn sent(&mut self) -> Vec<StampedBatch> {
        self.ready();
        self.drain(MAX_SIZE).batches
    }

    /// The one batch that is sent now.
    pub fn sent_one(&mut self) -> StampedBatch {
        let mut batches = self.sent();
        assert_eq!(batches.len(), 1, "one batch was expected");
        batches.remove(0)
    }

    pub fn index(&mut self, partition: i32) -> PartitionIndex {
        self.drainer.collect();
        (0..64)
            .map(PartitionIndex)
            .find(|index| self.drainer.topic_partition(*index).partition.0 == partition)
            .unwrap()
    }
}

/// Stamps batches in sequence, and holds back what it was told to.
#[derive(Debug, Default)]
pub struct ScriptedGate {
    pub blocked: BTreeSet<PartitionIndex>,
    pub next: BTreeMap<PartitionIndex, Sequence>,
    pub anonymous: bool,
    pub asked_with_stamp: Vec<Option<Stamp>>,
}

impl DrainGate for ScriptedGate {
    fn may_drain(&mut self, partition: PartitionIndex, stamped: Option<&Stamp>) -> bool {
        self.asked_with_stamp.push(stamped.copied());
        !self.blocked.contains(&partition)
    }

    fn stamp(&mut self, partition: PartitionIndex, records: u32) -> Stamp {
        if self.anonymous {
            return Stamp::Anonymous;
        }
        let next = self.next.entry(partition).or_insert(Sequence::ZERO);
        let base_sequence = *next;
        *next = next.advanced_by(records);
        Stamp::Sequenced {
            identity: IDENTITY,
            base_sequence,
            scope: StampScope::Transactional,
        }
    }
}

pub fn values(batch: &StampedBatch) -> Vec<Vec<u8>> {
    let view = BatchView::parse(&batch.bytes()).unwrap();
    view.verify_crc().unwrap();
    let records = view.records(1 << 20).unwrap();
    records
        .map(|record| record.unwrap().value.unwrap().to_vec())
        .collect()
}

pub fn sequences(batches: &[StampedBatch]) -> Vec<i32> {
    batches
        .iter()
        .map(|batch| batch.stamp().base_sequence().unwrap().number())
        .collect()
}

pub fn partitions(batches: &[StampedBatch]) -> Vec<i32> {
    batches
        .iter()
        .map(|batch| batch.topic_partition().partition.0)
        .collect()
}

pub fn error_of(delivery: &Delivery) -> SendError {
    delivery
        .outcome()
        .expect("the record has an outcome")
        .expect_err("the record failed")
}

pub fn aborted() -> SendError {
    SendError::new(SendErrorKind::TransactionAborted)
}

/// A waker that counts.
#[derive(Debug, Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
