//! One connection: a task that connects, then reads and writes at the same time until either ends.
//!
//! Tells what happened in the order in which it happened; the last count of written bytes comes before the end.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kommit_protocol::frame::{FrameError, FrameSplitter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::connector::{BoxedRead, BoxedWrite, Connector};
use super::links::LinksConfig;
use crate::address::BrokerAddress;
use crate::boundary::{ConnectionId, LinkFailure, NetEvent};

/// How many slices one vectored write takes; more do not make it cheaper, and the kernel takes 1024.
const MAX_SLICES: usize = 64;
/// How many bytes one read asks for.
const READ_CHUNK: usize = 64 * 1024;

/// How long the last answers of a connection are waited for after writing to it has failed (N-25).
const DRAIN: Duration = Duration::from_millis(100);

/// A connection as its task sees it.
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) address: BrokerAddress,
    pub(super) config: LinksConfig,
    /// Set when the core has seen that the peer is a Kafka broker.
    pub(super) trusted: Arc<AtomicBool>,
    pub(super) requests: UnboundedReceiver<Vec<Bytes>>,
    pub(super) events: Sender<NetEvent>,
}

impl Link {
    /// Runs the connection from its attempt to its end. When nobody listens to events any more, there is nobody to tell, either.
    pub(super) async fn run(self, connector: Arc<dyn Connector>) {
        let Self {
            id,
            address,
            config,
            trusted,
            requests,
            events,
        } = self;
        let (read, write) = match connector.connect(&address).await {
            Ok(halves) => halves,
            Err(error) => {
                let _ = events
                    .send(NetEvent::ConnectFailed(id, connect_failure(&error)))
                    .await;
                return;
            }
        };
        if events.send(NetEvent::Connected(id)).await.is_err() {
            return;
        }
        let splitter = FrameSplitter::new(config.max_frame);
        let mut reader = Reading {
            id,
            read,
            splitter,
            arrived: None,
            total: 0,
            trusted,
            config,
        };
        let mut writer = Writing {
            id,
            write,
            requests,
            written: 0,
        };
        let failure = tokio::select! {
            biased;
            failure = reader.run(&events) => failure,
            failure = writer.run(&events) => {
                // Answers that came before the end are still answers (N-25). A peer that does not end its side is not waited for.
                let _ = tokio::time::timeout(DRAIN, reader.run(&events)).await;
                failure
            }
        };
        let _ = events.send(NetEvent::Written(id, writer.written)).await;
        let _ = events.send(NetEvent::Closed(id, failure)).await;
    }
}

/// The reading half: bytes become frames.
struct Reading {
    id: ConnectionId,
    read: BoxedRead,
    splitter: FrameSplitter,
    /// A frame that waits for a place in the queue of events; kept here so that an interrupted wait loses nothing.
    arrived: Option<Bytes>,
    total: usize,
    trusted: Arc<AtomicBool>,
    config: LinksConfig,
}

impl Reading {
    /// Reads until the end of the stream. Dropping the future loses nothing: running again continues.
    async fn run(&mut self, events: &Sender<NetEvent>) -> LinkFailure {
        loop {
            if let Err(failure) = self.tell_frames(events).await {
                return failure;
            }
            if self.total > self.config.max_untrusted && !self.trusted.load(Ordering::Acquire) {
                return LinkFailure::Frame(
                    format!("{} bytes before it has told its versions", self.total).into(),
                );
            }
            let chunk = self.splitter.buffer();
            chunk.reserve(READ_CHUNK);
            match self.read.read_buf(chunk).await {
                Ok(0) => return LinkFailure::PeerClosed,
                Ok(read) => self.total = self.total.saturating_add(read),
                Err(error) => return LinkFailure::Io(text(&error)),
            }
        }
    }

    async fn tell_frames(&mut self, events: &Sender<NetEvent>) -> Result<(), LinkFailure> {
        loop {
            if self.arrived.is_none() {
                self.arrived = self
                    .splitter
                    .next()
                    .map_err(|error| LinkFailure::Frame(no_frame(error).into()))?;
            }
            if self.arrived.is_none() {
                return Ok(());
            }
            let place = events.reserve().await.map_err(|_| LinkFailure::PeerClosed)?;
            if let Some(frame) = self.arrived.take() {
                place.send(NetEvent::Frame(self.id, frame));
            }
        }
    }
}

/// The writing half: parts of requests become vectored writes.
struct Writing {
    id: ConnectionId,
    write: BoxedWrite,
    requests: UnboundedReceiver<Vec<Bytes>>,
    written: u64,
}

impl Writing {
    async fn run(&mut self, events: &Sender<NetEvent>) -> LinkFailure {
        while let Some(mut parts) = self.requests.recv().await {
            // Requests that have come meanwhile travel in the same system call.
            while let Ok(more) = self.requests.try_recv() {
                parts.extend(more);
            }
            if let Err(error) = self.write_all(parts).await {
                return LinkFailure::Io(text(&error));
            }
            if events
                .send(NetEvent::Written(self.id, self.written))
                .await
                .is_err()
            {
                return LinkFailure::PeerClosed;
            }
        }
        LinkFailure::PeerClosed // nobody is left who could write
    }

    /// Writes all parts, resuming in mid-part after a short write. `written` counts exactly what the socket took.
    async fn write_all(&mut self, parts: Vec<Bytes>) -> io::Result<()> {
        let mut rest = &mut parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()[..];
        while !rest.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = rest.len().min(MAX_SLICES);
            for (slice, part) in slices.iter_mut().zip(rest.iter()) {
                *slice = IoSlice::new(part);
            }
            let mut taken = self.write.write_vectored(&slices[..count]).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += taken as u64;
            while let Some(first) = rest.first_mut() {
                if first.len() > taken {
                    first.advance(taken);
                    break;
                }
                taken -= first.len();
                rest = &mut rest[1..];
            }
        }
        self.write.flush().await
    }
}

/// The first four bytes of what is no frame often tell what it is.
fn no_frame(error: FrameError) -> String {
    let begins = match error {
        FrameError::Negative(length) => length.to_be_bytes(),
        FrameError::TooLarge { len, .. } => u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes(),
    };
    match begins {
        [0x15 | 0x16, 3, ..] => format!("{error} (it begins like TLS)"),
        text if text.iter().all(u8::is_ascii_graphic) => {
            format!("{error} (it begins with \"{}\")", String::from_utf8_lossy(&text))
        }
        _ => error.to_string(),
    }
}

fn connect_failure(error: &io::Error) -> LinkFailure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => LinkFailure::Authentication(text(error)),
        io::ErrorKind::NotFound => LinkFailure::Unresolved(text(error)),
        _ => LinkFailure::Connect(text(error)),
    }
}

/// Errors of the system in words that do not depend on it, where users meet them often.
fn text(error: &io::Error) -> Arc<str> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by the broker".into(),
        io::ErrorKind::BrokenPipe => {
            "the broker closed the connection while a request was being written".into()
        }
        _ => error.to_string().into(),
    }
}
