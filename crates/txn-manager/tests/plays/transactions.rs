//! Transactions from begin to end, in both flavours.

use crate::stage::*;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::*;
use kommit_txn_manager::*;

const BOTH: [Flavour; 2] = [Flavour::V1, Flavour::V2];

/// T-40, T-46, T-77: V1 announces its partitions, ends at the same epoch and needs no bump when everything was answered.
#[test]
fn a_v1_transaction_announces_its_partitions_and_keeps_its_epoch() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    stage.join(1);
    assert!(!stage.manager.may_drain(partition(0), None), "not announced yet");
    let request = stage.take(RequestKind::AddPartitionsToTxn);
    let RequestBody::AddPartitionsToTxn(body) = request.body() else {
        panic!("asserted above")
    };
    assert_eq!(body.v3_and_below_topics.len(), 1);
    assert_eq!(
        body.v3_and_below_topics[0].partitions,
        [PartitionId(0), PartitionId(1)]
    );
    let yes = answer(&request, ErrorCode::None);
    stage.manager.answered(request, yes);
    let batch = stage.drain(0, 2);
    stage.manager.batch_completed(&batch);
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(
        (stage.state(), stage.manager.identity()),
        (StateName::Ready, Some(identity(0)))
    );
    stage.begin_with_partition();
    assert_eq!(
        stage.drain(0, 1).base_sequence,
        sequence(2),
        "the sequences go on"
    );
}

/// T-31, T-77, T-100: V2 announces nothing, and EndTxn brings the next epoch, under which sequences start at 0.
#[test]
fn a_v2_transaction_announces_nothing_and_ends_with_the_next_epoch() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.join(0);
    stage.expect_nothing();
    let batch = stage.drain(0, 2);
    stage.manager.batch_completed(&batch);
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(stage.manager.identity(), Some(identity(1)));
    stage.begin();
    stage.join(0);
    let next = stage.drain(0, 1);
    assert_eq!((next.identity, next.base_sequence), (identity(1), Sequence::ZERO));
}

/// T-77, H14: used-up epochs arrive as a new producer id.
#[test]
fn a_new_producer_id_in_the_end_of_a_transaction_is_adopted() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    stage.commit();
    let request = stage.take(RequestKind::EndTxn);
    let response = kommit_protocol::messages::EndTxnResponse {
        producer_id: ProducerId(8),
        producer_epoch: ProducerEpoch(0),
        ..Default::default()
    };
    stage
        .manager
        .answered(request, Answer::Response(ResponseBody::EndTxn(response)));
    let fresh = Identity {
        id: ProducerId(8),
        epoch: ProducerEpoch(0),
    };
    assert_eq!(stage.manager.identity(), Some(fresh));
    stage.begin_with_partition();
    assert_eq!(stage.drain(0, 1).identity, fresh);
}

/// T-40 (3), R5: EndTxn waits for the last batch.
#[test]
fn the_end_waits_for_the_last_batch() {
    for flavour in BOTH {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        stage.commit();
        assert!(stage.manager.next_request(Batches::SomeIncomplete, NOW).is_none());
        let _end = stage.take(RequestKind::EndTxn);
    }
}

/// R5, T-111: a partition whose first record was found after the commit was asked for still joins before the end.
#[test]
fn a_late_partition_joins_before_the_end() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage.commit();
    stage.join(1);
    stage.succeed(RequestKind::AddPartitionsToTxn);
    assert!(stage.manager.may_drain(partition(1), None));
    let _end = stage.take(RequestKind::EndTxn);
}

/// S-26: one request at a time.
#[test]
fn one_request_is_out_at_a_time() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    stage.offsets(1);
    let first = stage.take(RequestKind::AddOffsetsToTxn);
    stage.expect_nothing();
    let yes = answer(&first, ErrorCode::None);
    stage.manager.answered(first, yes);
    let _second = stage.take(RequestKind::AddPartitionsToTxn);
}

/// T-42, P-33: an empty transaction ends without a request.
#[test]
fn an_empty_transaction_ends_without_a_request() {
    for flavour in BOTH {
        let mut stage = Stage::transactional(flavour);
        for commits in [true, false] {
            stage.begin();
            if commits {
                stage.commit()
            } else {
                stage.abort()
            }
            stage.expect_nothing();
            let expected = if commits {
                Outcome::Committed
            } else {
                Outcome::Aborted
            };
            assert_eq!(stage.outcomes(), [expected]);
            assert_eq!(
                (stage.state(), stage.manager.identity()),
                (StateName::Ready, Some(identity(0)))
            );
        }
    }
}

/// H16: V2 ends a transaction whose only record failed, because the produce request may have added the partition.
#[test]
fn a_v2_transaction_whose_records_all_failed_is_still_ended() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin_with_partition();
    let batch = stage.drain(0, 1);
    stage
        .manager
        .batch_failed(&batch, &not_written(ErrorCode::MessageTooLarge));
    stage.abort();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
}

