//! librdkafka through rust-rdkafka: `--api threaded` (callbacks), `--api future`, and a `BaseProducer` for transactions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kommit_benches::measurement::{Measurement, Options, due, wait_until};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryFuture, FutureProducer, FutureRecord, Producer, ProducerContext,
    ThreadedProducer,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// One in so many records is timed, as in `kommit perf`.
const TIMED_EVERY: u64 = 1024;

fn main() {
    let options = Options::of_this_program();
    match (
        &*options.text("mode", "throughput"),
        &*options.text("api", "threaded"),
    ) {
        ("txn", _) => transactions(&options),
        ("latency", _) => threaded(&options, options.number("rate", 10_000)),
        (_, "future") => future(options),
        _ => threaded(&options, options.number("rate", 0)),
    }
}

/// Idempotent, acks=all, five requests in flight; nothing but the counterpart of `buffer.memory` bounds it. The partitioner is Java's, for records with a
/// key; for those without, sticky as long as batches linger.
fn config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set(
            "bootstrap.servers",
            options.text("bootstrap-servers", "127.0.0.1:9092"),
        )
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", options.text("linger-ms", "5"))
        .set("batch.size", options.text("batch-size", "16384"))
        .set("batch.num.messages", "1000000")
        .set("compression.type", options.text("compression", "none"))
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "32768")
        .set("partitioner", "murmur2_random")
        .set("sticky.partitioning.linger.ms", options.text("linger-ms", "5"));
    config
}

/// What the delivery callbacks have seen.
#[derive(Default)]
struct Seen {
    acked: u64,
    failed: u64,
    times: Vec<u64>,
}

struct Counting {
    origin: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    /// Nanoseconds from the origin to the intended send; 0 for a record that is not timed.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        let mut seen = self.seen.lock().expect("not poisoned");
        match result {
            Ok(_) => seen.acked += 1,
            Err(_) => seen.failed += 1,
        }
        if sent != 0 {
            let passed = self
                .origin
                .elapsed()
                .saturating_sub(Duration::from_nanos(sent as u64));
            seen.times.push(passed.as_micros() as u64);
        }
    }
}

fn threaded(options: &Options, rate: u64) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let origin = Instant::now();
    let context = Counting {
        origin,
        seen: Arc::clone(&seen),
    };
    let producer: ThreadedProducer<Counting> =
        config(options).create_with_context(context).expect("a producer");
    let (topic, payload, keys) = (options.text("topic", ""), options.payload(), options.keys());
    for partition in 0..options.number("partitions", 1) as i32 {
        let record = BaseRecord::<(), _, usize>::with_opaque_to(&topic, 0)
            .payload(&payload)
            .partition(partition);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("the first record");
    }
    producer.flush(PATIENCE).expect("the first records");
    *seen.lock().expect("not poisoned") = Seen::default();
    let mut measurement = Measurement::begin();
    let started = measurement.started();
    let send_share = |task| {
        for index in options.share(task) {
            let mut sent = 0;
            if rate > 0 {
                let due = due(started, rate, index);
                wait_until(due);
                sent = (due - origin).as_nanos() as usize;
            } else if index % TIMED_EVERY == 0 {
                sent = origin.elapsed().as_nanos() as usize;
            }
            let mut record = BaseRecord::with_opaque_to(&topic, sent).payload(&payload);
            if !keys.is_empty() {
                record = record.key(&keys[index as usize % keys.len()]);
            }
            while let Err((error, back)) = producer.send(record) {
                assert!(is_full(&error), "{error}");
                record = back;
                std::thread::park_timeout(Duration::from_micros(100));
            }
        }
    };
    std::thread::scope(|threads| {
        (1..options.tasks()).for_each(|task| drop(threads.spawn(move || send_share(task))));
        send_share(0);
    });
    producer.flush(PATIENCE).expect("everything is delivered");
    let seen = seen.lock().expect("not poisoned");
    (measurement.acked, measurement.failed, measurement.times) =
        (seen.acked, seen.failed, seen.times.clone());
    measurement.report("librdkafka", options);
}

