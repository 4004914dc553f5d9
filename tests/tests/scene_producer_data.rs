//! `sendProducerData()`: ready, connect, drain, mute, expire, send, and the order of what is in flight.

use std::time::Duration;

use kommit_accumulator::{SendErrorKind, StickyChoice};
use kommit_network::Acks;
use kommit_protocol::api::ApiKey::{InitProducerId, Metadata, Produce};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{
    answer, delay, disconnect_after, disconnect_before, drop_answer, hold, hold_request,
};
use kommit_tests::world::link::Reachable;
use kommit_tests::world::{CallOutcome, Producer, RecordOutcome, Sending, World, written_at};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn send_numbers(producer: &Producer, numbers: std::ops::Range<usize>) -> Vec<Sending> {
    numbers
        .map(|number| producer.send("orders", 0, &number.to_string()))
        .collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn offsets_of(records: &[Sending]) -> Vec<RecordOutcome> {
    records.iter().map(Sending::outcome).collect()
}

/// S-38, S-39: a partition without a known leader asks for metadata, with back-off, until there is one.
#[test]
fn a_partition_without_leader_asks_for_metadata_until_there_is_one() {
    let world = World::seeded(5).topic("orders", 1);
    world.move_leader("orders", 0, None);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run_for(10 * SECOND);
    world.expect_unsent(Produce);
    let asked = world.sent(Metadata).len();
    assert!(
        (8..=100).contains(&asked),
        "between one a second and ten a second: {asked}"
    );
    world.move_leader("orders", 0, Some(1));
    world.run();
    assert_eq!(record.outcome(), written_at(0));
}

/// D-15: when the leader moves away from unanswered batches, the new one is not sent more than it remembers, so that each is recognised
/// when it comes again.
#[test]
fn a_moved_leader_recognises_the_batches_that_were_not_answered() {
    let world = World::with_brokers(5, 2).topic("orders", 2).batch_per_record();
    world.move_leader("orders", 0, Some(1));
    world.move_leader("orders", 1, Some(2));
    let producer = world.idempotent();
    producer.send("orders", 0, "0");
    producer.send("orders", 1, "elsewhere");
    world.run();
    world.rule(drop_answer(Produce).once());
    let unanswered = send_numbers(&producer, 1..5);
    world.run();
    world.move_leader("orders", 0, Some(2));
    world.move_leader("orders", 1, Some(1));
    // Its refusal brings the new metadata.
    producer.send("orders", 1, "to the former leader");
    world.run();
    let later = send_numbers(&producer, 5..15);
    world.run_for(120 * SECOND);
    let told = offsets_of(&unanswered).into_iter().chain(offsets_of(&later));
    assert!(told.into_iter().all(|it| matches!(it, RecordOutcome::Written(_))));
    assert_eq!(world.log("orders", 0), numbers(0..15));
}

/// S-39: the other partitions do not wait for the one without leader.
#[test]
fn a_partition_without_leader_holds_up_no_other() {
    let world = World::seeded(5).topic("orders", 2);
    world.move_leader("orders", 0, None);
    let producer = world.idempotent();
    let (stuck, free) = (producer.send("orders", 0, "a"), producer.send("orders", 1, "b"));
    world.run_for(SECOND);
    assert_eq!(
        (stuck.outcome(), free.outcome()),
        (RecordOutcome::Waiting, written_at(0))
    );
}

/// S-40, S-46: a broker that cannot be connected to is left out, holds up no other, and causes no busy loop.
#[test]
fn a_broker_out_of_reach_holds_up_no_other() {
    let world = World::with_brokers(5, 2).topic("orders", 2);
    world.move_leader("orders", 0, Some(1));
    world.move_leader("orders", 1, Some(2));
    world.reachable(2, Reachable::Refused);
    let producer = world.idempotent();
    let (near, far) = (producer.send("orders", 0, "a"), producer.send("orders", 1, "b"));
    world.run_for(20 * SECOND);
    assert_eq!(
        (near.outcome(), far.outcome()),
        (written_at(0), RecordOutcome::Waiting)
    );
    let attempts = world.trace().matches("to broker 2: Refused").count();
    assert!(
        (10..=60).contains(&attempts),
        "the reconnect back-off grows to a second: {attempts}"
    );
    assert!(world.turns() < 600, "{} turns in twenty seconds", world.turns());

    world.reachable(2, Reachable::Yes);
    world.run();
    assert_eq!(far.outcome(), written_at(0));
}

/// S-40, A-30: records without a key go around a broker that takes nothing for too long, and come back to it when it does.
#[test]
fn records_without_a_key_go_around_a_stalled_broker() {
    let world = World::with_brokers(5, 2)
        .topic("orders", 2)
        .batch_per_record()
        .set(|settings| {
            settings.sticky_choice = StickyChoice::Adaptive {
                availability_timeout: Some(5 * SECOND),
            };
        });
    world.move_leader("orders", 0, Some(1));
    world.move_leader("orders", 1, Some(2));
    world.reachable(2, Reachable::Refused);
    let producer = world.idempotent();
    let (near, far) = (producer.send("orders", 0, "a"), producer.send("orders", 1, "b"));
    world.run_for(10 * SECOND);
    assert_eq!(
        (near.outcome(), far.outcome()),
        (written_at(0), RecordOutcome::Waiting)
    );
    // The partition of the first one was chosen before anything was known.
    producer.send_unkeyed("orders", "first");
    let around: Vec<Sending> = (0..30)
        .map(|number| producer.send_unkeyed("orders", &number.to_string()))
        .collect();
    world.run_for(SECOND);
    let is_written = |record: &Sending| matches!(record.outcome(), RecordOutcome::Written(_));
    assert!(around.iter().all(is_written), "{:?}", offsets_of(&around));

    world.reachable(2, Reachable::Yes);
    world.run_for(10 * SECOND);
    for number in 0..30 {
        producer.send_unkeyed("orders", &number.to_string());
    }
    world.run();
    assert!(world.log("orders", 1).len() > 5, "{:?}", world.log("orders", 1));
}

/// S-41, S-48: one request for each broker, with at most one batch of each partition.
#[test]
fn each_broker_gets_one_request_with_one_batch_of_each_partition() {
    let world = World::with_brokers(5, 2).topic("orders", 4).batch_per_record();
    for partition in 0..4 {
        world.move_leader("orders", partition, Some(1 + partition % 2));
    }
    let producer = world.idempotent();
    for partition in 0..4 {
        producer.send("orders", partition, "first");
    }
    world.run();
    for partition in 0..4 {
        producer.send("orders", partition, "a");
        producer.send("orders", partition, "b");
    }
    world.run();
    let requests = &world.sent(Produce);
    assert_eq!(requests.len(), 6, "{requests:#?}");
    for request in requests {
        let partitions: Vec<_> = request
            .batches
            .iter()
            .map(|batch| batch.partition.as_str())
            .collect();
        let own = if request.broker == 1 {
            ["orders-0", "orders-2"]
        } else {
            ["orders-1", "orders-3"]
        };
        let mut sorted = partitions.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, own);
    }
}

