//! Table O-1, printed and compared.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use kommit_protocol::error_code::ErrorCode;

use super::{Event, State};
use crate::error::{Rejection, TransactionError};
use crate::transaction::Transaction;
use crate::version::Flavour;

fn error(code: ErrorCode) -> TransactionError {
    TransactionError::MustAbort(Rejection {
        transactional_id: None,
        request: "Produce",
        code,
        subject: None,
    })
}

fn open() -> Transaction {
    Transaction::begun(Flavour::V1)
}

fn states() -> Vec<State> {
    vec![
        State::Uninitialized,
        State::Initializing,
        State::Ready,
        State::InTransaction(open()),
        State::Committing(open()),
        State::Aborting(open()),
        State::AbortableError {
            error: error(ErrorCode::InvalidRecord),
            transaction: open(),
        },
        State::FatalError {
            error: error(ErrorCode::ProducerFenced),
        },
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("Uninitialize", Event::Uninitialize),
        ("Initialize", Event::Initialize),
        ("IdentityReceived", Event::IdentityReceived),
        ("Begin", Event::Begin(open())),
        ("BeginCommit", Event::BeginCommit),
        ("BeginAbort", Event::BeginAbort),
        ("TransactionEnded", Event::TransactionEnded),
        ("EndedNeedsIdentity", Event::EndedNeedsIdentity),
        ("Abort", Event::Abort(error(ErrorCode::InvalidTxnState))),
        ("Fail", Event::Fail(error(ErrorCode::InvalidProducerEpoch))),
    ]
}

/// O-1, T-6, T-12: every state and every event.
#[test]
fn every_state_takes_exactly_the_steps_of_the_table() {
    let mut table = String::new();
    for (name, event) in events() {
        for mut state in states() {
            let (from, last_error) = (state.name(), state.error().cloned());
            let to = match state.apply(event.clone()) {
                Err(_) => "illegal".to_owned(),
                Ok(()) if state.name() == from && state.error().cloned() == last_error => {
                    "ignored".to_owned()
                }
                Ok(()) => format!("{:?}", state.name()),
            };
            writeln!(table, "{name:<20}{:<16}{to}", format!("{from:?}")).expect("a string takes everything");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/states.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &table).expect("the folder of the golden tables can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, expected, "states.txt differs; UPDATE_GOLDEN=1 rewrites it");
}

/// T-10: a refused step changes nothing.
#[test]
fn an_illegal_step_changes_nothing_and_names_both_states() {
    let mut state = State::Ready;
    let refused = state
        .apply(Event::BeginCommit)
        .expect_err("no transaction is open");
    assert_eq!(refused.to_string(), "cannot go from Ready to Committing");
    assert!(matches!(state, State::Ready));
}

/// T-7, T-108: a later abortable error replaces an earlier one. D-20: the first fatal error stays.
#[test]
fn the_latest_abortable_and_the_first_fatal_error_are_kept() {
    let mut state = State::InTransaction(open());
    let (first, second) = (
        error(ErrorCode::InvalidRecord),
        error(ErrorCode::InvalidTimestamp),
    );
    state
        .apply(Event::Abort(first.clone()))
        .expect("in a transaction");
    state
        .apply(Event::Abort(second.clone()))
        .expect("in an abortable error");
    assert_eq!(state.error(), Some(&second));
    state.apply(Event::Fail(first.clone())).expect("from every state");
    state.apply(Event::Fail(second)).expect("from every state");
    assert_eq!(state.error(), Some(&first));
}
