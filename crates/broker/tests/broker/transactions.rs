//! Whole transactions through the core: markers, epochs, late batches.

use kommit_broker::coordinator::interface::MarkerOutcome;
use kommit_broker::inspect::BatchKind;
use kommit_broker::{BrokerConfig, TransactionVersion};
use kommit_protocol::batch::BatchView;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::ProducerEpoch;

use crate::scene::{Batch, Scene, TV1, partition_0};

fn last_kind(scene: &Scene) -> BatchKind {
    scene
        .core
        .log(&partition_0())
        .expect("the topic exists")
        .last()
        .expect("a batch")
        .kind
}

/// B-89, B-91: under TV2 the marker carries the bumped epoch, which is also the client's next one.
#[test]
fn a_tv2_marker_carries_the_bumped_epoch() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let ended = scene.end(connection, identity, true, 5);
    assert_eq!(
        (ended.producer_id, ended.producer_epoch),
        (identity.0, ProducerEpoch(identity.1.0 + 1))
    );

    let log = scene.core.log(&partition_0()).expect("the topic exists");
    let marker = &log[1];
    assert!(matches!(
        marker.kind,
        BatchKind::Marker {
            outcome: MarkerOutcome::Commit,
            ..
        }
    ));
    assert_eq!(marker.producer, Some((identity.0, ended.producer_epoch)));
    let stored = BatchView::parse(&marker.bytes).expect("a whole batch");
    stored.verify_crc().expect("a right checksum");
    assert!(stored.header.attributes.is_control() && stored.header.attributes.is_transactional());
    assert_eq!(stored.header.base_offset.0, 1);
}

/// B-91, B-98: under TV1 the marker keeps the epoch, and a late batch is stopped by verification.
#[test]
fn a_late_tv1_batch_is_stopped_by_verification() {
    let mut scene = Scene::with(BrokerConfig {
        transaction_version: TransactionVersion::V1,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.add_partition(connection, identity);
    scene.produce_as(connection, &Batch::in_transaction(identity, 0), TV1);
    assert_eq!(
        scene.end(connection, identity, false, 4).error_code,
        ErrorCode::None
    );
    assert!(matches!(
        last_kind(&scene),
        BatchKind::Marker {
            outcome: MarkerOutcome::Abort,
            ..
        }
    ));

    let late = scene.produce_as(connection, &Batch::in_transaction(identity, 1), TV1);
    assert_eq!(late.error_code, ErrorCode::TransactionAbortable);
    assert_eq!(scene.log_len(), 2);
}

/// B-97: under TV2 the partition knows the bumped epoch, and refuses a late batch by itself.
#[test]
fn a_late_tv2_batch_is_stopped_by_its_epoch() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    scene.end(connection, identity, false, 5);
    let late = scene.produce(connection, &Batch::in_transaction(identity, 1));
    assert_eq!(late.error_code, ErrorCode::InvalidProducerEpoch);
}

/// B-96: the retry of a lost answer writes no second marker.
#[test]
fn a_repeated_end_writes_no_second_marker() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let first = scene.end(connection, identity, true, 5);
    let second = scene.end(connection, identity, true, 5);
    assert_eq!(second, first);
    assert_eq!(scene.log_len(), 2);
}

/// B-93, B-101: a transaction that takes too long is aborted, and its client fenced at the partition.
#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    scene.pass(59_000);
    assert_eq!(last_kind(&scene), BatchKind::Transactional);
    scene.pass(12_000);
    assert!(matches!(
        last_kind(&scene),
        BatchKind::Marker {
            outcome: MarkerOutcome::Abort,
            ..
        }
    ));
    let late = scene.produce(connection, &Batch::in_transaction(identity, 1));
    assert_eq!(late.error_code, ErrorCode::InvalidProducerEpoch);
}

/// B-94: a marker waits for a partition without leader; one for a deleted topic does not.
#[test]
fn a_marker_waits_for_a_leader() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene.produce(connection, &Batch::in_transaction(identity, 0));
    let leader = scene.core.move_leader(&partition_0(), None);
    assert_eq!(leader, Ok(()));
    scene.end(connection, identity, true, 5);
    scene.pass(1000);
    assert_eq!(scene.log_len(), 1);
    scene
        .core
        .move_leader(&partition_0(), Some(kommit_protocol::units::NodeId(1)))
        .expect("the topic exists");
    scene.pass(100);
    assert_eq!(scene.log_len(), 2);
}
