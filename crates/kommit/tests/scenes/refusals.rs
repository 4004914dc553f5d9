//! Records that are refused before they are in a batch, and memory that is used up.

use std::time::Duration;

use kommit::{ConnectError, Producer, ProducerConfig, Record, SendErrorKind, TrySendError};
use kommit_broker::config::AutoCreateTopics;
use kommit_broker::{BrokerConfig, Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{LONG, Stage, TOPIC, until};

/// P-15: a record that no request can hold is refused at once, with both sizes.
#[tokio::test]
async fn a_record_above_the_request_size_is_refused() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("max.request.size", "2000")]);
    let large = vec![b'x'; 3_000];
    let error = producer
        .send(Record::new(TOPIC).value(&large))
        .await
        .expect_err("too large");
    assert!(
        matches!(error.kind(), SendErrorKind::RecordTooLarge { size, limit: 2_000 } if *size > 3_000),
        "{error}"
    );
    assert!(!error.is_retriable() && !error.may_be_written());
    let small = producer
        .send(Record::new(TOPIC).value("small"))
        .await
        .expect("fits");
    small.await.expect("written");
}

/// P-15: nor is one that can never fit into the memory.
#[tokio::test]
async fn a_record_above_the_whole_memory_is_refused() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("buffer.memory", "20000")]);
    let large = vec![b'x'; 30_000];
    let error = producer
        .send(Record::new(TOPIC).value(&large))
        .await
        .expect_err("too large");
    assert!(
        matches!(error.kind(), SendErrorKind::RecordTooLarge { limit: 20_000, .. }),
        "{error}"
    );
}

/// P-13: a topic that nobody creates is waited for as long as `max.block.ms`, and the error names it, the time and the cause.
#[tokio::test]
async fn an_unknown_topic_times_out_with_its_name_and_cause() {
    let stage = Stage::of(BrokerConfig {
        auto_create_topics: AutoCreateTopics::Disabled,
        ..BrokerConfig::default()
    })
    .await;
    let producer = stage.producer(&[("max.block.ms", "1000")]);
    let record = Record::new("nobody-made-me").value("v");
    let error = producer.send(record).await.expect_err("no such topic");
    assert_eq!(error.kind(), &SendErrorKind::NotInMetadata);
    let text = error.to_string();
    for part in [
        "nobody-made-me",
        "max.block.ms = 1000",
        "UNKNOWN_TOPIC_OR_PARTITION",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(error.is_retriable() && !error.may_be_written());
    let counted = producer.partition_count("nobody-made-me").await;
    assert_eq!(
        counted.expect_err("no such topic").kind(),
        &SendErrorKind::NotInMetadata
    );
}

/// N-64: an illegal name is not waited for.
#[tokio::test]
async fn an_illegal_topic_name_fails_at_once() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let sending = producer.send(Record::new("no/slashes").value("v"));
    // max.block.ms is as long as this bound: only an answer that is not waited out comes in time.
    let answered = tokio::time::timeout(LONG / 2, sending).await.expect("no waiting");
    let error = answered.expect_err("an illegal name");
    assert_eq!(error.code(), Some(ErrorCode::InvalidTopicException));
    assert!(error.to_string().contains("no/slashes"), "{error}");
}

/// P-10: a negative timestamp is refused before the record is in a batch; the transaction can still be committed.
#[tokio::test]
async fn a_negative_timestamp_is_refused() {
    let stage = Stage::set().await;
    let mut producer = stage.transactional("t", &[]).await;
    let transaction = producer.begin().await.expect("idle");
    let record = Record::new(TOPIC).partition(0).value("v");
    let error = transaction.send(record.timestamp_millis(-1)).await;
    let error = error.expect_err("only a number of milliseconds since 1970 is a time");
    assert!(matches!(error.kind(), SendErrorKind::InvalidRecord(_)), "{error}");
    assert!(!error.is_retriable() && !error.requires_abort(), "{error}");
    let kept = Record::new(TOPIC).partition(0).value("kept");
    let sent = transaction.send(kept.timestamp_millis(0)).await.expect("room");
    transaction.commit().await.expect("committed");
    assert!(matches!(sent.outcome(), Some(Ok(_))));
    assert_eq!(stage.committed(0), ["kept"]);
}

/// while the memory is used up, `try_send` gives the record back and `send` waits for `max.block.ms`; then all is as before.
#[tokio::test]
async fn used_up_memory_gives_the_record_back_or_times_out() {
    let stage = Stage::set().await;
    let keys = [
        ("buffer.memory", "40000"),
        ("batch.size", "16384"),
        ("max.block.ms", "1000"),
    ];
    let producer = stage.producer(&keys);
    assert_eq!(producer.partition_count(TOPIC).await.expect("known"), 3);
    let rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let value = vec![b'x'; 15_000];
    let record = Record::new(TOPIC).partition(0).value(&value);
    let mut deliveries = Vec::new();
    let back = loop {
        match producer.try_send(record) {
            Ok(delivery) => deliveries.push(delivery),
            Err(TrySendError::Full(back)) => break back,
            Err(other) => panic!("only memory is short: {other}"),
        }
        assert!(deliveries.len() <= 2, "40,000 bytes hold two batches of 16,384");
    };
    assert_eq!(back, record);
    let error = producer.send(back).await.expect_err("nothing becomes free");
    assert!(
        matches!(error.kind(), SendErrorKind::BufferExhausted { size: 16_384 }),
        "{error}"
    );
    assert!(error.is_retriable() && !error.may_be_written());
    rule.remove();
    deliveries.push(producer.send(back).await.expect("memory comes back"));
    for delivery in deliveries {
        delivery.await.expect("written");
    }
    assert_eq!(stage.records(0).len(), 3);
}

