//! Restarts: what was acknowledged is there again, what was on its way is not.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit_broker::config::TopicConfig;
use kommit_broker::coordinator::TransactionLog;
use kommit_broker::inspect::BatchKind;
use kommit_broker::{BrokerConfig, ConnectionId, Recovery, TransactionVersion};
use kommit_protocol::batch::batches;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId};

use crate::scene::{Batch, Memory, Scene, TOPIC, TV1, fetch_from, partition_0};

const BOTH: [Memory; 2] = [Memory::Image, Memory::Pieces];

fn kept() -> BrokerConfig {
    BrokerConfig {
        data_directory: Some(PathBuf::from("not used by the core")),
        ..BrokerConfig::default()
    }
}

/// A scene with a transactional id, its coordinator's connection and its identity.
fn transactional(config: BrokerConfig) -> (Scene, ConnectionId, (ProducerId, ProducerEpoch)) {
    let mut scene = Scene::with(config);
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    (scene, connection, identity)
}

fn state(scene: &mut Scene) -> DescribeTransactionsResponseTransaction {
    let connection = scene.connect();
    let request = DescribeTransactionsRequest {
        transactional_ids: vec!["t".to_owned()],
    };
    let mut response = scene.ask(connection, &request, 0);
    response.transaction_states.remove(0)
}

fn next(ended: &EndTxnResponse) -> (ProducerId, ProducerEpoch) {
    assert_eq!(ended.error_code, ErrorCode::None);
    (ended.producer_id, ended.producer_epoch)
}

/// B-5, B-39: records, producers, aborted transactions and watermarks are as they were, read from the log alone; the leader has a
/// new epoch.
#[test]
fn the_log_and_what_it_says_survive_a_restart() {
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(kept());
        scene.produce(connection, &Batch::of(700, 0, 0).records(3));
        scene.produce(connection, &Batch::plain());
        for committed in [true, false] {
            let identity = (identity.0, ProducerEpoch(i16::from(!committed)));
            scene.produce(connection, &Batch::in_transaction(identity, 0));
            next(&scene.end(connection, identity, committed, 5));
        }
        scene.produce(
            connection,
            &Batch::in_transaction((identity.0, ProducerEpoch(2)), 0),
        );
        let shown = |scene: &Scene| {
            let core = &scene.core;
            (
                core.log(&partition_0()).expect("the topic exists"),
                core.producers(&partition_0()),
                core.aborted(&partition_0()),
                core.watermarks(&partition_0()),
                core.topic_id(TOPIC),
            )
        };
        let before = shown(&scene);
        assert_eq!(before.0.len(), 7);

        scene.restart(memory);
        assert_eq!(shown(&scene), before, "{memory:?}");
        let connection = scene.connect();
        let duplicate = scene.produce(connection, &Batch::of(700, 0, 0).records(3));
        assert_eq!(
            (duplicate.error_code, duplicate.base_offset),
            (ErrorCode::None, 0)
        );
        let mut fetched = scene.fetch(connection, &fetch_from(0, 1));
        let records = fetched.records.take().expect("records");
        assert_eq!(batches(records).count(), 6);
        assert_eq!(fetched.aborted_transactions.map_or(0, |list| list.len()), 1);
        let everything = MetadataRequest {
            topics: None,
            ..Default::default()
        };
        let metadata = scene.ask(connection, &everything, 12);
        let topic = metadata
            .topics
            .iter()
            .find(|topic| topic.name.as_deref() == Some(TOPIC));
        let partition = &topic.expect("the topic is there").partitions[0];
        assert_eq!(partition.leader_epoch, LeaderEpoch(2));
    }
}

/// B-5, B-58, B-95: an open transaction is open again, with everything that is known of its id, and can be committed.
#[test]
fn an_open_transaction_goes_on_behind_a_restart() {
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(kept());
        scene.produce(connection, &Batch::in_transaction(identity, 0));
        let before = state(&mut scene);
        assert_eq!(before.transaction_state, "Ongoing");
        scene.pass(30_000);

        scene.restart(memory);
        assert_eq!(state(&mut scene), before, "{memory:?}");
        let connection = scene.connect();
        let more = scene.produce(connection, &Batch::in_transaction(identity, 1));
        assert_eq!((more.error_code, more.base_offset), (ErrorCode::None, 1));
        next(&scene.end(connection, identity, true, 5));
        assert_eq!(
            scene
                .core
                .watermarks(&partition_0())
                .map(|marks| marks.last_stable_offset),
            Ok(Offset(3))
        );
    }
}

