//! What consumers may see of a partition: high watermark, last stable offset, aborted transactions (section 11 of the broker specification).

use std::collections::VecDeque;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{Offset, ProducerId};

/// An aborted transaction of a partition (B-113).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The offset of its marker.
    pub marker_offset: Offset,
    /// The last stable offset at the time of the marker.
    pub last_stable_offset: Offset,
}

/// An append that is not replicated yet.
#[derive(Clone, Copy, Debug)]
struct Unreplicated {
    end: Offset,
    due: Instant,
}

/// The watermarks and the aborted index of a partition.
#[derive(Debug, Default)]
pub(crate) struct Visibility {
    replicated: i64,
    unreplicated: VecDeque<Unreplicated>,
    ended_beyond_watermark: VecDeque<(Offset, Offset)>,
    aborted: Vec<AbortedTransaction>,
}

impl Visibility {
    /// What a log shows that ends at `end` and is replicated up to there.
    pub(crate) fn of(end: Offset, aborted: Vec<AbortedTransaction>) -> Self {
        Self {
            replicated: end.0,
            aborted,
            ..Self::default()
        }
    }

    /// The log now ends at `end`, and everything before it will be replicated at `due`.
    pub(crate) fn appended(&mut self, end: Offset, due: Instant, now: Instant) {
        self.unreplicated.push_back(Unreplicated { end, due });
        self.advance(now);
    }

    /// The transaction from `first` was ended by the marker at `marker`.
    pub(crate) fn ended(&mut self, first: Offset, marker: Offset) {
        if marker >= self.high_watermark() {
            self.ended_beyond_watermark.push_back((first, marker));
        }
    }

    /// Adds to the aborted index.
    pub(crate) fn aborted(&mut self, transaction: AbortedTransaction) {
        self.aborted.push(transaction);
    }

    /// Forgets the aborted transactions that ended before the log starts.
    pub(crate) fn forget_before(&mut self, start: Offset) {
        self.aborted
            .retain(|transaction| transaction.marker_offset >= start);
    }

    /// Moves the high watermark over what is replicated by now. Whether it moved.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        let before = self.replicated;
        while let Some(front) = self.unreplicated.front().filter(|front| front.due <= now) {
            self.replicated = self.replicated.max(front.end.0);
            self.unreplicated.pop_front();
        }
        let watermark = self.high_watermark();
        self.ended_beyond_watermark
            .retain(|(_, marker)| *marker >= watermark);
        self.replicated != before
    }

    /// When the high watermark moves next.
    pub(crate) fn next_advance(&self) -> Instant {
        self.unreplicated
            .front()
            .map_or(Instant::NEVER, |front| front.due)
    }

    /// B-110: the end of replicated data.
    pub(crate) fn high_watermark(&self) -> Offset {
        Offset(self.replicated)
    }

    /// B-110: the first offset that is not decided; `first_open` is where the earliest open transaction begins.
    pub(crate) fn last_stable_offset(&self, first_open: Option<Offset>) -> Offset {
        let first_ended = self.ended_beyond_watermark.iter().map(|(first, _)| *first).min();
        let undecided = first_open.into_iter().chain(first_ended).min();
        let watermark = self.high_watermark();
        undecided.map_or(watermark, |undecided| undecided.min(watermark))
    }

    /// B-112: the aborted transactions that overlap `from` up to the log end.
    pub(crate) fn aborted_from(&self, from: Offset) -> impl Iterator<Item = &AbortedTransaction> {
        let begin = self
            .aborted
            .partition_point(|transaction| transaction.marker_offset < from);
        self.aborted.get(begin..).unwrap_or_default().iter()
    }

    /// The whole index.
    pub(crate) fn index(&self) -> &[AbortedTransaction] {
        &self.aborted
    }
}
