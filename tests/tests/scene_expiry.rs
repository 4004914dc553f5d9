//! `sendProducerData()`: what waits or is in flight for longer than `delivery.timeout.ms`.

use std::time::Duration;

use kommit_accumulator::{Progress, SendErrorKind};
use kommit_protocol::api::ApiKey::{InitProducerId, Produce};
use kommit_tests::world::fault::{drop_answer, hold, hold_request};
use kommit_tests::world::{RecordOutcome, World, written_at};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// S-41 f, S-44, A-70: a batch that waited too long in its queue is told that it was not sent.
#[test]
fn a_queued_batch_expires_unsent() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .set(|settings| settings.delivery_timeout = 10 * SECOND);
    world.move_leader("orders", 0, None);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run_for(9_999 * MILLI);
    assert_eq!(record.outcome(), RecordOutcome::Waiting);
    world.run_for(2 * MILLI);
    let error = record.outcome().error();
    let expected = SendErrorKind::DeliveryTimeout {
        records: 1,
        age: 10 * SECOND,
        progress: Progress::NotSent,
    };
    assert_eq!(*error.kind(), expected);
    assert!(!error.may_be_written());
    world.expect_unsent(Produce);

    world.move_leader("orders", 0, Some(1));
    let next = producer.send("orders", 0, "b");
    world.run();
    assert_eq!(next.outcome(), written_at(0));
    world.expect_sent(InitProducerId, 1);
}

/// S-41 e, S-43, S-44: a batch whose answer stays out is told that it may be written; S-67, S-69: its late answer changes nothing.
#[test]
fn a_batch_in_flight_expires_and_its_late_answer_changes_nothing() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .going_on_behind_gaps()
        .set(|settings| settings.delivery_timeout = 10 * SECOND);
    let producer = world.idempotent();
    world.rule(hold(Produce));
    let record = producer.send("orders", 0, "a");
    world.run_for(11 * SECOND);
    let told = record.outcome();
    let error = told.clone().error();
    assert!(matches!(
        error.kind(),
        SendErrorKind::DeliveryTimeout {
            progress: Progress::NotAnswered,
            ..
        }
    ));
    assert!(error.may_be_written());
    world.release(Produce);
    world.run();
    assert_eq!(record.outcome(), told);
    let next = producer.send("orders", 0, "b");
    world.run();
    assert_eq!(next.outcome(), written_at(1));
    assert_eq!(world.log("orders", 0), ["a", "b"]);
}

/// S-3, S-43: what is in flight expires in the order in which it was sent, each when its own time is over.
#[test]
fn batches_in_flight_expire_one_after_the_other() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .going_on_behind_gaps()
        .batch_per_record()
        .set(|settings| settings.delivery_timeout = 10 * SECOND);
    let producer = world.idempotent();
    world.rule(hold(Produce));
    let mut records = Vec::new();
    for value in ["a", "b", "c"] {
        records.push(producer.send("orders", 0, value));
        world.run_for(SECOND);
    }
    world.run_for(Duration::from_millis(6_500));
    assert_eq!(records[0].outcome(), RecordOutcome::Waiting);
    for expired in 1..=3 {
        world.run_for(SECOND);
        let told: Vec<_> = records
            .iter()
            .map(|record| record.outcome() != RecordOutcome::Waiting)
            .collect();
        assert_eq!(told, [true, expired >= 2, expired >= 3]);
    }
}

/// S-44: a batch whose time is over before its broker is connected is not sent any more, and is known not to be written.
#[test]
fn a_batch_whose_time_is_over_before_it_could_go_is_not_sent() {
    let world = World::seeded(5).topic("orders", 1).set(|settings| {
        settings.linger = 10 * SECOND;
        settings.delivery_timeout = 10 * SECOND;
    });
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run_for(11 * SECOND);
    assert!(!record.outcome().error().may_be_written());
    world.expect_unsent(Produce);
}

/// S-42: a batch that is drained in the very moment in which its time is over is sent all the same, and told that it may be written.
#[test]
fn a_batch_that_expires_while_it_is_drained_is_sent_all_the_same() {
    let world = World::seeded(5).topic("orders", 1).set(|settings| {
        settings.linger = 10 * SECOND;
        settings.delivery_timeout = 10 * SECOND;
    });
    let producer = world.idempotent();
    let first = producer.send("orders", 0, "connects");
    producer.flush();
    world.run();
    assert_eq!(first.outcome(), written_at(0));
    let record = producer.send("orders", 0, "a");
    world.run_for(11 * SECOND);
    assert!(record.outcome().error().may_be_written());
    world.expect_sent(Produce, 2);
    assert_eq!(world.log("orders", 0), ["connects", "a"]);
}

/// S-43, T-88, T-89: the late answer to a batch that expired after a retry says that it is in the log, so its sequences are known again.
#[test]
fn a_late_answer_makes_the_sequences_of_an_expired_retry_known() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .going_on_behind_gaps()
        .set(|settings| {
            settings.delivery_timeout = 10 * SECOND;
            settings.request_timeout = 4 * SECOND;
        });
    let producer = world.idempotent();
    world.rule(drop_answer(Produce).times(2));
    world.rule(hold_request(Produce));
    let record = producer.send("orders", 0, "a");
    world.run_for(11 * SECOND);
    assert!(record.outcome().error().may_be_written());
    world.release(Produce);
    world.run();
    let next = producer.send("orders", 0, "b");
    world.run();
    assert_eq!(next.outcome(), written_at(1));
    let last = world.batches().pop().expect("a batch");
    assert_eq!((last.epoch, last.base_sequence), (Some(0), Some(1)));
}

/// S-43, T-88 … T-95: a batch that expired after a retry and is never answered leaves its sequences unknown; what follows begins a new epoch.
#[test]
fn an_expired_retry_without_an_answer_begins_a_new_epoch() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .going_on_behind_gaps()
        .set(|settings| {
            settings.delivery_timeout = 10 * SECOND;
            settings.request_timeout = 4 * SECOND;
        });
    let producer = world.idempotent();
    world.rule(drop_answer(Produce).times(3));
    let record = producer.send("orders", 0, "a");
    world.run_for(20 * SECOND);
    assert!(record.outcome().error().may_be_written());
    let next = producer.send("orders", 0, "b");
    world.run();
    assert_eq!(next.outcome(), written_at(1));
    let last = world.batches().pop().expect("a batch");
    assert_eq!((last.epoch, last.base_sequence), (Some(1), Some(0)));
    assert_eq!(world.log("orders", 0), ["a", "b"]);
}
