//! Every error code in answer to a batch, through the whole core, for each kind of producer: what its record is told, what becomes of a
//! transaction, and whether the producer goes on. Printed, and compared with a table (H19, H20).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use kommit_accumulator::Fate;
use kommit_protocol::api::ApiKey::Produce;
use kommit_protocol::error_code::ErrorCode;
use kommit_sender::{Proof, proof_of};
use kommit_tests::world::fault::{answer, serve_then_answer};
use kommit_tests::world::{CallOutcome, Fault, RecordOutcome, World, committed};
use kommit_txn_manager::TransactionFate;

const SECOND: Duration = Duration::from_secs(1);
const UNKNOWN: ErrorCode = ErrorCode::Unknown(9999);

fn codes() -> impl Iterator<Item = ErrorCode> {
    let errors = ErrorCode::ALL.iter().copied();
    errors.filter(|code| *code != ErrorCode::None).chain([UNKNOWN])
}

fn told(outcome: &RecordOutcome) -> &'static str {
    match outcome {
        RecordOutcome::Waiting => "still waits",
        RecordOutcome::Written(Some(_)) => "written",
        RecordOutcome::Written(None) => "written, nobody knows where",
        RecordOutcome::Refused(_) => "refused",
        RecordOutcome::Failed(error) if error.fate() == Fate::NotWritten => "failed, not written",
        RecordOutcome::Failed(_) => "failed, may be written",
    }
}

fn ended(outcome: &CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Committed => "committed",
        CallOutcome::Dead(_, TransactionFate::InDoubt) => "dead, in doubt",
        CallOutcome::Dead(..) => "dead, not committed",
        outcome if outcome.must_abort() => "must abort",
        _ => "without an end",
    }
}

/// The first attempt of a batch is answered with the code; every later one is served.
fn world(version: u8, fault: Fault) -> World {
    let world = World::seeded(61)
        .topic("orders", 1)
        .transaction_version(version)
        .set(|settings| {
            settings.request_timeout = 2 * SECOND;
            settings.delivery_timeout = 10 * SECOND;
        });
    world.rule(fault.once());
    world
}

fn idempotent(fault: Fault) -> String {
    let world = world(2, fault);
    let producer = world.idempotent();
    let record = producer.send("orders", 0, "a");
    world.run_for(15 * SECOND);
    let first = told(&record.outcome());
    let behind = producer.send("orders", 0, "b");
    world.run_for(15 * SECOND);
    let log = world.log("orders", 0);
    let twice = log.iter().filter(|value| *value == "a").count() > 1;
    assert!(!twice, "a record is there twice: {log:?}");
    format!("the record is {first}, the next one {}", told(&behind.outcome()))
}

fn transactional(version: u8, fault: Fault) -> String {
    let world = world(version, fault);
    let producer = world.transactional("t-1");
    producer.begin();
    let record = producer.send("orders", 0, "a");
    world.run_for(15 * SECOND);
    let first = told(&record.outcome());
    let commit = producer.commit();
    world.run_for(15 * SECOND);
    let seen = world.committed("orders", 0);
    let whole = if commit.outcome() == committed() { 1 } else { 0 };
    assert_eq!(seen.len(), whole, "what is told is what is seen: {seen:?}");
    format!(
        "the record is {first}, the transaction {}",
        ended(&commit.outcome())
    )
}

/// What a broker may answer that has not written the batch: what does not prove the contrary (R1).
fn codes_of_unwritten() -> impl Iterator<Item = ErrorCode> {
    codes().filter(|code| proof_of(*code) != Proof::Applied)
}

/// What a broker may answer although it has written the batch.
fn codes_of_written() -> impl Iterator<Item = ErrorCode> {
    codes().filter(|code| proof_of(*code) != Proof::NotApplied)
}

fn print(
    out: &mut String,
    title: &str,
    codes: impl Iterator<Item = ErrorCode>,
    play: impl Fn(ErrorCode) -> String,
) {
    let mut rows: BTreeMap<String, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        rows.entry(play(code)).or_default().push(code);
    }
    writeln!(out, "## {title}\n").expect("a string takes everything");
    for (row, codes) in rows {
        let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
        let names = if codes.contains(&UNKNOWN) {
            "every other code".to_owned()
        } else {
            names.join(", ")
        };
        writeln!(out, "{row}\n    {names}\n").expect("a string takes everything");
    }
}

/// E-7, S-63 … S-68, T-87, H19, H20, H29: no code makes a record come twice, or a transaction tell what is not so.
#[test]
fn every_code_in_answer_to_a_batch_has_its_outcome() {
    let mut out = String::new();
    print(&mut out, "Idempotent, not served", codes_of_unwritten(), |code| {
        idempotent(answer(Produce, code))
    });
    print(
        &mut out,
        "Idempotent, served all the same",
        codes_of_written(),
        |code| idempotent(serve_then_answer(Produce, code)),
    );
    for version in [1, 2] {
        let title = format!("Transactional, version {version}, not served");
        print(&mut out, &title, codes_of_unwritten(), |code| {
            transactional(version, answer(Produce, code))
        });
        let title = format!("Transactional, version {version}, served all the same");
        print(&mut out, &title, codes_of_written(), |code| {
            transactional(version, serve_then_answer(Produce, code))
        });
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/produce_codes.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &out).expect("the folder of the golden tables can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(out, expected, "UPDATE_GOLDEN=1 rewrites it");
}
