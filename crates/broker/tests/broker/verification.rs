//! Verification of transactional batches with the coordinator, for both transaction versions.

use std::time::Duration;

use kommit_broker::config::Verification;
use kommit_broker::coordinator::interface::{CoordinatorKind, ShardState, shard_number};
use kommit_broker::{BrokerConfig, ConnectionId, TransactionVersion};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::ProduceRequest;
use kommit_protocol::units::{ProducerEpoch, ProducerId};

use crate::scene::{Batch, Scene, TV1, TV2, only_partition};

fn v1() -> Scene {
    Scene::with(BrokerConfig {
        transaction_version: TransactionVersion::V1,
        ..BrokerConfig::default()
    })
}

/// B-77, B-79: a TV1 batch for a partition that was not added is refused; how depends on the version.
#[test]
fn a_partition_that_was_not_added_is_refused() {
    let mut scene = v1();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let batch = Batch::in_transaction(identity, 0);
    assert_eq!(
        scene.produce_as(connection, &batch, TV1).error_code,
        ErrorCode::TransactionAbortable
    );
    assert_eq!(
        scene.produce_as(connection, &batch, 10).error_code,
        ErrorCode::InvalidTxnState
    );
    assert_eq!(scene.log_len(), 0);

    assert_eq!(scene.add_partition(connection, identity), ErrorCode::None);
    assert_eq!(
        scene.produce_as(connection, &batch, TV1).error_code,
        ErrorCode::None
    );
}

/// B-78, B-83: a TV2 produce adds its partition by itself.
#[test]
fn a_tv2_produce_adds_its_partition() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    assert_eq!(
        scene
            .produce(connection, &Batch::in_transaction(identity, 0))
            .error_code,
        ErrorCode::None
    );
    assert_eq!(
        scene.end(connection, identity, true, 5).error_code,
        ErrorCode::None
    );
}

/// B-82: switched off, TV1 batches go unverified; TV2 ones do not.
#[test]
fn verification_can_be_switched_off_for_tv1() {
    let mut scene = v1();
    scene
        .core
        .configure(|config| config.verification = Verification::Disabled);
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let answer = scene.produce_as(connection, &Batch::in_transaction(identity, 0), TV1);
    assert_eq!(answer.error_code, ErrorCode::None);
    let unknown = Batch::in_transaction((ProducerId(999), ProducerEpoch(0)), 0);
    assert_eq!(
        scene.produce(connection, &unknown).error_code,
        ErrorCode::InvalidProducerIdMapping
    );
}

/// B-23, B-75: transactional batches need a transactional id that is one.
#[test]
fn transactional_batches_need_a_transactional_id() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let mut request = Batch::in_transaction(identity, 0).request();
    for (id, code) in [
        (None, ErrorCode::TransactionalIdAuthorizationFailed),
        (Some(""), ErrorCode::InvalidRequest),
    ] {
        request.transactional_id = id.map(str::to_owned);
        assert_eq!(
            only_partition(scene.ask(connection, &request, TV2)).error_code,
            code
        );
    }
}

/// B-76: an epoch that the partition knows to be old is refused before the coordinator is asked.
#[test]
fn an_old_epoch_is_refused_at_the_partition() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    scene.end(connection, identity, true, 5);
    let late = scene.produce(connection, &Batch::in_transaction(identity, 1));
    assert_eq!(
        (late.error_code, late.log_start_offset),
        (ErrorCode::InvalidProducerEpoch, -1)
    );
}

/// B-75: an epoch ahead of the open transaction's is refused.
#[test]
fn an_epoch_ahead_of_the_open_transaction_is_refused() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let ahead = (identity.0, ProducerEpoch(identity.1.0 + 1));
    let answer = scene.produce(connection, &Batch::in_transaction(ahead, 0));
    assert_eq!(answer.error_code, ErrorCode::InvalidProducerEpoch);
}

/// B-47: the first batch of a TV2 producer begins with sequence 0.
#[test]
fn a_tv2_producer_begins_with_sequence_0() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let answer = scene.produce(connection, &Batch::in_transaction(identity, 3));
    assert_eq!(answer.error_code, ErrorCode::OutOfOrderSequenceNumber);
}

/// B-48: a later batch does not overtake one whose verification failed.
#[test]
fn a_batch_does_not_overtake_one_that_failed_verification() {
    let mut scene = v1();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce_as(connection, &Batch::in_transaction(identity, 0), TV1);
    scene.add_partition(connection, identity);
    let second = scene.produce_as(connection, &Batch::in_transaction(identity, 1), TV1);
    assert_eq!(second.error_code, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(
        scene
            .produce_as(connection, &Batch::in_transaction(identity, 0), TV1)
            .error_code,
        ErrorCode::None
    );
}

/// B-49: a plain batch has no place in an open transaction.
#[test]
fn a_plain_batch_is_refused_while_its_producer_has_a_transaction_open() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let plain = Batch {
        transactional_id: None,
        ..Batch::in_transaction(identity, 1)
    };
    assert_eq!(
        scene.produce(connection, &plain).error_code,
        ErrorCode::InvalidTxnState
    );
}

