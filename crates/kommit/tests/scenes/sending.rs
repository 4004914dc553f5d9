//! The idempotent producer: where its records go, in which order, and what their senders are told.

use kommit::{Record, SendErrorKind, TrySendError};
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{LONG, Stage, TOPIC, given_up_after, text, until};

/// The batches of 128 KiB in a line that is long.
const LONG_LINE: usize = 6;

/// P-4, A-91: records of one task keep their order within a partition, and each delivery names the record's own offset.
#[tokio::test]
async fn records_keep_their_order_and_know_their_offsets() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("batch.size", "200")]);
    let mut deliveries = Vec::new();
    for number in 0..90 {
        let value = format!("value {number}");
        let record = Record::new(TOPIC).partition(number % 3).value(&value);
        deliveries.push((number, producer.send(record).await.expect("room")));
    }
    for (number, delivery) in deliveries {
        let written = delivery.await.expect("written");
        assert_eq!(written.topic_partition.partition.0, number % 3);
        assert_eq!(written.offset.map(|offset| offset.0), Some(i64::from(number / 3)));
    }
    for partition in 0..3 {
        let values: Vec<String> = stage.records(partition).iter().map(text).collect();
        let sent: Vec<String> = (0..30)
            .map(|row| format!("value {}", 3 * row + partition))
            .collect();
        assert_eq!(values, sent);
    }
}

/// P-4: a slice is sent in its order, and each of its records has a delivery.
#[tokio::test]
async fn a_slice_keeps_its_order() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("batch.size", "200")]);
    let values: Vec<String> = (0..90).map(|number| format!("value {number}")).collect();
    let records: Vec<Record<'_>> = values
        .iter()
        .map(|value| Record::new(TOPIC).partition(0).value(value))
        .collect();
    let deliveries = producer.send_all(&records).await.expect("room");
    assert_eq!(deliveries.len(), records.len());
    for (delivery, offset) in deliveries.into_iter().zip(0..) {
        let written = delivery.await.expect("written");
        assert_eq!(written.offset.map(|offset| offset.0), Some(offset));
    }
    assert_eq!(stage.records(0).iter().map(text).collect::<Vec<_>>(), values);
}

/// P-4, P-10: a record that is refused ends its slice: those before it are sent, those behind it are not, so that none overtakes it.
#[tokio::test]
async fn a_slice_ends_with_the_first_record_that_is_refused() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let record = Record::new(TOPIC).partition(0);
    let records = [
        record.value("before"),
        record.value("refused").timestamp_millis(-1),
        record.value("behind"),
    ];
    let refused = producer.send_all(&records).await.expect_err("no such time");
    assert!(
        matches!(refused.error.kind(), SendErrorKind::InvalidRecord(_)),
        "{refused}"
    );
    assert!(
        refused.to_string().starts_with("record 1 of the slice"),
        "{refused}"
    );
    for delivery in refused.sent {
        delivery.await.expect("written");
    }
    producer.close(LONG).await.expect("a graceful close");
    assert_eq!(stage.records(0).iter().map(text).collect::<Vec<_>>(), ["before"]);
}

/// records with the same key meet in one partition.
#[tokio::test]
async fn equal_keys_meet_in_one_partition() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let mut places = Vec::new();
    for _ in 0..5 {
        let record = Record::new(TOPIC).key("alice").value("1");
        places.push(
            producer
                .send(record)
                .await
                .expect("room")
                .await
                .expect("written")
                .topic_partition,
        );
    }
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
}

/// S-64, T-70: a retriable refusal in the middle of the stream costs neither a record nor the order.
#[tokio::test]
async fn a_refused_batch_keeps_its_place() {
    let stage = Stage::set().await;
    let refusal = Verdict::Answer(ErrorCode::NotEnoughReplicas);
    let _rule = stage
        .broker
        .rule(Rule::on(ApiKey::Produce, refusal).skip(2).times(3));
    let producer = stage.producer(&[("batch.size", "100")]);
    let mut deliveries = Vec::new();
    for number in 0..60 {
        let value = number.to_string();
        let record = Record::new(TOPIC).partition(0).value(&value);
        deliveries.push(producer.send(record).await.expect("room"));
    }
    for (delivery, offset) in deliveries.into_iter().zip(0..) {
        let written = delivery.await.expect("written after all");
        assert_eq!(written.offset.map(|offset| offset.0), Some(offset));
    }
    let values: Vec<String> = stage.records(0).iter().map(text).collect();
    assert_eq!(
        values,
        (0..60).map(|number| number.to_string()).collect::<Vec<_>>()
    );
}

