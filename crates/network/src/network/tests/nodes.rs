//! Which node can take a request, when it is worth asking again, and what giving up a connection does.

use kommit_protocol::messages::EndTxnRequest;

use super::*;
use crate::connection::ConnectionState;
use crate::network::nodes::{LeastLoaded, Readiness};

const BOOT: NodeId = NodeId(-1);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

impl Play {
    fn is_ready(&self, node: NodeId) -> bool {
        self.network.is_ready(node, self.now)
    }

    fn give(&mut self, node: NodeId, purpose: &'static str) {
        self.network
            .send(node, &EndTxnRequest::default(), None, purpose, self.now)
            .unwrap();
        self.turn();
    }

    fn id(&self, node: NodeId) -> ConnectionId {
        self.network.connections[&node].id().unwrap()
    }

    fn least_loaded(&mut self) -> LeastLoaded {
        self.network.least_loaded(self.now)
    }

    /// A connection to the node is wanted and comes about.
    fn make_ready(&mut self, node: NodeId) {
        assert!(!self.network.ready(node, self.now));
        self.turn();
        self.connect();
        self.answer_versions();
        assert!(self.is_ready(node));
    }
}

/// N-2: asking for a node that is not ready starts one connection, and only when one may be started; a node without an address has none.
#[test]
fn asking_for_a_node_starts_one_connection() {
    let mut play = Play::with_cluster(NetworkConfig::default());
    for attempts in [1, 0, 0] {
        assert!(!play.network.ready(ONE, play.now));
        play.turn();
        let started = play
            .actions
            .iter()
            .filter(|action| matches!(action, NetAction::Connect(..)));
        assert_eq!(started.count(), attempts);
        if attempts == 1 {
            play.connect();
        }
    }
    play.answer_versions();
    assert!(play.network.ready(ONE, play.now));
    assert!(!play.network.ready(NodeId(99), play.now));
    play.turn();
    assert_eq!(play.actions, []);
}

/// N-10: a node that was never tried is connected to at once; one that was lost, as soon as its backoff has passed and not a
/// nanosecond earlier.
#[test]
fn a_connection_is_started_when_the_backoff_has_passed() {
    let mut play = Play::with_cluster(NetworkConfig::default());
    assert_eq!(play.network.poll_deadline(ONE, play.now), play.now);
    play.network.ready(ONE, play.now);
    play.turn();
    play.refuse();
    let due = play.network.poll_deadline(ONE, play.now);
    assert!(due >= play.now + Duration::from_millis(40), "50 ms − 20 %");
    for (moment, state) in [
        (due.as_nanos() - 1, ConnectionState::Disconnected),
        (due.as_nanos(), ConnectionState::Connecting),
    ] {
        play.network.ready(ONE, Instant::from_nanos(moment));
        assert_eq!(play.network.connection_state(ONE), state);
    }
}

/// N-4: a node takes a request when its versions are known, its throttling has passed, and there is room in flight.
#[test]
fn a_node_can_take_a_request_when_nothing_holds_it_back() {
    let mut play = Play::with_cluster(NetworkConfig {
        max_in_flight: 1,
        ..NetworkConfig::default()
    });
    play.network.ready(ONE, play.now);
    play.turn();
    let (id, _) = play.attempted();
    assert!(!play.is_ready(ONE), "connecting");
    play.event(NetEvent::Connected(id));
    assert!(!play.is_ready(ONE), "negotiating");
    play.answer_versions();
    assert!(play.is_ready(ONE));

    play.network.throttle_produce(id, 9, 300, play.now);
    assert!(!play.is_ready(ONE), "throttled");
    play.advance(299);
    assert!(
        !play.is_ready(ONE),
        "a deadline that is at hand has passed, not one before"
    );
    play.advance(1);
    assert!(play.is_ready(ONE));

    play.give(ONE, "one");
    let asked = play.asked_one(ApiKey::EndTxn);
    assert!(!play.is_ready(ONE), "as many in flight as allowed");
    play.answer(&asked, &kommit_protocol::messages::EndTxnResponse::default());
    assert!(play.is_ready(ONE));
}

/// N-8: the rest of the throttling, the end of the connection set-up, the rest of the backoff, at once for a node nobody has heard of,
/// and never when only an event can help. (The reference names the whole set-up time however much of it has passed.)
#[test]
fn it_is_known_when_a_node_is_worth_asking_again() {
    let (mut play, one) = Play::with_broker(NetworkConfig::default());
    let asks_again = |play: &Play, node| play.network.poll_deadline(node, play.now);
    assert_eq!(asks_again(&play, one), Instant::NEVER);
    assert_eq!(asks_again(&play, NodeId(99)), play.now);

    play.network.throttle_produce(play.id(one), 9, 700, play.now);
    let until = play.now + Duration::from_millis(700);
    play.advance(300);
    assert_eq!(asks_again(&play, one), until);

    let started = play.now;
    play.network.ready(TWO, play.now);
    play.turn();
    play.advance(1_000);
    let set_up = asks_again(&play, TWO) - started;
    assert!(
        (8_000..=12_000).contains(&set_up.as_millis()),
        "{set_up:?} are 10 s ± 20 %"
    );
    play.refuse();
    let backoff = asks_again(&play, TWO) - play.now;
    assert!(
        (40..=60).contains(&backoff.as_millis()),
        "{backoff:?} are 50 ms ± 20 %"
    );
    play.advance(60);
    assert_eq!(asks_again(&play, TWO), play.now, "the backoff has passed");
}

