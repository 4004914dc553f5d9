//! The whole client against a broker that discards, beside the hand-written loop: `cargo bench -p kommit-benches --bench whole`.
//! Behind `--`, a part of a row's title runs the rows that have it, such as `100-byte`.
//!
//! Processor time and allocations of this process; the broker is another one. Rounds alternate, and medians are printed.
#![allow(clippy::disallowed_methods, reason = "measuring is what this is for")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use kommit::{Delivery, Producer, ProducerConfig, Record, TransactionalProducer};
use kommit_benches::measurement::{Measurement, Options};
use kommit_benches::sink::Sink;
use kommit_benches::{floor, sink};

const ROUNDS: usize = 5;
/// Unacknowledged records that the application keeps at most.
const WINDOW: usize = 300_000;

fn main() {
    if sink::is_asked_for() {
        return sink::run();
    }
    let sink = Sink::start();
    for (size, records) in [(100, 10_000_000), (1000, 2_000_000)] {
        let options = Options::from_pairs(&[
            ("bootstrap-servers", &sink.servers),
            ("topic", "whole"),
            ("partitions", "6"),
            ("batch-size", "131072"),
            ("size", &size.to_string()),
            ("records", &records.to_string()),
        ]);
        compare(&format!("{size}-byte records, CPU ns per record"), || {
            let floor = floor::records(&options).cpu_ns_per_record();
            (floor, client(&options).cpu_ns_per_record())
        });
    }
    for size in [1_u64, 100] {
        let options = Options::from_pairs(&[
            ("bootstrap-servers", &sink.servers),
            ("topic", "whole-txn"),
            ("mode", "txn"),
            ("txn-size", &size.to_string()),
            ("records", &(3_000 * size).to_string()),
        ]);
        compare(&format!("transactions of {size} record(s), p50 in µs"), || {
            (
                floor::transactions(&options).median(),
                transactions(&options).median(),
            )
        });
    }
}

/// Prints the medians of the floor's and the client's figures, and their ratio, if the row is asked for.
fn compare(what: &str, round: impl Fn() -> (f64, f64)) {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if wanted.is_some_and(|part| !what.contains(&part)) {
        return;
    }
    let (mut floor, mut client): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| round()).unzip();
    floor.sort_by(f64::total_cmp);
    client.sort_by(f64::total_cmp);
    let (floor, client) = (floor[ROUNDS / 2], client[ROUNDS / 2]);
    println!(
        "{what}: floor {floor:.1}, kommit {client:.1}, ratio {:.2}",
        client / floor
    );
}

/// The records of `floor::records`, through the client; on one thread, so that all allocations are counted.
fn client(options: &Options) -> Measurement {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut measured = None;
    let counted = measure(|| measured = Some(runtime.block_on(send_all(options))));
    let measured = measured.expect("it was just done");
    println!(
        "  {:.4} allocations per record",
        counted.count_total as f64 / measured.acked as f64
    );
    measured
}

async fn send_all(options: &Options) -> Measurement {
    let config = ProducerConfig::builder()
        .bootstrap_servers(options.text("bootstrap-servers", ""))
        .set("batch.size", options.text("batch-size", "16384"))
        .set("linger.ms", "5")
        .build()
        .expect("legal settings");
    let producer = Producer::new(config).expect("a producer");
    let topic = producer.topic(&options.text("topic", "")).await.expect("a topic");
    let payload = options.payload();
    let record = Record::to(&topic).value(&payload);
    for partition in 0..options.number("partitions", 1) as i32 {
        let sent = producer.send(record.partition(partition)).await.expect("room");
        sent.await.expect("written");
    }
    let mut measurement = Measurement::begin();
    let mut window: VecDeque<Delivery> = VecDeque::with_capacity(WINDOW);
    for index in 0..options.number("records", 1_000_000) {
        window.push_back(producer.send(record).await.expect("room"));
        if index % 256 == 0 {
            while window.front().is_some_and(|first| first.outcome().is_some()) {
                window.pop_front();
                measurement.acked += 1;
            }
        }
        if window.len() == WINDOW {
            window.pop_front().expect("a delivery").await.expect("written");
            measurement.acked += 1;
        }
    }
    for delivery in window {
        delivery.await.expect("written");
        measurement.acked += 1;
    }
    measurement.end();
    producer.close(Duration::from_secs(5)).await.expect("a close");
    measurement
}

#[tokio::main]
async fn transactions(options: &Options) -> Measurement {
    let config = ProducerConfig::builder()
        .bootstrap_servers(options.text("bootstrap-servers", ""))
        .transactional_id("whole")
        .set("linger.ms", "0")
        .build()
        .expect("legal settings");
    let mut producer = TransactionalProducer::connect(config).await.expect("an identity");
    let topic = producer.topic(&options.text("topic", "")).await.expect("a topic");
    let payload = options.payload();
    let (records, size) = (
        options.number("records", 1_000_000),
        options.number("txn-size", 100),
    );
    let mut measurement = Measurement::begin();
    for _ in 0..records / size {
        let begun = Instant::now();
        let transaction = producer.begin().await.expect("a transaction");
        for _ in 0..size {
            drop(
                transaction
                    .send(Record::to(&topic).value(&payload))
                    .await
                    .expect("room"),
            );
        }
        transaction.commit().await.expect("a commit");
        measurement.time_since(begun);
        measurement.acked += size;
    }
    measurement.end();
    producer.close(Duration::from_secs(5)).await.expect("a close");
    measurement
}
