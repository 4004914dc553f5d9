//! Every error code in answer to every request, in both flavours (H19): the table's outcome, never a panic, never a silent success.
//!
//! Printed per request and flavour: the state that follows, the next request, what the callers hear, and the codes that lead there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use kommit_protocol::error_code::ErrorCode;
use kommit_txn_manager::*;

use crate::stage::*;

const UNKNOWN: ErrorCode = ErrorCode::Unknown(9999);

/// A scene that ends right before the request that is to be answered.
type Scene = (&'static str, RequestKind, fn() -> Stage);

fn initializing() -> Stage {
    let mut stage = Stage::uninitialized();
    stage.manager.coordinator_ready(EpochBumpSupport::Supported);
    let ticket = stage.ticket();
    stage.manager.initialize(ticket).expect("uninitialized");
    stage
}

fn bumping() -> Stage {
    let mut stage = ending(Flavour::V1, true);
    stage.manager.note_unanswered();
    stage.succeed(RequestKind::EndTxn);
    stage
}

fn looking() -> Stage {
    let mut stage = initializing();
    let request = stage.take(RequestKind::InitProducerId);
    stage.manager.find_coordinator_and_put_back(request);
    stage
}

fn looking_for_group() -> Stage {
    let mut stage = committing_offsets(Flavour::V2);
    let request = stage.take(RequestKind::TxnOffsetCommit);
    stage.manager.find_coordinator_and_put_back(request);
    stage
}

fn joining() -> Stage {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.join(0);
    stage
}

fn adding_offsets() -> Stage {
    let mut stage = Stage::transactional(Flavour::V1);
    stage.begin();
    stage.offsets(2);
    stage
}

fn committing_offsets(flavour: Flavour) -> Stage {
    let mut stage = Stage::transactional(flavour);
    stage.begin();
    stage.offsets(2);
    if flavour == Flavour::V1 {
        stage.succeed(RequestKind::AddOffsetsToTxn);
    }
    stage
}

fn ending(flavour: Flavour, commits: bool) -> Stage {
    let mut stage = Stage::transactional(flavour);
    stage.begin_with_partition();
    if commits {
        stage.commit()
    } else {
        stage.abort()
    }
    stage
}

/// Behind an unanswered attempt.
fn ending_again(flavour: Flavour) -> Stage {
    let mut stage = ending(flavour, true);
    stage.disconnect(RequestKind::EndTxn);
    stage.succeed(RequestKind::FindCoordinator);
    stage
}

fn describing(flavour: Flavour) -> Stage {
    let mut stage = ending_again(flavour);
    stage.fail(RequestKind::EndTxn, ErrorCode::ProducerFenced);
    stage
}

fn scenes() -> Vec<Scene> {
    use RequestKind as K;
    vec![
        ("InitProducerId, first", K::InitProducerId, initializing),
        ("InitProducerId, bump behind a commit", K::InitProducerId, bumping),
        ("FindCoordinator, transaction", K::FindCoordinator, looking),
        ("FindCoordinator, group", K::FindCoordinator, looking_for_group),
        ("AddPartitionsToTxn, V1", K::AddPartitionsToTxn, joining),
        ("AddOffsetsToTxn, V1", K::AddOffsetsToTxn, adding_offsets),
        ("TxnOffsetCommit, V1", K::TxnOffsetCommit, || {
            committing_offsets(Flavour::V1)
        }),
        ("TxnOffsetCommit, V2", K::TxnOffsetCommit, || {
            committing_offsets(Flavour::V2)
        }),
        ("EndTxn, commit, V1", K::EndTxn, || ending(Flavour::V1, true)),
        ("EndTxn, commit, V2", K::EndTxn, || ending(Flavour::V2, true)),
        ("EndTxn, commit again, V1", K::EndTxn, || {
            ending_again(Flavour::V1)
        }),
        ("EndTxn, commit again, V2", K::EndTxn, || {
            ending_again(Flavour::V2)
        }),
        ("EndTxn, abort, V1", K::EndTxn, || ending(Flavour::V1, false)),
        ("EndTxn, abort, V2", K::EndTxn, || ending(Flavour::V2, false)),
        ("DescribeTransactions, V1", K::DescribeTransactions, || {
            describing(Flavour::V1)
        }),
        ("DescribeTransactions, V2", K::DescribeTransactions, || {
            describing(Flavour::V2)
        }),
    ]
}

/// What a stage shows behind an answer, in a line.
fn show(stage: &mut Stage) -> String {
    let heard: Vec<String> = stage.outcomes().iter().map(name).collect();
    let state = stage.state();
    let next = stage.manager.next_request(Batches::AllComplete, NOW);
    let next = next.map_or("nothing", |request| request.kind().name());
    let heard = if heard.is_empty() {
        "nothing".to_owned()
    } else {
        heard.join(", ")
    };
    format!("{state:?}; next {next}; told {heard}")
}

fn name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Dead { error, transaction } => format!("Dead({}, {transaction:?})", kind(error)),
        Outcome::MustAbort(error) => format!("MustAbort({})", kind(error)),
        Outcome::NotInitialized(error) => format!("NotInitialized({})", kind(error)),
        other => format!("{other:?}"),
    }
}