/// B-5, B-67: a transition that is not in the log is forgotten, and so is what was asked about a batch (B-48).
#[test]
fn what_was_on_its_way_is_lost_in_a_restart() {
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(BrokerConfig {
            transaction_version: TransactionVersion::V1,
            ..kept()
        });
        let unverified = scene.produce_as(connection, &Batch::in_transaction(identity, 0), TV1);
        assert_eq!(unverified.error_code, ErrorCode::TransactionAbortable);
        scene.add_partition(connection, identity);
        let overtaking = scene.produce_as(connection, &Batch::in_transaction(identity, 1), TV1);
        assert_eq!(overtaking.error_code, ErrorCode::OutOfOrderSequenceNumber);
        scene.core.set_transaction_log(TransactionLog::Stalled);
        let stalled = scene.end(connection, identity, true, 4);
        assert_eq!(stalled.error_code, ErrorCode::CoordinatorNotAvailable);
        let repeated = scene.end(connection, identity, true, 4);
        assert_eq!(repeated.error_code, ErrorCode::ConcurrentTransactions);

        scene.restart(memory);
        assert!(scene.is_closed(connection) || matches!(memory, Memory::Pieces));
        let connection = scene.connect();
        let accepted = scene.produce_as(connection, &Batch::in_transaction(identity, 1), TV1);
        assert_eq!(accepted.error_code, ErrorCode::None, "{memory:?}");
        assert_eq!(
            scene.end(connection, identity, true, 4).error_code,
            ErrorCode::None
        );
    }
}

/// B-68, B-69, B-90: a commit that was answered is carried out by the next coordinator, whose epoch is higher.
#[test]
fn a_decided_transaction_gets_its_markers_behind_a_restart() {
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(BrokerConfig {
            marker_delay: Duration::from_secs(5),
            ..kept()
        });
        scene.produce(connection, &Batch::in_transaction(identity, 0));
        next(&scene.end(connection, identity, true, 5));
        assert_eq!(scene.log_len(), 1);

        scene.restart(memory);
        scene.pass(5_000);
        let log = scene.core.log(&partition_0()).expect("the topic exists");
        let BatchKind::Marker {
            coordinator_epoch, ..
        } = log[1].kind
        else {
            panic!("a marker ends the transaction")
        };
        assert_eq!((log.len(), coordinator_epoch), (2, 2), "{memory:?}");
        assert_eq!(state(&mut scene).transaction_state, "CompleteCommit");
    }
}

/// B-64, B-5: the log does not keep the epoch before a bump, so the retry of a bump is fenced behind a restart.
#[test]
fn the_retry_of_a_bump_is_fenced_behind_a_restart() {
    let (mut scene, connection, (producer_id, producer_epoch)) = transactional(kept());
    let bump = InitProducerIdRequest {
        transactional_id: Some("t".to_owned()),
        transaction_timeout_ms: 60_000,
        producer_id,
        producer_epoch,
    };
    assert_eq!(scene.ask(connection, &bump, 4).producer_epoch, ProducerEpoch(1));
    assert_eq!(scene.ask(connection, &bump, 4).producer_epoch, ProducerEpoch(1));
    scene.restart(Memory::Pieces);
    let connection = scene.connect();
    assert_eq!(
        scene.ask(connection, &bump, 4).error_code,
        ErrorCode::ProducerFenced
    );
}

/// B-53: what was left of a block of producer ids is lost with its broker, and no id comes twice.
#[test]
fn no_producer_id_comes_twice_across_a_restart() {
    for memory in BOTH {
        let (mut scene, _, identity) = transactional(kept());
        scene.restart(memory);
        let connection = scene.connect();
        let request = InitProducerIdRequest {
            transactional_id: None,
            ..Default::default()
        };
        let fresh = scene.ask(connection, &request, 4);
        assert_eq!((identity.0, fresh.producer_id), (ProducerId(0), ProducerId(1000)));
    }
}

/// B-101: a transaction does not get younger by a restart.
#[test]
fn a_timeout_counts_across_a_restart() {
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(kept());
        scene.produce(connection, &Batch::in_transaction(identity, 0));
        scene.pass(55_000);
        scene.restart(memory);
        scene.pass(4_000);
        assert_eq!(state(&mut scene).transaction_state, "Ongoing");
        scene.pass(12_000);
        assert_eq!(state(&mut scene).transaction_state, "CompleteAbort", "{memory:?}");
    }
}

