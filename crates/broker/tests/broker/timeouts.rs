//! What time does to transactions and producers, and what the settings have to do with it.

use std::time::Duration;

use kommit_broker::coordinator::TransactionLog;
use kommit_broker::inspect::BatchKind;
use kommit_broker::{BrokerConfig, ConnectionId, TransactionVersion};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{ProducerEpoch, ProducerId};

use crate::scene::{Batch, Scene, TV1, TV2, partition_0};

const HOUR_MS: u64 = 3_600_000;

fn state_of(scene: &mut Scene, connection: ConnectionId) -> (ErrorCode, String) {
    let request = DescribeTransactionsRequest {
        transactional_ids: vec!["t".to_owned()],
    };
    let found = scene.ask(connection, &request, 0).transaction_states.remove(0);
    (found.error_code, found.transaction_state)
}

fn init(scene: &mut Scene, connection: ConnectionId, timeout_ms: i32) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some("t".to_owned()),
        transaction_timeout_ms: timeout_ms,
        ..Default::default()
    };
    scene.ask(connection, &request, 4)
}

fn bumped((id, epoch): (ProducerId, ProducerEpoch)) -> (ProducerId, ProducerEpoch) {
    (id, ProducerEpoch(epoch.0 + 1))
}

/// B-70, B-123: the markers come as late as the settings say, which may change; until then the end is decided but not complete.
#[test]
fn the_window_before_completion_is_as_long_as_the_setting() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.initialize(connection, "t");
    for delay in [300, 0, 700] {
        scene
            .core
            .configure(|config| config.marker_delay = Duration::from_millis(delay));
        let answer = init(&mut scene, connection, 60_000);
        let identity = (answer.producer_id, answer.producer_epoch);
        scene.produce(connection, &Batch::in_transaction(identity, 0));
        let ended = scene.end(connection, identity, true, 5);
        assert_eq!(ended.error_code, ErrorCode::None);
        if delay > 0 {
            scene.pass(delay - 1);
            assert_eq!(state_of(&mut scene, connection).1, "PrepareCommit");
            let answer = init(&mut scene, connection, 60_000);
            assert_eq!(answer.error_code, ErrorCode::ConcurrentTransactions);
            scene.pass(1);
        }
        assert_eq!(state_of(&mut scene, connection).1, "CompleteCommit");
    }
}

/// B-104: while the abort after a time-out waits for the log, or for its markers, a produce meets the transition. The time-out is under way,
/// so TV2 clients are told to come again, TV1 clients in the words that they know.
#[test]
fn a_produce_between_time_out_and_markers_is_told_to_come_again() {
    for (level, version, code) in [
        (TransactionVersion::V2, TV2, ErrorCode::ConcurrentTransactions),
        (TransactionVersion::V1, TV1, ErrorCode::NotEnoughReplicas),
    ] {
        let mut scene = Scene::with(BrokerConfig {
            transaction_version: level,
            marker_delay: Duration::from_secs(60),
            ..BrokerConfig::default()
        });
        let connection = scene.connect();
        let identity = scene.initialize(connection, "t");
        scene.add_partition(connection, identity);
        scene.pass(70_000);
        assert_eq!(state_of(&mut scene, connection).1, "PrepareAbort");
        let sent = Batch::in_transaction(bumped(identity), 0).request();
        scene.send(connection, &sent, version);
        scene.pass(100);
        let (_, answer) = scene
            .answer::<ProduceRequest>(connection, version)
            .expect("an answer");
        assert_eq!(answer.responses[0].partition_responses[0].error_code, code);
    }
}

/// B-104: the same while the log of the coordinator hesitates: even the old epoch hears of it.
#[test]
fn a_produce_meets_a_time_out_that_is_not_logged_yet() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.add_partition(connection, identity);
    scene.core.set_transaction_log(TransactionLog::Stalled);
    scene.pass(70_000);
    scene.send(connection, &Batch::in_transaction(identity, 0).request(), TV2);
    scene.pass(100);
    let (_, answer) = scene
        .answer::<ProduceRequest>(connection, TV2)
        .expect("an answer");
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::ConcurrentTransactions);

    scene.core.set_transaction_log(TransactionLog::Writable);
    let late = scene.produce(connection, &Batch::in_transaction(identity, 0));
    assert_eq!(late.error_code, ErrorCode::InvalidProducerEpoch);
}

