//! InitProducerId: B-53 … B-66.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::InitProducerIdRequest;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{Identity, NodeId, ProducerEpoch, ProducerId};

use crate::coordinator::TransactionLog;
use crate::coordinator::interface::MarkerOutcome::Commit;
use crate::coordinator::interface::TransactionVersion::{V1, V2};
use crate::coordinator::interface::{ShardState, VerifyMode};
use crate::coordinator::testing::{World, identity};

fn idempotent() -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: -5,
        ..Default::default()
    }
}

/// B-54: without a transactional id there is a new identity each time, from any broker.
#[test]
fn a_producer_without_transactions_gets_a_new_identity_each_time() {
    let mut world = World::new(V2);
    assert_eq!(world.send_init(5, &idempotent()), Ok(identity(0, 0)));
    let with_identity = InitProducerIdRequest {
        producer_id: ProducerId(0),
        producer_epoch: ProducerEpoch(0),
        ..idempotent()
    };
    assert_eq!(world.send_init(5, &with_identity), Ok(identity(1, 0)));
    world.cluster.called = NodeId(2);
    assert_eq!(world.send_init(0, &idempotent()), Ok(identity(1000, 0)));
}

/// B-55: an empty transactional id and half an identity are refused.
#[test]
fn half_an_identity_is_an_invalid_request() {
    let mut world = World::new(V2);
    assert_eq!(world.init(""), Err(ErrorCode::InvalidRequest));
    for (id, epoch) in [(7, -1), (-1, 7)] {
        assert_eq!(
            world.init_as(5, "t", Some(identity(id, epoch))),
            Err(ErrorCode::InvalidRequest)
        );
    }
}

/// B-56: the timeout lies between 1 and the broker's maximum.
#[test]
fn a_timeout_beyond_the_limits_is_refused() {
    let mut world = World::new(V2);
    let mut with_timeout = |transaction_timeout_ms| {
        let transactional_id = Some("t".to_owned());
        let request = InitProducerIdRequest {
            transactional_id,
            transaction_timeout_ms,
            ..Default::default()
        };
        world.send_init(5, &request).err()
    };
    for refused in [0, -1, 900_001, i32::MAX] {
        assert_eq!(
            with_timeout(refused),
            Some(ErrorCode::InvalidTransactionTimeout),
            "{refused}"
        );
    }
    assert_eq!(with_timeout(1), None);
    assert_eq!(with_timeout(900_000), None);
}

/// B-59, B-64: the first epoch is 0, and every further call raises it.
#[test]
fn each_initialisation_raises_the_epoch() {
    let mut world = World::new(V2);
    assert_eq!(world.init("t"), Ok(identity(0, 0)));
    assert_eq!(world.init("t"), Ok(identity(0, 1)));
    assert_eq!(world.init("other"), Ok(identity(1, 0)));
    assert_eq!(world.state("t"), "Empty");
}

/// B-59, B-61: a transactional id that nobody knows takes any expected identity, and gives a new one.
#[test]
fn an_unknown_transactional_id_ignores_what_is_expected() {
    let mut world = World::new(V2);
    assert_eq!(world.init_as(5, "t", Some(identity(77, 3))), Ok(identity(0, 0)));
}

/// B-64: an expected epoch gets the next one, its retry the same answer again, and anything older is fenced.
#[test]
fn the_retry_of_a_bump_is_answered_without_another_bump() {
    let mut world = World::new(V2);
    let first = world.init("t").expect("new");
    assert_eq!(world.init_as(5, "t", Some(first)), Ok(identity(0, 1)));
    assert_eq!(world.init_as(5, "t", Some(first)), Ok(identity(0, 1)));
    assert_eq!(world.init_as(5, "t", Some(identity(0, 1))), Ok(identity(0, 2)));
    assert_eq!(world.init_as(5, "t", Some(first)), Err(ErrorCode::ProducerFenced));
    world.init("t").expect("takes over without expectations");
    assert_eq!(
        world.init_as(5, "t", Some(identity(0, 2))),
        Err(ErrorCode::ProducerFenced)
    );
}