/// B-39, B-51: DeleteRecords lasts, and a producer of which no batch is left is unknown afterwards.
#[test]
fn deleted_records_and_their_producers_stay_away() {
    for memory in BOTH {
        let mut scene = Scene::with(kept());
        let connection = scene.connect();
        scene.produce(connection, &Batch::of(7, 0, 0));
        scene.produce(connection, &Batch::of(8, 0, 0).records(2));
        scene
            .core
            .delete_records(&partition_0(), Some(Offset(2)))
            .expect("replicated");
        let before = scene.core.watermarks(&partition_0());
        scene.restart(memory);
        assert_eq!(scene.core.watermarks(&partition_0()), before, "{memory:?}");
        let known = scene.core.producers(&partition_0()).expect("the topic exists");
        assert_eq!(known.keys().copied().collect::<Vec<_>>(), [ProducerId(8)]);
        scene
            .core
            .delete_records(&partition_0(), None)
            .expect("replicated");
        scene.restart(memory);
        let connection = scene.connect();
        assert_eq!(scene.produce(connection, &Batch::plain()).base_offset, 3);
    }
}

/// B-6, B-15: settings of topics, the level of transactions, and that ids of deleted topics do not come again.
#[test]
fn topics_and_features_survive_a_restart() {
    for memory in BOTH {
        let mut scene = Scene::with(kept());
        scene.core.set_transaction_version(TransactionVersion::V1);
        let config = TopicConfig {
            max_message_bytes: 100,
            ..TopicConfig::default()
        };
        scene.core.create_topic_with("small", 3, config).expect("new");
        scene.core.expand_topic("small", 4).expect("there are fewer");
        let deleted = scene.core.create_topic("gone", 1).expect("new");
        scene.turn();
        scene.core.delete_topic("gone").expect("it exists");
        scene.restart(memory);

        let connection = scene.connect();
        let request = ApiVersionsRequest {
            client_software_name: "scene".to_owned(),
            client_software_version: "1.0".to_owned(),
        };
        assert_eq!(scene.ask(connection, &request, 4).finalized_features_epoch, 2);
        assert_eq!(scene.core.topic_id("gone"), None);
        assert_ne!(
            scene.core.create_topic("gone", 1).expect("new"),
            deleted,
            "{memory:?}"
        );
        let mut large = Batch::plain().records(50).request();
        large.topic_data[0].name = "small".to_owned();
        large.topic_data[0].partition_data[0].index = PartitionId(3);
        let refused = crate::scene::only_partition(scene.ask(connection, &large, TV1));
        assert_eq!(refused.error_code, ErrorCode::MessageTooLarge);
    }
}

/// A topic that came and went between two turns, and one that was deleted and created anew with its records.
#[test]
fn topics_that_come_and_go_survive_a_restart_as_they_are() {
    for memory in BOTH {
        let mut scene = Scene::with(kept());
        let connection = scene.connect();
        scene.produce(connection, &Batch::plain().records(3));
        scene.core.create_topic("brief", 1).expect("new");
        scene.core.delete_topic("brief").expect("it exists");
        scene.core.delete_topic(TOPIC).expect("it exists");
        let id = scene.core.create_topic(TOPIC, 2).expect("new");
        scene.produce(connection, &Batch::plain());
        scene.restart(memory);
        assert_eq!(scene.core.topic_id("brief"), None);
        assert_eq!(scene.core.topic_id(TOPIC), Some(id));
        assert_eq!(scene.log_len(), 1, "{memory:?}");
    }
}

/// A transaction of very many partitions with a short name can be read back.
#[test]
fn large_transactions_survive_a_restart() {
    const PARTITIONS: i32 = 5_000;
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(kept());
        scene
            .core
            .create_topic("t", PARTITIONS.cast_unsigned())
            .expect("new");
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: "t".to_owned(),
            v3_and_below_producer_id: identity.0,
            v3_and_below_producer_epoch: identity.1,
            v3_and_below_topics: vec![AddPartitionsToTxnRequestTopic {
                name: "t".to_owned(),
                partitions: (0..PARTITIONS).map(PartitionId).collect(),
            }],
            ..Default::default()
        };
        scene.ask(connection, &request, 3);
        let before = state(&mut scene);
        assert_eq!(before.topics[0].partitions.len(), 5_000);
        scene.restart(memory);
        assert_eq!(state(&mut scene), before, "{memory:?}");
    }
}

