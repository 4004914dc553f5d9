//! Time-outs and expiry: B-101 … B-105.

use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::Instant;

use crate::coordinator::interface::MarkerOutcome::{Abort, Commit};
use crate::coordinator::interface::TransactionVersion::{V1, V2};
use crate::coordinator::interface::VerifyMode::{Add, VerifyOnly};
use crate::coordinator::interface::{CoordinatorConfig, ShardState};
use crate::coordinator::testing::{World, identity};

/// The interval of the check, in milliseconds (B-101).
const INTERVAL: u64 = 10_000;

/// B-101: an open transaction is aborted at the first check after its timeout of 60 s, and not before.
#[test]
fn a_transaction_that_stays_open_is_aborted() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.pass(0);
    world.ask(Add, "t", producer, 0).expect("joins");
    let mut deadline = world.pass(0);
    // Checks come at 10 s, 20 s …; the one at 60 s finds the timeout reached but not exceeded.
    for check in 1..=6 {
        assert_eq!(deadline, Instant::from_millis(check * INTERVAL));
        deadline = world.pass(INTERVAL);
        assert_eq!(world.state("t"), "Ongoing");
    }
    world.pass(INTERVAL);
    assert_eq!(world.state("t"), "PrepareAbort");
    let marker = world.write_markers().remove(0);
    assert_eq!((marker.identity, marker.outcome), (identity(0, 1), Abort));
    assert_eq!(world.state("t"), "CompleteAbort");
}

fn timed_out(level: crate::coordinator::interface::TransactionVersion) -> World {
    let mut world = World::new(level);
    world.pass(0);
    let producer = world.init("t").expect("new");
    world.add(3, "t", producer, &[0]);
    world.pass(8 * INTERVAL);
    assert_eq!(world.write_markers().len(), 1);
    world
}

/// B-102: under TV1 the producer is fenced for good.
#[test]
fn a_timed_out_producer_is_fenced_under_the_old_rules() {
    let mut world = timed_out(V1);
    let producer = identity(0, 0);
    assert_eq!(world.add(3, "t", producer, &[0]), [ErrorCode::ProducerFenced]);
    assert_eq!(
        world.end(4, "t", producer, Commit),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(world.end(4, "t", producer, Abort), Err(ErrorCode::ProducerFenced));
    assert_eq!(
        world.ask(VerifyOnly, "t", producer, 0),
        Err(ErrorCode::ProducerFenced)
    );
}

/// B-103: under TV2 an abort takes over the new epoch; a commit learns that it is too late.
#[test]
fn a_timed_out_producer_goes_on_after_an_abort() {
    let mut world = timed_out(V2);
    let producer = identity(0, 0);
    assert_eq!(
        world.end(5, "t", producer, Commit),
        Err(ErrorCode::InvalidTxnState)
    );
    assert_eq!(world.end(5, "t", producer, Abort), Ok(identity(0, 1)));
    assert_eq!(world.ask(Add, "t", producer, 0), Err(ErrorCode::ProducerFenced));
    assert_eq!(world.ask(Add, "t", identity(0, 1), 0), Ok(()));
}

/// B-63, B-103: the owner of a timed-out transaction gets the fencing epoch itself.
#[test]
fn a_timed_out_producer_may_initialise_itself_again() {
    let mut world = timed_out(V2);
    assert_eq!(world.init_as(5, "t", Some(identity(0, 0))), Ok(identity(0, 1)));
}

/// B-101: a shard that loads is left alone.
#[test]
fn nothing_is_aborted_while_the_shard_loads() {
    let mut world = World::new(V2);
    world.pass(0);
    let producer = world.init("t").expect("new");
    world.ask(Add, "t", producer, 0).expect("joins");
    world.shard_mut("t").state = ShardState::Loading;
    world.pass(9 * INTERVAL);
    world.shard_mut("t").state = ShardState::Active;
    assert_eq!(world.state("t"), "Ongoing");
    world.pass(INTERVAL);
    assert_eq!(world.state("t"), "PrepareAbort");
}

/// B-105: an id without activity for seven days is forgotten; its producer learns that its id means nothing any more.
#[test]
fn a_transactional_id_without_activity_is_forgotten() {
    let week = CoordinatorConfig::default().transactional_id_expiration;
    let hour = Duration::from_secs(3600);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("small");
    let mut world = World::new(V2);
    world.pass(0);
    let producer = world.init("t").expect("new");
    world.pass(millis(week - hour));
    assert_eq!(world.state("t"), "Empty");
    world.pass(millis(hour));
    assert_eq!(world.describe("t").error_code, ErrorCode::TransactionalIdNotFound);
    assert_eq!(
        world.add(3, "t", producer, &[0]),
        [ErrorCode::InvalidProducerIdMapping]
    );
    assert_eq!(
        world.end(5, "t", producer, Abort),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        world.ask(Add, "t", producer, 0),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(world.init("t"), Ok(identity(1, 0)));
}

/// B-105, B-101: what an overdue transaction gets is an abort; its id is not forgotten.
#[test]
fn an_overdue_transaction_is_aborted_and_not_forgotten() {
    let week = u64::try_from(
        CoordinatorConfig::default()
            .transactional_id_expiration
            .as_millis(),
    )
    .expect("small");
    let mut world = World::new(V2);
    world.pass(0);
    let producer = world.init("t").expect("new");
    world.ask(Add, "t", producer, 0).expect("joins");
    world.pass(2 * week);
    assert_eq!(world.state("t"), "PrepareAbort");
}
