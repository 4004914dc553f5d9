//! The steps of `runOnce()` before any batch is sent: fatal state, recovery, identity, and the one transactional request.

use std::time::Duration;

use kommit_accumulator::{AppendRefusal, GateReason, SendErrorKind};
use kommit_broker::coordinator::interface::ShardState;
use kommit_protocol::api::ApiKey::{
    AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, FindCoordinator, InitProducerId, Produce,
};
use kommit_protocol::api::VersionRange;
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, disconnect_after, disconnect_before, hold};
use kommit_tests::world::link::Reachable;
use kommit_tests::world::{CallOutcome, RecordOutcome, World, aborted, committed, waiting, written_at};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// S-23: a fatal error tells every record at once, the one that waits and the one on the wire.
#[test]
fn a_fatal_error_tells_what_waits_and_what_is_in_flight() {
    let world = World::with_brokers(3, 2)
        .topic("orders", 2)
        .transaction_version(1);
    world.move_transaction_coordinator(1);
    world.move_leader("orders", 0, Some(2));
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(hold(Produce));
    let in_flight = producer.send("orders", 0, "a");
    world.run_until_sent(Produce, 1);
    world.rule(answer(AddPartitionsToTxn, ErrorCode::ProducerFenced).once());
    let queued = producer.send("orders", 1, "b");
    world.run_for(SECOND);
    let [in_flight, queued] = [in_flight, queued].map(|record| record.outcome().error());
    assert!(in_flight.is_fatal() && in_flight.may_be_written(), "{in_flight}");
    assert!(queued.is_fatal() && !queued.may_be_written(), "{queued}");
}

/// S-21, S-23: in the fatal state every record fails and nothing is sent any more.
#[test]
fn a_fenced_producer_sends_nothing_any_more() {
    let world = World::seeded(3).topic("orders", 2);
    let older = world.transactional("t-1");
    older.begin();
    older.send("orders", 0, "a");
    world.run();
    let newer = world.transactional("t-1");
    let (lost, commit) = (older.send("orders", 1, "b"), older.commit());
    world.run();
    assert!(
        commit.outcome().is_dead() || commit.outcome().must_abort(),
        "{:?}",
        commit.outcome()
    );
    assert!(
        matches!(lost.outcome(), RecordOutcome::Failed(_)),
        "{:?}",
        lost.outcome()
    );
    let abort = older.abort();
    world.run();
    assert!(
        matches!(abort.outcome(), CallOutcome::Dead(..) | CallOutcome::Refused(_)),
        "the abort finds out that the producer is fenced: {:?}",
        abort.outcome()
    );
    let sent = (world.sent(Produce).len(), world.sent(EndTxn).len());
    world.run_for(30 * SECOND);
    assert_eq!((world.sent(Produce).len(), world.sent(EndTxn).len()), sent);
    let refused = older.send("orders", 0, "c").outcome();
    assert!(
        matches!(
            refused,
            RecordOutcome::Refused(AppendRefusal::Refused(GateReason::Fatal(_)))
        ),
        "{refused:?}"
    );

    newer.begin();
    newer.send("orders", 0, "d");
    let commit = newer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    assert_eq!(world.committed("orders", 0), ["d"]);
}

/// S-24, S-25: refused permission for the transactional id, an initialize can be repeated on the same producer.
#[test]
fn initialize_can_be_repeated_after_a_refused_permission() {
    let world = World::seeded(3).topic("orders", 1);
    world.rule(answer(InitProducerId, ErrorCode::TransactionalIdAuthorizationFailed).once());
    let producer = world.uninitialized("t-1");
    let refused = producer.initialize();
    world.run();
    assert!(
        matches!(refused.outcome(), CallOutcome::NotInitialized(_)),
        "{:?}",
        refused.outcome()
    );
    let again = producer.initialize();
    world.run();
    assert_eq!(again.outcome(), CallOutcome::Initialized);
    producer.begin();
    producer.send("orders", 0, "a");
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
}

/// S-24, S-25: an idempotent producer that was refused fails what waits, and asks again by itself.
#[test]
fn a_refused_idempotent_producer_fails_what_waits_and_asks_again() {
    let world = World::seeded(3).topic("orders", 1);
    world.rule(answer(InitProducerId, ErrorCode::ClusterAuthorizationFailed).once());
    let producer = world.idempotent();
    let first = producer.send("orders", 0, "a");
    world.run();
    let error = first.outcome().error();
    assert_eq!(
        (error.code(), error.may_be_written()),
        (Some(ErrorCode::ClusterAuthorizationFailed), false)
    );
    let second = producer.send("orders", 0, "b");
    world.run();
    assert_eq!(second.outcome(), written_at(0));
    world.expect_sent(InitProducerId, 2);
}

