//! `kommit load` as a user starts, kills and starts it again.

#![allow(clippy::unwrap_used)]

mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use program::{Scratch, Stage, json, kommit, numbered_lines, signal, told};

/// The main job without any cluster.
#[test]
fn without_a_cluster_a_file_is_loaded_and_read_back() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/tzdata.zi");
    let output = kommit(&[
        "load",
        sample,
        "--topic",
        "zones",
        "--transactional-id",
        "zones",
        "--json",
    ])
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let summary = json(&output);
    assert_eq!(summary["lines"], 4641);
    assert_eq!(summary["transactions_committed"], 5);
    assert_eq!(summary["read_back"]["records"], 4641);
    assert_eq!(summary["read_back"]["missing"], 0);
}

#[test]
fn an_empty_file_is_loaded_at_once() {
    let stage = Stage::set();
    let output = stage
        .load(&Scratch::holding(""), "t", "i", "--partitions 1 --json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(json(&output)["lines"], 0);
}

/// The cursor travels inside the transaction: the second run loads only what is new.
#[test]
fn a_file_that_has_grown_is_loaded_from_where_it_ended() {
    let stage = Stage::set();
    let file = Scratch::holding("a\nb\nc");
    assert!(
        stage
            .load(&file, "t", "i", "--partitions 1 --records-per-transaction 2")
            .status()
            .unwrap()
            .success()
    );
    file.write("a\nb\nc\nd\n");
    let output = stage.load(&file, "t", "i", "--json").output().unwrap();
    let summary = json(&output);
    assert_eq!(
        (&summary["resumed_at"], &summary["lines"]),
        (&3.into(), &1.into()),
        "{}",
        told(&output)
    );
    assert_eq!(stage.read("t"), ["a", "b", "c", "d"]);
}

#[test]
fn another_file_under_the_same_id_is_refused_until_restart_is_said() {
    let stage = Stage::set();
    assert!(
        stage
            .load(&Scratch::holding("a\nb\n"), "t", "i", "--partitions 1")
            .status()
            .unwrap()
            .success()
    );
    let other = Scratch::holding("x\ny\nz\n");
    let output = stage.load(&other, "t", "i", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("not the file") && told(&output).contains("--restart"),
        "{}",
        told(&output)
    );
    assert!(
        stage
            .load(&other, "t", "i", "--restart")
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(stage.read("t"), ["a", "b", "x", "y", "z"]);
}

/// Killed at any moment and started again, each line is there once, in the file's order.
#[test]
fn a_load_that_is_killed_again_and_again_loads_each_line_once() {
    let stage = Stage::set();
    let file = Scratch::holding(&numbered_lines(20_000));
    let options = "--partitions 3 --records-per-transaction 50 --verify --json";
    for committed_ends in [20, 60, 61] {
        let mut child = stage.load(&file, "t", "i", options).spawn().unwrap();
        stage.wait_until("some ends of transactions", |broker| {
            broker
                .journal()
                .iter()
                .filter(|entry| entry.api == ApiKey::EndTxn)
                .count()
                >= committed_ends
        });
        signal(&child, "KILL");
        child.wait().unwrap();
    }
    let output = stage.load(&file, "t", "i", options).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let summary = json(&output);
    assert!(summary["resumed_at"].as_u64().unwrap() >= 1000, "{summary}");
    assert_eq!(summary["read_back"]["records"], 20_000, "{summary}");
}

#[test]
fn key_and_value_are_split_at_the_separator() {
    let stage = Stage::set();
    let file = Scratch::holding("k1=v1\nk2=v=2\n=\n");
    assert!(
        stage
            .load(&file, "t", "i", "--partitions 1 --key-separator = --verify")
            .status()
            .unwrap()
            .success()
    );
    let output = kommit(&["read", "t", "--json", "--bootstrap-servers", &stage.servers()])
        .output()
        .unwrap();
    let pairs: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| format!("{}->{}", record["key"], record["value"]))
        .collect();
    assert_eq!(pairs, [r#""k1"->"v1""#, r#""k2"->"v=2""#, r#"""->"""#]);
}

#[test]
fn standard_input_is_loaded_and_said_to_have_no_cursor() {
    let stage = Stage::set();
    let mut command = kommit(&[
        "load",
        "-",
        "--topic",
        "t",
        "--transactional-id",
        "i",
        "--partitions",
        "1",
    ]);
    command
        .args(["--bootstrap-servers", &stage.servers()])
        .stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a\nb").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(told(&output).matches("no cursor").count(), 1, "{}", told(&output));
    assert_eq!(stage.read("t"), ["a", "b"]);
}

/// T-103: the older instance is fenced by the newer one, ends with 3, and nothing is doubled.
#[test]
fn the_older_of_two_instances_ends_with_exit_code_3() {
    let stage = Stage::set();
    let file = Scratch::holding(&numbered_lines(3000));
    let options = "--partitions 2 --records-per-transaction 500 --verify";
    let held = stage.rule(Rule::on(ApiKey::EndTxn, Verdict::Hold).skip(2).once());
    let older = stage.load(&file, "t", "i", options).spawn().unwrap();
    stage.wait_until("the third end of a transaction, which is held", |_| {
        held.matches() == 3
    });
    let newer = stage.load(&file, "t", "i", options).output().unwrap();
    assert!(newer.status.success(), "{}", told(&newer));
    drop(held);
    let older = older.wait_with_output().unwrap();
    assert_eq!(older.status.code(), Some(3), "{}", told(&older));
    assert!(told(&older).contains("1000 lines are loaded"), "{}", told(&older));
    assert_eq!(stage.read("t").len(), 3000);
}

#[test]
fn ctrl_c_ends_the_open_transaction_and_says_where_the_load_stands() {
    stopped_by("INT");
}

/// A service manager ends a load as gently as a person does.
#[test]
fn sigterm_ends_it_as_ctrl_c_does() {
    stopped_by("TERM");
}

fn stopped_by(name: &str) {
    let stage = Stage::set();
    let file = Scratch::holding(&numbered_lines(5000));
    let options = "--partitions 1 --records-per-transaction 500 --json";
    let held = stage.rule(Rule::on(ApiKey::EndTxn, Verdict::Hold).skip(2).once());
    let child = stage.load(&file, "t", "i", options).spawn().unwrap();
    stage.wait_until("the third end of a transaction, which is held", |_| {
        held.matches() == 3
    });
    signal(&child, name);
    // The signal and the answer race; either way the transaction is ended before the program is.
    drop(held);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", told(&output));
    let summary = json(&output);
    assert_eq!(summary["outcome"], "stopped");
    let standing = summary["lines_in_topic"].as_u64().unwrap();
    assert!(
        standing >= 1500,
        "the transaction that was being committed is committed: {summary}"
    );
    assert_eq!(stage.read("t").len() as u64, standing);
    assert!(
        told(&output).contains(&format!("{standing} lines are loaded and committed")),
        "{}",
        told(&output)
    );
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_the_broker() {
    let stage = Stage::set();
    let held = stage.rule(Rule::on(ApiKey::EndTxn, Verdict::Hold));
    let file = Scratch::holding("a\n");
    let mut child = stage.load(&file, "t", "i", "--partitions 1").spawn().unwrap();
    stage.wait_until("the held end of a transaction", |_| held.matches() == 1);
    signal(&child, "INT");
    // Two signals in the same instant count as one: the second is sent when the first one was told.
    let mut said = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("stopping")));
    signal(&child, "INT");
    assert!(said.any(|line| line.starts_with("forced")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A transaction that the cluster aborts is done again, and its lines are there once.
#[test]
fn an_aborted_transaction_is_tried_again() {
    let stage = Stage::set();
    let rule = Rule::on(
        ApiKey::TxnOffsetCommit,
        Verdict::Answer(ErrorCode::TransactionAbortable),
    )
    .skip(1)
    .once();
    let _guard = stage.rule(rule);
    let file = Scratch::holding(&numbered_lines(30));
    let output = stage
        .load(
            &file,
            "t",
            "i",
            "--partitions 1 --records-per-transaction 10 --json --verify",
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let summary = json(&output);
    assert_eq!(
        (&summary["transactions_aborted"], &summary["retries"]),
        (&1.into(), &1.into()),
        "{summary}"
    );
    assert_eq!(stage.read("t").len(), 30);
}
