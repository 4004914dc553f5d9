//! Transactions: batches in them, late ones, and their end.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, PartitionId, ProducerId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::Batch;
use kommit_tests::compare::requests::{Topic, add_partitions, end, init, produce, shifted};

scripts! { at [2, 1, 3.9]:
    /// B-84 to B-88: every end in every state.
    ends;
    /// B-85, B-87, B-96: the same end once more.
    repeated_ends;
    /// B-23, B-26, B-74 to B-77: batches that belong to no transaction.
    produce_unverified;
    /// B-76, B-79, B-97, B-98: batches that come late.
    late_batches;
}

scripts! { at [2, 1]:
    /// B-47, B-49, B-75, B-91 to B-98: batches of transactions that come and go.
    produce_in_transactions;
}

scripts! { at [2]:
    /// B-89, B-93: the end of the epochs within transactions.
    exhausted_in_transaction;
}

/// A batch of the transaction of `id`.
pub(super) fn transactional(
    id: &str,
    topic: &Topic,
    partition: i32,
    identity: Identity,
    sequence: i32,
) -> ProduceRequest {
    let batch = Batch::in_transaction(identity, sequence).bytes();
    produce(Some(id), -1, &[(topic, partition, Some(batch))])
}

/// The state of a transactional id.
pub(super) async fn describe(actor: &mut Actor, label: &str, id: &str) {
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![id.to_owned()],
    };
    actor.ask(label, 0, &request).await;
}

pub(super) async fn producers(actor: &mut Actor, label: &str, topic: &Topic) {
    let request = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: topic.name.clone(),
            partition_indexes: vec![PartitionId(0)],
        }],
    };
    actor.ask(label, 0, &request).await;
}

/// The identity after an end, as the answer says or as it was.
pub(super) fn after(response: Option<EndTxnResponse>, before: Identity) -> Identity {
    match response {
        Some(response) if response.producer_id != ProducerId::NONE => Identity {
            id: response.producer_id,
            epoch: response.producer_epoch,
        },
        _ => before,
    }
}

async fn ends(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for version in actor.served::<EndTxnRequest>(0..=5) {
        let id = actor.name(format_args!("id-{version}"));
        let identity = actor.transactional(&id, 60_000).await;
        let stranger = Identity {
            id: ProducerId(identity.id.0 + 100_000),
            epoch: identity.epoch,
        };
        for committed in [true, false] {
            for (label, request) in [
                ("an empty id", end("", identity, committed)),
                ("an unknown id", end(&actor.name("nobody"), identity, committed)),
                ("another producer id", end(&id, stranger, committed)),
                ("an older epoch", end(&id, shifted(identity, -1), committed)),
                ("a newer epoch", end(&id, shifted(identity, 1), committed)),
            ] {
                actor
                    .ask(format_args!("{label}, commit {committed}"), version, &request)
                    .await;
            }
        }
        actor
            .ask("nothing to commit", version, &end(&id, identity, true))
            .await;
        let response = actor
            .ask("nothing to abort", version, &end(&id, identity, false))
            .await;
        actor.settled(&id).await;
        describe(actor, "without anything", &id).await;
        let mut identity = after(response, identity);
        for committed in [true, false] {
            actor
                .ask("joins", 3, &add_partitions(&id, identity, &[(&topic.name, &[0])]))
                .await;
            for by in [-1, 1, 2] {
                let request = end(&id, shifted(identity, by), committed);
                actor
                    .ask(
                        format_args!("ends {by} off, commit {committed}"),
                        version,
                        &request,
                    )
                    .await;
            }
            let request = end(&id, identity, committed);
            let response = actor
                .ask(format_args!("ends, commit {committed}"), version, &request)
                .await;
            actor.settled(&id).await;
            describe(actor, "ended", &id).await;
            identity = after(response, identity);
        }
    }
    actor.log("markers", &topic, 0).await;
}