/// S-20, T-95: an idempotent producer has its identity before the first batch is drained.
#[test]
fn no_batch_is_drained_before_there_is_an_identity() {
    let world = World::seeded(3).topic("orders", 1);
    world.rule(hold(InitProducerId));
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run();
    world.expect_sent(InitProducerId, 1);
    world.expect_unsent(Produce);
    world.release(InitProducerId);
    world.run();
    assert_eq!(record.outcome(), written_at(0));
    assert_eq!(world.batches()[0].base_sequence, Some(0));
}

/// S-26: while a transactional request is out, nothing is drained, not even for a partition that has joined already.
#[test]
fn nothing_is_drained_while_a_transactional_request_is_out() {
    let world = World::seeded(3).topic("orders", 2).transaction_version(1);
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.run();
    world.expect_sent(Produce, 1);

    world.rule(hold(AddPartitionsToTxn));
    let records = [producer.send("orders", 0, "b"), producer.send("orders", 1, "c")];
    world.run();
    world.expect_sent(AddPartitionsToTxn, 2);
    world.expect_sent(Produce, 1);

    world.release(AddPartitionsToTxn);
    world.run();
    assert_eq!(
        records.map(|record| record.outcome()),
        [written_at(1), written_at(0)]
    );
}

/// S-26, S-34: at most one transactional request is out at a time.
#[test]
fn transactional_requests_go_one_after_the_other() {
    let world = World::seeded(3).topic("orders", 2).transaction_version(1);
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(hold(AddOffsetsToTxn));
    let offsets = producer.send_offset("readers", "orders", 7);
    producer.send("orders", 0, "a");
    let commit = producer.commit();
    world.run();
    world.expect_sent(AddOffsetsToTxn, 1);
    world.expect_unsent(AddPartitionsToTxn);
    world.expect_unsent(EndTxn);
    world.release(AddOffsetsToTxn);
    world.run();
    assert_eq!(
        (offsets.outcome(), commit.outcome()),
        (CallOutcome::OffsetsAdded, committed())
    );
}

/// S-27: an abort fails what has not been drained, and does not send it.
#[test]
fn an_abort_fails_what_was_not_drained() {
    for version in [1, 2] {
        let world = World::seeded(3)
            .topic("orders", 1)
            .transaction_version(version)
            .set(|settings| settings.linger = 60 * SECOND);
        let producer = world.transactional("t-1");
        producer.begin();
        let record = producer.send("orders", 0, "a");
        let abort = producer.abort();
        world.run();
        let error = record.outcome().error();
        assert_eq!(
            (error.kind().clone(), error.may_be_written()),
            (SendErrorKind::TransactionAborted, false)
        );
        assert_eq!(abort.outcome(), aborted());
        world.expect_unsent(Produce);
    }
}

/// S-27: after an abortable error what has not been drained fails with it, and only an abort is left.
#[test]
fn an_abortable_error_fails_what_was_not_drained() {
    let world = World::seeded(3)
        .topic("orders", 2)
        .set(|settings| settings.linger = SECOND);
    let producer = world.transactional("t-1");
    producer.begin();
    world.rule(
        answer(Produce, ErrorCode::TopicAuthorizationFailed)
            .partition("orders", 0)
            .once(),
    );
    let refused = producer.send("orders", 0, "a");
    world.run_for(900 * MILLI);
    let undrained = producer.send("orders", 1, "b");
    world.run();
    assert_eq!(
        refused.outcome().error().code(),
        Some(ErrorCode::TopicAuthorizationFailed)
    );
    let error = undrained.outcome().error();
    assert!(error.requires_abort() && !error.may_be_written(), "{error:?}");
    let commit = producer.commit();
    world.run();
    assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
    let abort = producer.abort();
    world.run();
    assert_eq!(abort.outcome(), aborted());
    assert_eq!(world.committed("orders", 0), [""; 0]);
}

/// T-40, S-28: an abort waits for the batches in flight before it asks for the end.
#[test]
fn an_abort_waits_for_what_is_in_flight() {
    let world = World::seeded(3).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    let record = producer.send("orders", 0, "a");
    world.rule(hold(Produce));
    world.run();
    let abort = producer.abort();
    world.run();
    world.expect_unsent(EndTxn);
    world.release(Produce);
    world.run();
    assert_eq!((record.outcome(), abort.outcome()), (written_at(0), aborted()));
    assert_eq!(world.committed("orders", 0), [""; 0]);
}

/// S-32, S-36, T-47: an unknown coordinator is looked up first, on any broker.
#[test]
fn an_unknown_coordinator_is_looked_up_first() {
    let world = World::with_brokers(3, 3).topic("orders", 1);
    world.move_transaction_coordinator(3);
    world.transactional("t-1");
    let (lookup, init) = (&world.sent(FindCoordinator)[0], &world.sent(InitProducerId)[0]);
    assert!(lookup.at < init.at);
    assert_eq!(init.broker, 3);
}

