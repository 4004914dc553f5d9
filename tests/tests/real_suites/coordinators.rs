//! What coordinators ask of their clients: patience, a new look-up, and not to come back (H17, H22, H25): drills of `docs/spec/hazards.md`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, RequestKind, ResponseKind, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kommit::{
    CommitError, ConsumerGroupMetadata, DeadProducer, Offset, OffsetAndMetadata, TopicPartition,
    TransactionFate, TransactionalProducer,
};
use kommit_tests::kafka::Stage;
use kommit_tests::proxy::{Proxy, Request, Verdict};

use crate::carrier::{Route, patiently};
use crate::client::{FOREVER, all_written, assert_committed, send_to, transactional};
use crate::rules::answer_as_busy;
use crate::stopwatch::Stopwatch;

against_each_kafka!(
    /// H17: a coordinator that is busy is asked again; when it stays so, nothing is told as committed.
    concurrent_txn_storm,
    /// H22, R9: each newer instance ends the older one, which stays dead and does not take the id back.
    hijack_tx_ids,
    /// H22: the first question for an identity arrives once more when it was long answered: its sender is fenced, and nothing is doubled.
    late_init,
    /// H25, R13: a group coordinator that is none any more is looked up again, and the offsets are part of the transaction.
    group_coord_moves,
);

const NOT_COORDINATOR: i16 = 16;

/// A producer behind the proxy whose transactions may last this long.
async fn connect(proxy: &Proxy, id: &str, transaction_timeout: Duration) -> TransactionalProducer {
    let config = transactional(proxy.address(), id)
        .transaction_timeout(transaction_timeout)
        .build();
    let connected = TransactionalProducer::connect(config.expect("legal settings")).await;
    connected.expect("the coordinator gives an id")
}

async fn concurrent_txn_storm(mut stage: Stage) {
    const BUSY: [usize; 2] = [5, usize::MAX];
    let kafka = stage.shared().await;
    let topic = "concurrent-storm";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let busy = answer_as_busy(&proxy);
    let mut producer = connect(&proxy, topic, Duration::from_secs(4)).await;
    let patient = producer.begin().await.expect("idle");
    all_written(send_to(&patient, topic, 0..1, "patience helps").await).await;
    busy.store(BUSY[0], Ordering::Relaxed);
    patient
        .commit()
        .await
        .expect("in the end the coordinator is not busy");
    assert_eq!(busy.load(Ordering::Relaxed), 0, "it was asked again and again");

    let hopeless = producer.begin().await.expect("idle");
    all_written(send_to(&hopeless, topic, 0..1, "patience ends").await).await;
    busy.store(BUSY[1], Ordering::Relaxed);
    let start = Stopwatch::start();
    let Err(CommitError::Dead(dead)) = hopeless.commit().await else {
        panic!("it was never committed, and may not be aborted");
    };
    println!("after {:?}: {dead}", start.elapsed());
    assert_ne!(dead.transaction(), TransactionFate::NoneOpen, "{dead}");
    // Seen past the open transaction when the coordinator has aborted it.
    assert_committed(&kafka, topic, 0..1, &["patience helps"]).await;
}

/// A proxy that counts the requests of one kind.
fn counting(proxy: &Proxy, is_counted: impl Fn(&Request) -> bool + Send + 'static) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    proxy.rule(move |request| {
        counted.fetch_add(usize::from(is_counted(request)), Ordering::Relaxed);
        Verdict::Pass
    });
    count
}

/// What remains of a producer whose transaction is committed too late.
async fn dead(outcome: Result<(), CommitError<'_>>) -> DeadProducer {
    match outcome {
        Err(CommitError::Dead(dead)) => dead,
        Err(CommitError::MustAbort(failed)) => match failed.abort().await {
            Err(kommit::AbortError::Dead(dead)) => dead,
            other => panic!("a fenced instance can end nothing: {other:?}"),
        },
        other => panic!("a fenced instance can commit nothing: {other:?}"),
    }
}

