//! Offsets of groups: committed by consumers, committed in transactions, and fetched.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, LeaderEpoch, PartitionId, TopicId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::requests::{Topic, add_offsets, end, shifted};

scripts! { at [2, 3.9]:
    /// OffsetCommit and OffsetFetch of a group without members.
    plain_offsets;
}

scripts! { at [2, 1, 3.9]:
    /// B-120: a plain commit during a transaction.
    competing_commits;
}

scripts! { at [2, 1]:
    /// B-74, B-118, B-119: who may commit what.
    txn_offset_commit;
    /// B-119, B-120: pending offsets, then visible ones or none.
    pending_offsets;
}

fn in_transaction(
    id: &str,
    identity: Identity,
    group: &str,
    offsets: &[(&str, i32, i64)],
) -> TxnOffsetCommitRequest {
    let topics = offsets
        .iter()
        .map(|(name, partition, offset)| TxnOffsetCommitRequestTopic {
            name: (*name).to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index: PartitionId(*partition),
                committed_offset: *offset,
                ..Default::default()
            }],
        });
    TxnOffsetCommitRequest {
        transactional_id: id.to_owned(),
        group_id: group.to_owned(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        topics: topics.collect(),
        ..Default::default()
    }
}

fn plain(group: &str, topic: &Topic, partition: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.clone(),
            topic_id: topic.id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: PartitionId(partition),
                committed_offset: offset,
                committed_leader_epoch: LeaderEpoch(3),
                committed_metadata: Some("m".to_owned()),
            }],
        }],
        ..Default::default()
    }
}

/// Asks for some partitions of a topic, or for all of the group.
fn wanted(group: &str, topic: Option<&Topic>, require_stable: bool) -> OffsetFetchRequest {
    let topics = topic.map(|topic| {
        vec![OffsetFetchRequestTopic {
            name: topic.name.clone(),
            topic_id: topic.id,
            partition_indexes: [0, 1, 2].map(PartitionId).to_vec(),
        }]
    });
    OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: topics.clone(),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics,
            ..Default::default()
        }],
        require_stable,
    }
}

async fn look(actor: &mut Actor, label: &str, group: &str, topic: &Topic) {
    for version in [1, 5, 7, 8, 9, 10] {
        for require_stable in [false, true] {
            for some in [Some(topic), None] {
                if version < 2 && some.is_none() {
                    continue;
                }
                let kind = if some.is_some() { "named" } else { "all" };
                let request = wanted(group, some, require_stable);
                actor
                    .ask(
                        format_args!("{label}: {kind}, stable {require_stable}"),
                        version,
                        &request,
                    )
                    .await;
            }
        }
    }
}

async fn plain_offsets(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let unknown = Topic {
        name: actor.name("unknown"),
        id: TopicId([3; 16]),
    };
    let group = actor.name("group");
    look(actor, "nothing", &group, &topic).await;
    for version in 2..=10 {
        for (label, request) in [
            ("an offset", plain(&group, &topic, 0, i64::from(version))),
            ("an unknown partition", plain(&group, &topic, 5, 1)),
            ("an unknown topic", plain(&group, &unknown, 0, 1)),
            ("a negative offset", plain(&group, &topic, 1, -1)),
            ("an empty group", plain("", &topic, 0, 1)),
        ] {
            actor.ask(label, version, &request).await;
        }
        for (generation, member) in [(0, ""), (-1, "somebody"), (1, "somebody"), (1, "")] {
            let request = OffsetCommitRequest {
                generation_id_or_member_epoch: generation,
                member_id: member.to_owned(),
                ..plain(&group, &topic, 0, 100)
            };
            actor
                .ask(
                    format_args!("generation {generation} of {member:?}"),
                    version,
                    &request,
                )
                .await;
        }
        let mut long = plain(&group, &topic, 0, 7);
        for length in [4096, 4097] {
            long.topics[0].partitions[0].committed_metadata = Some("x".repeat(length));
            actor
                .ask(format_args!("{length} letters of metadata"), version, &long)
                .await;
        }
        long.topics[0].partitions[0].committed_metadata = None;
        actor.ask("no metadata", version, &long).await;
        actor.ask("fetched", 7, &wanted(&group, Some(&topic), true)).await;
    }
    look(actor, "offsets", &group, &topic).await;
    look(actor, "an empty group", "", &topic).await;
    look(actor, "an unknown topic", &group, &unknown).await;
}

