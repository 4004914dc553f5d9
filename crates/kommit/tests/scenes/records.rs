//! What is in a record: headers, tombstones, timestamps, and partitions that the record names itself.

use kommit::{Header, Record, SendErrorKind, TrySendError};
use kommit_broker::config::{TimestampType, TopicConfig};
use kommit_protocol::units::Timestamp;

use crate::stage::{Stage, TOPIC};

/// W-2, P-24: headers arrive in their order, with repeated keys and null values.
#[tokio::test]
async fn headers_arrive_as_they_were_set() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let headers = [
        Header {
            key: "source",
            value: Some(b"till"),
        },
        Header {
            key: "source",
            value: Some(b""),
        },
        Header {
            key: "checked",
            value: None,
        },
    ];
    let record = Record::new(TOPIC).partition(0).value("v").headers(&headers);
    producer.send(record).await.expect("room").await.expect("written");
    let stored = stage.records(0);
    let pairs: Vec<(&str, Option<&[u8]>)> = stored[0]
        .headers
        .iter()
        .map(|header| (header.key.as_str(), header.value.as_deref()))
        .collect();
    let sent: Vec<(&str, Option<&[u8]>)> = headers.iter().map(|header| (header.key, header.value)).collect();
    assert_eq!(pairs, sent);
}

/// W-2, A-91: a null value is not an empty one, nor is a null key; the delivery tells their sizes.
#[tokio::test]
async fn a_tombstone_has_no_value_at_all() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let tombstone = Record::new(TOPIC).partition(0).key("order-7");
    let empty = Record::new(TOPIC).partition(0).value("");
    let first = producer
        .send(tombstone)
        .await
        .expect("room")
        .await
        .expect("written");
    let second = producer.send(empty).await.expect("room").await.expect("written");
    assert_eq!(
        (first.serialized_key_size, first.serialized_value_size),
        (Some(7), None)
    );
    assert_eq!(
        (second.serialized_key_size, second.serialized_value_size),
        (None, Some(0))
    );
    let stored = stage.records(0);
    assert_eq!(
        (stored[0].key.as_deref(), stored[0].value.as_deref()),
        (Some(&b"order-7"[..]), None)
    );
    assert_eq!(
        (stored[1].key.as_deref(), stored[1].value.as_deref()),
        (None, Some(&b""[..]))
    );
}

/// P-14, W-18: a record keeps its own timestamp, and otherwise has the time of its send.
#[tokio::test]
async fn a_record_keeps_its_own_timestamp() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let dated = Record::new(TOPIC).partition(0).value("v").timestamp_millis(1_234);
    let written = producer.send(dated).await.expect("room").await.expect("written");
    assert_eq!(written.timestamp, Timestamp(1_234));
    let undated = Record::new(TOPIC).partition(0).value("v");
    let written = producer
        .send(undated)
        .await
        .expect("room")
        .await
        .expect("written");
    let stored = stage.records(0);
    assert_eq!(stored[0].timestamp, Timestamp(1_234));
    assert_eq!(stored[1].timestamp, written.timestamp);
    // The year 2020: later than that, the clock of this machine cannot be wrong by much.
    assert!(written.timestamp.0 > 1_577_836_800_000);
}

/// W-18: where the topic keeps the broker's time, the delivery tells that time.
#[tokio::test]
async fn the_brokers_time_replaces_the_records() {
    let stage = Stage::set().await;
    let settings = TopicConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..TopicConfig::default()
    };
    stage
        .broker
        .with_core(|core| core.create_topic_with("stamped", 1, settings))
        .expect("a legal name");
    let producer = stage.producer(&[]);
    let record = Record::new("stamped").value("v").timestamp_millis(1_234);
    let written = producer.send(record).await.expect("room").await.expect("written");
    let stored = &stage.broker.log("stamped", 0)[0];
    assert_eq!(written.timestamp, stored.max_timestamp);
    assert_ne!(written.timestamp, Timestamp(1_234));
}

/// P-10: a negative partition or timestamp is an invalid argument, whatever the topic has.
#[tokio::test]
async fn a_negative_partition_or_timestamp_is_invalid() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let wrong = [
        Record::new(TOPIC).partition(-1),
        Record::new(TOPIC).timestamp_millis(-1),
    ];
    for record in wrong {
        let error = producer.send(record).await.expect_err("no topic has it");
        assert!(matches!(error.kind(), SendErrorKind::InvalidRecord(_)), "{error}");
        assert!(matches!(
            producer.try_send(record),
            Err(TrySendError::Failed(error)) if !error.is_retriable()
        ));
    }
}

/// P-51: records and their metadata compare by content.
#[tokio::test]
async fn records_compare_by_content() {
    let header = [Header {
        key: "source",
        value: None,
    }];
    let record = || {
        Record::new(TOPIC)
            .partition(0)
            .key("k")
            .value("v")
            .headers(&header)
            .timestamp_millis(7)
    };
    assert_eq!(record(), record());
    let stage = Stage::set().await;
    let kept = stage.producer(&[]).topic(TOPIC).await.expect("there is one");
    assert_eq!(
        Record::to(&kept),
        Record::new(TOPIC),
        "however its topic was found"
    );
    for other in [
        Record::new("other")
            .partition(0)
            .key("k")
            .value("v")
            .headers(&header)
            .timestamp_millis(7),
        record().partition(1),
        record().key("x"),
        record().value("x"),
        record().headers(&[]),
        record().timestamp_millis(8),
    ] {
        assert_ne!(record(), other);
    }
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    let delivery = producer.send(record()).await.expect("room");
    let outcome = delivery.outcome();
    let written = delivery.await.expect("written");
    assert_eq!(written.clone(), written);
    assert!(outcome.is_none_or(|outcome| outcome.is_ok_and(|early| early == written)));
}

/// a kept handle leads to the topic's own queues; another producer's leads by its name to the queues of the producer that sends.
#[tokio::test]
async fn a_kept_topic_leads_where_its_name_does() {
    let stage = Stage::set().await;
    let (producer, other) = (stage.producer(&[]), stage.producer(&[]));
    let topic = producer.topic(TOPIC).await.expect("it exists");
    assert_eq!((topic.name(), Record::to(&topic).topic()), (TOPIC, TOPIC));
    let record = Record::to(&topic).partition(0).value("v");
    for sender in [&producer, &other] {
        let written = sender.send(record).await.expect("room").await.expect("written");
        assert_eq!(&*written.topic_partition.topic, TOPIC);
    }
    drop(producer);
    other
        .send(record)
        .await
        .expect("room")
        .await
        .expect("written by the one that is left");
    assert_eq!(stage.records(0).len(), 3);
}
