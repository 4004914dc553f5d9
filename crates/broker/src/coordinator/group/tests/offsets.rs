//! Scenes with groups and their offsets: B-118 … B-120.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kommit_protocol::units::{Identity, NodeId, PartitionId, TopicId};

use crate::coordinator::interface::MarkerOutcome::{Abort, Commit};
use crate::coordinator::interface::TransactionVersion::{V1, V2};
use crate::coordinator::interface::{CONSUMER_OFFSETS_TOPIC, ShardState};
use crate::coordinator::testing::{World, identity};

/// A transactional commit of one offset of `orders` 0 for the group `readers`.
fn wish(producer: Identity, offset: i64) -> TxnOffsetCommitRequest {
    TxnOffsetCommitRequest {
        transactional_id: "t".to_owned(),
        group_id: "readers".to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "orders".to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                committed_offset: offset,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

fn txn_commit(world: &mut World, version: i16, request: &TxnOffsetCommitRequest) -> ErrorCode {
    let response = world
        .coordinators
        .txn_offset_commit(request, &world.cluster.call(version, world.now));
    response.topics[0].partitions[0].error_code
}

fn plain(offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: "readers".to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: "orders".to_owned(),
            topic_id: TopicId([3; 16]),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

fn commit(world: &mut World, version: i16, request: &OffsetCommitRequest) -> ErrorCode {
    let response = world
        .coordinators
        .offset_commit(request, &world.cluster.call(version, world.now));
    response.topics[0].partitions[0].error_code
}

/// The offset of `orders` 0 for `readers`, or why there is none.
fn fetch(world: &mut World, require_stable: bool) -> Result<i64, ErrorCode> {
    let topic = OffsetFetchRequestTopic {
        name: "orders".to_owned(),
        partition_indexes: vec![PartitionId(0)],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: "readers".to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group],
        require_stable,
        ..Default::default()
    };
    let response = world
        .coordinators
        .offset_fetch(&request, &world.cluster.call(8, world.now));
    if response.groups[0].error_code != ErrorCode::None {
        return Err(response.groups[0].error_code);
    }
    let partition = &response.groups[0].topics[0].partitions[0];
    if partition.error_code == ErrorCode::None {
        Ok(partition.committed_offset)
    } else {
        Err(partition.error_code)
    }
}

/// How many topics a fetch of everything shows.
fn topics_of_all(world: &mut World) -> usize {
    let request = OffsetFetchRequest {
        group_id: "readers".to_owned(),
        topics: None,
        ..Default::default()
    };
    world
        .coordinators
        .offset_fetch(&request, &world.cluster.call(7, world.now))
        .topics
        .len()
}

/// B-119, B-120: offsets of an open transaction are hidden, and count with its commit.
#[test]
fn transactional_offsets_count_with_the_commit() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    assert_eq!(txn_commit(&mut world, 5, &wish(producer, 17)), ErrorCode::None);
    assert_eq!(fetch(&mut world, false), Ok(-1));
    assert_eq!(fetch(&mut world, true), Err(ErrorCode::UnstableOffsetCommit));
    assert_eq!(topics_of_all(&mut world), 0);

    world.end(5, "t", producer, Commit).expect("commits");
    assert_eq!(
        fetch(&mut world, true),
        Err(ErrorCode::UnstableOffsetCommit),
        "the marker decides"
    );
    let markers = world.write_markers();
    assert_eq!(&*markers[0].topic_partition.topic, CONSUMER_OFFSETS_TOPIC);
    assert_eq!(fetch(&mut world, true), Ok(17));
    assert_eq!(topics_of_all(&mut world), 1);
}

/// B-119: offsets of an aborted transaction vanish.
#[test]
fn transactional_offsets_vanish_with_the_abort() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    assert_eq!(commit(&mut world, 9, &plain(3)), ErrorCode::None);
    assert_eq!(txn_commit(&mut world, 5, &wish(producer, 17)), ErrorCode::None);
    assert_eq!(
        fetch(&mut world, false),
        Ok(3),
        "the last committed offset counts until then"
    );
    world.end(5, "t", producer, Abort).expect("aborts");
    world.write_markers();
    assert_eq!(fetch(&mut world, true), Ok(3));
}

/// B-120: a plain commit during the transaction is visible at once, and wins when it is newer.
#[test]
fn the_newer_record_wins_at_the_marker() {
    for (plain_first, expected) in [(false, 3), (true, 17)] {
        let mut world = World::new(V2);
        let producer = world.init("t").expect("new");
        if plain_first {
            commit(&mut world, 9, &plain(3));
        }
        txn_commit(&mut world, 5, &wish(producer, 17));
        if !plain_first {
            commit(&mut world, 9, &plain(3));
        }
        assert_eq!(fetch(&mut world, false), Ok(3));
        world.end(5, "t", producer, Commit).expect("commits");
        world.write_markers();
        assert_eq!(fetch(&mut world, true), Ok(expected));
    }
}

/// B-74, B-119: before version 5 the client must have added the group itself, and hears so in the words of its version.
#[test]
fn an_old_client_must_have_added_the_group() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    assert_eq!(
        txn_commit(&mut world, 3, &wish(producer, 17)),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(
        txn_commit(&mut world, 4, &wish(producer, 17)),
        ErrorCode::TransactionAbortable
    );
    assert_eq!(world.add_offsets(3, "t", producer, "readers"), ErrorCode::None);
    assert_eq!(txn_commit(&mut world, 3, &wish(producer, 17)), ErrorCode::None);
    world.end(4, "t", producer, Commit).expect("commits");
    assert_eq!(
        txn_commit(&mut world, 4, &wish(producer, 18)),
        ErrorCode::None,
        "still open at the shard (B-75)"
    );
    world.write_markers();
    assert_eq!(fetch(&mut world, true), Ok(18));
}

