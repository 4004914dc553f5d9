//! Topics as administrators make and end them: CreateTopics, CreatePartitions, DeleteTopics, DeleteRecords.

use kommit_protocol::messages::*;
use kommit_protocol::units::{NodeId, PartitionId, TopicId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::Batch;
use kommit_tests::compare::requests::{Topic, produce};

scripts! { at [2, 3.9]:
    /// Names, counts, settings and assignments, right ones and wrong ones.
    create_topics;
    /// More, fewer, and the same number of partitions.
    create_partitions;
    /// By name and by id, once and again.
    delete_topics;
    /// B-117: the beginning of a log.
    delete_records;
}

/// How many partitions are announced, and the nodes of each.
type Assignment<'a> = (i32, &'a [(i32, &'a [i32])]);

fn named(name: &str) -> CreateTopicsRequestTopic {
    CreateTopicsRequestTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    }
}

fn configured(name: &str, settings: &[(&str, Option<&str>)]) -> CreateTopicsRequestTopic {
    let configs = settings.iter().map(|(key, value)| CreateTopicsRequestConfig {
        name: (*key).to_owned(),
        value: value.map(str::to_owned),
    });
    CreateTopicsRequestTopic {
        configs: configs.collect(),
        ..named(name)
    }
}

fn assigned(name: &str, partitions: i32, assignments: &[(i32, &[i32])]) -> CreateTopicsRequestTopic {
    let assignments = assignments
        .iter()
        .map(|(index, brokers)| CreateTopicsRequestAssignment {
            partition_index: PartitionId(*index),
            broker_ids: brokers.iter().copied().map(NodeId).collect(),
        });
    CreateTopicsRequestTopic {
        num_partitions: partitions,
        replication_factor: if partitions == -1 { -1 } else { 1 },
        assignments: assignments.collect(),
        ..named(name)
    }
}

async fn create_topics(actor: &mut Actor) {
    for version in 2..=7 {
        let name = actor.name(format_args!("fine-{version}"));
        actor
            .ask("only validated", version, &of(vec![named(&name)], true))
            .await;
        actor
            .ask("created", version, &of(vec![named(&name)], false))
            .await;
        actor
            .ask("created again", version, &of(vec![named(&name)], false))
            .await;
        actor
            .ask("validated again", version, &of(vec![named(&name)], true))
            .await;
        actor
            .ask(
                "twice in a request",
                version,
                &of(vec![named("twice"), named("twice")], false),
            )
            .await;
        actor.ask("nothing", version, &of(Vec::new(), false)).await;
    }
    created_with_counts(actor).await;
    created_with_settings(actor).await;
    created_with_assignments(actor).await;
}

fn of(topics: Vec<CreateTopicsRequestTopic>, validate_only: bool) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics,
        validate_only,
        timeout_ms: 10_000,
    }
}

async fn created_with_counts(actor: &mut Actor) {
    let counts = [
        (0, 1),
        (-1, -1),
        (-2, 1),
        (1, 0),
        (1, -1),
        (1, 2),
        (1, -2),
        (3, 1),
    ];
    for (partitions, replicas) in counts {
        let name = actor.name(format_args!("counts-{partitions}-{replicas}"));
        let topic = CreateTopicsRequestTopic {
            num_partitions: partitions,
            replication_factor: replicas,
            ..named(&name)
        };
        for version in [2, 4, 7] {
            actor
                .ask(
                    format_args!("{partitions} partitions, {replicas} replicas"),
                    version,
                    &of(vec![topic.clone()], true),
                )
                .await;
        }
    }
}

async fn created_with_settings(actor: &mut Actor) {
    let longer = "x".repeat(250);
    for name in ["", ".", "..", "a b", "ä", &longer, "__consumer_offsets"] {
        actor
            .ask(format_args!("the name {name:?}"), 7, &of(vec![named(name)], true))
            .await;
    }
    let name = actor.name("settings");
    for (key, value) in [
        ("cleanup.policy", Some("compact")),
        ("cleanup.policy", Some("compact,delete")),
        ("cleanup.policy", Some("delete")),
        ("cleanup.policy", Some("none")),
        ("max.message.bytes", Some("1000")),
        ("max.message.bytes", Some("-1")),
        ("max.message.bytes", Some("many")),
        ("max.message.bytes", None),
        ("segment.bytes", Some("1048576")),
        ("segment.bytes", Some("10")),
        ("min.insync.replicas", Some("0")),
        ("min.insync.replicas", Some("2")),
        ("message.timestamp.type", Some("LogAppendTime")),
        ("message.timestamp.type", Some("Mine")),
        ("message.timestamp.before.max.ms", Some("-1")),
        ("retention.ms", Some("1000")),
        ("compression.type", Some("zstd")),
        ("no.such.setting", Some("1")),
    ] {
        actor
            .ask(
                format_args!("{key} = {value:?}"),
                7,
                &of(vec![configured(&name, &[(key, value)])], true),
            )
            .await;
    }
}

