//! How a producer ends: gracefully in the middle of a transaction, and by force while the broker says nothing.

use std::time::Duration;

use kommit::{CommitError, Producer, ProducerConfig, Record};
use kommit_tests::kafka::Stage;
use kommit_tests::proxy::{Direction, Flow};

use crate::client::{
    FOREVER, all_written, assert_committed, connect, connect_patiently, outcomes, send_to, transactional,
};

against_each_kafka!(
    /// P-41, S-9: a close in the middle of a transaction ends it, so that readers are not held up.
    a_graceful_close_aborts_the_open_transaction,
    /// P-42, S-12: what waits for a silent broker fails when its time is over.
    a_forced_close_fails_every_delivery_that_waits,
    /// P-42, T-58: a commit without an answer does not hold up a forced close, and stays in doubt.
    a_forced_close_ends_a_commit_without_an_answer,
);

/// How long a close may take beyond the time that it was given: turns of a loop, on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

async fn a_graceful_close_aborts_the_open_transaction(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "closed-open";
    kafka.create_topic(topic, 1).await;
    let mut producer = connect(&kafka, topic).await;
    let open = producer.begin().await.expect("idle");
    all_written(send_to(&open, topic, 0..1, "written").await).await;
    let waiting = send_to(&open, topic, 0..1, "on its way").await;
    drop(open);
    tokio::time::timeout(SLACK, producer.close(FOREVER))
        .await
        .expect("in bounded time")
        .expect("gracefully");
    outcomes(waiting).await;

    // The transaction's time is a minute; that the sentinel is seen before means that it was aborted.
    assert_committed(&kafka, topic, 0..1, &[""; 0]).await;
    let batches = kafka.batches(topic, 0).await;
    assert!(
        batches.iter().any(|batch| batch.is_control),
        "the abort left its marker: {batches:?}"
    );
}

async fn a_forced_close_fails_every_delivery_that_waits(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "closed-by-force";
    kafka.create_topic(topic, 3).await;
    let proxy = kafka.proxy(1);
    let config = ProducerConfig::builder()
        .bootstrap_servers(proxy.address())
        .batch_size(1000)
        .build();
    let producer = Producer::new(config.expect("legal")).expect("no transactional id");
    producer
        .send(Record::new(topic).value("first"))
        .await
        .expect("room")
        .await
        .expect("written");

    proxy.set(Direction::ToClient, Flow::Hold);
    let mut deliveries = Vec::new();
    for number in 0..1000 {
        let value = format!("{number:0100}");
        deliveries.push(
            producer
                .send(Record::new(topic).value(&value))
                .await
                .expect("room"),
        );
    }
    let given = Duration::from_millis(500);
    let closed = tokio::time::timeout(given + SLACK, producer.close(given))
        .await
        .expect("in bounded time");
    closed.expect_err("nobody answered");
    let waiting = tokio::time::timeout(SLACK, outcomes(deliveries))
        .await
        .expect("all at once");
    let failed = waiting.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(failed, 1000, "nothing was answered");
    let unknown = waiting
        .iter()
        .filter(|outcome| outcome.as_ref().is_err_and(kommit::SendError::may_be_written))
        .count();
    assert!(
        unknown > 0,
        "what was sent may be in the log, and the errors must say so"
    );
}

async fn a_forced_close_ends_a_commit_without_an_answer(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "commit-by-force";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(2);
    let config = transactional(proxy.address(), topic)
        .max_block(Duration::from_secs(2))
        .build()
        .expect("legal");
    let mut producer = connect_patiently(config).await;
    let transaction = producer.begin().await.expect("idle");
    all_written(send_to(&transaction, topic, 0..1, "in doubt").await).await;
    proxy.set(Direction::ToClient, Flow::Hold);
    let outcome = transaction.commit().await;
    assert!(matches!(&outcome, Err(CommitError::InDoubt(_))), "{outcome:?}");
    drop(outcome);
    let given = Duration::from_millis(300);
    let closed = tokio::time::timeout(given + SLACK, producer.close(given))
        .await
        .expect("in bounded time");
    closed.expect_err("the commit has no answer");

    // The request did arrive: in doubt means that it may be committed, and here it is.
    assert_committed(&kafka, topic, 0..1, &["in doubt"]).await;
}