/// B-119: what the transaction coordinator says reaches the client unchanged, except a fence.
#[test]
fn the_transaction_coordinators_word_reaches_the_client() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    let stranger = wish(identity(50, 0), 1);
    assert_eq!(
        txn_commit(&mut world, 5, &stranger),
        ErrorCode::InvalidProducerIdMapping
    );
    let next = world.init("t").expect("bumped");
    assert_eq!(
        txn_commit(&mut world, 5, &wish(producer, 1)),
        ErrorCode::InvalidProducerEpoch
    );
    world.shard_mut("t").state = ShardState::Loading;
    assert_eq!(
        txn_commit(&mut world, 5, &wish(next, 1)),
        ErrorCode::CoordinatorLoadInProgress
    );
    world.shard_mut("t").state = ShardState::Active;
    world.add(3, "t", next, &[0]);
    let after = world.end(5, "t", next, Commit).expect("commits");
    assert_eq!(
        txn_commit(&mut world, 5, &wish(after, 1)),
        ErrorCode::ConcurrentTransactions
    );
    world.write_markers();
    assert_eq!(txn_commit(&mut world, 5, &wish(after, 1)), ErrorCode::None);
}

/// B-76, B-97: after the marker a late commit of the ended transaction is behind the shard's epoch.
#[test]
fn a_late_commit_of_an_ended_transaction_is_refused() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    txn_commit(&mut world, 5, &wish(producer, 1));
    world.end(5, "t", producer, Abort).expect("aborts");
    world.write_markers();
    assert_eq!(
        txn_commit(&mut world, 5, &wish(producer, 2)),
        ErrorCode::InvalidProducerEpoch
    );
}

/// B-118: faults of a partition concern that partition, faults of the group all of them. What the group is not asked about comes first.
#[test]
fn each_partition_has_its_own_fault() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    let mut request = wish(producer, 1);
    let partition = |index, length| TxnOffsetCommitRequestPartition {
        partition_index: PartitionId(index),
        committed_metadata: Some("m".repeat(length)),
        ..Default::default()
    };
    request.topics[0].partitions = vec![partition(0, 4096), partition(1, 4097), partition(3, 0)];
    let mut codes = |request: &TxnOffsetCommitRequest| {
        let response = world
            .coordinators
            .txn_offset_commit(request, &world.cluster.call(5, world.now));
        response.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.error_code)
            .collect::<Vec<_>>()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        codes(&request),
        [unknown, ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]
    );
    request.group_id = String::new();
    assert_eq!(codes(&request), [ErrorCode::InvalidGroupId; 3]);
}

/// B-118: a generation is a claim to a group that does not exist; no generation creates it.
#[test]
fn an_unknown_group_is_created_for_who_claims_no_generation() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    let with_generation = TxnOffsetCommitRequest {
        generation_id: 4,
        ..wish(producer, 1)
    };
    assert_eq!(
        txn_commit(&mut world, 5, &with_generation),
        ErrorCode::IllegalGeneration
    );
    let claim = OffsetCommitRequest {
        generation_id_or_member_epoch: 4,
        ..plain(1)
    };
    assert_eq!(commit(&mut world, 8, &claim), ErrorCode::IllegalGeneration);
    assert_eq!(commit(&mut world, 9, &claim), ErrorCode::GroupIdNotFound);
    assert_eq!(txn_commit(&mut world, 5, &wish(producer, 1)), ErrorCode::None);
}

/// B-22: groups have their own shards with their own leaders.
#[test]
fn only_the_leader_of_the_groups_shard_answers() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.cluster.called = NodeId(2);
    assert_eq!(
        txn_commit(&mut world, 5, &wish(producer, 1)),
        ErrorCode::NotCoordinator
    );
    assert_eq!(commit(&mut world, 9, &plain(1)), ErrorCode::NotCoordinator);
    assert_eq!(fetch(&mut world, false), Err(ErrorCode::NotCoordinator));
    for shard in &mut world.cluster.group_shards {
        shard.leader = Some(NodeId(2));
        shard.state = ShardState::Loading;
    }
    assert_eq!(
        commit(&mut world, 9, &plain(1)),
        ErrorCode::CoordinatorLoadInProgress
    );
}

/// B-8: from version 10 on topics are named by their ids.
#[test]
fn topics_may_be_named_by_id() {
    let mut world = World::new(V2);
    let by_id = OffsetCommitRequest {
        topics: vec![OffsetCommitRequestTopic {
            name: String::new(),
            ..plain(21).topics[0].clone()
        }],
        ..plain(21)
    };
    assert_eq!(commit(&mut world, 10, &by_id), ErrorCode::None);
    assert_eq!(fetch(&mut world, true), Ok(21));
    let mut unknown = by_id;
    unknown.topics[0].topic_id = TopicId([9; 16]);
    assert_eq!(commit(&mut world, 10, &unknown), ErrorCode::UnknownTopicId);
}

/// B-69: a marker of an older coordinator, or of an older epoch, decides nothing.
#[test]
fn a_marker_of_the_past_decides_nothing() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    txn_commit(&mut world, 5, &wish(producer, 1));
    let next = world.end(5, "t", producer, Commit).expect("commits");
    let late = world.write_markers().remove(0);
    txn_commit(&mut world, 5, &wish(next, 2));
    world.coordinators.apply_offsets_marker(&late);
    assert_eq!(fetch(&mut world, true), Err(ErrorCode::UnstableOffsetCommit));
    assert_eq!(fetch(&mut world, false), Ok(1));
}
