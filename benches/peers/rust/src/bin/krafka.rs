//! The crate krafka: `enqueue`, and the handles awaited in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kommit_benches::measurement::{Measurement, Options, due};
use krafka::producer::{Acks, DeliveryHandle, Producer};
use krafka::{Compression, Kafka, Record};

/// One in so many records is timed, as in `kommit perf`.
const TIMED_EVERY: u64 = 1024;

#[tokio::main]
async fn main() {
    let options = Options::of_this_program();
    let kafka = Kafka::builder(options.text("bootstrap-servers", "127.0.0.1:9092"))
        .client_id("peer")
        .allow_auto_create_topics(true)
        .connect()
        .await
        .expect("a cluster");
    let compression = match &*options.text("compression", "none") {
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::None,
    };
    let builder = kafka
        .producer()
        .acks(Acks::All)
        .idempotent(true)
        .compression(compression)
        .batch_size(options.number("batch-size", 16_384) as usize)
        .linger(Duration::from_millis(options.number("linger-ms", 5)))
        .buffer_memory(32 << 20);
    if options.text("mode", "throughput") == "txn" {
        let id = options.text("transactional-id", "peer");
        let producer = builder.build_transactional(id).await.expect("an identity");
        return transactions(&options, &producer).await;
    }
    let producer = Arc::new(builder.build().await.expect("a producer"));
    let (topic, payload) = (options.text("topic", ""), Bytes::from(options.payload()));
    let mut first = Vec::new();
    for partition in 0..options.number("partitions", 1) as i32 {
        let record = Record::new(topic.clone(), payload.clone()).partition(partition);
        first.push(producer.enqueue(record).await.expect("room"));
    }
    for delivery in first {
        let _written = delivery.await.expect("the first record");
    }
    let options = Arc::new(options);
    let mut measurement = Measurement::begin();
    let share = |task| send_share(Arc::clone(&producer), Arc::clone(&options), task);
    let others: Vec<_> = (1..options.tasks())
        .map(|task| tokio::spawn(share(task)))
        .collect();
    measurement.join(&share(0).await);
    for task in others {
        measurement.join(&task.await.expect("a task that ends"));
    }
    measurement.report("krafka", &options);
}

async fn send_share(producer: Arc<Producer>, options: Arc<Options>, task: u64) -> Measurement {
    let (topic, payload) = (options.text("topic", ""), Bytes::from(options.payload()));
    let keys: Vec<Bytes> = options.keys().into_iter().map(Bytes::from).collect();
    let is_latency = options.text("mode", "throughput") == "latency";
    let rate = options.number("rate", if is_latency { 10_000 } else { 0 });
    let mut measurement = Measurement::begin();
    let mut window: VecDeque<(Option<Instant>, DeliveryHandle)> = VecDeque::new();
    for index in options.share(task) {
        let mut sent = (index % TIMED_EVERY == 0).then(Instant::now);
        if rate > 0 {
            let due = due(measurement.started(), rate, index);
            // Awaiting what is out is the only way to notice an acknowledgement.
            while Instant::now() < due {
                let left = due - Instant::now();
                match window.front_mut() {
                    Some((_, first)) => {
                        let Ok(outcome) = tokio::time::timeout(left, first).await else {
                            continue;
                        };
                        let (sent, _) = window.pop_front().expect("the first");
                        count(&mut measurement, sent, outcome.is_ok());
                    }
                    None => tokio::time::sleep(left).await,
                }
            }
            sent = Some(due);
        }
        let mut record = Record::new(topic.clone(), payload.clone());
        if !keys.is_empty() {
            record = record.key(keys[index as usize % keys.len()].clone());
        }
        window.push_back((sent, producer.enqueue(record).await.expect("room")));
        if window.len() >= 300_000 {
            reap(&mut window, &mut measurement).await;
        }
    }
    while !window.is_empty() {
        reap(&mut window, &mut measurement).await;
    }
    measurement
}

async fn reap(window: &mut VecDeque<(Option<Instant>, DeliveryHandle)>, measurement: &mut Measurement) {
    let Some((sent, delivery)) = window.pop_front() else {
        return;
    };
    let outcome = delivery.await;
    count(measurement, sent, outcome.is_ok());
}

fn count(measurement: &mut Measurement, sent: Option<Instant>, is_acked: bool) {
    if is_acked {
        measurement.acked += 1;
    } else {
        measurement.failed += 1;
    }
    if let Some(sent) = sent {
        measurement.time_since(sent);
    }
}

async fn transactions(options: &Options, producer: &krafka::producer::TransactionalProducer) {
    let (topic, payload) = (options.text("topic", ""), Bytes::from(options.payload()));
    let (records, size) = (
        options.number("records", 1_000_000),
        options.number("txn-size", 100),
    );
    producer.begin().expect("a transaction");
    for partition in 0..options.number("partitions", 1) as i32 {
        let record = Record::new(topic.clone(), payload.clone()).partition(partition);
        drop(producer.enqueue(record).await.expect("room"));
    }
    producer.commit().await.expect("a commit");
    let mut measurement = Measurement::begin();
    for _ in 0..records / size {
        let begun = Instant::now();
        producer.begin().expect("a transaction");
        for _ in 0..size {
            let record = Record::new(topic.clone(), payload.clone());
            drop(producer.enqueue(record).await.expect("room"));
        }
        producer.commit().await.expect("a commit");
        measurement.time_since(begun);
        measurement.acked += size;
        measurement.transactions += 1;
    }
    measurement.report("krafka", options);
}
