//! What one turn does, and in which order.

use kommit_protocol::messages::{EndTxnRequest, EndTxnResponse, MetadataRequest};

use super::*;
use crate::config::RecoveryStrategy;
use crate::connection::ConnectionState;

const BOOT: NodeId = NodeId(-1);
const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// [`Play::with_broker`] with connections to both brokers.
fn two_brokers(config: NetworkConfig) -> Play {
    let (mut play, _) = Play::with_broker(config);
    assert!(!play.network.ready(TWO, play.now));
    play.turn();
    play.connect();
    play.answer_versions();
    play
}

fn end_transaction(play: &mut Play, node: NodeId, purpose: &'static str) -> Asked {
    play.network
        .send(node, &EndTxnRequest::default(), None, purpose, play.now)
        .unwrap();
    play.turn();
    play.asked_one(ApiKey::EndTxn)
}

/// N-20: what came counts before what is late; then the connections go that did not come about in time, those that did not answer
/// in time, and last those that a rebootstrap gives up.
#[test]
fn a_turn_looks_at_answers_before_it_looks_at_the_time() {
    let recovery = RecoveryStrategy::Rebootstrap {
        trigger: Duration::from_millis(40_000),
    };
    let setup = Duration::from_millis(40_000);
    let mut play = two_brokers(NetworkConfig {
        recovery,
        connection_setup_timeout: kommit_protocol::backoff::Backoff {
            initial: setup,
            max: setup,
        },
        request_timeout: Duration::from_millis(40_000),
        ..NetworkConfig::default()
    });
    play.advance(5_000);
    play.network.request_update();
    play.turn();
    let metadata = play.asked_one(ApiKey::Metadata);
    let in_time = end_transaction(&mut play, metadata.id.node, "in time");
    let other = [ONE, TWO]
        .into_iter()
        .find(|node| *node != metadata.id.node)
        .unwrap();
    let late = end_transaction(&mut play, other, "late");
    play.network
        .add_coordinator_node(NodeId(9), "slow", 9092, play.now);
    play.network.ready(NodeId(9), play.now);
    play.turn();
    let (slow, _) = play.attempted();

    play.now += Duration::from_millis(40_000);
    let frame = |asked: &Asked| {
        encode_response(
            asked.key,
            asked.version,
            asked.correlation_id,
            &EndTxnResponse::default(),
        )
    };
    let refusal = encode_response(
        ApiKey::Metadata,
        metadata.version,
        metadata.correlation_id,
        &no_brokers(),
    );
    play.network
        .event(NetEvent::Frame(metadata.id, refusal.slice(4..)), play.now);
    play.network
        .event(NetEvent::Frame(in_time.id, frame(&in_time).slice(4..)), play.now);
    play.turn();
    assert_eq!(
        play.ended(),
        [
            ("in time", "response", Sent::MayBeWritten),
            ("late", "timed out", Sent::MayBeWritten)
        ]
    );
    assert_eq!(play.closed(), [slow, late.id, metadata.id]);
    assert!(play.network.cluster().is_bootstrap());
}

/// A response that counts as a failed update (N-59).
fn no_brokers() -> MetadataResponse {
    MetadataResponse {
        brokers: Vec::new(),
        ..cluster(3)
    }
}

/// N-21: a connection that fails, or a response that cannot be read, takes nothing away from the others of the same turn.
#[test]
fn one_failure_does_not_stop_the_others() {
    let mut play = two_brokers(NetworkConfig::default());
    let first = end_transaction(&mut play, ONE, "spoilt");
    let second = end_transaction(&mut play, TWO, "good");
    let good = encode_response(
        second.key,
        second.version,
        second.correlation_id,
        &EndTxnResponse::default(),
    );
    for event in [
        NetEvent::Frame(first.id, Bytes::from_static(b"?")),
        NetEvent::Closed(
            play.network.connections[&BOOT].id().unwrap(),
            LinkFailure::Io("reset".into()),
        ),
        NetEvent::Frame(second.id, good.slice(4..)),
    ] {
        play.network.event(event, play.now);
    }
    play.turn();
    assert_eq!(
        play.ended(),
        [
            ("spoilt", "disconnected", Sent::MayBeWritten),
            ("good", "response", Sent::MayBeWritten)
        ]
    );
    assert_eq!(play.network.connection_state(TWO), ConnectionState::Ready);
}

/// N-22: nothing waits for a deadline; what is asked for between two turns is handed out by the next one, at whatever time.
#[test]
fn a_turn_hands_out_at_once_what_was_asked_for() {
    let (mut play, one) = Play::with_broker(NetworkConfig::default());
    assert!(
        play.deadline > play.now + Duration::from_secs(1),
        "nothing is to be done for long"
    );
    play.network.ready(TWO, play.now);
    play.network
        .send(one, &EndTxnRequest::default(), None, "now", play.now)
        .unwrap();
    play.turn();
    assert!(matches!(
        play.actions[..],
        [NetAction::Connect(..), NetAction::Write(..)]
    ));
}

/// N-76: the response to a metadata request of the sender's goes to the sender; what the network knows does not change.
#[test]
fn metadata_that_the_sender_asks_for_is_the_senders() {
    let (mut play, one) = Play::with_broker(NetworkConfig::default());
    let before = play.network.cluster().clone();
    play.network
        .send(one, &MetadataRequest::default(), None, "mine", play.now)
        .unwrap();
    play.turn();
    let asked = play.asked_one(ApiKey::Metadata);
    play.answer(&asked, &cluster(9));
    assert_eq!(play.ended(), [("mine", "response", Sent::MayBeWritten)]);
    assert_eq!(*play.network.cluster(), before);
}

/// N-93: requests of the network's own end silently with their connection: metadata has failed and backs off, ApiVersions is asked
/// anew on the next connection.
#[test]
fn own_requests_end_silently_with_their_connection() {
    let mut play = Play::new(NetworkConfig::default());
    let id = play.connect();
    play.asked_one(ApiKey::ApiVersions);
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    play.sleep();
    let id = play.connect();
    play.answer_versions();

    play.asked_one(ApiKey::Metadata);
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    assert!(!play.network.metadata.schedule().is_in_progress());
    let next = play.network.metadata.schedule().next_update();
    assert!(
        next.is_some_and(|next| next >= play.now + Duration::from_millis(80)),
        "100 ms − 20 %"
    );
    assert_eq!(play.ended(), []);
}

/// N-66: after the close no answer is taken any more, and nobody is told of a newer cluster.
#[test]
fn a_closed_network_learns_nothing_any_more() {
    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    play.advance(5_000);
    play.network.request_update();
    play.turn();
    let asked = play.asked_one(ApiKey::Metadata);
    let before = play.network.cluster().clone();
    assert_eq!(play.network.close(play.now, &mut Vec::new()), []);
    play.answer(&asked, &cluster(9));
    play.network.add_topic("payments", play.now);
    play.advance(600_000);
    assert!(std::sync::Arc::ptr_eq(play.network.cluster(), &before));
    assert_eq!((play.actions.len(), play.deadline), (0, Instant::NEVER));
}
