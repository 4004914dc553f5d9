//! The end of a producer: graceful for as long as it may take, forced afterwards, and prompt then (P-41 … P-47).

use std::time::Duration;

use kommit::{CloseError, Producer, SendErrorKind};
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;

use crate::stage::{LONG, Stage, VERSIONS, given_up_after, record, until, writes};

/// P-45, P-47: a graceful close sends what lingers.
#[tokio::test]
async fn a_close_sends_what_waits() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("linger.ms", "100000"), ("delivery.timeout.ms", "200000")]);
    let delivery = producer.send(record("lingers")).await.expect("room");
    producer.close(LONG).await.expect("a graceful close");
    assert!(matches!(delivery.outcome(), Some(Ok(_))));
    assert_eq!(stage.records(0).len(), 1);
}

/// P-42, P-47: when the time is over, every record is told, and the close ends promptly.
#[tokio::test]
async fn a_close_that_takes_too_long_is_forced() {
    let stage = Stage::set().await;
    let _rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let producer = stage.producer(&[]);
    let delivery = producer.send(record("held")).await.expect("room");
    let closing = tokio::time::timeout(LONG, producer.close(Duration::from_millis(200)));
    let error = closing.await.expect("bounded").expect_err("forced");
    assert!(matches!(error, CloseError::Forced { .. }));
    assert!(error.to_string().contains("200 ms"), "{error}");
    let failure = delivery.await.expect_err("told");
    assert_eq!(failure.kind(), &SendErrorKind::ClosedForcefully);
}

/// P-45: a close without time is forced at once.
#[tokio::test]
async fn a_close_without_time_is_forced() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("linger.ms", "100000"), ("delivery.timeout.ms", "200000")]);
    let delivery = producer.send(record("lingers")).await.expect("room");
    producer.close(Duration::ZERO).await.expect_err("forced");
    let failure = delivery.await.expect_err("told");
    assert_eq!(failure.kind(), &SendErrorKind::ClosedForcefully);
    assert!(!failure.may_be_written());
    assert!(stage.records(0).is_empty());
}

/// P-47: a producer that is dropped tells its records too.
#[tokio::test]
async fn a_dropped_producer_tells_its_records() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("linger.ms", "100000"), ("delivery.timeout.ms", "200000")]);
    let delivery = producer.send(record("lingers")).await.expect("room");
    drop(producer);
    let told = tokio::time::timeout(LONG, delivery).await.expect("told");
    told.expect_err("nobody sends it any more");
}

/// P-41: a producer that never had anything to do ends at once, whether there is a broker or not.
#[tokio::test]
async fn a_close_of_an_idle_producer_needs_no_broker() {
    let producer = Producer::new(crate::stage::config("127.0.0.1:1", &[])).expect("nothing is connected yet");
    producer.close(LONG).await.expect("a graceful close");
}

/// P-46: a graceful close in the middle of a transaction flushes, and aborts.
#[tokio::test]
async fn a_close_aborts_the_open_transaction() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        let delivery = transaction.send(record("unfinished")).await.expect("room");
        drop(transaction);
        producer.close(LONG).await.expect("a graceful close");
        assert!(delivery.outcome().is_some(), "{version:?}");
        assert!(stage.committed(0).is_empty(), "{version:?}");
        assert_eq!(stage.count(ApiKey::EndTxn), 1, "{version:?}");
    }
}

/// P-42: when the abort of the open transaction is not answered, the close is forced all the same.
#[tokio::test]
async fn a_close_does_not_wait_for_ever_for_its_abort() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let _rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::Hold));
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        writes(&transaction, "unfinished").await;
        drop(transaction);
        let closing = tokio::time::timeout(LONG, producer.close(Duration::from_millis(200)));
        closing.await.expect("bounded").expect_err("forced");
    }
}

/// P-46: a commit that was given up is finished by the close, not aborted.
#[tokio::test]
async fn a_close_finishes_a_running_commit() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let delay = Verdict::DelayResponse(Duration::from_millis(100));
        let _rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, delay));
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("committed")).await.expect("room"));
        assert!(given_up_after(1, transaction.commit()).await.is_none());
        producer.close(LONG).await.expect("a graceful close");
        assert_eq!(stage.committed(0), ["committed"], "{version:?}");
    }
}

/// P-53: a close that is given up is a forced one.
#[tokio::test]
async fn a_close_that_is_given_up_is_forced() {
    let stage = Stage::set().await;
    let _rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let producer = stage.producer(&[]);
    let delivery = producer.send(record("held")).await.expect("room");
    until("the record is on its way", || stage.count(ApiKey::Produce) == 1).await;
    assert!(given_up_after(1, producer.close(LONG)).await.is_none());
    let failure = tokio::time::timeout(LONG, delivery)
        .await
        .expect("told")
        .expect_err("not answered");
    assert_eq!(failure.kind(), &SendErrorKind::ClosedForcefully);
}