#[tokio::main]
async fn future(options: Options) {
    let producer: FutureProducer = config(&options).create().expect("a producer");
    let (topic, payload) = (options.text("topic", ""), options.payload());
    let mut first = Vec::new();
    for partition in 0..options.number("partitions", 1) as i32 {
        let record = FutureRecord::<(), _>::to(&topic)
            .payload(&payload)
            .partition(partition);
        let sent = producer.send_result(record).map_err(|(error, _)| error);
        first.push(sent.expect("room in the queue"));
    }
    for delivery in first {
        delivery.await.expect("a producer").expect("the first record");
    }
    let options = Arc::new(options);
    let mut measurement = Measurement::begin();
    let share = |task| send_share(producer.clone(), Arc::clone(&options), task);
    let others: Vec<_> = (1..options.tasks())
        .map(|task| tokio::spawn(share(task)))
        .collect();
    measurement.join(&share(0).await);
    for task in others {
        measurement.join(&task.await.expect("a task that ends"));
    }
    measurement.report("librdkafka-future", &options);
}

async fn send_share(producer: FutureProducer, options: Arc<Options>, task: u64) -> Measurement {
    let (topic, payload, keys) = (options.text("topic", ""), options.payload(), options.keys());
    let mut measurement = Measurement::begin();
    let mut window: VecDeque<(Option<Instant>, DeliveryFuture)> = VecDeque::new();
    for index in options.share(task) {
        let sent = (index % TIMED_EVERY == 0).then(Instant::now);
        let mut record = FutureRecord::to(&topic).payload(&payload);
        if !keys.is_empty() {
            record = record.key(&keys[index as usize % keys.len()]);
        }
        loop {
            match producer.send_result(record) {
                Ok(delivery) => break window.push_back((sent, delivery)),
                Err((error, back)) => {
                    assert!(is_full(&error), "{error}");
                    record = back;
                    reap(&mut window, &mut measurement).await;
                }
            }
        }
        if window.len() >= 500_000 {
            reap(&mut window, &mut measurement).await;
        }
    }
    while !window.is_empty() {
        reap(&mut window, &mut measurement).await;
    }
    measurement
}

async fn reap(window: &mut VecDeque<(Option<Instant>, DeliveryFuture)>, measurement: &mut Measurement) {
    let Some((sent, delivery)) = window.pop_front() else {
        return;
    };
    match delivery.await {
        Ok(Ok(_)) => measurement.acked += 1,
        _ => measurement.failed += 1,
    }
    if let Some(sent) = sent {
        measurement.time_since(sent);
    }
}

fn transactions(options: &Options) {
    let mut config = config(options);
    config.set("transactional.id", options.text("transactional-id", "peer"));
    let producer: BaseProducer = config.create().expect("a producer");
    let (topic, payload) = (options.text("topic", ""), options.payload());
    let (records, size) = (
        options.number("records", 1_000_000),
        options.number("txn-size", 100),
    );
    producer.init_transactions(PATIENCE).expect("an identity");
    let transact = |count: u64, partitions: Option<u64>| {
        producer.begin_transaction().expect("a transaction");
        for index in 0..count {
            let mut record = BaseRecord::<(), _>::to(&topic).payload(&payload);
            if let Some(partitions) = partitions {
                record = record.partition((index % partitions) as i32);
            }
            producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("room in the queue");
        }
        // A flush of this producer looks for delivery reports every 100 ms; this finds them at once.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        producer.commit_transaction(PATIENCE).expect("a commit");
    };
    let partitions = options.number("partitions", 1);
    transact(partitions, Some(partitions));
    let mut measurement = Measurement::begin();
    for _ in 0..records / size {
        let begun = Instant::now();
        transact(size, None);
        measurement.time_since(begun);
        measurement.acked += size;
        measurement.transactions += 1;
    }
    measurement.report("librdkafka", options);
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}
