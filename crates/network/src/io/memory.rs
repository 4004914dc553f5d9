//! Connections without sockets: both ends in one process. For tests, and for a broker that lives in the same program.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::connector::{BoxedRead, BoxedWrite, Connector};
use crate::address::BrokerAddress;

/// The broker's end of an in-memory connection.
pub type MemoryStream = DuplexStream;

/// Accepts the connections to one address.
#[derive(Debug)]
pub struct MemoryListener {
    incoming: UnboundedReceiver<MemoryStream>,
}

/// Connects to addresses that somebody listens on within this process; all others refuse.
#[derive(Clone, Debug)]
pub struct MemoryConnector {
    listeners: Arc<Mutex<BTreeMap<BrokerAddress, UnboundedSender<MemoryStream>>>>,
    pipe_len: usize,
}

impl MemoryListener {
    /// The next connection; `None` when the connector is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&mut self) -> Option<MemoryStream> {
        self.incoming.recv().await
    }
}

impl MemoryConnector {
    /// A connector whose pipes hold `pipe_len` bytes in each direction; a small number makes short writes.
    pub fn new(pipe_len: usize) -> Self {
        Self {
            listeners: Arc::default(),
            pipe_len,
        }
    }

    /// Listens on an address, in place of whoever did before.
    pub fn listen(&self, address: BrokerAddress) -> MemoryListener {
        let (sender, incoming) = mpsc::unbounded_channel();
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address, sender);
        MemoryListener { incoming }
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    async fn connect(&self, address: &BrokerAddress) -> io::Result<(BoxedRead, BoxedWrite)> {
        let listener = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(address)
            .cloned();
        let (ours, theirs) = tokio::io::duplex(self.pipe_len);
        let delivered = listener.is_some_and(|listener| listener.send(theirs).is_ok());
        if !delivered {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (read, write) = tokio::io::split(ours);
        Ok((Box::new(read), Box::new(write)))
    }
}
