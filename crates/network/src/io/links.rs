//! All connections of one producer: carries out the actions of the core and collects its events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::task::AbortHandle;

use super::connector::Connector;
use super::link::Link;
use crate::address::BrokerAddress;
use crate::boundary::{ConnectionId, NetAction, NetEvent};

/// The limits within which a peer is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinksConfig {
    /// The longest frame of a broker.
    pub max_frame: usize,
    /// How many bytes a peer may send before the core trusts it.
    pub max_untrusted: usize,
}

impl Default for LinksConfig {
    fn default() -> Self {
        Self {
            max_frame: 64 << 20,
            max_untrusted: 64 << 10,
        }
    }
}

/// How many events wait for the driver at most.
const EVENTS: usize = 256;

/// The connection tasks of one producer. Dropping it ends them all.
///
/// The queue of events is bounded: when the driver does not keep up, connections are read more slowly. The queues of requests are bounded
/// by the core, which sends a request only when the one before is written (N-5).
pub struct Links {
    connector: Arc<dyn Connector>,
    config: LinksConfig,
    events: Sender<NetEvent>,
    open: BTreeMap<ConnectionId, OpenLink>,
}

struct OpenLink {
    requests: UnboundedSender<Vec<Bytes>>,
    trusted: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Links {
    /// Links without any connection, and the events that they will tell.
    pub fn new(connector: Arc<dyn Connector>, config: LinksConfig) -> (Self, Receiver<NetEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        (
            Self {
                connector,
                config,
                events,
                open: BTreeMap::new(),
            },
            receiver,
        )
    }

    /// Carries out an action, without waiting. Must be called within a tokio runtime.
    pub fn apply(&mut self, action: NetAction) {
        match action {
            NetAction::Connect(id, address) => self.connect(id, address),
            NetAction::Trust(id) => {
                if let Some(link) = self.open.get(&id) {
                    link.trusted.store(true, Ordering::Release);
                }
            }
            NetAction::Write(id, parts) => {
                if let Some(link) = self.open.get(&id) {
                    // A task that has ended has told so; the core learns from that event what was not written.
                    let _ = link.requests.send(parts);
                }
            }
            NetAction::Close(id) => {
                if let Some(link) = self.open.remove(&id) {
                    link.task.abort();
                }
            }
        }
    }

    fn connect(&mut self, id: ConnectionId, address: BrokerAddress) {
        // Links whose task has ended by itself are swept here: there is at most one live link per node.
        self.open.retain(|_, link| !link.task.is_finished());
        let (requests, receiver) = mpsc::unbounded_channel();
        let trusted = Arc::new(AtomicBool::new(false));
        let link = Link {
            id,
            address,
            config: self.config,
            trusted: Arc::clone(&trusted),
            requests: receiver,
            events: self.events.clone(),
        };
        let task = tokio::spawn(link.run(Arc::clone(&self.connector))).abort_handle();
        self.open.insert(
            id,
            OpenLink {
                requests,
                trusted,
                task,
            },
        );
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.open.values().for_each(|link| link.task.abort());
    }
}