/// B-61: another producer id is fenced; request versions before 4 know that as an invalid epoch.
#[test]
fn a_foreign_identity_is_fenced_in_the_words_of_its_version() {
    let mut world = World::new(V2);
    world.init("t").expect("new");
    assert_eq!(
        world.init_as(4, "t", Some(identity(9, 0))),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(
        world.init_as(3, "t", Some(identity(9, 0))),
        Err(ErrorCode::InvalidProducerEpoch)
    );
}

/// B-62: while markers are outstanding, everybody waits.
#[test]
fn nobody_is_initialised_while_markers_are_outstanding() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.ask(VerifyMode::Add, "t", producer, 0).expect("joins");
    let next = world.end(5, "t", producer, Commit).expect("commits");
    assert_eq!(world.init("t"), Err(ErrorCode::ConcurrentTransactions));
    world.write_markers();
    assert_eq!(
        world.init("t"),
        Ok(Identity {
            epoch: ProducerEpoch(2),
            ..next
        })
    );
}

/// B-63: a successor aborts the open transaction, waits, and gets an epoch beyond the fencing one.
#[test]
fn a_successor_fences_the_open_transaction_first() {
    for level in [V1, V2] {
        let mut world = World::new(level);
        let producer = world.init("t").expect("new");
        world.add(3, "t", producer, &[0]);
        assert_eq!(
            world.init("t"),
            Err(ErrorCode::ConcurrentTransactions),
            "{level:?}"
        );
        assert_eq!(world.state("t"), "PrepareAbort");
        let markers = world.write_markers();
        assert_eq!(markers[0].identity, identity(0, 1));
        assert_eq!(world.init("t"), Ok(identity(0, 2)), "{level:?}");
        assert_eq!(world.add(3, "t", producer, &[0]), [ErrorCode::ProducerFenced]);
    }
}

/// B-63: on TV2 who gave its identity gets the fencing epoch itself; on TV1 it is fenced by its own request.
#[test]
fn a_producer_that_fences_itself_recovers_only_on_level_two() {
    for (level, expected) in [(V1, Err(ErrorCode::ProducerFenced)), (V2, Ok(identity(0, 1)))] {
        let mut world = World::new(level);
        let producer = world.init("t").expect("new");
        world.add(3, "t", producer, &[0]);
        let fenced = world.init_as(5, "t", Some(producer));
        assert_eq!(fenced, Err(ErrorCode::ConcurrentTransactions), "{level:?}");
        world.write_markers();
        assert_eq!(world.init_as(5, "t", Some(producer)), expected, "{level:?}");
    }
}