/// H16: an unanswered AddPartitionsToTxn has to be ended, and a coordinator that knows of nothing confirms the abort.
#[test]
fn an_unanswered_addition_is_ended_even_if_the_coordinator_knows_of_nothing() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    stage.disconnect(RequestKind::AddPartitionsToTxn);
    stage.manager.records_failed(None, &FailureReason::Expired);
    stage.abort();
    stage.succeed(RequestKind::FindCoordinator);
    stage.fail(RequestKind::EndTxn, ErrorCode::InvalidTxnState);
    assert_eq!(stage.outcomes(), [], "R6: the late copy is fenced off first");
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    assert_eq!(stage.manager.identity(), Some(identity(1)));
}

/// T-24, T-26: V1 adds the group, then commits the offsets; the ticket waits for both.
#[test]
fn v1_offsets_take_two_requests_and_one_answer() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.offsets(2);
    stage.succeed(RequestKind::AddOffsetsToTxn);
    assert_eq!(stage.outcomes(), []);
    stage.succeed(RequestKind::TxnOffsetCommit);
    assert_eq!(stage.outcomes(), [Outcome::OffsetsAdded]);
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// T-25: V2 commits the offsets directly, and the transaction has something to end from then on.
#[test]
fn v2_offsets_take_one_request() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(1);
    stage.succeed(RequestKind::TxnOffsetCommit);
    assert_eq!(stage.outcomes(), [Outcome::OffsetsAdded]);
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
}

/// D-17, T-114: offsets that were not acknowledged end with their transaction.
#[test]
fn unacknowledged_offsets_never_reach_the_next_transaction() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(2);
    stage.fail(RequestKind::TxnOffsetCommit, ErrorCode::IllegalGeneration);
    stage.abort();
    stage.succeed(RequestKind::EndTxn);
    stage.outcomes();
    stage.begin();
    stage.offsets_of(ConsumerGroupMetadata::of_group("others"), 1);
    let request = stage.take(RequestKind::TxnOffsetCommit);
    let RequestBody::TxnOffsetCommit(body) = request.body() else {
        panic!("asserted above")
    };
    assert_eq!(body.group_id, "others");
    assert_eq!(body.topics[0].partitions.len(), 1);
}

/// T-26, T-79: group metadata travels, and needs version 3.
#[test]
fn offsets_of_a_group_member_need_version_3() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    let member = ConsumerGroupMetadata {
        generation_id: Some(4),
        member_id: "m-1".into(),
        ..ConsumerGroupMetadata::of_group("readers")
    };
    stage.offsets_of(member, 1);
    stage.succeed(RequestKind::AddOffsetsToTxn);
    let request = stage.take(RequestKind::TxnOffsetCommit);
    assert_eq!((request.min_version(), request.max_version()), (Some(3), Some(4)));
    assert_eq!(request.coordinator(), Some(CoordinatorType::Group));
    stage.manager.answered(request, Answer::VersionMismatch);
    assert_eq!(stage.state(), StateName::FatalError);
}

/// T-78: only the partitions that failed keep the request alive, and the group coordinator is looked up once.
#[test]
fn offsets_are_repeated_until_every_partition_is_acknowledged() {
    let mut stage = Stage::transactional(Flavour::V2);
    stage.begin();
    stage.offsets(2);
    stage.fail(RequestKind::TxnOffsetCommit, ErrorCode::NotCoordinator);
    let lookup = stage.take(RequestKind::FindCoordinator);
    let RequestBody::FindCoordinator(body) = lookup.body() else {
        panic!("asserted above")
    };
    assert_eq!((body.key.as_str(), body.key_type), ("readers", 0));
    let found = answer(&lookup, ErrorCode::None);
    stage.manager.answered(lookup, found);
    let request = stage.take(RequestKind::TxnOffsetCommit);
    assert!(request.is_retry());
    let yes = answer(&request, ErrorCode::None);
    stage.manager.answered(request, yes);
    assert_eq!(stage.outcomes(), [Outcome::OffsetsAdded]);
}

/// T-31, S-51: the version caps keep a V1 transaction V1 and let a V2 one be V2.
#[test]
fn version_caps_follow_the_flavour_of_the_transaction() {
    for (flavour, end, produce) in [(Flavour::V1, Some(4), Some(11)), (Flavour::V2, None, None)] {
        let mut stage = Stage::transactional(flavour);
        stage.begin_with_partition();
        assert_eq!(stage.manager.max_produce_version(), produce);
        stage.commit();
        assert_eq!(stage.take(RequestKind::EndTxn).max_version(), end);
    }
}

