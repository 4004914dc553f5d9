//! How connections come and go.

use kommit_protocol::messages::ApiVersionsResponseFinalizedFeature;

use super::*;
use crate::config::RecoveryStrategy;
use crate::connection::ConnectionState;
use crate::versions::FinalizedFeatures;

const BOOT: NodeId = NodeId(-1);

fn quiet() -> NetworkConfig {
    NetworkConfig::default()
}

/// N-1, N-34, N-38, N-60: the first turn connects to a bootstrap address; the newest ApiVersions is asked; then metadata is.
#[test]
fn a_network_finds_its_cluster_through_a_bootstrap_address() {
    let mut play = Play::new(quiet());
    let (id, address) = play.attempted();
    assert_eq!((id.node, address), (BOOT, BrokerAddress::new("boot", 9092)));
    play.event(NetEvent::Connected(id));
    assert_eq!(play.network.connection_state(BOOT), ConnectionState::Negotiating);
    let asked = play.asked_one(ApiKey::ApiVersions);
    assert_eq!(asked.version, 4);
    play.answer(&asked, &all_versions());
    assert_eq!(play.network.connection_state(BOOT), ConnectionState::Ready);
    let asked = play.asked_one(ApiKey::Metadata);
    assert_eq!((asked.version, asked.id), (13, id));
    play.answer(&asked, &cluster(3));
    assert_eq!(
        play.network.cluster().nodes[&NodeId(2)],
        BrokerAddress::new("broker-2", 9092)
    );
    assert_eq!(play.network.cluster().controller, Some(NodeId(2)));
    assert_eq!(play.asked(), []);
}

/// N-36: the version is lowered to what the broker lists, on the same connection; a list that makes no sense means version 0.
#[test]
fn an_old_broker_is_asked_in_its_own_version() {
    for (listed, next) in [(Some(2), 2), (None, 0), (Some(9), 3), (Some(-5), 0)] {
        let mut play = Play::new(quiet());
        let id = play.connect();
        let asked = play.asked_one(ApiKey::ApiVersions);
        let api = |max| ApiVersionsResponseApi {
            api_key: 18,
            min_version: -9,
            max_version: max,
        };
        let refusal = ApiVersionsResponse {
            error_code: kommit_protocol::error_code::ErrorCode::UnsupportedVersion,
            api_keys: listed.into_iter().map(api).collect(),
            ..ApiVersionsResponse::default()
        };
        play.answer(&Asked { version: 0, ..asked }, &refusal);
        let asked = play.asked_one(ApiKey::ApiVersions);
        assert_eq!((asked.version, asked.id), (next, id), "{listed:?}");
        play.answer(&asked, &all_versions());
        assert_eq!(play.network.connection_state(BOOT), ConnectionState::Ready);
    }
}

/// N-36: a broker that refuses every version is left after finitely many tries. N-37: then it backs off.
#[test]
fn a_broker_that_refuses_every_version_is_left() {
    let mut play = Play::new(quiet());
    let id = play.connect();
    let refusal = ApiVersionsResponse {
        error_code: kommit_protocol::error_code::ErrorCode::UnsupportedVersion,
        api_keys: vec![ApiVersionsResponseApi {
            api_key: 18,
            min_version: 0,
            max_version: 4,
        }],
        ..ApiVersionsResponse::default()
    };
    for version in [4, 3, 2, 1, 0] {
        let asked = play.asked_one(ApiKey::ApiVersions);
        assert_eq!(asked.version, version);
        play.answer(&Asked { version: 0, ..asked }, &refusal);
    }
    assert_eq!(play.closed(), [id]);
    assert_eq!(
        play.failure(),
        "boot:9092 refused ApiVersions: UNSUPPORTED_VERSION"
    );
}

/// N-12: 50 ms, doubling, at most 1000 ms, ±20 %; nothing is attempted before.
#[test]
fn reconnecting_backs_off() {
    let mut play = Play::new(quiet());
    for base in [50, 100, 200, 400, 800, 1_000, 1_000] {
        play.refuse();
        let wait = play.network.poll_deadline(BOOT, play.now) - play.now;
        let (least, most) = (
            Duration::from_millis(base * 8 / 10),
            Duration::from_millis((base * 12 / 10).min(1_000)),
        );
        assert!(wait >= least && wait <= most, "{wait:?} around {base} ms");
        assert!(!play.network.ready(BOOT, play.now));
        play.turn();
        assert_eq!(play.actions, []);
        // Metadata has a backoff of its own; look often enough that neither hides the other.
        play.sleep();
    }
    assert_eq!(play.failure(), "boot:9092: connection refused");
}