async fn repeated_ends(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for version in actor.served::<EndTxnRequest>([0, 4, 5]) {
        for first in [true, false] {
            for again in [true, false] {
                for by in [0, 1, -1] {
                    let id = actor.name(format_args!("id-{version}-{first}-{again}-{by}"));
                    let identity = actor.transactional(&id, 60_000).await;
                    actor
                        .ask("joins", 3, &add_partitions(&id, identity, &[(&topic.name, &[0])]))
                        .await;
                    actor.ask("ends", version, &end(&id, identity, first)).await;
                    actor.settled(&id).await;
                    let label = format!("commit {again} after commit {first}, {by} more");
                    actor
                        .ask(&label, version, &end(&id, shifted(identity, by), again))
                        .await;
                    actor.settled(&id).await;
                    actor
                        .ask(&label, version, &end(&id, shifted(identity, by), again))
                        .await;
                    actor.settled(&id).await;
                    describe(actor, &label, &id).await;
                }
            }
        }
    }
    actor.log("markers", &topic, 0).await;
}

async fn produce_unverified(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    for version in [3, 9, 10, 11, 12, 13] {
        let id = actor.name(format_args!("id-{version}"));
        let identity = actor.transactional(&id, 60_000).await;
        let stranger = Identity {
            id: ProducerId(identity.id.0 + 100_000),
            epoch: identity.epoch,
        };
        let nobody = actor.name("nobody");
        for (label, name, producer, sequence) in [
            ("an unknown id", nobody.as_str(), identity, 0),
            ("an empty id", "", identity, 0),
            ("another producer id", &id, stranger, 0),
            ("an older epoch", &id, shifted(identity, -1), 0),
            ("a newer epoch", &id, shifted(identity, 1), 0),
            ("a late sequence", &id, identity, 5),
            ("not joined", &id, identity, 0),
            ("not joined again", &id, identity, 0),
            ("the next", &id, identity, 1),
        ] {
            actor
                .ask(
                    label,
                    version,
                    &transactional(name, &topic, 0, producer, sequence),
                )
                .await;
        }
        describe(actor, "joined or not", &id).await;
        let without = ProduceRequest {
            transactional_id: None,
            ..transactional(&id, &topic, 1, identity, 0)
        };
        actor.ask("without an id", version, &without).await;
        let both = produce(
            Some(&id),
            -1,
            &[
                (&topic, 0, Some(Batch::in_transaction(identity, 0).bytes())),
                (&topic, 1, Some(Batch::in_transaction(stranger, 0).bytes())),
            ],
        );
        actor.ask("two producers", version, &both).await;
        let mixed = produce(
            Some(&id),
            -1,
            &[
                (&topic, 0, Some(Batch::plain().bytes())),
                (&topic, 1, Some(Batch::in_transaction(identity, 0).bytes())),
            ],
        );
        actor.ask("one that is not transactional", version, &mixed).await;
        actor
            .ask(
                "an unknown partition",
                version,
                &transactional(&id, &topic, 7, identity, 0),
            )
            .await;
        actor.ask("aborts", 5, &end(&id, identity, false)).await;
        actor.settled(&id).await;
        describe(actor, "at last", &id).await;
    }
    actor.log("unverified", &topic, 0).await;
    actor.log("unverified", &topic, 1).await;
}

