//! Two instances with one transactional id: the newer one goes on, the older one is told that it is dead (H22, R9).

use kommit::{BeginError, CommitError, ConnectError, TransactionFate, TransactionalProducer};
use kommit_broker::{Rule, TransactionVersion, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{Stage, VERSIONS, commits, record, writes};

/// P-26, P-35, H18: a newer instance ends the open transaction of the older one, whose commit fails and which is dead from then on.
#[tokio::test]
async fn a_fenced_instance_cannot_commit() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut older = stage.transactional("t", &[]).await;
        let transaction = older.begin().await.expect("idle");
        writes(&transaction, "older").await;
        let mut newer = stage.transactional("t", &[]).await;
        match transaction.commit().await.expect_err("fenced") {
            CommitError::Dead(dead) => {
                assert!(dead.is_fenced() && dead.is_fatal(), "{version:?}: {dead}");
                assert_eq!(dead.transaction(), TransactionFate::NotCommitted, "{version:?}");
                assert!(dead.to_string().contains("\"t\""), "{dead}");
            }
            other => panic!("{version:?}: {other}"),
        }
        let again = older.begin().await.expect_err("dead");
        assert!(
            matches!(&again, BeginError::Dead(dead) if dead.is_fenced()),
            "{again}"
        );
        commits(&mut newer, "newer").await;
        assert_eq!(stage.committed(0), ["newer"], "{version:?}");
    }
}

/// T-103, T-104: a fenced instance that goes on sending hears of it at the latest from its abort; with version 2 its first record is told
/// that the epoch is old.
#[tokio::test]
async fn a_fenced_instance_that_sends_is_told_by_its_abort() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut older = stage.transactional("t", &[]).await;
        commits(&mut older, "before").await;
        let mut newer = stage.transactional("t", &[]).await;
        commits(&mut newer, "newer").await;
        let transaction = older.begin().await.expect("nobody has told it yet");
        // With version 1 the refusal comes before the record is sent at all, and with version 2 as its answer.
        if let Ok(delivery) = transaction.send(record("zombie")).await {
            let refused = delivery.await.expect_err("refused");
            let is_old_epoch = refused.code() == Some(ErrorCode::InvalidProducerEpoch);
            assert_eq!(is_old_epoch, version == TransactionVersion::V2, "{refused}");
        }
        let ended = match transaction.commit().await.expect_err("fenced") {
            CommitError::MustAbort(must_abort) => must_abort.abort().await.expect_err("fenced").give_up(),
            error => error.give_up(),
        };
        assert!(
            ended.is_fatal() && !ended.may_be_written(),
            "{version:?}: {ended}"
        );
        older.begin().await.expect_err("dead");
        commits(&mut newer, "after").await;
        assert_eq!(stage.committed(0), ["before", "newer", "after"], "{version:?}");
    }
}

/// H18, B-103: between the end of its transaction by a newer instance and that one's new epoch, a commit is answered with INVALID_TXN_STATE:
/// fenced as well, with both causes named, since a time-out looks the same.
#[tokio::test]
async fn a_commit_that_finds_nothing_to_end_is_fenced() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let ended = Verdict::Answer(ErrorCode::InvalidTxnState);
        let _rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, ended).once());
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("a")).await.expect("room"));
        let Err(CommitError::Dead(dead)) = transaction.commit().await else {
            panic!("{version:?}: there is nothing to commit");
        };
        assert!(dead.is_fenced(), "{dead}");
        assert_eq!(dead.transaction(), TransactionFate::NotCommitted, "{dead}");
        for cause in ["another instance", "transaction.timeout.ms"] {
            assert!(dead.to_string().contains(cause), "{dead}");
        }
    }
}

/// P-26: an instance that connects again after the first one was closed is fenced by nobody.
#[tokio::test]
async fn a_restarted_instance_goes_on() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        for value in ["first", "second"] {
            let mut producer = stage.transactional("t", &[]).await;
            commits(&mut producer, value).await;
            producer
                .close(crate::stage::LONG)
                .await
                .expect("a graceful close");
        }
        assert_eq!(stage.committed(0), ["first", "second"], "{version:?}");
    }
}

/// P-27: who could not initialise, because nobody answered or nobody was allowed, may do so later under the same name.
#[tokio::test]
async fn a_failed_initialisation_may_be_repeated() {
    let stage = Stage::set().await;
    let config = stage.config(&[("transactional.id", "t"), ("max.block.ms", "1000")]);
    let silent = stage
        .broker
        .rule(Rule::on(ApiKey::InitProducerId, Verdict::DropRequest));
    let error = TransactionalProducer::connect(config.clone())
        .await
        .expect_err("nobody answers");
    assert!(
        matches!(error, ConnectError::TimedOut { .. }) && error.is_retriable(),
        "{error}"
    );
    silent.remove();
    let refusal = Verdict::Answer(ErrorCode::TransactionalIdAuthorizationFailed);
    let refusing = stage.broker.rule(Rule::on(ApiKey::InitProducerId, refusal));
    let error = TransactionalProducer::connect(config.clone())
        .await
        .expect_err("not allowed");
    assert!(matches!(error, ConnectError::Refused(_)), "{error}");
    refusing.remove();
    let mut producer = TransactionalProducer::connect(config).await.expect("allowed");
    commits(&mut producer, "at last").await;
    assert_eq!(stage.committed(0), ["at last"]);
}
