//! The error tables of `docs/error-tables.md`: per table one row for each action, with its codes in the order of the numbers. The action of
//! a code that Kafka does not have yet is the one of "every other code". For the tests of the crates that own the tables.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::path::Path;

use kommit_protocol::error_code::ErrorCode;

const UNKNOWN: ErrorCode = ErrorCode::Unknown(9999);

/// Every code that Kafka has, and one that it does not have.
pub(crate) fn codes() -> impl Iterator<Item = ErrorCode> {
    ErrorCode::ALL.iter().copied().chain([UNKNOWN])
}

/// Prints the table of an action.
pub(crate) fn print<A: Debug>(out: &mut String, title: &str, action: impl Fn(ErrorCode) -> A) {
    let fallback = format!("{:?}", action(UNKNOWN));
    let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for code in codes() {
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

/// Compares tables with a section of the page. `UPDATE_GOLDEN=1` rewrites the section instead.
pub(crate) fn compare(section: &str, tables: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/error-tables.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let begin = format!("<!-- {section}: begin -->\n");
    let end = format!("<!-- {section}: end -->");
    let (before, rest) = page.split_once(&begin).expect("the section begins");
    let (expected, after) = rest.split_once(&end).expect("the section ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let page = format!("{before}{begin}{tables}\n{end}{after}");
        std::fs::write(&path, page).expect("the documentation can be written");
        return;
    }
    assert_eq!(
        format!("{tables}\n"),
        expected,
        "docs/error-tables.md is out of date; UPDATE_GOLDEN=1 rewrites it"
    );
}
