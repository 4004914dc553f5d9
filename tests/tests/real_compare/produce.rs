//! Produce without transactions: every version, partitions that are not there, records against the settings of their topic.

use bytes::Bytes;
use kommit_protocol::batch;
use kommit_protocol::messages::*;
use kommit_protocol::units::TopicId;
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::{APPEND_TIME, Batch, USUAL_TIME, record};
use kommit_tests::compare::requests::{Topic, produce};

scripts! { at [2, 3.9]:
    /// B-36: partitions do not disturb each other.
    mixed_partitions;
}

scripts! { at [2]:
    /// B-8, B-13, B-23, B-25, B-28: versions, acks, topics that are not there.
    produce_versions;
    /// B-31, B-33, B-34: records against the settings of their topic.
    topic_settings;
}

/// The last version before topics are named by their ids, and the last one.
pub(super) const USUAL: i16 = 12;
pub(super) const BY_ID: i16 = 13;

fn plain(topic: &Topic, partition: i32) -> ProduceRequest {
    produce(None, -1, &[(topic, partition, Some(Batch::plain().bytes()))])
}

/// A batch for the first partition of a topic.
pub(super) fn one(topic: &Topic, batch: &Batch) -> ProduceRequest {
    produce(None, -1, &[(topic, 0, Some(batch.bytes()))])
}

async fn produce_versions(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let unknown = Topic {
        name: actor.name("unknown"),
        id: TopicId([3; 16]),
    };
    let nameless = Topic {
        name: String::new(),
        id: TopicId::ZERO,
    };
    for version in 3..=13 {
        for (label, request) in [
            ("acks -1", plain(&topic, 0)),
            ("an unknown partition", plain(&topic, 2)),
            ("partition -1", plain(&topic, -1)),
            ("an unknown topic", plain(&unknown, 0)),
            ("no topic", plain(&nameless, 0)),
            ("nothing", produce(None, -1, &[])),
            (
                "no records",
                produce(None, -1, &[(&topic, 0, Some(Bytes::new()))]),
            ),
        ] {
            actor.ask(label, version, &request).await;
        }
        for acks in [1, 2, -2, 100] {
            let request = ProduceRequest {
                acks,
                ..plain(&topic, 1)
            };
            actor.ask(format_args!("acks {acks}"), version, &request).await;
        }
        let id = ProduceRequest {
            transactional_id: Some(actor.name("nobody")),
            ..plain(&topic, 1)
        };
        actor.ask("a transactional id for nothing", version, &id).await;
    }
    for version in [0, 1, 2, 14] {
        actor
            .ask("a version not served", version, &plain(&topic, 0))
            .await;
    }
    without_acks(actor, &topic, &unknown).await;
    for name in ["__consumer_offsets", "__transaction_state"] {
        let internal = actor.known_topic(name.to_owned()).await;
        for version in [USUAL, BY_ID] {
            actor.ask(name, version, &plain(&internal, 0)).await;
        }
    }
    actor.log("versions", &topic, 0).await;
    actor.log("versions", &topic, 1).await;
}

async fn without_acks(actor: &mut Actor, topic: &Topic, unknown: &Topic) {
    for version in [3, 9, BY_ID] {
        let request = |topic| ProduceRequest {
            acks: 0,
            ..plain(topic, 0)
        };
        actor.send(version, &request(topic)).await;
        actor.ask("after acks 0", USUAL, &plain(topic, 1)).await;
        actor.send(version, &request(unknown)).await;
        actor
            .hear::<ProduceRequest>("after acks 0 to an unknown topic", version)
            .await;
    }
}

