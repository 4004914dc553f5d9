//! Rules: what each verdict does, and whom a rule is about.

use std::time::Duration;

use kommit_broker::{ResponseMessage, Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{NodeId, PartitionId};

use crate::scene::{Batch, Scene, TOPIC, TV2, only_partition};

/// B-121: the code is answered, nothing is appended.
#[test]
fn a_rule_answers_instead_of_the_broker() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.rule(ApiKey::Produce, Verdict::Answer(ErrorCode::UnknownProducerId));
    let refused = scene.produce(connection, &Batch::of(7, 0, 0));
    assert_eq!(
        (refused.error_code, refused.base_offset),
        (ErrorCode::UnknownProducerId, -1)
    );
    assert_eq!(scene.log_len(), 0);
    assert_eq!(
        scene.produce(connection, &Batch::of(7, 0, 0)).error_code,
        ErrorCode::None
    );
}

/// B-121: on one partition only; the others of the request are served.
#[test]
fn a_rule_about_a_partition_leaves_the_others_alone() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let rule = Rule::on(ApiKey::Produce, Verdict::Answer(ErrorCode::KafkaStorageError)).partition(TOPIC, 1);
    scene.core.add_rule(rule);
    let mut request = Batch::plain().request();
    let second = ProduceRequestPartition {
        index: PartitionId(1),
        records: Some(Batch::plain().bytes()),
    };
    request.topic_data[0].partition_data.push(second);
    let response = scene.ask(connection, &request, TV2);
    let mut codes: Vec<_> = response.responses[0]
        .partition_responses
        .iter()
        .map(|entry| (entry.index.0, entry.error_code))
        .collect();
    codes.sort();
    assert_eq!(codes, [(0, ErrorCode::None), (1, ErrorCode::KafkaStorageError)]);
    assert_eq!(
        scene.produce(connection, &Batch::plain()).error_code,
        ErrorCode::None
    );
}

/// B-121: served, and denied nevertheless.
#[test]
fn a_rule_can_hide_a_success() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.rule(
        ApiKey::Produce,
        Verdict::ServeThenAnswer(ErrorCode::RequestTimedOut),
    );
    assert_eq!(
        scene.produce(connection, &Batch::plain()).error_code,
        ErrorCode::RequestTimedOut
    );
    assert_eq!(scene.log_len(), 1);
}

/// B-121: a lost answer takes those behind it along, but everything is served.
#[test]
fn a_dropped_response_silences_the_connection() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.rule(ApiKey::Produce, Verdict::DropResponse);
    scene.send(connection, &Batch::plain().request(), TV2);
    scene.send(connection, &Batch::plain().request(), TV2);
    assert!(scene.raw_answer(connection).is_none());
    assert!(!scene.is_closed(connection));
    assert_eq!(scene.log_len(), 2);
}

/// B-121: a lost request takes those behind it along.
#[test]
fn a_dropped_request_deafens_the_connection() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.rule(ApiKey::Produce, Verdict::DropRequest);
    scene.send(connection, &Batch::plain().request(), TV2);
    scene.send(connection, &Batch::plain().request(), TV2);
    assert!(scene.raw_answer(connection).is_none());
    assert_eq!(scene.log_len(), 0);
}

/// B-121: close before, close after.
#[test]
fn connections_close_before_or_after_serving() {
    for (verdict, appended) in [(Verdict::DisconnectBefore, 0), (Verdict::DisconnectAfter, 1)] {
        let mut scene = Scene::new();
        let connection = scene.connect();
        scene.rule(ApiKey::Produce, verdict);
        scene.send(connection, &Batch::plain().request(), TV2);
        assert!(scene.is_closed(connection));
        assert!(scene.raw_answer(connection).is_none());
        assert_eq!(scene.log_len(), appended);
    }
}

/// B-121: the request arrives after its client has gone and has tried again elsewhere.
#[test]
fn a_request_is_delivered_late_on_a_dead_connection() {
    let mut scene = Scene::new();
    let first = scene.connect();
    scene.rule(ApiKey::Produce, Verdict::DeliverLate(Duration::from_millis(300)));
    scene.send(first, &Batch::of(7, 0, 0).request(), TV2);
    assert!(scene.is_closed(first));
    scene.disconnect(first);
    assert_eq!(scene.log_len(), 0);

    let second = scene.connect();
    scene.produce(second, &Batch::of(7, 0, 0));
    scene.produce(second, &Batch::plain());
    scene.pass(300);
    assert_eq!(scene.log_len(), 2, "the late one is a duplicate");

    scene.rule(ApiKey::Produce, Verdict::DeliverLate(Duration::from_millis(300)));
    scene.send(second, &Batch::plain().request(), TV2);
    scene.pass(300);
    assert_eq!(scene.log_len(), 3);
    assert!(scene.raw_answer(second).is_none());
}

