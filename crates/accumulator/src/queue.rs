//! Room 3: the queue of one partition, shared by the tasks that append and the core that drains.
//!
//! One lock, held for one encode or one operation on the queue. Batches are closed outside of it: the task that finds a batch full takes
//! it out, leaves a placeholder, and puts the closed batch in its place. Batches that wait for a retry are not here; the core keeps them.

use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use kommit_protocol::batch::Compression;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{PartitionId, PartitionIndex, Timestamp, TopicPartition};

use crate::batch::{ClosedBatch, Codec, OpenBatch, RecordRef};
use crate::completion::{BatchCompletion, BatchFailure, BatchOutcome, Delivery, Promise};
use crate::gate::{GateReason, SendGate, TransactionNumber};
use crate::incomplete::Incomplete;
use crate::load::PartitionLoad;
use crate::partitioner::{Sticky, StuckBytes, Turn};
use crate::pool::Page;
use crate::ratio::CompressionRatio;
use crate::sync::{Mutex, MutexGuard};
use crate::way::{Long, MakeWay};

mod state;

use state::{Bell, QueueState};

/// The queue of one partition.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    topic_partition: TopicPartition,
    index: OnceLock<PartitionIndex>,
    load: PartitionLoad,
    ratio: Arc<CompressionRatio>,
    state: Mutex<QueueState>,
}

/// Whether the caller must put the queue on the doorbell's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Ring {
    Needed,
    NotNeeded,
}

/// What an append did besides its result.
#[derive(Debug)]
#[must_use]
pub(crate) struct Appended {
    pub(crate) result: Result<Delivery, NotAppended>,
    /// A batch that has become full: to be closed by the caller and put back.
    /// Boxed, so that what every append returns stays small.
    pub(crate) closing: Option<Box<OpenBatch>>,
    pub(crate) ring: Ring,
    /// The turn of the sticky partition is over.
    pub(crate) turn_ends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAppended {
    NeedsPage,
    Refused(GateReason),
    /// The partition takes no records until its gap is acknowledged (H07).
    Stopped(PartitionId),
    /// The sticky partition has changed meanwhile.
    Moved,
}

/// What lets a record in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) gate: &'a SendGate,
    pub(crate) transaction: Option<TransactionNumber>,
    /// The largest length that the record can have.
    pub(crate) record_bound: usize,
    /// The record's timestamp, if it brings none.
    pub(crate) timestamp: Timestamp,
    /// For a record that goes wherever unkeyed records stick.
    pub(crate) stay: Option<Stay<'a>>,
}

/// What a new batch is made of, besides its page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) incomplete: &'a Arc<Incomplete>,
    pub(crate) batch_size: usize,
    pub(crate) compression: Compression,
    pub(crate) now: Instant,
}

/// The turn of the sticky partition that a record came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stay<'a> {
    pub(crate) sticky: &'a Sticky,
    pub(crate) turn: Turn,
    pub(crate) batch_size: usize,
    pub(crate) follow: Follow,
}

/// Whether an append gives way when the sticky partition changes under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    Switches,
    Nothing,
}

/// What the core has to know about the front of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Empty,
    /// Will be full as soon as the task that closes it has put it back.
    Closing,
    Full {
        created: Instant,
    },
    Open {
        created: Instant,
    },
}

/// A batch that left the queue.
#[derive(Debug)]
pub(crate) enum Taken {
    Closed(ClosedBatch),
    Open(OpenBatch),
}

impl Taken {
    pub(crate) fn created(&self) -> Instant {
        match self {
            Taken::Closed(batch) => batch.created(),
            Taken::Open(batch) => batch.created(),
        }
    }

    pub(crate) fn record_count(&self) -> u32 {
        match self {
            Taken::Closed(batch) => batch.record_count(),
            Taken::Open(batch) => batch.record_count(),
        }
    }

    pub(crate) fn into_closed(self, codec: Codec) -> ClosedBatch {
        match self {
            Taken::Closed(batch) => batch,
            Taken::Open(batch) => batch.close(codec),
        }
    }

    /// Gives up the bytes and keeps the obligation.
    pub(crate) fn into_promise(self) -> Promise {
        match self {
            Taken::Closed(batch) => batch.into_promise(),
            Taken::Open(batch) => batch.into_promise(),
        }
    }
}

impl PartitionQueue {
    pub(crate) fn new(
        topic: Arc<str>,
        partition: u32,
        ratio: Arc<CompressionRatio>,
        load: PartitionLoad,
    ) -> Self {
        let partition = PartitionId(i32::try_from(partition).expect("partitions are numbered in 31 bits"));
        Self {
            topic_partition: TopicPartition { topic, partition },
            index: OnceLock::new(),
            load,
            ratio,
            state: Mutex::default(),
        }
    }

    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The queue's index, given on first use.
    pub(crate) fn index_or(&self, give: impl FnOnce() -> PartitionIndex) -> PartitionIndex {
        *self.index.get_or_init(give)
    }

    pub(crate) fn index(&self) -> Option<PartitionIndex> {
        self.index.get().copied()
    }

    /// What compression does to the batches of the topic.
    pub(crate) fn ratio(&self) -> &Arc<CompressionRatio> {
        &self.ratio
    }

    /// What choices among partitions know of this one.
    pub(crate) fn load(&self) -> &PartitionLoad {
        &self.load
    }

