//! Kafka's own tools against `kommit broker`: the embedded broker is a Kafka to them.

use kommit::{ProducerConfig, TransactionalProducer};
use kommit_tests::kafka::{Reading, Release, Setup, Tool};

use crate::client::{FOREVER, all_written, send_to};
use crate::program::Kommit;

/// Kafka's tools of one release against an embedded broker with this transaction version.
async fn tools_work(setup: Setup, transaction_version: &str) {
    let Some(stage) = crate::each_kafka::enter(setup).await else {
        return;
    };
    let (_broker, address) = embedded(transaction_version).await;
    let tools = stage.tools(&address);
    tools.create_topic("tools", 2).await;
    tools
        .console_produce_keyed("tools", &[("k", "one"), ("k", "two"), ("k", "zwölf")])
        .await;
    tools.console_produce("tools", &["no key"]).await;
    let records = tools
        .console_consume(&Reading::committed("tools").at_most(4))
        .await;
    let mut values: Vec<&str> = records.iter().map(|record| record.value.as_str()).collect();
    values.sort_unstable();
    assert_eq!(values, ["no key", "one", "two", "zwölf"], "{records:?}");
    let keyed: Vec<_> = records.iter().filter(|record| record.key.is_some()).collect();
    assert!(
        keyed
            .windows(2)
            .all(|pair| pair[0].partition == pair[1].partition && pair[0].offset < pair[1].offset)
    );

    let partition = keyed[0].partition;
    let alone = tools
        .console_consume(&Reading::committed("tools").partition(partition).at_most(3))
        .await;
    assert!(
        alone.iter().all(|record| record.partition == partition),
        "{alone:?}"
    );
    assert_eq!(alone.len(), 3, "{alone:?}");
    let topics = tools.run(Tool::Topics, &["--list"]).await;
    assert!(topics.lines().any(|topic| topic == "tools"), "{topics}");

    aborted_records_are_filtered(&address, &tools).await;
}

/// Kafka's consumer filters by what the broker tells about aborted transactions: committed, aborted, committed, still open.
async fn aborted_records_are_filtered(address: &str, tools: &kommit_tests::kafka::Tools) {
    tools.create_topic("filtered", 1).await;
    let config = ProducerConfig::builder()
        .bootstrap_servers(address)
        .transactional_id("filtered")
        .build();
    let mut producer = TransactionalProducer::connect(config.expect("legal"))
        .await
        .expect("an id");
    for (value, is_committed) in [("first", true), ("aborted", false), ("second", true)] {
        let transaction = producer.begin().await.expect("idle");
        all_written(send_to(&transaction, "filtered", 0..1, value).await).await;
        if is_committed {
            transaction.commit().await.expect("committed");
        } else {
            transaction.abort().await.expect("aborted");
        }
    }
    let open = producer.begin().await.expect("idle");
    all_written(send_to(&open, "filtered", 0..1, "open").await).await;
    for (reading, expected) in [
        (Reading::committed("filtered"), &["first", "second"][..]),
        (
            Reading::uncommitted("filtered").at_most(4),
            &["first", "aborted", "second", "open"],
        ),
    ] {
        let records = tools.console_consume(&reading.partition(0)).await;
        let values: Vec<&str> = records.iter().map(|record| record.value.as_str()).collect();
        assert_eq!(values, expected);
    }
    open.abort().await.expect("aborted");
    producer.close(FOREVER).await.expect("nothing is open");
}

/// A running `kommit broker` and its address. Its output must stay open while it runs.
async fn embedded(transaction_version: &str) -> (impl Sized, String) {
    let mut broker = Kommit::start(&[
        "broker",
        "--port",
        "0",
        "--transaction-version",
        transaction_version,
    ])
    .await;
    let (line, output) = broker.first_line().await;
    let address = line.rsplit(' ').next().expect("a word").to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    ((broker, output), address)
}

#[tokio::test]
async fn tools_of_kafka_4_3_work_with_the_embedded_broker() {
    tools_work(Setup::kafka_4_3(), "2").await;
}

#[tokio::test]
async fn tools_of_kafka_4_3_work_with_the_older_transaction_protocol() {
    tools_work(Setup::kafka_4_3().transaction_version(1), "1").await;
}

#[tokio::test]
async fn tools_of_kafka_3_9_work_with_the_embedded_broker() {
    let setup = Setup::kafka_3_9();
    assert_eq!(setup.release(), Release::V3_9_1);
    tools_work(setup, "1").await;
}
