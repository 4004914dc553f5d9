//! Partitions that stop behind a record of which nobody knows whether it was written (H07).

use std::time::Duration;

use kommit_accumulator::{AppendRefusal, Fate, SendErrorKind};
use kommit_protocol::api::ApiKey::Produce;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{PartitionId, TopicPartition};
use kommit_tests::world::fault::{answer, drop_answer, drop_request, hold};
use kommit_tests::world::{CallOutcome, Producer, RecordOutcome, World, written_at};
use kommit_txn_manager::OnGap;

const SECOND: Duration = Duration::from_secs(1);

/// A world in which a record lives for ten seconds, with one acknowledged record in its log.
fn world_with_one_record(on_gap: OnGap) -> (World, Producer) {
    let world = World::seeded(41).topic("orders", 2).batch_per_record().set(|it| {
        it.on_gap = on_gap;
        it.request_timeout = 5 * SECOND;
        it.delivery_timeout = 10 * SECOND;
    });
    let producer = world.idempotent();
    let first = producer.send("orders", 0, "first");
    world.run();
    assert_eq!(first.outcome(), written_at(0));
    (world, producer)
}

/// What became of a record that must not follow a gap.
fn is_behind_gap(outcome: RecordOutcome) -> bool {
    match outcome {
        RecordOutcome::Failed(error) => {
            *error.kind() == SendErrorKind::BehindGap && error.fate() == Fate::NotWritten
        }
        RecordOutcome::Refused(refusal) => {
            refusal
                == AppendRefusal::Stopped {
                    partition: PartitionId(0),
                }
        }
        RecordOutcome::Waiting | RecordOutcome::Written(_) => false,
    }
}

/// H07: behind a record of unknown fate the partition refuses what is sent to it, and what waited there fails unwritten; other
/// partitions go on. Acknowledged, it takes records again.
#[test]
fn a_partition_stops_behind_a_record_of_unknown_fate_until_that_is_acknowledged() {
    let (world, producer) = world_with_one_record(OnGap::Stop);
    world.rule(drop_request(Produce).partition("orders", 0));
    let lost = producer.send("orders", 0, "lost");
    world.run_for(15 * SECOND);
    assert!(lost.outcome().error().may_be_written());
    world.release(Produce);

    let refused = producer.send("orders", 0, "refused");
    let elsewhere = producer.send("orders", 1, "elsewhere");
    let stopped = producer.stopped_partitions();
    world.run();
    assert!(is_behind_gap(refused.outcome()), "{:?}", refused.outcome());
    assert_eq!(elsewhere.outcome(), written_at(0));
    let place = TopicPartition::new("orders", 0);
    assert_eq!(stopped.outcome(), CallOutcome::Stopped(vec![place]));

    let acknowledged = producer.acknowledge_gap("orders", 0);
    world.run();
    assert_eq!(acknowledged.outcome(), CallOutcome::GapAcknowledged);
    let behind = producer.send("orders", 0, "behind");
    let again = producer.acknowledge_gap("orders", 0);
    world.run();
    assert_eq!(behind.outcome(), written_at(1));
    assert_eq!(again.outcome(), CallOutcome::NoGap);
    assert_eq!(world.log("orders", 0), ["first", "behind"]);
}

/// H07: what was queued behind the record of unknown fate is not sent any more, and says that it was not.
#[test]
fn what_waits_behind_a_gap_fails_unwritten() {
    let (world, producer) = world_with_one_record(OnGap::Stop);
    world.rule(drop_request(Produce).once());
    let lost = producer.send("orders", 0, "lost");
    world.run_for(4 * SECOND);
    // From now on every attempt is refused before it is looked at; what became of the first one stays unknown (R1).
    world.rule(answer(Produce, ErrorCode::NotEnoughReplicas));
    world.run_for(2 * SECOND);
    let later: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|value| producer.send("orders", 0, value))
        .collect();
    world.run_for(5 * SECOND);
    assert!(lost.outcome().error().may_be_written());
    world.release(Produce);
    world.run();
    for sending in &later {
        assert!(is_behind_gap(sending.outcome()), "{:?}", sending.outcome());
    }
    assert_eq!(world.log("orders", 0), ["first"]);
}

/// H07, R2: a later batch that was sent before its predecessor's fate was given up keeps its name: it is written only if the
/// predecessor was.
#[test]
fn a_batch_in_flight_behind_a_gap_is_written_only_behind_its_predecessor() {
    let (world, producer) = world_with_one_record(OnGap::Stop);
    world.rule(drop_answer(Produce));
    let unanswered = producer.send("orders", 0, "unanswered");
    world.run_for(SECOND);
    let in_flight = producer.send("orders", 0, "in flight");
    world.run_for(15 * SECOND);
    world.release(Produce);
    world.run();
    for sending in [&unanswered, &in_flight] {
        assert!(sending.outcome().error().may_be_written());
    }
    let acknowledged = producer.acknowledge_gap("orders", 0);
    world.run();
    assert_eq!(acknowledged.outcome(), CallOutcome::GapAcknowledged);
    let behind = producer.send("orders", 0, "behind");
    world.run();
    assert!(matches!(behind.outcome(), RecordOutcome::Written(_)));
    assert_eq!(
        world.log("orders", 0),
        ["first", "unanswered", "in flight", "behind"]
    );
}

/// H07: who asks for it goes on behind a gap; the record before it may be lost, and its delivery says so.
#[test]
fn who_wants_it_goes_on_behind_a_gap() {
    let (world, producer) = world_with_one_record(OnGap::Continue);
    world.rule(drop_request(Produce).once());
    let hold_back = world.rule_while(hold(Produce));
    let lost = producer.send("orders", 0, "lost");
    world.run_for(15 * SECOND);
    drop(hold_back);
    assert!(lost.outcome().error().may_be_written());
    let stopped = producer.stopped_partitions();
    let behind = producer.send("orders", 0, "behind");
    world.run();
    assert_eq!(stopped.outcome(), CallOutcome::Stopped(Vec::new()));
    assert!(matches!(behind.outcome(), RecordOutcome::Written(_)));
}

/// H07: a record that is proven not written leaves no gap, so that nothing stops.
#[test]
fn a_record_that_is_not_written_stops_nothing() {
    let (world, producer) = world_with_one_record(OnGap::Stop);
    world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
    let refused = producer.send("orders", 0, "refused");
    world.run();
    assert!(!refused.outcome().error().may_be_written());
    let behind = producer.send("orders", 0, "behind");
    world.run();
    assert_eq!(behind.outcome(), written_at(1));
}
