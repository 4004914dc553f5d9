//! What is sent, what comes back, and what happens when nothing does.

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::decode_message;
use kommit_protocol::messages::{
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest,
    ProduceResponse,
};
use kommit_protocol::units::TopicPartition;

use super::*;
use crate::connection::ConnectionState;
use crate::network::{Acks, ProduceEnvelope};

fn end_transaction() -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: "t".to_owned(),
        committed: true,
        ..EndTxnRequest::default()
    }
}

fn envelope(acks: Acks, batches: &[(&str, i32, &'static [u8])]) -> ProduceEnvelope {
    let batch = |&(topic, partition, bytes): &(&str, i32, &'static [u8])| {
        (
            TopicPartition::new(topic, partition),
            TopicId([7; 16]),
            Bytes::from_static(bytes),
        )
    };
    ProduceEnvelope {
        acks,
        timeout: Duration::from_secs(30),
        transactional_id: Some(Arc::from("t")),
        batches: batches.iter().map(batch).collect(),
    }
}

impl Play {
    fn send(&mut self, node: NodeId, purpose: &'static str) -> Result<(), &'static str> {
        let sent = self
            .network
            .send(node, &end_transaction(), None, purpose, self.now);
        self.turn();
        sent
    }
}

/// N-7, N-39: a request goes out in the highest common version, and its response comes back with its purpose.
#[test]
fn a_response_comes_back_with_the_purpose_of_its_request() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.send(node, "commit").unwrap();
    let asked = play.asked_one(ApiKey::EndTxn);
    assert_eq!(asked.version, 5);
    play.advance(7);
    let answer = EndTxnResponse {
        error_code: ErrorCode::NotCoordinator,
        ..EndTxnResponse::default()
    };
    play.answer(&asked, &answer);
    let ended = play.completed.pop().unwrap();
    assert_eq!(
        (ended.purpose, ended.connection, ended.node()),
        ("commit", asked.id, node)
    );
    let Outcome::Response {
        version,
        body,
        latency,
    } = ended.result
    else {
        panic!("{:?}", ended.result)
    };
    assert_eq!((version, latency), (5, Duration::from_millis(7)));
    let mut reader = Reader::new(body);
    assert_eq!(decode_message(&mut reader, ApiKey::EndTxn, version), Ok(answer));
}

/// N-5: the next request waits until the one before is written, and for room.
#[test]
fn a_connection_takes_a_request_when_the_one_before_is_written() {
    let config = NetworkConfig {
        max_in_flight: 2,
        ..NetworkConfig::default()
    };
    let (mut play, node) = Play::with_broker(config);
    play.send(node, "one").unwrap();
    assert_eq!(play.send(node, "two"), Err("two"), "the first is not written yet");
    let one = play.asked_one(ApiKey::EndTxn);
    play.send(node, "two").unwrap();
    let two = play.asked_one(ApiKey::EndTxn);
    assert!(!play.network.is_ready(node, play.now));
    assert_eq!(play.send(node, "three"), Err("three"), "two are in flight");
    assert_eq!(play.network.in_flight_count(), 2);
    assert!(
        play.network.poll_deadline(node, play.now).is_never(),
        "only an event can help"
    );

    play.answer(&one, &EndTxnResponse::default());
    play.send(node, "three").unwrap();
    let three = play.asked_one(ApiKey::EndTxn);
    play.answer(&two, &EndTxnResponse::default());
    play.answer(&three, &EndTxnResponse::default());
    let order: Vec<_> = play.ended().into_iter().map(|(purpose, ..)| purpose).collect();
    assert_eq!(order, ["one", "two", "three"]);
}

/// N-6: a node that cannot take a request gives it back.
#[test]
fn a_node_that_is_not_ready_gives_the_request_back() {
    let mut play = Play::with_cluster(NetworkConfig::default());
    assert_eq!(play.send(NodeId(1), "early"), Err("early"));
    assert_eq!(play.send(NodeId(99), "nowhere"), Err("nowhere"));
    assert!(
        !play.network.ready(NodeId(99), play.now),
        "nobody knows where it is"
    );
    play.turn();
    assert_eq!(play.actions, []);
}

/// N-27, R14: a late answer closes the connection, and everything on it has timed out; the second is not late itself.
#[test]
fn a_request_that_is_not_answered_in_time_takes_its_connection_with_it() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.send(node, "one").unwrap();
    let one = play.asked_one(ApiKey::EndTxn);
    play.advance(20_000);
    play.send(node, "two").unwrap();
    play.asked();
    play.advance(9_999);
    assert_eq!(play.ended(), []);
    assert_eq!(play.deadline, play.now + Duration::from_millis(1));
    play.advance(1);
    assert_eq!(play.closed(), [one.id]);
    assert_eq!(
        play.ended(),
        [
            ("one", "timed out", Sent::MayBeWritten),
            ("two", "timed out", Sent::MayBeWritten)
        ]
    );
    assert_eq!(
        play.failure(),
        "broker-1:9092 did not answer EndTxn within 30000 ms"
    );
    play.answer(&one, &EndTxnResponse::default());
    assert_eq!(play.ended(), [], "what comes later is not heard");
    assert!(play.network.connection_failed(node));
}

/// N-28, R1: a lost connection ends everything in flight, oldest first; only what never began to be written is surely not applied.
#[test]
fn a_lost_connection_says_what_cannot_have_arrived() {
    let (mut play, node) = Play::with_broker(NetworkConfig {
        max_in_flight: 3,
        ..NetworkConfig::default()
    });
    play.send(node, "written").unwrap();
    let id = play.asked_one(ApiKey::EndTxn).id;
    let written = play.written[&id];
    play.send(node, "in the socket").unwrap();
    play.asked_unwritten();
    play.event(NetEvent::Written(id, written));
    play.event(NetEvent::Closed(id, LinkFailure::PeerClosed));
    assert_eq!(
        play.ended(),
        [
            ("written", "disconnected", Sent::MayBeWritten),
            ("in the socket", "disconnected", Sent::NotWritten)
        ]
    );
}

/// R1: one byte is enough to be unsure.
#[test]
fn a_request_of_which_a_byte_was_written_may_have_arrived() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    let id = play.network.connections[&node].id().unwrap();
    let before = play.written[&id];
    play.send(node, "begun").unwrap();
    play.event(NetEvent::Written(id, before + 1));
    play.event(NetEvent::Closed(id, LinkFailure::Io("reset".into())));
    assert_eq!(play.ended(), [("begun", "disconnected", Sent::MayBeWritten)]);
}

