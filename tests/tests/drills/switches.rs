//! A drill that cannot fail proves nothing. Here each rule is switched off in turn, and the drill of its hazard must fail, with the words
//! that say what went wrong.
//!
//! R2 and R11 cannot be switched off: they are types.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kommit_protocol::hazard_rule::HazardRule;

use crate::{batches, ends, going_on, identities, offsets};

/// Plays the drill without the rule.
fn fails_without(rule: HazardRule, drill: fn(), with: &str) {
    let switched_off = rule.switch_off();
    let outcome = catch_unwind(AssertUnwindSafe(drill));
    drop(switched_off);
    let Err(payload) = outcome else {
        panic!("the drill succeeds without {rule:?}");
    };
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    assert!(
        text.contains(with),
        "without {rule:?} the drill fails with: {text}"
    );
}

/// R1: without the third value, a record that is stored is told as not written.
#[test]
fn without_r1_a_stored_record_is_told_as_not_written() {
    fails_without(HazardRule::R1, batches::cancel_after_append, "may_be_written");
}

/// R3: with its sequence given away, the next record is taken for a copy of the one that is stored.
#[test]
fn without_r3_a_record_is_acknowledged_and_not_stored() {
    fails_without(HazardRule::R3, batches::cancel_after_append, "stored");
}

/// R4: under another name, a batch is stored twice.
#[test]
fn without_r4_a_batch_is_stored_twice() {
    fails_without(HazardRule::R4, batches::bump_over_unknown, "unknown");
}

/// R5: the end goes out beside a batch of its transaction.
#[test]
fn without_r5_the_end_goes_beside_a_batch() {
    fails_without(HazardRule::R5, ends::end_behind_an_expired_record, "I4");
}

/// R6: a late commit decides the transaction behind it.
#[test]
fn without_r6_a_late_commit_decides_another_transaction() {
    fails_without(HazardRule::R6, ends::late_endtxn_commit, "I7");
}

/// R6: a late abort takes records from the transaction behind it.
#[test]
fn without_r6_a_late_abort_takes_records_away() {
    fails_without(HazardRule::R6, ends::late_endtxn_abort, "TRANSACTION_ABORTABLE");
}

/// R6: the same when the transaction behind it was begun before the commit had its answer.
#[test]
fn without_r6_a_late_commit_decides_a_transaction_that_was_begun_ahead() {
    fails_without(HazardRule::R6, going_on::late_endtxn_commit, "I7");
}

/// R7: a commit that was carried out is aborted.
#[test]
fn without_r7_a_commit_is_followed_by_an_abort() {
    fails_without(HazardRule::R7, ends::abort_asked_for_behind_a_commit, "I5");
}

/// R8: a commit that was carried out is told as not committed.
#[test]
fn without_r8_a_commit_is_told_as_none() {
    fails_without(HazardRule::R8, ends::fenced_behind_a_commit, "I7");
}

/// R9: a producer takes its own identity over.
#[test]
fn without_r9_a_producer_takes_its_identity_over() {
    fails_without(HazardRule::R9, ends::init_while_ongoing, "R9");
}

/// R10: a transaction is half of one version and half of the other.
#[test]
fn without_r10_a_transaction_has_two_versions() {
    fails_without(HazardRule::R10, identities::tv_flip, "R10");
}

/// R12: a commit succeeds without one of its records.
#[test]
fn without_r12_a_commit_succeeds_without_a_record() {
    fails_without(HazardRule::R12, ends::expire_then_commit, "Committed");
}

/// R13: refused offsets are tried again.
#[test]
fn without_r13_refused_offsets_are_tried_again() {
    fails_without(HazardRule::R13, offsets::stale_generation, "IllegalGeneration");
}

/// R14: a late answer is taken for that of another request.
#[test]
fn without_r14_a_refused_record_is_acknowledged() {
    fails_without(HazardRule::R14, batches::late_answer, "refused");
}

/// A program that is built from the crates has no switches: the feature is declared, and none of them asks for it.
#[test]
fn no_crate_asks_for_the_switches() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut manifests = 0;
    for entry in fs::read_dir(crates).expect("the folder of the crates") {
        let manifest = entry
            .expect("an entry that can be read")
            .path()
            .join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("every crate has a manifest");
        let mentions = text
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains("switches"));
        for line in mentions {
            assert_eq!(line, "switches = []", "{}", manifest.display());
        }
        manifests += 1;
    }
    assert!(manifests > 5, "only {manifests} crates found");
}
