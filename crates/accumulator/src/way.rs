//! Room 3c: whoever appends faster than the sender takes makes way for it, so that a batch is sent while the processor's cache still has it.
//!
//! A wait of moments, behind a line that moves. Nothing depends on it: it may be left at any time, and whoever leaves it before the line has
//! become short (a broker takes its time, or there is none) has shown that the line does not move, and nobody waits for it any more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::queue::PartitionQueue;

/// The bytes in a line that is long: those of a few partitions fit into a cache.
const LONG_BYTES: usize = 256 * 1024;
/// The fewest batches in it. More than what the five requests in flight to a broker take at once.
const LONG_BATCHES: usize = 6;

/// How many batches in line are too many to put another one behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Long(usize);

impl Long {
    /// Of batches of this size.
    pub(crate) fn of(batch_size: usize) -> Self {
        Self((LONG_BYTES / batch_size.max(1)).max(LONG_BATCHES))
    }

    pub(crate) fn is_reached(self, length: usize) -> bool {
        length >= self.0
    }

    /// The batches that are left when those who wait go on: enough for the sender's next requests to be full ones.
    fn short(self) -> usize {
        self.0 / 2
    }
}

/// Who waits for a line, and whether it moves. Kept by a queue, under its lock.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: Vec<Waker>,
    short: usize,
    stands: bool,
}

impl Line {
    /// Whether to wait behind so many batches; if so, `waker` is kept.
    pub(crate) fn poll(&mut self, length: usize, long: Long, waker: &Waker) -> Poll<()> {
        if self.stands || !long.is_reached(length) {
            return Poll::Ready(());
        }
        self.short = long.short();
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    /// Somebody has lost patience.
    pub(crate) fn stand(&mut self) {
        self.stands = true;
    }

    /// So many batches are left. Whom to wake, outside of the lock.
    pub(crate) fn shorten(&mut self, length: usize) -> Vec<Waker> {
        if length > self.short {
            return Vec::new();
        }
        self.stands = false;
        std::mem::take(&mut self.waiting)
    }
}

/// Until the line of a partition is short. It never waits for memory, and takes none.
///
/// # Cancel safety
///
/// Dropping it, which is to be done soon, changes nothing but the readiness of the next ones to wait.
#[must_use = "a future does nothing unless it is awaited"]
pub struct MakeWay<'a> {
    queue: &'a PartitionQueue,
    long: Long,
    waits: bool,
}

impl<'a> MakeWay<'a> {
    pub(crate) fn new(queue: &'a PartitionQueue, long: Long) -> Self {
        Self {
            queue,
            long,
            waits: false,
        }
    }
}

impl Future for MakeWay<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.queue.poll_line(self.long, context.waker());
        self.waits = polled.is_pending();
        polled
    }
}

impl Drop for MakeWay<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.queue.leave_line();
        }
    }
}

impl fmt::Debug for MakeWay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeWay")
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}
