//! What consumers see, and when: watermarks, isolation, waiting, offsets.

use std::time::Duration;

use kommit_broker::BrokerConfig;
use kommit_protocol::batch;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{LeaderEpoch, NodeId, PartitionId, ProducerEpoch, ProducerId, TopicPartition};

use crate::scene::{Batch, Scene, TOPIC, TV2, fetch_from};

const UNCOMMITTED: i8 = 0;
const COMMITTED: i8 = 1;

fn batches_in(answer: &FetchResponsePartition) -> Vec<i64> {
    let records = answer.records.clone().unwrap_or_default();
    batch::batches(records)
        .map(|view| view.expect("whole batches").header.base_offset.0)
        .collect()
}

/// A scene with one open transaction behind one plain record.
fn with_open_transaction() -> (Scene, (ProducerId, ProducerEpoch)) {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::plain());
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    scene.produce(connection, &Batch::plain());
    (scene, identity)
}

/// B-110 to B-112: an open transaction hides itself and everything behind it from read_committed.
#[test]
fn an_open_transaction_hides_what_is_behind_it() {
    let (mut scene, _) = with_open_transaction();
    let connection = scene.connect();
    let committed = scene.fetch(connection, &fetch_from(0, COMMITTED));
    assert_eq!(batches_in(&committed), [0]);
    assert_eq!((committed.high_watermark, committed.last_stable_offset), (3, 1));
    assert_eq!(committed.aborted_transactions, Some(vec![]));

    let all = scene.fetch(connection, &fetch_from(0, UNCOMMITTED));
    assert_eq!(batches_in(&all), [0, 1, 2]);
    assert_eq!(all.aborted_transactions, None);
}

/// B-111: a record outside transactions is decided at once, but seen only behind the transactions that were open before it; one that comes
/// before them is seen at once.
#[test]
fn a_plain_record_waits_for_the_transactions_before_it() {
    let (mut scene, identity) = with_open_transaction();
    let connection = scene.connect();
    let seen = |scene: &mut Scene| batches_in(&scene.fetch(connection, &fetch_from(0, COMMITTED)));
    let other = scene.initialize(connection, "u");
    let mut second = Batch::in_transaction(other, 0);
    second.transactional_id = Some("u".to_owned());
    scene.produce(connection, &second);
    scene.produce(connection, &Batch::plain());
    assert_eq!(seen(&mut scene), [0]);
    scene.end(connection, identity, true, 5);
    assert_eq!(seen(&mut scene), [0, 1, 2]);
    let request = EndTxnRequest {
        transactional_id: "u".to_owned(),
        producer_id: other.0,
        producer_epoch: other.1,
        committed: false,
    };
    scene.ask(connection, &request, 5);
    assert_eq!(seen(&mut scene), [0, 1, 2, 3, 4, 5, 6]);
}

/// B-99: the end of a transaction becomes visible partition by partition, with each marker.
#[test]
fn a_commit_becomes_visible_partition_by_partition() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let mut sent = Batch::in_transaction(identity, 0).request();
    let other = ProduceRequestPartition {
        index: PartitionId(1),
        ..sent.topic_data[0].partition_data[0].clone()
    };
    sent.topic_data[0].partition_data.push(other);
    scene.ask(connection, &sent, TV2);
    let slow = TopicPartition::new(TOPIC, 1);
    assert_eq!(scene.core.move_leader(&slow, None), Ok(()));
    assert_eq!(
        scene.end(connection, identity, true, 5).error_code,
        ErrorCode::None
    );
    let seen = |scene: &Scene, partition| {
        let found = scene.core.watermarks(&TopicPartition::new(TOPIC, partition));
        found.expect("it exists").last_stable_offset.0
    };
    assert_eq!((seen(&scene, 0), seen(&scene, 1)), (2, 0));
    assert_eq!(scene.core.move_leader(&slow, Some(NodeId(1))), Ok(()));
    scene.pass(100);
    assert_eq!((seen(&scene, 0), seen(&scene, 1)), (2, 2));
}

/// B-112, B-114: after an abort everything is delivered, the marker too, with the list to skip by.
#[test]
fn an_aborted_transaction_is_listed() {
    let (mut scene, identity) = with_open_transaction();
    let connection = scene.connect();
    scene.end(connection, identity, false, 5);
    let answer = scene.fetch(connection, &fetch_from(0, COMMITTED));
    assert_eq!(batches_in(&answer), [0, 1, 2, 3]);
    let aborted = FetchResponseAbortedTransaction {
        producer_id: identity.0,
        first_offset: 1,
    };
    assert_eq!(answer.aborted_transactions, Some(vec![aborted]));
}

/// B-113: committed transactions have no entry.
#[test]
fn a_committed_transaction_is_not_listed() {
    let (mut scene, identity) = with_open_transaction();
    let connection = scene.connect();
    scene.end(connection, identity, true, 5);
    let answer = scene.fetch(connection, &fetch_from(0, COMMITTED));
    assert_eq!(batches_in(&answer), [0, 1, 2, 3]);
    assert_eq!(answer.aborted_transactions, Some(vec![]));
}

