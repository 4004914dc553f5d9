//! One process of a real Kafka: formatted, started, waited for, and ended in every way that a test needs.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::folders;
use super::jars::Jars;
use super::java;
use super::probe;
use super::setup::{Place, Setup};
use super::watchdog::Watched;
use crate::proxy::Proxy;

/// A broker is up in two seconds; on a machine that compiles beside it, it takes a while longer.
pub(super) const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that another process does.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
const CLUSTER_ID: &str = "kommit-real-kafka-test";

/// A node with its data folder. Dropping it ends the process (`kill -9`) and removes the folder, unless the test panics.
#[derive(Debug)]
pub struct Node {
    setup: Setup,
    jars: Jars,
    home: PathBuf,
    place: Place,
    proxy_port: TcpListener,
    process: Mutex<Option<Watched>>,
}

impl Node {
    /// A node with an empty folder, that is not started yet.
    pub(super) fn new(setup: Setup, jars: Jars, (place, proxy_port): (Place, TcpListener)) -> Self {
        Self {
            setup,
            jars,
            home: folders::new_run(),
            place,
            proxy_port,
            process: Mutex::new(None),
        }
    }

    /// The node's id in its cluster.
    pub fn id(&self) -> i32 {
        self.place.id
    }

    /// What a client connects to that no proxy stands before.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.place.ports.direct)
    }

    /// What the proxy of this node forwards to.
    pub fn address_behind_proxy(&self) -> String {
        format!("127.0.0.1:{}", self.place.ports.behind_proxy)
    }

    /// A proxy before this node: a client that is given the proxy's address is told by the node to come back to it. One at a time.
    ///
    /// # Panics
    /// When the node's port for the proxy cannot be listened on.
    pub fn proxy(&self, seed: u64) -> Proxy {
        let proxy = self.proxy_port.try_clone().and_then(|port| Proxy::on(port, seed));
        let proxy = proxy.unwrap_or_else(|error| panic!("no proxy before {}: {error}", self.setup));
        proxy.forward_to(&self.address_behind_proxy());
        proxy
    }

    /// `kill -9`: the node is gone when this returns, its data stays.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// Ends the node as an operator does, with SIGTERM; one that hesitates for a minute is killed.
    pub async fn stop(&self) {
        let Some(mut process) = self.process().take() else {
            return;
        };
        java::signal(process.pid(), "TERM");
        let ended = async {
            while process.ended().is_none() {
                sleep(LOOK_AGAIN).await;
            }
        };
        let _ = timeout(STOP_LIMIT, ended).await;
    }

    /// Starts the node again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same ports with the same data, and waits
    /// until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn restart(&self) {
        self.kill();
        let started = match self.launch() {
            Ok(()) => self.until_ready().await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = started {
            panic!("{} does not start again: {reason}", self.setup);
        }
    }

    /// Stops the node's process in its tracks (SIGSTOP) until the guard is dropped. Its sockets stay open and silent.
    pub fn freeze(&self) -> Frozen<'_> {
        self.signal("STOP");
        Frozen { node: self }
    }

    /// Is the process alive?
    pub fn is_running(&self) -> bool {
        self.process()
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }

    /// What the node has said so far, at level warn.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    pub(super) async fn format(&self) {
        let properties = self.properties_file();
        let text = self.setup.server_properties(&self.place, &self.data());
        fs::write(&properties, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", properties.display()));
        let output = Command::new(java::program())
            .args(java::SHORT_LIFE)
            .args(self.jars.java_arguments())
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&properties)
            .args(self.setup.format_arguments())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("cannot run StorageTool: {error}"));
        assert!(
            output.status.success(),
            "{} cannot be formatted: {}{}",
            self.setup,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts the process, and does not wait for anything.
    pub(super) fn launch(&self) -> Result<(), String> {
        let mut arguments: Vec<OsString> = vec!["-Xmx700m".into()];
        arguments.extend(java::SHORT_LIFE.map(OsString::from));
        arguments.extend(self.jars.java_arguments().map(OsString::from));
        arguments.extend(["kafka.Kafka".into(), self.properties_file().into()]);
        let process = Watched::start(&java::program(), &arguments, &self.log_file())
            .map_err(|error| format!("cannot run java: {error}"))?;
        *self.process() = Some(process);
        Ok(())
    }

    /// Waits for both listeners that clients come to. The error is why the node does not get ready.
    pub(super) async fn until_ready(&self) -> Result<(), String> {
        let mut missing = String::new();
        match timeout(START_LIMIT, self.both_listeners(&mut missing)).await {
            Ok(started) => started,
            Err(_) => Err(format!(
                "after {} s: {missing}; {}",
                START_LIMIT.as_secs(),
                self.last_words()
            )),
        }
    }

    async fn both_listeners(&self, missing: &mut String) -> Result<(), String> {
        for address in [self.address(), self.address_behind_proxy()] {
            while let Err(reason) = probe::is_ready(&address, self.setup.nodes()).await {
                *missing = reason;
                if !self.is_running() {
                    return Err(format!("the process has ended; {}", self.last_words()));
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    fn signal(&self, name: &str) {
        if let Some(process) = self.process().as_ref() {
            java::signal(process.pid(), name);
        }
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(20);
        format!(
            "its log {} ends with:\n{}",
            self.log_file().display(),
            lines[last..].join("\n")
        )
    }

    fn process(&self) -> MutexGuard<'_, Option<Watched>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("broker.log")
    }

    fn properties_file(&self) -> PathBuf {
        self.home.join("server.properties")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "the files of {} stay in {} until the next run",
                self.setup,
                self.home.display()
            );
        } else {
            remove(&self.home);
        }
    }
}

/// A node that stands still; dropping the guard lets it go on.
#[derive(Debug)]
#[must_use = "the node goes on when the guard is dropped"]
pub struct Frozen<'k> {
    node: &'k Node,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.node.signal("CONT");
    }
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
}
