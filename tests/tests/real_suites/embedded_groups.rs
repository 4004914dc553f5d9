//! Consumer groups at the embedded broker, as the consumers of others see them.

use std::time::Duration;

use kommit_broker::{BrokerConfig, EmbeddedBroker};
use kommit_protocol::api::ApiKey;
use kommit_tests::kafka::{ConsumedRecord, Reading, Setup, Tool, Tools};

use crate::client::{FOREVER, put_values};

const TOPIC: &str = "grouped";
const GROUP: &str = "group";
const PARTITIONS: i32 = 4;

/// Kafka's console consumer joins a group of the embedded broker, shares the partitions with a second one, gets them back when that leaves, and
/// one that comes later goes on where they stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_consumers_share_a_group_of_the_embedded_broker() {
    let Some(stage) = crate::each_kafka::enter(Setup::kafka_4_3()).await else {
        return;
    };
    let config = BrokerConfig {
        nodes: 2,
        ..BrokerConfig::default()
    };
    let broker = EmbeddedBroker::start(config).await.expect("free ports");
    broker.create_topic(TOPIC, PARTITIONS as u32).expect("a new name");
    let tools = stage.tools(&broker.bootstrap_servers());
    let first = spawn(&tools, 5 * PARTITIONS as usize + 5 * 2 + 3 * PARTITIONS as usize);
    until_assigned(&broker, 1).await;
    put(&broker, 0..5).await;
    let second = spawn(&tools, 5 * 2);
    // One assignment for the first alone, and one for each of the two.
    until_assigned(&broker, 3).await;
    put(&broker, 5..10).await;
    let of_second = second.await.expect("it ends");
    // The second has left.
    until_assigned(&broker, 4).await;
    put(&broker, 10..13).await;
    let of_first = first.await.expect("it ends");

    let shared = partitions(&of_second);
    assert_eq!(shared.len(), 2, "{of_second:?}");
    assert_eq!(
        values(&of_second),
        expected(5..10, |partition| shared.contains(&partition))
    );
    let of_first = values(&of_first);
    let mut all = expected(0..5, |_| true);
    all.extend(expected(5..10, |partition| !shared.contains(&partition)));
    all.extend(expected(10..13, |_| true));
    all.sort();
    assert_eq!(of_first, all);

    put(&broker, 13..14).await;
    let third = spawn(&tools, PARTITIONS as usize).await.expect("it ends");
    assert_eq!(values(&third), expected(13..14, |_| true));
    let table = tools
        .run(Tool::ConsumerGroups, &["--describe", "--group", GROUP])
        .await;
    let lags: Vec<_> = table
        .lines()
        .filter(|line| line.contains(TOPIC))
        .map(|row| row.split_whitespace().skip(3).take(3).collect::<Vec<_>>())
        .collect();
    assert_eq!(lags, vec![["14", "14", "0"]; PARTITIONS as usize], "{table}");
}

/// A console consumer that ends after so many records.
fn spawn(tools: &Tools, records: usize) -> tokio::task::JoinHandle<Vec<ConsumedRecord>> {
    let tools = tools.clone();
    let reading = Reading::committed(TOPIC).in_group(GROUP).at_most(records);
    tokio::spawn(async move { tools.console_consume(&reading).await })
}

/// Waits until members have asked for their assignments so many times.
async fn until_assigned(broker: &EmbeddedBroker, times: usize) {
    let assigned = async {
        let is_one = |entry: &kommit_broker::inspect::JournalEntry| entry.api == ApiKey::SyncGroup;
        while broker.journal().iter().filter(|entry| is_one(entry)).count() < times {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FOREVER, assigned)
        .await
        .unwrap_or_else(|_| panic!("{times} assignments do not come: {:?}", broker.journal()));
}

/// Writes these numbers into each partition.
async fn put(broker: &EmbeddedBroker, numbers: std::ops::Range<usize>) {
    let values = numbers.flat_map(|number| (0..PARTITIONS).map(move |_| number.to_string()));
    put_values(&broker.bootstrap_servers(), (TOPIC, PARTITIONS), values).await;
}

/// Partition and number, in order.
fn values(records: &[ConsumedRecord]) -> Vec<(i32, usize)> {
    let pairs = records
        .iter()
        .map(|record| (record.partition, record.value.parse().expect("a number")));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn expected(numbers: std::ops::Range<usize>, is_read: impl Fn(i32) -> bool) -> Vec<(i32, usize)> {
    let partitions = (0..PARTITIONS).filter(|partition| is_read(*partition));
    partitions
        .flat_map(|partition| numbers.clone().map(move |number| (partition, number)))
        .collect()
}

fn partitions(records: &[ConsumedRecord]) -> std::collections::BTreeSet<i32> {
    records.iter().map(|record| record.partition).collect()
}
