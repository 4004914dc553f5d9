//! Idempotent-only producers: identities and epochs without a coordinator (2.14, R4).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::InitProducerIdResponse;
use kommit_protocol::units::*;
use kommit_txn_manager::*;

use crate::stage::*;

/// T-44, T-95, S-29: the identity is asked for by itself, from any node.
#[test]
fn an_idempotent_producer_asks_any_node_for_its_identity() {
    let mut manager = TransactionManager::new(TransactionConfig::idempotent());
    assert!(!manager.may_drain(partition(0), None), "A-48 b");
    manager.refresh_identity();
    manager.refresh_identity();
    let request = manager
        .next_request(Batches::SomeIncomplete, NOW)
        .expect("InitProducerId");
    assert_eq!(
        (request.kind(), request.coordinator()),
        (RequestKind::InitProducerId, None)
    );
    let RequestBody::InitProducerId(body) = request.body() else {
        panic!("asserted above")
    };
    assert_eq!(
        (body.transactional_id.as_ref(), body.transaction_timeout_ms),
        (None, i32::MAX)
    );
    let yes = answer(&request, ErrorCode::None);
    manager.answered(request, yes);
    assert_eq!(
        (manager.state(), manager.identity()),
        (StateName::Ready, Some(identity(0)))
    );
}

/// T-81, T-82, T-93, T-94: a batch that is proven not written leaves a gap; the epoch is bumped without a request.
#[test]
fn a_failed_batch_bumps_the_epoch_locally() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    let batch = stage.drain(0, 2);
    stage
        .manager
        .batch_failed(&batch, &not_written(ErrorCode::InvalidRecord));
    assert!(
        !stage.manager.may_drain(partition(0), None),
        "the bump comes first"
    );
    stage.manager.refresh_identity();
    stage.expect_nothing();
    let next = stage.drain(0, 1);
    assert_eq!((next.identity, next.base_sequence), (identity(1), Sequence::ZERO));
}

/// R4, H08: the epoch waits for every batch of unknown fate, on every partition.
#[test]
fn the_epoch_waits_for_unknown_batches_of_all_partitions() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    stage.join(1);
    let unknown = stage.drain(1, 1);
    let refused = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&refused, &not_written(ErrorCode::InvalidRecord));
    stage.manager.refresh_identity();
    assert_eq!(
        stage.manager.identity(),
        Some(identity(0)),
        "partition 1 is without an answer"
    );
    let retry = stage
        .manager
        .retry(ErrorCode::NetworkException, &unknown, Fate::MayBeWritten);
    assert_eq!(retry, Retry::Requeue);
    stage.manager.refresh_identity();
    assert_eq!(stage.manager.identity(), Some(identity(0)), "its fate is unknown");
    assert!(
        stage
            .manager
            .may_drain(partition(1), Some((unknown.identity, unknown.base_sequence))),
        "it goes on"
    );
    stage.manager.batch_completed(&unknown);
    stage.manager.refresh_identity();
    assert_eq!(stage.manager.identity(), Some(identity(1)));
}

/// R4, A-48 e: the epoch that waits for an unknown batch does not hold back those that this batch waits for.
#[test]
fn what_an_unknown_batch_waits_for_goes_on() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    stage.join(1);
    let acked = stage.drain(1, 1);
    stage.manager.batch_completed(&acked);
    let first = stage.drain(1, 1);
    let unknown = stage.drain(1, 1);
    let refused = stage.drain(0, 1);
    let code = ErrorCode::NotEnoughReplicas;
    stage.manager.retry(code, &first, Fate::NotWritten);
    let named = Some((first.identity, first.base_sequence));
    stage
        .manager
        .batch_failed(&refused, &not_written(ErrorCode::InvalidRecord));
    assert!(
        !stage.manager.may_drain(partition(1), named),
        "the answer to the one behind it may still come"
    );
    stage
        .manager
        .retry(ErrorCode::NetworkException, &unknown, Fate::MayBeWritten);
    stage.manager.refresh_identity();
    assert_eq!(stage.manager.identity(), Some(identity(0)));
    assert!(stage.manager.may_drain(partition(1), named));
    stage.manager.batch_completed(&first);
    let named = Some((unknown.identity, unknown.base_sequence));
    assert!(stage.manager.may_drain(partition(1), named));
    stage.manager.batch_completed(&unknown);
    stage.manager.refresh_identity();
    assert_eq!(stage.manager.identity(), Some(identity(1)));
}

