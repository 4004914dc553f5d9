//! What a produce is checked for, and what its answer says.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit_broker::BrokerConfig;
use kommit_broker::config::{CleanupPolicy, TimestampType, TopicConfig};
use kommit_protocol::batch::{self, BatchView, TimestampType as StoredType};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId};

use crate::scene::{Batch, Scene, TOPIC, TV2, only_partition, partition_0};

fn code_of(scene: &mut Scene, records: Bytes) -> (ErrorCode, i64) {
    let connection = scene.connect();
    let answer = only_partition(scene.ask(connection, &Batch::plain().request_of(records), TV2));
    (answer.error_code, answer.log_start_offset)
}

fn changed(batch: &Batch, at: usize, byte: u8) -> Bytes {
    let mut bytes = BytesMut::from(batch.bytes().as_ref());
    bytes[at] = byte;
    bytes.freeze()
}

/// B-34: the offset is the log end before; offset and leader epoch are written into the stored batch.
#[test]
fn an_append_gets_the_offset_of_the_log_end() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.produce(connection, &Batch::plain().records(3));
    let answer = scene.produce(connection, &Batch::plain());
    assert_eq!(
        (
            answer.base_offset,
            answer.log_append_time_ms,
            answer.log_start_offset
        ),
        (3, -1, 0)
    );

    let log = scene.core.log(&partition_0()).expect("the topic exists");
    let stored = BatchView::parse(&log[1].bytes).expect("a whole batch");
    assert_eq!(stored.header.base_offset.0, 3);
    stored
        .verify_crc()
        .expect("the checksum does not cover the offset");
}

/// B-24, B-31, B-35: one whole batch of format 2, with a right checksum.
#[test]
fn malformed_records_are_refused_with_the_code_of_their_fault() {
    let mut scene = Scene::new();
    let good = Batch::plain().bytes();
    let followed_by = |extra: &[u8]| Bytes::from([good.as_ref(), extra].concat());
    let cases = [
        ("no batch", Bytes::new(), ErrorCode::InvalidRecord, -1),
        ("two batches", followed_by(&good), ErrorCode::InvalidRecord, -1),
        ("cut", good.slice(..good.len() - 1), ErrorCode::InvalidRecord, -1),
        (
            "magic 1",
            changed(&Batch::plain(), 16, 1),
            ErrorCode::InvalidRecord,
            -1,
        ),
        (
            "magic 3",
            changed(&Batch::plain(), 16, 3),
            ErrorCode::CorruptMessage,
            -1,
        ),
        (
            "checksum",
            changed(&Batch::plain(), 20, 0),
            ErrorCode::CorruptMessage,
            -1,
        ),
        (
            "17 stray bytes",
            followed_by(&[0; 17]),
            ErrorCode::CorruptMessage,
            -1,
        ),
        (
            "base offset",
            changed(&Batch::plain(), 7, 1),
            ErrorCode::InvalidRecord,
            0,
        ),
    ];
    for (what, records, code, log_start) in cases {
        assert_eq!(code_of(&mut scene, records), (code, log_start), "{what}");
    }
    assert_eq!(code_of(&mut scene, followed_by(&[0; 5])).0, ErrorCode::None);
    assert_eq!(scene.log_len(), 1);
}

/// The batch with other bytes in its header, and a checksum that fits.
fn forged(batch: &Batch, at: usize, with: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(batch.bytes().as_ref());
    bytes[at..at + with.len()].copy_from_slice(with);
    let records = batch::records_crc(&bytes[61..]);
    batch::finish_crc(&mut bytes, records);
    bytes.freeze()
}

/// B-32: what only brokers write, and headers that contradict themselves.
#[test]
fn a_batch_that_no_client_may_write_is_an_invalid_record() {
    let mut scene = Scene::new();
    let (plain, idempotent) = (Batch::plain().records(2), Batch::of(7, 0, 0));
    for (what, records) in [
        ("a control batch", forged(&plain, 21, &[0, 0x20])),
        ("no records", forged(&plain, 57, &[0; 4])),
        ("a last delta below count - 1", forged(&plain, 23, &[0; 4])),
        ("a last delta above count - 1", forged(&plain, 23, &[0, 0, 0, 2])),
        ("no sequence", forged(&idempotent, 53, &[0xff; 4])),
    ] {
        assert_eq!(code_of(&mut scene, records).0, ErrorCode::InvalidRecord, "{what}");
    }
    assert_eq!(scene.log_len(), 0);
}

