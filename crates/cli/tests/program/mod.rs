//! The program as a test starts it: its own process, against a broker in the test's process, on files of the test's own.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of this"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kommit_broker::{BrokerConfig, EmbeddedBroker, Rule, RuleGuard};
use tokio::runtime::Runtime;

/// An embedded broker with a runtime of its own, so that the test's thread may block.
pub struct Stage {
    runtime: Runtime,
    pub broker: EmbeddedBroker,
}

impl Stage {
    pub fn set() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub fn with(config: BrokerConfig) -> Self {
        let runtime = Runtime::new().unwrap();
        let broker = runtime.block_on(EmbeddedBroker::start(config)).unwrap();
        Self { runtime, broker }
    }

    pub fn servers(&self) -> String {
        self.broker.bootstrap_servers()
    }

    pub fn rule(&self, rule: Rule) -> RuleGuard {
        self.broker.rule(rule)
    }

    /// `kommit load FILE --topic T --transactional-id ID --bootstrap-servers …` with more options, separated by spaces.
    pub fn load(&self, file: &Scratch, topic: &str, id: &str, options: &str) -> Command {
        let mut command = kommit(&["load"]);
        command
            .arg(&file.0)
            .args(["--topic", topic, "--transactional-id", id]);
        command
            .args(["--bootstrap-servers", &self.servers()])
            .args(options.split_whitespace());
        command
    }

    /// The values in a topic, in the order of partitions and offsets.
    pub fn read(&self, topic: &str) -> Vec<String> {
        let output = kommit(&["read", topic, "--bootstrap-servers", &self.servers()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until the broker has seen what `seen` looks for.
    pub fn wait_until(&self, what: &str, seen: impl Fn(&EmbeddedBroker) -> bool) {
        // The other side is a process of its own: there is nothing to wait on but time.
        for _ in 0..2000 {
            if seen(&self.broker) {
                return;
            }
            self.runtime
                .block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
        }
        panic!("{what} was not seen within 20 s");
    }
}

/// A file that is removed at the end of the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn holding(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "kommit-cli-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let scratch = Self(std::env::temp_dir().join(name));
        scratch.write(text);
        scratch
    }

    pub fn write(&self, text: &str) {
        std::fs::File::create(&self.0)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The program with these arguments, nothing started yet.
pub fn kommit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kommit"));
    command.args(arguments).env_remove("RUST_LOG");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What the program has said, both ways.
pub fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The JSON object that the program has printed.
pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(output)))
}

/// Sends a signal by its name.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name} works");
}

/// Lines that are all different.
pub fn numbered_lines(count: u32) -> String {
    (1..=count)
        .map(|number| format!("line {number} of {count}\n"))
        .collect()
}
