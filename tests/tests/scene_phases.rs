//! The phases of `run()`: the main loop, the graceful drain, the abort of an unfinished transaction, the forced close, the end.

use std::time::Duration;

use kommit_accumulator::{AppendRefusal, GateReason, SendErrorKind};
use kommit_broker::coordinator::interface::ShardState;
use kommit_protocol::api::ApiKey::{EndTxn, Metadata, Produce};
use kommit_sender::Phase;
use kommit_tests::world::fault::{hold, hold_request};
use kommit_tests::world::link::Reachable;
use kommit_tests::world::{CallOutcome, RecordOutcome, World, committed, waiting, written_at};
use kommit_txn_manager::TransactionFate;

const SECOND: Duration = Duration::from_secs(1);

/// S-5, S-46: the main loop acts when something happens; three minutes without an event wake nobody.
#[test]
fn an_idle_producer_wakes_nothing() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    // The alarms of the requests and connections that came well are not taken back: one minute lets them ring.
    world.run_for(60 * SECOND);
    let turns = world.turns();
    world.run_for(180 * SECOND);
    assert_eq!(world.turns(), turns);
    assert_eq!(producer.phase(), Phase::Running);
}

/// S-7: a graceful close waits for the answer of what is in flight.
#[test]
fn a_graceful_close_waits_for_the_answer_of_what_is_in_flight() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.rule(hold(Produce));
    world.run();
    producer.close();
    world.run();
    assert_eq!(producer.phase(), Phase::Draining);
    assert_eq!(record.outcome(), RecordOutcome::Waiting);

    world.release(Produce);
    world.run();
    assert_eq!(record.outcome(), written_at(0));
    assert!(producer.is_closed());
}

/// S-7, A-37: a closed producer does not linger: what is still in its queue is sent at once.
#[test]
fn a_graceful_close_sends_what_is_still_queued() {
    let world = World::seeded(1)
        .topic("orders", 2)
        .set(|settings| settings.linger = 60 * SECOND);
    let producer = world.idempotent();
    let records = [producer.send("orders", 0, "a"), producer.send("orders", 1, "b")];
    world.run();
    world.expect_unsent(Produce);
    producer.close();
    world.run();
    assert_eq!(
        records.map(|record| record.outcome()),
        [written_at(0), written_at(0)]
    );
    assert!(producer.is_closed());
    assert!(world.now() < 10 * SECOND);
}

/// S-16, S-18, P-9: from the close on no record is accepted, so nothing is appended behind the loop's back.
#[test]
fn nothing_is_appended_after_a_close() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.idempotent();
    let before = producer.send("orders", 0, "a");
    producer.close();
    world.run();
    let after = producer.send("orders", 0, "b");
    world.run();
    let refused = AppendRefusal::Refused(GateReason::ProducerClosed);
    assert_eq!(
        (before.outcome(), after.outcome()),
        (written_at(0), RecordOutcome::Refused(refused))
    );
    assert_eq!(world.log("orders", 0), ["a"]);
}

/// S-9: a transaction that nobody ended is aborted before the producer goes.
#[test]
fn a_graceful_close_aborts_the_transaction_that_nobody_ended() {
    for version in [1, 2] {
        let world = World::seeded(1).topic("orders", 1).transaction_version(version);
        let producer = world.transactional("t-1");
        producer.begin();
        let record = producer.send("orders", 0, "a");
        producer.close();
        world.run();
        assert_eq!(record.outcome(), written_at(0));
        assert!(producer.is_closed());
        world.expect_sent(EndTxn, 1);
        assert!(
            world.sent(EndTxn)[0].summary.starts_with("abort"),
            "{}",
            world.trace()
        );
        assert_eq!(world.log("orders", 0), ["a"]);
        assert_eq!(world.committed("orders", 0), [""; 0]);
    }
}

/// S-11: a commit that is under way when the producer is closed may succeed; no abort is begun beside it.
#[test]
fn a_commit_under_way_at_the_close_succeeds() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.rule(hold_request(EndTxn));
    let commit = producer.commit();
    world.run();
    world.expect_sent(EndTxn, 1);
    producer.close();
    world.run();
    assert!(!producer.is_closed());
    assert_eq!(commit.outcome(), waiting());

    world.release(EndTxn);
    world.run();
    assert_eq!(commit.outcome(), committed());
    assert!(producer.is_closed());
    world.expect_sent(EndTxn, 1);
    assert_eq!(world.committed("orders", 0), ["a"]);
}

/// S-9, S-11, T-40: an abort at the close waits for the batches in flight, as every end of a transaction.
#[test]
fn the_abort_at_the_close_waits_for_what_is_in_flight() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.rule(hold(Produce));
    world.run();
    producer.close();
    world.run();
    world.expect_unsent(EndTxn);
    world.release(Produce);
    world.run();
    world.expect_sent(EndTxn, 1);
    assert!(producer.is_closed());
}

