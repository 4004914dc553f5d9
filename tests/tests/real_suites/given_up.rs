//! Idempotent records whose fate the producer does not learn in time (H07, H10, H26): drills of `docs/spec/hazards.md`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, ResponseKind};
use kommit::{PartitionId, Producer, ProducerBuilder, ProducerConfig, Record, RecordMetadata, SendError};
use kommit_tests::kafka::{Reading, RealKafka, Stage};
use kommit_tests::proxy::{Direction, Flow, Proxy, Verdict};

use crate::client::{
    FOREVER, SENTINEL, assert_committed, assert_no_sequence_faults, outcomes, put_sentinels,
};

against_each_release!(
    /// H07, R1: nothing follows a record that may be lost until the application has taken note of it.
    expiry_gap,
    /// H10, R1, R3: a record is stored, answered with a time-out and given up or forgotten; its sequence is not given to the next one.
    cancel_after_append,
    /// H26, R11: what expires while its bytes wait for the socket is not overwritten by records of another topic.
    expire_in_flight,
);

const REQUEST_TIMED_OUT: i16 = 7;
/// A record is given up after this time.
const PATIENCE: Duration = Duration::from_secs(3);

/// A producer behind a proxy that soon gives records up.
fn impatient(proxy: &Proxy) -> ProducerBuilder {
    ProducerConfig::builder()
        .bootstrap_servers(proxy.address())
        .linger(Duration::ZERO)
        .request_timeout(Duration::from_secs(1))
        .delivery_timeout(PATIENCE)
        .set("retry.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100")
}

/// A proxy that does this with produce requests, for as long as the switch is on.
fn proxy_with(kafka: &RealKafka, verdict: impl Fn() -> Verdict + Send + 'static) -> (Proxy, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let is_on = Arc::clone(&switch);
    let proxy = kafka.proxy(0);
    proxy.rule(move |request| {
        if request.api_key == ApiKey::Produce && is_on.load(Ordering::Relaxed) {
            return verdict();
        }
        Verdict::Pass
    });
    (proxy, switch)
}

/// Sends one value to partition 0 and waits for its end.
async fn send(producer: &Producer, topic: &str, value: &str) -> Result<RecordMetadata, SendError> {
    let delivery = producer
        .send(Record::new(topic).partition(0).value(value))
        .await?;
    outcomes(vec![delivery]).await.remove(0)
}

async fn expiry_gap(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "expiry-gap";
    kafka.create_topic(topic, 2).await;
    let (proxy, is_losing) = proxy_with(&kafka, || Verdict::Lose);
    let config = impatient(&proxy).build().expect("legal settings");
    let producer = Producer::new(config).expect("no transactional id");
    send(&producer, topic, "first")
        .await
        .expect("nothing is wrong yet");

    is_losing.store(true, Ordering::Relaxed);
    let lost = send(&producer, topic, "lost").await.expect_err("nothing arrives");
    assert!(lost.may_be_written(), "it was sent: {lost}");
    is_losing.store(false, Ordering::Relaxed);
    let refused = send(&producer, topic, "refused")
        .await
        .expect_err("it stands behind a gap");
    assert!(!refused.may_be_written(), "{refused}");
    let stopped = producer.stopped_partitions().await.expect("it runs");
    assert_eq!(
        stopped.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["expiry-gap-0"]
    );
    let elsewhere = producer
        .send(Record::new(topic).partition(1).value("elsewhere"))
        .await;
    elsewhere.expect("room").await.expect("other partitions go on");

    let gap = producer.acknowledge_gap(topic, PartitionId(0)).await;
    gap.expect("the partition has stopped");
    send(&producer, topic, "next")
        .await
        .expect("the application has taken note");
    producer.close(FOREVER).await.expect("nothing is left");
    assert_committed(&kafka, topic, 0..1, &["first", "next"]).await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}

