//! The application's end of the sender: a box for commands, a bell, and the published view of the cluster.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use kommit_accumulator::{Accumulator, AccumulatorConfig};
use kommit_network::io::Connector;
use kommit_network::{BrokerAddress, ClusterSnapshot, Network, NetworkConfig};
use kommit_txn_manager::{Ticket, TransactionConfig, TransactionManager};
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::command::{Command, Reply};
use crate::core::{SenderConfig, SenderCore};

use super::{Clock, Driver};

/// The sender has ended: the producer was closed, or its runtime is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the producer is closed")]
pub struct SenderGone;

type Asked = (Command, Option<(Ticket, oneshot::Sender<Reply>)>);

#[derive(Debug)]
enum CommandBox {
    Open(Vec<Asked>),
    Ended,
}

/// What application tasks and the driver share besides the accumulator.
pub(crate) struct Shared {
    commands: Mutex<CommandBox>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) clock: Arc<dyn Clock>,
    tickets: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, CommandBox> {
        self.commands
            .lock()
            .expect("nothing panics while the command box is locked")
    }

    fn put(&self, asked: Asked) -> Result<(), SenderGone> {
        match &mut *self.lock() {
            CommandBox::Open(commands) => {
                commands.push(asked);
                Ok(())
            }
            CommandBox::Ended => Err(SenderGone),
        }
    }

    pub(crate) fn take_commands(&self) -> Vec<Asked> {
        match &mut *self.lock() {
            CommandBox::Open(commands) => std::mem::take(commands),
            CommandBox::Ended => Vec::new(),
        }
    }

    /// Nobody will take commands any more: those that wait are dropped, which tells their callers.
    pub(crate) fn end(&self) {
        *self.lock() = CommandBox::Ended;
    }
}

/// Everything that a sender is built from.
pub struct Parts {
    /// What the user decided about sending.
    pub sender: SenderConfig,
    /// What the user decided about batches.
    pub accumulator: AccumulatorConfig,
    /// What the user decided about connections.
    pub network: NetworkConfig,
    /// Who this producer is; `None` sends without identity.
    pub transaction: Option<TransactionConfig>,
    /// Where the first metadata is asked for.
    pub bootstrap: Vec<BrokerAddress>,
}

/// A running sender, as application tasks see it. Cheap to clone.
#[derive(Clone)]
pub struct SenderHandle {
    shared: Arc<Shared>,
    accumulator: Arc<Accumulator>,
    cluster: watch::Receiver<Arc<ClusterSnapshot>>,
}

impl fmt::Debug for SenderHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderHandle").finish_non_exhaustive()
    }
}

impl SenderHandle {
    /// Starts the sender task on the current tokio runtime.
    pub fn start(
        parts: Parts,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
    ) -> (Self, JoinHandle<()>) {
        // P-3: every line says whose it is.
        let span = tracing::info_span!(
            "producer",
            client_id = parts.network.client_id.as_deref(),
            transactional_id = parts.sender.transactional_id.as_deref(),
        );
        let wake = Arc::new(Notify::new());
        let bell = Arc::clone(&wake);
        let (accumulator, drainer) =
            kommit_accumulator::accumulator(parts.accumulator, move || bell.notify_one());
        let network = Network::new(parts.network, parts.bootstrap);
        let (published, cluster) = watch::channel(Arc::clone(network.cluster()));
        let txn = parts.transaction.map(TransactionManager::new);
        let core = SenderCore::new(parts.sender, Arc::clone(&accumulator), drainer, txn, network);
        let shared = Arc::new(Shared {
            commands: Mutex::new(CommandBox::Open(Vec::new())),
            wake,
            clock,
            tickets: AtomicU64::new(1),
        });
        let driver = Driver::new(core, Arc::clone(&shared), connector, published);
        let task = tokio::spawn(driver.run().instrument(span));
        (
            Self {
                shared,
                accumulator,
                cluster,
            },
            task,
        )
    }

    /// The shared half of the accumulator.
    pub fn accumulator(&self) -> &Arc<Accumulator> {
        &self.accumulator
    }

    /// The clock of this producer.
    pub fn clock(&self) -> &dyn Clock {
        self.shared.clock.as_ref()
    }

    /// The published view of the cluster, to read and to wait for.
    pub fn cluster(&self) -> watch::Receiver<Arc<ClusterSnapshot>> {
        self.cluster.clone()
    }

    /// Hands over a command that nobody waits for, and wakes the sender.
    ///
    /// # Errors
    ///
    /// [`SenderGone`] when the sender has ended.
    pub fn tell(&self, command: Command) -> Result<(), SenderGone> {
        self.shared.put((command, None))?;
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Hands over a command without waking the sender: it is taken over before anything that is announced later.
    ///
    /// # Errors
    ///
    /// [`SenderGone`] when the sender has ended.
    pub fn leave_word(&self, command: Command) -> Result<(), SenderGone> {
        self.shared.put((command, None))
    }

    /// Hands over a command and wakes the sender; its reply can be waited for as long as one likes.
    ///
    /// # Errors
    ///
    /// [`SenderGone`] when the sender has ended.
    pub fn ask(&self, command: impl FnOnce(Ticket) -> Command) -> Result<PendingReply, SenderGone> {
        let ticket = Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.shared.put((command(ticket), Some((ticket, sender))))?;
        self.shared.wake.notify_one();
        Ok(PendingReply(receiver))
    }
}

/// A reply that will come: a future of it.
///
/// # Cancel safety
///
/// Dropping it leaves the command with the sender, which carries it out (P-34). Polled through a reference, it can be waited for again and again
/// until it is there.
#[derive(Debug)]
pub struct PendingReply(oneshot::Receiver<Reply>);

impl Future for PendingReply {
    type Output = Result<Reply, SenderGone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_gone| SenderGone)
    }
}