/// B-106: the broker's maximum bounds the time-outs that clients may ask for; it may change.
#[test]
fn the_maximum_bounds_the_timeout_of_clients() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.initialize(connection, "t");
    assert_eq!(init(&mut scene, connection, 900_000).error_code, ErrorCode::None);
    scene
        .core
        .configure(|config| config.coordinator.transaction_max_timeout = Duration::from_secs(10));
    assert_eq!(init(&mut scene, connection, 10_000).error_code, ErrorCode::None);
    assert_eq!(
        init(&mut scene, connection, 10_001).error_code,
        ErrorCode::InvalidTransactionTimeout
    );
}

/// B-123: the jobs that abort and forget keep the intervals that they are given while the cluster runs.
#[test]
fn the_intervals_of_expiry_may_change() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    scene.core.configure(|config| {
        config.coordinator.timed_out_transaction_interval = Duration::from_secs(600);
        config.coordinator.expired_transactional_id_interval = Duration::from_secs(1000);
        config.coordinator.transactional_id_expiration = Duration::from_secs(300);
        config.producer_id_expiration = Duration::from_secs(200);
        config.producer_id_expiration_interval = Duration::from_secs(900);
    });
    scene.pass(599_000);
    assert_eq!(state_of(&mut scene, connection).1, "Ongoing");
    scene.pass(1000);
    assert_eq!(state_of(&mut scene, connection).1, "CompleteAbort");
    let is_known = |scene: &Scene| {
        !scene
            .core
            .producers(&partition_0())
            .expect("it exists")
            .is_empty()
    };
    scene.pass(299_000);
    assert!(is_known(&scene));
    scene.pass(1000);
    assert!(!is_known(&scene));
    scene.pass(99_000);
    assert_eq!(state_of(&mut scene, connection).1, "CompleteAbort");
    scene.pass(1000);
    assert_eq!(
        state_of(&mut scene, connection).0,
        ErrorCode::TransactionalIdNotFound
    );
}

/// A scene in which partitions forget producers after an hour.
fn forgetful(level: TransactionVersion) -> Scene {
    Scene::with(BrokerConfig {
        transaction_version: level,
        producer_id_expiration: Duration::from_millis(HOUR_MS),
        ..BrokerConfig::default()
    })
}

/// B-108: a partition that has forgotten a producer takes any sequence of a TV1 one, and only a beginning of a TV2 one.
#[test]
fn a_forgotten_transactional_producer_begins_anew() {
    for (level, version, code) in [
        (TransactionVersion::V1, TV1, ErrorCode::None),
        (TransactionVersion::V2, TV2, ErrorCode::OutOfOrderSequenceNumber),
    ] {
        let mut scene = forgetful(level);
        let connection = scene.connect();
        let identity = scene.initialize(connection, "t");
        scene.add_partition(connection, identity);
        scene.produce_as(connection, &Batch::in_transaction(identity, 0), version);
        let ended = scene.end(
            connection,
            identity,
            true,
            if level == TransactionVersion::V1 { 4 } else { 5 },
        );
        scene.pass(2 * HOUR_MS);
        assert_eq!(
            scene.core.producers(&partition_0()).map(|known| known.len()),
            Ok(0)
        );
        let identity = match level {
            TransactionVersion::V2 => (ended.producer_id, ended.producer_epoch),
            TransactionVersion::V0 | TransactionVersion::V1 => identity,
        };
        scene.add_partition(connection, identity);
        let late = scene.produce_as(connection, &Batch::in_transaction(identity, 1), version);
        assert_eq!(late.error_code, code);
        if level == TransactionVersion::V2 {
            let first = scene.produce_as(connection, &Batch::in_transaction(identity, 0), version);
            assert_eq!(first.error_code, ErrorCode::None);
        }
    }
}

/// B-109: the coordinator knows a producer longer than the partitions do: the same id comes back with the next epoch.
#[test]
fn a_transactional_id_outlives_its_producer_in_the_partitions() {
    let mut scene = forgetful(TransactionVersion::V2);
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let ended = scene.end(connection, identity, true, 5);
    scene.pass(2 * HOUR_MS);
    assert_eq!(
        scene.core.producers(&partition_0()).map(|known| known.len()),
        Ok(0)
    );
    let again = init(&mut scene, connection, 60_000);
    assert_eq!(
        (again.producer_id, again.producer_epoch),
        bumped((ended.producer_id, ended.producer_epoch))
    );
    let batch = Batch::in_transaction((again.producer_id, again.producer_epoch), 0);
    assert_eq!(scene.produce(connection, &batch).error_code, ErrorCode::None);
    let last = scene.core.log(&partition_0()).expect("it exists").pop();
    assert_eq!(last.map(|batch| batch.kind), Some(BatchKind::Transactional));
}