/// S-41 a: a request does not grow beyond `max.request.size`; what does not fit goes with the next one.
#[test]
fn a_request_stays_below_its_largest_size() {
    let world = World::seeded(5)
        .topic("orders", 6)
        .set(|settings| settings.max_request_size = 2_500);
    let producer = world.idempotent();
    let value = "x".repeat(1_000);
    let records: Vec<Sending> = (0..6)
        .map(|partition| producer.send("orders", partition, &value))
        .collect();
    world.run();
    assert!(
        offsets_of(&records)
            .iter()
            .all(|outcome| *outcome == written_at(0))
    );
    let batches: Vec<usize> = world
        .sent(Produce)
        .iter()
        .map(|request| request.batches.len())
        .collect();
    assert_eq!(batches, [2, 2, 2]);
}

/// S-46, A-36: a batch that lingers is sent when its time is over, and not a moment earlier.
#[test]
fn a_lingering_batch_goes_when_its_time_is_over() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .set(|settings| settings.linger = 50 * MILLI);
    let producer = world.idempotent();
    producer.send("orders", 0, "first");
    world.run();
    let begun = world.now();
    producer.send("orders", 0, "a");
    world.run_for(20 * MILLI);
    producer.send("orders", 0, "b");
    world.run();
    let last = world.batches().pop().expect("a batch");
    assert_eq!(
        (last.at - begun, last.values),
        (50 * MILLI, vec!["a".to_owned(), "b".to_owned()])
    );
}

