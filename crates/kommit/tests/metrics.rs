//! Metrics against the ground truth: what the embedded broker has in its log and in its journal of requests.

use std::time::Duration;

use kommit::{
    CommitError, Delivery, Metrics, MetricsSnapshot, Producer, ProducerBuilder, ProducerClosed,
    ProducerConfig, Record, SendErrorKind, TransactionalProducer,
};
use kommit_broker::inspect::BatchKind;
use kommit_broker::{BrokerConfig, EmbeddedBroker, Rule, RuleGuard, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

const FOREVER: Duration = Duration::from_secs(60);

const FEW: usize = 200;

async fn broker_of(config: BrokerConfig) -> EmbeddedBroker {
    let config = BrokerConfig {
        journal_capacity: 1_000,
        ..config
    };
    EmbeddedBroker::start(config).await.expect("a free port")
}

async fn broker() -> EmbeddedBroker {
    broker_of(BrokerConfig::default()).await
}

fn settings(broker: &EmbeddedBroker) -> ProducerBuilder {
    ProducerConfig::builder().bootstrap_servers(broker.bootstrap_servers())
}

fn producer(builder: ProducerBuilder) -> Producer {
    Producer::new(builder.build().expect("valid")).expect("in a runtime")
}

async fn snapshot(metrics: &Metrics) -> MetricsSnapshot {
    metrics.snapshot().await.expect("the producer is open")
}

async fn send(producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for number in 0..count {
        let value = format!("{number:>50}");
        let record = Record::new("t").value(&value);
        deliveries.push(producer.send(record).await.expect("there is room"));
    }
    producer.flush().await.expect("the producer is open");
    deliveries
}

/// Waits until a request has come that this rule is for.
async fn until_asked(rule: &RuleGuard) {
    let asked = async {
        while rule.matches() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(FOREVER, asked)
        .await
        .expect("the request comes");
}

/// What a log holds besides markers.
#[derive(Debug, PartialEq)]
struct Logged {
    batches: f64,
    records: f64,
    bytes: f64,
    largest: f64,
}

fn logged(broker: &EmbeddedBroker) -> Logged {
    let mut logged = Logged {
        batches: 0.0,
        records: 0.0,
        bytes: 0.0,
        largest: 0.0,
    };
    for batch in broker.log("t", 0) {
        if matches!(batch.kind, BatchKind::Plain | BatchKind::Transactional) {
            let size = batch.bytes.len() as f64;
            logged.batches += 1.0;
            logged.records += (batch.last_offset.0 - batch.base_offset.0 + 1) as f64;
            logged.bytes += size;
            logged.largest = logged.largest.max(size);
        }
    }
    logged
}

fn requests(broker: &EmbeddedBroker, api: ApiKey) -> f64 {
    broker.journal().iter().filter(|entry| entry.api == api).count() as f64
}

/// K-1, K-5, K-6, K-7, K-8, K-22, S-81: what was sent is what the log holds, and the topic's numbers are the producer's.
#[tokio::test]
async fn a_snapshot_counts_what_the_log_holds() {
    let broker = broker().await;
    let producer = producer(settings(&broker).batch_size(500));
    send(&producer, FEW).await;
    let snapshot = snapshot(&producer.metrics()).await;
    let log = logged(&broker);
    assert_eq!(log.records, FEW as f64);
    assert_eq!(snapshot.value("record-send-total"), Some(log.records));
    assert_eq!(snapshot.value("batch-size-avg"), Some(log.bytes / log.batches));
    assert_eq!(snapshot.value("batch-size-max"), Some(log.largest));
    let per_request = log.records / requests(&broker, ApiKey::Produce);
    assert_eq!(snapshot.value("records-per-request-avg"), Some(per_request));
    assert_eq!(snapshot.value("record-retry-total"), Some(0.0));
    assert_eq!(snapshot.value("record-error-total"), Some(0.0));
    assert_eq!(snapshot.topic_value("t", "record-send-total"), Some(log.records));
    assert_eq!(snapshot.topic_value("t", "byte-total"), Some(log.bytes));
    assert_eq!(snapshot.topic_value("t", "record-error-total"), Some(0.0));
    assert_eq!(snapshot.topic_value("other", "byte-total"), None);
}

/// K-2, K-3, K-4, K-9, K-22: compression, waiting and sizes.
#[tokio::test]
async fn a_snapshot_measures_batches_and_requests() {
    let broker = broker().await;
    let producer = producer(
        settings(&broker)
            .set("compression.type", "gzip")
            .batch_size(2_000),
    );
    send(&producer, FEW).await;
    let snapshot = snapshot(&producer.metrics()).await;
    let log = logged(&broker);
    assert_eq!(snapshot.topic_value("t", "byte-total"), Some(log.bytes));
    // A record of 50 bytes has 6 more of its own: lengths, deltas, no key and no headers; from offset delta or timestamp delta 64 on one more each.
    let largest = snapshot.value("record-size-max").expect("measured");
    assert!((56.0..=58.0).contains(&largest), "{largest}");
    assert!(
        snapshot
            .value("record-size-avg")
            .is_some_and(|mean| mean <= largest)
    );
    let expanded = 61.0 * log.batches + 56.0 * log.records;
    let rate = snapshot.value("compression-rate-avg").expect("measured");
    assert!(rate < 0.9 && rate <= log.bytes / expanded, "{rate}");
    assert_eq!(snapshot.topic_value("t", "compression-rate"), Some(rate));
    for (mean, max) in [
        ("record-queue-time-avg", "record-queue-time-max"),
        ("request-latency-avg", "request-latency-max"),
    ] {
        let (mean, max) = (snapshot.value(mean), snapshot.value(max));
        assert!(
            mean > Some(0.0) && mean <= max && max < Some(60_000.0),
            "{mean:?} {max:?}"
        );
    }
}

/// K-7, K-22: records that are sent again are counted again, and as retries.
#[tokio::test]
async fn a_retry_is_counted_as_such() {
    let broker = broker().await;
    let _rule =
        broker.rule(Rule::on(ApiKey::Produce, Verdict::Answer(ErrorCode::NotEnoughReplicas)).times(2));
    let producer = producer(settings(&broker).linger(Duration::from_secs(5)));
    let deliveries = send(&producer, 5).await;
    assert_eq!(deliveries.len(), 5);
    let snapshot = snapshot(&producer.metrics()).await;
    assert_eq!(logged(&broker).records, 5.0);
    assert_eq!(snapshot.value("record-retry-total"), Some(2.0 * 5.0));
    assert_eq!(snapshot.value("record-send-total"), Some(5.0 + 2.0 * 5.0));
    assert_eq!(snapshot.topic_value("t", "record-retry-total"), Some(2.0 * 5.0));
    assert_eq!(snapshot.value("record-error-total"), Some(0.0));
}

/// K-8, P-18: a refused batch counts by its records, a record that came into no batch as one, and a misuse not at all.
#[tokio::test]
async fn errors_are_counted_by_record() {
    let broker = broker().await;
    let refusal = Verdict::Answer(ErrorCode::TopicAuthorizationFailed);
    let _rule = broker.rule(Rule::on(ApiKey::Produce, refusal).once());
    let producer = producer(settings(&broker).linger(Duration::from_secs(5)));
    for delivery in send(&producer, 3).await {
        delivery.await.expect_err("refused");
    }
    send(&producer, 2).await;
    let large = vec![0; 2 << 20];
    let refused = producer.send(Record::new("t").value(&large)).await;
    assert!(matches!(
        refused.expect_err("too large").kind(),
        SendErrorKind::RecordTooLarge { .. }
    ));
    let misuse = producer.send(Record::new("t").timestamp_millis(-5)).await;
    assert!(matches!(
        misuse.expect_err("no time").kind(),
        SendErrorKind::InvalidRecord(_)
    ));
    let snapshot = snapshot(&producer.metrics()).await;
    assert_eq!(logged(&broker).records, 2.0);
    assert_eq!(snapshot.value("record-error-total"), Some(3.0 + 1.0));
    assert_eq!(snapshot.topic_value("t", "record-error-total"), Some(3.0));
}

/// K-8: records that expire are errors, whether they wait for an answer or in their queue.
#[tokio::test]
async fn expired_records_are_errors() {
    let broker = broker().await;
    broker.create_topic("t", 1).expect("a new topic");
    let _rule = broker.rule(Rule::on(ApiKey::Produce, Verdict::DropRequest));
    let hurry = settings(&broker)
        .linger(Duration::ZERO)
        .request_timeout(Duration::from_millis(200))
        .delivery_timeout(Duration::from_millis(200));
    let producer = producer(hurry);
    for delivery in send(&producer, 4).await {
        delivery.await.expect_err("expired");
    }
    let snapshot = snapshot(&producer.metrics()).await;
    assert_eq!(snapshot.value("record-error-total"), Some(4.0));
}

/// K-12, S-63: each batch that goes back in parts is counted once.
#[tokio::test]
async fn splits_are_counted() {
    let broker = broker().await;
    let _rule = broker.rule(Rule::on(ApiKey::Produce, Verdict::Answer(ErrorCode::MessageTooLarge)).once());
    let producer = producer(settings(&broker).linger(Duration::from_secs(5)));
    send(&producer, 4).await;
    let snapshot = snapshot(&producer.metrics()).await;
    assert_eq!(snapshot.value("batch-split-total"), Some(1.0));
    assert_eq!(logged(&broker).records, 4.0);
    assert_eq!(snapshot.value("record-send-total"), Some(2.0 * 4.0));
}

/// K-10, K-11, K-18, K-20, K-23: what the broker got is what was sent, in all and by node.
#[tokio::test]
async fn requests_and_connections_are_the_brokers() {
    let broker = broker().await;
    let producer = producer(settings(&broker).batch_size(500));
    send(&producer, FEW).await;
    let snapshot = snapshot(&producer.metrics()).await;
    let journal = broker.journal();
    let mut connections: Vec<_> = journal.iter().map(|entry| entry.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(snapshot.value("request-total"), Some(journal.len() as f64));
    assert_eq!(snapshot.value("response-total"), Some(journal.len() as f64));
    assert_eq!(
        snapshot.value("network-io-total"),
        Some(2.0 * journal.len() as f64)
    );
    assert_eq!(snapshot.value("requests-in-flight"), Some(0.0));
    assert_eq!(
        snapshot.value("connection-creation-total"),
        Some(connections.len() as f64)
    );
    let closed = snapshot.value("connection-close-total").expect("counted");
    assert_eq!(
        snapshot.value("connection-count"),
        Some(connections.len() as f64 - closed)
    );
    let written = snapshot.value("outgoing-byte-total").expect("counted");
    let mean = snapshot.value("request-size-avg").expect("measured");
    assert!(
        (mean * journal.len() as f64 - written).abs() < 1e-6,
        "all requests were written"
    );
    assert!(written > logged(&broker).bytes);
    assert!(snapshot.value("incoming-byte-total") > Some(0.0));
    assert!(
        snapshot
            .value("metadata-age")
            .is_some_and(|age| age < FOREVER.as_secs_f64())
    );
    let by_node = snapshot
        .iter()
        .filter(|metric| metric.scope.group() == "producer-node-metrics");
    let requests = by_node.filter(|metric| metric.name == "request-total");
    assert_eq!(
        requests.map(|metric| metric.value).sum::<f64>(),
        journal.len() as f64
    );
}

/// K-13: the time that the broker asks to wait, measured over all produce responses.
#[tokio::test]
async fn throttle_times_are_measured() {
    let throttle = Duration::from_millis(7);
    let broker = broker_of(BrokerConfig {
        throttle,
        ..BrokerConfig::default()
    })
    .await;
    let producer = producer(settings(&broker));
    send(&producer, 1).await;
    let snapshot = snapshot(&producer.metrics()).await;
    assert_eq!(snapshot.value("produce-throttle-time-avg"), Some(7.0));
    assert_eq!(snapshot.value("produce-throttle-time-max"), Some(7.0));
}

/// K-14, K-15, K-16: memory that is used up, and a record that waited for some in vain.
#[tokio::test]
async fn exhausted_memory_is_counted() {
    let broker = broker().await;
    broker.create_topic("t", 1).expect("a new topic");
    let rule = broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let small = settings(&broker).batch_size(1_000).buffer_memory(1_000);
    let producer = producer(
        small
            .linger(Duration::ZERO)
            .max_block(Duration::from_millis(1000)),
    );
    let first = producer
        .send(Record::new("t").value(&[0; 900]))
        .await
        .expect("room for one");
    until_asked(&rule).await;
    let second = producer.send(Record::new("t").value(&[0; 900])).await;
    assert!(matches!(
        second.expect_err("no room").kind(),
        SendErrorKind::BufferExhausted { .. }
    ));
    let metrics = producer.metrics();
    let full = snapshot(&metrics).await;
    assert_eq!(full.value("buffer-exhausted-total"), Some(1.0));
    assert_eq!(full.value("record-error-total"), Some(1.0));
    assert!(full.value("bufferpool-wait-time-ns-total") >= Some(1000.0 * 1e6));
    assert_eq!(full.value("buffer-total-bytes"), Some(1_000.0));
    assert_eq!(full.value("buffer-available-bytes"), Some(0.0));
    assert_eq!(full.value("requests-in-flight"), Some(1.0));
    assert_eq!(full.value("waiting-threads"), Some(0.0));
    rule.remove();
    first.await.expect("written");
    producer.flush().await.expect("open");
    assert_eq!(logged(&broker).records, 1.0);
}

/// K-17, K-21, P-39: what calls took, read also in the middle of a transaction; a call that was not made took nothing.
#[tokio::test]
async fn the_time_of_calls_is_counted() {
    let broker = broker().await;
    let config = settings(&broker)
        .transactional_id("timed")
        .build()
        .expect("valid");
    let mut producer = TransactionalProducer::connect(config)
        .await
        .expect("a broker is there");
    let metrics = producer.metrics();
    let transaction = producer.begin().await.expect("idle");
    let _committed = transaction.send(Record::new("t").value("1")).await.expect("room");
    let open = snapshot(&metrics).await;
    for name in [
        "txn-init-time-ns-total",
        "txn-begin-time-ns-total",
        "metadata-wait-time-ns-total",
    ] {
        assert!(open.value(name) > Some(0.0), "{name}");
    }
    for name in [
        "txn-commit-time-ns-total",
        "txn-send-offsets-time-ns-total",
        "flush-time-ns-total",
    ] {
        assert_eq!(open.value(name), Some(0.0), "{name}");
    }
    transaction
        .commit()
        .await
        .map_err(CommitError::give_up)
        .expect("committed");
    let transaction = producer.begin().await.expect("idle");
    transaction.abort().await.expect("aborted");
    let ended = snapshot(&metrics).await;
    for name in [
        "txn-commit-time-ns-total",
        "txn-abort-time-ns-total",
        "select-total",
        "io-time-ns-total",
    ] {
        assert!(ended.value(name) > Some(0.0), "{name}");
    }
    assert!(ended.value("io-wait-time-ns-total") > open.value("io-wait-time-ns-total"));
    assert_eq!(ended.value("record-send-total"), Some(logged(&broker).records));
}

/// K-5, K-20: a rate is the growth of its total per second, so two rates stand to each other as the growths do.
#[tokio::test]
async fn rates_are_differences_of_two_snapshots() {
    let broker = broker().await;
    let producer = producer(settings(&broker).batch_size(500));
    let metrics = producer.metrics();
    let before = snapshot(&metrics).await;
    send(&producer, FEW).await;
    let after = snapshot(&metrics).await;
    let rates = after.rates_since(&before);
    let rate = |name: &str| {
        let found = rates
            .iter()
            .find(|rate| rate.name == name && rate.scope == kommit::metrics::Scope::Producer);
        found.unwrap_or_else(|| panic!("{name}")).value
    };
    let grown = |name: &str| after.value(name).expect("counted") - before.value(name).expect("counted");
    let expected = grown("record-send-total") / grown("request-total");
    assert!((rate("record-send-rate") / rate("request-rate") - expected).abs() < 1e-9);
    let busy = rate("io-wait-ratio") + rate("io-ratio");
    assert!(
        busy > 0.0 && busy < 1.5,
        "parts of the time, up to the edges of two turns: {busy}"
    );
    assert!(after.rates_since(&after).is_empty());
}

/// K-17: the metrics of a producer end with it.
#[tokio::test]
async fn a_closed_producer_has_no_metrics() {
    let broker = broker().await;
    let producer = producer(settings(&broker).client_id("billing"));
    let metrics = producer.metrics();
    assert_eq!(snapshot(&metrics).await.client_id(), "billing");
    producer.close(FOREVER).await.expect("nothing waits");
    assert_eq!(metrics.snapshot().await, Err(ProducerClosed));
}

/// The pause between transactions, learned from a coordinator that takes its time with the markers, can be seen.
#[tokio::test]
async fn a_snapshot_tells_the_pause_between_transactions() {
    let broker = broker_of(BrokerConfig {
        marker_delay: Duration::from_millis(5),
        ..BrokerConfig::default()
    })
    .await;
    broker.create_topic("t", 1).expect("a new topic");
    let config = settings(&broker)
        .transactional_id("paused")
        .build()
        .expect("valid");
    let mut producer = TransactionalProducer::connect(config)
        .await
        .expect("a broker is there");
    let metrics = producer.metrics();
    assert_eq!(snapshot(&metrics).await.value("txn-pause-time-ns"), Some(0.0));
    for _ in 0..50 {
        let transaction = producer.begin().await.expect("idle");
        let _committed = transaction.send(Record::new("t").value("a")).await.expect("room");
        transaction
            .commit()
            .await
            .map_err(CommitError::give_up)
            .expect("committed");
        let pause = snapshot(&metrics).await.value("txn-pause-time-ns");
        if pause > Some(0.0) {
            assert!(pause <= Some(10e6), "{pause:?}");
            return;
        }
    }
    panic!("fifty transactions were held back, and no pause was learned");
}