fn commit_offset(
    scene: &mut Scene,
    connection: ConnectionId,
    offset: i64,
    of: Option<Identity>,
) -> ErrorCode {
    match of {
        None => {
            let request = OffsetCommitRequest {
                group_id: "g".to_owned(),
                topics: vec![OffsetCommitRequestTopic {
                    name: TOPIC.to_owned(),
                    partitions: vec![OffsetCommitRequestPartition {
                        committed_offset: offset,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let response = scene.ask(connection, &request, 8);
            response.topics[0].partitions[0].error_code
        }
        Some(identity) => {
            let request = TxnOffsetCommitRequest {
                transactional_id: "t".to_owned(),
                group_id: "g".to_owned(),
                producer_id: identity.id,
                producer_epoch: identity.epoch,
                topics: vec![TxnOffsetCommitRequestTopic {
                    name: TOPIC.to_owned(),
                    partitions: vec![TxnOffsetCommitRequestPartition {
                        committed_offset: offset,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            let response = scene.ask(connection, &request, 5);
            response.topics[0].partitions[0].error_code
        }
    }
}

fn committed_offset(scene: &mut Scene) -> i64 {
    let connection = scene.connect();
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = scene.ask(connection, &request, 8);
    let group = &response.groups[0];
    let first = group
        .topics
        .first()
        .map(|topic| topic.partitions[0].committed_offset);
    first.unwrap_or(-1)
}

/// B-5, B-119, B-120: committed offsets are there again; those of an open transaction still wait, and count with its commit.
#[test]
fn offsets_of_groups_survive_a_restart() {
    for memory in BOTH {
        let (mut scene, connection, identity) = transactional(kept());
        let lookup = FindCoordinatorRequest {
            coordinator_keys: vec!["g".to_owned()],
            ..Default::default()
        };
        scene.ask(connection, &lookup, 4);
        assert_eq!(commit_offset(&mut scene, connection, 5, None), ErrorCode::None);
        let identity = Identity {
            id: identity.0,
            epoch: identity.1,
        };
        let pending = commit_offset(&mut scene, connection, 9, Some(identity));
        assert_eq!(pending, ErrorCode::None);
        scene.restart(memory);
        assert_eq!(committed_offset(&mut scene), 5, "{memory:?}");
        let connection = scene.connect();
        next(&scene.end(connection, (identity.id, identity.epoch), true, 5));
        assert_eq!(committed_offset(&mut scene), 9, "{memory:?}");
        scene.restart(memory);
        assert_eq!(committed_offset(&mut scene), 9, "{memory:?}");
    }
}

/// A member of group `g` that is alone in it and has an assignment: its id and generation.
fn joined(scene: &mut Scene, connection: ConnectionId) -> (String, i32) {
    let lookup = FindCoordinatorRequest {
        coordinator_keys: vec!["g".to_owned()],
        ..Default::default()
    };
    scene.ask(connection, &lookup, 4);
    let join = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"m"),
        }],
        ..Default::default()
    };
    let member = scene.ask(connection, &join, 3);
    let sync = SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::from_static(b"everything"),
        }],
        ..Default::default()
    };
    assert_eq!(scene.ask(connection, &sync, 3).error_code, ErrorCode::None);
    (member.member_id, member.generation_id)
}

/// B-5, B-118: the members of a stable group stay members, with their assignments, for as long as their session lasts.
#[test]
fn members_of_groups_survive_a_restart() {
    for memory in BOTH {
        let mut scene = Scene::with(kept());
        let connection = scene.connect();
        let (member_id, generation_id) = joined(&mut scene, connection);
        scene.restart(memory);
        let connection = scene.connect();
        let heartbeat = HeartbeatRequest {
            group_id: "g".to_owned(),
            generation_id,
            member_id,
            group_instance_id: None,
        };
        scene.pass(9_000);
        let heard = scene.ask(connection, &heartbeat, 3);
        assert_eq!(heard.error_code, ErrorCode::None, "{memory:?}");
        let describe = DescribeGroupsRequest {
            groups: vec!["g".to_owned()],
            ..Default::default()
        };
        let group = scene.ask(connection, &describe, 4).groups.remove(0);
        assert_eq!((&*group.group_state, &*group.protocol_data), ("Stable", "range"));
        assert_eq!(
            group.members[0].member_assignment,
            Bytes::from_static(b"everything")
        );
        scene.pass(11_000);
        let silent = scene.ask(connection, &heartbeat, 3);
        assert_eq!(silent.error_code, ErrorCode::UnknownMemberId, "{memory:?}");
    }
}

fn everything_kept() -> Bytes {
    let (mut scene, connection, identity) = transactional(kept());
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let pieces: Vec<Bytes> = scene.core.pieces().collect();
    Bytes::from(pieces.concat())
}

/// Damaged pieces are errors: cut anywhere, or with any byte changed, nothing panics, and what is whole is taken up.
#[test]
fn damaged_pieces_are_errors() {
    let whole = everything_kept();
    let read = |piece: Bytes| {
        let mut recovery = Recovery::new(kept());
        let result = recovery.read(piece);
        recovery.finish(Scene::new().now());
        result
    };
    assert_eq!(read(whole.clone()), Ok(()));
    for place in (0..whole.len()).step_by(7) {
        let _cut = read(whole.slice(..place));
        let mut changed = BytesMut::from(whole.as_ref());
        changed[place] ^= 0x55;
        let _changed = read(changed.freeze());
    }
    assert!(read(whole.slice(..whole.len() - 1)).is_err());
    assert!(read(Bytes::from_static(&[99])).is_err());
}
