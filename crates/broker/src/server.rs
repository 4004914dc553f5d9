//! The broker behind sockets: one listener per node, one task per connection, one task that turns the core.
//!
//! The only place with sockets, files and a clock. It decides nothing: it carries frames in and actions out.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{NodeId, Timestamp, TopicId, TopicPartition};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{BrokerConfig, Storage};
use crate::coordinator::interface::TransactionVersion;
use crate::core::{BrokerAction, BrokerCore, BrokerEvent, ConnectionId};
use crate::faults::{Rule, RuleId};
use crate::inspect::{JournalEntry, LoggedBatch};

mod directory;
mod queue;
mod sink;

use directory::Directory;

/// What is allocated for a frame before its bytes arrive; more only as they do.
const FIRST_FRAME_ALLOCATION: usize = 64 * 1024;
const LENGTH_PREFIX: usize = 4;

/// A running broker: as many listeners as it has nodes, in this process. Dropping it stops it.
#[derive(Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

impl EmbeddedBroker {
    /// Binds the listeners and starts to serve.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listeners that were bound so far.
    pub async fn start(config: BrokerConfig) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for index in 0..config.nodes.max(1) {
            let port = if config.port == 0 {
                0
            } else {
                config.port.saturating_add(index)
            };
            listeners.push(TcpListener::bind((config.host.as_str(), port)).await?);
        }
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let clock = Clock::start();
        let (directory, mut core) = match (config.data_directory.clone(), config.storage) {
            (None, _) => (None, BrokerCore::new(config)),
            (Some(path), Storage::Memory) => {
                let (directory, core) = Directory::open(&path, config, clock.now())?;
                (Some(directory), core)
            }
            (Some(_), Storage::Discard { .. }) => {
                let text = "a broker that throws records away has no data directory";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let host = core.config().host.clone();
        for (address, node) in addresses.iter().zip(1..) {
            core.set_address(NodeId(node), &host, address.port());
        }
        let shared = Arc::new(Shared::new(core, directory, clock));
        let mut tasks = JoinSet::new();
        for (listener, node) in listeners.into_iter().zip(1..) {
            tasks.spawn(accept(Arc::clone(&shared), listener, NodeId(node)));
        }
        tasks.spawn(drive(Arc::clone(&shared)));
        Ok(Self {
            shared,
            addresses,
            tasks,
        })
    }

    /// `host:port` of every node, separated by commas: what a client's `bootstrap.servers` takes.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    /// Where each node listens, in order of their ids.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Creates a topic with default settings.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<TopicId, ErrorCode> {
        self.with_core(|core| core.create_topic(name, partitions))
    }

    /// Puts a rule in force until its guard is dropped (B-121).
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        let id = self.with_core(|core| core.add_rule(rule));
        RuleGuard {
            shared: Arc::clone(&self.shared),
            id,
        }
    }

    /// The batches of a partition, oldest first; none for an unknown partition.
    pub fn log(&self, topic: &str, partition: i32) -> Vec<LoggedBatch> {
        let partition = TopicPartition::new(topic, partition);
        self.with_core(|core| core.log(&partition)).unwrap_or_default()
    }

    /// The last requests, oldest first.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.with_core(|core| core.journal())
    }

    /// Finalises another `transaction.version` (B-6).
    pub fn set_transaction_version(&self, version: TransactionVersion) {
        self.with_core(|core| core.set_transaction_version(version));
    }

    /// Does something with the core between two turns, and lets it turn afterwards.
    pub fn with_core<T>(&self, act: impl FnOnce(&mut BrokerCore) -> T) -> T {
        self.shared.with_core(act)
    }

    /// Waits until the broker stops by itself, because its data directory cannot be written (B-37), and says why. Without a data
    /// directory that is never.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn failed(&self) -> String {
        let mut failure = self.shared.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.map(|text| text.clone());
        match failed {
            Ok(Some(text)) => text,
            _ => std::future::pending().await,
        }
    }

    /// Stops serving: closes the listeners and all connections.
    ///
    /// # Cancel safety
    ///
    /// The broker stops even when the future is dropped; only the waiting for it ends.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        let mut state = self.shared.lock();
        self.shared.turn(&mut state);
    }
}

/// Keeps a rule in force; dropping it takes the rule out of force.
#[derive(Debug)]
#[must_use = "a rule is in force only while its guard lives"]
pub struct RuleGuard {
    shared: Arc<Shared>,
    id: RuleId,
}

impl RuleGuard {
    /// How many requests fitted the rule so far.
    pub fn matches(&self) -> u64 {
        self.shared.with_core(|core| core.rule_matches(self.id))
    }

    /// Takes the rule out of force.
    pub fn remove(self) {}
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        self.shared.with_core(|core| core.remove_rule(self.id));
    }
}

/// What all tasks of a broker share. The lock is never held across an await.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Notify,
    clock: Clock,
    last_connection: AtomicU64,
    /// One for each connection that there may be.
    places: Arc<Semaphore>,
    /// Why the broker has stopped by itself, once it has.
    failure: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct State {
    core: BrokerCore,
    links: BTreeMap<ConnectionId, UnboundedSender<BrokerAction>>,
    /// Until when the driver sleeps.
    due: Instant,
    actions: Vec<BrokerAction>,
    directory: Option<Directory>,
}

