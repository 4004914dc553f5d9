//! The log of one partition: batches in memory, in offset order. Knows offsets and bytes; decides nothing about producers or visibility.
//!
//! Everything that is ever stored comes through [`Log::push`], and everything that is ever read goes through [`Log::read`]. A
//! broker that throws records away only counts them, with [`Log::discard`].

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kommit_protocol::units::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::coordinator::interface::MarkerOutcome;

/// A batch in the log, with the parts of its header that tests and the producer state ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedBatch {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Who wrote it; `None` for a batch without producer id.
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    /// The sequence of its first record; `None` without producer id, and for markers.
    pub base_sequence: Option<Sequence>,
    /// What kind of batch it is.
    pub kind: BatchKind,
    /// The largest timestamp of its records.
    pub max_timestamp: Timestamp,
    /// The batch as consumers get it.
    pub bytes: Bytes,
}

/// What a batch in the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// Records outside any transaction.
    Plain,
    /// Records of a transaction.
    Transactional,
    /// The end of a transaction.
    Marker {
        /// How it ended.
        outcome: MarkerOutcome,
        /// The epoch of the coordinator that wrote it (B-69).
        coordinator_epoch: i32,
    },
}

impl LoggedBatch {
    /// How many offsets the batch takes.
    pub fn record_count(&self) -> u32 {
        u32::try_from(self.last_offset.0 - self.base_offset.0 + 1).unwrap_or(0)
    }

    /// The sequence of its last record.
    pub fn last_sequence(&self) -> Option<Sequence> {
        Some(
            self.base_sequence?
                .advanced_by(self.record_count().saturating_sub(1)),
        )
    }
}

/// The batches of one partition.
#[derive(Debug, Default)]
pub(crate) struct Log {
    batches: VecDeque<LoggedBatch>,
    start: i64,
    end: i64,
    bytes: u64,
    /// What is before it has been given away to be kept.
    saved: i64,
}

impl Log {
    /// Stores a batch at the end. Its base offset must be [`Log::end`].
    pub(crate) fn push(&mut self, batch: LoggedBatch) {
        debug_assert_eq!(
            batch.base_offset.0, self.end,
            "a batch goes to the end of the log"
        );
        self.end = batch.last_offset.0 + 1;
        self.bytes += batch.bytes.len() as u64;
        self.batches.push_back(batch);
    }

    /// Counts a batch that nobody will read.
    pub(crate) fn discard(&mut self, batch: &LoggedBatch) {
        self.end = batch.last_offset.0 + 1;
        self.start = self.end;
    }

    /// B-117: moves the log start, and forgets the batches that end before it.
    pub(crate) fn delete_before(&mut self, offset: Offset) {
        self.start = self.start.max(offset.0);
        let start = self.start;
        let is_gone = |batch: &&LoggedBatch| batch.last_offset.0 < start;
        while let Some(batch) = self.batches.front().filter(is_gone) {
            self.bytes -= batch.bytes.len() as u64;
            self.batches.pop_front();
        }
    }

    /// The batches that were appended since the last call.
    pub(super) fn take_unsaved(&mut self) -> Vec<Bytes> {
        let begin = self
            .batches
            .partition_point(|batch| batch.base_offset.0 < self.saved);
        self.saved = self.end;
        let unsaved = self.batches.range(begin..);
        unsaved.map(|batch| batch.bytes.clone()).collect()
    }

    /// Stores a batch that a restart has read. Batches before it may have been deleted.
    pub(super) fn restore(&mut self, batch: LoggedBatch) -> Result<(), &'static str> {
        if batch.base_offset.0 < self.end {
            return Err("a batch whose offsets are taken");
        }
        self.end = batch.base_offset.0;
        self.push(batch);
        Ok(())
    }

    /// Behind the last batch that a restart reads: what was deleted is deleted.
    pub(super) fn finish_restore(&mut self) {
        self.delete_before(Offset(self.start));
        self.end = self.end.max(self.start);
        self.saved = self.end;
    }

    /// The offset that the next record gets.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.end)
    }

    /// The first offset that can be read.
    pub(crate) fn start(&self) -> Offset {
        Offset(self.start)
    }

    /// How many bytes the batches take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All batches, oldest first.
    pub(crate) fn batches(&self) -> impl DoubleEndedIterator<Item = &LoggedBatch> {
        self.batches.iter()
    }

    /// Whole batches from the one that contains `from`, all of them below `below`: at most `max_bytes`, but at least one batch
    /// when `first` demands it (KIP-74).
    pub(crate) fn read(&self, from: Offset, below: Offset, max_bytes: usize, first: FirstBatch) -> Bytes {
        let begin = self.batches.partition_point(|batch| batch.last_offset < from);
        let mut taken: Vec<&Bytes> = Vec::new();
        let mut size = 0_usize;
        for batch in self.batches.range(begin..) {
            let whole_first = taken.is_empty() && first == FirstBatch::Always;
            if batch.last_offset >= below || (size + batch.bytes.len() > max_bytes && !whole_first) {
                break;
            }
            size += batch.bytes.len();
            taken.push(&batch.bytes);
        }
        if let [only] = taken.as_slice() {
            return Bytes::clone(only);
        }
        let mut joined = BytesMut::with_capacity(size);
        taken.iter().for_each(|bytes| joined.extend_from_slice(bytes));
        joined.freeze()
    }
}

/// Whether a read returns its first batch also when that alone is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstBatch {
    /// Yes, so that a consumer makes progress.
    Always,
    /// No: an earlier partition of the same answer has records already.
    WithinLimit,
}
