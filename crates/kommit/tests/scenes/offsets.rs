//! Consumer offsets that travel with a transaction (P-29, T-25).

use std::collections::BTreeMap;

use kommit::{ConsumerGroupMetadata, Offset, OffsetAndMetadata, OffsetsError, Record, TopicPartition};
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{Stage, TOPIC, VERSIONS};

fn next(offset: i64) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    let next = OffsetAndMetadata::of_offset(Offset(offset));
    BTreeMap::from([(TopicPartition::new(TOPIC, 0), next)])
}

fn group() -> ConsumerGroupMetadata {
    ConsumerGroupMetadata::of_group("readers")
}

/// P-29: offsets count when their transaction commits, and not before.
#[tokio::test]
async fn offsets_count_from_the_commit_on() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        let record = Record::new(TOPIC).partition(0).value("result");
        drop(transaction.send(record).await.expect("room"));
        transaction.send_offsets(next(7), group()).await.expect("added");
        assert_eq!(stage.committed_offset("readers").await, None, "{version:?}");
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed_offset("readers").await, Some(7), "{version:?}");
        assert_eq!(stage.committed(0), ["result"], "{version:?}");
    }
}

/// P-29, D-17: offsets of an aborted transaction count never, and are not carried into the next one.
#[tokio::test]
async fn offsets_of_an_aborted_transaction_count_never() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        transaction.send_offsets(next(7), group()).await.expect("added");
        transaction.abort().await.expect("aborted");
        let transaction = producer.begin().await.expect("idle");
        transaction
            .send_offsets(next(3), ConsumerGroupMetadata::of_group("others"))
            .await
            .expect("added");
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed_offset("readers").await, None, "{version:?}");
        assert_eq!(stage.committed_offset("others").await, Some(3), "{version:?}");
    }
}

/// P-8: no offsets, no request.
#[tokio::test]
async fn empty_offsets_are_added_at_once() {
    let stage = Stage::set().await;
    let mut producer = stage.transactional("t", &[]).await;
    let transaction = producer.begin().await.expect("idle");
    transaction
        .send_offsets(BTreeMap::new(), group())
        .await
        .expect("nothing to do");
    transaction.commit().await.expect("committed");
    assert_eq!(
        stage.count(ApiKey::TxnOffsetCommit) + stage.count(ApiKey::EndTxn),
        0
    );
}

/// P-8: a generation without a member is an invalid argument, told before anything else, and the transaction goes on.
#[tokio::test]
async fn a_generation_needs_a_member() {
    let stage = Stage::set().await;
    let mut producer = stage.transactional("t", &[]).await;
    let transaction = producer.begin().await.expect("idle");
    let contradictory = ConsumerGroupMetadata {
        generation_id: Some(4),
        ..group()
    };
    for offsets in [next(7), BTreeMap::new()] {
        let error = transaction
            .send_offsets(offsets, contradictory.clone())
            .await
            .expect_err("no member");
        assert!(matches!(error, OffsetsError::InvalidGroup(_)), "{error}");
        assert!(!error.requires_abort() && !error.is_fatal() && !error.is_retriable());
    }
    transaction.send_offsets(next(7), group()).await.expect("added");
    transaction.commit().await.expect("committed");
    assert_eq!(stage.committed_offset("readers").await, Some(7));
}

/// R13, H23: a consumer that is no longer a member of its group cannot commit its offsets: abort.
#[tokio::test]
async fn a_removed_member_must_abort() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        let removed = ConsumerGroupMetadata {
            generation_id: Some(4),
            member_id: "removed".to_owned(),
            ..group()
        };
        let error = transaction
            .send_offsets(next(7), removed)
            .await
            .expect_err("no such member");
        assert!(
            error.requires_abort() && error.is_retriable() && !error.may_be_written(),
            "{error}"
        );
        let refused = transaction.commit().await.expect_err("the offsets are missing");
        assert!(refused.requires_abort(), "{version:?}: {refused}");
        drop(refused);
        let transaction = producer.begin().await.expect("aborted first");
        transaction.send_offsets(next(8), group()).await.expect("added");
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed_offset("readers").await, Some(8), "{version:?}");
    }
}

/// H25: a group coordinator that moved is looked up again.
#[tokio::test]
async fn a_coordinator_that_moved_is_found_again() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let moved = Verdict::Answer(ErrorCode::NotCoordinator);
        let rule = stage
            .broker
            .rule(Rule::on(ApiKey::TxnOffsetCommit, moved).times(2));
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        transaction
            .send_offsets(next(7), group())
            .await
            .expect("added in the end");
        transaction.commit().await.expect("committed");
        assert_eq!(rule.matches(), 3, "{version:?}");
        assert_eq!(stage.committed_offset("readers").await, Some(7), "{version:?}");
    }
}

/// P-32: offsets that nobody confirms in time can only be aborted by the application.
#[tokio::test]
async fn unconfirmed_offsets_time_out() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let rule = stage
            .broker
            .rule(Rule::on(ApiKey::TxnOffsetCommit, Verdict::Hold));
        let mut producer = stage.transactional("t", &[("max.block.ms", "1000")]).await;
        let transaction = producer.begin().await.expect("idle");
        let error = transaction
            .send_offsets(next(7), group())
            .await
            .expect_err("nobody answers");
        assert!(
            error.requires_abort() && error.to_string().contains("max.block.ms"),
            "{error}"
        );
        rule.remove();
        transaction.abort().await.expect("aborted");
        assert_eq!(stage.committed_offset("readers").await, None, "{version:?}");
    }
}
