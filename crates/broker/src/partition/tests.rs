//! Markers at a partition (B-80, B-92): which are accepted, and what they leave behind.

use std::sync::Arc;

use kommit_protocol::batch::{Attributes, HeaderFields, RecordFields};
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId, Sequence, TopicPartition};

use super::*;
use crate::coordinator::interface::TransactionVersion::{self, V1, V2};

const ID: ProducerId = ProducerId(7);

#[derive(Debug)]
struct Scene {
    partition: Partition,
    config: TopicConfig,
    wall: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self {
            partition: Partition::new(vec![NodeId(1)]),
            config: TopicConfig::default(),
            wall: Timestamp(1_000_000),
        }
    }

    /// The coordinator agrees to a batch.
    fn verify(&mut self, epoch: i16, sequence: i32) -> (IncomingBatch, Proof) {
        let batch = transactional(epoch, sequence);
        let guard = self
            .partition
            .start_verification(&batch, ClientRules::V1, Instant::ORIGIN);
        let guard = guard.expect("the epoch is not behind");
        (batch, guard.map_or(Proof::NotNeeded, Proof::Verified))
    }

    fn append(&mut self, (batch, proof): &(IncomingBatch, Proof)) -> Result<i64, ErrorCode> {
        let context = circumstances(&self.config, self.wall);
        let appended = self.partition.append(batch, *proof, &context);
        appended
            .map(|place| place.base_offset.0)
            .map_err(|refusal| refusal.code)
    }

    /// A batch that the coordinator agreed to a moment ago.
    fn produce(&mut self, epoch: i16, sequence: i32) {
        let verified = self.verify(epoch, sequence);
        self.append(&verified).expect("the next in sequence");
    }

    fn end(
        &mut self,
        rules: TransactionVersion,
        epoch: i16,
        coordinator_epoch: i32,
        outcome: MarkerOutcome,
    ) -> Result<i64, ErrorCode> {
        let marker = MarkerWrite {
            transactional_id: Arc::from("t"),
            topic_partition: TopicPartition::new("topic", 0),
            identity: Identity {
                id: ID,
                epoch: ProducerEpoch(epoch),
            },
            outcome,
            coordinator_epoch,
            transaction_version: rules,
        };
        let context = circumstances(&self.config, self.wall);
        self.partition
            .append_marker(&marker, &context)
            .map(|offset| offset.0)
    }

    fn commit(&mut self, rules: TransactionVersion, epoch: i16) -> Result<i64, ErrorCode> {
        self.end(rules, epoch, 0, MarkerOutcome::Commit)
    }

    fn entry(&self) -> &producers::ProducerEntry {
        self.partition.producers().entry(ID).expect("it is known")
    }
}

fn circumstances(config: &TopicConfig, wall: Timestamp) -> AppendContext<'_> {
    AppendContext {
        config,
        storage: Storage::Memory,
        now: Now {
            instant: Instant::ORIGIN,
            wall,
        },
        replicated_at: Instant::ORIGIN,
        room: u64::MAX,
        most_producers: 10,
    }
}

fn transactional(epoch: i16, sequence: i32) -> IncomingBatch {
    let fields = RecordFields {
        offset_delta: 0,
        timestamp_delta: 0,
        key: None,
        value: Some(b"v"),
        headers: &[],
    };
    let mut records = Vec::new();
    batch::put_record(&mut records, &fields);
    let fields = HeaderFields {
        attributes: Attributes::default().transactional(),
        base_timestamp: Timestamp(1_000_000),
        max_timestamp: Timestamp(1_000_000),
        producer_id: ID,
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence::new(sequence),
        last_offset_delta: 0,
        record_count: 1,
        ..HeaderFields::default()
    };
    IncomingBatch::parse(&batch::encode_batch(&fields, &records), 9).expect("a whole batch")
}

/// B-80: a batch that was verified before its transaction ended does not open it again.
#[test]
fn a_marker_makes_an_earlier_verification_worthless() {
    let mut scene = Scene::new();
    let late = scene.verify(0, 0);
    assert_eq!(scene.commit(V1, 0), Ok(0));
    assert_eq!(scene.append(&late), Err(ErrorCode::InvalidTxnState));
    let again = scene.verify(0, 0);
    assert_eq!(scene.append(&again), Ok(1));
}

/// B-92: a TV1 marker has the epoch of the transaction, or a later one; the remembered batches stay as long as the epoch does.
#[test]
fn a_tv1_marker_may_have_the_same_epoch() {
    let mut scene = Scene::new();
    scene.produce(3, 0);
    assert_eq!(scene.commit(V1, 2), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(scene.commit(V1, 3), Ok(1));
    assert_eq!(scene.entry().open_since, None);
    assert_eq!(scene.entry().last_sequence(), Sequence::new(0));
    scene.produce(3, 1);
    assert_eq!(scene.commit(V1, 4), Ok(3));
    assert_eq!(
        (scene.entry().epoch, scene.entry().last_sequence()),
        (ProducerEpoch(4), None)
    );
}

/// B-92, B-93: a TV2 marker has a later epoch, unless it is repeated or the very last one.
#[test]
fn a_tv2_marker_has_a_later_epoch() {
    let mut scene = Scene::new();
    scene.produce(3, 0);
    assert_eq!(scene.commit(V2, 3), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(scene.commit(V2, 4), Ok(1));
    assert_eq!(scene.commit(V2, 4), Ok(2));
    assert_eq!(scene.commit(V2, 3), Err(ErrorCode::InvalidProducerEpoch));
    scene.produce(i16::MAX, 0);
    assert_eq!(scene.commit(V2, i16::MAX), Ok(4));
}

/// B-92: the marker leaves its time and the coordinator's epoch, behind which no other coordinator may write.
#[test]
fn a_marker_leaves_its_time_and_its_coordinator() {
    let mut scene = Scene::new();
    scene.produce(0, 0);
    scene.wall = Timestamp(1_000_500);
    assert_eq!(scene.end(V2, 1, 5, MarkerOutcome::Commit), Ok(1));
    assert_eq!(
        (scene.entry().coordinator_epoch, scene.entry().last_timestamp),
        (Some(5), Timestamp(1_000_500))
    );
    assert_eq!(
        scene.end(V2, 2, 4, MarkerOutcome::Commit),
        Err(ErrorCode::TransactionCoordinatorFenced)
    );
}

/// B-92, B-113: an abort is listed when it ended records, and written even where there are none.
#[test]
fn an_abort_is_listed_where_it_ended_something() {
    let mut scene = Scene::new();
    assert_eq!(scene.end(V1, 0, 0, MarkerOutcome::Abort), Ok(0));
    assert_eq!(scene.partition.visibility().index(), []);
    scene.produce(0, 0);
    assert_eq!(scene.partition.last_stable_offset(), Offset(1));
    assert_eq!(scene.end(V1, 0, 0, MarkerOutcome::Abort), Ok(2));
    let listed = AbortedTransaction {
        producer_id: ID,
        first_offset: Offset(1),
        marker_offset: Offset(2),
        last_stable_offset: Offset(3),
    };
    assert_eq!(scene.partition.visibility().index(), [listed]);
}
