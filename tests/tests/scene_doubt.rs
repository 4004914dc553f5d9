//! Commits whose own answers cannot tell any more what became of them: the coordinator is asked, and nothing is guessed (R8).

use std::time::Duration;

use kommit_broker::ResponseMessage;
use kommit_protocol::api::ApiKey::{DescribeTransactions, EndTxn};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, deliver_late, drop_answer, drop_request, edit, serve_then_answer};
use kommit_tests::world::link::Reachable;
use kommit_tests::world::{Call, CallOutcome, Producer, World, committed, waiting};
use kommit_txn_manager::{TransactionError, TransactionFate};

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [&str; 0] = [];

fn world(version: u8) -> World {
    World::seeded(53)
        .topic("orders", 1)
        .transaction_version(version)
        .set(|settings| {
            settings.request_timeout = 2 * SECOND;
            settings.transaction_timeout = 10 * SECOND;
        })
}

/// A transaction with one acknowledged record, whose commit has been asked for.
fn committing(world: &World, before: impl FnOnce(&World)) -> (Producer, Call) {
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.run();
    before(world);
    let commit = producer.commit();
    (producer, commit)
}

/// What a dead producer says of its transaction, and why.
fn death(outcome: CallOutcome) -> (TransactionFate, String) {
    match outcome {
        CallOutcome::Dead(error, fate) => (fate, error.to_string()),
        other => panic!("a death was expected, not {other:?}"),
    }
}

/// R8, H19: the end was carried out, and answered with an error that says nothing: the coordinator says that it is committed.
#[test]
fn the_coordinator_tells_of_a_commit_that_was_carried_out() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(serve_then_answer(EndTxn, ErrorCode::UnknownServerError));
        });
        world.run();
        assert_eq!(commit.outcome(), committed());
        world.expect_sent(DescribeTransactions, 1);
        assert_eq!(world.committed("orders", 0), ["a"]);
    }
}

/// R8, H17: a coordinator that is busy for longer than the transaction may last is asked, too.
#[test]
fn a_commit_that_met_a_storm_is_asked_about() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(serve_then_answer(EndTxn, ErrorCode::ConcurrentTransactions));
        });
        world.run_for(20 * SECOND);
        assert_eq!(commit.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["a"]);
    }
}

/// H18: the commit never arrives, and the coordinator aborts the transaction after its time-out. With version 2 that is told; with version 1
/// it looks like the abort of a newer instance, behind a commit of this one, so that the outcome stays open.
#[test]
fn an_abort_by_time_out_is_told_where_it_can_be() {
    for (version, fate) in [(1, TransactionFate::InDoubt), (2, TransactionFate::NotCommitted)] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(drop_request(EndTxn));
        });
        world.run_for(25 * SECOND);
        assert_eq!(commit.outcome(), waiting(), "nobody answered yet");
        world.release(EndTxn);
        world.run_for(10 * SECOND);
        let (told, text) = death(commit.outcome());
        assert_eq!(told, fate, "{text}");
        assert_eq!(world.committed("orders", 0), NOTHING);
        if fate == TransactionFate::InDoubt {
            for piece in ["PRODUCER_FENCED", "CompleteAbort", "epoch 1", "epoch 0"] {
                assert!(text.contains(piece), "{piece} is missing in: {text}");
            }
        }
    }
}

/// H18, H22: a newer instance has taken over behind an unanswered commit: what it found cannot be seen any more, and is not guessed.
#[test]
fn behind_a_newer_instance_the_outcome_stays_open() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| world.rule(drop_answer(EndTxn).once()));
        world.run_for(SECOND);
        world.transactional("t-1");
        world.run_for(10 * SECOND);
        let (fate, text) = death(commit.outcome());
        assert_eq!(fate, TransactionFate::InDoubt, "{text}");
        assert!(text.contains("coordinator was asked"), "{text}");
        assert_eq!(world.committed("orders", 0), ["a"]);
    }
}

