//! What many producers in one process cost, idle and in use: `cargo bench -p kommit-benches --bench producers [-- NUMBER ...]`.
//!
//! Each has a transactional id or none, its own connections, and its own sender; the broker is another process. Prints the memory that each one
//! keeps once it has written a record, what it takes to bring it there, and what a second of idleness takes.
#![allow(clippy::disallowed_methods, reason = "measuring is what this is for")]

use std::time::{Duration, Instant};

use kommit::{Producer, ProducerConfig, Record};
use kommit_benches::measurement::{memory_mib, processor_time};
use kommit_benches::sink::Sink;

const IDLE: Duration = Duration::from_secs(10);

fn main() {
    if kommit_benches::sink::is_asked_for() {
        return kommit_benches::sink::run();
    }
    let asked: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let numbers = if asked.is_empty() {
        vec![1, 100, 1_000]
    } else {
        asked
    };
    for number in numbers {
        let sink = Sink::start();
        tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(many(&sink.servers, number));
    }
}

async fn many(servers: &str, number: usize) {
    let (memory, cpu, begun) = (memory_mib(), processor_time(), Instant::now());
    let mut producers = Vec::with_capacity(number);
    for _ in 0..number {
        let config = ProducerConfig::builder()
            .bootstrap_servers(servers)
            .build()
            .expect("legal settings");
        let producer = Producer::new(config).expect("a producer");
        let sent = producer
            .send(Record::new("producers").value("a record"))
            .await
            .expect("room");
        sent.await.expect("written");
        producers.push(producer);
    }
    let each = |total: f64| total / number as f64;
    let started = processor_time() - cpu;
    println!(
        "{number} producers: {:.0} KiB each; {:.0} µs of processor time and {:.0} µs in all to the first record of each",
        each((memory_mib() - memory) * 1024.0),
        each(started.as_secs_f64() * 1e6),
        each(begun.elapsed().as_secs_f64() * 1e6),
    );
    let cpu = processor_time();
    tokio::time::sleep(IDLE).await;
    let spent = processor_time() - cpu;
    println!("  idle for {IDLE:?}: {spent:?} of processor time for all of them");
    for producer in producers {
        producer.close(Duration::from_secs(5)).await.expect("a close");
    }
}
