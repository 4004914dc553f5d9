//! What clients hear that may not do what they want (B-126).

use kommit_broker::denials::{Operation, Resource};
use kommit_broker::{BrokerConfig, ConnectionId};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{PartitionId, ProducerEpoch, ProducerId};

use crate::scene::{Batch, Scene, TOPIC, TV2, fetch_from};

/// A scene with an initialised transactional id, in which one thing is forbidden from now on.
fn forbidding(
    operation: Operation,
    resource: Resource,
) -> (Scene, ConnectionId, (ProducerId, ProducerEpoch)) {
    let mut scene = Scene::with(BrokerConfig::default());
    scene.core.create_topic("open", 1).expect("a new name");
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    scene
        .core
        .configure(|config| config.denials.deny(operation, resource));
    (scene, connection, identity)
}

fn topic() -> Resource {
    Resource::Topic(TOPIC.to_owned())
}

fn transactional_id() -> Resource {
    Resource::TransactionalId("t".to_owned())
}

fn init(id: Option<&str>) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: id.map(str::to_owned),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    }
}

fn offsets(
    group: &str,
    (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
) -> TxnOffsetCommitRequest {
    let topics = [TOPIC, "open"].map(|name| TxnOffsetCommitRequestTopic {
        name: name.to_owned(),
        partitions: vec![TxnOffsetCommitRequestPartition::default()],
    });
    TxnOffsetCommitRequest {
        transactional_id: "t".to_owned(),
        group_id: group.to_owned(),
        producer_id,
        producer_epoch,
        generation_id: -1,
        topics: topics.into(),
        ..Default::default()
    }
}

fn offset_codes(response: &TxnOffsetCommitResponse) -> Vec<ErrorCode> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

/// B-54, B-126: without IdempotentWrite there is no identity for a producer without transactions; transactional ones need none.
#[test]
fn a_producer_that_may_write_nowhere_gets_no_identity() {
    let (mut scene, connection, _) = forbidding(Operation::IdempotentWrite, Resource::Cluster);
    let refused = scene.ask(connection, &init(None), 4);
    assert_eq!(
        (refused.error_code, refused.producer_id),
        (ErrorCode::ClusterAuthorizationFailed, ProducerId(-1))
    );
    assert_eq!(
        scene.ask(connection, &init(Some("t")), 4).error_code,
        ErrorCode::None
    );
    scene.core.configure(|config| {
        config
            .denials
            .allow(Operation::IdempotentWrite, Resource::Cluster)
    });
    assert_eq!(scene.ask(connection, &init(None), 4).error_code, ErrorCode::None);
}

/// B-23, B-36, B-126: a topic that may not be written refuses its batches alone, known or not.
#[test]
fn a_topic_that_may_not_be_written_refuses_its_batches() {
    let (mut scene, connection, _) = forbidding(Operation::Write, topic());
    let unknown = Resource::Topic("unknown".to_owned());
    scene
        .core
        .configure(|config| config.denials.deny(Operation::Write, unknown));
    let mut request = Batch::plain().request();
    for name in ["open", "unknown", "nowhere"] {
        let mut other = request.topic_data[0].clone();
        other.name = name.to_owned();
        request.topic_data.push(other);
    }
    let response = scene.ask(connection, &request, TV2);
    let codes: Vec<_> = response
        .responses
        .iter()
        .map(|topic| (topic.name.as_str(), topic.partition_responses[0].error_code))
        .collect();
    let expected = [
        (TOPIC, ErrorCode::TopicAuthorizationFailed),
        ("open", ErrorCode::None),
        ("unknown", ErrorCode::TopicAuthorizationFailed),
        ("nowhere", ErrorCode::UnknownTopicOrPartition),
    ];
    assert_eq!(codes, expected);
    assert_eq!(scene.log_len(), 0);
}

/// B-71, B-126: a partition of a topic that may not be written keeps the others out of the transaction.
#[test]
fn a_topic_that_may_not_be_written_joins_no_transaction() {
    let (mut scene, connection, identity) = forbidding(Operation::Write, topic());
    let topics = [TOPIC, "open"].map(|name| AddPartitionsToTxnRequestTopic {
        name: name.to_owned(),
        partitions: vec![PartitionId(0)],
    });
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "t".to_owned(),
        v3_and_below_producer_id: identity.0,
        v3_and_below_producer_epoch: identity.1,
        v3_and_below_topics: topics.into(),
        ..Default::default()
    };
    let response = scene.ask(connection, &request, 3);
    let topics = response.results_by_topic_v3_and_below.iter();
    let codes: Vec<_> = topics
        .map(|topic| topic.results_by_partition[0].partition_error_code)
        .collect();
    let expected = [
        ErrorCode::TopicAuthorizationFailed,
        ErrorCode::OperationNotAttempted,
    ];
    assert_eq!(codes, expected);
}

