//! Partitions of idempotent-only producers that stop behind a record of unknown fate (H07).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::*;
use kommit_txn_manager::*;

use crate::stage::*;

const EXPIRED: BatchFailure = BatchFailure {
    reason: FailureReason::Expired,
    fate: Fate::MayBeWritten,
};

fn fresh_gaps(stage: &mut Stage) -> Vec<PartitionIndex> {
    let mut gaps = Vec::new();
    stage.manager.drain_gaps(&mut gaps);
    gaps
}

/// An idempotent producer that stops behind gaps, with an acknowledged batch in partition 0.
fn stage_with_one_batch() -> Stage {
    let mut stage = Stage::idempotent_with(OnGap::Stop);
    stage.join(0);
    stage.join(1);
    let first = stage.drain(0, 1);
    stage.manager.batch_completed(&first);
    stage
}

/// H07, R4: the partition stops at once and alone; acknowledged, it goes on under a new epoch, because its next sequence is in doubt.
#[test]
fn a_stopped_partition_goes_on_under_a_new_epoch_once_its_gap_is_acknowledged() {
    let mut stage = stage_with_one_batch();
    let lost = stage.drain(0, 1);
    stage.manager.batch_failed(&lost, &EXPIRED);
    assert_eq!(fresh_gaps(&mut stage), [partition(0)]);
    assert_eq!(fresh_gaps(&mut stage), [], "told once");
    assert_eq!(stage.manager.stopped_partitions(), [topic_partition(0)]);
    stage.manager.resolve_sequences();
    stage.manager.refresh_identity();
    assert!(!stage.manager.may_drain(partition(0), None));
    assert!(stage.manager.may_drain(partition(1), None));
    assert_eq!(stage.manager.acknowledge_gap(&topic_partition(1)), None);
    assert_eq!(
        stage.manager.acknowledge_gap(&topic_partition(0)),
        Some(partition(0))
    );
    assert_eq!(stage.manager.stopped_partitions(), []);
    let next = stage.drain(0, 1);
    assert_eq!((next.identity, next.base_sequence), (identity(1), Sequence::ZERO));
}

/// H07: when a later batch succeeds, the one before it was written; no sequence is in doubt and the epoch stays.
#[test]
fn an_acknowledgement_behind_the_gap_keeps_the_epoch() {
    let mut stage = stage_with_one_batch();
    let unanswered = stage.drain(0, 1);
    let later = stage.drain(0, 1);
    stage.manager.batch_failed(&unanswered, &EXPIRED);
    stage.manager.batch_completed(&later);
    stage.manager.resolve_sequences();
    stage.manager.refresh_identity();
    assert_eq!(stage.manager.identity(), Some(identity(0)));
    stage.manager.acknowledge_gap(&topic_partition(0));
    assert_eq!(
        stage.drain(0, 1).base_sequence,
        Sequence::new(3).expect("positive")
    );
}

/// H07: behind a gap a batch that is proven not written is not repeated, not even under a new epoch; one that may be written is.
#[test]
fn behind_a_gap_only_what_may_be_written_is_repeated() {
    for code in [ErrorCode::OutOfOrderSequenceNumber, ErrorCode::NotEnoughReplicas] {
        let mut stage = stage_with_one_batch();
        let lost = stage.drain(0, 1);
        let later = stage.drain(0, 1);
        stage.manager.batch_failed(&lost, &EXPIRED);
        assert_eq!(
            stage.manager.retry(code, &later, Fate::NotWritten),
            Retry::Fail,
            "{code:?}"
        );
        stage.manager.batch_failed(&later, &not_written(code));
        assert_eq!(stage.renumberings(), []);
    }
    let mut stage = stage_with_one_batch();
    let lost = stage.drain(0, 1);
    let later = stage.drain(0, 1);
    stage.manager.batch_failed(&lost, &EXPIRED);
    let unknown = stage
        .manager
        .retry(ErrorCode::NetworkException, &later, Fate::MayBeWritten);
    assert_eq!(unknown, Retry::Requeue);
}

/// H07: whoever chose so goes on, and a batch that is proven not written stops nobody.
#[test]
fn nothing_stops_without_a_gap_or_without_the_wish() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    let lost = stage.drain(0, 1);
    stage.manager.batch_failed(&lost, &EXPIRED);
    assert_eq!(stage.manager.stopped_partitions(), []);
    let mut stage = stage_with_one_batch();
    let refused = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&refused, &not_written(ErrorCode::InvalidRecord));
    assert_eq!(stage.manager.stopped_partitions(), []);
}

/// H07, R12: a transaction with a record of unknown fate cannot be committed, which is enough: its partitions do not stop.
#[test]
fn a_transactional_producer_has_no_gaps() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    let lost = stage.drain(0, 1);
    stage.manager.batch_failed(&lost, &EXPIRED);
    assert_eq!(stage.manager.stopped_partitions(), []);
    assert_eq!(stage.state(), StateName::AbortableError);
}
