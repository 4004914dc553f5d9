//! What a partition remembers of its producers, where that comes from, and who may see it.

use std::time::Duration;

use kommit_broker::check::FaultKind;
use kommit_broker::inspect::ProducerEntry;
use kommit_broker::{BrokerConfig, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::scene::{Batch, Scene, TOPIC, partition_0};

fn entry(scene: &Scene, id: i64) -> Option<ProducerEntry> {
    let mut producers = scene.core.producers(&partition_0()).expect("the topic exists");
    producers.remove(&ProducerId(id))
}

fn three_nodes() -> Scene {
    Scene::with(BrokerConfig {
        nodes: 3,
        ..BrokerConfig::default()
    })
}

fn lead_by(scene: &mut Scene, node: i32) {
    let moved = scene.core.move_leader(&partition_0(), Some(NodeId(node)));
    moved.expect("the topic exists");
}

/// B-38: five batches stay, each with last sequence, last offset, delta and time; the first sequence follows, also behind the
/// largest number.
#[test]
fn the_last_five_batches_of_a_producer_are_remembered() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let sequences = [i32::MAX - 4, i32::MAX - 2, i32::MAX, 1, 3, 5];
    for sequence in sequences {
        scene.produce(connection, &Batch::of(7, 2, sequence).records(2));
    }
    let entry = entry(&scene, 7).expect("the producer is known");
    assert_eq!((entry.epoch, entry.coordinator_epoch), (ProducerEpoch(2), None));
    assert_eq!(
        (entry.last_timestamp, entry.open_since),
        (Timestamp(1_000_000), None)
    );
    assert_eq!(entry.last_sequence(), Sequence::new(6));
    assert_eq!(entry.batches.len(), 5);
    for (batch, sequence) in entry.batches.iter().zip(&sequences[1..]) {
        assert_eq!(batch.first_sequence().number(), *sequence);
        assert_eq!((batch.offset_delta, batch.timestamp), (1, Timestamp(1_000_000)));
    }
    assert_eq!(entry.batches[1].last_sequence, Sequence::ZERO);
    assert_eq!(entry.batches[4].last_offset, Offset(11));
}

/// B-39: plain batches, transactions that ended and one that is open: the log says all of it to a new leader.
#[test]
fn a_new_leader_reads_the_producers_from_the_log() {
    let mut scene = three_nodes();
    let connection = scene.connect();
    let coordinator = scene.coordinator("t");
    let first = scene.initialize(coordinator, "t");
    scene.produce(connection, &Batch::of(700, 4, 0).records(3));
    scene.produce(connection, &Batch::in_transaction(first, 0));
    let ended = scene.end(coordinator, first, true, 5);
    let identity = (ended.producer_id, ended.producer_epoch);
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let before = scene.core.producers(&partition_0());
    let known = before.clone().expect("the topic exists");
    assert!(known[&identity.0].open_since.is_some() && known[&identity.0].coordinator_epoch.is_some());

    lead_by(&mut scene, 2);
    assert_eq!(scene.core.producers(&partition_0()), before);
    let other = scene.connect_to(2);
    let duplicate = scene.produce(other, &Batch::of(700, 4, 0).records(3));
    assert_eq!(
        (duplicate.error_code, duplicate.base_offset),
        (ErrorCode::None, 0)
    );
    let late = scene.produce(other, &Batch::in_transaction(first, 1));
    assert_eq!(late.error_code, ErrorCode::InvalidProducerEpoch);
}

/// B-39, B-51: what DeleteRecords took out of the log is nothing that a new leader could know; B-46: then any sequence goes.
#[test]
fn a_producer_whose_batches_are_gone_is_unknown_to_a_new_leader() {
    let mut scene = three_nodes();
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, 0));
    scene.produce(connection, &Batch::of(8, 0, 0));
    let deleted = scene.core.delete_records(&partition_0(), Some(Offset(1)));
    assert_eq!(deleted, Ok(Offset(1)));
    assert!(entry(&scene, 7).is_some());

    lead_by(&mut scene, 2);
    assert!(entry(&scene, 7).is_none() && entry(&scene, 8).is_some());
    let other = scene.connect_to(2);
    let answer = scene.produce(other, &Batch::of(7, 0, 5));
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::None, 2));
}

/// B-39, B-107: the time of its last batch stands in the log too, so a producer that has expired stays away.
#[test]
fn an_expired_producer_does_not_come_back_with_a_new_leader() {
    let mut scene = Scene::with(BrokerConfig {
        nodes: 3,
        producer_id_expiration: Duration::from_secs(60),
        producer_id_expiration_interval: Duration::from_secs(10),
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, 0));
    scene.pass(80_000);
    assert!(entry(&scene, 7).is_none());
    lead_by(&mut scene, 2);
    scene.turn();
    assert!(entry(&scene, 7).is_none());
    let other = scene.connect_to(2);
    assert_eq!(
        scene.produce(other, &Batch::of(7, 0, 9)).error_code,
        ErrorCode::None
    );
    scene.expected_faults = vec![FaultKind::Sequence];
}

/// B-50: a producer id without state is no error; only a rule says UNKNOWN_PRODUCER_ID, with whatever log start (B-121).
#[test]
fn only_a_rule_answers_unknown_producer_id() {
    let mut scene = three_nodes();
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, 0));
    scene
        .core
        .delete_records(&partition_0(), None)
        .expect("all is replicated");
    lead_by(&mut scene, 1);
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 40)).error_code,
        ErrorCode::None
    );
    let say_unknown = |response: &mut kommit_broker::ResponseMessage| {
        if let kommit_broker::ResponseMessage::Produce(response) = response {
            let partition = &mut response.responses[0].partition_responses[0];
            partition.error_code = ErrorCode::UnknownProducerId;
            partition.log_start_offset = 12;
        }
    };
    scene.rule(ApiKey::Produce, Verdict::edit(say_unknown));
    let answer = scene.produce(connection, &Batch::of(7, 0, 41));
    assert_eq!(
        (answer.error_code, answer.log_start_offset),
        (ErrorCode::UnknownProducerId, 12)
    );
}

/// B-52: an administrator sees id, epoch, last sequence and time, the coordinator's epoch, and where a transaction began.
#[test]
fn an_administrator_sees_the_producers_of_a_partition() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0).records(2));
    let describe = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: TOPIC.to_owned(),
            partition_indexes: vec![PartitionId(0)],
        }],
    };
    let producer = |epoch: i16| DescribeProducersResponseProducer {
        producer_id: identity.0,
        producer_epoch: i32::from(epoch),
        last_timestamp: 1_000_000,
        ..Default::default()
    };
    let shown = |scene: &mut Scene| {
        let mut response = scene.ask(connection, &describe, 0);
        response.topics.remove(0).partitions.remove(0).active_producers
    };
    let open = DescribeProducersResponseProducer {
        last_sequence: 1,
        coordinator_epoch: -1,
        current_txn_start_offset: 0,
        ..producer(0)
    };
    assert_eq!(shown(&mut scene), [open]);
    scene.end(connection, identity, false, 5);
    let ended = DescribeProducersResponseProducer {
        last_sequence: -1,
        coordinator_epoch: 0,
        current_txn_start_offset: -1,
        ..producer(1)
    };
    assert_eq!(shown(&mut scene), [ended]);
}