/// B-32: an epoch of -1 is an epoch, and a transactional batch without producer id goes unverified.
#[test]
fn what_kafka_does_not_check_is_appended() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let nobody = Batch {
        transactional_id: Some("t".to_owned()),
        ..Batch::plain()
    };
    for batch in [Batch::of(7, -1, 3), nobody] {
        assert_eq!(scene.produce(connection, &batch).error_code, ErrorCode::None);
    }
    assert_eq!(scene.log_len(), 2);
}

/// B-26: one request speaks for one producer; otherwise none of its batches is written.
#[test]
fn transactional_batches_of_two_producers_are_refused_together() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let (id, epoch) = scene.initialize(connection, "t");
    let mut request = Batch::in_transaction((id, epoch), 0).request();
    let stranger = Batch::in_transaction((ProducerId(id.0 + 1), epoch), 0).bytes();
    request.topic_data[0]
        .partition_data
        .push(ProduceRequestPartition {
            index: PartitionId(1),
            records: Some(stranger),
        });
    let response = scene.ask(connection, &request, TV2);
    let partitions = &response.responses[0].partition_responses;
    let codes: Vec<_> = partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidProducerIdMapping; 2]);
    assert_eq!(scene.log_len(), 0);
}

/// B-31: the topic bounds the size of a batch.
#[test]
fn a_batch_above_the_topics_limit_is_too_large() {
    let topic_defaults = TopicConfig {
        max_message_bytes: 70,
        ..TopicConfig::default()
    };
    let mut scene = Scene::with(BrokerConfig {
        topic_defaults,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let answer = scene.produce(connection, &Batch::plain().records(4));
    assert_eq!(
        (answer.error_code, answer.log_start_offset),
        (ErrorCode::MessageTooLarge, -1)
    );
    assert_eq!(
        scene.produce(connection, &Batch::plain()).error_code,
        ErrorCode::None
    );
}

/// B-33: a compacted topic needs keys, a create-time topic timestamps near now; the answer lists the records.
#[test]
fn bad_records_are_listed_and_the_batch_is_refused() {
    let topic_defaults = TopicConfig {
        cleanup_policy: CleanupPolicy::Compact,
        ..TopicConfig::default()
    };
    let mut scene = Scene::with(BrokerConfig {
        topic_defaults,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let keyless = scene.produce(
        connection,
        &Batch {
            key: None,
            ..Batch::plain()
        }
        .records(2),
    );
    assert_eq!(
        (keyless.error_code, keyless.log_start_offset),
        (ErrorCode::InvalidRecord, 0)
    );
    let indexes: Vec<i32> = keyless
        .record_errors
        .iter()
        .map(|error| error.batch_index)
        .collect();
    assert_eq!(indexes, [0, 1]);

    let late = scene.produce(
        connection,
        &Batch {
            timestamp: 1_000_000 + 3_600_001,
            ..Batch::plain()
        },
    );
    assert_eq!(late.error_code, ErrorCode::InvalidTimestamp);
    assert_eq!(scene.log_len(), 0);
}

/// B-34: a log-append-time topic writes its own time, and the checksum fits again.
#[test]
fn a_log_append_time_topic_writes_the_brokers_time() {
    let topic_defaults = TopicConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..TopicConfig::default()
    };
    let mut scene = Scene::with(BrokerConfig {
        topic_defaults,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let answer = scene.produce(
        connection,
        &Batch {
            timestamp: 5,
            ..Batch::plain()
        },
    );
    assert_eq!(answer.log_append_time_ms, 1_000_000);

    let log = scene.core.log(&partition_0()).expect("the topic exists");
    let stored = BatchView::parse(&log[0].bytes).expect("a whole batch");
    stored.verify_crc().expect("a new checksum");
    assert_eq!(
        stored.header.attributes.timestamp_type(),
        StoredType::LogAppendTime
    );
    assert_eq!(stored.header.max_timestamp.0, 1_000_000);
}

/// B-25: acks are all, one or none.
#[test]
fn impossible_acks_are_refused() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let answer = scene.produce(
        connection,
        &Batch {
            acks: 2,
            ..Batch::plain()
        },
    );
    assert_eq!(answer.error_code, ErrorCode::InvalidRequiredAcks);
}

/// B-27: another node says who leads, and where that is.
#[test]
fn a_node_that_does_not_lead_hints_at_the_leader() {
    let mut scene = Scene::with(BrokerConfig {
        nodes: 2,
        ..BrokerConfig::default()
    });
    scene
        .core
        .move_leader(&partition_0(), Some(NodeId(2)))
        .expect("the topic exists");
    let connection = scene.connect();
    let response = scene.ask(connection, &Batch::plain().request(), TV2);
    assert_eq!(response.node_endpoints[0].node_id, NodeId(2));
    let answer = only_partition(response);
    assert_eq!(answer.error_code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(
        (
            answer.current_leader.leader_id,
            answer.current_leader.leader_epoch
        ),
        (NodeId(2), LeaderEpoch(1))
    );
}

/// B-23, B-28: unknown ids, unknown names, internal topics.
#[test]
fn unknown_and_internal_topics_are_refused() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let mut request = Batch::plain().request();
    request.topic_data[0].topic_id = TopicId([9; 16]);
    assert_eq!(
        only_partition(scene.ask(connection, &request, 13)).error_code,
        ErrorCode::UnknownTopicId
    );
    request.topic_data[0].name = "nothing".to_owned();
    let answer = only_partition(scene.ask(connection, &request, TV2));
    assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition);

    scene.initialize(connection, "t");
    request.topic_data[0].name = "__transaction_state".to_owned();
    let answer = only_partition(scene.ask(connection, &request, TV2));
    assert_eq!(answer.error_code, ErrorCode::InvalidTopicException);
}

/// B-36: partitions of one request have their own results. In version 13 they are named by id.
#[test]
fn results_are_independent() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let mut request = Batch::plain().request();
    request.topic_data[0].topic_id = scene.core.topic_id(TOPIC).expect("the topic exists");
    let bad = ProduceRequestPartition {
        index: PartitionId(1),
        records: Some(Bytes::new()),
    };
    request.topic_data[0].partition_data.push(bad);
    let response = scene.ask(connection, &request, 13);
    let codes: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|entry| entry.error_code)
        .collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidRecord]);
}