async fn txn_offset_commit(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    for version in 0..=5 {
        let id = actor.name(format_args!("id-{version}"));
        let group = actor.name(format_args!("group-{version}"));
        let identity = actor.transactional(&id, 60_000).await;
        let commit =
            |id: &str, identity, group: &str| in_transaction(id, identity, group, &[(&topic.name, 0, 5)]);
        for joined in [false, true] {
            if joined {
                actor.ask("joins", 3, &add_offsets(&id, identity, &group)).await;
            }
            for (label, request) in [
                ("an empty id", commit("", identity, &group)),
                ("an unknown id", commit(&actor.name("nobody"), identity, &group)),
                ("an older epoch", commit(&id, shifted(identity, -1), &group)),
                ("a newer epoch", commit(&id, shifted(identity, 1), &group)),
                ("an empty group", commit(&id, identity, "")),
                (
                    "an unknown partition",
                    in_transaction(&id, identity, &group, &[(&topic.name, 9, 5)]),
                ),
                (
                    "an unknown topic",
                    in_transaction(&id, identity, &group, &[("unknown", 0, 5), (&topic.name, 1, 3)]),
                ),
                ("fine", commit(&id, identity, &group)),
            ] {
                actor
                    .ask(format_args!("{label}, joined {joined}"), version, &request)
                    .await;
            }
            for (generation, member, instance) in [
                (0, "", None),
                (-1, "somebody", None),
                (1, "somebody", None),
                (-1, "", Some("instance")),
            ] {
                let request = TxnOffsetCommitRequest {
                    generation_id: generation,
                    member_id: member.to_owned(),
                    group_instance_id: instance.map(str::to_owned),
                    ..commit(&id, identity, &group)
                };
                let label = format!("generation {generation} of {member:?} {instance:?}");
                if version >= 3 {
                    actor.ask(label, version, &request).await;
                }
            }
            let mut long = commit(&id, identity, &group);
            long.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097));
            actor.ask("long metadata", version, &long).await;
        }
        actor.ask("aborts", 5, &end(&id, identity, false)).await;
        actor.settled(&id).await;
        actor.ask("late", version, &commit(&id, identity, &group)).await;
        actor.ask("fetched", 7, &wanted(&group, Some(&topic), true)).await;
    }
}

async fn pending_offsets(actor: &mut Actor) {
    let topic = actor.topic("t", 3, &[]).await;
    for version in [2, 3, 4, 5] {
        let group = actor.name(format_args!("group-{version}"));
        let id = actor.name(format_args!("id-{version}"));
        for (round, committed) in [false, true, true, false].into_iter().enumerate() {
            let identity = actor.transactional(&id, 60_000).await;
            if version < 5 {
                actor.ask("joins", 3, &add_offsets(&id, identity, &group)).await;
            }
            let offset = 10 * i64::try_from(round).expect("small");
            let request = in_transaction(
                &id,
                identity,
                &group,
                &[(&topic.name, 0, offset), (&topic.name, 1, offset + 1)],
            );
            actor.ask("commits offsets", version, &request).await;
            look(actor, "pending", &group, &topic).await;
            actor
                .ask(
                    "ends",
                    if version < 5 { 4 } else { 5 },
                    &end(&id, identity, committed),
                )
                .await;
            actor.settled(&id).await;
            self::until_stable(actor, &group, &topic).await;
            look(actor, "decided", &group, &topic).await;
        }
    }
}

/// The group's shard learns of the end a moment after the marker is written.
async fn until_stable(actor: &mut Actor, group: &str, topic: &Topic) {
    let request = wanted(group, Some(topic), true);
    loop {
        let found = actor.quiet(7, &request).await;
        let mut entries = found.topics.iter().flat_map(|topic| &topic.partitions);
        if entries.all(|entry| entry.error_code == kommit_protocol::error_code::ErrorCode::None) {
            return;
        }
    }
}

async fn competing_commits(actor: &mut Actor) {
    let topic = actor.topic("t", 3, &[]).await;
    for plain_first in [true, false] {
        for committed in [true, false] {
            let group = actor.name(format_args!("group-{plain_first}-{committed}"));
            let id = actor.name(format_args!("id-{plain_first}-{committed}"));
            let identity = actor.transactional(&id, 60_000).await;
            actor.ask("joins", 3, &add_offsets(&id, identity, &group)).await;
            let transactional = in_transaction(&id, identity, &group, &[(&topic.name, 0, 5)]);
            let plain = plain(&group, &topic, 0, 50);
            if plain_first {
                actor.ask("commits plainly", 8, &plain).await;
            }
            actor.ask("commits offsets", 3, &transactional).await;
            if !plain_first {
                actor.ask("commits plainly", 8, &plain).await;
            }
            look(actor, "pending", &group, &topic).await;
            actor.ask("ends", 4, &end(&id, identity, committed)).await;
            actor.settled(&id).await;
            until_stable(actor, &group, &topic).await;
            look(actor, "decided", &group, &topic).await;
        }
    }
}