/// T-70, T-85: what waits behind a gap, proven not written, is renumbered under the new epoch, in order.
#[test]
fn batches_behind_a_gap_are_renumbered_and_sent_again() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    let acked = stage.drain(0, 5);
    stage.manager.batch_completed(&acked);
    let gap = stage.drain(0, 1);
    let second = stage.drain(0, 2);
    let third = stage.drain(0, 3);
    stage
        .manager
        .batch_failed(&gap, &not_written(ErrorCode::InvalidRecord));
    for batch in [&second, &third] {
        let code = ErrorCode::OutOfOrderSequenceNumber;
        assert_eq!(stage.manager.retry(code, batch, Fate::NotWritten), Retry::Requeue);
    }
    assert!(
        !stage
            .manager
            .may_drain(partition(0), Some((second.identity, second.base_sequence))),
        "R4"
    );
    stage.manager.refresh_identity();
    let renumbered: Vec<_> = stage
        .renumberings()
        .iter()
        .map(|told| (told.batch, told.base_sequence))
        .collect();
    assert_eq!(renumbered, [(second, sequence(0)), (third, sequence(2))]);
    assert!(
        !stage
            .manager
            .may_drain(partition(0), Some((identity(1), sequence(2)))),
        "A-48 e"
    );
    assert!(
        stage
            .manager
            .may_drain(partition(0), Some((identity(1), sequence(0))))
    );
}

/// T-96, H12: another partition keeps its epoch until its batches are done, then starts at 0.
#[test]
fn other_partitions_follow_the_new_epoch_when_they_are_quiet() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    stage.join(1);
    let waiting = stage.drain(1, 1);
    assert_eq!(
        stage
            .manager
            .retry(ErrorCode::NotEnoughReplicas, &waiting, Fate::NotWritten),
        Retry::Requeue
    );
    let refused = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&refused, &not_written(ErrorCode::InvalidRecord));
    stage.manager.refresh_identity();
    assert_eq!(
        (stage.manager.identity(), stage.renumberings()),
        (Some(identity(1)), vec![])
    );
    assert!(!stage.manager.may_drain(partition(1), None));
    assert!(
        stage
            .manager
            .may_drain(partition(1), Some((identity(0), sequence(0))))
    );
    stage.manager.batch_completed(&waiting);
    let next = stage.drain(1, 1);
    assert_eq!((next.identity, next.base_sequence), (identity(1), Sequence::ZERO));
}

/// H08, R4: a batch of unknown fate that is out of order at the head is not sent under a new name; it fails.
#[test]
fn a_batch_of_unknown_fate_is_never_sent_under_a_new_name() {
    for code in [ErrorCode::OutOfOrderSequenceNumber, ErrorCode::UnknownProducerId] {
        let mut stage = Stage::idempotent();
        stage.join(0);
        let batch = stage.drain(0, 1);
        assert_eq!(
            stage.manager.retry(code, &batch, Fate::MayBeWritten),
            Retry::Fail,
            "{code:?}"
        );
        stage.manager.batch_failed(&batch, &perhaps_written(code));
        stage.manager.refresh_identity();
        assert_eq!(
            stage.manager.identity(),
            Some(identity(1)),
            "{code:?}: surfaced, so the epoch may go on"
        );
    }
}

/// D-15: a batch that later ones have overtaken was written; it is repeated as it is, without a bump.
#[test]
fn an_overtaken_batch_is_repeated_as_it_is() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    let acked = stage.drain(0, 1);
    stage.manager.batch_completed(&acked);
    let lost = stage.drain(0, 1);
    let later = stage.drain(0, 1);
    stage.manager.batch_completed(&later);
    let code = ErrorCode::OutOfOrderSequenceNumber;
    assert_eq!(
        stage.manager.retry(code, &lost, Fate::MayBeWritten),
        Retry::Requeue
    );
    stage.manager.refresh_identity();
    assert_eq!(stage.manager.identity(), Some(identity(0)));
}

