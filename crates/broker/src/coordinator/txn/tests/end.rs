//! EndTxn: B-84 … B-90, B-96, and the epochs at their end.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::Identity;

use crate::coordinator::interface::MarkerOutcome::{Abort, Commit};
use crate::coordinator::interface::TransactionVersion::{V1, V2};
use crate::coordinator::interface::VerifyMode::Add;
use crate::coordinator::interface::{MarkerOutcome, TransactionVersion};
use crate::coordinator::testing::{World, identity};
use crate::coordinator::txn::end::{EndDecision, NamedEpoch, decide_v1, decide_v2};
use crate::coordinator::txn::state::StateName;

fn cell(decision: EndDecision) -> &'static str {
    match decision {
        EndDecision::Prepare => "PREPARE",
        EndDecision::Done => "NONE",
        EndDecision::Refuse(error) => error.name(),
    }
}

/// B-88: the table of the specification, cell by cell: abort (retry, current), commit (retry, current).
#[test]
fn the_second_table_is_the_one_of_the_specification() {
    let row = |state| {
        [
            (Abort, NamedEpoch::Retry),
            (Abort, NamedEpoch::Current),
            (Commit, NamedEpoch::Retry),
            (Commit, NamedEpoch::Current),
        ]
        .map(|(outcome, named)| cell(decide_v2(state, outcome, named)))
    };
    let (fenced, invalid, wait) = ("PRODUCER_FENCED", "INVALID_TXN_STATE", "CONCURRENT_TRANSACTIONS");
    assert_eq!(row(StateName::Empty), [fenced, "PREPARE", fenced, invalid]);
    assert_eq!(row(StateName::Ongoing), [fenced, "PREPARE", fenced, "PREPARE"]);
    assert_eq!(row(StateName::PrepareAbort), [wait, fenced, invalid, fenced]);
    assert_eq!(row(StateName::PrepareCommit), [invalid, fenced, wait, fenced]);
    assert_eq!(
        row(StateName::CompleteAbort),
        ["NONE", "PREPARE", invalid, invalid]
    );
    assert_eq!(
        row(StateName::CompleteCommit),
        [invalid, "PREPARE", "NONE", invalid]
    );
    for state in StateName::ALL {
        assert_eq!(
            cell(decide_v2(state, Commit, NamedEpoch::Foreign)),
            fenced,
            "{state:?}"
        );
    }
}

/// B-85: the outcome by state, commit and abort.
#[test]
fn the_first_table_is_the_one_of_the_specification() {
    let row = |state| [Commit, Abort].map(|outcome| cell(decide_v1(state, outcome)));
    let (invalid, wait) = ("INVALID_TXN_STATE", "CONCURRENT_TRANSACTIONS");
    assert_eq!(row(StateName::Empty), [invalid, invalid]);
    assert_eq!(row(StateName::Ongoing), ["PREPARE", "PREPARE"]);
    assert_eq!(row(StateName::PrepareCommit), [wait, invalid]);
    assert_eq!(row(StateName::PrepareAbort), [invalid, wait]);
    assert_eq!(row(StateName::CompleteCommit), ["NONE", invalid]);
    assert_eq!(row(StateName::CompleteAbort), [invalid, "NONE"]);
}

fn open_v1(world: &mut World) -> Identity {
    let producer = world.init("t").expect("new");
    assert_eq!(world.add(3, "t", producer, &[0]), [ErrorCode::None]);
    producer
}

fn open_v2(world: &mut World) -> Identity {
    let producer = world.init("t").expect("new");
    world.ask(Add, "t", producer, 0).expect("joins");
    producer
}