/// B-29: a topic with fewer replicas than `min.insync.replicas` asks for needs those that it has.
#[test]
fn a_topic_needs_no_more_replicas_in_sync_than_it_has() {
    let topic_defaults = TopicConfig {
        min_insync_replicas: 2,
        ..TopicConfig::default()
    };
    let mut scene = Scene::with(BrokerConfig {
        topic_defaults,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let written = scene.produce(connection, &Batch::plain());
    assert_eq!(written.error_code, ErrorCode::None);
}

/// B-29: too few replicas in sync refuse acks = all, and only that.
#[test]
fn too_few_replicas_in_sync_refuse_acks_all() {
    let topic_defaults = TopicConfig {
        min_insync_replicas: 2,
        ..TopicConfig::default()
    };
    let mut scene = Scene::with(BrokerConfig {
        nodes: 2,
        topic_defaults,
        ..BrokerConfig::default()
    });
    scene
        .core
        .move_leader(&partition_0(), Some(NodeId(1)))
        .expect("the topic exists");
    scene
        .core
        .set_in_sync(&partition_0(), vec![NodeId(1)])
        .expect("the topic exists");
    let connection = scene.connect();
    assert_eq!(
        scene.produce(connection, &Batch::plain()).error_code,
        ErrorCode::NotEnoughReplicas
    );
    assert_eq!(
        scene
            .produce(
                connection,
                &Batch {
                    acks: 1,
                    ..Batch::plain()
                }
            )
            .error_code,
        ErrorCode::None
    );
}

/// B-30: acks = all waits for replication; when that takes too long the records stay nevertheless.
#[test]
fn acks_all_waits_for_replication_up_to_the_timeout() {
    let mut scene = Scene::with(BrokerConfig {
        replication_delay: Duration::from_millis(400),
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    scene.send(connection, &Batch::plain().request(), TV2);
    scene.pass(399);
    assert!(scene.raw_answer(connection).is_none());
    scene.pass(1);
    let (_, response) = scene
        .answer::<ProduceRequest>(connection, TV2)
        .expect("replicated");
    assert_eq!(only_partition(response).error_code, ErrorCode::None);

    scene
        .core
        .configure(|config| config.replication_delay = Duration::from_millis(5000));
    scene.send(connection, &Batch::plain().request(), TV2);
    scene.pass(1000);
    let (_, response) = scene
        .answer::<ProduceRequest>(connection, TV2)
        .expect("timed out");
    assert_eq!(only_partition(response).error_code, ErrorCode::RequestTimedOut);
    assert_eq!(scene.log_len(), 2);
}
