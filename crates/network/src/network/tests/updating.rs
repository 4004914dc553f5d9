//! How metadata stays true.

use std::collections::BTreeMap;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::decode_message;
use kommit_protocol::messages::MetadataRequest;
use kommit_protocol::units::TopicPartition;

use super::*;
use crate::cluster::PartitionLeader;
use crate::metadata::LeaderHint;

impl Play {
    /// The topics of the metadata request that is out.
    fn asked_topics(&mut self) -> (Asked, Vec<String>) {
        let asked = self.asked_one(ApiKey::Metadata);
        let mut reader = Reader::new(asked.body.clone());
        let request: MetadataRequest = decode_message(&mut reader, ApiKey::Metadata, asked.version).unwrap();
        assert!(request.allow_auto_topic_creation);
        let names = request
            .topics
            .unwrap()
            .into_iter()
            .filter_map(|topic| topic.name)
            .collect();
        (asked, names)
    }

    /// A full update that is asked for and answered.
    fn update(&mut self, response: &MetadataResponse) {
        self.network.request_update();
        self.advance(2_000);
        let (asked, _) = self.asked_topics();
        self.answer(&asked, response);
    }

    fn leader(&self, partition: i32) -> Option<(i32, Option<i32>)> {
        let leader = self
            .network
            .cluster()
            .leader(&TopicPartition::new("orders", partition));
        leader.map(|PartitionLeader { node, epoch }| (node.0, epoch.map(|epoch| epoch.0)))
    }
}

fn with_topics(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
    MetadataResponse { topics, ..cluster(3) }
}

/// N-54, N-55, N-58: a new topic is asked for at once and alone; the answer is merged into what is known.
#[test]
fn a_new_topic_is_asked_for_alone() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    play.network.add_topic("orders", play.now);
    play.turn();
    assert_eq!(play.asked(), [], "a known topic is not asked for again");
    play.network.add_topic("payments", play.now);
    play.turn();
    let (asked, topics) = play.asked_topics();
    assert_eq!(topics, ["payments"]);
    play.answer(
        &asked,
        &with_topics(vec![topic("payments", vec![partition(0, 2, 1)])]),
    );
    assert_eq!(
        play.network
            .cluster()
            .topics
            .keys()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["orders", "payments"]
    );
    assert_eq!(play.leader(0), Some((1, Some(3))));

    play.network.request_update();
    play.advance(2_000);
    assert_eq!(
        play.asked_topics().1,
        ["orders", "payments"],
        "a full update asks for all"
    );
}

/// N-54, N-56: a topic that is not used for `metadata.max.idle.ms` is forgotten; one that nobody asked for is not learned.
#[test]
fn a_topic_that_is_not_used_is_forgotten() {
    let config = NetworkConfig {
        metadata_max_idle: Duration::from_millis(10_000),
        ..NetworkConfig::default()
    };
    let (mut play, _) = Play::with_broker(config);
    play.advance(10_000);
    let mut response = cluster(3);
    response.topics.push(topic("unasked", vec![partition(0, 1, 1)]));
    play.update(&response);
    assert_eq!(play.network.cluster().topics.len(), 0);
    play.network.request_update();
    play.advance(2_000);
    assert_eq!(play.asked_topics().1, [""; 0]);
}

/// N-57: an older leader epoch does not replace a newer one; a topic that was created anew starts again.
#[test]
fn an_older_leader_epoch_is_not_believed() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    play.update(&with_topics(vec![topic(
        "orders",
        vec![partition(0, 2, 5), partition(1, 1, 2)],
    )]));
    assert_eq!(play.leader(0), Some((2, Some(5))), "newer");
    assert_eq!(play.leader(1), Some((2, Some(3))), "older: the old leader stays");

    let mut recreated = topic("orders", vec![partition(0, 1, 0)]);
    recreated.topic_id = TopicId([9; 16]);
    play.update(&with_topics(vec![recreated]));
    assert_eq!(play.leader(0), Some((1, Some(0))));
    assert_eq!(play.network.cluster().topic_id("orders"), TopicId([9; 16]));
    assert_eq!(play.network.cluster().partition_count("orders"), Some(1));
}