/// P-36, A-81, A-82: a flush sends what lingers, and is answered when it has its outcome.
#[test]
fn a_flush_sends_what_lingers() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .set(|settings| settings.linger = 600 * SECOND);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run();
    let flush = producer.flush();
    world.rule(hold(Produce));
    world.run();
    world.expect_sent(Produce, 1);
    assert_eq!(flush.outcome(), CallOutcome::Waiting);
    world.release(Produce);
    world.run();
    assert_eq!(
        (record.outcome(), flush.outcome()),
        (written_at(0), CallOutcome::Flushed)
    );
}

/// S-1, S-41 c, S-62, S-77: with one request in flight, a partition rests until its batch is answered.
#[test]
fn with_one_request_in_flight_a_partition_rests() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .batch_per_record()
        .set(|settings| settings.max_in_flight = 1);
    let producer = world.plain();
    world.rule(hold(Produce).once());
    let records = send_numbers(&producer, 0..3);
    world.run();
    world.expect_sent(Produce, 1);
    world.release(Produce);
    world.run();
    world.expect_sent(Produce, 3);
    assert_eq!(
        offsets_of(&records),
        [written_at(0), written_at(1), written_at(2)]
    );
}

/// S-77: … and a batch that is put back is sent again before anything younger, so that order holds without sequences.
#[test]
fn with_one_request_in_flight_a_retry_keeps_the_order() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .batch_per_record()
        .set(|settings| settings.max_in_flight = 1);
    let producer = world.plain();
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas).times(2));
    let records = send_numbers(&producer, 0..3);
    world.run();
    assert_eq!(world.log("orders", 0), numbers(0..3));
    assert_eq!(
        offsets_of(&records),
        [written_at(0), written_at(1), written_at(2)]
    );
}

/// S-78: a partition has up to five batches in flight, and not a sixth.
#[test]
fn a_partition_has_five_batches_in_flight() {
    let world = World::seeded(5).topic("orders", 1).batch_per_record();
    let producer = world.idempotent();
    send_numbers(&producer, 0..1);
    world.run();
    world.rule(hold_request(Produce));
    let records = send_numbers(&producer, 1..8);
    world.run();
    world.expect_sent(Produce, 6);
    world.release(Produce);
    world.run();
    assert_eq!(world.log("orders", 0), numbers(0..8));
    assert_eq!(offsets_of(&records), (1..8).map(written_at).collect::<Vec<_>>());
}

/// S-78: where answers are late, five batches of a partition are on their way all the time, and never six.
#[test]
fn late_answers_leave_five_batches_in_flight() {
    let world = World::seeded(5).topic("orders", 1).batch_per_record();
    let producer = world.idempotent();
    send_numbers(&producer, 0..1);
    world.run();
    world.rule(delay(Produce, 100 * MILLI));
    let records = send_numbers(&producer, 1..51);
    for _ in 0..55 {
        world.run_for(100 * MILLI);
        let sent = world.sent(Produce).len() - 1;
        let answered = offsets_of(&records)
            .into_iter()
            .filter(|outcome| *outcome != RecordOutcome::Waiting)
            .count();
        assert_eq!(sent, (answered + 5).min(50), "{answered} are answered");
    }
    assert_eq!(records.last().expect("fifty records").outcome(), written_at(50));
}

