//! Two instances with one transactional id: the older one is fenced, and nothing is doubled.

use kommit::{CommitError, DeadProducer, Record, Transaction, TransactionFate};
use kommit_tests::kafka::Stage;

use crate::client::{
    FOREVER, all_written, assert_committed, assert_no_sequence_faults, connect, outcomes, send_to,
};

against_each_kafka!(
    /// T-40, P-26: the newer instance ends the transaction of the older one, which then cannot commit it.
    an_older_instance_cannot_commit_what_it_had_open,
    /// T-103: an older instance that goes on sending is told so, and nothing of it is seen.
    an_older_instance_that_sends_on_is_fenced,
    /// T-40: an older instance that was idle learns of it in its next transaction.
    an_older_instance_that_was_idle_is_fenced_in_its_next_transaction,
);

/// Tries to commit, and to abort when that is all that is left. Ends with why the producer is of no more use.
async fn end_of_the_older(transaction: Transaction<'_>) -> DeadProducer {
    match transaction.commit().await {
        Err(CommitError::Dead(dead)) => dead,
        Err(CommitError::MustAbort(failed)) => match failed.abort().await {
            Err(kommit::AbortError::Dead(dead)) => dead,
            other => panic!("a fenced instance can end nothing: {other:?}"),
        },
        other => panic!("a fenced instance can commit nothing: {other:?}"),
    }
}

/// H18: the fate is "not committed", or "in doubt" when the coordinator was busy with the newer instance's transaction at first.
fn assert_fenced(dead: &DeadProducer) {
    assert!(dead.is_fenced(), "{dead}");
    assert_ne!(dead.transaction(), TransactionFate::NoneOpen, "{dead}");
}

async fn an_older_instance_cannot_commit_what_it_had_open(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "fenced-open";
    kafka.create_topic(topic, 1).await;
    let mut older = connect(&kafka, topic).await;
    let whole = older.begin().await.expect("idle");
    send_to(&whole, topic, 0..1, "older, whole").await;
    whole.commit().await.expect("nobody else is there yet");
    let open = older.begin().await.expect("idle");
    all_written(send_to(&open, topic, 0..1, "older, open").await).await;

    let mut newer = connect(&kafka, topic).await;
    let transaction = newer.begin().await.expect("idle");
    send_to(&transaction, topic, 0..1, "newer").await;
    transaction.commit().await.expect("the newer one has the id");

    assert_fenced(&end_of_the_older(open).await);
    let again = older
        .begin()
        .await
        .expect_err("a fenced producer is of no more use");
    assert!(again.is_fatal(), "{again}");

    let transaction = newer.begin().await.expect("the older one has not disturbed it");
    send_to(&transaction, topic, 0..1, "newer again").await;
    transaction.commit().await.expect("the newer one has the id");
    assert_committed(&kafka, topic, 0..1, &["older, whole", "newer", "newer again"]).await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}

async fn an_older_instance_that_sends_on_is_fenced(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "fenced-sending";
    kafka.create_topic(topic, 2).await;
    let mut older = connect(&kafka, topic).await;
    let open = older.begin().await.expect("idle");
    all_written(send_to(&open, topic, 0..1, "before").await).await;
    let mut newer = connect(&kafka, topic).await;

    // To a partition that the transaction had, and to one that it had not. Once the first is refused, the others are not even taken.
    let mut deliveries = send_to(&open, topic, 0..1, "after").await;
    let mut refusals = Vec::new();
    for partition in [1, 0] {
        let record = Record::new(topic).partition(partition).value("after");
        match open.send(record).await {
            Ok(delivery) => deliveries.push(delivery),
            Err(refusal) => refusals.push(refusal),
        }
    }
    for outcome in outcomes(deliveries).await {
        refusals.push(outcome.expect_err("the epoch is out of date"));
    }
    for error in refusals {
        assert!(error.requires_abort() || error.is_fatal(), "{error}");
    }
    assert_fenced(&end_of_the_older(open).await);

    let transaction = newer.begin().await.expect("idle");
    send_to(&transaction, topic, 0..2, "newer").await;
    transaction.commit().await.expect("the newer one has the id");
    assert_committed(&kafka, topic, 0..2, &["newer"]).await;
}

async fn an_older_instance_that_was_idle_is_fenced_in_its_next_transaction(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "fenced-idle";
    kafka.create_topic(topic, 1).await;
    let mut older = connect(&kafka, topic).await;
    let mut newer = connect(&kafka, topic).await;
    let transaction = newer.begin().await.expect("idle");
    send_to(&transaction, topic, 0..1, "newer").await;
    transaction.commit().await.expect("the newer one has the id");

    let late = older.begin().await.expect("no request is sent by begin");
    send_to(&late, topic, 0..1, "older").await;
    assert_fenced(&end_of_the_older(late).await);
    older.close(FOREVER).await.expect("nothing is left to wait for");

    assert_committed(&kafka, topic, 0..1, &["newer"]).await;
}
