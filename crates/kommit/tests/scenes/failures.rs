//! Records that fail inside a transaction: the commit is refused, the abort works, and the next transaction is as good as new.

use kommit::{AbortError, CommitError, Record, TopicPartition, TransactionFate, TransactionalProducer};
use kommit_broker::{Rule, TransactionVersion, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{Stage, TOPIC, VERSIONS, commits, record, until};

async fn commits_again(stage: &Stage, producer: &mut TransactionalProducer) {
    commits(producer, "good").await;
    assert_eq!(stage.committed(0), ["good"]);
}

/// R12: a record that the broker refused makes the commit impossible; `abort` repairs it.
#[tokio::test]
async fn a_failed_record_forbids_the_commit() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let refusal = Verdict::Answer(ErrorCode::InvalidTimestamp);
        let rule = stage.broker.rule(Rule::on(ApiKey::Produce, refusal));
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        let delivery = transaction.send(record("refused")).await.expect("room");
        let failure = delivery.await.expect_err("refused by the broker");
        assert!(failure.requires_abort() && !failure.may_be_written(), "{failure}");
        rule.remove();
        match transaction.commit().await.expect_err("a record is missing") {
            CommitError::MustAbort(must_abort) => {
                assert!(
                    must_abort.error().to_string().contains("Abort"),
                    "{}",
                    must_abort.error()
                );
                must_abort.abort().await.expect("aborted");
            }
            other => panic!("only an abort is left: {other}"),
        }
        commits_again(&stage, &mut producer).await;
    }
}

/// R12: also when nobody looked at the delivery, and when the failure comes while the commit waits.
#[tokio::test]
async fn a_commit_does_not_succeed_without_its_records() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let refusal = Verdict::Answer(ErrorCode::InvalidTimestamp);
        let rule = stage.broker.rule(Rule::on(ApiKey::Produce, refusal));
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("refused")).await.expect("room"));
        let error = transaction.commit().await.expect_err("a record is missing");
        assert!(
            error.requires_abort() && error.is_retriable() && !error.is_fatal(),
            "{error}"
        );
        let told = error.give_up();
        assert_eq!(told.transaction(), TransactionFate::NotCommitted);
        rule.remove();
        commits_again(&stage, &mut producer).await;
    }
}

/// P-54, T-84, D-9: once a record has failed, no further one is taken.
#[tokio::test]
async fn a_condemned_transaction_takes_no_more_records() {
    let stage = Stage::set().await;
    let refusal = Verdict::Answer(ErrorCode::InvalidTimestamp);
    let rule = stage.broker.rule(Rule::on(ApiKey::Produce, refusal));
    let mut producer = stage.transactional("t", &[]).await;
    let transaction = producer.begin().await.expect("idle");
    let delivery = transaction.send(record("refused")).await.expect("room");
    delivery.await.expect_err("refused by the broker");
    rule.remove();
    let error = transaction.send(record("late")).await.expect_err("condemned");
    assert!(error.requires_abort(), "{error}");
    transaction.abort().await.expect("aborted");
    commits_again(&stage, &mut producer).await;
}

/// R12, H06: a record that expired without an answer condemns its transaction, and its late copy never becomes visible.
#[tokio::test]
async fn an_expired_record_forbids_the_commit() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::DropRequest));
        let keys = [
            ("request.timeout.ms", "60000"),
            ("delivery.timeout.ms", "60000"),
            ("brokers_verify_partitions", "true"),
        ];
        let mut producer = stage.transactional("t", &keys).await;
        let metrics = producer.metrics();
        let transaction = producer.begin().await.expect("idle");
        let delivery = transaction.send(record("expires")).await.expect("room");
        until("the record is sent", || rule.matches() == 1).await;
        stage.pass(60_000, &metrics).await;
        let failure = delivery.await.expect_err("nobody answered");
        assert!(failure.requires_abort() && failure.may_be_written(), "{failure}");
        rule.remove();
        let error = transaction.commit().await.expect_err("a record is missing");
        match error {
            CommitError::MustAbort(must_abort) => must_abort.abort().await.expect("aborted"),
            other => panic!("only an abort is left: {other}"),
        }
        commits_again(&stage, &mut producer).await;
    }
}

/// H03: with version 1, an abort over a record that may still be on its way ends the producer, unless the brokers are known to verify.
#[tokio::test]
async fn an_abort_over_a_record_on_its_way_ends_a_version_1_producer() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::DropRequest));
        let keys = [("request.timeout.ms", "60000"), ("delivery.timeout.ms", "60000")];
        let mut producer = stage.transactional("t", &keys).await;
        let metrics = producer.metrics();
        let transaction = producer.begin().await.expect("idle");
        let delivery = transaction.send(record("on its way")).await.expect("room");
        until("the record is sent", || rule.matches() == 1).await;
        stage.pass(60_000, &metrics).await;
        delivery.await.expect_err("nobody answered");
        rule.remove();
        match transaction.abort().await {
            Ok(()) => assert_eq!(version, TransactionVersion::V2),
            Err(AbortError::Dead(dead)) => {
                assert_eq!(version, TransactionVersion::V1);
                assert_eq!(dead.transaction(), TransactionFate::NotCommitted);
                assert!(dead.to_string().contains("brokers_verify_partitions"), "{dead}");
                producer = stage.transactional("t", &keys).await;
            }
            Err(other) => panic!("{other}"),
        }
        commits_again(&stage, &mut producer).await;
    }
}

/// R1: a batch that was stored but whose answer was lost belongs to its transaction exactly once.
#[tokio::test]
async fn a_lost_answer_does_not_harm_the_transaction() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let _rule = stage
            .broker
            .rule(Rule::on(ApiKey::Produce, Verdict::DisconnectAfter).once());
        let mut producer = stage.transactional("t", &[]).await;
        commits_again(&stage, &mut producer).await;
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("next")).await.expect("room"));
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed(0), ["good", "next"], "{version:?}");
    }
}

/// B-56: a time-out above the broker's maximum is refused when the producer connects, and the error says which setting it is.
#[tokio::test]
async fn a_transaction_timeout_above_the_maximum_is_refused() {
    let stage = Stage::set().await;
    let keys = [("transactional.id", "t"), ("transaction.timeout.ms", "900001")];
    let error = TransactionalProducer::connect(stage.config(&keys))
        .await
        .expect_err("the broker allows 900,000");
    assert!(error.is_fatal() && !error.is_retriable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("INVALID_TRANSACTION_TIMEOUT"), "{text}");
    assert!(text.contains("transaction.timeout.ms"), "{text}");
}

/// P-21: a record that failed still knows where it was to go, and has no offset.
#[tokio::test]
async fn a_failed_delivery_knows_its_place() {
    let stage = Stage::set().await;
    let refusal = Verdict::Answer(ErrorCode::TopicAuthorizationFailed);
    let _rule = stage.broker.rule(Rule::on(ApiKey::Produce, refusal).once());
    let producer = stage.producer(&[]);
    let mut delivery = producer
        .send(Record::new(TOPIC).partition(2).value("v"))
        .await
        .expect("room");
    let error = (&mut delivery).await.expect_err("refused");
    assert_eq!(*delivery.topic_partition(), TopicPartition::new(TOPIC, 2));
    assert!(!error.may_be_written() && delivery.is_done());
    assert!(delivery.outcome().expect("told").is_err());
}