/// N-57: epochs of versions before 9 cannot be relied on.
#[test]
fn epochs_of_old_versions_are_not_taken() {
    let mut play = Play::new(NetworkConfig::default());
    play.network.add_topic("orders", play.now);
    play.connect();
    let asked = play.asked_one(ApiKey::ApiVersions);
    let mut versions = all_versions();
    for api in versions
        .api_keys
        .iter_mut()
        .filter(|api| api.api_key == ApiKey::Metadata.code())
    {
        api.max_version = 8;
    }
    play.answer(&asked, &versions);
    let (asked, _) = play.asked_topics();
    assert_eq!(asked.version, 8);
    play.answer(&asked, &cluster(3));
    assert_eq!(play.leader(0), Some((1, None)));
}

/// N-56, N-92: a topic's error is told until the next response; an invalid-metadata error asks again.
#[test]
fn a_topic_error_is_told_and_asked_again() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let mut missing = topic("orders", Vec::new());
    missing.error_code = ErrorCode::UnknownTopicOrPartition;
    play.update(&with_topics(vec![missing]));
    assert_eq!(
        play.network.cluster().topic_error("orders"),
        Some(ErrorCode::UnknownTopicOrPartition)
    );
    assert_eq!(play.network.cluster().partition_count("orders"), None);
    play.sleep();
    let (asked, _) = play.asked_topics();
    play.answer(&asked, &cluster(2));
    assert_eq!(play.network.cluster().topic_error("orders"), None);
    // N-90: the epoch 3 that was seen before the error is still remembered, so 2 is older.
    assert_eq!(play.leader(0), None);
}

/// N-56: a partition without a leader asks again, within the backoff.
#[test]
fn a_partition_without_a_leader_is_asked_for_again() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let mut orphan = partition(0, -1, 4);
    orphan.error_code = ErrorCode::LeaderNotAvailable;
    play.update(&with_topics(vec![topic(
        "orders",
        vec![orphan, partition(1, 2, 3)],
    )]));
    assert_eq!(play.leader(0), None);
    let wait = play.deadline - play.now;
    assert!(
        wait >= Duration::from_millis(80) && wait <= Duration::from_millis(120),
        "{wait:?}"
    );
}

/// N-59: a response without a broker is ignored and counts as a failed update.
#[test]
fn metadata_without_a_broker_is_ignored() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let before = play.network.cluster().clone();
    play.update(&MetadataResponse {
        brokers: Vec::new(),
        ..cluster(9)
    });
    assert_eq!(*play.network.cluster(), before);
    assert!(
        play.deadline <= play.now + Duration::from_millis(120),
        "asked again after one backoff"
    );
}

/// N-61 (c), N-75: the broker demands a rebootstrap; connections to known nodes are closed.
#[test]
fn a_broker_can_demand_a_rebootstrap() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    let demand = MetadataResponse {
        error_code: ErrorCode::RebootstrapRequired,
        ..cluster(3)
    };
    play.update(&demand);
    assert!(play.network.cluster().is_bootstrap());
    assert!(play.network.connection_failed(node));
    assert_eq!(play.network.cluster().topics.len(), 0);
}

/// N-61 (b): without an applied response for `metadata.recovery.rebootstrap.trigger.ms`, everything starts again.
#[test]
fn without_any_answer_for_long_the_network_starts_again() {
    let config = NetworkConfig {
        connections_max_idle: None,
        request_timeout: Duration::from_secs(3_600),
        ..NetworkConfig::default()
    };
    let (mut play, node) = Play::with_broker(config);
    play.network.request_update();
    play.advance(2_000);
    play.asked_topics();
    play.advance(299_999);
    assert!(!play.network.cluster().is_bootstrap());
    assert_eq!(play.deadline, play.now + Duration::from_millis(1));
    play.advance(1);
    assert!(play.network.cluster().is_bootstrap());
    assert!(play.closed().iter().any(|id| id.node == node));
}

