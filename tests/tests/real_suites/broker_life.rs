//! What a cluster goes through while a producer works: codecs, a topic that is deleted and created again, a broker that stands still, and a
//! transaction protocol that changes.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use kommit::{Producer, ProducerConfig, Record, TransactionalProducer};
use kommit_tests::kafka::{Reading, RealKafka, Setup, Stage, Tool, sequence_faults};
use kommit_tests::proxy::Draws;

use crate::client::{FOREVER, SENTINEL, assert_committed, put_sentinels, transactional};
use crate::each_kafka::draws;
use crate::ledger::{Known, Ledger, more_than};

against_each_kafka!(
    /// C-18: what each codec has compressed, Kafka's own consumer reads.
    every_codec_is_read_by_kafka_s_own_consumer,
    /// H11, R3: a topic of the same name is another topic, and nothing that it gets is taken for a repeat of what the old one had.
    topic_flap,
    /// H18, R1: a broker stands still for longer than requests and transactions may last.
    a_paused_broker_leaves_no_doubt_behind,
);

async fn every_codec_is_read_by_kafka_s_own_consumer(mut stage: Stage) {
    const RECORDS: usize = 300;
    let kafka = stage.shared().await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("codec-{codec}");
        kafka.create_topic(&topic, 1).await;
        let config = transactional(kafka.bootstrap_servers(), &topic).set("compression.type", codec);
        let mut producer = TransactionalProducer::connect(config.build().expect("legal"))
            .await
            .expect("an id");
        let transaction = producer.begin().await.expect("idle");
        // Repeats and noise: what compresses well, and what does not.
        let values: Vec<String> = (0..RECORDS)
            .map(|number| {
                format!(
                    "{} {:x}",
                    "again ".repeat(number % 50),
                    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                )
            })
            .collect();
        for value in &values {
            let record = Record::new(&topic).partition(0).key("k").value(value);
            let _sent = transaction.send(record).await.expect("room");
        }
        transaction.commit().await.expect("committed");
        producer.close(FOREVER).await.expect("nothing is open");
        assert_committed(&kafka, &topic, 0..1, &values).await;
    }
}

async fn topic_flap(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "topic-flap";
    kafka.create_topic(topic, 1).await;
    let config = ProducerConfig::builder()
        .bootstrap_servers(kafka.bootstrap_servers())
        .set("metadata.max.age.ms", "500")
        .build();
    let producer = Producer::new(config.expect("legal")).expect("no transactional id");
    let send = async |number: usize| {
        let value = number.to_string();
        let record = Record::new(topic).partition(0).value(&value);
        match producer.send(record).await {
            Ok(delivery) => delivery.await.map(drop),
            Err(error) => Err(error),
        }
    };
    for number in 0..50 {
        send(number).await.expect("the topic is there");
    }
    let mut acknowledged = BTreeSet::new();
    let flap = async {
        kafka
            .tools()
            .run(Tool::Topics, &["--delete", "--topic", topic])
            .await;
        // The producer's own question for the topic may have created it already.
        let again = [
            "--create",
            "--if-not-exists",
            "--topic",
            topic,
            "--partitions",
            "1",
        ];
        kafka.tools().run(Tool::Topics, &again).await;
    };
    let load = async {
        for number in 50..800 {
            if send(number).await.is_ok() {
                acknowledged.insert(number);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::join!(flap, load);
    for number in 800..850 {
        send(number).await.expect("the topic is there again");
    }
    producer.close(FOREVER).await.expect("nothing is left");
    assert_new_topic_is_whole(&kafka, topic, &acknowledged).await;
}

/// From the first record that the new topic has, everything that was acknowledged is in it, once and in order.
async fn assert_new_topic_is_whole(kafka: &RealKafka, topic: &str, acknowledged: &BTreeSet<usize>) {
    let all = put_sentinels(kafka, topic, 0..1).await;
    let records = kafka
        .tools()
        .console_consume(&Reading::committed(topic).partition(0).at_most(all))
        .await;
    let numbers: Vec<usize> = records
        .iter()
        .filter(|record| record.value != SENTINEL)
        .map(|record| record.value.parse().expect("a number"))
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(numbers.ends_with(&(800..850).collect::<Vec<_>>()), "{numbers:?}");
    let missing: Vec<_> = acknowledged
        .range(numbers[0]..)
        .filter(|number| numbers.binary_search(number).is_err())
        .collect();
    assert!(missing.is_empty(), "acknowledged, but not there: {missing:?}");
    // A log without state takes any sequence as the first one; behind that there is no gap and no repeat.
    let mut faults = sequence_faults(&kafka.batches(topic, 0).await);
    faults.retain(|fault| !fault.starts_with("offset 0:"));
    assert_eq!(faults, [""; 0]);
}

async fn a_paused_broker_leaves_no_doubt_behind(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "paused-broker";
    kafka.create_topic(topic, 2).await;
    let config = transactional(kafka.bootstrap_servers(), topic)
        .request_timeout(Duration::from_millis(700))
        .transaction_timeout(Duration::from_millis(2000))
        .build();
    let mut ledger = Ledger::new(config.expect("legal"), topic, 2);
    let mut draws = draws();
    let committed = Cell::new(0);
    let pausing = async {
        // Longer than a request may take, and longer than a transaction may last.
        for milliseconds in [1200, 3500] {
            more_than(&committed, 5).await;
            let frozen = kafka.node().freeze();
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            drop(frozen);
        }
        more_than(&committed, 5).await;
    };
    run_beside(&mut ledger, (pausing, &committed), &mut draws).await;
    ledger.check(&kafka.tools(), kafka.bootstrap_servers()).await;
}

/// Makes transactions for as long as the other thing goes on, which is told how many are committed.
async fn run_beside(ledger: &mut Ledger, other: (impl Future<Output = ()>, &Cell<usize>), draws: &mut Draws) {
    let (other, committed) = other;
    let is_over = Cell::new(false);
    let until_over = |ledger: &Ledger| {
        committed.set(ledger.count(Known::Committed));
        is_over.get()
    };
    let other = async {
        other.await;
        is_over.set(true);
    };
    let both = async { tokio::join!(ledger.run_until(until_over, draws), other) };
    tokio::time::timeout(3 * FOREVER, both)
        .await
        .expect("transactions go on");
}

/// H15, R10: the transaction protocol changes under a producer that goes on, there and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tv_flip() {
    let Some(mut stage) = crate::each_kafka::enter(Setup::kafka_4_3()).await else {
        return;
    };
    let kafka = stage.start().await;
    let topic = "tv-flip";
    kafka.create_topic(topic, 2).await;
    let config = transactional(kafka.bootstrap_servers(), topic).set("metadata.max.age.ms", "500");
    let mut ledger = Ledger::new(config.build().expect("legal"), topic, 2);
    let tools = kafka.tools();
    let committed = Cell::new(0);
    let flipping = async {
        for (direction, version) in [("downgrade", 1), ("upgrade", 2), ("downgrade", 1), ("upgrade", 2)] {
            more_than(&committed, 5).await;
            let feature = format!("transaction.version={version}");
            tools
                .run(Tool::Features, &[direction, "--feature", &feature])
                .await;
        }
        more_than(&committed, 5).await;
    };
    let mut draws = draws();
    run_beside(&mut ledger, (flipping, &committed), &mut draws).await;
    ledger.check(&tools, kafka.bootstrap_servers()).await;
}
