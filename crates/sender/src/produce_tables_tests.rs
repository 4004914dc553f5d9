//! The tables of produce answers, printed into the documentation and compared with it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::path::Path;

use kommit_protocol::error_code::ErrorCode;

use super::{Situation, produce_action, proof_of};

const UNKNOWN: ErrorCode = ErrorCode::Unknown(9999);

fn print<A: Debug>(out: &mut String, title: &str, action: impl Fn(ErrorCode) -> A) {
    let fallback = format!("{:?}", action(UNKNOWN));
    let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for code in ErrorCode::ALL.iter().copied().chain([UNKNOWN]) {
        rows.entry(format!("{:?}", action(code)))
            .or_default()
            .push(code.name());
    }
    writeln!(out, "\n### {title}\n\n| Action | Codes |\n| --- | --- |").expect("a string takes everything");
    for (action, codes) in rows {
        let codes = if action == fallback {
            "every other code".to_owned()
        } else {
            codes.join(", ")
        };
        writeln!(out, "| `{action}` | {codes} |").expect("a string takes everything");
    }
}

/// S-63 … S-69, R1: every code that Kafka has, and one that it does not have, in every situation.
#[test]
fn every_code_has_its_row_in_the_tables_of_produce_answers() {
    let mut out = String::new();
    print(&mut out, "What an answer proves about its attempt", proof_of);
    for (situation, title) in [
        (Situation::Retriable, "A batch that may be sent again"),
        (Situation::Splittable, "A batch that may be sent in parts"),
        (Situation::LastAttempt, "A batch that may not be sent again"),
        (Situation::OutcomeGiven, "A batch whose records were told before"),
    ] {
        print(&mut out, title, |code| produce_action(code, situation));
    }
    out.push('\n');

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/error-tables.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (begin, end) = ("<!-- produce: begin -->\n", "<!-- produce: end -->");
    let (before, rest) = page.split_once(begin).expect("the section begins");
    let (expected, after) = rest.split_once(end).expect("the section ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let page = format!("{before}{begin}{out}{end}{after}");
        std::fs::write(&path, page).expect("the documentation can be written");
        return;
    }
    assert_eq!(
        out, expected,
        "docs/error-tables.md is out of date; UPDATE_GOLDEN=1 rewrites it"
    );
}
