//! Markers and moves of the coordinator: B-68, B-69, B-91, B-94, B-95.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{NodeId, TopicPartition};

use crate::coordinator::TransactionLog;
use crate::coordinator::interface::MarkerOutcome::{Abort, Commit};
use crate::coordinator::interface::ShardState;
use crate::coordinator::interface::TransactionVersion::V2;
use crate::coordinator::interface::VerifyMode::Add;
use crate::coordinator::testing::{World, identity};

fn world_with_commit() -> World {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    for partition in [2, 0] {
        world.ask(Add, "t", producer, partition).expect("joins");
    }
    world.end(5, "t", producer, Commit).expect("commits");
    world
}

/// B-91, B-94: each partition gets one marker, and the transaction is complete with the last of them.
#[test]
fn a_transaction_is_complete_with_its_last_marker() {
    let mut world = world_with_commit();
    let markers = world.coordinators.take_markers();
    let places: Vec<_> = markers
        .iter()
        .map(|marker| marker.topic_partition.clone())
        .collect();
    assert_eq!(
        places,
        [TopicPartition::new("orders", 0), TopicPartition::new("orders", 2)]
    );
    assert!(
        markers
            .iter()
            .all(|marker| marker.coordinator_epoch == 0 && marker.outcome == Commit)
    );
    assert!(
        world.coordinators.take_markers().is_empty(),
        "markers are taken once"
    );

    world.coordinators.markers_written("t", &places[0], world.now);
    world.coordinators.markers_written("t", &places[0], world.now);
    assert_eq!(world.state("t"), "PrepareCommit");
    assert_eq!(world.describe("t").topics[0].partitions.len(), 1);
    world.coordinators.markers_written("t", &places[1], world.now);
    assert_eq!(world.state("t"), "CompleteCommit");
}

/// B-94: notes about unknown transactions change nothing.
#[test]
fn a_note_about_an_unknown_marker_is_ignored() {
    let mut world = World::new(V2);
    world
        .coordinators
        .markers_written("unknown", &TopicPartition::new("orders", 0), world.now);
    world.init("t").expect("new");
    world
        .coordinators
        .markers_written("t", &TopicPartition::new("orders", 0), world.now);
    assert_eq!(world.state("t"), "Empty");
}

/// B-68, B-69: after a move the new coordinator writes what is outstanding, with its own epoch.
#[test]
fn a_new_coordinator_writes_the_outstanding_markers() {
    let mut world = world_with_commit();
    let markers = world.coordinators.take_markers();
    world
        .coordinators
        .markers_written("t", &markers[0].topic_partition, world.now);

    let shard = world.shard_mut("t");
    shard.leader = Some(NodeId(2));
    shard.coordinator_epoch = 1;
    shard.state = ShardState::Loading;
    world.pass(1);
    assert!(
        world.coordinators.take_markers().is_empty(),
        "a shard that loads writes nothing"
    );

    world.shard_mut("t").state = ShardState::Active;
    world.pass(1);
    let resumed = world.write_markers();
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].topic_partition, markers[1].topic_partition);
    assert_eq!(
        (resumed[0].coordinator_epoch, resumed[0].identity),
        (1, identity(0, 1))
    );
    world.cluster.called = NodeId(2);
    assert_eq!(world.state("t"), "CompleteCommit");
}

/// B-69: markers that nobody took before the move are not written twice.
#[test]
fn a_move_replaces_markers_that_were_not_taken() {
    let mut world = world_with_commit();
    world.shard_mut("t").coordinator_epoch = 4;
    world.pass(1);
    let epochs: Vec<_> = world
        .write_markers()
        .iter()
        .map(|marker| marker.coordinator_epoch)
        .collect();
    assert_eq!(epochs, [4, 4]);
}

/// B-95: an open transaction survives the move and waits for its client.
#[test]
fn an_open_transaction_survives_a_move() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.ask(Add, "t", producer, 0).expect("joins");
    world.shard_mut("t").coordinator_epoch = 1;
    world.pass(1);
    assert!(world.coordinators.take_markers().is_empty());
    world.end(5, "t", producer, Abort).expect("aborts");
    assert_eq!(world.write_markers()[0].coordinator_epoch, 1);
}

/// B-5: a transition that was not yet in the log is lost with the coordinator.
#[test]
fn a_pending_transition_is_lost_with_the_coordinator() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.ask(Add, "t", producer, 0).expect("joins");
    world
        .coordinators
        .set_transaction_log(TransactionLog::Stalled, world.now);
    assert_eq!(
        world.end(5, "t", producer, Commit),
        Err(ErrorCode::CoordinatorNotAvailable)
    );
    world.shard_mut("t").coordinator_epoch = 1;
    world.pass(1);
    world
        .coordinators
        .set_transaction_log(TransactionLog::Writable, world.now);
    assert_eq!(world.state("t"), "Ongoing");
    assert_eq!(world.end(5, "t", producer, Commit), Ok(identity(0, 1)));
}

/// B-94: a completion that the log refuses comes when the log accepts it again.
#[test]
fn a_refused_completion_is_made_up_for() {
    let mut world = world_with_commit();
    world
        .coordinators
        .set_transaction_log(TransactionLog::Failing(ErrorCode::NotEnoughReplicas), world.now);
    world.write_markers();
    assert_eq!(world.state("t"), "PrepareCommit");
    world
        .coordinators
        .set_transaction_log(TransactionLog::Writable, world.now);
    assert_eq!(world.state("t"), "CompleteCommit");
}

/// B-69: a marker that waited too long is not wanted any more: not after a move, and not after it was written.
#[test]
fn a_marker_that_waited_through_a_move_is_not_wanted() {
    let mut world = world_with_commit();
    let early = world.coordinators.take_markers();
    assert!(
        early
            .iter()
            .all(|marker| world.coordinators.is_marker_outstanding(marker))
    );
    world.shard_mut("t").coordinator_epoch = 1;
    world.pass(1);
    assert!(
        !early
            .iter()
            .any(|marker| world.coordinators.is_marker_outstanding(marker))
    );
    let late = world.write_markers();
    assert!(
        !late
            .iter()
            .any(|marker| world.coordinators.is_marker_outstanding(marker))
    );
}
