//! Commits whose answer is lost while the broker is out of reach: `resolve` tells the truth when it is back.

use std::time::Duration;

use kommit::{CommitError, InDoubt, TransactionFate, TransactionalProducer};
use kommit_tests::kafka::{RealKafka, Stage};
use kommit_tests::proxy::{Direction, Flow, Proxy};

use crate::client::{FOREVER, all_written, assert_committed, connect_patiently, send_to, transactional};

against_each_kafka!(
    /// R7, R8: the end arrived, its answer is lost, and the broker is away for a while: it is committed, once, and the producer goes on.
    a_commit_that_arrived_is_told_as_committed,
    /// R8, H18: the end never arrived, and the coordinator aborted the transaction after its time-out: nobody is told that it is committed.
    a_commit_that_never_arrived_is_not_told_as_committed,
);

/// A producer behind a proxy that is soon in doubt, with a transaction time-out that a suite can wait for.
async fn impatient(kafka: &RealKafka, id: &str) -> (Proxy, TransactionalProducer) {
    let proxy = kafka.proxy(3);
    let quick = Duration::from_millis(500);
    let config = transactional(proxy.address(), id)
        .max_block(2 * quick)
        .request_timeout(quick)
        .linger(Duration::ZERO)
        .transaction_timeout(Duration::from_secs(3))
        .build()
        .expect("legal settings");
    let producer = connect_patiently(config).await;
    (proxy, producer)
}

/// Asks for the commit while the bytes of `lost` vanish; then the broker is out of reach, so that the doubt lasts.
async fn into_doubt<'p>(
    producer: &'p mut TransactionalProducer,
    topic: &str,
    proxy: &Proxy,
    lost: Direction,
) -> InDoubt<'p> {
    let transaction = producer.begin().await.expect("idle");
    all_written(send_to(&transaction, topic, 0..1, "in doubt").await).await;
    proxy.set(lost, Flow::Lose);
    let Err(CommitError::InDoubt(doubt)) = transaction.commit().await else {
        panic!("nobody answers");
    };
    proxy.refuse();
    proxy.cut();
    proxy.set(lost, Flow::Pass);
    match doubt.resolve().await {
        Err(CommitError::InDoubt(doubt)) => doubt,
        other => panic!("nobody can be asked: {other:?}"),
    }
}

/// Resolves again and again, for as long as it takes until the truth is told.
async fn truth(mut doubt: InDoubt<'_>) -> Result<(), CommitError<'_>> {
    let told = async {
        loop {
            match doubt.resolve().await {
                Err(CommitError::InDoubt(still)) => doubt = still,
                told => return told,
            }
        }
    };
    tokio::time::timeout(FOREVER, told)
        .await
        .expect("the broker is back")
}

async fn a_commit_that_arrived_is_told_as_committed(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "doubt-arrived";
    kafka.create_topic(topic, 1).await;
    let (proxy, mut producer) = impatient(&kafka, topic).await;
    let doubt = into_doubt(&mut producer, topic, &proxy, Direction::ToClient).await;
    proxy.forward_to(&kafka.node().address_behind_proxy());
    truth(doubt)
        .await
        .expect("the end arrived before the answer was lost");

    let next = producer.begin().await.expect("the producer goes on");
    all_written(send_to(&next, topic, 0..1, "next").await).await;
    next.commit().await.expect("nothing stands in its way");
    assert_committed(&kafka, topic, 0..1, &["in doubt", "next"]).await;
}

async fn a_commit_that_never_arrived_is_not_told_as_committed(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "doubt-lost";
    kafka.create_topic(topic, 1).await;
    let (proxy, mut producer) = impatient(&kafka, topic).await;
    let doubt = into_doubt(&mut producer, topic, &proxy, Direction::ToBroker).await;
    // A committed reader comes past the open transaction when the coordinator has aborted it.
    assert_committed(&kafka, topic, 0..1, &[""; 0]).await;

    proxy.forward_to(&kafka.node().address_behind_proxy());
    let Err(CommitError::Dead(dead)) = truth(doubt).await else {
        panic!("nothing of it is committed");
    };
    match dead.transaction() {
        TransactionFate::NotCommitted => {}
        // Under version 1 this looks like the abort of a newer instance, behind a commit of this one.
        TransactionFate::InDoubt => assert!(dead.to_string().contains("coordinator was asked"), "{dead}"),
        TransactionFate::NoneOpen => panic!("a transaction was open: {dead}"),
    }
}
