//! Commits in doubt: what the coordinator's description proves, and what it does not (R8).

use kommit_protocol::error_code::ErrorCode;
use kommit_txn_manager::*;

use crate::stage::*;

/// A stage whose commit was fenced behind an unanswered attempt; the coordinator is asked next.
fn in_doubt(flavour: Flavour) -> Stage {
    let mut stage = Stage::transactional(flavour);
    stage.begin_with_partition();
    stage.commit();
    stage.disconnect(RequestKind::EndTxn);
    stage.succeed(RequestKind::FindCoordinator);
    stage.fail(RequestKind::EndTxn, ErrorCode::ProducerFenced);
    assert_eq!(stage.outcomes(), [], "the coordinator is asked first");
    stage
}

/// What the caller hears when the coordinator shows this state at this epoch, as often as it is asked; the commit was that of epoch 0.
fn heard(flavour: Flavour, state: &str, epoch: i16) -> &'static str {
    let mut stage = in_doubt(flavour);
    let looks = if (state, epoch) == ("Ongoing", 0) { 2 } else { 1 };
    for _look in 0..looks {
        assert_eq!(stage.state(), StateName::Committing);
        let request = stage.take(RequestKind::DescribeTransactions);
        let response = ResponseBody::DescribeTransactions(shown(ErrorCode::None, state, identity(epoch)));
        stage.manager.answered(request, Answer::Response(response));
    }
    assert_eq!(
        stage.state(),
        StateName::FatalError,
        "{flavour:?} {state} {epoch}"
    );
    stage.expect_nothing();
    match stage.outcomes().as_slice() {
        [Outcome::Committed] => "committed",
        [
            Outcome::Dead {
                transaction: TransactionFate::NotCommitted,
                ..
            },
        ] => "not committed",
        [
            Outcome::Dead {
                transaction: TransactionFate::InDoubt,
                error: error @ TransactionError::Undecided { .. },
            },
        ] => {
            assert!(matches!(error.origin(), TransactionError::ProducerFenced(_)));
            "in doubt"
        }
        other => panic!("one outcome, not {other:?}"),
    }
}

/// R8: only what fits one story is told. A V2 transaction ends with the next epoch; a V1 transaction keeps its own unless it was fenced,
/// and then its end cannot be told from that of the next instance.
#[test]
fn a_description_is_believed_only_when_it_fits_one_story() {
    let (v1, v2) = (Flavour::V1, Flavour::V2);
    for state in ["PrepareCommit", "CompleteCommit"] {
        let told = [heard(v1, state, 0), heard(v1, state, 1), heard(v1, state, 2)];
        assert_eq!(told, ["committed", "in doubt", "in doubt"], "{state}");
        let told = [heard(v2, state, 0), heard(v2, state, 1), heard(v2, state, 2)];
        assert_eq!(told, ["in doubt", "committed", "in doubt"], "{state}");
    }
    for state in ["PrepareAbort", "CompleteAbort"] {
        let told = [heard(v1, state, 0), heard(v1, state, 1), heard(v1, state, 2)];
        assert_eq!(told, ["not committed", "in doubt", "in doubt"], "{state}");
        let told = [heard(v2, state, 0), heard(v2, state, 1), heard(v2, state, 2)];
        assert_eq!(told, ["in doubt", "not committed", "in doubt"], "{state}");
    }
    for state in [
        "Ongoing",
        "Empty",
        "PrepareEpochFence",
        "Dead",
        "",
        "Something newer",
    ] {
        for flavour in [v1, v2] {
            for epoch in [0, 1, 2] {
                assert_eq!(
                    heard(flavour, state, epoch),
                    "in doubt",
                    "{flavour:?} {state} {epoch}"
                );
            }
        }
    }
}

/// R8, R9: nothing but the question is sent any more, and nobody can abort meanwhile.
#[test]
fn nothing_but_the_question_follows_a_commit_in_doubt() {
    for flavour in [Flavour::V1, Flavour::V2] {
        let mut stage = in_doubt(flavour);
        let ticket = stage.ticket();
        assert!(stage.manager.begin_abort(ticket).is_err());
        let question = stage.take(RequestKind::DescribeTransactions);
        assert_eq!(question.coordinator(), Some(CoordinatorType::Transaction));
        let RequestBody::DescribeTransactions(body) = question.body() else {
            panic!("asserted above")
        };
        assert_eq!(body.transactional_ids, ["t-1"]);
        stage.manager.answered(question, Answer::Disconnected);
        stage.succeed(RequestKind::FindCoordinator);
        stage.fail(
            RequestKind::DescribeTransactions,
            ErrorCode::CoordinatorLoadInProgress,
        );
        let _again = stage.take(RequestKind::DescribeTransactions);
        stage.manager.close();
        assert!(matches!(
            stage.outcomes().as_slice(),
            [Outcome::Dead {
                transaction: TransactionFate::InDoubt,
                ..
            }]
        ));
    }
}

/// R8, T-52: a broker that cannot be asked leaves the doubt.
#[test]
fn a_broker_that_knows_no_descriptions_leaves_the_doubt() {
    for answer in [Answer::VersionMismatch, Answer::Undecodable] {
        let mut stage = in_doubt(Flavour::V1);
        let question = stage.take(RequestKind::DescribeTransactions);
        stage.manager.answered(question, answer);
        assert!(matches!(
            stage.outcomes().as_slice(),
            [Outcome::Dead {
                transaction: TransactionFate::InDoubt,
                error: TransactionError::Undecided { .. },
            }]
        ));
    }
}
