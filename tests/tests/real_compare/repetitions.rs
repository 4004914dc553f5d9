//! Requests that name nothing, the same thing twice, and things that are not there, each in its lowest and its highest version.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, PartitionId, ProducerEpoch, ProducerId, TopicId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::Batch;
use kommit_tests::compare::requests::{Topic, add_partitions, fetch, produce};

scripts! { at [2]:
    /// B-23, B-36, B-112, B-116: partitions that are named twice.
    repeated_partitions;
    /// Offsets that are asked for or stored twice in one request.
    repeated_offsets;
    /// What administrators ask twice.
    repeated_questions;
    /// B-117: what administrators want twice.
    repeated_changes;
}

scripts! { at [2, 1]:
    /// B-71, B-119: partitions that join or are committed twice.
    repeated_in_transactions;
}

const TWICE: [i32; 4] = [0, 0, 7, 7];

fn indexes() -> Vec<PartitionId> {
    TWICE.map(PartitionId).into()
}

fn unknown(actor: &Actor) -> Topic {
    Topic {
        name: actor.name("nowhere"),
        id: TopicId([7; 16]),
    }
}

async fn repeated_partitions(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let nowhere = unknown(actor);
    for version in [3, 7, 12, 13] {
        let batch = || Some(Batch::plain().bytes());
        let mut request = produce(None, -1, &[(&topic, 0, batch()), (&topic, 1, batch())]);
        for index in TWICE {
            let mut again = request.topic_data[0].partition_data[0].clone();
            again.index = PartitionId(index);
            request.topic_data[0].partition_data.push(again);
        }
        actor.ask("twice in one topic", version, &request).await;
        let same = produce(None, -1, &[(&topic, 0, batch()), (&topic, 0, batch())]);
        actor.ask("a topic twice", version, &same).await;
        let neither = produce(None, -1, &[(&nowhere, 0, batch()), (&nowhere, 0, None)]);
        actor.ask("nowhere", version, &neither).await;
        let mut empty = produce(None, -1, &[(&topic, 0, None)]);
        empty.topic_data[0].partition_data.clear();
        actor.ask("a topic without partitions", version, &empty).await;
        actor.ask("nothing", version, &produce(None, -1, &[])).await;
    }
    for version in [4, 11, 12, 13, 18] {
        let mut request = fetch(&topic, 0, 0, 1);
        for index in TWICE {
            let mut again = request.topics[0].partitions[0].clone();
            again.partition = PartitionId(index);
            request.topics[0].partitions.push(again);
        }
        actor.ask("twice in one topic", version, &request).await;
        let mut twice = fetch(&topic, 0, 0, 0);
        twice.topics.push(twice.topics[0].clone());
        actor.ask("a topic twice", version, &twice).await;
        let mut empty = fetch(&topic, 0, 0, 0);
        empty.topics[0].partitions.clear();
        actor.ask("a topic without partitions", version, &empty).await;
        let mut nothing = fetch(&topic, 0, 0, 0);
        nothing.topics.clear();
        actor.ask("nothing", version, &nothing).await;
        actor.ask("nowhere", version, &fetch(&nowhere, 0, 0, 1)).await;
    }
    for version in [1, 2, 6, 11] {
        for name in [&topic.name, &nowhere.name] {
            let partitions = TWICE.map(|index| ListOffsetsRequestPartition {
                partition_index: PartitionId(index),
                timestamp: -1,
                ..Default::default()
            });
            let of = ListOffsetsRequestTopic {
                name: name.clone(),
                partitions: partitions.into(),
            };
            let request = ListOffsetsRequest {
                topics: vec![of],
                ..Default::default()
            };
            actor
                .ask(format_args!("offsets of {name}"), version, &request)
                .await;
        }
        actor
            .ask("offsets of nothing", version, &ListOffsetsRequest::default())
            .await;
    }
}

async fn repeated_offsets(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let nowhere = unknown(actor);
    for version in [2, 7, 8, 9, 10] {
        let group = actor.name(format_args!("group-{version}"));
        let of = |topic: &Topic| OffsetCommitRequestTopic {
            name: topic.name.clone(),
            topic_id: topic.id,
            partitions: (0..)
                .zip(TWICE)
                .map(|(offset, index)| OffsetCommitRequestPartition {
                    partition_index: PartitionId(index),
                    committed_offset: offset,
                    ..Default::default()
                })
                .collect(),
        };
        let commit = |topics: Vec<OffsetCommitRequestTopic>| OffsetCommitRequest {
            group_id: group.clone(),
            generation_id_or_member_epoch: -1,
            topics,
            ..Default::default()
        };
        actor
            .ask("stored twice", version, &commit(vec![of(&topic)]))
            .await;
        let twice = commit(vec![of(&topic), of(&topic)]);
        actor.ask("a topic twice", version, &twice).await;
        actor.ask("nowhere", version, &commit(vec![of(&nowhere)])).await;
        actor.ask("nothing", version, &commit(Vec::new())).await;
        for version in [1, 2, 7, 8, 10] {
            let of = |topic: &Topic| OffsetFetchRequestTopic {
                name: topic.name.clone(),
                topic_id: topic.id,
                partition_indexes: indexes(),
            };
            for (label, topics) in [
                ("read twice", vec![of(&topic)]),
                ("a topic twice", vec![of(&topic), of(&topic)]),
                ("nowhere", vec![of(&nowhere)]),
                ("nothing", Vec::new()),
            ] {
                let of_group = OffsetFetchRequestGroup {
                    group_id: group.clone(),
                    topics: Some(topics.clone()),
                    ..Default::default()
                };
                let request = OffsetFetchRequest {
                    group_id: group.clone(),
                    topics: Some(topics),
                    groups: vec![of_group],
                    ..Default::default()
                };
                actor.ask(label, version, &request).await;
            }
        }
    }
}

