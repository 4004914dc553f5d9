//! The client under test as the suites use it, and what they compare.

use std::time::Duration;

use kommit::{
    Delivery, PartitionVerification, Producer, ProducerConfig, Record, RecordMetadata, SendError,
    Transaction, TransactionalProducer,
};
use kommit_tests::kafka::{Reading, RealKafka, sequence_faults};

/// Longer than anything that a suite expects to happen; what exceeds it is a hang.
pub(crate) const FOREVER: Duration = Duration::from_secs(60);

/// Settings for a transactional producer; tests change single ones.
pub(crate) fn transactional(bootstrap_servers: String, id: &str) -> kommit::ProducerBuilder {
    ProducerConfig::builder()
        .bootstrap_servers(bootstrap_servers)
        .transactional_id(id)
        .partition_verification(PartitionVerification::Enabled)
        .max_block(FOREVER)
}

/// A transactional producer, ready to begin.
pub(crate) async fn connect(kafka: &RealKafka, id: &str) -> TransactionalProducer {
    let config = transactional(kafka.bootstrap_servers(), id)
        .build()
        .expect("legal settings");
    TransactionalProducer::connect(config)
        .await
        .expect("the coordinator gives an id")
}

/// A transactional producer whose `max.block.ms` is short: the first id may take a fresh broker longer than this producer waits for anything.
pub(crate) async fn connect_patiently(config: ProducerConfig) -> TransactionalProducer {
    let connected = async {
        loop {
            match TransactionalProducer::connect(config.clone()).await {
                Ok(producer) => return producer,
                Err(error) => assert!(error.is_retriable(), "{error}"),
            }
        }
    };
    tokio::time::timeout(FOREVER, connected)
        .await
        .expect("the coordinator gives an id")
}

/// Sends one value to each of these partitions.
pub(crate) async fn send_to(
    transaction: &Transaction<'_>,
    topic: &str,
    partitions: std::ops::Range<i32>,
    value: &str,
) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for partition in partitions {
        let record = Record::new(topic).partition(partition).value(value);
        deliveries.push(
            transaction
                .send(record)
                .await
                .expect("the open transaction takes records"),
        );
    }
    deliveries
}

/// Waits until each of these is in the log.
pub(crate) async fn all_written(deliveries: Vec<Delivery>) -> Vec<RecordMetadata> {
    let mut written = Vec::new();
    for delivery in deliveries {
        written.push(delivery.await.expect("it is written"));
    }
    written
}

/// How each of these ended; none may wait for ever.
pub(crate) async fn outcomes(deliveries: Vec<Delivery>) -> Vec<Result<RecordMetadata, SendError>> {
    let all = async {
        let mut ended = Vec::new();
        for delivery in deliveries {
            ended.push(delivery.await);
        }
        ended
    };
    tokio::time::timeout(FOREVER, all)
        .await
        .expect("every delivery ends")
}

/// Writes one record outside of transactions to each of these partitions: the last thing that a reader finds there. It is seen by a
/// `read_committed` reader only when no transaction before it is open.
///
/// Returns how many offsets the partitions have then, which is the number of their records where there were no transactions.
pub(crate) async fn put_sentinels(kafka: &RealKafka, topic: &str, partitions: std::ops::Range<i32>) -> usize {
    put_sentinels_at(kafka.bootstrap_servers(), topic, partitions).await
}

/// The same, where there is more than one broker.
pub(crate) async fn put_sentinels_at(
    servers: String,
    topic: &str,
    partitions: std::ops::Range<i32>,
) -> usize {
    let config = ProducerConfig::builder().bootstrap_servers(servers).build();
    let producer = Producer::new(config.expect("legal settings")).expect("no transactional id");
    let mut offsets = 0;
    for partition in partitions {
        let record = Record::new(topic).partition(partition).value(SENTINEL);
        let written = producer.send(record).await.expect("room").await.expect("written");
        offsets += written.offset.expect("it was written once").0 as usize + 1;
    }
    producer.close(FOREVER).await.expect("nothing is left");
    offsets
}

/// Writes these values outside of transactions, to the partitions in turn, and waits until all of them are in the log.
pub(crate) async fn put_values(
    servers: &str,
    (topic, partitions): (&str, i32),
    values: impl Iterator<Item = String>,
) {
    let config = ProducerConfig::builder().bootstrap_servers(servers);
    let producer = Producer::new(config.build().expect("legal settings")).expect("no transactional id");
    let mut deliveries = Vec::new();
    for (partition, value) in (0..partitions).cycle().zip(values) {
        let record = Record::new(topic).partition(partition).value(&value);
        deliveries.push(producer.send(record).await.expect("room"));
    }
    all_written(deliveries).await;
    producer.close(FOREVER).await.expect("nothing is left");
}

/// The value of a sentinel.
pub(crate) const SENTINEL: &str = "the end";

/// The values of a partition as a consumer with this reading finds them, up to the sentinel.
pub(crate) async fn values_before_sentinel(
    kafka: &RealKafka,
    reading: Reading,
    expected: usize,
) -> Vec<String> {
    let records = kafka
        .tools()
        .console_consume(&reading.at_most(expected + 1))
        .await;
    let mut values: Vec<String> = records.into_iter().map(|record| record.value).collect();
    let last = values.pop();
    assert_eq!(
        last.as_deref(),
        Some(SENTINEL),
        "{expected} values and the sentinel, but before it: {values:?}"
    );
    values
}

/// A reader finds these committed values in each of the partitions, in this order, and nothing else; no transaction is left open.
pub(crate) async fn assert_committed(
    kafka: &RealKafka,
    topic: &str,
    partitions: std::ops::Range<i32>,
    values: &[impl AsRef<str>],
) {
    put_sentinels(kafka, topic, partitions.clone()).await;
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    for partition in partitions {
        let reading = Reading::committed(topic).partition(partition);
        let seen = values_before_sentinel(kafka, reading, values.len()).await;
        assert_eq!(seen, values, "{topic}-{partition}");
    }
}

/// In the logs of these partitions no producer has left a sequence out, or used one twice.
pub(crate) async fn assert_no_sequence_faults(
    kafka: &RealKafka,
    topic: &str,
    partitions: std::ops::Range<i32>,
) {
    for partition in partitions {
        let batches = kafka.batches(topic, partition).await;
        assert_eq!(
            sequence_faults(&batches),
            [""; 0],
            "{topic}-{partition}: {batches:?}"
        );
    }
}
