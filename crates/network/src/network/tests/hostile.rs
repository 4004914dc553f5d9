//! Peers that are no Kafka brokers, or bad ones: every error closes the connection, names the broker, and ends what was in flight.

use kommit_protocol::messages::{EndTxnRequest, EndTxnResponse, MetadataRequest};

use super::*;
use crate::connection::ConnectionState;

fn in_flight_pair() -> (Play, NodeId, Asked, Asked) {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    let mut sent = Vec::new();
    for purpose in ["one", "two"] {
        play.network
            .send(node, &EndTxnRequest::default(), None, purpose, play.now)
            .unwrap();
        play.turn();
        sent.push(play.asked_one(ApiKey::EndTxn));
    }
    let [one, two] = <[Asked; 2]>::try_from(sent).unwrap();
    (play, node, one, two)
}

fn expect_cut(play: &mut Play, id: ConnectionId, reason: &str) {
    assert_eq!(play.closed(), [id]);
    assert!(play.network.connection_failed(id.node));
    assert!(
        play.failure().contains(reason),
        "{:?} should contain {reason:?}",
        play.failure()
    );
}

/// D-2, H28, drill correlation_chaos: swapped, repeated and invented correlation ids end everything in flight as disconnected.
#[test]
fn a_wrong_correlation_id_closes_the_connection() {
    for wrong in [1, -1, i32::MAX, i32::MIN] {
        let (mut play, _, one, two) = in_flight_pair();
        let correlation_id = if wrong == 1 { two.correlation_id } else { wrong };
        play.answer(
            &Asked {
                correlation_id,
                ..one.clone()
            },
            &EndTxnResponse::default(),
        );
        let both = [
            ("one", "disconnected", Sent::MayBeWritten),
            ("two", "disconnected", Sent::MayBeWritten),
        ];
        assert_eq!(play.ended(), both, "{wrong}");
        expect_cut(
            &mut play,
            one.id,
            "broker-1:9092 broke the protocol: it answers request",
        );
    }
}

/// D-2: the second copy of a response answers nothing.
#[test]
fn a_repeated_response_closes_the_connection() {
    let (mut play, _, one, _) = in_flight_pair();
    play.answer(&one, &EndTxnResponse::default());
    play.answer(&one, &EndTxnResponse::default());
    let expected = [
        ("one", "response", Sent::MayBeWritten),
        ("two", "disconnected", Sent::MayBeWritten),
    ];
    assert_eq!(play.ended(), expected);
    expect_cut(&mut play, one.id, "is expected");
}

/// N-45, D-2: a response that nobody asked for.
#[test]
fn an_unasked_response_closes_the_connection() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    let id = play.network.connections[&node].id().unwrap();
    play.event(NetEvent::Frame(id, Bytes::from_static(&[0; 64])));
    expect_cut(
        &mut play,
        id,
        "broker-1:9092 broke the protocol: it answers although nothing was asked",
    );
}

/// N-46, D-2: frames too short for a header; tagged fields without end.
#[test]
fn a_malformed_header_closes_the_connection() {
    for tail in [&b""[..], b"\x00", b"\x00\x00\x00"] {
        let (mut play, _, one, _) = in_flight_pair();
        play.event(NetEvent::Frame(one.id, Bytes::copy_from_slice(tail)));
        expect_cut(
            &mut play,
            one.id,
            "the header of its response to EndTxn is malformed",
        );
        assert_eq!(play.ended().len(), 2);
    }
    let (mut play, _, one, _) = in_flight_pair();
    let mut frame = one.correlation_id.to_be_bytes().to_vec();
    frame.extend([0xff, 0xff, 0xff, 0xff, 0x0f]); // 2^32 − 1 tagged fields
    play.event(NetEvent::Frame(one.id, frame.into()));
    expect_cut(
        &mut play,
        one.id,
        "the header of its response to EndTxn is malformed",
    );
}

/// Something else answers: what it says is told with its address.
#[test]
fn a_peer_that_is_no_broker_is_named_with_what_it_said() {
    let mut play = Play::new(NetworkConfig::default());
    let id = play.connect();
    play.event(NetEvent::Closed(
        id,
        LinkFailure::Frame("a frame of 1213486160 bytes".into()),
    ));
    assert_eq!(
        play.failure(),
        "boot:9092 does not answer like a Kafka broker: a frame of 1213486160 bytes"
    );

    let mut play = Play::new(NetworkConfig::default());
    let id = play.connect();
    play.event(NetEvent::Frame(id, Bytes::from_static(b"SSH-2.0-OpenSSH")));
    expect_cut(
        &mut play,
        id,
        "boot:9092 does not answer like a Kafka broker: it answers request",
    );

    let mut play = Play::new(NetworkConfig::default());
    let id = play.connect();
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    let expected = "boot:9092 closed the connection instead of answering (does it expect TLS or SASL?)";
    assert_eq!(play.failure(), expected);
}

