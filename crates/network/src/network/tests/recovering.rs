//! How a network whose brokers are gone finds back through the bootstrap addresses (N-61), and when it does not.

use super::*;

const BOOT: NodeId = NodeId(-1);

/// A play that knows the brokers 1, 2 and 3, has a connection to none of them, and wants metadata.
fn lost_brokers() -> Play {
    let mut play = Play::new(NetworkConfig::default());
    let boot = play.connect();
    play.answer_versions();
    let asked = play.asked_one(ApiKey::Metadata);
    let brokers = vec![broker(1), broker(2), broker(3)];
    play.answer(
        &asked,
        &MetadataResponse {
            brokers,
            ..cluster(3)
        },
    );
    play.advance(5_000);
    play.event(NetEvent::Closed(boot, LinkFailure::PeerClosed));
    play
}

/// N-61 (a): of several dead brokers one is always out of its backoff; each is tried once, and then the bootstrap address.
#[test]
fn when_every_known_broker_was_tried_in_vain_the_bootstrap_addresses_are_tried() {
    let mut play = lost_brokers();
    let before = play.now;
    let mut tried = Vec::new();
    while tried.last() != Some(&BOOT) {
        play.sleep();
        tried.push(play.attempted_node());
    }
    tried.sort();
    assert_eq!(tried, [-1, 1, 2, 3].map(NodeId));
    // Three failed updates back off for 100, 200 and 400 ms, ±20 %.
    assert!(play.now <= before + Duration::from_millis(840), "{:?}", play.now);
    assert!(play.network.cluster().is_bootstrap());
}

/// N-61 (a), N-14: a broker that never answers is given up with the connection set-up, and has failed then like any other.
#[test]
fn a_broker_that_never_answers_has_failed_after_its_set_up() {
    let mut play = lost_brokers();
    let mut tried = Vec::new();
    while !play.network.cluster().is_bootstrap() {
        play.sleep();
        tried.extend(play.take(|action| match action {
            NetAction::Connect(id, _) => Some(id.node),
            _ => None,
        }));
        play.closed();
    }
    tried.sort();
    assert_eq!(tried, [-1, 1, 2, 3].map(NodeId));
    // 3 × 10 s ± 20 %, and the backoffs of metadata.
    assert!(play.now <= Instant::from_millis(6_000 + 37_000), "{:?}", play.now);
}

/// N-61 (a): a broker that has not failed since metadata is wanted keeps the producer in its cluster.
#[test]
fn a_broker_that_answers_keeps_the_producer_in_its_cluster() {
    let mut play = lost_brokers();
    let mut living = None;
    for _ in 0..2 {
        play.sleep();
        living = Some(play.attempted_node());
    }
    play.sleep();
    let (id, _) = play.attempted();
    assert_ne!(Some(id.node), living);
    play.event(NetEvent::Connected(id));
    play.answer_versions();
    let asked = play.asked_one(ApiKey::Metadata);
    play.answer(&asked, &cluster(3));
    assert!(!play.network.cluster().is_bootstrap());

    // The earlier failures count no more: metadata has come since.
    play.advance(5_000);
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    play.sleep();
    assert_ne!(play.attempted_node(), BOOT);
    assert!(!play.network.cluster().is_bootstrap());
}

/// N-18: a bootstrap host that cannot be resolved is passed over with a warning; when there is no other, whoever waits is told, with each
/// attempt anew. Once the cluster has answered, its hosts are right, and a name service that fails stops nobody.
#[test]
fn bootstrap_hosts_that_cannot_be_resolved_are_passed_over() {
    let hosts = ["one", "two"].map(|host| BrokerAddress::new(host, 9092));
    let mut play = Play::with_bootstrap(NetworkConfig::default(), hosts.to_vec());
    let unresolved = |play: &mut Play| {
        let (id, _) = play.attempted();
        let failure = LinkFailure::Unresolved("cannot resolve the host".into());
        play.event(NetEvent::ConnectFailed(id, failure));
        play.sleep();
    };
    let failure = |play: &Play| play.network.cluster().failure.as_ref().map(ToString::to_string);
    unresolved(&mut play);
    assert_eq!(failure(&play), None, "the other one is tried");
    unresolved(&mut play);
    let text = "none of bootstrap.servers can be resolved: one:9092: cannot resolve the host; two:9092: cannot resolve the host";
    let told = play.network.cluster().clone();
    assert_eq!(
        told.failure.as_ref().map(ToString::to_string).as_deref(),
        Some(text)
    );
    unresolved(&mut play);
    assert!(!std::sync::Arc::ptr_eq(&told, play.network.cluster()));

    play.connect();
    play.answer_versions();
    let asked = play.asked_one(ApiKey::Metadata);
    play.answer(&asked, &cluster(3));
    assert_eq!(failure(&play), None);
    play.event(NetEvent::Closed(asked.id, LinkFailure::PeerClosed));
    play.sleep();
    unresolved(&mut play);
    unresolved(&mut play);
    assert_eq!(failure(&play), None);
}

impl Play {
    /// The node of the one connection that is being attempted, which refuses it.
    fn attempted_node(&mut self) -> NodeId {
        let (id, _) = self.attempted();
        let refused = LinkFailure::Connect("connection refused".into());
        self.event(NetEvent::ConnectFailed(id, refused));
        id.node
    }
}
