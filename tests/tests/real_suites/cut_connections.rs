//! Connections that are cut again and again, in the middle of requests and of answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kommit::{Producer, ProducerConfig, Record};
use kommit_tests::kafka::{Reading, RealKafka, Stage, sequence_faults};
use kommit_tests::proxy::{Cuts, Direction, Draws, Proxy};
use tokio::task::AbortHandle;

use crate::client::{FOREVER, SENTINEL, put_sentinels, transactional};
use crate::each_kafka::draws;
use crate::ledger::{Known, Ledger};

against_each_kafka!(
    /// S-26, I10: idempotent records are in the log once each, in order, where the broker said.
    two_hundred_thousand_records_through_cut_connections_are_there_once_each,
    /// R7, I7, I8: transactions are whole or not there, as their ends said.
    transactions_through_cut_connections_are_whole_or_not_there,
);

const PARTITIONS: i32 = 3;

/// Cuts in the middle of requests and of answers by turns, until it is dropped.
#[derive(Debug)]
struct Cutting {
    proxy: Arc<Proxy>,
    task: AbortHandle,
}

impl Cutting {
    fn start(proxy: Proxy, mut draws: Draws) -> Self {
        let proxy = Arc::new(proxy);
        let cut = Arc::clone(&proxy);
        let task = tokio::spawn(async move {
            loop {
                let plan = match draws.below(0..3) {
                    // Records are half a dozen megabytes; a cut falls into a batch, or between two.
                    0 => Cuts::RandomBytes(Direction::ToBroker, 100..60_000),
                    // The answers to ApiVersions and Metadata have a kilobyte, those to Produce and EndTxn fifty bytes each.
                    1 => Cuts::RandomBytes(Direction::ToClient, 20..3_000),
                    _ => Cuts::RandomTimes(Duration::from_millis(1)..Duration::from_millis(60)),
                };
                cut.plan(plan);
                // What was connected before has no plan yet, or has lived long enough.
                cut.cut();
                tokio::time::sleep(Duration::from_millis(draws.below(20..150))).await;
            }
        });
        Self {
            proxy,
            task: task.abort_handle(),
        }
    }

    /// Lets everything pass from now on, and tells how many connections were cut.
    fn stop(&self) -> u64 {
        self.task.abort();
        self.proxy.plan(Cuts::Never);
        self.proxy.cut();
        self.proxy.cuts()
    }
}

/// Reconnects at once: the cuts are many, and a back-off between them would only be waited for.
fn impatient(builder: kommit::ProducerBuilder) -> ProducerConfig {
    let quick = [
        ("reconnect.backoff.ms", "5"),
        ("reconnect.backoff.max.ms", "20"),
        ("retry.backoff.ms", "10"),
    ];
    let quick = quick.into_iter().chain([("retry.backoff.max.ms", "50")]);
    quick
        .fold(builder, |builder, (key, value)| builder.set(key, value))
        .build()
        .expect("legal settings")
}

async fn two_hundred_thousand_records_through_cut_connections_are_there_once_each(mut stage: Stage) {
    const RECORDS: usize = 200_000;
    let kafka = stage.shared().await;
    let topic = "cut-records";
    kafka.create_topic(topic, PARTITIONS).await;
    let mut draws = draws();
    let proxy = kafka.proxy(draws.below(0..u64::MAX));
    let config = impatient(
        ProducerConfig::builder()
            .bootstrap_servers(proxy.address())
            .batch_size(2_000),
    );
    let producer = Producer::new(config).expect("no transactional id");
    let cutting = Cutting::start(proxy, draws);

    let mut deliveries = Vec::with_capacity(RECORDS);
    for number in 0..RECORDS {
        let value = format!("{number:032}");
        let record = Record::new(topic)
            .partition(number as i32 % PARTITIONS)
            .value(&value);
        deliveries.push(producer.send(record).await.expect("there is room in time"));
    }
    let mut reported = BTreeMap::new();
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let written = delivery
            .await
            .unwrap_or_else(|error| panic!("record {number}: {error}"));
        if let Some(offset) = written.offset {
            reported.insert(number, offset.0);
        }
    }
    let cuts = cutting.stop();
    println!("{cuts} cuts, {} of {RECORDS} offsets reported", reported.len());
    assert!(cuts > 20, "{cuts} cuts prove little");
    producer.close(FOREVER).await.expect("nothing is left");

    assert_whole_logs(&kafka, topic, 1).await;
    put_sentinels(&kafka, topic, 0..PARTITIONS).await;
    let reading = Reading::committed(topic).at_most(RECORDS + PARTITIONS as usize);
    let mut next_in_partition = [0, 1, 2];
    for record in kafka.tools().console_consume(&reading).await {
        if record.value == SENTINEL {
            continue;
        }
        let number: usize = record.value.parse().expect("a number");
        let next = &mut next_in_partition[record.partition as usize];
        assert_eq!(
            number, *next,
            "{topic}-{} at offset {}",
            record.partition, record.offset
        );
        *next += PARTITIONS as usize;
        if let Some(offset) = reported.get(&number) {
            assert_eq!(
                *offset, record.offset,
                "record {number} is where it was said to be"
            );
        }
    }
    assert!(
        next_in_partition.iter().all(|next| *next >= RECORDS),
        "{next_in_partition:?}"
    );
}

/// No gap and no repeat in any partition, and not more epochs than expected: each new one could hide a repeat.
async fn assert_whole_logs(kafka: &RealKafka, topic: &str, epochs: usize) {
    for partition in 0..PARTITIONS {
        let batches = kafka.batches(topic, partition).await;
        assert_eq!(sequence_faults(&batches), [""; 0], "{topic}-{partition}");
        let written_by: BTreeSet<_> = batches
            .iter()
            .map(|batch| (batch.producer_id, batch.producer_epoch))
            .collect();
        assert!(written_by.len() <= epochs, "{topic}-{partition}: {written_by:?}");
    }
}

const TRANSACTIONS: usize = 200;

async fn transactions_through_cut_connections_are_whole_or_not_there(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "cut-transactions";
    kafka.create_topic(topic, PARTITIONS).await;
    let mut draws = draws();
    let proxy = kafka.proxy(draws.below(0..u64::MAX));
    let config = impatient(transactional(proxy.address(), topic));
    let mut ledger = Ledger::new(config, topic, PARTITIONS);
    let cutting = Cutting::start(proxy, Draws::from_seed(draws.below(0..u64::MAX)));
    let enough = |ledger: &Ledger| ledger.len() >= TRANSACTIONS;
    ledger.run_until(enough, &mut draws).await;
    let cuts = cutting.stop();
    println!("{cuts} cuts");
    assert!(cuts > 20, "{cuts} cuts prove little");
    assert!(
        ledger.count(Known::Committed) > TRANSACTIONS / 3,
        "cuts are to be survived"
    );
    assert_eq!(ledger.replaced, 0, "a cut kills no producer");
    ledger.check(&kafka.tools(), kafka.bootstrap_servers()).await;
    assert_whole_logs(&kafka, topic, usize::MAX).await;
}
