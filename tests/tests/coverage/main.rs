//! Which test shows which requirement: generates `docs/coverage.md`, and fails when that file is out of date.
//!
//! A test names the requirements that it shows in its doc comment (`/// S-26, T-40: …`). Rewrite the file with
//! `UPDATE_GOLDEN=1 cargo test -p kommit-tests --test coverage`.

mod left_out;
mod requirements;
mod tests_named;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use left_out::LEFT_OUT;
use requirements::{Number, specified};
use tests_named::{NamedTest, named_tests};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests stand in a folder of the workspace")
        .to_owned()
}

/// Why requirements are left out.
fn reasons() -> BTreeMap<Number, &'static str> {
    let parse = |number| Number::parse(number).expect("a number of the specification");
    LEFT_OUT
        .iter()
        .map(|(number, why)| (parse(number), *why))
        .collect()
}

fn page(required: &BTreeSet<Number>, tests: &BTreeMap<Number, BTreeSet<NamedTest>>) -> String {
    let reasons = reasons();
    let shown = required
        .iter()
        .filter(|number| tests.contains_key(number))
        .count();
    let left_out = required
        .iter()
        .filter(|number| !tests.contains_key(number) && reasons.contains_key(number))
        .count();
    let mut text = String::from(
        "# Which test shows which requirement\n\nGenerated from the doc comments of the tests by `UPDATE_GOLDEN=1 cargo test -p kommit-tests --test coverage`; \
         a test fails when this page is out of date.\n",
    );
    let total = required.len();
    let _ = writeln!(
        text,
        "\nOf {total} requirements, {shown} are named by a test, and {left_out} are left out for a reason.\n"
    );
    text.push_str("| Requirement | Tests |\n| --- | --- |\n");
    for number in required {
        let cell = match (tests.get(number), reasons.get(number)) {
            (Some(tests), _) => tests
                .iter()
                .map(|test| format!("`{}` ({})", test.name, test.file))
                .collect::<Vec<_>>()
                .join("<br>"),
            (None, Some(why)) => format!("left out: {why}"),
            (None, None) => "open".to_owned(),
        };
        let _ = writeln!(text, "| {number} | {cell} |");
    }
    text
}

/// The page is what the tests say of themselves.
#[test]
fn the_coverage_page_is_up_to_date() {
    let required = specified(&top().join("docs/spec"));
    let tests = named_tests(&top());
    let path = top().join("docs/coverage.md");
    let page = page(&required, &tests);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/coverage.md is out of date: run UPDATE_GOLDEN=1 cargo test -p kommit-tests --test coverage"
    );
}

/// Every requirement, hazard and rule is shown by a test, or left out for a reason.
#[test]
fn no_requirement_is_open() {
    let (tests, reasons) = (named_tests(&top()), reasons());
    let mut open = specified(&top().join("docs/spec"));
    open.retain(|number| !tests.contains_key(number) && !reasons.contains_key(number));
    let open: Vec<String> = open.iter().map(Number::to_string).collect();
    assert!(
        open.is_empty(),
        "name these in the tests that show them: {open:?}"
    );
}

/// A reason that is not needed any more is taken off the list.
#[test]
fn nothing_is_left_out_that_a_test_shows() {
    let tests = named_tests(&top());
    let shown: Vec<&str> = LEFT_OUT
        .iter()
        .map(|(number, _)| *number)
        .filter(|number| Number::parse(number).is_some_and(|number| tests.contains_key(&number)))
        .collect();
    assert!(shown.is_empty(), "left out, yet shown by a test: {shown:?}");
}
