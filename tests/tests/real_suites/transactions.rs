//! What a `read_committed` consumer sees of transactions that were committed, aborted, dropped, left by a dead process, or forgotten.

use std::time::Duration;

use kommit_tests::kafka::{Reading, Stage};

use crate::client::{
    FOREVER, SENTINEL, all_written, assert_committed, assert_no_sequence_faults, connect, outcomes,
    put_sentinels, send_to, transactional, values_before_sentinel,
};
use kommit::{CommitError, TransactionalProducer};

against_each_kafka!(
    /// T-40, P-53: an abort, a dropped guard and a dropped producer leave nothing that can be seen.
    aborted_and_abandoned_records_are_invisible,
    /// P-26: what a dead process left open ends when the next one begins.
    a_dead_process_s_transaction_is_aborted_by_its_successor,
    /// T-103: the coordinator aborts what nobody ends, and the forgetful producer cannot commit it later.
    a_transaction_over_its_time_is_aborted_and_cannot_be_committed,
    /// T-42: many short transactions in a row, each of them at once.
    a_hundred_transactions_in_a_row_commit_each,
);

async fn aborted_and_abandoned_records_are_invisible(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "invisible";
    kafka.create_topic(topic, 2).await;
    let mut producer = connect(&kafka, topic).await;

    let first = producer.begin().await.expect("idle");
    send_to(&first, topic, 0..2, "committed 1").await;
    first.commit().await.expect("committed");

    let aborted = producer.begin().await.expect("idle");
    all_written(send_to(&aborted, topic, 0..2, "aborted").await).await;
    aborted.abort().await.expect("aborted");

    let dropped = producer.begin().await.expect("idle");
    all_written(send_to(&dropped, topic, 0..2, "dropped").await).await;
    drop(dropped);

    let second = producer.begin().await.expect("the dropped one is aborted first");
    send_to(&second, topic, 0..2, "committed 2").await;
    second.commit().await.expect("committed");

    let unsent = producer.begin().await.expect("idle");
    let deliveries = send_to(&unsent, topic, 0..2, "aborted at once").await;
    unsent.abort().await.expect("aborted");
    // They may have been written before the abort, or not; both is right.
    outcomes(deliveries).await;

    let left = producer.begin().await.expect("idle");
    all_written(send_to(&left, topic, 0..2, "left").await).await;
    drop(left);
    drop(producer);

    let mut successor = connect(&kafka, topic).await;
    let last = successor.begin().await.expect("idle");
    send_to(&last, topic, 0..2, "committed 3").await;
    last.commit().await.expect("committed");
    successor.close(FOREVER).await.expect("nothing is open");

    assert_committed(
        &kafka,
        topic,
        0..2,
        &["committed 1", "committed 2", "committed 3"],
    )
    .await;
    assert_no_sequence_faults(&kafka, topic, 0..2).await;
    let all = kafka
        .tools()
        .console_consume(&Reading::uncommitted(topic).partition(0))
        .await;
    let physical: Vec<&str> = all.iter().map(|record| record.value.as_str()).collect();
    for value in ["aborted", "dropped", "left"] {
        assert!(
            physical.contains(&value),
            "{value} was in the log, or nothing is proved: {physical:?}"
        );
    }
}

async fn a_dead_process_s_transaction_is_aborted_by_its_successor(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "dead-process";
    kafka.create_topic(topic, 1).await;

    // A runtime that ends takes the producer's tasks with it, as the end of a process does: nothing is said to the broker.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads");
    let process = {
        let kafka = std::sync::Arc::clone(&kafka);
        runtime.spawn(async move {
            let mut producer = connect(&kafka, topic).await;
            let open = producer.begin().await.expect("idle");
            all_written(send_to(&open, topic, 0..1, "of the dead").await).await;
            std::future::pending::<()>().await;
        })
    };
    let written = async {
        while kafka.log_size(topic) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(FOREVER, written)
        .await
        .expect("the record is written");
    runtime.shutdown_background();
    drop(process);

    let mut successor = connect(&kafka, topic).await;
    let transaction = successor.begin().await.expect("idle");
    send_to(&transaction, topic, 0..1, "of the successor").await;
    transaction.commit().await.expect("committed");
    assert_committed(&kafka, topic, 0..1, &["of the successor"]).await;
    let all = values_before_sentinel(&kafka, Reading::uncommitted(topic).partition(0), 2).await;
    assert_eq!(all, ["of the dead", "of the successor"]);
}

async fn a_transaction_over_its_time_is_aborted_and_cannot_be_committed(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "over-time";
    kafka.create_topic(topic, 1).await;
    let config = transactional(kafka.bootstrap_servers(), topic)
        .transaction_timeout(Duration::from_secs(2))
        .build();
    let mut producer = TransactionalProducer::connect(config.expect("legal"))
        .await
        .expect("an id");
    let forgotten = producer.begin().await.expect("idle");
    all_written(send_to(&forgotten, topic, 0..1, "forgotten").await).await;

    // The reader gets past the forgotten record only when the coordinator has aborted it.
    assert_committed(&kafka, topic, 0..1, &[""; 0]).await;

    let outcome = forgotten.commit().await;
    let is_recoverable = match outcome {
        Err(CommitError::Dead(dead)) => {
            // With transaction.version 2 the coordinator says INVALID_TXN_STATE, which is no fencing (H18).
            assert!(!dead.may_be_written(), "{dead}");
            false
        }
        Err(CommitError::MustAbort(failed)) => failed.abort().await.is_ok(),
        other => panic!("the records are gone, so a commit cannot be right: {other:?}"),
    };
    if is_recoverable {
        let next = producer.begin().await.expect("it can go on");
        send_to(&next, topic, 0..1, "next").await;
        next.commit().await.expect("committed");
    }
    let expected: &[&str] = if is_recoverable {
        &[SENTINEL, "next"]
    } else {
        &[SENTINEL]
    };
    put_sentinels(&kafka, topic, 0..1).await;
    let reading = Reading::committed(topic).partition(0);
    let seen = values_before_sentinel(&kafka, reading, expected.len()).await;
    assert_eq!(seen, expected);
}

async fn a_hundred_transactions_in_a_row_commit_each(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "in-a-row";
    kafka.create_topic(topic, 2).await;
    let mut producer = connect(&kafka, topic).await;
    let mut expected = Vec::new();
    for number in 0..100 {
        let transaction = producer.begin().await.expect("idle");
        let value = number.to_string();
        send_to(&transaction, topic, 0..2, &value).await;
        if number % 3 == 2 {
            transaction.abort().await.expect("aborted");
        } else {
            transaction.commit().await.expect("committed");
            expected.push(value);
        }
    }
    producer.close(FOREVER).await.expect("nothing is open");
    assert_committed(&kafka, topic, 0..2, &expected).await;
    assert_no_sequence_faults(&kafka, topic, 0..2).await;
}
