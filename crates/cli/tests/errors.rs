//! What goes wrong, and what the program says about it: the broker or setting by name, what to do next, and the exit code.

#![allow(clippy::unwrap_used)]

mod program;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use program::{Scratch, Stage, kommit, numbered_lines, told};

/// The program failed with this code, and said all of these words and what to do next.
fn expect(output: &Output, code: i32, words: &[&str]) {
    let text = told(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "'{word}' is missing in: {text}");
    }
    assert!(code == 2 || text.contains("\n next: "), "{text}");
}

fn load_from(servers: &str) -> Output {
    let file = Scratch::holding("a\n");
    let path = file.0.to_str().unwrap();
    kommit(&[
        "load",
        path,
        "--topic",
        "t",
        "--transactional-id",
        "i",
        "--partitions",
        "1",
        "--bootstrap-servers",
        servers,
    ])
    .output()
    .unwrap()
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = kommit(&["load", "/no/such/file", "--topic", "t", "--transactional-id", "i"])
        .output()
        .unwrap();
    expect(&output, 1, &["/no/such/file"]);
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    expect(
        &load_from(&address),
        1,
        &["no broker listens", &address, "start the broker"],
    );
}

#[test]
fn a_port_where_something_else_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Reads a request and closes the connection, as many servers do that do not understand one. A close before the request is read would reset it.
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _length = connection.read(&mut [0; 1024]).unwrap();
    });
    expect(
        &load_from(&address),
        1,
        &["not a Kafka broker", &address, "correct the port"],
    );
    server.join().unwrap();
}

#[test]
fn a_server_that_speaks_another_protocol_is_named_by_it() {
    let http: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    let tls_alert: &[u8] = &[0x15, 3, 1, 0, 2, 2, 10];
    for (answer, words) in [(http, "it speaks HTTP"), (tls_alert, "it speaks TLS")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _request = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer).unwrap();
        });
        expect(&load_from(&address), 1, &[words, &address, "correct the port"]);
        server.join().unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_summary_that_does_not_fit_on_the_disk_is_a_failure() {
    let file = Scratch::holding("a\n");
    let path = file.0.to_str().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = kommit(&["load", path, "--topic", "t", "--transactional-id", "i", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    expect(&output, 1, &["standard output", "No space left", "free some"]);
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    expect(&load_from("localhost"), 2, &["--bootstrap-servers", "HOST:PORT"]);
}

#[test]
fn a_topic_that_is_missing_is_named() {
    let stage = Stage::set();
    let output = stage
        .load(&Scratch::holding("a\n"), "nowhere", "i", "")
        .output()
        .unwrap();
    expect(&output, 1, &["topic nowhere does not exist", "--partitions"]);
}

#[test]
fn an_illegal_topic_name_and_an_empty_id_are_wrong_usage() {
    let refused = |topic, id| {
        kommit(&["load", "-", "--topic", topic, "--transactional-id", id])
            .output()
            .unwrap()
    };
    expect(&refused("a/b", "i"), 2, &["--topic", "letters, digits"]);
    expect(&refused("t", ""), 2, &["--transactional-id", "empty"]);
}

#[test]
fn a_transaction_timeout_above_the_broker_s_maximum_names_the_setting() {
    let stage = Stage::set();
    let options = "--partitions 1 --producer-property transaction.timeout.ms=900001";
    let output = stage
        .load(&Scratch::holding("a\n"), "t", "i", options)
        .output()
        .unwrap();
    expect(
        &output,
        1,
        &[
            "INVALID_TRANSACTION_TIMEOUT",
            "transaction.timeout.ms",
            "transaction.max.timeout.ms",
        ],
    );
}

#[test]
fn a_line_that_is_too_long_is_named_and_those_before_it_are_loaded() {
    let stage = Stage::set();
    let file = Scratch::holding(&format!("{}{}\nlast\n", numbered_lines(2), "x".repeat(2000)));
    let options = "--partitions 1 --producer-property max.request.size=1000";
    let output = stage.load(&file, "t", "i", options).output().unwrap();
    expect(
        &output,
        1,
        &["line 3 of", "max.request.size", "2 lines are loaded"],
    );
    assert_eq!(stage.read("t").len(), 2);
}

#[test]
fn a_line_without_the_separator_is_named() {
    let stage = Stage::set();
    let output = stage
        .load(
            &Scratch::holding("k:v\nkv\n"),
            "t",
            "i",
            "--partitions 1 --key-separator :",
        )
        .output()
        .unwrap();
    expect(&output, 1, &["line 2 of", "separator"]);
    assert!(
        stage.read("t").is_empty(),
        "the transaction of the line is aborted"
    );
}

#[test]
fn missing_rights_are_named_with_what_they_are_for() {
    for (api, code, words) in [
        (
            ApiKey::InitProducerId,
            ErrorCode::TransactionalIdAuthorizationFailed,
            ["TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "--transactional-id"],
        ),
        (
            ApiKey::Metadata,
            ErrorCode::TopicAuthorizationFailed,
            ["TOPIC_AUTHORIZATION_FAILED", "right"],
        ),
        (
            ApiKey::Produce,
            ErrorCode::TopicAuthorizationFailed,
            ["TOPIC_AUTHORIZATION_FAILED", "--topic"],
        ),
        (
            ApiKey::OffsetFetch,
            ErrorCode::GroupAuthorizationFailed,
            ["GROUP_AUTHORIZATION_FAILED", "right"],
        ),
        (
            ApiKey::TxnOffsetCommit,
            ErrorCode::GroupAuthorizationFailed,
            ["GROUP_AUTHORIZATION_FAILED", "--group"],
        ),
    ] {
        let stage = Stage::set();
        stage.broker.create_topic("t", 1).unwrap();
        let _guard = stage.rule(Rule::on(api, Verdict::Answer(code)));
        let output = stage
            .load(&Scratch::holding("a\n"), "t", "i", "")
            .output()
            .unwrap();
        expect(&output, 1, &words);
    }
}

#[test]
fn a_setting_that_does_not_exist_is_wrong_usage() {
    let stage = Stage::set();
    let options = "--partitions 1 --producer-property no.such.setting=1";
    let output = stage
        .load(&Scratch::holding("a\n"), "t", "i", options)
        .output()
        .unwrap();
    expect(&output, 2, &["no.such.setting", "--producer-property"]);
}