/// B-78: while the markers of the last transaction are out, the broker itself asks again every 20 ms, for 100 ms.
#[test]
fn a_tv2_produce_waits_for_the_last_transactions_markers() {
    for (marker_delay, expected) in [(50, ErrorCode::None), (500, ErrorCode::ConcurrentTransactions)] {
        let marker_delay = Duration::from_millis(marker_delay);
        let mut scene = Scene::with(BrokerConfig {
            marker_delay,
            ..BrokerConfig::default()
        });
        let connection = scene.connect();
        let identity = scene.initialize(connection, "t");
        scene.produce(connection, &Batch::in_transaction(identity, 0));
        let ended = scene.end(connection, identity, true, 5);

        let next = Batch::in_transaction((ended.producer_id, ended.producer_epoch), 0);
        scene.send(connection, &next.request(), TV2);
        assert!(scene.raw_answer(connection).is_none());
        scene.pass(100);
        let (_, response) = scene
            .answer::<ProduceRequest>(connection, TV2)
            .expect("100 ms are the limit");
        assert_eq!(only_partition(response).error_code, expected);
    }
}

/// B-79: in verify mode the same situation is hidden behind NOT_ENOUGH_REPLICAS; so is a loading coordinator.
#[test]
fn coordinator_trouble_reaches_tv1_clients_as_not_enough_replicas() {
    let marker_delay = Duration::from_millis(500);
    let transaction_version = TransactionVersion::V1;
    let mut scene = Scene::with(BrokerConfig {
        marker_delay,
        transaction_version,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.core.set_shard_state(
        CoordinatorKind::Transaction,
        shard_number("t"),
        ShardState::Loading,
    );
    let batch = Batch::in_transaction(identity, 0);
    assert_eq!(
        scene.produce_as(connection, &batch, TV1).error_code,
        ErrorCode::NotEnoughReplicas
    );
    scene.core.set_shard_state(
        CoordinatorKind::Transaction,
        shard_number("t"),
        ShardState::Active,
    );

    scene.add_partition(connection, identity);
    assert_eq!(
        scene.end(connection, identity, true, 4).error_code,
        ErrorCode::None
    );
    assert_eq!(
        scene.produce_as(connection, &batch, TV1).error_code,
        ErrorCode::NotEnoughReplicas
    );
}

/// A TV1 cluster in which the coordinator's answers take 100 ms.
fn slow() -> Scene {
    Scene::with(BrokerConfig {
        transaction_version: TransactionVersion::V1,
        verification_delay: Duration::from_millis(100),
        ..BrokerConfig::default()
    })
}

/// The code of the answer to a produce that was sent before, if there is one.
fn heard(scene: &mut Scene, connection: ConnectionId) -> Option<ErrorCode> {
    let (_, response) = scene.answer::<ProduceRequest>(connection, TV1)?;
    Some(only_partition(response).error_code)
}

/// B-80: the coordinator agreed while the transaction was open; its marker comes first, and the batch does not open it again.
#[test]
fn a_batch_that_was_verified_before_the_end_comes_too_late() {
    let mut scene = slow();
    let (connection, other) = (scene.connect(), scene.connect());
    let identity = scene.initialize(connection, "t");
    scene.add_partition(connection, identity);
    scene.send(connection, &Batch::in_transaction(identity, 0).request(), TV1);
    scene.pass(99);
    assert_eq!(heard(&mut scene, connection), None);
    assert_eq!(scene.end(other, identity, true, 4).error_code, ErrorCode::None);
    scene.pass(1);
    assert_eq!(heard(&mut scene, connection), Some(ErrorCode::InvalidTxnState));
    assert_eq!(scene.log_len(), 1);
}

/// B-81: of two questions about one transactional id the older is given up: the client is to come again when the epoch is the same, and is
/// fenced when the newer question has a higher one. A question with a lower epoch than the open one is fenced at once.
#[test]
fn a_second_question_about_a_transactional_id_replaces_the_first() {
    for (second_epoch, first_code, second_code) in [
        (1, ErrorCode::NotEnoughReplicas, ErrorCode::None),
        (
            2,
            ErrorCode::InvalidProducerEpoch,
            ErrorCode::InvalidProducerEpoch,
        ),
        (0, ErrorCode::None, ErrorCode::InvalidProducerEpoch),
    ] {
        let mut scene = slow();
        let (first, second) = (scene.connect(), scene.connect());
        scene.initialize(first, "t");
        let identity = scene.initialize(first, "t");
        scene.add_partition(first, identity);
        let request = Batch::in_transaction((identity.0, ProducerEpoch(second_epoch)), 0).request();
        scene.send(first, &Batch::in_transaction(identity, 0).request(), TV1);
        scene.pass(50);
        scene.send(second, &request, TV1);
        scene.pass(50);
        assert_eq!(heard(&mut scene, first), Some(first_code));
        scene.pass(50);
        assert_eq!(heard(&mut scene, second), Some(second_code));
    }
}
