//! The rules of this house that a machine can check. Each breach is a line `file:line: rule: what`.
//!
//! Reading order: [`tables`] (the rules as tables, which is where to change one), [`source`] (a file as code, comments and
//! test part), [`rules`] (one function per rule, over one file), [`manifests`] (the law of dependencies), [`samples`] (each
//! rule against what it must catch and what it must spare).

mod manifests;
mod rules;
mod samples;
mod source;
mod tables;

use std::path::{Path, PathBuf};

use rules::Breaches;
use source::Source;

/// The top of the workspace.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Applies a rule to every Rust file of the workspace.
fn check(rule: impl Fn(&Source, &mut Breaches)) {
    let sources = source::read_all(&top());
    assert!(
        sources.len() > 20,
        "only {} Rust files found below {}",
        sources.len(),
        top().display()
    );
    let mut breaches = Breaches::default();
    for source in &sources {
        rule(source, &mut breaches);
    }
    breaches.report();
}

#[test]
fn arrows_between_crates_point_only_downward() {
    let mut breaches = Breaches::default();
    manifests::check_all(&top().join("crates"), &mut breaches);
    breaches.report();
}

#[test]
fn tokio_and_async_trait_stay_in_their_rooms() {
    check(rules::rooms);
}

#[test]
fn only_the_listed_files_read_a_clock() {
    check(rules::clocks);
}

#[test]
fn files_and_functions_stay_small() {
    check(rules::sizes);
}

#[test]
fn names_say_what_a_thing_is() {
    check(rules::names);
}

#[test]
fn nothing_unfinished_ignored_or_shouted_is_in_the_sources() {
    check(rules::texts);
}

#[test]
fn error_texts_carry_no_requirement_numbers() {
    check(rules::error_texts);
}

#[test]
fn every_requirement_that_a_comment_names_is_in_the_specification() {
    let known = rules::specified(&top().join("docs/spec"));
    assert!(
        known.len() > 500,
        "only {} requirements found in docs/spec",
        known.len()
    );
    check(|source, breaches| rules::requirements(&known, source, breaches));
}
