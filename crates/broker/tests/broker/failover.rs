//! Leaders that move and disks that fail: what each node says of it, and when.

use std::time::Duration;

use kommit_broker::{BrokerConfig, ConnectionId, DirectoryState};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{LeaderEpoch, NodeId, PartitionId};

use crate::scene::{Batch, Scene, TOPIC, fetch_from, partition_0};

fn three_nodes() -> BrokerConfig {
    BrokerConfig {
        nodes: 3,
        ..BrokerConfig::default()
    }
}

fn described(scene: &mut Scene, connection: ConnectionId) -> MetadataResponsePartition {
    let everything = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let mut response = scene.ask(connection, &everything, 12);
    response.topics.remove(0).partitions.remove(0)
}

fn latest_offset(scene: &mut Scene, connection: ConnectionId) -> ErrorCode {
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![ListOffsetsRequestPartition {
                partition_index: PartitionId(0),
                timestamp: -1,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    scene.ask(connection, &request, 6).topics[0].partitions[0].error_code
}

/// B-37: a node whose disk fails says so for the partitions in that directory and for no others; another replica leads them, and the
/// node may come back.
#[test]
fn a_failed_directory_is_a_storage_error_for_its_partitions() {
    let mut scene = Scene::with(three_nodes());
    let (broken, other) = (scene.connect_to(1), scene.connect_to(2));
    scene.produce(broken, &Batch::plain());
    let fails = scene
        .core
        .set_directory(NodeId(1), &[partition_0()], DirectoryState::Failed);
    assert_eq!(fails, Ok(()));
    let refused = scene.produce(broken, &Batch::plain());
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError);
    assert_eq!(refused.current_leader.leader_id, NodeId(-1));
    let unread = scene.fetch(broken, &fetch_from(0, 0));
    assert_eq!(unread.error_code, ErrorCode::KafkaStorageError);
    assert_eq!(latest_offset(&mut scene, broken), ErrorCode::KafkaStorageError);

    let partition = described(&mut scene, other);
    assert_eq!(
        (partition.leader_id, partition.leader_epoch),
        (NodeId(2), LeaderEpoch(1))
    );
    assert_eq!(partition.offline_replicas, [NodeId(1)]);
    assert_eq!(partition.isr_nodes, [NodeId(2), NodeId(3)]);
    assert_eq!(scene.produce(other, &Batch::plain()).base_offset, 1);

    scene
        .core
        .set_directory(NodeId(1), &[partition_0()], DirectoryState::Online)
        .expect("the partition exists");
    assert_eq!(
        scene.produce(broken, &Batch::plain()).error_code,
        ErrorCode::NotLeaderOrFollower
    );
    assert_eq!(described(&mut scene, broken).isr_nodes.len(), 3);
}

/// B-37: without another replica there is no leader.
#[test]
fn the_only_directory_takes_the_leader_along() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene
        .core
        .set_directory(NodeId(1), &[partition_0()], DirectoryState::Failed)
        .expect("the partition exists");
    let partition = described(&mut scene, connection);
    assert_eq!(
        (partition.error_code, partition.leader_id),
        (ErrorCode::LeaderNotAvailable, NodeId(-1))
    );
    let refused = scene.produce(connection, &Batch::plain());
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError);
}

/// B-20: for the time that is set, Metadata names the leader before, who refuses and says who leads now.
#[test]
fn metadata_may_come_behind_a_move() {
    let mut scene = Scene::with(BrokerConfig {
        metadata_delay: Duration::from_millis(500),
        ..three_nodes()
    });
    let connection = scene.connect();
    let moved = scene.core.move_leader(&partition_0(), Some(NodeId(3)));
    assert_eq!(moved, Ok(()));
    for _ in 0..2 {
        let partition = described(&mut scene, connection);
        assert_eq!(
            (partition.leader_id, partition.leader_epoch),
            (NodeId(1), LeaderEpoch(0))
        );
        scene.pass(250);
    }
    let refused = scene.produce(connection, &Batch::plain());
    assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower);
    assert_eq!(refused.current_leader.leader_id, NodeId(3));
    let partition = described(&mut scene, connection);
    assert_eq!(
        (partition.leader_id, partition.leader_epoch),
        (NodeId(3), LeaderEpoch(1))
    );
}