/// S-78, A-48, A-73: the first of five batches is refused, the others are out of order behind it: all are sent again, in order, once each.
#[test]
fn order_is_kept_when_the_first_of_five_is_refused() {
    let world = World::seeded(5).topic("orders", 1).batch_per_record();
    let producer = world.idempotent();
    send_numbers(&producer, 0..1);
    world.run();
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas).once());
    let records = send_numbers(&producer, 1..6);
    world.run();
    assert_eq!(world.log("orders", 0), numbers(0..6));
    assert_eq!(offsets_of(&records), (1..6).map(written_at).collect::<Vec<_>>());
    assert!(
        world.batches().iter().all(|batch| batch.epoch == Some(0)),
        "no epoch is bumped"
    );
    world.expect_sent(InitProducerId, 1);
}

/// S-78, A-48: whichever of five batches meets a broken connection, before or after the broker took it, the log has each once, in order.
#[test]
fn order_is_kept_across_broken_connections() {
    for seed in 0..8 {
        for skip in 0..5 {
            for fault in [disconnect_before(Produce), disconnect_after(Produce)] {
                let world = World::seeded(seed).topic("orders", 1).batch_per_record();
                let producer = world.idempotent();
                world.rule(fault.skip(skip).times(2));
                let records = send_numbers(&producer, 0..8);
                world.run();
                assert_eq!(world.log("orders", 0), numbers(0..8));
                assert!(
                    records
                        .iter()
                        .all(|record| matches!(record.outcome(), RecordOutcome::Written(_)))
                );
            }
        }
    }
}

/// S-78: … and the same when all connections are cut in the middle of the traffic.
#[test]
fn order_is_kept_when_the_network_is_cut() {
    for seed in 0..20 {
        let world = World::seeded(seed).topic("orders", 1).batch_per_record();
        let producer = world.idempotent();
        let mut records = Vec::new();
        for round in 0..6 {
            records.extend(send_numbers(&producer, round * 5..round * 5 + 5));
            world.run_for((90 + 7 * u32::try_from(seed).expect("small")) * MILLI / 10);
            world.cut(1);
        }
        world.run();
        assert_eq!(world.log("orders", 0), numbers(0..30));
        assert!(
            records
                .iter()
                .all(|record| matches!(record.outcome(), RecordOutcome::Written(_)))
        );
    }
}

/// S-56, R14: an answer that stays out for `request.timeout.ms` costs the connection; the batch is sent again and is in the log once.
#[test]
fn an_unanswered_request_is_sent_again_on_a_new_connection() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .set(|settings| settings.request_timeout = 5 * SECOND);
    let producer = world.idempotent();
    world.rule(drop_answer(Produce).once());
    let record = producer.send("orders", 0, "a");
    world.run_for(4 * SECOND);
    world.expect_sent(Produce, 1);
    world.run_for(2 * SECOND);
    let requests = world.sent(Produce);
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].connection, requests[1].connection);
    assert_eq!(requests[0].summary, requests[1].summary);
    assert!(matches!(record.outcome(), RecordOutcome::Written(_)));
    assert_eq!(world.log("orders", 0), ["a"]);
}

/// R1, S-56: a request of which not one byte was written is known not to be applied; one that was written is not.
#[test]
fn only_an_unwritten_request_is_known_not_to_be_applied() {
    for (is_stalled, may_be_written) in [(true, false), (false, true)] {
        let world = World::seeded(5)
            .topic("orders", 1)
            .set(|settings| settings.retries = 0);
        let producer = world.plain();
        producer.send("orders", 0, "first");
        world.run();
        if is_stalled {
            world.stall(1);
        }
        world.rule(hold(Produce));
        let record = producer.send("orders", 0, "a");
        world.run_for(SECOND);
        world.cut(1);
        world.run();
        let error = record.outcome().error();
        assert_eq!(
            (error.kind().clone(), error.may_be_written()),
            (SendErrorKind::Disconnected, may_be_written)
        );
    }
}

/// S-19, S-53, S-60, S-79: with acks = 0 a batch is delivered when it is written, and nobody knows where.
#[test]
fn with_acks_none_a_record_has_no_offset() {
    let world = World::seeded(5)
        .topic("orders", 1)
        .set(|settings| settings.acks = Acks::None);
    let producer = world.plain();
    let record = producer.send("orders", 0, "a");
    world.run();
    assert_eq!(record.outcome(), RecordOutcome::Written(None));
    assert_eq!(world.log("orders", 0), ["a"]);
}