/// T-89: lost acknowledgements bump the epoch once the partition is quiet, unless a later batch succeeded.
#[test]
fn lost_acknowledgements_bump_the_epoch_unless_a_later_batch_succeeded() {
    for later_succeeds in [true, false] {
        let mut stage = Stage::idempotent();
        stage.join(0);
        let acked = stage.drain(0, 1);
        stage.manager.batch_completed(&acked);
        let lost = stage.drain(0, 1);
        let later = stage.drain(0, 1);
        let expired = BatchFailure {
            reason: FailureReason::Expired,
            fate: Fate::MayBeWritten,
        };
        stage.manager.batch_failed(&lost, &expired);
        stage.manager.mark_unresolved(&lost);
        if later_succeeds {
            stage.manager.batch_completed(&later);
        } else {
            stage.manager.batch_failed(&later, &expired);
        }
        stage.manager.resolve_sequences();
        stage.manager.refresh_identity();
        let epoch = if later_succeeds { 0 } else { 1 };
        assert_eq!(stage.manager.identity(), Some(identity(epoch)));
    }
}

/// T-94, T-97, D-6: behind the last epoch comes a new producer id. What waits is not sent before, and is renumbered under it.
#[test]
fn used_up_epochs_lead_to_a_new_producer_id() {
    let mut manager = TransactionManager::new(TransactionConfig::idempotent());
    manager.refresh_identity();
    give(&mut manager, 7, i16::MAX);
    manager
        .join(partition(0), &topic_partition(0))
        .expect("not failed");
    let stamp = manager.stamp(partition(0), 2);
    let batch = BatchId {
        partition: partition(0),
        identity: stamp.identity,
        base_sequence: stamp.base_sequence,
        records: 2,
    };
    let code = ErrorCode::OutOfOrderSequenceNumber;
    assert_eq!(manager.retry(code, &batch, Fate::NotWritten), Retry::Requeue);
    for _turn in 0..2 {
        manager.refresh_identity();
        assert_eq!(
            (manager.state(), manager.identity()),
            (StateName::Initializing, None)
        );
    }
    assert!(!manager.may_drain(partition(0), Some((batch.identity, batch.base_sequence))));
    give(&mut manager, 8, 0);
    let mut renumberings = Vec::new();
    manager.drain_renumberings(&mut renumberings);
    let fresh = Identity {
        id: ProducerId(8),
        epoch: ProducerEpoch(0),
    };
    assert_eq!(
        renumberings,
        [Renumbering {
            batch,
            identity: fresh,
            base_sequence: Sequence::ZERO
        }]
    );
    assert!(manager.may_drain(partition(0), Some((fresh, Sequence::ZERO))));
}

fn give(manager: &mut TransactionManager, id: i64, epoch: i16) {
    let request = manager
        .next_request(Batches::AllComplete, NOW)
        .expect("InitProducerId");
    let response = InitProducerIdResponse {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        ..InitProducerIdResponse::default()
    };
    manager.answered(request, Answer::Response(ResponseBody::InitProducerId(response)));
}

/// D-11, S-25: without permission the identity is asked for again, with a growing pause.
#[test]
fn a_refused_identity_is_asked_for_again_with_a_pause() {
    let mut manager = TransactionManager::new(TransactionConfig::idempotent());
    let mut pauses = Vec::new();
    for _ in 0..4 {
        manager.refresh_identity();
        let request = manager
            .next_request(Batches::AllComplete, NOW)
            .expect("InitProducerId");
        pauses.push(request.retry_after().as_millis());
        let no = answer(&request, ErrorCode::ClusterAuthorizationFailed);
        manager.answered(request, no);
        assert!(manager.recover_authorization().is_some());
    }
    assert_eq!(pauses, [0, 100, 200, 400]);
}

/// S-63, A-77, H27: the parts of a batch that was too large keep its sequences and go out in order.
#[test]
fn the_parts_of_a_split_batch_go_out_in_order() {
    let mut stage = Stage::idempotent();
    stage.join(0);
    let whole = stage.drain(0, 5);
    let stamps = stage.manager.split(&whole, &[3, 2]);
    let bases: Vec<_> = stamps.iter().map(|stamp| stamp.base_sequence).collect();
    assert_eq!(bases, [sequence(0), sequence(3)]);
    assert!(
        !stage
            .manager
            .may_drain(partition(0), Some((identity(0), sequence(3))))
    );
    assert!(
        stage
            .manager
            .may_drain(partition(0), Some((identity(0), sequence(0))))
    );
}
