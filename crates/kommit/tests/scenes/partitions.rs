//! Waiting for topics and partitions: how long, for what, and what is told in the end.

use std::time::Duration;

use kommit::{Clock, Record, SendErrorKind, SystemClock, TrySendError};
use kommit_broker::{RequestMessage, Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::units::NodeId;

use crate::stage::{LONG, Stage, TOPIC, until};

/// P-12: a record for a partition that the topic does not have yet waits until it has.
#[tokio::test]
async fn a_send_waits_for_its_partition() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[]);
    assert_eq!(producer.partition_count(TOPIC).await.expect("known"), 3);
    let sent = producer.send(Record::new(TOPIC).partition(3).value("late"));
    let expanded = async {
        let asked = stage.count(ApiKey::Metadata);
        until("the topic is asked for again", || {
            stage.count(ApiKey::Metadata) > asked + 1
        })
        .await;
        stage.expand(4).await;
    };
    let (sent, ()) = tokio::join!(sent, expanded);
    sent.expect("the partition is there").await.expect("written");
    assert_eq!(stage.records(3).len(), 1);
    assert_eq!(producer.partition_count(TOPIC).await.expect("known"), 4);
}

/// P-13: a partition that does not come is an error that says how many there are.
#[tokio::test]
async fn a_partition_that_does_not_come_is_told_with_the_count() {
    let stage = Stage::set().await;
    let producer = stage.producer(&[("max.block.ms", "1000")]);
    let record = Record::new(TOPIC).partition(3).value("nowhere");
    let error = producer.send(record).await.expect_err("there are only three");
    assert_eq!(error.kind(), &SendErrorKind::NotInMetadata);
    let text = error.to_string();
    let said = format!("partition 3 of topic {TOPIC} with 3 partitions, max.block.ms = 1000");
    assert!(text.contains(&said), "{text}");
    assert!(!error.may_be_written() && !error.is_fatal());
    let tried = producer.try_send(record);
    assert!(matches!(tried, Err(TrySendError::TopicNotReady(_))), "{tried:?}");
}

fn is_about_late(request: &RequestMessage) -> bool {
    format!("{request:?}").contains("\"late\"")
}

/// P-14: metadata and memory share one budget; who waited long for the one waits the shorter for the other.
#[tokio::test]
async fn waiting_for_metadata_and_memory_share_their_time() {
    let stage = Stage::set().await;
    stage.broker.create_topic("late", 1).expect("a legal name");
    let _full = stage.broker.rule(Rule::on(ApiKey::Produce, Verdict::Hold));
    let pause = Verdict::Delay(Duration::from_millis(1_500));
    let _late = stage
        .broker
        .rule(Rule::on(ApiKey::Metadata, pause).when(is_about_late).once());
    let keys = [
        ("batch.size", "1000"),
        ("buffer.memory", "1000"),
        ("max.block.ms", "3000"),
    ];
    let producer = stage.producer(&keys);
    let first = Record::new(TOPIC).partition(0).value(&[0; 900]);
    let _held = producer.send(first).await.expect("room for one");
    let clock = SystemClock::start();
    let error = producer
        .send(Record::new("late").value(&[0; 900]))
        .await
        .expect_err("no room");
    let took = clock
        .now()
        .instant
        .saturating_since(kommit_protocol::time::Instant::ORIGIN);
    assert!(
        matches!(error.kind(), SendErrorKind::BufferExhausted { .. }),
        "{error}"
    );
    // Two budgets would be 1.5 s for the metadata and 3 s for the memory. Real time, and a second and a half of it to spare on both sides.
    assert!(
        took >= Duration::from_millis(3_000) && took < Duration::from_millis(4_500),
        "{took:?}"
    );
}

/// P-38: what the cluster has of a topic's partitions, and an error for a topic that does not come.
#[tokio::test]
async fn partitions_are_told_with_their_leaders() {
    let stage = Stage::set().await;
    let refused = Rule::on(
        ApiKey::Metadata,
        Verdict::Answer(kommit_protocol::error_code::ErrorCode::UnknownTopicOrPartition),
    );
    let producer = stage.producer(&[("max.block.ms", "1000")]);
    let partitions = producer.partitions_for(TOPIC).await.expect("known");
    assert_eq!(partitions.len(), 3);
    for partition in partitions {
        assert_eq!(partition.leader, Some(NodeId(1)));
        assert_eq!(*partition.in_sync_replicas, [NodeId(1)]);
    }
    let _rule = stage.broker.rule(refused.when(is_about_late));
    let error = producer
        .partitions_for("late")
        .await
        .expect_err("it does not come");
    assert_eq!(error.kind(), &SendErrorKind::NotInMetadata);
    for part in ["late", "max.block.ms = 1000"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    producer.close(LONG).await.expect("nothing waits");
}