/// N-15: until the link is up, handshakes included, the connection set-up has its own time-out; from then on the answer to
/// ApiVersions has that of a request.
#[test]
fn the_set_up_ends_when_versions_are_asked_for() {
    let mut play = Play::new(NetworkConfig::default());
    let (id, _) = play.attempted();
    play.advance(7_999);
    assert_eq!(play.network.connection_state(BOOT), ConnectionState::Connecting);
    assert_eq!(
        play.asked_unwritten(),
        [],
        "nothing is written before the link is up"
    );
    play.event(NetEvent::Connected(id));
    assert_eq!(play.network.connection_state(BOOT), ConnectionState::Negotiating);
    play.asked_one(ApiKey::ApiVersions);

    play.advance(29_999);
    assert_eq!(
        play.closed(),
        [],
        "the set-up of 10 s ± 20 % is over and does not count any more"
    );
    play.advance(1);
    assert_eq!(play.closed(), [id]);
    assert_eq!(
        play.failure(),
        "boot:9092 did not answer ApiVersions within 30000 ms"
    );
}

/// N-31: a throttled connection is no failed one, however long the time, and none that is late.
#[test]
fn throttling_is_no_failure() {
    let (mut play, one) = Play::with_broker(NetworkConfig::default());
    play.give(one, "slow");
    let asked = play.asked_one(ApiKey::EndTxn);
    play.network.throttle_produce(asked.id, 9, 60_000, play.now);
    play.advance(59_999); // twice the time-out of a request
    assert!(!play.network.connection_failed(one));
    assert_eq!(play.network.connection_state(one), ConnectionState::Ready);
    assert_eq!((play.closed(), play.ended()), (vec![], vec![]));
    play.answer(&asked, &kommit_protocol::messages::EndTxnResponse::default());
    play.advance(1);
    assert!(play.is_ready(one));
}

/// N-32: a connection whose end was told is not ready any more, without a turn in between.
#[test]
fn an_end_that_was_told_is_seen_at_once() {
    let (mut play, one) = Play::with_broker(NetworkConfig::default());
    let closed = NetEvent::Closed(play.id(one), LinkFailure::PeerClosed);
    assert!(play.is_ready(one));
    play.network.event(closed, play.now);
    assert!(!play.is_ready(one));
    assert!(!play.network.ready(one, play.now), "it is backing off");
}

/// N-33: whoever waits for a node learns of its failure at once, with the reason of an authentication; of a slow one, when to look again.
#[test]
fn whoever_waits_for_a_node_is_not_kept_in_vain() {
    let mut play = Play::with_cluster(NetworkConfig::default());
    assert!(!play.network.ready(ONE, play.now));
    assert!(!play.network.connection_failed(ONE), "the attempt is under way");
    play.turn();
    let (id, _) = play.attempted();
    let refused = LinkFailure::Authentication("bad password".into());
    play.event(NetEvent::ConnectFailed(id, refused));
    assert!(!play.network.ready(ONE, play.now));
    assert!(play.network.connection_failed(ONE), "while it backs off");
    let reason = play.network.authentication_failure(ONE);
    assert_eq!(
        reason.as_deref(),
        Some("broker-1:9092: authentication failed: bad password")
    );

    play.now = play.network.poll_deadline(ONE, play.now);
    assert!(!play.network.ready(ONE, play.now));
    assert!(
        !play.network.connection_failed(ONE),
        "the next attempt is under way"
    );
    assert_eq!(play.network.authentication_failure(ONE), None);
}

/// N-42, N-43: of equally loaded nodes the first seen wins; one connection that is up makes the cluster reachable, even a saturated
/// one, but not one that is throttled.
#[test]
fn a_saturated_connection_still_shows_that_the_cluster_is_there() {
    let mut play = Play::with_cluster(NetworkConfig {
        max_in_flight: 1,
        ..NetworkConfig::default()
    });
    assert_eq!(play.least_loaded().readiness, Readiness::NoNodeIsReady);
    play.make_ready(ONE);
    play.give(ONE, "one");
    play.asked();
    let choice = play.least_loaded();
    assert_eq!(
        choice,
        LeastLoaded {
            node: Some(TWO),
            readiness: Readiness::SomeNodeIsReady
        }
    );
    play.network.throttle_produce(play.id(ONE), 9, 500, play.now);
    assert_eq!(play.least_loaded().readiness, Readiness::NoNodeIsReady);
    play.advance(500);
    play.make_ready(TWO);
    assert_eq!(
        play.least_loaded().node,
        Some(TWO),
        "the other has a request in flight"
    );
    play.give(TWO, "two");
    play.asked();
    assert_eq!(
        play.least_loaded(),
        LeastLoaded {
            node: None,
            readiness: Readiness::SomeNodeIsReady
        }
    );
}
