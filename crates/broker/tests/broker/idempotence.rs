//! The state of a producer in a partition: duplicates, gaps, epochs, expiry.

use std::time::Duration;

use kommit_broker::BrokerConfig;
use kommit_broker::check::FaultKind;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::Offset;

use crate::scene::{Batch, Scene, partition_0};

/// B-41: the same batch again gets its first offset and is not stored.
#[test]
fn a_duplicate_among_the_last_five_gets_its_first_offset() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    for sequence in 0..5 {
        scene.produce(connection, &Batch::of(7, 0, sequence * 2).records(2));
    }
    for sequence in 0..5 {
        let answer = scene.produce(connection, &Batch::of(7, 0, sequence * 2).records(2));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (ErrorCode::None, i64::from(sequence) * 2)
        );
    }
    assert_eq!(scene.log_len(), 5);
}

/// B-42: older duplicates and overlapping batches are gaps.
#[test]
fn a_duplicate_beyond_the_last_five_is_out_of_order() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    for sequence in 0..6 {
        scene.produce(connection, &Batch::of(7, 0, sequence));
    }
    for batch in [
        Batch::of(7, 0, 0),
        Batch::of(7, 0, 4).records(2),
        Batch::of(7, 0, 7),
    ] {
        let answer = scene.produce(connection, &batch);
        assert_eq!(answer.error_code, ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!((answer.base_offset, answer.log_start_offset), (-1, 0));
    }
}

/// B-43, B-44: an old epoch is fenced; a new one begins with sequence 0.
#[test]
fn a_new_epoch_begins_with_sequence_0_and_fences_the_old_one() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 3, 0));
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 4, 1)).error_code,
        ErrorCode::OutOfOrderSequenceNumber
    );
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 4, 0)).error_code,
        ErrorCode::None
    );
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 3, 1)).error_code,
        ErrorCode::InvalidProducerEpoch
    );
}

/// B-45: behind i32::MAX comes 0.
#[test]
fn sequences_wrap_behind_the_largest_number() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, i32::MAX - 1).records(3));
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 0)).error_code,
        ErrorCode::OutOfOrderSequenceNumber
    );
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 1)).error_code,
        ErrorCode::None
    );
}

/// B-46, B-107: after expiry any sequence goes; before it does not.
#[test]
fn an_expired_producer_may_go_on_anywhere() {
    let config = BrokerConfig {
        producer_id_expiration: Duration::from_secs(60),
        producer_id_expiration_interval: Duration::from_secs(10),
        ..BrokerConfig::default()
    };
    let mut scene = Scene::with(config);
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, 0));
    scene.pass(50_000);
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 9)).error_code,
        ErrorCode::OutOfOrderSequenceNumber
    );
    scene.pass(20_000);
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 9)).error_code,
        ErrorCode::None
    );
    scene.expected_faults = vec![FaultKind::Sequence];
}

/// B-46, B-117: DeleteRecords keeps the producers, and shows the new start.
#[test]
fn deleted_records_do_not_take_their_producer_along() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, 0));
    scene.produce(connection, &Batch::of(7, 0, 1));
    assert_eq!(scene.core.delete_records(&partition_0(), None), Ok(Offset(2)));

    let duplicate = scene.produce(connection, &Batch::of(7, 0, 1));
    assert_eq!(
        (
            duplicate.error_code,
            duplicate.base_offset,
            duplicate.log_start_offset
        ),
        (ErrorCode::None, 1, 2)
    );
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 5)).error_code,
        ErrorCode::OutOfOrderSequenceNumber
    );
}

/// B-40: batches without producer id are appended as often as they come.
#[test]
fn a_batch_without_producer_is_never_a_duplicate() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.produce(connection, &Batch::plain());
    assert_eq!(scene.produce(connection, &Batch::plain()).base_offset, 1);
}
