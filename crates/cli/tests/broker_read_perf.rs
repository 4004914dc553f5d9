//! `kommit broker`, `kommit read` and `kommit perf` as processes.

#![allow(clippy::unwrap_used)]

mod program;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use program::{Scratch, Stage, json, kommit, signal, told};

/// A `kommit broker` with these options, and where it says that it accepts connections.
fn broker_with(options: &[&str]) -> (Child, String) {
    let command = [&["broker", "--port", "0"], options].concat();
    let mut broker = kommit(&command).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(broker.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("accepts connections"), "{line}");
    let servers = line.trim().rsplit(' ').next().unwrap().to_owned();
    (broker, servers)
}

/// Ends a broker by this signal, to its own satisfaction.
fn end(mut broker: Child, name: &str) {
    signal(&broker, name);
    assert!(broker.wait().unwrap().success());
}

/// `kommit load` of a file into the topic t of these brokers, with more options.
fn load(file: &Scratch, servers: &str, options: &[&str]) -> Command {
    let mut command = kommit(&["load", file.0.to_str().unwrap(), "--topic", "t"]);
    command.args(["--transactional-id", "i", "--bootstrap-servers", servers]);
    command.args(options);
    command
}

/// A load that succeeds.
fn loads(file: &Scratch, servers: &str, options: &[&str]) {
    let output = load(file, servers, options).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_broker_ends_on_sigterm() {
    let (broker, _servers) = broker_with(&[]);
    end(broker, "TERM");
}

/// B-5: records, the cursor of a load and the transactional id outlive a broker that is killed.
#[test]
fn a_killed_broker_finds_everything_again() {
    let directory = std::env::temp_dir().join(format!("kommit-data-{}", std::process::id()));
    let directory = directory.to_str().unwrap();
    let file = Scratch::holding("a\nb\nc\n");
    let (mut broker, servers) = broker_with(&["--data-dir", directory]);
    loads(&file, &servers, &["--partitions", "1"]);
    signal(&broker, "KILL");
    broker.wait().unwrap();

    let (broker, servers) = broker_with(&["--data-dir", directory]);
    file.write("a\nb\nc\nd\n");
    loads(&file, &servers, &["--partitions", "1"]);
    let output = kommit(&["read", "t", "--bootstrap-servers", &servers])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "a\nb\nc\nd\n",
        "{}",
        told(&output)
    );
    end(broker, "TERM");
    std::fs::remove_dir_all(directory).unwrap();
}

/// B-37: a broker whose directory cannot be written any more ends and says why; here because a newer one has it. The newer one goes on.
#[test]
fn a_broker_without_its_directory_ends() {
    let directory = std::env::temp_dir().join(format!("kommit-taken-{}", std::process::id()));
    let directory = directory.to_str().unwrap();
    let file = Scratch::holding("a\n");
    let (older, of_older) = broker_with(&["--data-dir", directory]);
    let (newer, of_newer) = broker_with(&["--data-dir", directory]);
    let one = ["--partitions", "1"];
    loads(&file, &of_newer, &one);

    let mut refused = load(&file, &of_older, &one).spawn().unwrap();
    let ended = older.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        told(&ended).contains("another broker uses the data directory"),
        "{}",
        told(&ended)
    );
    refused.kill().unwrap();
    refused.wait().unwrap();
    end(newer, "TERM");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_broker_says_where_it_accepts_and_ends_on_ctrl_c() {
    let (broker, servers) = broker_with(&["--nodes", "2", "--transaction-version", "1"]);
    assert_eq!(servers.split(',').count(), 2, "{servers}");
    let file = Scratch::holding("a\nb\n");
    loads(&file, &servers, &["--partitions", "2", "--verify"]);
    end(broker, "INT");
}

/// B-112: what was aborted is seen with read_uncommitted only.
#[test]
fn aborted_records_are_read_with_read_uncommitted_only() {
    let stage = Stage::set();
    let rule = Rule::on(
        ApiKey::TxnOffsetCommit,
        Verdict::Answer(ErrorCode::GroupAuthorizationFailed),
    );
    let guard = stage.rule(rule);
    let first = stage
        .load(
            &Scratch::holding("lost\n"),
            "t",
            "i",
            "--partitions 1 --producer-property linger.ms=0",
        )
        .output()
        .unwrap();
    assert_eq!(first.status.code(), Some(1), "{}", told(&first));
    drop(guard);
    assert!(
        stage
            .load(&Scratch::holding("kept\n"), "t", "i", "")
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(stage.read("t"), ["kept"]);
    let output = kommit(&[
        "read",
        "t",
        "--isolation",
        "read_uncommitted",
        "--bootstrap-servers",
        &stage.servers(),
    ])
    .output()
    .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .all(|line| matches!(line, "kept" | "lost")),
        "{}",
        told(&output)
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("kept"),
        "{}",
        told(&output)
    );
}

#[test]
fn each_mode_of_perf_acknowledges_every_record_and_prints_one_line() {
    let stage = Stage::set();
    for (mode, more, percentile, txns) in [
        ("throughput", "", "ack_p99_us", 0),
        ("latency", "", "ack_p99_us", 0),
        ("txn", "", "txn_p99_us", 20),
        ("txn", "--commit-and-begin", "txn_p99_us", 20),
    ] {
        let mut perf = kommit(&[
            "perf",
            "--topic",
            "p",
            "--partitions",
            "3",
            "--mode",
            mode,
            "--records",
            "2000",
        ]);
        let output = perf
            .args(more.split_whitespace())
            .args(["--bootstrap-servers", &stage.servers()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
        let report = json(&output);
        assert_eq!(
            (&report["who"], &report["mode"]),
            (&"kommit".into(), &mode.into())
        );
        assert_eq!(
            (&report["acked"], &report["failed"]),
            (&2000.into(), &0.into()),
            "{report}"
        );
        assert_eq!(report["txns"], txns, "{report}");
        assert!(report[percentile].as_u64().unwrap() > 0, "{report}");
    }
}

#[test]
fn tasks_of_perf_share_its_records_and_keys() {
    let stage = Stage::set();
    let output = kommit(&[
        "perf",
        "--topic",
        "p",
        "--partitions",
        "3",
        "--records",
        "1000",
        "--size",
        "1",
    ])
    .args([
        "--tasks",
        "3",
        "--keys",
        "1000",
        "--bootstrap-servers",
        &stage.servers(),
    ])
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(json(&output)["acked"], 1000);
    let output = kommit(&["read", "p", "--json", "--bootstrap-servers", &stage.servers()])
        .output()
        .unwrap();
    let read = String::from_utf8_lossy(&output.stdout);
    for number in 0..1000 {
        let key = format!("\"{number:016}\"");
        assert_eq!(read.matches(&key).count(), 1, "{key}");
    }
}