/// N-72: a lost connection wants a full update.
#[test]
fn a_lost_connection_wants_metadata() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.advance(5_000);
    let id = play.network.connections[&node].id().unwrap();
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    play.sleep();
    assert!(
        play.actions
            .iter()
            .any(|action| matches!(action, NetAction::Write(..) | NetAction::Connect(..)))
    );
}

/// N-77, KIP-951: a newer leader is taken at once, with its node; the update version stays.
#[test]
fn a_leader_hint_is_taken_when_it_is_newer() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let version = play.network.cluster().update_version;
    let hint = |partition, leader, epoch| LeaderHint {
        topic_partition: TopicPartition::new("orders", partition),
        leader: NodeId(leader),
        leader_epoch: LeaderEpoch(epoch),
    };
    let nodes: BTreeMap<_, _> = [(NodeId(3), BrokerAddress::new("broker-3", 9092))].into();
    let none = BTreeMap::new();
    for (refused, with) in [
        (hint(0, 2, 3), &nodes),
        (hint(0, 3, 4), &none),
        (hint(7, 2, 4), &nodes),
        (hint(-1, 2, 4), &nodes),
        (hint(0, -1, 4), &nodes),
        (hint(0, 2, -1), &nodes),
    ] {
        assert_eq!(
            play.network
                .update_leadership(std::slice::from_ref(&refused), with),
            [],
            "{refused:?}"
        );
        assert_eq!(
            play.network.cluster().nodes.len(),
            2,
            "no hint taken, nothing changes"
        );
    }
    let taken = play
        .network
        .update_leadership(&[hint(0, 3, 4), hint(1, 2, 3)], &nodes);
    assert_eq!(taken, [TopicPartition::new("orders", 0)]);
    assert_eq!(play.leader(0), Some((3, Some(4))));
    assert_eq!(play.network.cluster().update_version, version);
    // The hint is remembered: metadata that lags behind does not undo it.
    play.update(&MetadataResponse {
        brokers: vec![broker(1), broker(2), broker(3)],
        ..cluster(3)
    });
    assert_eq!(play.leader(0), Some((3, Some(4))));
}

/// N-1: the bootstrap connection stays when the real brokers are known, and is never used under another id.
#[test]
fn the_bootstrap_connection_is_not_used_for_a_real_node() {
    let (play, node) = Play::with_broker(NetworkConfig::default());
    assert_eq!(
        play.network.connection_state(NodeId(-1)),
        crate::connection::ConnectionState::Ready
    );
    assert_ne!(
        play.network.connections[&NodeId(-1)].id(),
        play.network.connections[&node].id()
    );
    assert!(!play.network.cluster().nodes.contains_key(&NodeId(-1)));
}

/// N-50: metadata is refreshed when it is too old, without being asked for.
#[test]
fn metadata_is_refreshed_when_it_is_too_old() {
    let config = NetworkConfig {
        connections_max_idle: None,
        ..NetworkConfig::default()
    };
    let mut play = Play::with_cluster(config);
    let answered = play.now;
    play.sleep();
    assert_eq!(play.now, answered + Duration::from_millis(300_000));
    // Meanwhile the bootstrap connection does not count as a known node, so a real one is connected to first.
    play.connect();
    play.answer_versions();
    assert_eq!(play.asked_topics().1, ["orders"]);
}

/// C-33 allows a trigger of 0, which must not become a busy loop.
#[test]
fn a_rebootstrap_trigger_of_zero_makes_no_busy_loop() {
    let recovery = crate::config::RecoveryStrategy::Rebootstrap {
        trigger: Duration::ZERO,
    };
    let mut play = Play::new(NetworkConfig {
        recovery,
        ..NetworkConfig::default()
    });
    for _ in 0..100 {
        play.sleep();
        play.actions.clear();
        play.now = play.now.max(play.deadline);
        play.turn();
    }
    assert!(
        play.now >= Instant::from_millis(1_000 + 100 * 50),
        "{:?}",
        play.now
    );
}
