//! One running broker: formatted, started, waited for, and ended in every way that a test needs.

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
use super::segments::{self, DumpedBatch};
use super::setup::{Ports, Setup};
use super::tools::Tools;
use super::watchdog::Watched;
use crate::proxy::Proxy;

/// A broker is up in two seconds; on a machine that compiles beside it, it takes a while longer.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that another process does.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A port found free can be taken before the broker binds it.
const START_ATTEMPTS: u32 = 3;
const CLUSTER_ID: &str = "kommit-real-kafka-test";

/// A real broker with its data folder. Dropping it ends the process (`kill -9`) and removes the folder, unless the test panics.
#[derive(Debug)]
pub struct RealKafka {
    setup: Setup,
    jars: Jars,
    home: PathBuf,
    ports: Ports,
    proxy_port: TcpListener,
    process: Mutex<Option<Watched>>,
}

impl RealKafka {
    /// Starts a new broker with an empty data folder and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; the text has the end of the broker's log.
    pub(super) async fn start(setup: Setup, jars: Jars) -> Self {
        for attempt in 1.. {
            let (ports, proxy_port) = free_ports();
            let kafka = Self {
                setup: setup.clone(),
                jars: jars.clone(),
                home: folders::new_run(),
                ports,
                proxy_port,
                process: Mutex::new(None),
            };
            kafka.format().await;
            match kafka.launch().await {
                Ok(()) => return kafka,
                Err(reason) if reason.contains("Address already in use") && attempt < START_ATTEMPTS => {}
                Err(reason) => panic!("{setup} does not start: {reason}"),
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    /// What a client connects to that no proxy stands before.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.direct)
    }

    /// A proxy before this broker: a client that is given the proxy's address is told by the broker to come back to it. One at a time.
    ///
    /// # Panics
    /// When the broker's port for the proxy cannot be listened on.
    pub fn proxy(&self, seed: u64) -> Proxy {
        let proxy = self.proxy_port.try_clone().and_then(|port| Proxy::on(port, seed));
        let proxy = proxy.unwrap_or_else(|error| panic!("no proxy before {}: {error}", self.setup));
        proxy.forward_to(&self.address_behind_proxy());
        proxy
    }

    /// What the proxy of this broker forwards to.
    pub fn address_behind_proxy(&self) -> String {
        format!("127.0.0.1:{}", self.ports.behind_proxy)
    }

    /// The setup that this broker was started with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Kafka's own tools; no proxy stands before them.
    pub fn tools(&self) -> Tools {
        Tools::new(self.jars.clone(), self.bootstrap_servers())
    }

    /// Every batch that is physically in a partition's log, in its order, as DumpLogSegments reads it.
    pub async fn batches(&self, topic: &str, partition: i32) -> Vec<DumpedBatch> {
        segments::dump(&self.tools(), &self.data().join(format!("{topic}-{partition}"))).await
    }

    /// How many bytes the logs of a topic's partitions have now.
    pub fn log_size(&self, topic: &str) -> u64 {
        folders::size_of_logs(&self.data(), topic)
    }

    /// `kill -9`: the broker is gone when this returns, its data stays.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// Ends the broker as an operator does, with SIGTERM; one that hesitates for a minute is killed.
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

    /// Starts the broker again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same ports with the same data, and waits
    /// until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn restart(&self) {
        self.kill();
        if let Err(reason) = self.launch().await {
            panic!("{} does not start again: {reason}", self.setup);
        }
    }

    /// Stops the broker's process in its tracks (SIGSTOP) until the guard is dropped. Its sockets stay open and silent.
    pub fn freeze(&self) -> Frozen<'_> {
        self.signal("STOP");
        Frozen { kafka: self }
    }

    /// Is the process alive?
    pub fn is_running(&self) -> bool {
        self.process()
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }

    /// What the broker has said so far, at level warn.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    async fn format(&self) {
        let properties = self.properties_file();
        let text = self.setup.server_properties(self.ports, &self.data());
        fs::write(&properties, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", properties.display()));
        let output = Command::new(java::program())
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

    async fn launch(&self) -> Result<(), String> {
        let mut arguments: Vec<OsString> = vec!["-Xmx700m".into()];
        arguments.extend(self.jars.java_arguments().map(OsString::from));
        arguments.extend(["kafka.Kafka".into(), self.properties_file().into()]);
        let process = Watched::start(&java::program(), &arguments, &self.log_file())
            .map_err(|error| format!("cannot run java: {error}"))?;
        *self.process() = Some(process);
        let mut missing = String::new();
        match timeout(START_LIMIT, self.until_ready(&mut missing)).await {
            Ok(started) => started,
            Err(_) => Err(format!(
                "after {} s: {missing}; {}",
                START_LIMIT.as_secs(),
                self.last_words()
            )),
        }
    }

    /// Waits for both listeners that clients come to.
    async fn until_ready(&self, missing: &mut String) -> Result<(), String> {
        for port in [self.ports.direct, self.ports.behind_proxy] {
            while let Err(reason) = probe::is_ready(port).await {
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

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("broker.log")
    }

    fn properties_file(&self) -> PathBuf {
        self.home.join("server.properties")
    }
}

impl Drop for RealKafka {
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

/// A broker that stands still; dropping the guard lets it go on.
#[derive(Debug)]
#[must_use = "the broker goes on when the guard is dropped"]
pub struct Frozen<'k> {
    kafka: &'k RealKafka,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.kafka.signal("CONT");
    }
}

/// Ports that were free a moment ago, different from each other because they are bound together. The proxy's stays bound.
fn free_ports() -> (Ports, TcpListener) {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback"));
    let [direct, behind_proxy, controller, proxy] = listeners.each_ref().map(|listener| {
        listener
            .local_addr()
            .expect("a bound listener has an address")
            .port()
    });
    let ports = Ports {
        direct,
        behind_proxy,
        proxy,
        controller,
    };
    let [_, _, _, proxy_port] = listeners;
    (ports, proxy_port)
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
}