/// The reason is told until the address works.
#[test]
fn a_failure_is_forgotten_when_the_address_works() {
    let mut play = Play::new(NetworkConfig::default());
    play.refuse();
    assert_eq!(play.failure(), "boot:9092: connection refused");
    play.sleep();
    play.connect();
    assert_eq!(
        play.failure(),
        "boot:9092: connection refused",
        "being connected is not enough"
    );
    play.answer_versions();
    assert_eq!(play.failure(), "");
}

/// Malicious broker suite: ApiVersions without bytes, truncated, with a count beyond the frame.
#[test]
fn a_malformed_versions_response_closes_the_connection() {
    let bodies: [&[u8]; 4] = [b"", b"\x00", b"\x00\x00", b"\x00\x00\xff\xff\xff\xff\x0f\x00"];
    for body in bodies {
        let mut play = Play::new(NetworkConfig::default());
        let id = play.connect();
        let asked = play.asked_one(ApiKey::ApiVersions);
        let frame = [&asked.correlation_id.to_be_bytes()[..], body].concat();
        play.event(NetEvent::Frame(id, frame.into()));
        expect_cut(
            &mut play,
            id,
            "boot:9092 does not answer like a Kafka broker: its response to ApiVersions is malformed",
        );
    }
}

/// Malicious broker suite, N-53: a malformed metadata response is a failed update and a closed connection.
#[test]
fn a_malformed_metadata_response_closes_the_connection() {
    let (mut play, asked) = asked_for_metadata();
    let frame = [&asked.correlation_id.to_be_bytes()[..], &[0; 5], &[0xff; 9]].concat();
    play.event(NetEvent::Frame(asked.id, frame.into()));
    expect_cut(&mut play, asked.id, "its response to Metadata is malformed");
    assert!(play.network.cluster().is_bootstrap());
    assert!(play.deadline > play.now, "the next attempt waits");
}

/// Malicious broker suite, limits: too many brokers, impossible partitions.
#[test]
fn implausible_metadata_is_not_believed() {
    let mut many = cluster(3);
    many.brokers = (0..10_001).map(broker).collect();
    let mut negative = cluster(3);
    negative.topics = vec![topic("orders", vec![partition(-1, 1, 3)])];
    let mut sparse = cluster(3);
    sparse.topics = vec![topic("orders", vec![partition(i32::MAX, 1, 3)])];
    let mut gaps = cluster(3);
    gaps.topics = vec![topic("orders", vec![partition(0, 1, 3), partition(18, 1, 3)])]; // 2 partitions, (1 + 8) × 2 places
    for (response, reason) in [
        (gaps, "a partition 18"),
        (many, "10001 brokers"),
        (negative, "a partition -1"),
        (sparse, "a partition 2147483647"),
    ] {
        let (mut play, asked) = asked_for_metadata();
        play.answer(&asked, &response);
        expect_cut(&mut play, asked.id, reason);
        assert!(play.network.cluster().is_bootstrap());
    }
}

/// Malicious broker suite: partitions missing, and named twice.
#[test]
fn a_partition_that_is_missing_has_no_leader() {
    let (mut play, asked) = asked_for_metadata();
    let mut response = cluster(3);
    response.topics = vec![topic(
        "orders",
        vec![partition(3, 2, 1), partition(1, 1, 1), partition(1, 2, 2)],
    )];
    play.answer(&asked, &response);
    let cluster = play.network.cluster();
    assert_eq!(cluster.partition_count("orders"), Some(4));
    let leaders: Vec<_> = cluster.topics["orders"]
        .partitions
        .iter()
        .map(|p| p.leader.map(|node| node.0))
        .collect();
    assert_eq!(leaders, [None, Some(2), None, Some(2)]);
}