async fn mixed_partitions(actor: &mut Actor) {
    let topic = actor.topic("t", 3, &[]).await;
    let other = actor.topic("u", 1, &[("cleanup.policy", "compact")]).await;
    let unknown = Topic {
        name: actor.name("unknown"),
        id: TopicId([3; 16]),
    };
    let good = Some(Batch::plain().bytes());
    let wrong = Some(Batch::plain().damaged(batch::CRC.start, [0; 4]).bytes());
    let keyless = Some(Batch::plain().records(2).without_keys().bytes());
    for version in [3, 8, USUAL, BY_ID] {
        let request = produce(
            None,
            -1,
            &[
                (&topic, 0, good.clone()),
                (&topic, 1, wrong.clone()),
                (&topic, 9, good.clone()),
                (&other, 0, keyless.clone()),
                (&unknown, 0, good.clone()),
                (&topic, 2, good.clone()),
            ],
        );
        actor.ask("good and bad", version, &request).await;
        let twice = produce(None, -1, &[(&topic, 0, good.clone()), (&topic, 0, good.clone())]);
        actor.ask("a partition twice", version, &twice).await;
    }
    for partition in 0..3 {
        actor.log("mixed", &topic, partition).await;
    }
    actor.log("mixed", &other, 0).await;
}

/// Batches that some topic refuses or changes.
fn batches_with_times() -> Vec<(&'static str, Batch)> {
    const NO_TIME: i64 = -1;
    let year = 365 * 24 * 3_600_000_i64;
    vec![
        ("usual", Batch::plain().records(2)),
        ("without keys", Batch::plain().records(2).without_keys()),
        ("no time", Batch::plain().time(NO_TIME)),
        ("time zero", Batch::plain().time(0)),
        (
            "a time in the future",
            Batch::plain().time(USUAL_TIME + 30 * year),
        ),
        ("append time", Batch::plain().attributes(APPEND_TIME)),
        (
            "append time and no time",
            Batch::plain().time(NO_TIME).attributes(APPEND_TIME),
        ),
        (
            "keyless and from the future",
            Batch::plain().without_keys().time(USUAL_TIME + 30 * year),
        ),
        ("large", Batch::plain().records(20)),
        (
            "one record is late",
            Batch::plain().records(2).body(
                [
                    record(0, 0, Some(b"k"), None),
                    record(30 * year, 1, Some(b"k"), None),
                ]
                .concat(),
            ),
        ),
        (
            "one record has no key",
            Batch::plain()
                .records(2)
                .body([record(0, 0, Some(b"k"), None), record(0, 1, None, None)].concat()),
        ),
        (
            "one has no key, one is late",
            Batch::plain()
                .records(2)
                .body([record(0, 0, None, None), record(30 * year, 1, Some(b"k"), None)].concat()),
        ),
    ]
}

async fn topic_settings(actor: &mut Actor) {
    let usual = actor.topic("usual", 1, &[]).await;
    let compacted = actor
        .topic("compacted", 1, &[("cleanup.policy", "compact")])
        .await;
    let broker_time = actor
        .topic("broker-time", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let narrow = actor
        .topic("narrow", 1, &[("message.timestamp.before.max.ms", "1000")])
        .await;
    let small = actor.topic("small", 1, &[("max.message.bytes", "100")]).await;
    let batches = batches_with_times();
    for topic in [&usual, &compacted, &broker_time, &narrow, &small] {
        for (label, batch) in &batches {
            for version in [3, 7, USUAL] {
                actor
                    .ask(
                        format_args!("{label} to {}", topic.name),
                        version,
                        &one(topic, batch),
                    )
                    .await;
            }
        }
        actor.log("settings", topic, 0).await;
    }
    let sizes = [("max.message.bytes", "4000000"), ("segment.bytes", "1048576")];
    let short = actor.topic("short-segments", 1, &sizes).await;
    for value in [1_000_000, 1_048_490, 1_048_600, 1_100_000] {
        let records = record(0, 0, None, Some(&vec![b'x'; value]));
        let large = Batch::plain().body(records);
        actor
            .ask(format_args!("{value} bytes"), USUAL, &one(&short, &large))
            .await;
        let usual = one(&usual, &large);
        actor
            .ask(format_args!("{value} bytes to the usual topic"), USUAL, &usual)
            .await;
    }
}