async fn produce_in_transactions(actor: &mut Actor) {
    for version in [9, 11, 12] {
        let end_version = if version == 12 { 5 } else { 4 };
        let topic = actor.topic(format_args!("t-{version}"), 2, &[]).await;
        let id = actor.name(format_args!("id-{version}"));
        let mut identity = actor.transactional(&id, 60_000).await;
        let mut sequence = 0;
        for (round, committed) in [true, false, true].into_iter().enumerate() {
            if version < 12 {
                let request = add_partitions(&id, identity, &[(&topic.name, &[0, 1])]);
                actor.ask("joins", 3, &request).await;
            }
            for step in [0, 1, 1, 0, 3, 2] {
                let request = transactional(&id, &topic, 0, identity, sequence + step);
                actor
                    .ask(format_args!("round {round}, {step} later"), version, &request)
                    .await;
            }
            let plain = produce(
                None,
                -1,
                &[(&topic, 0, Some(Batch::of(identity, sequence + 3).bytes()))],
            );
            actor.ask("not transactional", version, &plain).await;
            let anonymous = produce(None, -1, &[(&topic, 0, Some(Batch::plain().bytes()))]);
            actor.ask("of nobody", version, &anonymous).await;
            for by in [-1, 1] {
                let request = transactional(&id, &topic, 0, shifted(identity, by), 0);
                actor
                    .ask(format_args!("epoch {by} more"), version, &request)
                    .await;
            }
            let misnamed = transactional("another", &topic, 0, identity, sequence + 3);
            actor.ask("under another id", version, &misnamed).await;
            producers(actor, "during", &topic).await;
            actor.log("during", &topic, 0).await;
            describe(actor, "during", &id).await;
            let response = actor
                .ask("ends", end_version, &end(&id, identity, committed))
                .await;
            actor.settled(&id).await;
            producers(actor, "after", &topic).await;
            actor.log("after", &topic, 0).await;
            let next = after(response, identity);
            sequence = if next.epoch == identity.epoch {
                sequence + 4
            } else {
                0
            };
            identity = next;
        }
        actor.log("other", &topic, 1).await;
    }
}

async fn late_batches(actor: &mut Actor) {
    for version in [9, 11, 12] {
        let topic = actor.topic(format_args!("t-{version}"), 1, &[]).await;
        let id = actor.name(format_args!("id-{version}"));
        let identity = actor.transactional(&id, 60_000).await;
        if version < 12 {
            actor
                .ask("joins", 3, &add_partitions(&id, identity, &[(&topic.name, &[0])]))
                .await;
        }
        actor
            .ask("first", version, &transactional(&id, &topic, 0, identity, 0))
            .await;
        let response = actor
            .ask(
                "ends",
                if version < 12 { 4 } else { 5 },
                &end(&id, identity, true),
            )
            .await;
        actor.settled(&id).await;
        let next = after(response, identity);
        for (label, identity, sequence) in [
            ("late", identity, 1),
            ("repeated", identity, 0),
            ("ahead", next, 1),
            ("next", next, 0),
        ] {
            actor
                .ask(label, version, &transactional(&id, &topic, 0, identity, sequence))
                .await;
        }
        actor.ask("a successor", 4, &init(Some(&id), 60_000, None)).await;
        actor.settled(&id).await;
        let successor = actor.transactional(&id, 60_000).await;
        for (label, identity, sequence) in [
            ("fenced", next, 1),
            ("fenced long ago", identity, 1),
            ("of the successor", successor, 0),
        ] {
            actor
                .ask(label, version, &transactional(&id, &topic, 0, identity, sequence))
                .await;
        }
        let plain = produce(None, -1, &[(&topic, 0, Some(Batch::of(next, 1).bytes()))]);
        actor.ask("fenced and not transactional", version, &plain).await;
        actor.ask("ends", 5, &end(&id, successor, false)).await;
        actor.settled(&id).await;
        producers(actor, "late", &topic).await;
        actor.log("late", &topic, 0).await;
    }
}

async fn exhausted_in_transaction(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let id = actor.name("id");
    let mut identity = actor.exhausted(&id).await;
    for round in 0..3 {
        actor
            .ask("joins", 3, &add_partitions(&id, identity, &[(&topic.name, &[0])]))
            .await;
        actor
            .ask("writes", 12, &transactional(&id, &topic, 0, identity, 0))
            .await;
        let request = end(&id, identity, round != 1);
        let response = actor.ask("ends", 5, &request).await;
        actor.settled(&id).await;
        describe(actor, "ended", &id).await;
        actor.ask("ends again", 5, &request).await;
        actor.settled(&id).await;
        actor
            .ask("writes late", 12, &transactional(&id, &topic, 0, identity, 1))
            .await;
        producers(actor, "ended", &topic).await;
        identity = after(response, identity);
    }
    actor.log("markers", &topic, 0).await;
}