    /// Writes a record into the open batch if that surely has room and takes more behind it, which is the way of almost all records.
    /// `None`: nothing has changed, and `append` has to look at it.
    #[inline]
    pub(crate) fn append_amid(&self, record: &RecordRef<'_>, entry: &Entry<'_>) -> Option<Delivery> {
        let mut state = self.lock();
        if entry.gate.check(entry.transaction).is_err() || self.load.is_stopped() {
            return None;
        }
        state.append_amid(record, entry)
    }

    /// Writes a record into the open batch, or into a new one on `page`.
    pub(crate) fn append(
        &self,
        record: (&RecordRef<'_>, &mut Option<Page>),
        entry: &Entry<'_>,
        opening: Opening<'_>,
    ) -> Appended {
        let mut state = self.lock();
        let mut appended = Appended::nothing(NotAppended::Moved);
        if let Err(reason) = entry.gate.check(entry.transaction) {
            appended.result = Err(NotAppended::Refused(reason));
        } else if self.load.is_stopped() {
            appended.result = Err(NotAppended::Stopped(self.topic_partition.partition));
        } else if state.may_stay(entry, &mut appended) {
            state.append(self, record, entry, opening, &mut appended);
        }
        self.load.set_queued(state.length());
        appended
    }

    /// Puts a batch in the place that was kept for it. When it was aborted meanwhile, it is settled here.
    pub(crate) fn put_closed(&self, batch: ClosedBatch) -> Ring {
        let mut state = self.lock();
        let Some(failure) = state.give_up_doomed(batch.completion()) else {
            state.fill_place(batch);
            return state.ring();
        };
        self.load.set_queued(state.length());
        drop(state);
        batch.completion().settle(BatchOutcome::Failed(failure));
        // Only now: the core that answers this ring must find the batch settled.
        self.lock().ring()
    }

    /// What the core sees when the doorbell named this queue; from now on it can be named again.
    pub(crate) fn answer_bell(&self) -> Front {
        let mut state = self.lock();
        state.bell = Bell::Silent;
        state.front()
    }

    /// Takes the first batch, if it is there and not larger than `limit` bytes.
    pub(crate) fn take_first(&self, limit: Option<usize>) -> (Result<Taken, NotTaken>, Front) {
        let mut state = self.lock();
        let taken = state.take_first(limit);
        let (length, front) = (state.length(), state.front());
        self.load.set_queued(length);
        let woken = state.line.shorten(length);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        (taken, front)
    }

    /// Something to wait for, for a moment, before another batch is put behind a long line.
    pub(crate) fn make_way(&self, long: Long) -> Option<MakeWay<'_>> {
        long.is_reached(self.load.queued())
            .then(|| MakeWay::new(self, long))
    }

    pub(crate) fn poll_line(&self, long: Long, waker: &Waker) -> Poll<()> {
        let mut state = self.lock();
        let length = state.length();
        state.line.poll(length, long, waker)
    }

    pub(crate) fn leave_line(&self) {
        self.lock().line.stand();
    }

    /// takes batches from the front for as long as their time of creation is accepted.
    pub(crate) fn take_while(&self, accept: impl Fn(Instant) -> bool, taken: &mut Vec<Taken>) -> Front {
        let mut state = self.lock();
        while let Front::Full { created } | Front::Open { created } = state.front()
            && accept(created)
            && let Ok(batch) = state.take_first(None)
        {
            taken.push(batch);
        }
        self.load.set_queued(state.length());
        state.front()
    }

    /// H07: takes no record from now on, and gives up everything, as [`take_all`](Self::take_all) does.
    pub(crate) fn stop(&self, failure: &BatchFailure, taken: &mut Vec<Taken>) -> Front {
        {
            let _no_append = self.lock();
            self.load.set_stopped(true);
        }
        self.take_all(failure, taken)
    }

    /// H07: takes records again.
    pub(crate) fn resume(&self) {
        let _no_append = self.lock();
        self.load.set_stopped(false);
    }

    /// takes everything. A batch that is being closed stays, and gets `failure` as its outcome when it comes back.
    pub(crate) fn take_all(&self, failure: &BatchFailure, taken: &mut Vec<Taken>) -> Front {
        let mut state = self.lock();
        state.take_all(failure, taken);
        self.load.set_queued(state.length());
        state.front()
    }

    /// The completions of everything queued.
    pub(crate) fn completions(&self, found: &mut Vec<Arc<BatchCompletion>>) {
        let state = self.lock();
        found.extend(state.completions().cloned());
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("nothing panics while a queue is locked")
    }
}

/// Why no batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Nothing is there, or it is being closed.
    NotThere,
    /// The first batch is larger than the limit.
    TooLarge,
}

impl Appended {
    fn nothing(why: NotAppended) -> Self {
        Self {
            result: Err(why),
            closing: None,
            ring: Ring::NotNeeded,
            turn_ends: false,
        }
    }
}

impl Stay<'_> {
    /// Whether the turn goes on behind a record of up to `bound` bytes, a half-full batch being there.
    #[inline]
    fn lasts_for(&self, stuck: &StuckBytes, bound: usize) -> bool {
        self.sticky.is(self.turn) && !stuck.would_be_enough(self.turn, bound, self.batch_size)
    }
}

#[cfg(test)]
mod tests;