/// B-63: an epoch that is behind aborts the transaction all the same; another id leaves it alone.
#[test]
fn a_stale_epoch_aborts_but_a_foreign_id_does_not() {
    let mut world = World::new(V2);
    world.init("t").expect("new");
    let producer = world.init("t").expect("bumped");
    world.add(3, "t", producer, &[0]);
    assert_eq!(
        world.init_as(5, "t", Some(identity(5, 1))),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(world.state("t"), "Ongoing");
    assert_eq!(
        world.init_as(5, "t", Some(identity(0, 0))),
        Err(ErrorCode::ConcurrentTransactions)
    );
    world.write_markers();
    assert_eq!(
        world.init_as(5, "t", Some(identity(0, 0))),
        Err(ErrorCode::ProducerFenced)
    );
}

/// B-64, B-66: behind epoch 32766 comes a new producer id; the retry of that change is recognised.
#[test]
fn a_used_up_epoch_is_left_behind_with_its_id() {
    let mut world = World::new(V1);
    let last = world.aged("t", 32766);
    assert_eq!(
        world.init_as(5, "t", Some(identity(0, 5))),
        Err(ErrorCode::UnknownServerError)
    );
    assert_eq!(world.init_as(5, "t", Some(last)), Ok(identity(1, 0)));
    assert_eq!(world.init_as(5, "t", Some(last)), Ok(identity(1, 0)));
}

/// B-65, B-67: a refused write changes nothing and has its own codes; afterwards everything goes on.
#[test]
fn a_refused_write_into_the_log_changes_nothing() {
    let cases = [
        (
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (
            ErrorCode::NotEnoughReplicasAfterAppend,
            ErrorCode::CoordinatorNotAvailable,
        ),
        (ErrorCode::RequestTimedOut, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::RecordListTooLarge, ErrorCode::UnknownServerError),
    ];
    let mut world = World::new(V2);
    world.init("t").expect("new");
    for (cause, answer) in cases {
        world
            .coordinators
            .set_transaction_log(TransactionLog::Failing(cause), world.now);
        assert_eq!(world.init("t"), Err(answer), "{cause:?}");
    }
    world
        .coordinators
        .set_transaction_log(TransactionLog::Writable, world.now);
    assert_eq!(world.init("t"), Ok(identity(0, 1)));
}

/// B-60, B-67: a transition that waits for the log keeps everybody else waiting, and takes effect when the log moves on.
#[test]
fn a_pending_transition_keeps_everybody_waiting() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world
        .coordinators
        .set_transaction_log(TransactionLog::Stalled, world.now);
    assert_eq!(
        world.add(3, "t", producer, &[0]),
        [ErrorCode::CoordinatorNotAvailable]
    );
    assert_eq!(world.state("t"), "Empty");
    assert_eq!(world.init("t"), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(
        world.add(3, "t", producer, &[0]),
        [ErrorCode::ConcurrentTransactions]
    );
    assert_eq!(
        world.end(5, "t", producer, Commit),
        Err(ErrorCode::ConcurrentTransactions)
    );
    world
        .coordinators
        .set_transaction_log(TransactionLog::Writable, world.now);
    assert_eq!(world.state("t"), "Ongoing");
    assert_eq!(world.end(5, "t", producer, Commit), Ok(identity(0, 1)));
}

/// B-93: a TV1 fence that the log refused has raised the epoch in memory, once and not again; a restart forgets it.
#[test]
fn a_refused_fence_raises_the_epoch_once() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    world.add(3, "t", producer, &[0]);
    world
        .coordinators
        .set_transaction_log(TransactionLog::Failing(ErrorCode::NotEnoughReplicas), world.now);
    for _ in 0..3 {
        assert_eq!(world.init("t"), Err(ErrorCode::CoordinatorNotAvailable));
    }
    let described = world.describe("t");
    assert_eq!(
        (described.transaction_state.as_str(), described.producer_epoch.0),
        ("Ongoing", 1)
    );

    world.shard_mut("t").coordinator_epoch += 1;
    assert_eq!(world.describe("t").producer_epoch.0, 0);

    world
        .coordinators
        .set_transaction_log(TransactionLog::Writable, world.now);
    assert_eq!(world.init("t"), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.write_markers()[0].identity, identity(0, 1));
}

/// B-93: a TV1 fence that the log takes at the second attempt writes its markers under the epoch that the first has raised.
#[test]
fn a_repeated_fence_writes_its_markers_under_the_raised_epoch() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    world.add(3, "t", producer, &[0]);
    let log = |world: &mut World, state| world.coordinators.set_transaction_log(state, world.now);
    log(&mut world, TransactionLog::Failing(ErrorCode::NotEnoughReplicas));
    assert_eq!(world.init("t"), Err(ErrorCode::CoordinatorNotAvailable));
    log(&mut world, TransactionLog::Writable);
    assert_eq!(world.init("t"), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.write_markers()[0].identity, identity(0, 1));
}

/// B-22: only the leader of the shard answers, and only when it has read its log.
#[test]
fn only_an_active_leader_of_the_shard_answers() {
    let mut world = World::new(V2);
    world.cluster.called = NodeId(2);
    assert_eq!(world.init("t"), Err(ErrorCode::NotCoordinator));
    world.cluster.called = NodeId(1);
    world.shard_mut("t").state = ShardState::Loading;
    assert_eq!(world.init("t"), Err(ErrorCode::CoordinatorLoadInProgress));
    world.shard_mut("t").state = ShardState::Active;
    assert_eq!(world.init("t"), Ok(identity(0, 0)));
}

/// A cluster without activity wakes nobody.
#[test]
fn coordinators_that_know_nobody_have_no_deadline() {
    let mut world = World::new(V2);
    assert_eq!(world.pass(0), Instant::NEVER);
}