/// R1: when we cut the connection off ourselves, the last count of written bytes may be old.
#[test]
fn a_connection_that_we_cut_may_have_written_everything() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.send(node, "unknown").unwrap();
    let id = play.network.connections[&node].id().unwrap();
    play.network
        .protocol_error(id, "the sender does not like it", play.now);
    play.turn();
    assert_eq!(play.ended(), [("unknown", "disconnected", Sent::MayBeWritten)]);
    assert_eq!(
        play.failure(),
        "broker-1:9092 broke the protocol: the sender does not like it"
    );
}

/// N-41: without a common version nothing is sent, and the connection stays.
#[test]
fn a_request_without_a_common_version_is_not_sent() {
    let mut play = Play::with_cluster(NetworkConfig::default());
    let node = NodeId(1);
    assert!(!play.network.ready(node, play.now));
    play.turn();
    play.connect();
    let asked = play.asked_one(ApiKey::ApiVersions);
    let mut old = all_versions();
    old.api_keys.retain(|api| api.api_key != ApiKey::EndTxn.code());
    play.answer(&asked, &old);
    play.send(node, "commit").unwrap();
    assert_eq!(play.ended(), [("commit", "mismatch", Sent::NotWritten)]);
    assert_eq!(play.asked(), []);
    assert_eq!(play.network.connection_state(node), ConnectionState::Ready);
}

/// N-30: a throttled node takes nothing until the time is over, and a shorter time does not end it earlier.
#[test]
fn a_throttled_node_takes_nothing_for_a_while() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    for throttle_time_ms in [500, 100] {
        play.network
            .send(node, &InitProducerIdRequest::default(), None, "init", play.now)
            .unwrap();
        play.turn();
        let asked = play.asked_one(ApiKey::InitProducerId);
        if throttle_time_ms == 500 {
            play.send(node, "second").unwrap();
        }
        let answer = InitProducerIdResponse {
            throttle_time_ms,
            ..InitProducerIdResponse::default()
        };
        play.answer(&asked, &answer);
        assert!(!play.network.is_ready(node, play.now));
        assert_eq!(
            play.network.poll_deadline(node, play.now),
            play.now + Duration::from_millis(throttle_time_ms as u64)
        );
        if throttle_time_ms == 500 {
            let second = play.asked_one(ApiKey::EndTxn);
            play.answer(
                &second,
                &EndTxnResponse {
                    throttle_time_ms: 100,
                    ..EndTxnResponse::default()
                },
            );
            assert_eq!(
                play.network.poll_deadline(node, play.now),
                play.now + Duration::from_millis(500)
            );
        }
        play.advance(499);
        assert_eq!(play.network.is_ready(node, play.now), throttle_time_ms == 100);
        play.advance(1);
        assert!(play.network.is_ready(node, play.now));
    }
}