/// Malicious broker suite: empty, endless or impossible addresses, and our own negative ids, are left out.
#[test]
fn brokers_that_nobody_can_reach_are_left_out() {
    let (mut play, asked) = asked_for_metadata();
    let mut response = cluster(3);
    response.controller_id = NodeId(-1);
    for (node, host, port) in [
        (3, String::new(), 9092),
        (4, "x".repeat(1 << 20), 9092),
        (5, "five".to_owned(), 0),
    ] {
        response.brokers.push(MetadataResponseBroker {
            node_id: NodeId(node),
            host,
            port,
            rack: None,
        });
    }
    response.brokers.push(broker(-1));
    response.brokers.push(broker(1));
    play.answer(&asked, &response);
    let nodes: Vec<i32> = play.network.cluster().nodes.keys().map(|node| node.0).collect();
    assert_eq!(nodes, [1, 2]);
    assert_eq!(play.network.cluster().controller, None);
    assert_eq!(play.network.cluster().topic_id("orders"), TopicId([7; 16]));
    assert!(
        !play
            .network
            .add_coordinator_node(NodeId(-1), "boot", 9092, play.now)
    );
    assert!(!play.network.add_coordinator_node(NodeId(3), "", 9092, play.now));
}

/// H30, drill cluster_id_change: another cluster under the same addresses is never believed, and the error stays.
#[test]
fn another_cluster_is_a_fatal_error() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    play.advance(1_000);
    play.network.request_update();
    play.turn();
    let asked = play.asked_one(ApiKey::Metadata);
    let mut elsewhere = cluster(9);
    elsewhere.cluster_id = Some("there".to_owned());
    elsewhere.brokers = vec![broker(7)];
    let before = play.network.cluster().clone();
    play.answer(&asked, &elsewhere);
    assert_eq!(play.network.cluster().nodes, before.nodes);
    expect_cut(&mut play, asked.id, "broker-1:9092 belongs to cluster there");
    // Not even an answer of the right cluster makes the addresses trustworthy again.
    play.sleep();
    play.connect();
    play.answer_versions();
    let asked = play.asked_one(ApiKey::Metadata);
    play.answer(&asked, &cluster(4));
    let error = play.network.cluster().failure.as_ref().map(ToString::to_string);
    assert_eq!(
        error.as_deref(),
        Some("broker-1:9092 belongs to cluster there, but this producer has written to cluster here")
    );
}

/// N-41, N-63: a broker whose metadata we cannot ask for is a failure until metadata comes, which is tried again and again.
#[test]
fn a_broker_without_a_common_metadata_version_is_told() {
    let mut play = Play::new(NetworkConfig::default());
    play.connect();
    let asked = play.asked_one(ApiKey::ApiVersions);
    let mut versions = all_versions();
    versions
        .api_keys
        .retain(|api| api.api_key != ApiKey::Metadata.code());
    play.answer(&asked, &versions);
    let told = play.network.cluster().clone();
    assert_eq!(
        told.failure.as_ref().map(ToString::to_string).as_deref(),
        Some("boot:9092: the broker does not know Metadata")
    );
    play.now = play.deadline;
    play.turn();
    assert!(
        !std::sync::Arc::ptr_eq(&told, play.network.cluster()),
        "each attempt tells it anew"
    );
    assert_eq!(*told, **play.network.cluster());

    let id = play.network.connections[&NodeId(-1)].id().unwrap();
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    play.sleep();
    play.connect();
    play.answer_versions();
    let asked = play.asked_one(ApiKey::Metadata);
    play.answer(&asked, &cluster(3));
    assert_eq!(play.network.cluster().failure, None);
}

/// F10 in small: whatever bytes come as a response, nothing panics, and the connection is ready or closed.
#[test]
fn random_bytes_never_panic() {
    let mut random = kommit_protocol::random::Random::seeded(42);
    for round in 0..2_000 {
        let (mut play, asked) = asked_for_metadata();
        let valid = encode_response(ApiKey::Metadata, 13, asked.correlation_id, &cluster(3)).slice(4..);
        let mut bytes = valid.to_vec();
        for _ in 0..=random.below(8) {
            let at = 4 + random.below(bytes.len() - 4);
            bytes[at] = u8::try_from(random.below(256)).unwrap();
        }
        if round % 3 == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        play.event(NetEvent::Frame(asked.id, bytes.into()));
        let state = play.network.connection_state(asked.id.node);
        assert!(
            matches!(state, ConnectionState::Ready | ConnectionState::Disconnected),
            "{state:?}"
        );
        let _ = play
            .network
            .send(NodeId(1), &MetadataRequest::default(), None, "next", play.now);
        play.turn();
    }
}

fn asked_for_metadata() -> (Play, Asked) {
    let mut play = Play::new(NetworkConfig::default());
    play.network.add_topic("orders", play.now);
    play.connect();
    play.answer_versions();
    let asked = play.asked_one(ApiKey::Metadata);
    (play, asked)
}
