//! Reading: Fetch at both isolation levels, ListOffsets, and what readers see of open, committed and aborted transactions.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, LeaderEpoch, NodeId, PartitionId, TopicId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::{Batch, USUAL_TIME};
use kommit_tests::compare::requests::{Topic, add_partitions, end, fetch, produce};

scripts! { at [2, 3.9]:
    /// B-116: earliest, latest, by time, and what is not known.
    list_offsets;
}

scripts! { at [2]:
    /// B-8, B-27, B-112: versions, offsets, epochs, topics that are not there.
    fetch_arguments;
    /// B-114: limits of a fetch.
    fetch_limits;
}

scripts! { at [2, 1, 3.9]:
    /// B-99, B-110 to B-116: isolation, the aborted index, and the last stable offset.
    isolation;
}

async fn write(actor: &mut Actor, topic: &Topic, batch: &Batch) {
    let request = produce(None, -1, &[(topic, 0, Some(batch.bytes()))]);
    actor.ask("writes", 12, &request).await;
}

async fn fetch_arguments(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let unknown = Topic {
        name: actor.name("unknown"),
        id: TopicId([3; 16]),
    };
    for count in [1, 3, 2] {
        write(actor, &topic, &Batch::plain().records(count)).await;
    }
    for version in 4..=18 {
        for offset in [0, 1, 3, 5, 6, 7, -1, i64::MAX] {
            for isolation in [0, 1] {
                let label = format!("from {offset} at isolation {isolation}");
                actor
                    .ask(label, version, &fetch(&topic, 0, offset, isolation))
                    .await;
            }
        }
        actor.ask("isolation 2", version, &fetch(&topic, 0, 0, 2)).await;
        actor
            .ask("an unknown partition", version, &fetch(&topic, 1, 0, 1))
            .await;
        actor.ask("partition -1", version, &fetch(&topic, -1, 0, 0)).await;
        actor
            .ask("an unknown topic", version, &fetch(&unknown, 0, 0, 1))
            .await;
        for epoch in [-1, 0, 1, 5, -2] {
            let mut request = fetch(&topic, 0, 0, 0);
            request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch(epoch);
            actor
                .ask(format_args!("leader epoch {epoch}"), version, &request)
                .await;
        }
        for (session_id, session_epoch) in [(0, 1), (5, -1), (5, 1), (5, -2)] {
            let request = FetchRequest {
                session_id,
                session_epoch,
                ..fetch(&topic, 0, 0, 0)
            };
            actor
                .ask(
                    format_args!("session {session_id}/{session_epoch}"),
                    version,
                    &request,
                )
                .await;
        }
        let mut follower = fetch(&topic, 0, 0, 0);
        follower.replica_id = NodeId(5);
        follower.replica_state.replica_id = NodeId(5);
        actor.ask("a follower that is none", version, &follower).await;
        let nothing = FetchRequest::default();
        actor.ask("nothing", version, &nothing).await;
    }
    actor
        .ask("a version not served", 19, &fetch(&topic, 0, 0, 0))
        .await;
    actor
        .ask("a version not served", 3, &fetch(&topic, 0, 0, 0))
        .await;
}

async fn fetch_limits(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    for count in [1, 3, 2] {
        write(actor, &topic, &Batch::plain().records(count)).await;
    }
    for version in [4, 9, 13, 18] {
        for max_bytes in [0, 1, 70, 100, 200, -1, i32::MAX] {
            let mut request = fetch(&topic, 0, 0, 0);
            request.topics[0].partitions[0].partition_max_bytes = max_bytes;
            actor
                .ask(
                    format_args!("{max_bytes} bytes of a partition"),
                    version,
                    &request,
                )
                .await;
            let request = FetchRequest {
                max_bytes,
                ..fetch(&topic, 0, 0, 0)
            };
            actor
                .ask(format_args!("{max_bytes} bytes"), version, &request)
                .await;
        }
        for (min_bytes, max_wait_ms) in [(0, 0), (1, 0), (1, 50), (100_000, 50), (-1, 50), (1, -1)] {
            for offset in [0, 6] {
                let request = FetchRequest {
                    min_bytes,
                    max_wait_ms,
                    ..fetch(&topic, 0, offset, 1)
                };
                let label = format!("{min_bytes} bytes within {max_wait_ms} ms from {offset}");
                actor.ask(label, version, &request).await;
            }
        }
        let mut twice = fetch(&topic, 0, 0, 0);
        let mut other = twice.topics[0].partitions[0].clone();
        other.partition = PartitionId(1);
        twice.topics[0].partitions.push(other);
        actor.ask("two partitions", version, &twice).await;
    }
}

