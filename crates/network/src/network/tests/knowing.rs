//! What is known of the cluster: what a snapshot holds, what makes it stale, and what stands in its way.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::TopicPartition;

use super::*;
use crate::cluster::TopicFailure;

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

impl Play {
    /// Answers a full update, for which the backoffs are waited out.
    fn learn(&mut self, response: &MetadataResponse) {
        self.network.request_update();
        self.advance(2_000);
        let asked = self.asked_one(ApiKey::Metadata);
        self.answer(&asked, response);
    }

    fn wants_metadata(&self) -> bool {
        let next = self.network.metadata.schedule().next_update();
        next.is_some_and(|next| next <= self.now + Duration::from_secs(2))
    }
}

fn refused(name: &str, error_code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code,
        ..topic(name, Vec::new())
    }
}

/// N-47: a snapshot holds the cluster's id, nodes, controller, topics in both directions and partitions with their replicas. It does
/// not change under a reader who keeps it.
#[test]
fn a_snapshot_holds_the_cluster_and_does_not_change() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let kept = play.network.cluster().clone();
    play.network.add_topic("__transaction_state", play.now);
    let [one, two, three] = [1, 2, 3].map(NodeId);
    let mut response = cluster(4);
    response.topics[0].partitions[0].replica_nodes = vec![one, two, three];
    response.topics[0].partitions[0].isr_nodes = vec![one, two];
    response.topics[0].partitions[0].offline_replicas = vec![three];
    response.topics.push(MetadataResponseTopic {
        is_internal: true,
        topic_id: TopicId([8; 16]),
        ..topic("__transaction_state", vec![partition(0, 1, 0)])
    });
    play.learn(&response);

    let cluster = play.network.cluster();
    assert_eq!(
        (cluster.cluster_id.as_deref(), cluster.controller),
        (Some("here"), Some(two))
    );
    assert_eq!(cluster.nodes.len(), 2);
    let first = cluster.partition("orders", PartitionId(0)).unwrap();
    assert_eq!(
        (first.leader, first.leader_epoch),
        (Some(one), Some(LeaderEpoch(4)))
    );
    assert_eq!(*first.replicas, [one, two, three]);
    assert_eq!(
        (&*first.in_sync_replicas, &*first.offline_replicas),
        (&[one, two][..], &[three][..])
    );
    assert_eq!(
        cluster.topic_name(TopicId([7; 16])).map(|name| &**name),
        Some("orders")
    );
    assert_eq!(cluster.topic_name(TopicId::ZERO), None);
    let internal: Vec<_> = cluster.internal_topics().map(|name| &**name).collect();
    assert_eq!(internal, ["__transaction_state"]);
    let first = kept.partition("orders", PartitionId(0)).unwrap();
    assert_eq!((kept.topics.len(), first.leader_epoch), (1, Some(LeaderEpoch(3))));
}

/// N-64, N-65: what stops all metadata is told first, then a denied access or an illegal name; other topic errors are told as the
/// cause of a wait in vain. The next good answer takes all of them back.
#[test]
fn what_stands_in_the_way_of_a_topic_is_told() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    for name in ["denied", "il/legal", "gone"] {
        play.network.add_topic(name, play.now);
    }
    let mut response = cluster(3);
    response.topics.extend([
        refused("denied", ErrorCode::TopicAuthorizationFailed),
        refused("il/legal", ErrorCode::InvalidTopicException),
        refused("gone", ErrorCode::UnknownTopicOrPartition),
    ]);
    play.learn(&response);
    let told = play.network.cluster().clone();
    assert_eq!(
        told.unauthorized_topics().map(|name| &**name).collect::<Vec<_>>(),
        ["denied"]
    );
    assert_eq!(
        told.invalid_topics().map(|name| &**name).collect::<Vec<_>>(),
        ["il/legal"]
    );
    let topic = |code| Some(TopicFailure::Topic(code));
    assert_eq!(
        told.topic_failure("denied"),
        topic(ErrorCode::TopicAuthorizationFailed)
    );
    assert_eq!(
        told.topic_failure("il/legal"),
        topic(ErrorCode::InvalidTopicException)
    );
    assert_eq!(told.topic_failure("gone"), None);
    assert_eq!(told.topic_error("gone"), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(told.topic_error("orders"), None);

    assert!(!play.network.ready(NodeId(2), play.now));
    play.turn();
    let (id, _) = play.attempted();
    let password = LinkFailure::Authentication("bad password".into());
    play.event(NetEvent::ConnectFailed(id, password));
    let told = play.network.cluster().clone();
    let failure = told.topic_failure("denied").map(|failure| failure.to_string());
    assert_eq!(
        failure.as_deref(),
        Some("broker-2:9092: authentication failed: bad password")
    );

    play.learn(&cluster(3));
    let told = play.network.cluster();
    assert_eq!(
        ["denied", "il/legal", "gone"].map(|name| told.topic_failure(name)),
        [None, None, None]
    );
    assert_eq!(told.topic_error("gone"), None);
}

