//! What joins a transaction, and what administrators see of it.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, PartitionId, ProducerId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::requests::{add_offsets, add_partitions, end, shifted};

use super::transactions::describe;

scripts! { at [2, 1, 3.9]:
    /// B-71, B-72: who may join what.
    joining;
    /// B-73: groups join too.
    joining_of_offsets;
    /// B-52, B-100: what administrators see.
    administration;
}

async fn joining(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let other = actor.topic("u", 1, &[]).await;
    let id = actor.name("id");
    let nobody = actor.name("nobody");
    let unknown = actor.name("unknown");
    let identity = actor.transactional(&id, 60_000).await;
    let stranger = Identity {
        id: ProducerId(identity.id.0 + 100_000),
        epoch: identity.epoch,
    };
    for version in 0..=3 {
        let cases = [
            (
                "an empty id",
                add_partitions("", identity, &[(&topic.name, &[0])]),
            ),
            (
                "an unknown id",
                add_partitions(&nobody, identity, &[(&topic.name, &[0])]),
            ),
            (
                "another producer id",
                add_partitions(&id, stranger, &[(&topic.name, &[0])]),
            ),
            (
                "an older epoch",
                add_partitions(&id, shifted(identity, -1), &[(&topic.name, &[0])]),
            ),
            (
                "a newer epoch",
                add_partitions(&id, shifted(identity, 1), &[(&topic.name, &[0])]),
            ),
            (
                "an unknown partition",
                add_partitions(&id, identity, &[(&topic.name, &[0, 2])]),
            ),
            (
                "an unknown topic",
                add_partitions(&id, identity, &[(&topic.name, &[0]), (&unknown, &[0])]),
            ),
            (
                "unknown and an older epoch",
                add_partitions(&id, shifted(identity, -1), &[(&unknown, &[0])]),
            ),
            (
                "unknown and an unknown id",
                add_partitions(&nobody, identity, &[(&unknown, &[0])]),
            ),
            (
                "an internal topic",
                add_partitions(
                    &id,
                    identity,
                    &[("__consumer_offsets", &[0]), (&topic.name, &[0])],
                ),
            ),
            (
                "the other internal topic",
                add_partitions(&id, identity, &[("__transaction_state", &[0])]),
            ),
            ("an illegal name", add_partitions(&id, identity, &[("a b", &[0])])),
        ];
        for (label, request) in cases {
            actor.ask(label, version, &request).await;
        }
        describe(actor, "not begun", &id).await;
    }
    joined(actor, (&id, identity), &topic.name, &other.name).await;
}

async fn joined(actor: &mut Actor, (id, identity): (&str, Identity), topic: &str, other: &str) {
    let nothing = add_partitions(id, identity, &[]);
    actor.ask("nothing", 3, &nothing).await;
    describe(actor, "with nothing", id).await;
    for version in 0..=3 {
        for request in [
            add_partitions(id, identity, &[(topic, &[0])]),
            add_partitions(id, identity, &[(topic, &[0, 1, 1]), (other, &[0])]),
        ] {
            actor.ask("joins", version, &request).await;
        }
        describe(actor, "with partitions", id).await;
    }
    actor.ask("commits", 4, &end(id, identity, true)).await;
    actor.settled(id).await;
    actor.ask("nothing after the end", 3, &nothing).await;
    describe(actor, "with nothing once more", id).await;
    for version in [4, 5] {
        batched(actor, version, id, identity, topic).await;
    }
}

/// AddPartitionsToTxn as brokers ask each other.
async fn batched(actor: &mut Actor, version: i16, id: &str, identity: Identity, topic: &str) {
    for verify_only in [true, false] {
        for (label, epoch) in [("right", 0), ("older", -1), ("newer", 1)] {
            let request = AddPartitionsToTxnRequest {
                transactions: vec![AddPartitionsToTxnRequestTransaction {
                    transactional_id: id.to_owned(),
                    producer_id: identity.id,
                    producer_epoch: shifted(identity, epoch).epoch,
                    verify_only,
                    topics: vec![AddPartitionsToTxnRequestTopic {
                        name: topic.to_owned(),
                        partitions: vec![PartitionId(0)],
                    }],
                }],
                ..Default::default()
            };
            actor
                .ask(
                    format_args!("{label} epoch, only verified {verify_only}"),
                    version,
                    &request,
                )
                .await;
        }
    }
}