/// R1, S-65: a batch whose answer was lost is sent again and stored once.
#[tokio::test]
async fn a_lost_answer_does_not_make_a_second_record() {
    let stage = Stage::set().await;
    let rule = stage
        .broker
        .rule(Rule::on(ApiKey::Produce, Verdict::DisconnectAfter).once());
    let producer = stage.producer(&[]);
    let record = Record::new(TOPIC).partition(0).value("once");
    let delivery = producer.send(record).await.expect("room");
    delivery.await.expect("written");
    assert!(rule.matches() >= 2, "the batch was sent again");
    assert_eq!(stage.records(0).len(), 1);
}

/// P-36: when a flush is done, so is every record that was sent before it.
#[tokio::test]
async fn a_flush_waits_for_every_record() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("linger.ms", "10000")]);
    let mut deliveries = Vec::new();
    for partition in 0..3 {
        let record = Record::new(TOPIC).partition(partition).value("lingers");
        deliveries.push(producer.send(record).await.expect("room"));
    }
    assert!(deliveries.iter().all(|delivery| delivery.outcome().is_none()));
    producer.flush().await.expect("not closed");
    assert!(
        deliveries
            .iter()
            .all(|delivery| matches!(delivery.outcome(), Some(Ok(_))))
    );
}

/// P-36: a flush tells nothing of failed records; their deliveries do.
#[tokio::test]
async fn a_flush_does_not_fail_with_its_records() {
    let stage = Stage::set().await;
    let refusal = Verdict::Answer(ErrorCode::InvalidTimestamp);
    let _rule = stage.broker.rule(Rule::on(ApiKey::Produce, refusal));
    let producer = stage.producer(&[]);
    let delivery = producer
        .send(Record::new(TOPIC).value("refused"))
        .await
        .expect("room");
    producer.flush().await.expect("not closed");
    let error = delivery.await.expect_err("refused by the broker");
    assert_eq!(error.code(), Some(ErrorCode::InvalidTimestamp));
    assert!(!error.requires_abort() && !error.may_be_written());
}

/// P-12: before the first metadata `try_send` gives the record back, and has asked for the topic.
#[tokio::test]
async fn try_send_gives_the_record_back_until_the_topic_is_known() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let record = Record::new(TOPIC).value("sooner or later");
    match producer.try_send(record) {
        Err(error @ TrySendError::TopicNotReady(back)) => {
            assert_eq!(back, record);
            assert!(error.is_retriable() && error.to_string().contains(TOPIC));
        }
        other => panic!("nothing is known yet: {other:?}"),
    }
    until("the topic becomes known", || producer.try_send(record).is_ok()).await;
    producer.close(LONG).await.expect("a graceful close");
    let written: usize = (0..3).map(|partition| stage.records(partition).len()).sum();
    assert_eq!(written, 1);
}

/// P-38: the number of partitions, and the name that brokers see.
#[tokio::test]
async fn a_producer_knows_partitions_and_its_own_name() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("client.id", "till 7")]);
    assert_eq!(producer.partition_count(TOPIC).await.expect("known"), 3);
    assert_eq!(producer.client_id(), "till 7");
    let journal = stage.broker.journal();
    assert!(
        journal
            .iter()
            .any(|entry| entry.client_id.as_deref() == Some("till 7"))
    );
}

/// P-25: with acks = 0 a record counts when its bytes are written, and nobody knows where.
#[tokio::test]
async fn without_acknowledgements_there_is_no_offset() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("acks", "0")]);
    let record = Record::new(TOPIC).partition(1).value("unseen");
    let written = producer.send(record).await.expect("room").await.expect("written");
    assert_eq!(written.offset, None);
    until("the broker takes the record", || stage.records(1).len() == 1).await;
}

/// P-11: a send behind a long line of batches lets the sender take some first; it takes no memory meanwhile, and whoever does not wait is not
/// made to.
#[tokio::test]
async fn a_send_makes_way_for_a_long_line() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("batch.size", "131072")]);
    producer.topic(TOPIC).await.expect("it exists");
    let value = "x".repeat(130_000);
    // Each fills a batch, and nothing is awaited here that would let the sender run.
    let record = Record::new(TOPIC).partition(0).value(&value);
    let mut deliveries = Vec::new();
    while let Some(sent) = given_up_after(1, producer.send(record)).await {
        deliveries.push(sent.expect("room"));
        assert!(deliveries.len() <= LONG_LINE, "nobody makes way");
    }
    assert_eq!(deliveries.len(), LONG_LINE);
    deliveries.push(producer.try_send(record).expect("room"));
    deliveries.push(producer.send(record).await.expect("room"));
    for delivery in deliveries {
        delivery.await.expect("written");
    }
    assert_eq!(stage.records(0).len(), LONG_LINE + 2);
}
