//! The tests of the workspace and the numbers that their doc comments name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::requirements::Number;

/// A test function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedTest {
    /// From the top of the workspace.
    pub(crate) file: String,
    /// The function.
    pub(crate) name: String,
}

/// For each number, the tests that name it.
pub(crate) fn named_tests(top: &Path) -> BTreeMap<Number, BTreeSet<NamedTest>> {
    let mut found = BTreeMap::new();
    for folder in ["crates", "tests", "examples"] {
        read_folder(&top.join(folder), folder, &mut found);
    }
    found
}

fn read_folder(folder: &Path, path: &str, found: &mut BTreeMap<Number, BTreeSet<NamedTest>>) {
    let entries = fs::read_dir(folder).expect("a folder of the workspace can be read");
    for entry in entries.map(|entry| entry.expect("an entry of a folder can be read")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{path}/{name}");
        if entry.path().is_dir() {
            read_folder(&entry.path(), &path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a source file is text");
            for (test, numbers) in tests_of(&text) {
                for number in numbers {
                    let test = NamedTest {
                        file: path.clone(),
                        name: test.clone(),
                    };
                    found.entry(number).or_default().insert(test);
                }
            }
        }
    }
}

/// The test functions of a file, each with the numbers in the doc comment before it.
fn tests_of(text: &str) -> Vec<(String, Vec<Number>)> {
    let mut tests = Vec::new();
    let (mut numbers, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            numbers.extend(numbers_in(comment));
        } else if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("::test(");
        } else {
            let function = line
                .split_once("fn ")
                .and_then(|(_, rest)| rest.split('(').next());
            if let (true, Some(function)) = (is_test, function) {
                tests.push((function.to_owned(), std::mem::take(&mut numbers)));
            }
            numbers.clear();
            is_test = false;
        }
    }
    tests
}

/// The numbers that a comment names, those between the ends of a range ("T-28 … T-33") included.
fn numbers_in(comment: &str) -> Vec<Number> {
    let mut numbers: Vec<Number> = Vec::new();
    let mut is_range = false;
    for word in comment.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '…')) {
        match Number::parse(word) {
            Some(end) => {
                if let (true, Some(begin)) = (is_range, numbers.last().copied()) {
                    numbers.extend(begin.up_to(end));
                }
                numbers.push(end);
                is_range = false;
            }
            None if !word.is_empty() => is_range = word == "…",
            None => {}
        }
    }
    numbers
}

/// Only the doc comment right before a test counts.
#[test]
fn a_test_names_what_its_own_comment_names() {
    let text = "/// S-1: no test.\nfn plain() {}\n/// S-26, T-40: waits (H01).\n#[test]\nfn waits() {}\n#[test]\nfn other() {}\n";
    let tests = tests_of(text);
    let numbers = |index: usize| tests[index].1.iter().map(Number::to_string).collect::<Vec<_>>();
    assert_eq!(numbers(0), ["S-26", "T-40", "H01"]);
    assert!(numbers(1).is_empty());
}

/// A range names what lies between its ends, in one group only.
#[test]
fn a_range_names_everything_in_it() {
    let named = |comment| {
        numbers_in(comment)
            .iter()
            .map(Number::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named("T-28 … T-31, R10: text"),
        ["T-28", "T-29", "T-30", "T-31", "R10"]
    );
    assert_eq!(named("T-28 … S-31, S-5"), ["T-28", "S-31", "S-5"]);
}