async fn joining_of_offsets(actor: &mut Actor) {
    let id = actor.name("id");
    let group = actor.name("group");
    let identity = actor.transactional(&id, 60_000).await;
    let stranger = Identity {
        id: ProducerId(identity.id.0 + 100_000),
        epoch: identity.epoch,
    };
    for version in 0..=4 {
        for (label, request) in [
            ("an empty id", add_offsets("", identity, &group)),
            (
                "an unknown id",
                add_offsets(&actor.name("nobody"), identity, &group),
            ),
            ("another producer id", add_offsets(&id, stranger, &group)),
            ("an older epoch", add_offsets(&id, shifted(identity, -1), &group)),
            ("a newer epoch", add_offsets(&id, shifted(identity, 1), &group)),
        ] {
            actor.ask(label, version, &request).await;
        }
    }
    describe(actor, "not begun", &id).await;
    for version in 0..=4 {
        actor
            .ask("joins", version, &add_offsets(&id, identity, &group))
            .await;
        actor
            .ask("an empty group", version, &add_offsets(&id, identity, ""))
            .await;
    }
    describe(actor, "with offsets", &id).await;
    actor.ask("commits", 4, &end(&id, identity, true)).await;
    actor.settled(&id).await;
    describe(actor, "at last", &id).await;
}

async fn administration(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let [idle, open] = ["idle", "open"].map(|name| actor.name(name));
    actor.transactional(&idle, 60_000).await;
    let identity = actor.transactional(&open, 70_000).await;
    actor
        .ask(
            "joins",
            3,
            &add_partitions(&open, identity, &[(&topic.name, &[1, 0])]),
        )
        .await;
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![
            idle.clone(),
            open.clone(),
            String::new(),
            actor.name("nobody"),
            open.clone(),
        ],
    };
    actor.ask("described", 0, &request).await;
    listed(actor, identity.id).await;
    let request = DescribeProducersRequest {
        topics: vec![
            DescribeProducersRequestTopic {
                name: topic.name.clone(),
                partition_indexes: [0, 1, 5].map(PartitionId).to_vec(),
            },
            DescribeProducersRequestTopic {
                name: actor.name("unknown"),
                partition_indexes: vec![PartitionId(0)],
            },
            DescribeProducersRequestTopic {
                name: "a b".to_owned(),
                partition_indexes: vec![PartitionId(0)],
            },
        ],
    };
    actor.ask("producers", 0, &request).await;
}

async fn listed(actor: &mut Actor, producer_id: ProducerId) {
    for version in 0..=2 {
        let states: [&[&str]; 5] = [
            &[],
            &["Empty"],
            &["Ongoing", "Empty"],
            &["Nonsense"],
            &["Dead", "CompleteCommit"],
        ];
        for filter in states {
            let request = ListTransactionsRequest {
                state_filters: filter.iter().map(|state| (*state).to_owned()).collect(),
                ..Default::default()
            };
            actor
                .ask(format_args!("listed by {filter:?}"), version, &request)
                .await;
        }
        for producer in [producer_id, ProducerId(-1), ProducerId(99_999_999)] {
            let request = ListTransactionsRequest {
                producer_id_filters: vec![producer],
                ..Default::default()
            };
            actor.ask("listed by a producer id", version, &request).await;
        }
        for duration_filter in [0, 1_000_000, -2] {
            let request = ListTransactionsRequest {
                duration_filter,
                ..Default::default()
            };
            actor
                .ask(
                    format_args!("listed by duration {duration_filter}"),
                    version,
                    &request,
                )
                .await;
        }
        for pattern in [
            "administration-.*",
            "administration-o",
            "administration-o.*",
            "",
            "[",
        ] {
            let request = ListTransactionsRequest {
                transactional_id_pattern: Some(pattern.to_owned()),
                ..Default::default()
            };
            actor
                .ask(format_args!("listed by {pattern:?}"), version, &request)
                .await;
        }
    }
}