/// B-121: delays of the request and of the answer.
#[test]
fn requests_and_answers_can_be_delayed() {
    for (verdict, appended_at_once) in [
        (Verdict::Delay(Duration::from_millis(50)), 0),
        (Verdict::DelayResponse(Duration::from_millis(50)), 1),
    ] {
        let mut scene = Scene::new();
        let connection = scene.connect();
        scene.rule(ApiKey::Produce, verdict);
        scene.send(connection, &Batch::plain().request(), TV2);
        assert_eq!(scene.log_len(), appended_at_once);
        scene.pass(49);
        assert!(scene.raw_answer(connection).is_none());
        scene.pass(1);
        assert!(scene.raw_answer(connection).is_some());
        assert_eq!(scene.log_len(), 1);
    }
}

/// B-121: the answer is held until the rule goes.
#[test]
fn an_answer_is_held_as_long_as_its_rule() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let rule = scene.rule(ApiKey::Produce, Verdict::HoldResponse);
    scene.send(connection, &Batch::plain().request(), TV2);
    scene.pass(60_000);
    assert_eq!((scene.log_len(), scene.raw_answer(connection)), (1, None));
    scene.core.remove_rule(rule);
    scene.turn();
    let (_, response) = scene.answer::<ProduceRequest>(connection, TV2).expect("released");
    assert_eq!(only_partition(response).base_offset, 0);
}

/// B-121: any content can be put into an answer.
#[test]
fn an_answer_can_be_edited() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let edit = |response: &mut ResponseMessage| {
        if let ResponseMessage::Produce(response) = response {
            response.responses[0].partition_responses[0]
                .current_leader
                .leader_id = NodeId(77);
        }
    };
    scene.rule(ApiKey::Produce, Verdict::edit(edit));
    assert_eq!(
        scene
            .produce(connection, &Batch::plain())
            .current_leader
            .leader_id,
        NodeId(77)
    );
}

/// B-121: frames can lie about whom they answer and how long they are, or end early.
#[test]
fn frames_can_be_wrong() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.rule(ApiKey::Metadata, Verdict::ShiftCorrelationId(5));
    let sent = scene.send(connection, &MetadataRequest::default(), 9);
    let answer = scene.answer::<MetadataRequest>(connection, 9).expect("an answer");
    assert_eq!(answer.0, sent + 5);

    scene.rule(ApiKey::Metadata, Verdict::WrongLength(i32::MAX));
    scene.send(connection, &MetadataRequest::default(), 9);
    let frame = scene.raw_answer(connection).expect("a frame");
    assert_eq!(&frame[..4], &i32::MAX.to_be_bytes());

    scene.rule(ApiKey::Metadata, Verdict::Truncate(6));
    scene.send(connection, &MetadataRequest::default(), 9);
    assert_eq!(scene.raw_answer(connection).expect("a frame").len(), 6);
    assert!(scene.is_closed(connection));
}

/// Matchers: node, condition, the n-th occurrence.
#[test]
fn a_rule_is_about_the_occurrences_it_names() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let answer = || Verdict::Answer(ErrorCode::NotEnoughReplicas);
    scene
        .core
        .add_rule(Rule::on(ApiKey::Produce, answer()).node(NodeId(2)));
    let nth = scene
        .core
        .add_rule(Rule::on(ApiKey::Produce, answer()).skip(1).times(2));
    let codes: Vec<_> = (0..4)
        .map(|_| scene.produce(connection, &Batch::plain()).error_code)
        .collect();
    let denied = ErrorCode::NotEnoughReplicas;
    assert_eq!(codes, [ErrorCode::None, denied, denied, ErrorCode::None]);
    assert_eq!(scene.core.rule_matches(nth), 4);
}

/// B-124: the journal remembers what came, in which version, and what a rule did.
#[test]
fn the_journal_remembers_requests_and_verdicts() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.rule(ApiKey::Produce, Verdict::DisconnectBefore);
    scene.send(connection, &Batch::plain().request(), TV2);
    let journal = scene.core.journal();
    let entry = journal.last().expect("one request came");
    assert_eq!(
        (entry.api, entry.version, entry.connection),
        (ApiKey::Produce, TV2, connection)
    );
    assert_eq!(entry.partitions, [crate::scene::partition_0()]);
    assert_eq!(entry.verdict.as_deref(), Some("DisconnectBefore"));
}