/// N-69: of a topic that was never answered only that one is asked for; of a known one, all are. The present version is told.
#[test]
fn an_update_for_a_new_topic_is_a_partial_one() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let version = play.network.cluster().update_version;
    play.network.add_topic("payments", play.now);
    play.turn();
    let asked = play.asked_one(ApiKey::Metadata);
    assert_eq!(play.network.request_update_for_topic("payments"), version);
    play.answer(&asked, &cluster(3)); // which does not know the new topic yet
    assert_eq!(play.network.cluster().update_version, version + 1);
    play.sleep();
    let partial = play.asked_one(ApiKey::Metadata);
    assert!(
        !partial.body.windows(6).any(|name| name == b"orders"),
        "the request asks for the new topic alone"
    );
    play.answer(
        &partial,
        &MetadataResponse {
            topics: vec![topic("payments", vec![partition(0, 1, 1)])],
            ..cluster(3)
        },
    );

    assert_eq!(play.network.request_update_for_topic("orders"), version + 2);
    play.sleep();
    let full = play.asked_one(ApiKey::Metadata);
    for name in [&b"orders"[..], b"payments"] {
        assert!(full.body.windows(name.len()).any(|found| found == name));
    }
}

/// N-68: whoever wants a full update waits for the backoff of responses that brought nothing new; a new topic does not.
#[test]
fn wanting_metadata_does_not_shorten_the_backoff() {
    let wants: [fn(&mut Play); 3] = [
        |play| assert!(play.network.request_update() > 0),
        |play| assert!(play.network.request_update_for_topic("orders") > 0),
        |play| {
            play.event(NetEvent::Closed(
                play.network.connections[&NodeId(-1)].id().unwrap(),
                LinkFailure::PeerClosed,
            ))
        },
    ];
    for want in wants {
        let (mut play, _) = Play::with_broker(NetworkConfig::default());
        for _ in 0..4 {
            play.learn(&cluster(3)); // nothing new: 100, 200, 400, 800 ms
        }
        assert!(!play.wants_metadata());
        want(&mut play);
        play.advance(639);
        assert_eq!(play.asked(), [], "800 ms − 20 %");
        play.advance(961 - 639);
        assert_eq!(play.asked_one(ApiKey::Metadata).version, 13);

        let (mut play, _) = Play::with_broker(NetworkConfig::default());
        play.learn(&cluster(3));
        play.network.add_topic("payments", play.now);
        play.turn();
        play.asked_one(ApiKey::Metadata);
    }
}

/// N-68: errors inside a response, and a rebootstrap, want a full update as well.
#[test]
fn an_error_inside_a_response_wants_metadata() {
    let mut orphan = partition(0, -1, 4);
    orphan.error_code = ErrorCode::LeaderNotAvailable;
    for topics in [
        vec![topic("orders", vec![orphan])],
        vec![refused("orders", ErrorCode::UnknownTopicOrPartition)],
    ] {
        let (mut play, _) = Play::with_broker(NetworkConfig::default());
        play.learn(&MetadataResponse { topics, ..cluster(3) });
        assert!(play.wants_metadata());
    }
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    assert!(!play.wants_metadata());
    let error_code = ErrorCode::RebootstrapRequired;
    play.learn(&MetadataResponse {
        error_code,
        ..cluster(3)
    });
    assert!(play.wants_metadata() || play.network.is_updating_metadata(play.now));
}

/// N-90: a topic's error leaves the epochs that were seen; they go when the topic comes back with another id, or leaves the working set.
#[test]
fn a_topic_error_leaves_the_epochs_that_were_seen() {
    let (mut play, _) = Play::with_broker(NetworkConfig {
        metadata_max_idle: Duration::from_millis(60_000),
        connections_max_idle: None,
        ..NetworkConfig::default()
    });
    let seen = |play: &Play| {
        play.network
            .metadata
            .last_seen_epoch(&place(0))
            .map(|epoch| epoch.0)
    };
    let gone = MetadataResponse {
        topics: vec![refused("orders", ErrorCode::UnknownTopicOrPartition)],
        ..cluster(3)
    };
    play.learn(&gone);
    assert_eq!(seen(&play), Some(3));
    let mut recreated = cluster(0);
    recreated.topics[0].topic_id = TopicId([9; 16]);
    play.learn(&recreated);
    assert_eq!(seen(&play), Some(0));
    play.advance(60_000);
    let asked = play.asked();
    asked.iter().for_each(|asked| play.answer(asked, &cluster(0)));
    play.learn(&recreated);
    assert_eq!(seen(&play), None, "not used for a minute");
}