/// One partition at one time, by isolation level and the leader epoch that the client knows.
fn asked(
    topic: &Topic,
    partition: i32,
    timestamp: i64,
    (isolation_level, epoch): (i8, i32),
) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: NodeId(-1),
        isolation_level,
        topics: vec![ListOffsetsRequestTopic {
            name: topic.name.clone(),
            partitions: vec![ListOffsetsRequestPartition {
                partition_index: PartitionId(partition),
                current_leader_epoch: LeaderEpoch(epoch),
                timestamp,
            }],
        }],
        timeout_ms: 1000,
    }
}

async fn list_offsets(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let empty = actor.topic("empty", 1, &[]).await;
    let unknown = Topic {
        name: actor.name("unknown"),
        id: TopicId::ZERO,
    };
    for (count, later) in [(1, 0), (3, 10), (2, 5)] {
        write(
            actor,
            &topic,
            &Batch::plain().records(count).time(USUAL_TIME + later),
        )
        .await;
    }
    for version in 1..=11 {
        for timestamp in [
            -1,
            -2,
            -3,
            -4,
            -5,
            -6,
            -7,
            -100,
            0,
            USUAL_TIME,
            USUAL_TIME + 1,
            USUAL_TIME + 7,
            USUAL_TIME + 10,
            USUAL_TIME + 11,
            i64::MAX,
        ] {
            for isolation in [0, 1] {
                let label = format!("time {timestamp} at isolation {isolation}");
                actor
                    .ask(label, version, &asked(&topic, 0, timestamp, (isolation, -1)))
                    .await;
                let label = format!("time {timestamp} of an empty log");
                actor
                    .ask(label, version, &asked(&empty, 0, timestamp, (isolation, -1)))
                    .await;
            }
        }
        for epoch in [0, 1] {
            actor
                .ask(
                    format_args!("leader epoch {epoch}"),
                    version,
                    &asked(&topic, 0, -1, (0, epoch)),
                )
                .await;
        }
        actor
            .ask("an unknown partition", version, &asked(&topic, 3, -1, (0, -1)))
            .await;
        actor
            .ask("an unknown topic", version, &asked(&unknown, 0, -1, (0, -1)))
            .await;
    }
}

/// Everything that a reader can ask of the first partition.
async fn look(actor: &mut Actor, label: &str, topic: &Topic, end: i64) {
    for version in [4, 12, 18] {
        for offset in 0..=end {
            for isolation in [0, 1] {
                actor
                    .ask(
                        format_args!("{label}: from {offset}"),
                        version,
                        &fetch(topic, 0, offset, isolation),
                    )
                    .await;
            }
        }
    }
    for timestamp in [-1, -2, -3, USUAL_TIME] {
        for isolation_level in [0, 1] {
            let request = ListOffsetsRequest {
                replica_id: NodeId(-1),
                isolation_level,
                topics: vec![ListOffsetsRequestTopic {
                    name: topic.name.clone(),
                    partitions: vec![ListOffsetsRequestPartition {
                        timestamp,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            };
            actor
                .ask(
                    format_args!("{label}: time {timestamp} at isolation {isolation_level}"),
                    7,
                    &request,
                )
                .await;
        }
    }
}

async fn isolation(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let ids = ["a", "b", "c"].map(|name| actor.name(name));
    let mut identities = Vec::new();
    for id in &ids {
        let identity = actor.transactional(id, 60_000).await;
        actor
            .ask("joins", 3, &add_partitions(id, identity, &[(&topic.name, &[0])]))
            .await;
        identities.push(identity);
    }
    let put = async |actor: &mut Actor, number: usize, sequence| {
        let identity: Identity = identities[number];
        let later = i64::try_from(number).expect("small");
        let batch = Batch::in_transaction(identity, sequence)
            .records(2)
            .time(USUAL_TIME + later);
        let request = produce(Some(&ids[number]), -1, &[(&topic, 0, Some(batch.bytes()))]);
        actor.ask(format_args!("writes of {number}"), 11, &request).await;
    };
    write(actor, &topic, &Batch::plain()).await;
    put(actor, 0, 0).await;
    put(actor, 1, 0).await;
    look(actor, "two open", &topic, 5).await;
    actor
        .ask("second aborts", 4, &end(&ids[1], identities[1], false))
        .await;
    actor.settled(&ids[1]).await;
    look(actor, "second aborted", &topic, 6).await;
    put(actor, 2, 0).await;
    write(actor, &topic, &Batch::plain()).await;
    put(actor, 0, 2).await;
    actor
        .ask("first commits", 4, &end(&ids[0], identities[0], true))
        .await;
    actor.settled(&ids[0]).await;
    look(actor, "first committed", &topic, 12).await;
    actor
        .ask("third aborts", 4, &end(&ids[2], identities[2], false))
        .await;
    actor.settled(&ids[2]).await;
    look(actor, "all ended", &topic, 13).await;
}
