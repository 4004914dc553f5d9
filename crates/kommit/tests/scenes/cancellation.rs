//! Every future of the API, dropped at each of its first pending polls: the producer stays usable, and what the documentation of the call
//! says about dropping it is what happened (P-34, P-53).

use std::collections::BTreeMap;

use kommit::{ConsumerGroupMetadata, Offset, OffsetAndMetadata, TopicPartition, TransactionalProducer};
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;

use crate::stage::{POLLS, Stage, TOPIC, at_each_poll, commits, given_up_after, record, text, writes};

/// P-34: a `send` that is dropped while it waits has sent nothing.
#[tokio::test]
async fn a_dropped_send_sends_nothing() {
    for polls in 0..POLLS {
        let stage = Stage::set().await;
        let producer = stage.producer(&[]);
        let sent = given_up_after(polls, producer.send(record("dropped"))).await;
        producer
            .send(record("kept"))
            .await
            .expect("room")
            .await
            .expect("written");
        let expected: &[&str] = match sent {
            Some(_delivery) => &["dropped", "kept"],
            None => &["kept"],
        };
        let values: Vec<String> = stage.records(0).iter().map(text).collect();
        assert_eq!(values, expected, "{polls} polls");
    }
}

/// a `send` that is dropped while it waits for memory leaves its place in the queue to the next.
#[tokio::test]
async fn a_send_that_is_dropped_waiting_for_memory_takes_none() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("buffer.memory", "20000")]);
    assert_eq!(producer.partition_count(TOPIC).await.expect("known"), 3);
    let rule = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let value = "x".repeat(15_000);
    let held = producer.send(record(&value)).await.expect("room for one");
    for _ in 0..3 {
        assert!(given_up_after(1, producer.send(record(&value))).await.is_none());
    }
    rule.remove();
    producer
        .send(record(&value))
        .await
        .expect("room again")
        .await
        .expect("written");
    held.await.expect("written");
    assert_eq!(stage.records(0).len(), 2);
}

/// P-36, P-38: a `flush` and a `partition_count` that are dropped stop only the waiting.
#[tokio::test]
async fn a_dropped_flush_changes_nothing() {
    for polls in 0..POLLS {
        let stage = Stage::set().await;
        let producer = stage.producer(&[]);
        given_up_after(polls, producer.partition_count(TOPIC)).await;
        let delivery = producer.send(record("v")).await.expect("room");
        given_up_after(polls, producer.flush()).await;
        delivery.await.expect("written");
        producer.flush().await.expect("not closed");
    }
}

/// P-26: a `connect` that is dropped leaves the transactional id to the next one.
#[tokio::test]
async fn a_dropped_connect_leaves_the_id_to_the_next() {
    for polls in 0..POLLS {
        let stage = Stage::set().await;
        let config = stage.config(&[("transactional.id", "t")]);
        given_up_after(polls, TransactionalProducer::connect(config)).await;
        let mut producer = stage.transactional("t", &[]).await;
        commits(&mut producer, "v").await;
        assert_eq!(stage.committed(0), ["v"], "{polls} polls");
    }
}

/// P-28: a `begin` that is dropped while it ends an earlier transaction begins nothing, and the next one goes on where it was.
#[tokio::test]
async fn a_dropped_begin_begins_nothing() {
    at_each_poll(async |stage, mut producer, polls| {
        let dropped = producer.begin().await.expect("idle");
        writes(&dropped, "dropped").await;
        drop(dropped);
        drop(given_up_after(polls, producer.begin()).await);
        commits(&mut producer, "kept").await;
        assert_eq!(stage.committed(0), ["kept"]);
    })
    .await;
}

/// P-34: a `send` in a transaction that is dropped leaves the transaction as it was.
#[tokio::test]
async fn a_dropped_send_leaves_its_transaction_whole() {
    at_each_poll(async |stage, mut producer, polls| {
        let transaction = producer.begin().await.expect("idle");
        let sent = given_up_after(polls, transaction.send(record("dropped"))).await;
        drop(transaction.send(record("kept")).await.expect("room"));
        transaction.commit().await.expect("committed");
        let expected: &[&str] = match sent {
            Some(_delivery) => &["dropped", "kept"],
            None => &["kept"],
        };
        assert_eq!(stage.committed(0), expected);
    })
    .await;
}

/// P-34, R7: a `commit` that is dropped goes on; one that was never polled was never asked for, and is an abort.
#[tokio::test]
async fn a_dropped_commit_goes_on() {
    at_each_poll(async |stage, mut producer, polls| {
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("asked for")).await.expect("room"));
        given_up_after(polls, transaction.commit()).await;
        commits(&mut producer, "next").await;
        let expected: &[&str] = if polls == 0 {
            &["next"]
        } else {
            &["asked for", "next"]
        };
        assert_eq!(stage.committed(0), expected);
    })
    .await;
}

/// P-34: an `abort` that is dropped goes on.
#[tokio::test]
async fn a_dropped_abort_goes_on() {
    at_each_poll(async |stage, mut producer, polls| {
        let transaction = producer.begin().await.expect("idle");
        writes(&transaction, "aborted").await;
        given_up_after(polls, transaction.abort()).await;
        commits(&mut producer, "next").await;
        assert_eq!(stage.committed(0), ["next"]);
    })
    .await;
}

/// P-34, P-29: `send_offsets` that is dropped goes on: the commit behind it waits for it. One that was never polled was never asked for.
#[tokio::test]
async fn dropped_offsets_are_part_of_the_commit() {
    at_each_poll(async |stage, mut producer, polls| {
        let transaction = producer.begin().await.expect("idle");
        let next = OffsetAndMetadata::of_offset(Offset(7));
        let offsets = BTreeMap::from([(TopicPartition::new(TOPIC, 0), next)]);
        let group = ConsumerGroupMetadata::of_group("readers");
        given_up_after(polls, transaction.send_offsets(offsets, group)).await;
        transaction.commit().await.expect("committed");
        let expected = (polls > 0).then_some(7);
        assert_eq!(stage.committed_offset("readers").await, expected);
        commits(&mut producer, "next").await;
        assert_eq!(stage.committed(0), ["next"]);
    })
    .await;
}
