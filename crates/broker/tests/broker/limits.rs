//! What clients can make the broker keep has bounds, and each bound has an answer.

use kommit_broker::BrokerConfig;
use kommit_broker::config::Limits;
use kommit_broker::coordinator::interface::CoordinatorConfig;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::Offset;

use crate::scene::{Batch, Scene, partition_0};

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
