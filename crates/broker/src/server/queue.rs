//! A connection of a broker that keeps records: one task reads frames for the core, one writes its answers. Decides nothing.
//!
//! So many requests wait as the settings allow, with so many bytes; then nothing more is read. A connection without any request is closed
//! after a while.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit_protocol::units::NodeId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::{FIRST_FRAME_ALLOCATION, LENGTH_PREFIX, Shared};
use crate::config::BrokerConfig;
use crate::core::{BrokerAction, BrokerEvent, ConnectionId};

/// Serves one connection until either side ends it.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, node: NodeId) {
    let queue = Arc::new(Queue::new(shared.lock().core.config()));
    let (connection, inbox) = shared.open(node);
    let (reader, writer) = stream.into_split();
    let mut writing = AbortOnDrop(tokio::spawn(write(writer, inbox, Arc::clone(&queue))));
    tokio::select! {
        read = read(&shared, connection, reader, &queue) => {
            if let Err(error) = read {
                tracing::debug!(%error, "a connection ends");
            }
        }
        _ = &mut writing.0 => {}
    }
    shared.close(connection);
}

/// A task that does not outlive its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The requests of a connection that are not done, as many and as large as they may be.
#[derive(Debug)]
struct Queue {
    requests: Semaphore,
    bytes: Semaphore,
    most_bytes: u32,
    max_frame: usize,
    idle_limit: Duration,
    /// What each request took of the bytes, the oldest first.
    taken: Mutex<VecDeque<u32>>,
}

impl Queue {
    fn new(config: &BrokerConfig) -> Self {
        let most_bytes = config.limits.queued_bytes.max(1);
        Self {
            requests: Semaphore::new(config.max_queued_requests.max(1)),
            bytes: Semaphore::new(most_bytes as usize),
            most_bytes,
            max_frame: config.max_frame_bytes,
            idle_limit: config.limits.connection_idle,
            taken: Mutex::default(),
        }
    }

    /// Waits until one more request may be read.
    async fn enter(&self) {
        if let Ok(place) = self.requests.acquire().await {
            place.forget();
        }
    }

    /// Waits for the room of a request; a very large one has the queue to itself.
    async fn take(&self, length: usize) {
        let share = u32::try_from(length).unwrap_or(u32::MAX).min(self.most_bytes);
        if let Ok(room) = self.bytes.acquire_many(share).await {
            room.forget();
        }
        self.taken().push_back(share);
    }

    /// The oldest request is done.
    fn leave(&self) {
        let share = self.taken().pop_front().unwrap_or(0);
        self.bytes.add_permits(share as usize);
        self.requests.add_permits(1);
    }

    fn is_empty(&self) -> bool {
        self.taken().is_empty()
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, VecDeque<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads frames as long as there is room for them.
async fn read(
    shared: &Shared,
    connection: ConnectionId,
    reader: OwnedReadHalf,
    queue: &Queue,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(FIRST_FRAME_ALLOCATION, reader);
    loop {
        queue.enter().await;
        while tokio::time::timeout(queue.idle_limit, reader.fill_buf())
            .await
            .is_err()
        {
            if queue.is_empty() {
                return Ok(());
            }
        }
        let mut prefix = [0; LENGTH_PREFIX];
        reader.read_exact(&mut prefix).await?;
        let length = usize::try_from(i32::from_be_bytes(prefix))
            .ok()
            .filter(|length| *length <= queue.max_frame);
        let length = length
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a frame's length is impossible"))?;
        queue.take(length).await;
        let frame = read_frame(&mut reader, length).await?;
        shared.event(BrokerEvent::Frame { connection, frame });
    }
}

async fn read_frame(reader: &mut BufReader<OwnedReadHalf>, length: usize) -> io::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(length.min(FIRST_FRAME_ALLOCATION));
    let mut rest = reader.take(length as u64);
    while frame.len() < length {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

/// Writes answers, and lets the reader go on for each finished request.
async fn write(writer: OwnedWriteHalf, mut inbox: UnboundedReceiver<BrokerAction>, queue: Arc<Queue>) {
    let mut writer = BufWriter::with_capacity(FIRST_FRAME_ALLOCATION, writer);
    while let Some(action) = inbox.recv().await {
        let written = match action {
            BrokerAction::Send { frame, .. } => writer.write_all(&frame).await,
            BrokerAction::Finished { .. } => {
                queue.leave();
                Ok(())
            }
            BrokerAction::Close { .. } => {
                // Whoever is gone already needs no goodbye.
                let _ = writer.flush().await;
                return;
            }
        };
        let flushed = if written.is_ok() && inbox.is_empty() {
            writer.flush().await
        } else {
            written
        };
        if flushed.is_err() {
            return;
        }
    }
}