async fn created_with_assignments(actor: &mut Actor) {
    let name = actor.name("assigned");
    let assignments: [Assignment<'_>; 8] = [
        (-1, &[(0, &[1])]),
        (-1, &[(0, &[1]), (1, &[1])]),
        (1, &[(0, &[1])]),
        (-1, &[(0, &[2])]),
        (-1, &[(1, &[1])]),
        (-1, &[(0, &[1, 1])]),
        (-1, &[(0, &[])]),
        (-1, &[(0, &[1]), (0, &[1])]),
    ];
    for (partitions, assignments) in assignments {
        let topic = assigned(&name, partitions, assignments);
        actor
            .ask(
                format_args!("{partitions} partitions as {assignments:?}"),
                7,
                &of(vec![topic], true),
            )
            .await;
    }
}

async fn create_partitions(actor: &mut Actor) {
    let topic = actor.topic("growing", 2, &[]).await;
    let to = |name: &str, count, validate_only| CreatePartitionsRequest {
        topics: vec![CreatePartitionsRequestTopic {
            name: name.to_owned(),
            count,
            assignments: None,
        }],
        timeout_ms: 10_000,
        validate_only,
    };
    for version in 0..=3 {
        for count in [0, -1, 1, 2, 3] {
            actor
                .ask(
                    format_args!("{count} partitions"),
                    version,
                    &to(&topic.name, count, true),
                )
                .await;
        }
        actor
            .ask("an unknown topic", version, &to(&actor.name("unknown"), 3, false))
            .await;
    }
    actor.ask("three", 3, &to(&topic.name, 3, false)).await;
    actor.ask("three again", 3, &to(&topic.name, 3, false)).await;
}

async fn delete_topics(actor: &mut Actor) {
    let by_name = |name: &str| DeleteTopicsRequest {
        topics: vec![DeleteTopicsRequestTopic {
            name: Some(name.to_owned()),
            topic_id: TopicId::ZERO,
        }],
        topic_names: vec![name.to_owned()],
        timeout_ms: 10_000,
    };
    let by_id = |name: Option<&str>, id| DeleteTopicsRequest {
        topics: vec![DeleteTopicsRequestTopic {
            name: name.map(str::to_owned),
            topic_id: id,
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    for version in 1..=6 {
        let topic = actor.topic(format_args!("gone-{version}"), 1, &[]).await;
        actor.ask("by name", version, &by_name(&topic.name)).await;
        actor.ask("again", version, &by_name(&topic.name)).await;
        actor
            .ask("an unknown name", version, &by_name(&actor.name("unknown")))
            .await;
        actor.ask("an illegal name", version, &by_name("a b")).await;
        actor
            .ask(
                "nothing",
                version,
                &DeleteTopicsRequest {
                    timeout_ms: 1000,
                    ..Default::default()
                },
            )
            .await;
    }
    let topic = actor.topic("gone-by-id", 1, &[]).await;
    actor
        .ask("by id and name", 6, &by_id(Some(&topic.name), topic.id))
        .await;
    actor.ask("by neither", 6, &by_id(None, TopicId::ZERO)).await;
    actor.ask("by id", 6, &by_id(None, topic.id)).await;
    actor.ask("by id again", 6, &by_id(None, topic.id)).await;
    actor
        .ask("by an unknown id", 6, &by_id(None, TopicId([9; 16])))
        .await;
}

async fn delete_records(actor: &mut Actor) {
    let topic = actor.topic("shrinking", 1, &[]).await;
    let five = produce(None, -1, &[(&topic, 0, Some(Batch::plain().records(5).bytes()))]);
    actor.ask("five records", 9, &five).await;
    let before = |topic: &Topic, partition, offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsRequestTopic {
            name: topic.name.clone(),
            partitions: vec![DeleteRecordsRequestPartition {
                partition_index: PartitionId(partition),
                offset,
            }],
        }],
        timeout_ms: 5000,
    };
    for version in 0..=2 {
        for offset in [6, -2, i64::MAX, 0, 2, 1] {
            actor
                .ask(
                    format_args!("before {offset}"),
                    version,
                    &before(&topic, 0, offset),
                )
                .await;
        }
        actor
            .ask("an unknown partition", version, &before(&topic, 1, 0))
            .await;
        let unknown = Topic {
            name: actor.name("unknown"),
            id: TopicId::ZERO,
        };
        actor
            .ask("an unknown topic", version, &before(&unknown, 0, 0))
            .await;
        let internal = Topic {
            name: "__consumer_offsets".to_owned(),
            id: TopicId::ZERO,
        };
        actor
            .ask("an internal topic", version, &before(&internal, 0, 0))
            .await;
        let internal = Topic {
            name: "__transaction_state".to_owned(),
            id: TopicId::ZERO,
        };
        actor
            .ask("the other internal topic", version, &before(&internal, 0, 0))
            .await;
        actor.log(format_args!("version {version}"), &topic, 0).await;
    }
    actor.ask("five more", 9, &five).await;
    actor.ask("up to the end", 2, &before(&topic, 0, -1)).await;
    actor.ask("up to the end again", 2, &before(&topic, 0, -1)).await;
    actor.log("an empty log", &topic, 0).await;
    actor.ask("and five more", 9, &five).await;
    actor.log("a log that begins late", &topic, 0).await;
}
