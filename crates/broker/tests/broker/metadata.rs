//! Brokers, topics, leaders, and the creation of topics.

use kommit_broker::config::AutoCreateTopics;
use kommit_broker::coordinator::interface::NodeState;
use kommit_broker::{BrokerConfig, ResponseMessage, TransactionVersion, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{LeaderEpoch, NodeId, TopicId};

use crate::scene::{Scene, TOPIC, partition_0};

fn named(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic {
        name: Some(name.to_owned()),
        topic_id: TopicId::ZERO,
    };
    MetadataRequest {
        topics: Some(vec![topic]),
        ..Default::default()
    }
}

/// B-15: null means all topics, an empty list none.
#[test]
fn a_null_list_means_all_topics_and_an_empty_one_none() {
    let mut scene = Scene::with(BrokerConfig {
        nodes: 3,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    let all = scene.ask(
        connection,
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
        12,
    );
    assert_eq!(all.brokers.len(), 3);
    assert_eq!(all.topics.len(), 1);
    let topic = &all.topics[0];
    assert!(topic.topic_id.is_known());
    assert_eq!((topic.name.as_deref(), topic.partitions.len()), (Some(TOPIC), 2));
    assert_eq!(topic.partitions[0].replica_nodes.len(), 3);
    let none = scene.ask(
        connection,
        &MetadataRequest {
            topics: Some(vec![]),
            ..Default::default()
        },
        12,
    );
    assert_eq!(none.topics, []);
}

/// B-16: the first answer says unknown, the next one shows the topic.
#[test]
fn an_unknown_topic_is_created_behind_its_first_answer() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    assert_eq!(
        scene.ask(connection, &named("new"), 12).topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(
        scene.ask(connection, &named("new"), 12).topics[0].error_code,
        ErrorCode::None
    );
}

/// B-16: neither without the broker's leave nor without the client's.
#[test]
fn topics_are_created_only_when_both_sides_allow_it() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let unwilling = MetadataRequest {
        allow_auto_topic_creation: false,
        ..named("new")
    };
    for _ in 0..2 {
        let answer = scene.ask(connection, &unwilling, 12);
        assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    }
    scene
        .core
        .configure(|config| config.auto_create_topics = AutoCreateTopics::Disabled);
    for _ in 0..2 {
        let answer = scene.ask(connection, &named("new"), 12);
        assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    }
}

/// B-16: names that Kafka does not accept.
#[test]
fn illegal_names_are_invalid_topics() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    for name in ["", ".", "..", "a b", "ä", &"a".repeat(250)] {
        assert_eq!(
            scene.ask(connection, &named(name), 12).topics[0].error_code,
            ErrorCode::InvalidTopicException
        );
    }
    assert!(scene.core.create_topic(&"a".repeat(249), 1).is_ok());
}

/// B-17: topics by id; an id in version 10 or 11 is refused as a whole.
#[test]
fn topics_can_be_asked_for_by_id() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: None }]),
        ..Default::default()
    };
    let id = scene.core.topic_id(TOPIC).expect("the topic exists");
    assert_eq!(
        scene.ask(connection, &by_id(id), 12).topics[0].name.as_deref(),
        Some(TOPIC)
    );
    let unknown = &scene.ask(connection, &by_id(TopicId([7; 16])), 12).topics[0];
    assert_eq!(
        (unknown.error_code, &unknown.name, unknown.topic_id),
        (ErrorCode::UnknownTopicId, &None, TopicId([7; 16]))
    );

    let mut early = by_id(id);
    early.topics.as_mut().expect("a list")[0].name = Some(String::new());
    let refused = scene.ask(connection, &early, 10);
    assert_eq!(
        (refused.brokers.len(), refused.topics[0].error_code),
        (0, ErrorCode::InvalidRequest)
    );
}

/// B-1, B-18: leaders move with their epoch; without leader the epoch stays.
#[test]
fn a_partition_without_leader_keeps_its_epoch() {
    let mut scene = Scene::with(BrokerConfig {
        nodes: 2,
        ..BrokerConfig::default()
    });
    let connection = scene.connect();
    scene
        .core
        .move_leader(&partition_0(), Some(NodeId(2)))
        .expect("the topic exists");
    let moved = scene.ask(connection, &named(TOPIC), 12).topics[0].partitions[0].clone();
    assert_eq!((moved.leader_id, moved.leader_epoch), (NodeId(2), LeaderEpoch(1)));

    scene
        .core
        .move_leader(&partition_0(), None)
        .expect("the topic exists");
    let orphan = scene.ask(connection, &named(TOPIC), 12).topics[0].partitions[0].clone();
    assert_eq!(
        (orphan.error_code, orphan.leader_id),
        (ErrorCode::LeaderNotAvailable, NodeId(-1))
    );
    assert_eq!(orphan.leader_epoch, LeaderEpoch(1));
}