/// R8, H22: Kafka 3.9 answers UNKNOWN_SERVER_ERROR to a commit that crosses the fencing of its producer. The coordinator then shows a newer
/// epoch: whatever became of the commit, this producer is fenced, and says so.
#[test]
fn a_newer_epoch_behind_an_error_that_says_nothing_is_a_fence() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.transactional("t-1");
            world.run();
            world.rule(answer(EndTxn, ErrorCode::UnknownServerError));
        });
        world.run_for(5 * SECOND);
        let CallOutcome::Dead(error, fate) = commit.outcome() else {
            panic!("a death was expected, not {:?}", commit.outcome());
        };
        assert!(
            matches!(error.origin(), TransactionError::ProducerFenced(_)),
            "{error}"
        );
        assert_ne!(fate, TransactionFate::NoneOpen, "{error}");
        assert_eq!(world.committed("orders", 0), NOTHING);
    }
}

/// R8: a transaction that is still open is not called aborted: a late copy of the commit may still end it.
#[test]
fn a_transaction_that_is_still_open_stays_in_doubt() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(deliver_late(EndTxn, 8 * SECOND).once());
            world.rule(answer(EndTxn, ErrorCode::UnknownServerError));
        });
        world.run_for(5 * SECOND);
        let (fate, text) = death(commit.outcome());
        assert_eq!(fate, TransactionFate::InDoubt, "{text}");
        assert!(text.contains("still open"), "{text}");
        world.expect_sent(DescribeTransactions, 2);
        world.run_for(10 * SECOND);
        assert_eq!(
            world.committed("orders", 0),
            ["a"],
            "the late copy has decided it"
        );
    }
}

/// R8: an end that the coordinator is just writing down is seen when it is asked a second time.
#[test]
fn an_end_that_shows_a_moment_later_is_believed() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(deliver_late(EndTxn, Duration::from_millis(50)).once());
            world.rule(answer(EndTxn, ErrorCode::UnknownServerError));
        });
        world.run_for(5 * SECOND);
        assert_eq!(commit.outcome(), committed());
        assert_eq!(world.committed("orders", 0), ["a"]);
    }
}

/// R8: a coordinator that does not answer is asked again, for as long as it takes.
#[test]
fn a_coordinator_that_is_away_is_asked_until_it_answers() {
    for version in [1, 2] {
        let world = world(version);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(serve_then_answer(EndTxn, ErrorCode::UnknownServerError));
            world.rule(drop_request(DescribeTransactions).once());
            world.rule(answer(DescribeTransactions, ErrorCode::CoordinatorLoadInProgress).times(2));
        });
        world.run_for(SECOND);
        world.reachable(1, Reachable::Refused);
        world.cut(1);
        world.run_for(60 * SECOND);
        assert_eq!(commit.outcome(), waiting());
        world.reachable(1, Reachable::Yes);
        world.run_for(20 * SECOND);
        assert_eq!(commit.outcome(), committed());
    }
}

/// R8: a coordinator that does not tell, or tells of somebody else, leaves the commit in doubt, with its words.
#[test]
fn a_coordinator_that_does_not_tell_leaves_the_doubt() {
    let refused = |code| (answer(DescribeTransactions, code), code.name());
    let stranger = edit(DescribeTransactions, |response| {
        if let ResponseMessage::DescribeTransactions(described) = response {
            for state in &mut described.transaction_states {
                state.producer_id.0 += 1;
            }
        }
    });
    let silent = edit(DescribeTransactions, |response| {
        if let ResponseMessage::DescribeTransactions(described) = response {
            described.transaction_states.clear();
        }
    });
    for (fault, said) in [
        refused(ErrorCode::TransactionalIdNotFound),
        refused(ErrorCode::TransactionalIdAuthorizationFailed),
        (stranger, "producer id 1"),
        (silent, "leaves the transactional id out"),
    ] {
        let world = world(2);
        let (_producer, commit) = committing(&world, |world| {
            world.rule(serve_then_answer(EndTxn, ErrorCode::UnknownServerError));
            world.rule(fault);
        });
        world.run_for(5 * SECOND);
        let (fate, text) = death(commit.outcome());
        assert_eq!(fate, TransactionFate::InDoubt, "{text}");
        assert!(text.contains(said), "{said} is missing in: {text}");
    }
}