/// N-14: a connection that does not come about is given up after 10 s, then 20 s, then 30 s, ±20 %, and counts as failed.
#[test]
fn a_connection_that_never_comes_about_is_given_up() {
    let mut play = Play::new(quiet());
    for base in [10_000, 20_000, 30_000] {
        let (id, _) = play.attempted();
        let wait = play.deadline - play.now;
        assert!(
            wait >= Duration::from_millis(base * 8 / 10) && wait <= Duration::from_millis(base * 12 / 10),
            "{wait:?}"
        );
        play.now = play.deadline;
        play.turn();
        assert_eq!(play.closed(), [id]);
        assert!(play.network.connection_failed(BOOT));
        play.sleep();
    }
    assert_eq!(
        play.failure(),
        "boot:9092: no connection within socket.connection.setup.timeout.ms"
    );
}

/// H28: what an earlier connection still tells changes nothing.
#[test]
fn events_of_an_earlier_connection_are_ignored() {
    let mut play = Play::new(quiet());
    let (old, _) = play.attempted();
    play.event(NetEvent::ConnectFailed(old, LinkFailure::PeerClosed));
    play.advance(60);
    play.advance(200);
    let (new, _) = play.attempted();
    assert_eq!(new.node, old.node);
    for event in [
        NetEvent::Connected(old),
        NetEvent::Frame(old, Bytes::from_static(b"late")),
        NetEvent::Written(old, 7),
        NetEvent::Closed(old, LinkFailure::PeerClosed),
    ] {
        play.event(event);
        assert_eq!(play.network.connection_state(BOOT), ConnectionState::Connecting);
    }
}

/// N-19: a connection without activity is closed after `connections.max.idle.ms`, one per turn, and then treated as lost.
#[test]
fn an_idle_connection_is_closed() {
    let config = NetworkConfig {
        connections_max_idle: Some(Duration::from_millis(5_000)),
        ..quiet()
    };
    let (mut play, node) = Play::with_broker(config);
    assert_eq!(play.deadline, play.now + Duration::from_millis(5_000));
    play.advance(4_999);
    assert_eq!(play.closed(), []);
    play.advance(1);
    assert_eq!(
        play.closed().iter().map(|id| id.node).collect::<Vec<_>>(),
        [BOOT],
        "the oldest"
    );
    let asked = play.asked_one(ApiKey::Metadata);
    assert_eq!(
        asked.id.node, node,
        "N-72: a lost connection wants metadata, so the other one is not idle any more"
    );
    assert_eq!(play.failure(), "", "an idle connection is no failure to tell of");
}

/// N-16: a node that moved is reached at its new address; what is in flight at the old one is still answered.
#[test]
fn a_node_that_moved_is_followed_after_its_last_answer() {
    let (mut play, node) = Play::with_broker(quiet());
    let request = kommit_protocol::messages::MetadataRequest::default();
    play.network.send(node, &request, None, "last", play.now).unwrap();
    play.turn();
    let asked = play.asked_one(ApiKey::Metadata);
    assert!(
        play.network
            .add_coordinator_node(node, "elsewhere", 9093, play.now)
    );
    assert_eq!(play.network.connection_state(node), ConnectionState::Draining);
    assert_eq!(
        play.network.send(node, &request, None, "more", play.now),
        Err("more")
    );
    play.answer(&asked, &cluster(3));
    assert_eq!(play.ended(), [("last", "response", Sent::MayBeWritten)]);
    assert_eq!(play.closed(), [asked.id]);
    assert!(!play.network.ready(node, play.now));
    play.turn();
    assert_eq!(play.attempted().1, BrokerAddress::new("elsewhere", 9093));
}

/// N-9: an authentication failure is remembered, told to metadata, and counts twice in the backoff (N-12).
#[test]
fn an_authentication_failure_is_remembered() {
    let mut play = Play::new(quiet());
    let (id, _) = play.attempted();
    play.event(NetEvent::ConnectFailed(
        id,
        LinkFailure::Authentication("bad password".into()),
    ));
    let reason = "boot:9092: authentication failed: bad password";
    assert_eq!(play.network.authentication_failure(BOOT).as_deref(), Some(reason));
    assert!(play.network.connection_failed(BOOT));
    let wait = play.network.poll_deadline(BOOT, play.now) - play.now;
    assert!(
        wait >= Duration::from_millis(80),
        "{wait:?}: the second failure waits 100 ms ± 20 %"
    );
    let error = play.network.cluster().failure.as_ref();
    assert_eq!(error.map(ToString::to_string).as_deref(), Some(reason));
}