/// B-122: a stopped node loses its connections and its leaders.
#[test]
fn a_stopped_node_hands_over_what_it_led() {
    let mut scene = Scene::with(BrokerConfig {
        nodes: 2,
        ..BrokerConfig::default()
    });
    scene
        .core
        .move_leader(&partition_0(), Some(NodeId(2)))
        .expect("the topic exists");
    let (survivor, victim) = (scene.connect_to(1), scene.connect_to(2));
    scene.core.set_node_state(NodeId(2), NodeState::Stopped);
    scene.turn();
    assert!(scene.is_closed(victim));
    let answer = scene.ask(survivor, &named(TOPIC), 12);
    assert_eq!(answer.brokers.len(), 1);
    assert_eq!(answer.topics[0].partitions[0].leader_id, NodeId(1));
    assert_eq!(answer.topics[0].partitions[0].offline_replicas, [NodeId(2)]);
    let refused = scene.connect_to(2);
    assert!(scene.is_closed(refused));
}

/// B-15: a topic that is created again is another topic.
#[test]
fn a_recreated_topic_has_a_new_id() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let before = scene.core.topic_id(TOPIC);
    let delete = DeleteTopicsRequest {
        topic_names: vec![TOPIC.to_owned()],
        ..Default::default()
    };
    assert_eq!(
        scene.ask(connection, &delete, 5).responses[0].error_code,
        ErrorCode::None
    );
    let topic = CreateTopicsRequestTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(
        scene.ask(connection, &create, 7).topics[0].error_code,
        ErrorCode::None
    );
    assert_ne!(scene.core.topic_id(TOPIC), before);
    assert_eq!(
        scene.ask(connection, &create, 7).topics[0].error_code,
        ErrorCode::TopicAlreadyExists
    );
}

/// B-6: the level is 2 until another one is finalised; each change raises the epoch, and level 0 is none at all.
#[test]
fn another_transaction_version_is_finalised_at_run_time() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let request = ApiVersionsRequest {
        client_software_name: "scene".to_owned(),
        client_software_version: "1.0".to_owned(),
    };
    let finalised = |scene: &mut Scene| {
        let response = scene.ask(connection, &request, 4);
        let features = response.finalized_features.iter();
        let level = features
            .filter(|feature| feature.name == "transaction.version")
            .map(|feature| (feature.min_version_level, feature.max_version_level));
        (response.finalized_features_epoch, level.collect::<Vec<_>>())
    };
    let (epoch, level) = finalised(&mut scene);
    assert_eq!(level, [(2, 2)]);
    scene.core.set_transaction_version(TransactionVersion::V1);
    assert_eq!(finalised(&mut scene), (epoch + 1, vec![(1, 1)]));
    scene.core.set_transaction_version(TransactionVersion::V0);
    assert_eq!(finalised(&mut scene), (epoch + 2, vec![]));
}

/// B-19: a broker that starts knows no brokers yet, and a stale client is told to begin anew: both are rules.
#[test]
fn a_broker_that_starts_is_played_by_rules() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let forget = |response: &mut ResponseMessage| {
        if let ResponseMessage::Metadata(response) = response {
            response.brokers.clear();
        }
    };
    scene.rule(ApiKey::Metadata, Verdict::edit(forget));
    let starting = scene.ask(connection, &named(TOPIC), 13);
    assert_eq!(
        (starting.brokers.len(), starting.error_code),
        (0, ErrorCode::None)
    );

    scene.rule(ApiKey::Metadata, Verdict::Answer(ErrorCode::RebootstrapRequired));
    let stale = scene.ask(connection, &named(TOPIC), 13);
    assert_eq!(stale.error_code, ErrorCode::RebootstrapRequired);
    let started = scene.ask(connection, &named(TOPIC), 13);
    assert_eq!((started.brokers.len(), started.error_code), (1, ErrorCode::None));
}