async fn repeated_questions(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let nowhere = unknown(actor);
    for topics in [vec![&topic], vec![&topic, &topic], vec![&nowhere, &topic], vec![]] {
        let of = |topic: &&Topic| DescribeProducersRequestTopic {
            name: topic.name.clone(),
            partition_indexes: indexes(),
        };
        let request = DescribeProducersRequest {
            topics: topics.iter().map(of).collect(),
        };
        actor
            .ask(format_args!("producers of {}", topics.len()), 0, &request)
            .await;
    }
    let id = actor.name("id");
    actor.transactional(&id, 60_000).await;
    let nobody = actor.name("nobody");
    for ids in [vec![&id, &id], vec![&nobody, &nobody], vec![&id, &nobody], vec![]] {
        let request = DescribeTransactionsRequest {
            transactional_ids: ids.iter().map(|id| id.to_string()).collect(),
        };
        actor
            .ask(format_args!("transactions {}", ids.len()), 0, &request)
            .await;
    }
    for version in [0, 3, 6] {
        let groups = [nobody.clone(), nobody.clone()];
        let request = DescribeGroupsRequest {
            groups: groups.into(),
            ..Default::default()
        };
        actor.ask("groups twice", version, &request).await;
        let none = DescribeGroupsRequest::default();
        actor.ask("no groups", version, &none).await;
    }
}

async fn repeated_changes(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let nowhere = unknown(actor);
    for version in [0, 2] {
        let before = |index| DeleteRecordsRequestPartition {
            partition_index: PartitionId(index),
            offset: 0,
        };
        for topics in [vec![&topic], vec![&topic, &topic], vec![&nowhere], vec![]] {
            let of = |topic: &&Topic| DeleteRecordsRequestTopic {
                name: topic.name.clone(),
                partitions: TWICE.map(before).into(),
            };
            let request = DeleteRecordsRequest {
                topics: topics.iter().map(of).collect(),
                timeout_ms: 5000,
            };
            let label = format!("deleted in {}", topics.len());
            actor.ask(label, version, &request).await;
        }
    }
    for version in [0, 3] {
        let of = |name: &str| CreatePartitionsRequestTopic {
            name: name.to_owned(),
            count: 2,
            ..Default::default()
        };
        for names in [vec![&topic.name, &topic.name], vec![&nowhere.name], vec![]] {
            let request = CreatePartitionsRequest {
                topics: names.iter().map(|name| of(name)).collect(),
                timeout_ms: 5000,
                ..Default::default()
            };
            actor
                .ask(format_args!("partitions of {}", names.len()), version, &request)
                .await;
        }
    }
}

async fn repeated_in_transactions(actor: &mut Actor) {
    let topic = actor.topic("t", 2, &[]).await;
    let nowhere = actor.name("nowhere");
    let stranger = Identity {
        id: ProducerId(990_000),
        epoch: ProducerEpoch(0),
    };
    for version in [0, 2, 3] {
        let id = actor.name(format_args!("id-{version}"));
        let identity = actor.transactional(&id, 60_000).await;
        for (label, identity) in [("own", identity), ("of a stranger", stranger)] {
            for partitions in [
                vec![],
                vec![(topic.name.as_str(), &[][..])],
                vec![(topic.name.as_str(), &[0, 0][..])],
                vec![(topic.name.as_str(), &[0][..]), (topic.name.as_str(), &[0][..])],
                vec![(topic.name.as_str(), &[0, 7, 7][..])],
                vec![(nowhere.as_str(), &[0][..]), (topic.name.as_str(), &[1][..])],
            ] {
                let request = add_partitions(&id, identity, &partitions);
                actor
                    .ask(format_args!("{label}: {}", partitions.len()), version, &request)
                    .await;
            }
        }
        super::transactions::describe(actor, "joined", &id).await;
    }
    for version in [0, 2, 3, 4, 5] {
        let id = actor.name(format_args!("offsets-{version}"));
        let identity = actor.transactional(&id, 60_000).await;
        let group = actor.name(format_args!("group-{version}"));
        let of = |name: &str| TxnOffsetCommitRequestTopic {
            name: name.to_owned(),
            partitions: (0..)
                .zip(TWICE)
                .map(|(offset, index)| TxnOffsetCommitRequestPartition {
                    partition_index: PartitionId(index),
                    committed_offset: offset,
                    ..Default::default()
                })
                .collect(),
        };
        for topics in [
            vec![],
            vec![of(&topic.name)],
            vec![of(&topic.name), of(&topic.name)],
            vec![of(&nowhere)],
        ] {
            let label = format!("{} topics", topics.len());
            let request = TxnOffsetCommitRequest {
                transactional_id: id.clone(),
                group_id: group.clone(),
                producer_id: identity.id,
                producer_epoch: identity.epoch,
                generation_id: -1,
                topics,
                ..Default::default()
            };
            actor.ask(label, version, &request).await;
        }
        super::transactions::describe(actor, "committed", &id).await;
    }
}
