//! A broker that discards, in a process of its own so that its time is not counted: the benchmark's program again, under another name.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kommit_broker::{BrokerConfig, EmbeddedBroker, Storage};
use tokio::io::AsyncReadExt;

const NAME: &str = "sink";

/// Whether this process is to be the broker: then it calls [`run`] and nothing else.
pub fn is_asked_for() -> bool {
    std::env::args().any(|argument| argument == NAME)
}

/// The broker, until its standard input ends.
#[tokio::main]
pub async fn run() {
    let config = BrokerConfig {
        storage: Storage::Discard {
            answer_delay: Duration::ZERO,
        },
        journal_capacity: 0,
        ..BrokerConfig::default()
    };
    let broker = EmbeddedBroker::start(config).await.expect("a free port");
    println!("{}", broker.bootstrap_servers());
    let _end = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    broker.shutdown().await;
}

/// The broker's process, for as long as this lives.
pub struct Sink {
    child: Child,
    /// Its address.
    pub servers: String,
}

impl Sink {
    /// Starts it.
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg(NAME)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("an address");
        Self {
            child,
            servers: line.trim().to_owned(),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}