/// N-42: a ready node without requests wins; a node with requests loses against it; nodes that cannot be reached are not chosen.
#[test]
fn the_least_loaded_node_is_chosen() {
    let (mut play, one) = Play::with_broker(quiet());
    assert_eq!(
        play.network.least_loaded_node(play.now),
        Some(one),
        "the only one that is connected"
    );
    assert!(!play.network.ready(NodeId(2), play.now));
    play.turn();
    play.connect();
    play.answer_versions();
    let request = kommit_protocol::messages::MetadataRequest::default();
    play.network.send(one, &request, None, "busy", play.now).unwrap();
    play.turn();
    play.asked();
    for _ in 0..20 {
        assert_eq!(play.network.least_loaded_node(play.now), Some(NodeId(2)));
    }
    let seen: std::collections::BTreeSet<_> = {
        let mut fresh = Play::with_cluster(quiet());
        (0..50)
            .filter_map(|_| fresh.network.least_loaded_node(fresh.now))
            .collect()
    };
    assert_eq!(
        seen,
        [NodeId(1), NodeId(2)].into(),
        "a random start spreads the first connections"
    );
}

/// N-61 (a), N-48: when no known node can be reached any more, the bootstrap addresses are tried again.
#[test]
fn without_any_reachable_node_the_bootstrap_addresses_are_tried_again() {
    // With its usual backoff, metadata would wait until one of the two may be tried again.
    let retry_backoff = kommit_protocol::backoff::Backoff {
        initial: Duration::ZERO,
        max: Duration::ZERO,
    };
    let mut play = Play::with_cluster(NetworkConfig {
        retry_backoff,
        ..quiet()
    });
    let boot = play.network.connections[&BOOT].id().unwrap();
    play.event(NetEvent::Closed(boot, LinkFailure::PeerClosed));
    let before = play.network.cluster().update_version;
    for _ in 0..2 {
        play.sleep();
        play.refuse();
    }
    play.sleep();
    assert_eq!(play.attempted().0.node, BOOT);
    assert!(play.network.cluster().is_bootstrap());
    assert_eq!(play.network.cluster().update_version, before + 1);
}

/// N-61: with the strategy `none`, the known nodes are tried for ever.
#[test]
fn without_recovery_the_known_nodes_are_tried_for_ever() {
    let mut play = Play::with_cluster(NetworkConfig {
        recovery: RecoveryStrategy::None,
        ..quiet()
    });
    play.network.request_update();
    for _ in 0..20 {
        play.sleep();
        if play
            .actions
            .iter()
            .any(|action| matches!(action, NetAction::Connect(..)))
        {
            play.refuse();
        } else {
            let boot = play.asked()[0].id;
            play.event(NetEvent::Closed(boot, LinkFailure::PeerClosed));
        }
    }
    assert!(!play.network.cluster().is_bootstrap());
}

/// T-33: the features with the highest epoch stay.
#[test]
fn features_of_a_lower_epoch_do_not_replace_newer_ones() {
    let with = |epoch, level| ApiVersionsResponse {
        finalized_features_epoch: epoch,
        finalized_features: vec![ApiVersionsResponseFinalizedFeature {
            name: "transaction.version".to_owned(),
            max_version_level: level,
            min_version_level: level,
        }],
        ..all_versions()
    };
    let mut play = Play::with_cluster(quiet());
    assert_eq!(play.network.finalized_features(), None);
    for (node, epoch, level, expected) in [(1, 7, 2, 2), (2, 6, 1, 2)] {
        assert!(!play.network.ready(NodeId(node), play.now));
        play.turn();
        play.connect();
        let asked = play.asked_one(ApiKey::ApiVersions);
        play.answer(&asked, &with(epoch, level));
        let expected = FinalizedFeatures {
            epoch: 7,
            transaction_version: expected,
        };
        assert_eq!(play.network.finalized_features(), Some(expected));
    }
}

/// N-23: closing hands back what was in flight and stops everything.
#[test]
fn a_closed_network_does_nothing_any_more() {
    let (mut play, node) = Play::with_broker(quiet());
    let request = kommit_protocol::messages::MetadataRequest::default();
    play.network.send(node, &request, None, "open", play.now).unwrap();
    let mut out = Vec::new();
    let ended = play.network.close(play.now, &mut out);
    assert_eq!(
        ended.iter().map(|ended| ended.purpose).collect::<Vec<_>>(),
        ["open"]
    );
    assert_eq!(
        out.iter()
            .filter(|action| matches!(action, NetAction::Close(_)))
            .count(),
        2
    );
    play.advance(1_000_000);
    assert_eq!((play.actions.len(), play.deadline), (0, Instant::NEVER));
    assert!(!play.network.ready(node, play.now));
    play.turn();
    assert_eq!(play.actions, []);
}

/// Principle 7: the same seed gives the same play.
#[test]
fn the_same_seed_gives_the_same_waits() {
    let waits = |seed| {
        let mut play = Play::new(NetworkConfig { seed, ..quiet() });
        let mut waits = Vec::new();
        for _ in 0..10 {
            play.refuse();
            play.sleep();
            waits.push(play.now);
        }
        waits
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
}