/// B-85, B-86: identities are checked before the state; TV1 answers carry no identity.
#[test]
fn the_old_rules_end_a_transaction_without_a_bump() {
    let mut world = World::new(V1);
    let producer = open_v1(&mut world);
    assert_eq!(world.end(4, "", producer, Commit), Err(ErrorCode::InvalidRequest));
    assert_eq!(
        world.end(4, "unknown", producer, Commit),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        world.end(4, "t", identity(8, 0), Commit),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        world.end(2, "t", identity(0, 1), Commit),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(
        world.end(1, "t", identity(0, 1), Commit),
        Err(ErrorCode::InvalidProducerEpoch)
    );
    assert_eq!(world.end(4, "t", producer, Commit), Ok(identity(-1, -1)));
    assert_eq!(
        world.end(4, "t", producer, Commit),
        Err(ErrorCode::ConcurrentTransactions)
    );
    assert_eq!(
        world.end(4, "t", producer, Abort),
        Err(ErrorCode::InvalidTxnState)
    );
    assert_eq!(world.write_markers()[0].identity, producer);
    assert_eq!(world.state("t"), "CompleteCommit");
}

/// B-96: the retry of a lost answer writes no second round of markers, under either rules.
#[test]
fn a_retry_of_a_finished_end_writes_no_markers() {
    for outcome in [Commit, Abort] {
        let mut world = World::new(V1);
        let producer = open_v1(&mut world);
        world.end(4, "t", producer, outcome).expect("ends");
        assert_eq!(world.write_markers().len(), 1);
        assert_eq!(world.end(4, "t", producer, outcome), Ok(identity(-1, -1)));
        assert!(world.write_markers().is_empty());

        let mut world = World::new(V2);
        let producer = open_v2(&mut world);
        let next = world.end(5, "t", producer, outcome).expect("ends");
        assert_eq!(
            world.end(5, "t", producer, outcome),
            Err(ErrorCode::ConcurrentTransactions)
        );
        assert_eq!(world.write_markers().len(), 1);
        assert_eq!(world.end(5, "t", producer, outcome), Ok(next));
        assert!(world.write_markers().is_empty());
    }
}

/// B-84: the request's version chooses the rules, whatever the cluster's level is.
#[test]
fn the_request_version_chooses_the_rules() {
    for level in [V1, V2] {
        let mut world = World::new(level);
        let producer = open_v1(&mut world);
        world.end(4, "t", producer, Commit).expect("ends");
        let marker = world.write_markers().remove(0);
        assert_eq!((marker.identity, marker.transaction_version), (producer, V1));

        world.add(3, "t", producer, &[0]);
        assert_eq!(world.end(5, "t", producer, Commit), Ok(identity(0, 1)));
        let marker = world.write_markers().remove(0);
        assert_eq!(
            (marker.identity, marker.transaction_version),
            (identity(0, 1), V2)
        );
    }
}

/// B-89, B-90, B-91: TV2 bumps with every end; the markers carry the bumped epoch.
#[test]
fn every_end_bumps_the_epoch() {
    let mut world = World::new(V2);
    let producer = open_v2(&mut world);
    let next = world.end(5, "t", producer, Commit).expect("ends");
    assert_eq!(next, identity(0, 1));
    assert_eq!(world.state("t"), "PrepareCommit");
    let marker = world.write_markers().remove(0);
    assert_eq!((marker.identity, marker.outcome), (next, Commit));
    assert_eq!(world.state("t"), "CompleteCommit");
    world.ask(Add, "t", next, 1).expect("joins the next transaction");
    assert_eq!(world.end(5, "t", next, Abort), Ok(identity(0, 2)));
}

/// B-87: an id that never was here, and epochs that never were current.
#[test]
fn a_foreign_identity_cannot_end_a_transaction() {
    let mut world = World::new(V2);
    let producer = open_v2(&mut world);
    assert_eq!(
        world.end(5, "t", identity(9, 0), Commit),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        world.end(5, "t", identity(0, 5), Commit),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(
        world.end(5, "unknown", producer, Commit),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(world.end(5, "", producer, Commit), Err(ErrorCode::InvalidRequest));
    assert_eq!(world.state("t"), "Ongoing");
}

/// B-88: an abort without a transaction is allowed and bumps; a commit is not.
#[test]
fn an_abort_of_nothing_bumps() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    assert_eq!(
        world.end(5, "t", producer, Commit),
        Err(ErrorCode::InvalidTxnState)
    );
    assert_eq!(world.end(5, "t", producer, Abort), Ok(identity(0, 1)));
    assert_eq!(world.state("t"), "CompleteAbort");
    assert_eq!(
        world.end(5, "t", producer, Abort),
        Ok(identity(0, 1)),
        "the retry of the empty abort"
    );
    assert_eq!(
        world.end(5, "t", identity(0, 1), Abort),
        Ok(identity(0, 2)),
        "another empty abort"
    );
    assert!(world.write_markers().is_empty());
}

/// B-89, B-87: at the last epoch the end hands out a new id; markers carry 32767; the retry is recognised across the change.
#[test]
fn the_end_of_the_last_epoch_hands_out_a_new_id() {
    for outcome in [Commit, Abort] {
        let mut world = World::new(V2);
        let last = world.aged("t", 32766);
        world.ask(Add, "t", last, 0).expect("joins");
        assert_eq!(
            world.end(5, "t", last, outcome),
            Ok(identity(1, 0)),
            "{outcome:?}"
        );
        assert_eq!(
            world.end(5, "t", last, outcome),
            Err(ErrorCode::ConcurrentTransactions)
        );
        assert_eq!(world.write_markers()[0].identity, identity(0, 32767));
        assert_eq!(world.end(5, "t", last, outcome), Ok(identity(1, 0)), "retry");
        world
            .ask(Add, "t", identity(1, 0), 0)
            .expect("joins under the new id");
        assert_eq!(
            world.end(5, "t", last, outcome),
            Err(ErrorCode::InvalidProducerIdMapping)
        );
    }
}

/// B-93, B-61: a fence at the last epoch hands out a new id as well, to the retry of whoever had the old one.
#[test]
fn a_fence_at_the_last_epoch_changes_the_id() {
    let mut world = World::new(V2);
    let last = world.aged("t", 32766);
    world.ask(Add, "t", last, 0).expect("joins");
    assert_eq!(
        world.init_as(5, "t", Some(last)),
        Err(ErrorCode::ConcurrentTransactions)
    );
    assert_eq!(world.write_markers()[0].identity, identity(0, 32767));
    assert_eq!(world.init_as(5, "t", Some(last)), Ok(identity(1, 0)));
}

/// B-93, B-66: under TV1 the coordinator uses epoch 32767 itself; the next client starts with a new id.
#[test]
fn the_old_rules_keep_the_very_last_epoch_for_the_fence() {
    let mut world = World::new(V1);
    let last = world.aged("t", 32766);
    world.add(3, "t", last, &[0]);
    assert_eq!(world.init("t"), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(world.write_markers()[0].identity, identity(0, 32767));
    assert_eq!(world.init("t"), Ok(identity(1, 0)));
}

/// B-3, B-124: the same requests give the same markers and states, whatever the outcome.
#[test]
fn the_same_scene_gives_the_same_trace() {
    let trace = |level: TransactionVersion, outcome: MarkerOutcome| {
        let mut world = World::new(level);
        for id in ["c", "a", "b"] {
            let producer = world.init(id).expect("new");
            world.add(3, id, producer, &[2, 0, 1]);
        }
        let mut trace = Vec::new();
        for id in ["a", "b", "c"] {
            let described = world.describe(id);
            let producer = Identity {
                id: described.producer_id,
                epoch: described.producer_epoch,
            };
            world.end(5, id, producer, outcome).expect("ends");
            trace.extend(world.write_markers());
        }
        trace
    };
    assert_eq!(trace(V2, Commit), trace(V2, Commit));
    assert_eq!(trace(V2, Abort).len(), 9);
}