/// S-8: a coordinator that is looked up outside of any transaction does not hold up the close.
#[test]
fn a_lookup_outside_of_a_transaction_does_not_hold_up_the_close() {
    let world = World::seeded(1);
    world.set_transaction_coordinator(ShardState::Loading);
    let producer = world.uninitialized("t-1");
    let initialize = producer.initialize();
    world.run_for(5 * SECOND);
    assert_eq!(initialize.outcome(), waiting());
    producer.close();
    world.run_for(SECOND);
    assert!(producer.is_closed());
    assert_eq!(initialize.outcome(), CallOutcome::SenderGone);
}

/// S-13, S-17, T-58, A-84: a forced close fails the transactional call and every record; what was written may be in the log.
#[test]
fn a_forced_close_fails_everything_that_waits() {
    let world = World::seeded(1).topic("orders", 2);
    let producer = world.transactional("t-1");
    producer.begin();
    let sent = producer.send("orders", 0, "a");
    world.rule(hold(Produce));
    world.run();
    let commit = producer.commit();
    world.run();
    let begun = world.now();
    producer.force_close();
    world.run();
    assert!(producer.is_closed());
    assert!(world.now() - begun < SECOND);
    let CallOutcome::Dead(_, fate) = commit.outcome() else {
        panic!("{:?}", commit.outcome())
    };
    assert_eq!(fate, TransactionFate::NotCommitted, "no EndTxn was written");
    let error = sent.outcome().error();
    assert_eq!(*error.kind(), SendErrorKind::ClosedForcefully);
    assert!(error.may_be_written());
    assert_eq!(world.committed("orders", 0), [""; 0]);
}

/// S-13, R8: when EndTxn was written, a forced close cannot know the outcome of the commit and says so.
#[test]
fn a_forced_close_leaves_a_written_commit_in_doubt() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.rule(hold(EndTxn));
    let commit = producer.commit();
    world.run();
    producer.force_close();
    world.run();
    assert!(
        matches!(commit.outcome(), CallOutcome::Dead(_, TransactionFate::InDoubt)),
        "{:?}",
        commit.outcome()
    );
    assert_eq!(world.committed("orders", 0), ["a"]);
}

/// S-13: a record that never left the producer is known not to be written.
#[test]
fn a_forced_close_knows_which_records_never_left() {
    let world = World::seeded(1)
        .topic("orders", 1)
        .set(|settings| settings.linger = 60 * SECOND);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run();
    producer.force_close();
    world.run();
    let error = record.outcome().error();
    assert_eq!(
        (error.kind().clone(), error.may_be_written()),
        (SendErrorKind::ClosedForcefully, false)
    );
    world.expect_unsent(Produce);
}

/// S-15: a forced close is seen in the middle of a graceful one.
#[test]
fn a_forced_close_ends_a_graceful_one() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.rule(hold(Produce));
    world.run();
    producer.close();
    world.run();
    assert_eq!(producer.phase(), Phase::Draining);
    producer.force_close();
    world.run();
    assert!(producer.is_closed());
    assert_eq!(*record.outcome().error().kind(), SendErrorKind::ClosedForcefully);
}

/// S-15: … and while the unfinished transaction is being aborted by a coordinator that does not answer.
#[test]
fn a_forced_close_ends_an_abort_that_nobody_answers() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.rule(hold_request(EndTxn));
    producer.close();
    world.run();
    assert!(!producer.is_closed());
    producer.force_close();
    world.run();
    assert!(producer.is_closed());
}

/// S-17: both closes may be repeated.
#[test]
fn closing_again_changes_nothing() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    producer.close();
    producer.close();
    world.run();
    producer.force_close();
    producer.force_close();
    producer.close();
    world.run();
    assert!(producer.is_closed());
    assert_eq!(record.outcome(), written_at(0));
}

/// S-14: at the end every connection is closed, whatever the way there was.
#[test]
fn the_end_closes_every_connection() {
    let world = World::seeded(1).topic("orders", 1);
    let producer = world.idempotent();
    producer.send("orders", 0, "a");
    world.run();
    producer.close();
    world.run();
    let trace = world.trace();
    assert_eq!(
        trace.matches(" connect ").count(),
        trace.matches(" close ").count()
    );
    let sent = world.sent(Metadata).len();
    world.run_for(Duration::from_secs(900));
    world.expect_sent(Metadata, sent);
}

/// S-7: a graceful close without any broker ends when the last record has expired.
#[test]
fn a_graceful_close_without_brokers_ends_with_the_last_expiry() {
    let world = World::seeded(1)
        .topic("orders", 1)
        .set(|settings| settings.delivery_timeout = 20 * SECOND);
    world.reachable(1, Reachable::Refused);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    producer.close();
    world.run_for(19 * SECOND);
    assert!(!producer.is_closed());
    world.run_for(2 * SECOND);
    assert!(producer.is_closed());
    assert!(matches!(
        record.outcome().error().kind(),
        SendErrorKind::DeliveryTimeout { .. }
    ));
}
