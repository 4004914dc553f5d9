//! What clients can make the broker keep has bounds, and each bound has an answer.

use kommit_broker::config::Limits;
use kommit_broker::coordinator::interface::CoordinatorConfig;
use kommit_broker::{BrokerConfig, ConnectionId};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{Offset, PartitionId};

use crate::scene::{Batch, Scene, TOPIC, TV2, fetch_from, partition_0};

/// Three transactional ids or groups, two members in a group.
fn few_ids() -> BrokerConfig {
    BrokerConfig {
        coordinator: CoordinatorConfig {
            max_ids: 3,
            group_max_size: 2,
            ..CoordinatorConfig::default()
        },
        ..BrokerConfig::default()
    }
}

/// Logs that are full are a full disk (B-37), but for what is there already; deleting makes room.
#[test]
fn full_logs_are_a_storage_error_until_something_is_deleted() {
    let size = Batch::of(7, 0, 0).bytes().len() as u64;
    let mut scene = Scene::with(BrokerConfig {
        limits: Limits {
            log_bytes: size * 3,
            ..Limits::default()
        },
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    for sequence in 0..3 {
        let written = scene.produce(connection, &Batch::of(7, 0, sequence));
        assert_eq!(written.error_code, ErrorCode::None);
    }
    let refused = scene.produce(connection, &Batch::of(7, 0, 3));
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError);
    let duplicate = scene.produce(connection, &Batch::of(7, 0, 2));
    assert_eq!(
        (duplicate.error_code, duplicate.base_offset),
        (ErrorCode::None, 2)
    );
    scene
        .core
        .delete_records(&partition_0(), Some(Offset(1)))
        .expect("replicated");
    let written = scene.produce(connection, &Batch::of(7, 0, 3));
    assert_eq!((written.error_code, written.base_offset), (ErrorCode::None, 3));
}

/// The end of a transaction is written into full logs too.
#[test]
fn a_transaction_ends_in_full_logs() {
    let mut scene = Scene::with(BrokerConfig {
        limits: Limits {
            log_bytes: Batch::of(7, 0, 0).bytes().len() as u64,
            ..Limits::default()
        },
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let written = scene.produce(connection, &Batch::in_transaction(identity, 0));
    assert_eq!(written.error_code, ErrorCode::None);
    assert_eq!(
        scene.end(connection, identity, true, 5).error_code,
        ErrorCode::None
    );
    assert_eq!(scene.log_len(), 2);
}

/// Topics stop at the limit of partitions, by whatever way they are made.
#[test]
fn more_partitions_than_there_may_be_are_refused() {
    let mut scene = Scene::with(BrokerConfig {
        limits: Limits {
            partitions: 4,
            ..Limits::default()
        },
        ..BrokerConfig::default()
    });
    let refused = Err(ErrorCode::PolicyViolation);
    assert_eq!(scene.core.create_topic("large", 3), refused);
    assert!(scene.core.create_topic("small", 1).is_ok());
    assert_eq!(
        scene.core.expand_topic("small", 3),
        Err(ErrorCode::PolicyViolation)
    );
    assert_eq!(scene.core.expand_topic("small", 2), Ok(()));
    // The shards of the coordinators are the broker's own.
    let connection = scene.connect();
    scene.initialize(connection, "t");
}

/// Transactional ids have a bound; those that are known go on.
#[test]
fn more_transactional_ids_than_there_may_be_are_refused() {
    let mut scene = Scene::with(few_ids());
    let connection = scene.connect();
    for id in ["a", "b", "c"] {
        scene.initialize(connection, id);
    }
    let request = |id: &str| InitProducerIdRequest {
        transactional_id: Some(id.to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let refused = scene.ask(connection, &request("d"), 4);
    assert_eq!(refused.error_code, ErrorCode::CoordinatorNotAvailable);
    let known = scene.ask(connection, &request("a"), 4);
    assert_eq!(known.error_code, ErrorCode::None);
}

fn join(group: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Groups have a bound, and so have their members, those included that have an id and have not joined.
#[test]
fn more_groups_and_members_than_there_may_be_are_refused() {
    let mut scene = Scene::with(few_ids());
    let connection = scene.connect();
    let lookup = FindCoordinatorRequest {
        coordinator_keys: vec!["g".to_owned()],
        ..Default::default()
    };
    scene.ask(connection, &lookup, 4);
    let mut code_of = |group: &str| scene.ask(connection, &join(group), 5).error_code;
    assert_eq!(code_of("a"), ErrorCode::MemberIdRequired);
    assert_eq!(code_of("a"), ErrorCode::MemberIdRequired);
    assert_eq!(code_of("a"), ErrorCode::GroupMaxSizeReached);
    assert_eq!(code_of("b"), ErrorCode::MemberIdRequired);
    assert_eq!(code_of("c"), ErrorCode::MemberIdRequired);
    assert_eq!(code_of("d"), ErrorCode::CoordinatorNotAvailable);
}

/// A scene in which one thing is scarce.
fn scarce(change: impl FnOnce(&mut BrokerConfig)) -> (Scene, ConnectionId) {
    let mut config = BrokerConfig::default();
    change(&mut config);
    let mut scene = Scene::with(config);
    let connection = scene.connect();
    (scene, connection)
}

fn with_limits(limits: Limits) -> (Scene, ConnectionId) {
    scarce(|config| config.limits = limits)
}

/// A partition remembers so many producers; those that it knows go on.
#[test]
fn a_partition_remembers_only_so_many_producers() {
    let limits = Limits {
        producers_per_partition: 2,
        ..Limits::default()
    };
    let (mut scene, connection) = with_limits(limits);
    for (id, sequence, code) in [
        (1, 0, ErrorCode::None),
        (2, 0, ErrorCode::None),
        (3, 0, ErrorCode::PolicyViolation),
        (2, 1, ErrorCode::None),
    ] {
        let answer = scene.produce(connection, &Batch::of(id, 0, sequence));
        assert_eq!(answer.error_code, code, "{id}");
    }
    assert_eq!(
        scene.produce(connection, &Batch::plain()).error_code,
        ErrorCode::None
    );
}

fn find_groups(scene: &mut Scene, connection: ConnectionId) {
    let lookup = FindCoordinatorRequest {
        coordinator_keys: vec!["g".to_owned()],
        ..Default::default()
    };
    scene.ask(connection, &lookup, 4);
}

fn committed(scene: &mut Scene, connection: ConnectionId, group: &str, partition: i32) -> ErrorCode {
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: PartitionId(partition),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    scene.ask(connection, &request, 8).topics[0].partitions[0].error_code
}

/// Offsets are counted; who has stored one may store it anew.
#[test]
fn there_are_only_so_many_offsets() {
    let (mut scene, connection) = scarce(|config| config.coordinator.max_offsets_per_shard = 1);
    find_groups(&mut scene, connection);
    for (partition, code) in [
        (0, ErrorCode::None),
        (1, ErrorCode::InvalidCommitOffsetSize),
        (0, ErrorCode::None),
    ] {
        assert_eq!(committed(&mut scene, connection, "g", partition), code);
    }
}

/// A fetch may ask for everything, but gets no more than the broker gives at once.
#[test]
fn an_answer_has_only_so_many_records() {
    let one = Batch::plain().bytes().len();
    let limits = Limits {
        fetch_bytes: 2 * one,
        ..Limits::default()
    };
    let (mut scene, connection) = with_limits(limits);
    for _ in 0..5 {
        scene.produce(connection, &Batch::plain());
    }
    let request = FetchRequest {
        max_bytes: i32::MAX,
        ..fetch_from(0, 0)
    };
    let records = scene.fetch(connection, &request).records;
    assert_eq!(records.map(|records| records.len()), Some(2 * one));
}

/// A request may name a million partitions; the journal remembers a thousand.
#[test]
fn the_journal_remembers_a_part_of_a_long_request() {
    let (mut scene, connection) = with_limits(Limits::default());
    let mut request = Batch::plain().request();
    let partition = request.topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data = (0..5000)
        .map(|index| ProduceRequestPartition {
            index: PartitionId(index),
            ..partition.clone()
        })
        .collect();
    scene.ask(connection, &request, TV2);
    let last = scene.core.journal().pop().expect("an entry");
    assert_eq!(last.partitions.len(), 1000);
}

/// What a restart brings back counts as well.
#[test]
fn full_logs_are_full_after_a_restart() {
    let (mut scene, connection) = scarce(|config| {
        config.limits.log_bytes = 3000;
    });
    let is_full = |scene: &mut Scene, connection, most| {
        (0..most)
            .any(|_| scene.produce(connection, &Batch::plain()).error_code == ErrorCode::KafkaStorageError)
    };
    assert!(is_full(&mut scene, connection, 100));
    let now = scene.now();
    scene.core.restart(now).expect("what was kept is whole");
    let connection = scene.connect();
    assert!(is_full(&mut scene, connection, 1));
}

/// Markers have more room than records, and no more than that: transactions without records cannot fill the memory either.
#[test]
fn markers_without_records_find_an_end() {
    const MARKERS: usize = 64 * 1024 / 60;
    let (mut scene, connection) = with_limits(Limits {
        log_bytes: 1000,
        ..Limits::default()
    });
    let mut identity = scene.initialize(connection, "t");
    let mut ends = 0;
    while scene.add_partition(connection, identity) == ErrorCode::None {
        let ended = scene.end(connection, identity, false, 5);
        identity = (ended.producer_id, ended.producer_epoch);
        ends += 1;
        assert!(ends < MARKERS);
    }
    let written = scene.log_len();
    scene.core.configure(|config| config.limits.log_bytes = 100_000);
    scene.pass(100);
    assert_eq!(scene.log_len(), written + 1);
}
