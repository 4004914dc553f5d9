//! Two producers with one transactional id, step by step in turns: who fences whom, and what stays of whose records.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, PartitionId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::requests::{Topic, add_offsets, add_partitions, end, init};

use super::transactions::{after, describe, producers, transactional};

scripts! { at [2, 1]:
    /// B-63, B-84 to B-93: everything that a fenced producer may still try.
    a_fenced_rival;
    /// B-61, B-64: both ask for their identities again and again.
    rivals_initialise;
    /// B-119: offsets of both.
    rivals_commit_offsets;
}

/// What both versions of the transaction protocol send.
const PROTOCOLS: [(i16, i16); 3] = [(9, 1), (11, 4), (12, 5)];

/// Another producer takes the id over, as soon as it can be had. What it hears until then is not written down, as how often depends on time.
async fn taken_over(actor: &mut Actor, id: &str) -> Identity {
    actor.transactional(id, 60_000).await
}

/// Everything that a producer with this identity can send.
async fn everything(
    actor: &mut Actor,
    label: &str,
    (id, topic): (&str, &Topic),
    identity: Identity,
    (produce, ends): (i16, i16),
) {
    if produce < 12 {
        let request = add_partitions(id, identity, &[(&topic.name, &[0])]);
        actor.ask(format_args!("{label} joins"), 3, &request).await;
    }
    let request = transactional(id, topic, 0, identity, 0);
    actor.ask(format_args!("{label} writes"), produce, &request).await;
    let request = transactional(id, topic, 1, identity, 0);
    actor
        .ask(format_args!("{label} writes elsewhere"), produce, &request)
        .await;
    describe(actor, label, id).await;
    for committed in [true, false] {
        let request = end(id, identity, committed);
        actor
            .ask(format_args!("{label} ends, commit {committed}"), ends, &request)
            .await;
        actor.settled(id).await;
    }
    describe(actor, label, id).await;
    producers(actor, label, topic).await;
}

async fn a_fenced_rival(actor: &mut Actor) {
    for protocol in PROTOCOLS {
        let topic = actor.topic(format_args!("t-{}", protocol.0), 2, &[]).await;
        for is_open in [false, true] {
            let id = actor.name(format_args!("id-{}-{is_open}", protocol.0));
            let first = actor.transactional(&id, 60_000).await;
            if is_open {
                let request = add_partitions(&id, first, &[(&topic.name, &[0])]);
                actor.ask("the first joins", 3, &request).await;
                let request = transactional(&id, &topic, 0, first, 0);
                actor.ask("the first writes", protocol.0, &request).await;
            }
            let second = taken_over(actor, &id).await;
            everything(actor, "the first", (&id, &topic), first, protocol).await;
            let expected = init(Some(&id), 60_000, Some(first));
            actor.ask("the first asks again", 4, &expected).await;
            actor.ask("the first asks as of old", 3, &expected).await;
            everything(actor, "the second", (&id, &topic), second, protocol).await;
            everything(actor, "the first again", (&id, &topic), first, protocol).await;
        }
        actor.log("rivals", &topic, 0).await;
        actor.log("rivals", &topic, 1).await;
    }
}

async fn rivals_initialise(actor: &mut Actor) {
    for version in [3, 4, 5] {
        let id = actor.name(format_args!("id-{version}"));
        let first = actor.transactional(&id, 60_000).await;
        let second = actor.transactional(&id, 60_000).await;
        let mut known = vec![first, second];
        for round in 0..3 {
            for (number, identity) in known.clone().into_iter().enumerate() {
                let request = init(Some(&id), 60_000, Some(identity));
                let answer = actor
                    .ask(format_args!("{number} in round {round}"), version, &request)
                    .await;
                if let Some(answer) = answer.filter(|answer| answer.error_code == ErrorCode::None) {
                    known.push(Identity {
                        id: answer.producer_id,
                        epoch: answer.producer_epoch,
                    });
                }
            }
        }
        describe(actor, "at last", &id).await;
    }
}

async fn rivals_commit_offsets(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for (version, ends) in [(0, 1), (3, 4), (4, 4), (5, 5)] {
        let id = actor.name(format_args!("id-{version}"));
        let group = actor.name(format_args!("group-{version}"));
        let commit = |identity: Identity, committed_offset| TxnOffsetCommitRequest {
            transactional_id: id.clone(),
            group_id: group.clone(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            generation_id: -1,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.name.clone(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: PartitionId(0),
                    committed_offset,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let first = actor.transactional(&id, 60_000).await;
        actor.ask("without the group", version, &commit(first, 1)).await;
        actor
            .ask("the group joins", 3, &add_offsets(&id, first, &group))
            .await;
        actor.ask("with the group", version, &commit(first, 2)).await;
        let second = taken_over(actor, &id).await;
        actor.ask("fenced", version, &commit(first, 3)).await;
        actor.ask("the second alone", version, &commit(second, 4)).await;
        actor
            .ask("the group joins again", 3, &add_offsets(&id, second, &group))
            .await;
        actor.ask("the second", version, &commit(second, 5)).await;
        actor.ask("fenced in between", version, &commit(first, 6)).await;
        actor.ask("fenced end", ends, &end(&id, first, true)).await;
        let ended = actor.ask("end", ends, &end(&id, second, true)).await;
        actor.settled(&id).await;
        actor.ask("late", version, &commit(second, 7)).await;
        let next = after(ended, second);
        actor.ask("next", version, &commit(next, 8)).await;
        describe(actor, "next", &id).await;
        let read = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.clone(),
                topics: None,
                ..Default::default()
            }],
            ..Default::default()
        };
        actor.ask("what counts", 8, &read).await;
    }
}
