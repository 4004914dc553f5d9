//! Commits that are not waited for: the next transaction is open already while the network and the coordinator do to the commit what they do to
//! any other (H02, H05, H17): drills of `docs/spec/hazards.md`. H01 is among the late requests.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kommit::{CommitError, CommitOutcome, Transaction, TransactionFate, TransactionalProducer};
use kommit_tests::kafka::Stage;
use kommit_tests::proxy::{Proxy, Verdict};

use crate::client::{
    all_written, assert_committed, assert_no_sequence_faults, outcomes, send_to, transactional,
};
use crate::rules::{answer_as_busy, keep_back_first_commit};

against_each_kafka!(
    /// H02, R7: the next transaction is aborted while the commit before it has no answer, and the commit arrives once more in the one after that.
    abort_of_the_next_behind_a_commit,
    /// H05, R6, R9: behind a commit whose answer was lost, a new epoch comes before anything of the next transaction.
    init_while_ongoing,
    /// H17: a coordinator that is busy is asked again; when it stays so, neither transaction is told as committed.
    concurrent_txn_storm,
);

async fn connect(proxy: &Proxy, id: &str) -> TransactionalProducer {
    let config = transactional(proxy.address(), id)
        .transaction_timeout(Duration::from_secs(4))
        .set("reconnect.backoff.max.ms", "100");
    let connected = TransactionalProducer::connect(config.build().expect("legal settings")).await;
    connected.expect("the coordinator gives an id")
}

/// Commits one value, and begins the next transaction.
async fn goes_on<'p>(
    producer: &'p mut TransactionalProducer,
    topic: &str,
    value: &str,
) -> (Transaction<'p>, CommitOutcome) {
    let transaction = producer.begin().await.expect("idle");
    send_to(&transaction, topic, 0..1, value).await;
    transaction.commit_and_begin().await.expect("it is on its way")
}

async fn abort_of_the_next_behind_a_commit(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "next-aborted";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let upstream = kafka.node().address_behind_proxy();
    keep_back_first_commit(&proxy);
    let mut producer = connect(&proxy, topic).await;
    let transaction = producer.begin().await.expect("idle");
    all_written(send_to(&transaction, topic, 0..1, "committed").await).await;
    // Nothing can be asked again until the abort has been asked for.
    proxy.refuse();
    let (next, mut outcome) = transaction.commit_and_begin().await.expect("it is on its way");
    let deliveries = send_to(&next, topic, 0..1, "aborted").await;
    let back = async {
        // An abort that does not wait for the commit would be over now.
        let early = tokio::time::timeout(Duration::from_millis(200), &mut outcome).await;
        assert!(early.is_err(), "nobody can have answered: {early:?}");
        proxy.forward_to(&upstream);
    };
    let (aborted, ()) = tokio::join!(next.abort(), back);
    aborted.expect("it is aborted behind the commit");
    outcome.await.expect("it was not the commit's abort");
    for delivery in outcomes(deliveries).await {
        let error = delivery.expect_err("it was aborted before it could be sent");
        assert!(!error.may_be_written(), "{error}");
    }

    let last = producer.begin().await.expect("idle");
    all_written(send_to(&last, topic, 0..1, "last, first").await).await;
    proxy.deliver_kept_back();
    let late = async {
        while proxy.late_answers().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::client::FOREVER, late)
        .await
        .expect("it arrives");
    all_written(send_to(&last, topic, 0..1, "last, second").await).await;
    last.commit().await.expect("it was not committed before");
    assert_committed(&kafka, topic, 0..1, &["committed", "last, first", "last, second"]).await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}

async fn init_while_ongoing(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "next-renewed";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let asked: Arc<Mutex<Vec<ApiKey>>> = Arc::default();
    let log = Arc::clone(&asked);
    let mut is_first = true;
    proxy.rule(move |request| {
        use ApiKey::{AddPartitionsToTxn, EndTxn, InitProducerId, Produce};
        let mut log = log.lock().expect("no rule panics");
        let key = request.api_key;
        // What is asked again and again counts once.
        if matches!(key, AddPartitionsToTxn | EndTxn | InitProducerId | Produce) && log.last() != Some(&key) {
            log.push(key);
        }
        if key == EndTxn && std::mem::take(&mut is_first) {
            return Verdict::LoseAnswer;
        }
        Verdict::Pass
    });
    let mut producer = connect(&proxy, topic).await;
    let (next, outcome) = goes_on(&mut producer, topic, "first").await;
    all_written(send_to(&next, topic, 0..1, "second").await).await;
    next.commit().await.expect("nothing is wrong with it");
    outcome.await.expect("it arrived");

    let asked = asked.lock().expect("no rule panics").clone();
    let each: &[ApiKey] = if asked.contains(&ApiKey::AddPartitionsToTxn) {
        // With version 1 each of the two has an epoch of its own only because the answer was lost.
        &[
            ApiKey::InitProducerId,
            ApiKey::AddPartitionsToTxn,
            ApiKey::Produce,
            ApiKey::EndTxn,
        ]
    } else {
        &[ApiKey::Produce, ApiKey::EndTxn]
    };
    assert!(asked.ends_with(&[each, each].concat()), "{asked:?}");
    assert_committed(&kafka, topic, 0..1, &["first", "second"]).await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}

async fn concurrent_txn_storm(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "next-storm";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let busy = answer_as_busy(&proxy);
    let mut producer = connect(&proxy, topic).await;
    busy.store(5, Ordering::Relaxed);
    let (next, outcome) = goes_on(&mut producer, topic, "patience helps").await;
    send_to(&next, topic, 0..1, "behind it").await;
    next.commit().await.expect("nothing is wrong with it");
    outcome.await.expect("in the end the coordinator is not busy");
    assert_eq!(busy.load(Ordering::Relaxed), 0, "it was asked again and again");

    busy.store(usize::MAX, Ordering::Relaxed);
    let (next, outcome) = goes_on(&mut producer, topic, "patience ends").await;
    let behind = send_to(&next, topic, 0..1, "behind that").await;
    let failed = outcome.await.expect_err("it was never committed");
    assert!(failed.is_fatal(), "and may not be aborted: {failed}");
    assert_ne!(failed.transaction(), TransactionFate::NoneOpen, "{failed}");
    let Err(CommitError::Dead(dead)) = next.commit().await else {
        panic!("the next one has died with it");
    };
    assert_eq!(dead.transaction(), TransactionFate::NotCommitted, "{dead}");
    for delivery in outcomes(behind).await {
        let error = delivery.expect_err("nothing of it was sent");
        assert!(!error.may_be_written(), "{error}");
    }
    assert_committed(&kafka, topic, 0..1, &["patience helps", "behind it"]).await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}