/// S-30, S-35, S-36: a coordinator that cannot be connected to is looked up again until it can.
#[test]
fn a_coordinator_out_of_reach_is_looked_up_again() {
    let world = World::with_brokers(3, 2).topic("orders", 1);
    world.move_transaction_coordinator(2);
    world.reachable(2, Reachable::Refused);
    let producer = world.uninitialized("t-1");
    let initialize = producer.initialize();
    world.run_for(5 * SECOND);
    assert_eq!(initialize.outcome(), waiting());
    let lookups = world.sent(FindCoordinator).len();
    assert!(
        (3..=60).contains(&lookups),
        "a look-up for each failed attempt, with back-off: {lookups}"
    );
    world.expect_unsent(InitProducerId);

    world.reachable(2, Reachable::Yes);
    world.run();
    assert_eq!(initialize.outcome(), CallOutcome::Initialized);
}

/// S-30: a coordinator that does not even refuse is given up after `request.timeout.ms` and looked up again.
#[test]
fn a_silent_coordinator_is_given_up_and_looked_up_again() {
    let world = World::with_brokers(3, 2).topic("orders", 1);
    world.move_transaction_coordinator(2);
    world.reachable(2, Reachable::Silent);
    let producer = world.uninitialized("t-1");
    let initialize = producer.initialize();
    world.run_for(9 * SECOND);
    world.expect_sent(FindCoordinator, 1);
    world.move_transaction_coordinator(1);
    world.run_for(30 * SECOND);
    assert_eq!(initialize.outcome(), CallOutcome::Initialized);
    assert!(world.sent(FindCoordinator).len() >= 2);
    assert_eq!(world.sent(InitProducerId)[0].broker, 1);
}

/// S-31, T-62: before the first request, the coordinator's versions tell whether it gives out new epochs; one that does not is not asked.
#[test]
fn a_coordinator_that_cannot_bump_is_not_asked_to() {
    for (newest, asked) in [(2, 1), (3, 2)] {
        let world = World::seeded(3).topic("orders", 1).transaction_version(1);
        world.configure(|config| {
            let range = VersionRange::new(0, newest);
            config
                .version_overrides
                .insert((None, InitProducerId), Some(range));
        });
        let producer = world.transactional("t-1");
        producer.begin();
        world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
        producer.send("orders", 0, "a");
        world.run();
        let abort = producer.abort();
        world.run();
        assert_eq!(abort.outcome(), aborted());
        world.expect_sent(InitProducerId, asked);
    }
}

/// S-36: a coordinator that moved in the middle of a transaction is found again, and the same request goes there.
#[test]
fn a_coordinator_that_moved_is_found_again() {
    for version in [1, 2] {
        let world = World::with_brokers(3, 2)
            .topic("orders", 1)
            .transaction_version(version);
        world.move_transaction_coordinator(1);
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "a");
        world.run();
        world.move_transaction_coordinator(2);
        let commit = producer.commit();
        world.run();
        assert_eq!(commit.outcome(), committed());
        let ends = world.sent(EndTxn);
        assert_eq!(ends.iter().map(|end| end.broker).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(ends[0].summary, ends[1].summary);
        assert_eq!(world.committed("orders", 0), ["a"]);
    }
}

/// S-33: a request that is repeated waits for its back-off as a deadline, not as a sleep: between the attempts nobody is woken.
#[test]
fn a_repeated_request_waits_for_its_back_off() {
    let world = World::seeded(3);
    world.transactional("t-0");
    world.set_transaction_coordinator(ShardState::Loading);
    let producer = world.uninitialized("t-1");
    let initialize = producer.initialize();
    world.run_for(10 * SECOND);
    assert_eq!(initialize.outcome(), waiting());
    let requests = world.sent(InitProducerId).len() + world.sent(FindCoordinator).len();
    assert!(
        (10..=110).contains(&requests),
        "{requests} requests in ten seconds"
    );
    assert!(world.turns() < 20 * requests as u64, "{} turns", world.turns());

    world.set_transaction_coordinator(ShardState::Active);
    world.run();
    assert_eq!(initialize.outcome(), CallOutcome::Initialized);
}

/// S-33, S-35: a connection that breaks under a transactional request costs a back-off, not the transaction.
#[test]
fn a_broken_connection_repeats_the_transactional_request() {
    for version in [1, 2] {
        for fault in [disconnect_before(EndTxn), disconnect_after(EndTxn)] {
            let world = World::seeded(3).topic("orders", 1).transaction_version(version);
            let producer = world.transactional("t-1");
            producer.begin();
            producer.send("orders", 0, "a");
            world.rule(fault.once());
            let commit = producer.commit();
            world.run();
            assert_eq!(commit.outcome(), committed());
            let ends = world.sent(EndTxn);
            assert_eq!((ends.len(), &ends[0].summary), (2, &ends[1].summary));
            assert!(ends[1].at - ends[0].at >= 50 * MILLI);
            assert_eq!(world.committed("orders", 0), ["a"]);
        }
    }
}