/// B-115: a waiting read_committed fetch is answered when the marker lets it see more.
#[test]
fn a_waiting_fetch_is_answered_when_the_transaction_ends() {
    let (mut scene, identity) = with_open_transaction();
    let (consumer, producer) = (scene.connect(), scene.connect());
    let request = FetchRequest {
        max_wait_ms: 60_000,
        min_bytes: 1,
        ..fetch_from(1, COMMITTED)
    };
    scene.send(consumer, &request, 12);
    assert!(scene.raw_answer(consumer).is_none());

    scene.end(producer, identity, false, 5);
    let (_, response) = scene
        .answer::<FetchRequest>(consumer, 12)
        .expect("the marker woke it");
    let answer = &response.responses[0].partitions[0];
    assert_eq!(answer.aborted_transactions.as_ref().map(Vec::len), Some(1));
}

/// A fetch waits for `min_bytes`, and no longer than `max_wait_ms`.
#[test]
fn a_fetch_waits_for_min_bytes_up_to_max_wait() {
    let mut scene = Scene::new();
    let (consumer, producer) = (scene.connect(), scene.connect());
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        ..fetch_from(0, UNCOMMITTED)
    };
    scene.send(consumer, &request, 12);
    scene.pass(499);
    assert!(scene.raw_answer(consumer).is_none());
    scene.pass(1);
    assert!(scene.raw_answer(consumer).is_some());

    scene.send(consumer, &request, 12);
    scene.produce(producer, &Batch::plain());
    assert!(scene.raw_answer(consumer).is_some());
}

/// KIP-74: the first batch comes whole even when it is above the limits; others stay below.
#[test]
fn the_first_batch_is_never_cut_away() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.produce(connection, &Batch::plain());
    scene.produce(connection, &Batch::plain());
    let answer = scene.fetch(
        connection,
        &FetchRequest {
            max_bytes: 1,
            ..fetch_from(0, UNCOMMITTED)
        },
    );
    assert_eq!(batches_in(&answer), [0]);
}

/// B-112: offsets outside the log, unknown topics, old and future leader epochs.
#[test]
fn impossible_fetches_get_their_codes() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let outside = scene.fetch(connection, &fetch_from(1, COMMITTED));
    assert_eq!(
        (outside.error_code, outside.aborted_transactions),
        (ErrorCode::OffsetOutOfRange, None)
    );

    let mut unknown = fetch_from(0, COMMITTED);
    unknown.topics[0].topic = "nothing".to_owned();
    let unknown = scene.fetch(connection, &unknown);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(unknown.aborted_transactions, Some(vec![]));

    let mut future = fetch_from(0, COMMITTED);
    future.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(9);
    assert_eq!(
        scene.fetch(connection, &future).error_code,
        ErrorCode::UnknownLeaderEpoch
    );
}

/// B-110: the high watermark follows replication.
#[test]
fn records_are_visible_when_they_are_replicated() {
    let mut scene = Scene::with(BrokerConfig {
        replication_delay: Duration::from_millis(100),
        ..BrokerConfig::default()
    });
    let (producer, consumer) = (scene.connect(), scene.connect());
    scene.send(producer, &Batch::plain().request(), TV2);
    assert_eq!(
        scene.fetch(consumer, &fetch_from(0, UNCOMMITTED)).high_watermark,
        0
    );
    scene.pass(100);
    assert_eq!(
        scene.fetch(consumer, &fetch_from(0, UNCOMMITTED)).high_watermark,
        1
    );
}

/// B-116: latest is the last stable offset for read_committed, and the high watermark otherwise.
#[test]
fn list_offsets_answers_by_isolation() {
    let (mut scene, _) = with_open_transaction();
    let connection = scene.connect();
    let mut offset_of = |timestamp: i64, isolation_level: i8| {
        let request = ListOffsetsRequest {
            isolation_level,
            topics: vec![ListOffsetsRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![ListOffsetsRequestPartition {
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let response = scene.ask(connection, &request, 7);
        let entry = &response.topics[0].partitions[0];
        (entry.error_code, entry.offset)
    };
    assert_eq!(offset_of(-1, COMMITTED), (ErrorCode::None, 1));
    assert_eq!(offset_of(-1, UNCOMMITTED), (ErrorCode::None, 3));
    assert_eq!(offset_of(-2, COMMITTED), (ErrorCode::None, 0));
    // All records have the same time: the first of them counts.
    assert_eq!(offset_of(-3, COMMITTED), (ErrorCode::None, 0));
    assert_eq!(offset_of(1_000_000, UNCOMMITTED), (ErrorCode::None, 0));
    assert_eq!(offset_of(1_000_001, UNCOMMITTED), (ErrorCode::None, -1));
    assert_eq!(offset_of(-9, UNCOMMITTED).0, ErrorCode::UnsupportedVersion);
}

/// There are no sessions: a client that names one is told so, and goes on without.
#[test]
fn fetch_sessions_do_not_exist() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let fresh = FetchRequest {
        session_epoch: 0,
        ..fetch_from(0, UNCOMMITTED)
    };
    assert_eq!(scene.ask(connection, &fresh, 12).session_id, 0);
    let named = FetchRequest {
        session_id: 4,
        session_epoch: 1,
        ..fetch_from(0, UNCOMMITTED)
    };
    assert_eq!(
        scene.ask(connection, &named, 12).error_code,
        ErrorCode::FetchSessionIdNotFound
    );
}
