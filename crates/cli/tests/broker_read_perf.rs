//! `kommit broker`, `kommit read` and `kommit perf` as processes.

#![allow(clippy::unwrap_used)]

mod program;

use std::io::{BufRead, BufReader};
use std::process::Child;

use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use program::{Scratch, Stage, json, kommit, signal, told};

#[test]
fn the_broker_ends_on_sigterm() {
    let mut broker = kommit(&["broker", "--port", "0"]).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(broker.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(line.contains("accepts connections"), "{line}");
    signal(&broker, "TERM");
    assert!(broker.wait().unwrap().success());
}

/// A `kommit broker` with a data directory, and where it accepts connections.
fn broker_with(directory: &str) -> (Child, String) {
    let mut broker = kommit(&["broker", "--port", "0", "--data-dir", directory])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(broker.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let servers = line.trim().rsplit(' ').next().unwrap().to_owned();
    (broker, servers)
}

/// B-5: records, the cursor of a load and the transactional id outlive a broker that is killed.
#[test]
fn a_killed_broker_finds_everything_again() {
    let directory = std::env::temp_dir().join(format!("kommit-data-{}", std::process::id()));
    let directory = directory.to_str().unwrap();
    let file = Scratch::holding("a\nb\nc\n");
    let path = file.0.to_str().unwrap();
    let load = |servers: &str| {
        let job = [
            "load",
            path,
            "--topic",
            "t",
            "--transactional-id",
            "i",
            "--partitions",
            "1",
        ];
        let output = kommit(&job)
            .args(["--json", "--bootstrap-servers", servers])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
    };
    let (mut broker, servers) = broker_with(directory);
    load(&servers);
    signal(&broker, "KILL");
    broker.wait().unwrap();

    let (mut broker, servers) = broker_with(directory);
    file.write("a\nb\nc\nd\n");
    load(&servers);
    let output = kommit(&["read", "t", "--bootstrap-servers", &servers])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "a\nb\nc\nd\n",
        "{}",
        told(&output)
    );
    signal(&broker, "TERM");
    assert!(broker.wait().unwrap().success());
    std::fs::remove_dir_all(directory).unwrap();
}

/// B-37: a broker whose directory cannot be written any more ends and says why; here because a newer one has it. The newer one goes on.
#[test]
fn a_broker_without_its_directory_ends() {
    let directory = std::env::temp_dir().join(format!("kommit-taken-{}", std::process::id()));
    let directory = directory.to_str().unwrap();
    let file = Scratch::holding("a\n");
    let load = |servers: &str| {
        let path = file.0.to_str().unwrap();
        let mut command = kommit(&["load", path, "--topic", "t", "--transactional-id", "i"]);
        command.args(["--partitions", "1", "--bootstrap-servers", servers]);
        command
    };
    let (older, of_older) = broker_with(directory);
    let (mut newer, of_newer) = broker_with(directory);
    let output = load(&of_newer).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));

    let mut refused = load(&of_older).spawn().unwrap();
    let ended = older.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        told(&ended).contains("another broker uses the data directory"),
        "{}",
        told(&ended)
    );
    refused.kill().unwrap();
    refused.wait().unwrap();
    signal(&newer, "TERM");
    assert!(newer.wait().unwrap().success());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_broker_says_where_it_accepts_and_ends_on_ctrl_c() {
    let mut broker = kommit(&[
        "broker",
        "--port",
        "0",
        "--nodes",
        "2",
        "--transaction-version",
        "1",
    ])
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(broker.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let servers = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(servers.split(',').count(), 2, "{line}");
    let file = Scratch::holding("a\nb\n");
    let path = file.0.to_str().unwrap();
    let load = [
        "load",
        path,
        "--topic",
        "t",
        "--transactional-id",
        "i",
        "--partitions",
        "2",
        "--verify",
        "--bootstrap-servers",
        &servers,
    ];
    let output = kommit(&load).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    signal(&broker, "INT");
    assert!(broker.wait().unwrap().success());
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