/// B-16, B-126: a hidden topic is refused by its name, missing in the list of all, and its offsets are not told.
#[test]
fn a_topic_that_may_not_be_described_is_hidden() {
    let (mut scene, connection, _) = forbidding(Operation::Describe, topic());
    let by_name = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(TOPIC.to_owned()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let mut response = scene.ask(connection, &by_name, 12);
    let found = response.topics.remove(0);
    assert_eq!(
        (
            found.error_code,
            found.partitions.len(),
            found.topic_id.is_known()
        ),
        (ErrorCode::TopicAuthorizationFailed, 0, false)
    );
    let by_id = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: scene.core.topic_id(TOPIC).expect("it exists"),
            name: None,
        }]),
        ..Default::default()
    };
    let found = scene.ask(connection, &by_id, 12).topics.remove(0);
    assert_eq!(
        (found.error_code, found.name),
        (ErrorCode::TopicAuthorizationFailed, None)
    );
    let all = scene.ask(
        connection,
        &MetadataRequest {
            topics: None,
            ..Default::default()
        },
        12,
    );
    assert!(
        all.topics
            .iter()
            .all(|found| found.name.as_deref() != Some(TOPIC))
    );
    assert!(
        all.topics
            .iter()
            .any(|found| found.name.as_deref() == Some("open"))
    );
    let latest = ListOffsetsRequest {
        topics: vec![ListOffsetsRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![ListOffsetsRequestPartition {
                timestamp: -1,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let found = scene
        .ask(connection, &latest, 7)
        .topics
        .remove(0)
        .partitions
        .remove(0);
    assert_eq!(found.error_code, ErrorCode::TopicAuthorizationFailed);
}

/// B-118, B-126: a topic that may not be read is not fetched, and offsets for it are not committed.
#[test]
fn a_topic_that_may_not_be_read_is_not_fetched() {
    let (mut scene, connection, identity) = forbidding(Operation::Read, topic());
    let fetched = scene.fetch(connection, &fetch_from(0, 1));
    assert_eq!(fetched.error_code, ErrorCode::TopicAuthorizationFailed);
    find_group(&mut scene, connection, "g");
    let codes = offset_codes(&scene.ask(connection, &offsets("g", identity), 5));
    assert_eq!(codes, [ErrorCode::TopicAuthorizationFailed, ErrorCode::None]);
}

fn find_group(scene: &mut Scene, connection: ConnectionId, group: &str) {
    let lookup = FindCoordinatorRequest {
        coordinator_keys: vec![group.to_owned()],
        ..Default::default()
    };
    scene.ask(connection, &lookup, 4);
}

/// B-23, B-71, B-84, B-118, B-126: a transactional id that may not be used is refused wherever it is named.
#[test]
fn a_transactional_id_that_may_not_be_used_is_refused_everywhere() {
    let (mut scene, connection, identity) = forbidding(Operation::Write, transactional_id());
    let refused = ErrorCode::TransactionalIdAuthorizationFailed;
    assert_eq!(scene.ask(connection, &init(Some("t")), 4).error_code, refused);
    assert_eq!(scene.add_partition(connection, identity), refused);
    assert_eq!(
        scene
            .produce(connection, &Batch::in_transaction(identity, 0))
            .error_code,
        refused
    );
    assert_eq!(scene.end(connection, identity, true, 5).error_code, refused);
    let added = AddOffsetsToTxnRequest {
        transactional_id: "t".to_owned(),
        producer_id: identity.0,
        producer_epoch: identity.1,
        group_id: "g".to_owned(),
    };
    assert_eq!(scene.ask(connection, &added, 3).error_code, refused);
    let codes = offset_codes(&scene.ask(connection, &offsets("g", identity), 5));
    assert_eq!(codes, [refused, refused]);
    scene.initialize(connection, "another");
}

/// B-126: a hidden transactional id has no coordinator to be found, no state, and no place in the list.
#[test]
fn a_transactional_id_that_may_not_be_described_is_hidden() {
    let (mut scene, connection, _) = forbidding(Operation::Describe, transactional_id());
    let refused = ErrorCode::TransactionalIdAuthorizationFailed;
    let lookup = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec!["t".to_owned(), "u".to_owned()],
        ..Default::default()
    };
    let found = scene.ask(connection, &lookup, 4).coordinators;
    assert_eq!(
        found.iter().map(|found| found.error_code).collect::<Vec<_>>(),
        [refused, ErrorCode::None]
    );
    let described = DescribeTransactionsRequest {
        transactional_ids: vec!["t".to_owned()],
    };
    let state = scene.ask(connection, &described, 0).transaction_states.remove(0);
    assert_eq!(state.error_code, refused);
    let listed = ListTransactionsRequest {
        duration_filter: -1,
        ..Default::default()
    };
    assert_eq!(scene.ask(connection, &listed, 1).transaction_states, []);
}

/// B-73, B-118, B-126: a group that may not be read takes no offsets and no members.
#[test]
fn a_group_that_may_not_be_read_is_refused() {
    let (mut scene, connection, identity) = forbidding(Operation::Read, Resource::Group("g".to_owned()));
    let refused = ErrorCode::GroupAuthorizationFailed;
    find_group(&mut scene, connection, "g");
    let mut added = AddOffsetsToTxnRequest {
        transactional_id: "t".to_owned(),
        producer_id: identity.0,
        producer_epoch: identity.1,
        group_id: "g".to_owned(),
    };
    assert_eq!(scene.ask(connection, &added, 3).error_code, refused);
    let codes = offset_codes(&scene.ask(connection, &offsets("g", identity), 5));
    assert_eq!(codes, [refused, refused]);
    let join = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 10_000,
        ..Default::default()
    };
    assert_eq!(scene.ask(connection, &join, 5).error_code, refused);
    let commit = OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let codes = scene.ask(connection, &commit, 8).topics.remove(0).partitions;
    assert_eq!(codes[0].error_code, refused);
    added.group_id = "h".to_owned();
    assert_eq!(scene.ask(connection, &added, 3).error_code, ErrorCode::None);
}