impl State {
    /// Turns the core, writes what has changed, and only then hands out the actions (B-5).
    fn turn(&mut self, now: Now) -> io::Result<Instant> {
        let deadline = self.core.turn(now, &mut self.actions);
        if let Some(directory) = &mut self.directory {
            directory.save(&mut self.core)?;
        }
        for action in self.actions.drain(..) {
            let (BrokerAction::Send { connection, .. }
            | BrokerAction::Finished { connection }
            | BrokerAction::Close { connection }) = &action;
            if let Some(link) = self.links.get(connection) {
                // A link whose task has ended just now needs nothing any more.
                let _ = link.send(action);
            }
        }
        Ok(deadline)
    }
}

impl Shared {
    fn new(core: BrokerCore, directory: Option<Directory>, clock: Clock) -> Self {
        Self {
            places: Arc::new(Semaphore::new(core.config().limits.connections)),
            state: Mutex::new(State {
                core,
                links: BTreeMap::new(),
                due: Instant::NEVER,
                actions: Vec::new(),
                directory,
            }),
            wake: Notify::new(),
            clock,
            last_connection: AtomicU64::new(0),
            failure: watch::Sender::new(None),
        }
    }

    /// Turns the core. When that cannot be written, nobody gets an answer any more: the broker stops, as Kafka's does when its last
    /// log directory fails.
    fn turn(&self, state: &mut State) -> Instant {
        if self.failure.borrow().is_some() {
            return Instant::NEVER;
        }
        state.turn(self.clock.now()).unwrap_or_else(|error| {
            tracing::error!(%error, "the data directory cannot be written");
            state.links.clear();
            self.failure.send_replace(Some(error.to_string()));
            Instant::NEVER
        })
    }

    /// Ends when the broker has stopped by itself.
    async fn stopped(&self) {
        // The sender lives as long as this value, so there is nothing but the failure to wait for.
        let _ = self.failure.subscribe().wait_for(Option::is_some).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_core<T>(&self, act: impl FnOnce(&mut BrokerCore) -> T) -> T {
        let result = act(&mut self.lock().core);
        self.wake.notify_one();
        result
    }

    fn event(&self, event: BrokerEvent) {
        self.with_core(|core| core.event(event));
    }

    /// As [`Shared::event`], with the turn in the caller's task; the driver is woken only for what it would oversleep.
    fn event_and_turn(&self, event: BrokerEvent) {
        let mut state = self.lock();
        state.core.event(event);
        let deadline = self.turn(&mut state);
        if deadline < state.due {
            state.due = deadline;
            self.wake.notify_one();
        }
    }

    fn open(&self, node: NodeId) -> (ConnectionId, UnboundedReceiver<BrokerAction>) {
        let connection = ConnectionId(self.last_connection.fetch_add(1, Ordering::Relaxed));
        let (actions, inbox) = unbounded_channel();
        self.lock().links.insert(connection, actions);
        self.event(BrokerEvent::Opened { connection, node });
        (connection, inbox)
    }

    fn close(&self, connection: ConnectionId) {
        self.lock().links.remove(&connection);
        self.event(BrokerEvent::Closed { connection });
    }
}

/// Moves the core: turn, carry out, wait.
async fn drive(shared: Arc<Shared>) {
    let mut stopped = pin!(shared.stopped());
    loop {
        let deadline = {
            let mut state = shared.lock();
            state.due = shared.turn(&mut state);
            state.due
        };
        tokio::select! {
            () = &mut stopped => return,
            () = shared.wake.notified() => {}
            () = shared.clock.sleep_until(deadline) => {}
        }
    }
}

/// Accepts the connections of one node. They end with this task. One that finds no place waits for it, and everybody behind it.
async fn accept(shared: Arc<Shared>, listener: TcpListener, node: NodeId) {
    let mut stopped = pin!(shared.stopped());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let place = Arc::clone(&shared.places).acquire_owned();
                    let place = tokio::select! {
                        place = place => place,
                        () = &mut stopped => return,
                    };
                    let shared = Arc::clone(&shared);
                    let _connection = connections.spawn(async move {
                        serve(shared, stream, node).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stopped => return,
        }
    }
}

/// One connection, until either side ends it.
async fn serve(shared: Arc<Shared>, stream: TcpStream, node: NodeId) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let storage = shared.lock().core.config().storage;
    match storage {
        Storage::Memory => queue::serve(shared, stream, node).await,
        Storage::Discard { answer_delay } => sink::serve(shared, stream, node, answer_delay).await,
    }
}

/// Reads the time for the core. Follows tokio's clock, so that paused tests pause the broker.
#[derive(Debug)]
struct Clock {
    origin: tokio::time::Instant,
    wall_origin: Duration,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock of the server: it reads the wall once"
    )]
    fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            wall_origin: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    fn now(&self) -> Now {
        let elapsed = self.origin.elapsed();
        let wall = i64::try_from((self.wall_origin + elapsed).as_millis()).unwrap_or(i64::MAX);
        Now {
            instant: Instant::ORIGIN + elapsed,
            wall: Timestamp(wall),
        }
    }

    async fn sleep_until(&self, deadline: Instant) {
        if deadline.is_never() {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.origin + (deadline - Instant::ORIGIN)).await;
    }
}