/// N-30: the throttle time is credited to what is in flight; a hostile one is cut to 60 s, a negative one ignored.
#[test]
fn throttling_does_not_count_against_a_request() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.send(node, "slow").unwrap();
    let id = play.asked_one(ApiKey::EndTxn).id;
    play.network.throttle_produce(id, 9, -5, play.now);
    play.network.throttle_produce(id, 5, 1_000, play.now);
    assert!(
        play.network.is_ready(node, play.now),
        "negative, or before version 6"
    );
    play.network.throttle_produce(id, 9, i32::MAX, play.now);
    assert_eq!(
        play.network.poll_deadline(node, play.now),
        play.now + Duration::from_secs(60)
    );
    play.advance(89_999);
    assert_eq!(play.ended(), []);
    play.advance(1);
    assert_eq!(play.ended(), [("slow", "timed out", Sent::MayBeWritten)]);
}

/// S-49, S-51: batches are grouped by topic and partition, written from where they are; a cap narrows the version.
#[test]
fn a_produce_request_carries_its_batches_without_copying_them() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    let batches: &[(&str, i32, &'static [u8])] = &[("b", 1, b"three"), ("a", 1, b"two"), ("b", 0, b"one")];
    let envelope = envelope(Acks::All, batches);
    play.network
        .send_produce(node, &envelope, Some(11), "batches", play.now)
        .unwrap();
    play.turn();
    let parts = play.actions.iter().find_map(|action| match action {
        NetAction::Write(_, parts) => Some(parts.clone()),
        _ => None,
    });
    let parts = parts.unwrap();
    for (_, _, batch) in &envelope.batches {
        assert!(
            parts.iter().any(|part| part.as_ptr() == batch.as_ptr()),
            "the same memory"
        );
    }
    let asked = play.asked_one(ApiKey::Produce);
    assert_eq!(asked.version, 11);
    let request: ProduceRequest =
        decode_message(&mut Reader::new(asked.body.clone()), ApiKey::Produce, 11).unwrap();
    let places: Vec<_> = request
        .topic_data
        .iter()
        .map(|topic| {
            (
                &*topic.name,
                topic
                    .partition_data
                    .iter()
                    .map(|part| part.index.0)
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(places, [("a", vec![1]), ("b", vec![0, 1])]);
    assert_eq!(
        (
            request.acks,
            request.timeout_ms,
            request.transactional_id.as_deref()
        ),
        (-1, 30_000, Some("t"))
    );
    play.answer(&asked, &ProduceResponse::default());
    assert_eq!(play.ended(), [("batches", "response", Sent::MayBeWritten)]);
}

/// S-60, N-7: with acks = 0 a request ends when it is written, also beside one that waits for its answer.
#[test]
fn a_request_without_an_answer_ends_when_it_is_written() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.send(node, "answered").unwrap();
    let first = play.asked_one(ApiKey::EndTxn);
    let envelope = envelope(Acks::None, &[("a", 0, b"batch")]);
    play.network
        .send_produce(node, &envelope, None, "silent", play.now)
        .unwrap();
    play.turn();
    assert_eq!(play.ended(), []);
    play.asked();
    assert_eq!(play.ended(), [("silent", "written", Sent::MayBeWritten)]);
    play.answer(&first, &EndTxnResponse::default());
    assert_eq!(play.ended(), [("answered", "response", Sent::MayBeWritten)]);
}

/// N-3: while a metadata update waits for a place, no node is ready for anything else.
#[test]
fn a_due_metadata_update_goes_first() {
    let (mut play, node) = Play::with_broker(NetworkConfig::default());
    play.advance(5_000);
    play.network.add_topic("payments", play.now);
    assert!(!play.network.is_ready(node, play.now));
    play.turn();
    let asked = play.asked_one(ApiKey::Metadata);
    assert!(play.network.is_ready(node, play.now), "the update is on its way");
    assert_eq!(asked.version, 13);
}
