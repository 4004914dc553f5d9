//! The budgets of a record's whole way, from `send` to its awaited delivery: allocations and memory of the application's thread, on which
//! the sender runs too. The broker has threads of its own, which are not counted.

use std::collections::VecDeque;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use kommit::{Delivery, Producer, ProducerConfig, Record};
use kommit_broker::{BrokerConfig, EmbeddedBroker, Storage};

const TOPIC: &str = "orders";
const VALUE: [u8; 100] = [b'v'; 100];
const RECORDS: u64 = 200_000;
/// Fewer than a batch of 128 KiB holds.
const RECORDS_PER_BATCH: u64 = 1_200;
const BUFFER_MEMORY: u64 = 8 << 20;
const WINDOW: usize = 100_000;

/// Sends so many and awaits them all.
async fn send_all(producer: &Producer, records: u64, window: &mut VecDeque<Delivery>) {
    let topic = producer.topic(TOPIC).await.expect("a topic");
    let record = Record::to(&topic).value(&VALUE);
    for _ in 0..records {
        if window.len() == WINDOW {
            window.pop_front().expect("it is full").await.expect("written");
        }
        window.push_back(producer.send(record).await.expect("room"));
    }
    for delivery in window.drain(..) {
        delivery.await.expect("written");
    }
}

fn counted(config: ProducerConfig) -> AllocationInfo {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let producer = runtime.block_on(async { Producer::new(config) });
    let producer = producer.expect("no transactional id");
    let mut window = VecDeque::with_capacity(WINDOW);
    // Connections, metadata and an identity.
    runtime.block_on(send_all(&producer, 1, &mut window));
    let counted = measure(|| runtime.block_on(send_all(&producer, RECORDS, &mut window)));
    let closed = runtime.block_on(producer.close(Duration::from_secs(20)));
    closed.expect("nothing is left");
    counted
}

/// Budgets: no allocation for a record, some for a batch; and no more memory than `buffer.memory` and a little.
#[test]
fn a_record_costs_no_allocation_from_send_to_delivery() {
    let brokers = tokio::runtime::Runtime::new().expect("a runtime");
    let config = BrokerConfig {
        storage: Storage::Discard {
            answer_delay: Duration::ZERO,
        },
        journal_capacity: 0,
        ..BrokerConfig::default()
    };
    let broker = brokers
        .block_on(EmbeddedBroker::start(config))
        .expect("a free port");
    broker.create_topic(TOPIC, 6).expect("a legal name");
    let config = ProducerConfig::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .set("batch.size", "131072")
        .set("buffer.memory", BUFFER_MEMORY.to_string())
        .set("linger.ms", "1000")
        .build()
        .expect("legal settings");
    let counted = counted(config);
    let batches = RECORDS / RECORDS_PER_BATCH;
    assert!(
        counted.count_total <= 16 * batches,
        "{counted:?} for {batches} batches"
    );
    assert!(counted.bytes_max < BUFFER_MEMORY + (16 << 20), "{counted:?}");
    brokers.block_on(broker.shutdown());
}