/// R10, D-10: features that change in mid-transaction change nothing in it.
#[test]
fn the_flavour_is_latched_at_begin() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.level(2, 2);
    stage.join(0);
    stage.succeed(RequestKind::AddPartitionsToTxn);
    assert_eq!(stage.manager.max_produce_version(), Some(11));
    stage.commit();
    assert_eq!(stage.take(RequestKind::EndTxn).max_version(), Some(4));
}

/// T-29, T-77: behind the upgrade the next transaction speaks V2, under a fresh epoch.
#[test]
fn an_upgrade_bumps_the_epoch_before_the_first_v2_transaction() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin_with_partition();
    stage.level(2, 2);
    stage.commit();
    stage.succeed(RequestKind::EndTxn);
    assert_eq!(stage.outcomes(), []);
    stage.succeed(RequestKind::InitProducerId);
    assert_eq!(stage.outcomes(), [Outcome::Committed]);
    assert_eq!(stage.manager.identity(), Some(identity(1)));
    stage.begin();
    assert_eq!(stage.manager.flavour(), Flavour::V2);
}

/// How long each attempt of a request waits that is refused again and again.
fn pauses(stage: &mut Stage, kind: RequestKind, code: ErrorCode) -> [u128; 4] {
    std::array::from_fn(|_| {
        let request = stage.take(kind);
        let pause = request.retry_after().as_millis();
        let refusal = answer(&request, code);
        stage.manager.answered(request, refusal);
        pause
    })
}

/// T-74: the wait for the markers of the previous transaction is short, doubles, and ends with the first partition.
#[test]
fn a_transaction_right_behind_another_waits_a_millisecond_not_a_backoff() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    let busy = ErrorCode::ConcurrentTransactions;
    let kind = RequestKind::AddPartitionsToTxn;
    assert_eq!(pauses(&mut stage, kind, busy), [0, 1, 2, 4]);
    stage.succeed(kind);
    stage.join(1);
    assert_eq!(pauses(&mut stage, kind, busy)[..2], [0, 100]);
}

/// T-74, T-77, T-78: so do offsets that are the first of a transaction; whatever else refuses them costs the usual back-off.
#[test]
fn offsets_right_behind_another_transaction_wait_a_millisecond_not_a_backoff() {
    let kinds = [
        (Flavour::V1, RequestKind::AddOffsetsToTxn),
        (Flavour::V2, RequestKind::TxnOffsetCommit),
    ];
    for (flavour, kind) in kinds {
        let mut stage = Stage::transactional(flavour);
        stage.begin();
        stage.offsets(1);
        let busy = pauses(&mut stage, kind, ErrorCode::ConcurrentTransactions);
        assert_eq!(busy, [0, 1, 2, 4], "{kind:?}");
        let loading = pauses(&mut stage, kind, ErrorCode::CoordinatorLoadInProgress);
        assert!(loading[1] >= 100, "{kind:?}: {loading:?}");
        stage.succeed(kind);
    }
}

/// T-74: the short wait is over with any other refusal, also with one that has the coordinator looked up.
#[test]
fn a_coordinator_that_moved_is_not_asked_in_a_millisecond() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.offsets(1);
    let kind = RequestKind::AddOffsetsToTxn;
    stage.fail(kind, ErrorCode::ConcurrentTransactions);
    stage.fail(kind, ErrorCode::NotCoordinator);
    stage.succeed(RequestKind::FindCoordinator);
    assert!(stage.take(kind).retry_after().as_millis() >= 100);
}

/// T-76, T-106: a partition that may not be used condemns the transaction; the abort brings the producer back.
#[test]
fn a_denied_topic_condemns_the_transaction_only() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    stage.fail(
        RequestKind::AddPartitionsToTxn,
        ErrorCode::TopicAuthorizationFailed,
    );
    assert_eq!(stage.state(), StateName::AbortableError);
    let ticket = stage.ticket();
    let refused = stage.manager.begin_commit(ticket).expect_err("condemned");
    assert!(
        refused.to_string().contains("TOPIC_AUTHORIZATION_FAILED"),
        "{refused}"
    );
    stage.abort();
    stage.expect_nothing();
    assert_eq!(stage.outcomes(), [Outcome::Aborted]);
    assert_eq!(stage.state(), StateName::Ready);
}

/// T-46, T-76: partitions that a response leaves out are asked for again.
#[test]
fn a_partition_missing_from_the_response_is_announced_again() {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    let request = stage.take(RequestKind::AddPartitionsToTxn);
    let empty = Answer::Response(ResponseBody::AddPartitionsToTxn(Default::default()));
    stage.manager.answered(request, empty);
    assert!(!stage.manager.may_drain(partition(0), None));
    stage.succeed(RequestKind::AddPartitionsToTxn);
    assert!(stage.manager.may_drain(partition(0), None));
}