/// S-44, R1: a record that nobody answered in `delivery.timeout.ms` says that it may have been written.
#[tokio::test]
async fn an_unanswered_record_expires_with_an_unknown_fate() {
    let stage = Stage::set().await;
    let rule = stage
        .broker
        .rule(Rule::on(ApiKey::Produce, Verdict::DropResponse));
    let keys = [("request.timeout.ms", "40000"), ("delivery.timeout.ms", "60000")];
    let producer = stage.producer(&keys);
    let delivery = producer.send(Record::new(TOPIC).value("v")).await.expect("room");
    until("the record is sent", || rule.matches() == 1).await;
    stage.pass(40_000, &producer.metrics()).await;
    until("it is sent again", || rule.matches() == 2).await;
    stage.pass(20_000, &producer.metrics()).await;
    let error = delivery.await.expect_err("nobody answered");
    assert!(
        matches!(error.kind(), SendErrorKind::DeliveryTimeout { records: 1, .. }),
        "{error}"
    );
    assert!(error.may_be_written() && error.is_retriable() && !error.is_fatal());
    assert!(error.to_string().contains("may have been written"), "{error}");
}

/// S-83: the memory of a record whose answer never came is there again when the record has been given up.
#[tokio::test]
async fn memory_comes_back_without_an_answer() {
    let stage = Stage::set().await;
    let rule = stage
        .broker
        .rule(Rule::on(ApiKey::Produce, Verdict::DropResponse));
    let keys = [
        ("buffer.memory", "16384"),
        ("request.timeout.ms", "60000"),
        ("delivery.timeout.ms", "60000"),
    ];
    let producer = stage.producer(&keys);
    let record = |partition| Record::new(TOPIC).partition(partition).value("v");
    let lost = producer.send(record(0)).await.expect("all the memory");
    let refused = producer.try_send(record(1)).expect_err("it is in use");
    assert!(matches!(refused, TrySendError::Full(_)), "{refused}");
    until("the record is sent", || rule.matches() == 1).await;
    stage.pass(60_000, &producer.metrics()).await;
    lost.await.expect_err("nobody answered");
    rule.remove();
    let delivery = producer.send(record(1)).await.expect("it is free again");
    delivery.await.expect("written");
}

/// P-11: a record is looked at for itself, then its topic is waited for, then its size is looked at, and memory is waited for last.
#[tokio::test]
async fn the_checks_of_a_record_have_their_order() {
    let stage = Stage::set().await;
    let keys = [("max.request.size", "2000"), ("buffer.memory", "16384")];
    let producer = stage.producer(&keys);
    let large = vec![b'x'; 3_000];
    let kind = async |record| {
        let sent = tokio::time::timeout(LONG / 2, producer.send(record)).await;
        let error = sent.expect("no waiting").expect_err("refused");
        (error.kind().clone(), error.code())
    };
    let unknown = Record::new("no/slashes").value(&large);
    let (invalid, _) = kind(unknown.timestamp_millis(-1)).await;
    assert!(matches!(invalid, SendErrorKind::InvalidRecord(_)), "{invalid:?}");
    let (_, code) = kind(unknown).await;
    assert_eq!(code, Some(ErrorCode::InvalidTopicException));
    let _rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let first = Record::new(TOPIC).value("takes all the memory");
    let _held = producer.send(first).await.expect("room for one");
    let (size, _) = kind(Record::new(TOPIC).value(&large)).await;
    assert!(matches!(size, SendErrorKind::RecordTooLarge { .. }), "{size:?}");
}

/// P-7: each kind of producer says which settings are for the other.
#[tokio::test]
async fn the_transactional_id_belongs_to_one_kind_of_producer() {
    let builder = || ProducerConfig::builder().bootstrap_servers("localhost:1");
    let with_id = builder().transactional_id("t").build().expect("legal");
    let error = Producer::new(with_id).expect_err("needs a transactional producer");
    assert!(
        error.is_fatal() && error.to_string().contains("TransactionalProducer"),
        "{error}"
    );
    let without = builder().build().expect("legal");
    let error = kommit::TransactionalProducer::connect(without)
        .await
        .expect_err("needs an id");
    assert!(
        matches!(error, ConnectError::Config(_)) && error.to_string().contains("transactional.id"),
        "{error}"
    );
}

/// P-15, P-20, T-84: a record that is refused before it is in a batch condemns its transaction.
#[tokio::test]
async fn a_refused_record_condemns_its_transaction() {
    let stage = Stage::set().await;
    let mut producer = stage.transactional("t", &[("max.request.size", "2000")]).await;
    let transaction = producer.begin().await.expect("idle");
    let large = vec![b'x'; 3_000];
    transaction
        .send(Record::new(TOPIC).value(&large))
        .await
        .expect_err("too large");
    let error = transaction.commit().await.expect_err("a record is missing");
    assert!(error.requires_abort() && !error.may_be_written(), "{error}");
    drop(error);
    let transaction = producer.begin().await.expect("the condemned one is aborted");
    let record = Record::new(TOPIC).partition(0).value("whole");
    transaction
        .send(record)
        .await
        .expect("room")
        .await
        .expect("written");
    transaction.commit().await.expect("committed");
    assert_eq!(stage.committed(0), ["whole"]);
    producer
        .close(Duration::from_secs(5))
        .await
        .expect("a graceful close");
}
