//! A connection of a broker that keeps nothing: read, turn the core, and write, all in the connection's own task.
//!
//! Made to cost little, so that a producer beside it can be measured: no request changes tasks, and the bytes of a frame are not copied.
//! Answers may be held back for a fixed time while requests go on being served. Decides nothing else.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kommit_protocol::units::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel};
use tokio::time::{Instant, timeout};

use super::{LENGTH_PREFIX, Shared};
use crate::core::{BrokerAction, BrokerEvent, ConnectionId};

/// What one read asks for, beyond what a begun frame still lacks.
const READ_CHUNK: usize = 256 * 1024;

/// When there are so many bytes of answers, they are sent before more frames are served.
const ENOUGH_ANSWERS: usize = 1024 * 1024;
/// So many pieces of late answers wait to be sent; then no more frames are served.
const MOST_LATE_ANSWERS: usize = 1024;

/// Serves one connection until either side ends it.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, node: NodeId, delay: Duration) {
    let (connection, inbox) = shared.open(node);
    let (reader, writer) = stream.into_split();
    let idle_limit = shared.lock().core.config().limits.connection_idle;
    let sink = Sink {
        shared: Arc::clone(&shared),
        connection,
        inbox,
        unfinished: 0,
        idle_limit,
    };
    let served = if delay.is_zero() {
        sink.answer_at_once(reader, writer).await
    } else {
        sink.answer_later(reader, writer, delay).await
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ends");
    }
    shared.close(connection);
}

struct Sink {
    shared: Arc<Shared>,
    connection: ConnectionId,
    inbox: UnboundedReceiver<BrokerAction>,
    /// Requests that the core is not done with.
    unfinished: usize,
    idle_limit: Duration,
}

/// The answers of a step, and whether the connection goes on behind them.
type Step = ControlFlow<Vec<u8>, Vec<u8>>;

impl Sink {
    async fn answer_at_once(mut self, reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> io::Result<()> {
        let mut frames = Frames::new(reader, self.max_frame());
        loop {
            let step = self.step(&mut frames).await?;
            let (ControlFlow::Continue(answers) | ControlFlow::Break(answers)) = &step;
            writer.write_all(answers).await?;
            if step.is_break() {
                return Ok(());
            }
        }
    }

    async fn answer_later(
        mut self,
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        delay: Duration,
    ) -> io::Result<()> {
        let mut frames = Frames::new(reader, self.max_frame());
        let (answers, due) = channel(MOST_LATE_ANSWERS);
        let serve = async move {
            loop {
                let step = self.step(&mut frames).await?;
                let is_last = step.is_break();
                let (ControlFlow::Continue(served) | ControlFlow::Break(served)) = step;
                // The writer ends behind this task, never before.
                let _ = answers.send((Instant::now() + delay, served)).await;
                if is_last {
                    return io::Result::Ok(());
                }
            }
        };
        tokio::try_join!(serve, write_when_due(writer, due)).map(|_| ())
    }

    /// Waits for frames or for an answer that was not ready before, and serves all that have come, unless the answers become too many:
    /// then the rest is for the next step.
    async fn step(&mut self, frames: &mut Frames) -> io::Result<Step> {
        let mut answers = Vec::new();
        let mut next = frames.next()?;
        if next.is_none() {
            tokio::select! {
                more = timeout(self.idle_limit, frames.read()) => match more {
                    Err(_idle) if self.unfinished > 0 => {}
                    Err(_idle) => return Ok(Step::Break(answers)),
                    Ok(more) => {
                        if more? == 0 {
                            return Ok(Step::Break(answers));
                        }
                    }
                },
                Some(action) = self.inbox.recv() => {
                    if self.append(action, &mut answers) == Goes::Ends {
                        return Ok(Step::Break(answers));
                    }
                }
            }
            next = frames.next()?;
        }
        while let Some(frame) = next {
            let event = BrokerEvent::Frame {
                connection: self.connection,
                frame,
            };
            self.unfinished += 1;
            self.shared.event_and_turn(event);
            while let Ok(action) = self.inbox.try_recv() {
                if self.append(action, &mut answers) == Goes::Ends {
                    return Ok(Step::Break(answers));
                }
            }
            next = if answers.len() < ENOUGH_ANSWERS {
                frames.next()?
            } else {
                None
            };
        }
        Ok(Step::Continue(answers))
    }

    /// Adds an answer's bytes.
    fn append(&mut self, action: BrokerAction, answers: &mut Vec<u8>) -> Goes {
        match action {
            BrokerAction::Send { frame, .. } => answers.extend_from_slice(&frame),
            BrokerAction::Finished { .. } => self.unfinished = self.unfinished.saturating_sub(1),
            BrokerAction::Close { .. } => return Goes::Ends,
        }
        Goes::On
    }

    fn max_frame(&self) -> usize {
        self.shared.lock().core.config().max_frame_bytes
    }
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    Ends,
}

async fn write_when_due(mut writer: OwnedWriteHalf, mut due: Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    while let Some((due, answers)) = due.recv().await {
        tokio::time::sleep_until(due).await;
        writer.write_all(&answers).await?;
    }
    Ok(())
}

/// Bytes become frames in the buffer that the socket fills.
struct Frames {
    reader: OwnedReadHalf,
    buffer: BytesMut,
    max_frame: usize,
}

impl Frames {
    fn new(reader: OwnedReadHalf, max_frame: usize) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            max_frame,
        }
    }

    /// Reads once. Dropping the future loses nothing.
    async fn read(&mut self) -> io::Result<usize> {
        // The memory of the frames before is taken again: nobody holds them any more.
        self.buffer.reserve(READ_CHUNK);
        self.reader.read_buf(&mut self.buffer).await
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_PREFIX>() else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes(*prefix)).ok();
        let length = length.filter(|length| *length <= self.max_frame);
        let length = length
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a frame's length is impossible"))?;
        if self.buffer.len() - LENGTH_PREFIX < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
