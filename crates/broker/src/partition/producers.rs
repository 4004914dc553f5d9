//! The producers of one partition: epoch, the last five batches, and the open transaction of each (section 5 of the broker specification).
//!
//! State changes only through [`Producers::apply`], with a batch that is in the log; so the log alone can rebuild it (B-39).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::log::{BatchKind, LoggedBatch};
use super::verification::VerificationEntry;
use crate::coordinator::interface::{MarkerWrite, TransactionVersion};

/// How many batches of a producer are remembered to recognise duplicates (B-38).
const REMEMBERED_BATCHES: usize = 5;

/// A remembered batch (B-38).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// The sequence of its last record.
    pub last_sequence: Sequence,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Last offset minus first offset.
    pub offset_delta: u32,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
}

impl RememberedBatch {
    /// First sequence = last − delta, with wrap-around (B-38).
    pub fn first_sequence(&self) -> Sequence {
        self.last_sequence.moved_back_by(self.offset_delta)
    }

    /// The offset that its first answer gave.
    pub fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// What a partition knows of one producer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The latest epoch.
    pub epoch: ProducerEpoch,
    /// The epoch of the coordinator that wrote the last marker; `None` before the first one.
    pub coordinator_epoch: Option<i32>,
    /// The timestamp of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// Where its open transaction begins.
    pub open_since: Option<Offset>,
    /// Its last batches, at most five, oldest first.
    pub batches: VecDeque<RememberedBatch>,
}

impl ProducerEntry {
    /// The sequence of its last record in this epoch.
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.batches.back().map(|batch| batch.last_sequence)
    }
}

/// A data batch as the producer checks see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) base_sequence: Sequence,
    pub(crate) last_sequence: Sequence,
    pub(crate) membership: Membership,
}

/// Whether a data batch belongs to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    Plain,
    Transactional,
}

/// All producers of a partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    open: BTreeMap<Offset, ProducerId>,
}

impl Producers {
    /// B-39: the producers as the batches of a log leave them, the oldest first.
    pub(crate) fn of<'a>(batches: impl Iterator<Item = &'a LoggedBatch>) -> Self {
        let mut producers = Self::default();
        for batch in batches {
            producers.apply(batch);
        }
        producers
    }

    /// B-41: the remembered batch with the same epoch and exactly the same sequences.
    pub(crate) fn duplicate_of(&self, batch: &Candidate) -> Option<RememberedBatch> {
        let entry = self
            .entries
            .get(&batch.id)
            .filter(|entry| entry.epoch == batch.epoch)?;
        let same = |known: &&RememberedBatch| {
            known.first_sequence() == batch.base_sequence && known.last_sequence == batch.last_sequence
        };
        entry.batches.iter().find(same).copied()
    }

    /// B-43 to B-49: whether the batch may follow what is known of its producer.
    pub(crate) fn check(
        &self,
        batch: &Candidate,
        verification: Option<&VerificationEntry>,
    ) -> Result<(), ErrorCode> {
        let entry = self.entries.get(&batch.id);
        if batch.epoch < entry.map_or(ProducerEpoch::NONE, |entry| entry.epoch) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if !in_sequence(batch, entry, verification) {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        let is_open = entry.is_some_and(|entry| entry.open_since.is_some());
        if is_open && batch.membership == Membership::Plain {
            return Err(ErrorCode::InvalidTxnState);
        }
        Ok(())
    }

    /// B-69, B-92, B-93: whether the marker's epochs are acceptable.
    pub(crate) fn check_marker(&self, marker: &MarkerWrite) -> Result<(), ErrorCode> {
        let Some(entry) = self.entries.get(&marker.identity.id) else {
            return Ok(());
        };
        if entry
            .coordinator_epoch
            .is_some_and(|stored| stored > marker.coordinator_epoch)
        {
            return Err(ErrorCode::TransactionCoordinatorFenced);
        }
        let epoch = marker.identity.epoch;
        let repeated = epoch == entry.epoch && entry.open_since.is_none();
        let accepted = match marker.transaction_version {
            TransactionVersion::V0 | TransactionVersion::V1 => epoch >= entry.epoch,
            TransactionVersion::V2 => epoch > entry.epoch || repeated || epoch == ProducerEpoch::MAX,
        };
        if accepted {
            Ok(())
        } else {
            Err(ErrorCode::InvalidProducerEpoch)
        }
    }

    /// Takes in a batch that was just appended. Returns where the transaction began that it ended, if it ended one.
    pub(crate) fn apply(&mut self, batch: &LoggedBatch) -> Option<Offset> {
        let (id, epoch) = batch.producer?;
        let entry = self.entries.entry(id).or_insert_with(|| ProducerEntry {
            epoch,
            coordinator_epoch: None,
            last_timestamp: batch.max_timestamp,
            open_since: None,
            batches: VecDeque::new(),
        });
        if entry.epoch != epoch {
            entry.epoch = epoch;
            entry.batches.clear();
        }
        entry.last_timestamp = batch.max_timestamp;
        if let BatchKind::Marker {
            coordinator_epoch, ..
        } = batch.kind
        {
            entry.coordinator_epoch = Some(coordinator_epoch);
            let begun = entry.open_since.take()?;
            self.open.remove(&begun);
            return Some(begun);
        }
        if let Some(last_sequence) = batch.last_sequence() {
            if entry.batches.len() == REMEMBERED_BATCHES {
                entry.batches.pop_front();
            }
            entry.batches.push_back(RememberedBatch {
                last_sequence,
                last_offset: batch.last_offset,
                offset_delta: batch.record_count().saturating_sub(1),
                timestamp: batch.max_timestamp,
            });
        }
        if batch.kind == BatchKind::Transactional && entry.open_since.is_none() {
            entry.open_since = Some(batch.base_offset);
            self.open.insert(batch.base_offset, id);
        }
        None
    }

    /// B-107: forgets producers whose last batch is older than `limit` and that have no open transaction. The batch's own time
    /// counts, which the log keeps: a restart makes nobody younger.
    pub(crate) fn expire(&mut self, wall: Timestamp, limit: Duration) {
        let limit = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        let is_fresh = |last: Timestamp| wall.0.saturating_sub(last.0) < limit;
        self.entries
            .retain(|_, entry| entry.open_since.is_some() || is_fresh(entry.last_timestamp));
    }

    /// What is known of a producer id.
    pub(crate) fn entry(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.entries.get(&id)
    }

    /// All producers, in order of their ids.
    pub(crate) fn entries(&self) -> &BTreeMap<ProducerId, ProducerEntry> {
        &self.entries
    }

    /// The first offset of the earliest open transaction.
    pub(crate) fn first_open(&self) -> Option<Offset> {
        self.open.keys().next().copied()
    }
}

/// B-44 to B-48: whether the first sequence is the expected one.
fn in_sequence(
    batch: &Candidate,
    entry: Option<&ProducerEntry>,
    verification: Option<&VerificationEntry>,
) -> bool {
    if let Some(verification) = verification {
        let is_first = entry.is_none_or(|entry| entry.batches.is_empty());
        let late_start = verification.is_v2() && is_first && batch.base_sequence != Sequence::ZERO;
        if late_start || verification.is_overtaken_by(batch.base_sequence) {
            return false;
        }
    }
    let Some(entry) = entry.filter(|entry| entry.epoch != ProducerEpoch::NONE) else {
        return true;
    };
    let expected = match entry.last_sequence() {
        Some(last) if entry.epoch == batch.epoch => last.advanced_by(1),
        _ => Sequence::ZERO,
    };
    batch.base_sequence == expected
}
