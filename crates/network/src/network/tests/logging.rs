//! What the logs tell, and how loudly: read with a subscriber that keeps every line.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

thread_local! {
    /// Each event of a test that listens, as its level and its fields.
    static LINES: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// Keeps the events of all tests, each for its own thread. It is there for the whole program, because tracing remembers of each place in the
/// code whether anybody listens, and asks on the thread that comes by first.
struct Lines;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                let mut text = Text(String::new());
                event.record(&mut text);
                lines.push((*event.metadata().level(), text.0));
            }
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The lines with this word that the scene logs.
fn logged(word: &str, scene: impl FnOnce()) -> Vec<(Level, String)> {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        tracing::subscriber::set_global_default(Lines).unwrap();
        // For the places that others came by meanwhile.
        tracing::callsite::rebuild_interest_cache();
    });
    LINES.set(Some(Vec::new()));
    scene();
    let mut lines = LINES.take().unwrap();
    lines.retain(|(_, text)| text.contains(word));
    lines
}

fn levels(lines: &[(Level, String)]) -> Vec<Level> {
    lines.iter().map(|(level, _)| *level).collect()
}

/// N-29: every end of a connection is told: an idle one to those who look closely, a lost one to everybody, one that never came about as
/// a warning, a failed authentication as an error.
#[test]
fn the_end_of_a_connection_is_logged_as_loudly_as_it_matters() {
    let ready = |end: fn(ConnectionId) -> NetEvent| {
        let (mut play, node) = Play::with_broker(NetworkConfig::default());
        let id = play.network.connections[&node].id().unwrap();
        logged("disconnected", || play.event(end(id)))
    };
    let attempted = |failure| {
        let mut play = Play::new(NetworkConfig::default());
        let (id, _) = play.attempted();
        logged("disconnected", || {
            play.event(NetEvent::ConnectFailed(id, failure))
        })
    };
    let lost = ready(|id| NetEvent::Closed(id, LinkFailure::PeerClosed));
    assert_eq!(levels(&lost), [Level::INFO]);
    assert!(
        lost[0]
            .1
            .contains("broker-1:9092: the broker closed the connection"),
        "{lost:?}"
    );
    assert_eq!(
        levels(&attempted(LinkFailure::Connect("connection refused".into()))),
        [Level::WARN]
    );
    assert_eq!(
        levels(&attempted(LinkFailure::Authentication("bad password".into()))),
        [Level::ERROR]
    );

    let (mut play, _) = Play::with_broker(NetworkConfig::default());
    let idle = logged("disconnected", || play.advance(540_000));
    assert_eq!(levels(&idle), [Level::DEBUG], "{idle:?}");
}

/// N-29: every request that ends with its connection is told, with what it was and how long it was out.
#[test]
fn a_cancelled_request_is_logged_with_its_age() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    let request = kommit_protocol::messages::EndTxnRequest::default();
    play.network
        .send(node, &request, None, "commit", play.now)
        .unwrap();
    play.turn();
    let id = play.asked_one(ApiKey::EndTxn).id;
    play.advance(70);
    let lines = logged("cancelled", || {
        play.event(NetEvent::Closed(id, LinkFailure::PeerClosed))
    });
    assert_eq!(levels(&lines), [Level::INFO]);
    assert!(
        lines[0].1.contains("key=EndTxn") && lines[0].1.contains("age_ms=70"),
        "{lines:?}"
    );
}

/// N-67: the cluster's id is told when it is known first. (Another one later is an error that stays, H30; there are no plugins to tell.)
#[test]
fn the_id_of_the_cluster_is_logged() {
    let lines = logged("the cluster is known", || {
        drop(Play::with_broker(NetworkConfig::default()))
    });
    assert_eq!(levels(&lines), [Level::INFO]);
    assert!(lines[0].1.contains("here"), "{lines:?}");
}
