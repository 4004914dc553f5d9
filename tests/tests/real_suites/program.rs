//! The program `kommit` as a child process, built once by cargo into the folder that this test was built into.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

use crate::client::FOREVER;

/// A running `kommit`; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Kommit {
    child: Child,
}

/// What a `kommit` that has ended left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Kommit {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let child = Command::new(program().await)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        Self {
            child: child.expect("the program starts"),
        }
    }

    /// `kommit load FILE` into the topic of the same name as the transactional id.
    pub(crate) async fn load(servers: &str, file: &Path, topic: &str, more: &[&str]) -> Self {
        let file = file.display().to_string();
        let arguments = ["load", &file, "--topic", topic, "--transactional-id", topic];
        let place = ["--bootstrap-servers", servers, "--partitions", "6"];
        let form = ["--key-separator", "|", "--json"];
        Self::start(&[&arguments[..], &place, &form, more].concat()).await
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> Ended {
        self.child.start_kill().expect("it may be killed");
        self.wait().await
    }

    /// Waits for the end, which may be minutes away when brokers come and go.
    pub(crate) async fn wait(self) -> Ended {
        let ended = tokio::time::timeout(5 * FOREVER, self.child.wait_with_output()).await;
        let output = ended
            .expect("it ends in bounded time")
            .expect("it can be waited for");
        Ended {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The next line of its output. What comes after is still read by the one that holds the reader.
    pub(crate) async fn first_line(&mut self) -> (String, BufReader<ChildStdout>) {
        let mut lines = BufReader::new(self.child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        let read = tokio::time::timeout(FOREVER, lines.read_line(&mut line)).await;
        read.expect("in bounded time").expect("readable");
        (line.trim_end().to_owned(), lines)
    }

    /// Is it still running?
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Ended {
    /// The one JSON object that it printed.
    pub(crate) fn summary(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no summary ({error}): {self:?}"))
    }
}

/// Builds the program, unless it is there, and returns where it is.
async fn program() -> &'static Path {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_init(build).await
}

async fn build() -> PathBuf {
    let built = cargo_build(&["-p", "kommit-cli", "--bin", "kommit"]).await;
    built.unwrap_or_else(|reason| panic!("kommit does not build: {reason}"))
}

/// Lets cargo build one program, as this test was built, and returns where it is. The error is what cargo said.
pub(crate) async fn cargo_build(what: &[&str]) -> Result<PathBuf, String> {
    let test = std::env::current_exe().expect("a running test has a path");
    let mut folders = test.ancestors().skip(2);
    let profile_folder = folders.next().expect("the folder of the profile is above deps");
    let target = folders.next().expect("the target folder is above it");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--profile", profile])
        .args(what)
        .args(["--message-format", "json-render-diagnostics", "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .await
        .expect("cargo runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    Ok(built.expect("cargo tells where the program is"))
}