async fn hijack_tx_ids(mut stage: Stage) {
    const LONG: Duration = Duration::from_secs(60);
    let kafka = stage.shared().await;
    let topic = "hijack";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let taken = counting(&proxy, |request| request.api_key == ApiKey::InitProducerId);
    let mut older = connect(&proxy, topic, LONG).await;
    for round in 0..3 {
        let open = older.begin().await.expect("idle");
        all_written(send_to(&open, topic, 0..1, "older").await).await;
        let mut newer = connect(&proxy, topic, LONG).await;
        let whole = newer.begin().await.expect("idle");
        all_written(send_to(&whole, topic, 0..1, &format!("newer {round}")).await).await;
        let before = taken.load(Ordering::Relaxed);
        let fenced = dead(open.commit().await).await;
        assert!(fenced.is_fenced(), "{fenced}");
        let again = older.begin().await.map(drop).expect_err("it stays dead");
        assert!(again.is_fatal(), "{again}");
        whole.commit().await.expect("the newer one has the id");
        older.close(FOREVER).await.expect("nothing is left to wait for");
        assert_eq!(
            taken.load(Ordering::Relaxed),
            before,
            "the older one took the id back"
        );
        older = newer;
    }
    older.close(FOREVER).await.expect("nothing is open");
    assert_committed(&kafka, topic, 0..1, &["newer 0", "newer 1", "newer 2"]).await;
}

async fn late_init(mut stage: Stage) {
    const LONG: Duration = Duration::from_secs(60);
    let kafka = stage.shared().await;
    let topic = "late-init";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let mut is_first = true;
    proxy.rule(move |request| {
        if request.api_key == ApiKey::InitProducerId && std::mem::take(&mut is_first) {
            return Verdict::KeepBack;
        }
        Verdict::Pass
    });
    let mut fenced = connect(&proxy, topic, LONG).await;
    let open = fenced.begin().await.expect("idle");
    all_written(send_to(&open, topic, 0..1, "fenced").await).await;
    proxy.deliver_kept_back();
    let late = async {
        while proxy.late_answers().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FOREVER, late).await.expect("it arrives");
    // With transaction.version 2 the coordinator says INVALID_TXN_STATE, which names no other instance (H18).
    let dead = dead(open.commit().await).await;
    assert_ne!(dead.transaction(), TransactionFate::NoneOpen, "{dead}");

    let mut next = connect(&proxy, topic, LONG).await;
    let whole = next.begin().await.expect("idle");
    all_written(send_to(&whole, topic, 0..1, "next").await).await;
    whole.commit().await.expect("nobody else has the id");
    assert_committed(&kafka, topic, 0..1, &["next"]).await;
}

async fn group_coord_moves(mut stage: Stage) {
    /// Several look-ups' worth.
    const AWAY: Duration = Duration::from_millis(2500);
    let kafka = stage.shared().await;
    let topic = "group-coord";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let asked: Arc<Mutex<Vec<ApiKey>>> = Arc::default();
    let log = Arc::clone(&asked);
    let mut since: Option<Stopwatch> = None;
    proxy.rule(move |request| {
        log.lock().expect("no rule panics").push(request.api_key);
        let RequestKind::TxnOffsetCommit(offsets) = request.decoded() else {
            return Verdict::Pass;
        };
        if since.get_or_insert_with(Stopwatch::start).elapsed() < AWAY {
            return Verdict::Answer(Box::new(moved_away(&offsets)));
        }
        Verdict::Pass
    });
    let mut producer = connect(&proxy, topic, Duration::from_secs(60)).await;
    let transaction = producer.begin().await.expect("idle");
    all_written(send_to(&transaction, topic, 0..1, "with its offset").await).await;
    let place = TopicPartition::new(topic, 0);
    let offsets = BTreeMap::from([(place, OffsetAndMetadata::of_offset(Offset(17)))]);
    let before = asked.lock().expect("no rule panics").len();
    let sent = transaction
        .send_offsets(offsets, ConsumerGroupMetadata::of_group(topic))
        .await;
    sent.expect("the coordinator is found again");
    let asked = asked.lock().expect("no rule panics").split_off(before);
    let count = |key| asked.iter().filter(|asked| **asked == key).count();
    let looked_up = count(ApiKey::FindCoordinator);
    assert!(looked_up >= 2, "looked up {looked_up} times in {AWAY:?}");
    assert!(
        count(ApiKey::TxnOffsetCommit) <= 30,
        "it waits between two attempts: {asked:?}"
    );
    transaction.commit().await.expect("nothing is wrong with it");
    producer.close(FOREVER).await.expect("nothing is open");

    let route = Route {
        through: proxy.address(),
        broker: kafka.bootstrap_servers(),
        input: topic.to_owned(),
        output: topic.to_owned(),
        partitions: 1,
    };
    // The marker may still be on its way.
    let positions = patiently(async || route.positions().await).await;
    assert_eq!(positions, BTreeMap::from([(0, 17)]));
    assert_committed(&kafka, topic, 0..1, &["with its offset"]).await;
}

/// NOT_COORDINATOR for everything that was asked.
fn moved_away(request: &TxnOffsetCommitRequest) -> ResponseKind {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(NOT_COORDINATOR)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ResponseKind::TxnOffsetCommit(TxnOffsetCommitResponse::default().with_topics(topics.collect()))
}