async fn cancel_after_append(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "cancel-after-append";
    kafka.create_topic(topic, 1).await;
    let (proxy, is_lying) = proxy_with(&kafka, || {
        Verdict::ChangeAnswer(Box::new(|answer| {
            if let ResponseKind::Produce(answer) = answer {
                let partition = &mut answer.responses[0].partition_responses[0];
                partition.error_code = REQUEST_TIMED_OUT;
                partition.base_offset = -1;
            }
        }))
    });
    let config = impatient(&proxy).build().expect("legal settings");
    let producer = Producer::new(config).expect("no transactional id");
    send(&producer, topic, "first")
        .await
        .expect("nothing is wrong yet");

    let stored = kafka.log_size(topic);
    is_lying.store(true, Ordering::Relaxed);
    let forgotten = producer
        .send(Record::new(topic).partition(0).value("forgotten"))
        .await;
    drop(forgotten.expect("room"));
    until_log_has_more(&kafka, topic, stored).await;
    is_lying.store(false, Ordering::Relaxed);
    let behind = send(&producer, topic, "behind it")
        .await
        .expect("nothing is wrong any more");
    assert_eq!(behind.offset.map(|offset| offset.0), Some(2));

    is_lying.store(true, Ordering::Relaxed);
    let given_up = send(&producer, topic, "given up")
        .await
        .expect_err("no answer says that it is there");
    assert!(given_up.may_be_written(), "{given_up}");
    is_lying.store(false, Ordering::Relaxed);
    let gap = producer.acknowledge_gap(topic, PartitionId(0)).await;
    gap.expect("the partition has stopped");
    let next = send(&producer, topic, "next")
        .await
        .expect("the application has taken note");
    assert_eq!(next.offset.map(|offset| offset.0), Some(4));
    producer.close(FOREVER).await.expect("nothing is left");
    assert_committed(
        &kafka,
        topic,
        0..1,
        &["first", "forgotten", "behind it", "given up", "next"],
    )
    .await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}

/// Waits until there is more in the topic's logs than so many bytes.
async fn until_log_has_more(kafka: &RealKafka, topic: &str, bytes: u64) {
    let grown = async {
        while kafka.log_size(topic) <= bytes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FOREVER, grown).await.expect("it is stored");
}

async fn expire_in_flight(mut stage: Stage) {
    /// Together more than the sockets on the way take in: four mebibytes on this side, and less on the other.
    const LARGE: usize = 160;
    const PARTITIONS: i32 = 4;
    let kafka = stage.shared().await;
    let (older, newer) = ("expire-older", "expire-newer");
    for topic in [older, newer] {
        kafka.create_topic(topic, PARTITIONS).await;
    }
    let proxy = kafka.proxy(0);
    let config = impatient(&proxy)
        // What is sent behind the hold is sixteen megabytes, and is to arrive in time on a busy machine, too.
        .request_timeout(PATIENCE)
        .delivery_timeout(2 * PATIENCE)
        .batch_size(200_000)
        // What expires has to make room for what comes after it.
        .buffer_memory(20 << 20)
        .set("max.request.size", (8 << 20).to_string())
        .build();
    let producer = Producer::new(config.expect("legal settings")).expect("no transactional id");
    let send_all = async |topic: &str| {
        let mut deliveries = Vec::new();
        for number in 0..LARGE {
            let value = large(topic, number);
            let record = Record::new(topic)
                .partition(number as i32 % PARTITIONS)
                .value(&value);
            deliveries.push(producer.send(record).await.expect("room in time"));
        }
        outcomes(deliveries).await
    };
    for topic in [older, newer] {
        let first = producer
            .send(Record::new(topic).partition(0).value("first"))
            .await;
        first.expect("room").await.expect("nothing is wrong yet");
    }
    proxy.set(Direction::ToBroker, Flow::Hold);
    let expired = send_all(older).await;
    let unknown = expired
        .iter()
        .filter(|end| end.as_ref().is_err_and(SendError::may_be_written));
    assert!(unknown.count() > 0, "some were on their way");
    assert!(expired.iter().all(Result::is_err), "nothing arrived in time");
    proxy.set(Direction::ToBroker, Flow::Pass);
    let written = send_all(newer).await;
    for (number, end) in written.iter().enumerate() {
        assert!(end.is_ok(), "record {number}: {end:?}");
    }
    producer.close(FOREVER).await.expect("nothing is left");
    assert_intact(&kafka, older, 0..=1).await;
    assert_intact(&kafka, newer, 1..=1).await;
}

/// A hundred kilobytes that only this record of this topic has.
fn large(topic: &str, number: usize) -> String {
    format!("{topic} {number:03} ").repeat(5500)
}

/// Each record of a topic is there so many times, as it was sent, and nothing else is there.
async fn assert_intact(kafka: &RealKafka, topic: &str, times: std::ops::RangeInclusive<usize>) {
    let all = put_sentinels(kafka, topic, 0..4).await;
    let reading = Reading::committed(topic).at_most(all);
    let mut seen: BTreeMap<usize, usize> = (0..160).map(|number| (number, 0)).collect();
    for record in kafka.tools().console_consume(&reading).await {
        if record.value == "first" || record.value == SENTINEL {
            continue;
        }
        let number = record
            .value
            .split(' ')
            .nth(1)
            .and_then(|number| number.parse().ok());
        let number: usize = number.expect("a number behind the topic");
        assert!(
            record.value == large(topic, number),
            "{topic}: record {number} is not what was sent"
        );
        *seen.entry(number).or_default() += 1;
    }
    let wrong: Vec<_> = seen.iter().filter(|(_, count)| !times.contains(count)).collect();
    assert!(wrong.is_empty(), "{topic}: {wrong:?}");
}