fn kind(error: &TransactionError) -> String {
    let text = format!("{error:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn rows(scene: &Scene) -> BTreeMap<String, Vec<ErrorCode>> {
    let (_, kind, build) = scene;
    let mut rows: BTreeMap<String, Vec<ErrorCode>> = BTreeMap::new();
    for code in ErrorCode::ALL.iter().copied().chain([UNKNOWN]) {
        let mut stage = build();
        stage.fail(*kind, code);
        rows.entry(show(&mut stage)).or_default().push(code);
    }
    rows
}

/// E-1 … E-6, both flavours, every code.
#[test]
fn every_code_in_answer_to_every_request_has_the_outcome_of_its_table() {
    let mut out = String::new();
    for scene in scenes() {
        writeln!(out, "## {}\n", scene.0).expect("a string takes everything");
        for (shown, codes) in rows(&scene) {
            let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
            let names = if codes.contains(&UNKNOWN) {
                "every other code".to_owned()
            } else {
                names.join(", ")
            };
            writeln!(out, "{shown}\n    {names}\n").expect("a string takes everything");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/every_code.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &out).expect("the folder of the golden tables can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(out, expected, "UPDATE_GOLDEN=1 rewrites it");
}

/// H19: success is told for error code 0 alone.
#[test]
fn only_code_0_is_success() {
    for scene in scenes()
        .iter()
        .filter(|scene| scene.0 != "InitProducerId, bump behind a commit")
    {
        for (shown, codes) in rows(scene) {
            let success = [
                "told Committed",
                "told Aborted",
                "told Initialized",
                "told OffsetsAdded",
            ];
            if success.iter().any(|told| shown.contains(told)) {
                assert_eq!(codes, [ErrorCode::None], "{}: {shown}", scene.0);
            }
        }
    }
}

/// T-53: a response of another kind is fatal, whatever it says.
#[test]
fn a_response_of_another_kind_is_fatal() {
    for (title, kind, build) in scenes() {
        let mut stage = build();
        let request = stage.take(kind);
        let other = match kind {
            RequestKind::EndTxn => ResponseBody::AddOffsetsToTxn(Default::default()),
            _ => ResponseBody::EndTxn(Default::default()),
        };
        stage.manager.answered(request, Answer::Response(other));
        if title.starts_with("EndTxn, commit") {
            // R1: whatever that was, the commit was written.
            stage.leave_in_doubt();
        }
        assert_eq!(stage.state(), StateName::FatalError, "{title}");
    }
}

/// E-3: a response without a coordinator, or with two, is no answer.
#[test]
fn a_lookup_is_answered_with_exactly_one_coordinator() {
    for count in [0, 2] {
        let mut stage = looking();
        let request = stage.take(RequestKind::FindCoordinator);
        let response = kommit_protocol::messages::FindCoordinatorResponse {
            coordinators: vec![Default::default(); count],
            ..Default::default()
        };
        stage
            .manager
            .answered(request, Answer::Response(ResponseBody::FindCoordinator(response)));
        assert_eq!(stage.state(), StateName::FatalError, "{count} coordinators");
    }
}
