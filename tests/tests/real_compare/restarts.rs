//! What a broker still knows when it has been stopped and started again.

use kommit_protocol::messages::*;
use kommit_protocol::units::Identity;
use kommit_tests::compare::batches::Batch;
use kommit_tests::compare::requests::{Topic, end, init, produce};
use kommit_tests::compare::{Actor, compare_across_a_restart};

use crate::groups::{alone, heartbeat};
use crate::transactions::{after as identity_after, describe, producers, transactional};

/// What the first half has made.
struct Made {
    topic: Topic,
    idempotent: Identity,
    /// One whose epoch was raised behind an ended transaction: as it was before.
    raised: Identity,
    /// One with an open transaction.
    open: Identity,
    /// The only member of a group, and its generation.
    member: (String, i32),
}

/// B-5, B-39, B-58, B-64, B-95: logs, producers, transactional ids, open transactions and a group, under version 2.
#[tokio::test]
async fn a_restart_as_kafka_with_transaction_version_2() {
    compare_across_a_restart(2, "restart", before, after).await;
}

/// B-5, B-39, B-58, B-64, B-95: and under version 1.
#[tokio::test]
async fn a_restart_as_kafka_with_transaction_version_1() {
    compare_across_a_restart(1, "restart", before, after).await;
}

async fn send(actor: &mut Actor, label: &str, request: &ProduceRequest) {
    let version = if actor.level() == 2 { 12 } else { 11 };
    actor.ask(label, version, request).await;
}

/// Writes one record in a transaction of `id`.
async fn write(actor: &mut Actor, id: &str, topic: &Topic, (identity, sequence): (Identity, i32)) {
    if actor.level() == 1 {
        let joins = kommit_tests::compare::requests::add_partitions(id, identity, &[(&topic.name, &[0])]);
        actor.ask("joins", 3, &joins).await;
    }
    let batch = transactional(id, topic, 0, identity, sequence);
    send(actor, "writes", &batch).await;
}

/// Commits an offset of the group as its member.
async fn commit(actor: &mut Actor, label: &str, topic: &Topic, (member, generation): &(String, i32)) {
    let request = OffsetCommitRequest {
        group_id: actor.name("group"),
        generation_id_or_member_epoch: *generation,
        member_id: member.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.clone(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 5,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    actor.ask(label, 8, &request).await;
}

async fn before(actor: &mut Actor) -> Made {
    let end_version = if actor.level() == 2 { 5 } else { 4 };
    let topic = actor.topic("t", 1, &[]).await;
    let group = actor.name("group");
    let member = alone(actor, &group, 3).await;
    commit(actor, "commits an offset", &topic, &member).await;
    let idempotent = actor.idempotent().await;
    for sequence in [0, 2, 4] {
        let batch = Batch::of(idempotent, sequence).records(2).bytes();
        send(
            actor,
            "idempotent",
            &produce(None, -1, &[(&topic, 0, Some(batch))]),
        )
        .await;
    }
    let (ended, open) = (actor.name("ended"), actor.name("open"));
    let mut raised = actor.transactional(&ended, 60_000).await;
    for committed in [true, false] {
        write(actor, &ended, &topic, (raised, 0)).await;
        let response = actor
            .ask("ends", end_version, &end(&ended, raised, committed))
            .await;
        actor.settled(&ended).await;
        raised = identity_after(response, raised);
        if actor.level() == 1 {
            raised = actor.transactional(&ended, 60_000).await;
        }
    }
    let raise = init(Some(&ended), 60_000, Some(raised));
    actor.ask("raises the epoch", 4, &raise).await;
    actor.ask("raises it again", 4, &raise).await;
    let opened = actor.transactional(&open, 60_000).await;
    write(actor, &open, &topic, (opened, 0)).await;
    Made {
        topic,
        idempotent,
        raised,
        open: opened,
        member,
    }
}

async fn after(actor: &mut Actor, made: Made) {
    let (ended, open) = (actor.name("ended"), actor.name("open"));
    let end_version = if actor.level() == 2 { 5 } else { 4 };
    let group = actor.name("group");
    actor
        .ask(
            "a member is heard",
            3,
            &heartbeat(&group, made.member.1, &made.member.0),
        )
        .await;
    let offsets = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group,
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    actor.ask("its group's offsets", 8, &offsets).await;
    commit(actor, "commits again", &made.topic, &made.member).await;
    describe(actor, "an ended one", &ended).await;
    describe(actor, "an open one", &open).await;
    for (label, sequence) in [
        ("the last batch again", 4),
        ("the first batch again", 0),
        ("behind a gap", 8),
        ("the next one", 6),
    ] {
        let batch = Batch::of(made.idempotent, sequence).records(2).bytes();
        send(actor, label, &produce(None, -1, &[(&made.topic, 0, Some(batch))])).await;
    }
    let raise = init(Some(&ended), 60_000, Some(made.raised));
    actor.ask("the retry of a raised epoch", 4, &raise).await;
    let late = transactional(&open, &made.topic, 0, made.open, 0);
    send(actor, "what was written before", &late).await;
    let more = transactional(&open, &made.topic, 0, made.open, 1);
    send(actor, "more of the transaction", &more).await;
    actor
        .ask("commits", end_version, &end(&open, made.open, true))
        .await;
    actor.settled(&open).await;
    describe(actor, "committed", &open).await;
    producers(actor, "all producers", &made.topic).await;
    actor.log("all batches", &made.topic, 0).await;
}
