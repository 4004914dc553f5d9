//! Which sequence is next, per partition (2.9, 2.13).
//!
//! Indexed by [`PartitionIndex`], so that a batch costs one look into a table. Sequences of a batch whose fate is unknown are never
//! given to other records (R3); those of a batch that is proven not written are given back when nothing behind them remains (T-71).

use std::collections::{BTreeSet, VecDeque};

use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::units::{Identity, PartitionIndex, Sequence};

use crate::batch::{BatchId, Fate};

/// A batch that waits for a retry got a new identity and base sequence (T-70): its stamp has to be written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renumbering {
    /// The batch as it was known; proven not written under this name.
    pub batch: BatchId,
    /// Its new identity.
    pub identity: Identity,
    /// Its new base sequence.
    pub base_sequence: Sequence,
}

/// The sequences of every partition of a producer.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    entries: Vec<Entry>,
    unresolved: BTreeSet<PartitionIndex>,
}

/// T-63. Everything in flight has the entry's identity.
#[derive(Clone, Debug)]
struct Entry {
    identity: Option<Identity>,
    next: Sequence,
    last_acked: Option<Sequence>,
    /// In sequence order, lowest first.
    in_flight: VecDeque<InFlight>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    base: Sequence,
    records: u32,
    standing: Standing,
    /// How many batches of the partition were stamped after this one.
    later: u32,
    /// Its name before the last renumbering, until it is sent under the new one: it may fail before its stamp is written anew.
    former: Option<(Identity, Sequence)>,
}

impl InFlight {
    fn new(base: Sequence, records: u32, standing: Standing) -> Self {
        Self {
            base,
            records,
            standing,
            later: 0,
            former: None,
        }
    }
}

/// How many of its last batches a partition's leader knows again when they are repeated.
const BATCHES_A_LEADER_REMEMBERS: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// In an unanswered request.
    Sent,
    /// Answered with an error, waiting for its retry.
    Waiting(Fate),
    /// Failed and proven not written, while later batches are still in flight: its sequences are a gap.
    Gap,
}

impl Entry {
    const NEW: Entry = Entry {
        identity: None,
        next: Sequence::ZERO,
        last_acked: None,
        in_flight: VecDeque::new(),
    };

    /// The sequence behind the last acknowledged one.
    fn expected(&self) -> Sequence {
        self.last_acked
            .map_or(Sequence::ZERO, |acked| acked.advanced_by(1))
    }

    fn lowest(&self) -> Option<&InFlight> {
        self.in_flight
            .iter()
            .find(|batch| batch.standing != Standing::Gap)
    }

    fn has_in_flight(&self) -> bool {
        self.lowest().is_some()
    }

    /// D-15: whether one more batch leaves the lowest one among those that the leader would know again. The limit of a connection does
    /// not see to that when a batch waits for its retry, or the leader moved and batches are under way to two brokers.
    fn has_room(&self) -> bool {
        self.lowest()
            .is_none_or(|lowest| lowest.later + 1 < BATCHES_A_LEADER_REMEMBERS)
    }

    fn position(&self, batch: &BatchId) -> Option<usize> {
        let named = |other: &InFlight| {
            let now = self.identity.map(|identity| (identity, other.base));
            let asked = Some((batch.identity, batch.base_sequence));
            other.standing != Standing::Gap && (now == asked || other.former == asked)
        };
        self.in_flight.iter().position(named)
    }

    /// Gaps at the end are given back, unless what came behind them was written or may have been.
    fn give_back(&mut self) {
        while let Some(last) = self.in_flight.back()
            && last.standing == Standing::Gap
        {
            if last.base.advanced_by(last.records) == self.next {
                self.next = last.base;
            }
            self.in_flight.pop_back();
        }
    }

    /// T-70.
    fn restart(&mut self, partition: PartitionIndex, identity: Identity) -> Vec<Renumbering> {
        let before = self.identity.replace(identity);
        self.next = Sequence::ZERO;
        self.last_acked = None;
        self.in_flight.retain(|batch| batch.standing != Standing::Gap);
        let mut renumberings = Vec::new();
        for batch in &mut self.in_flight {
            let base_sequence = self.next;
            if let Some(old) = before {
                let name = BatchId {
                    partition,
                    identity: old,
                    base_sequence: batch.base,
                    records: batch.records,
                };
                renumberings.push(Renumbering {
                    batch: name,
                    identity,
                    base_sequence,
                });
                batch.former = Some((old, batch.base));
            }
            batch.base = base_sequence;
            self.next = self.next.advanced_by(batch.records);
        }
        renumberings
    }
}

impl Sequences {
    /// T-22, T-67.
    pub(crate) fn create(&mut self, partition: PartitionIndex) {
        self.entry_mut(partition);
    }

    /// Whether a sequence of the partition was given away.
    pub(crate) fn has_begun(&self, partition: PartitionIndex) -> bool {
        self.entry(partition)
            .is_some_and(|entry| entry.next != Sequence::ZERO || entry.last_acked.is_some())
    }

    /// A-48 c, d, D-15 and D-16: whether a batch without a stamp may get one now.
    pub(crate) fn may_stamp(&self, partition: PartitionIndex, current: Identity) -> bool {
        if self.unresolved.contains(&partition) {
            return false;
        }
        let Some(entry) = self.entry(partition) else {
            return true;
        };
        let in_flight = entry.has_in_flight();
        if entry.identity != Some(current) {
            return !in_flight;
        }
        (entry.last_acked.is_some() || !in_flight) && entry.has_room()
    }

    /// A-48 e: whether this is the lowest in-flight batch of its partition, waiting for its retry.
    pub(crate) fn waiting(
        &self,
        partition: PartitionIndex,
        identity: Identity,
        base: Sequence,
    ) -> Option<Fate> {
        let entry = self.entry(partition)?;
        let lowest = entry.lowest()?;
        match lowest.standing {
            Standing::Waiting(fate) if entry.identity == Some(identity) && lowest.base == base => Some(fate),
            Standing::Waiting(_) | Standing::Sent | Standing::Gap => None,
        }
    }

    /// A waiting batch goes out again: until it is answered nothing is known of this attempt.
    pub(crate) fn resent(&mut self, partition: PartitionIndex) {
        let entry = self.entry_mut(partition);
        if let Some(lowest) = entry
            .in_flight
            .iter_mut()
            .find(|batch| batch.standing != Standing::Gap)
        {
            lowest.standing = Standing::Sent;
            lowest.former = None;
        }
    }

    /// T-64, T-72, A-52.
    pub(crate) fn stamp(&mut self, partition: PartitionIndex, records: u32, current: Identity) -> Sequence {
        let entry = self.entry_mut(partition);
        if entry.identity != Some(current) && !entry.has_in_flight() {
            entry.restart(partition, current);
        }
        debug_assert_eq!(
            entry.identity,
            Some(current),
            "the gate stops batches of a partition with a stale identity"
        );
        let base = entry.next;
        entry.next = base.advanced_by(records);
        for earlier in &mut entry.in_flight {
            earlier.later = earlier.later.saturating_add(1);
        }
        entry
            .in_flight
            .push_back(InFlight::new(base, records, Standing::Sent));
        base
    }

    /// T-68, T-80. Late answers to batches of an earlier identity change nothing.
    pub(crate) fn acknowledged(&mut self, batch: &BatchId) {
        let entry = self.entry_mut(batch.partition);
        if entry.identity != Some(batch.identity) {
            return;
        }
        let last = batch.last_sequence();
        if entry.last_acked.is_none_or(|acked| last.distance_from(acked) > 0) {
            entry.last_acked = Some(last);
        }
        entry.remove(batch);
    }

    /// A failed batch leaves (T-81), with its sequences when they are proven unused (T-71, R3).
    pub(crate) fn failed(&mut self, batch: &BatchId, fate: Fate) {
        let entry = self.entry_mut(batch.partition);
        match fate {
            Fate::MayBeWritten if HazardRule::R3.is_kept() => entry.remove(batch),
            Fate::NotWritten | Fate::MayBeWritten => {
                if let Some(position) = entry.position(batch) {
                    entry.in_flight[position].standing = Standing::Gap;
                }
                entry.give_back();
            }
        }
    }

    /// The batch waits for its retry.
    pub(crate) fn waits(&mut self, batch: &BatchId, fate: Fate) {
        let entry = self.entry_mut(batch.partition);
        if let Some(position) = entry.position(batch) {
            entry.in_flight[position].standing = Standing::Waiting(fate);
        }
    }

    /// the parts take the sequences of the whole, in order, and wait to be sent.
    pub(crate) fn split(&mut self, batch: &BatchId, parts: &[u32]) -> Vec<Sequence> {
        let entry = self.entry_mut(batch.partition);
        let Some(position) = entry.position(batch) else {
            return Vec::new();
        };
        debug_assert_eq!(
            parts.iter().sum::<u32>(),
            batch.records,
            "a split keeps every record"
        );
        let whole = entry.in_flight.remove(position).map_or(0, |whole| whole.later);
        let added = u32::try_from(parts.len()).unwrap_or(u32::MAX).saturating_sub(1);
        for earlier in entry.in_flight.range_mut(..position) {
            earlier.later = earlier.later.saturating_add(added);
        }
        let mut base = batch.base_sequence;
        let mut bases = Vec::with_capacity(parts.len());
        for ((place, records), behind) in (position..).zip(parts).zip((0..=added).rev()) {
            let mut part = InFlight::new(base, *records, Standing::Waiting(Fate::NotWritten));
            part.later = whole.saturating_add(behind);
            entry.in_flight.insert(place, part);
            bases.push(base);
            base = base.advanced_by(*records);
        }
        bases
    }

    /// Where a batch stands among what is in flight and acknowledged, for an out-of-order answer (T-85, H09, D-15).
    pub(crate) fn order_of(&self, batch: &BatchId) -> Order {
        let Some(entry) = self.entry(batch.partition) else {
            return Order::NextExpected;
        };
        if entry.identity != Some(batch.identity) {
            return Order::NextExpected;
        }
        if entry
            .lowest()
            .is_some_and(|lowest| lowest.base != batch.base_sequence)
        {
            return Order::BehindInFlight;
        }
        if batch.base_sequence.distance_from(entry.expected()) < 0 {
            Order::Overtaken
        } else {
            Order::NextExpected
        }
    }

    /// T-88. Which sequence it was need not be kept: the entry knows whether the next one is in doubt (T-89).
    pub(crate) fn mark_unresolved(&mut self, batch: &BatchId) {
        self.unresolved.insert(batch.partition);
    }

    /// T-89: drops the marks of partitions without in-flight batches and gives those whose next sequence is in doubt.
    pub(crate) fn resolve(&mut self) -> Vec<PartitionIndex> {
        let quiet: Vec<PartitionIndex> = self
            .unresolved
            .iter()
            .copied()
            .filter(|partition| !self.has_in_flight(*partition))
            .collect();
        for partition in &quiet {
            self.unresolved.remove(partition);
        }
        let doubtful = |partition: &PartitionIndex| {
            self.entry(*partition)
                .is_some_and(|entry| entry.next != entry.expected())
        };
        quiet.into_iter().filter(doubtful).collect()
    }

    /// R4: whether a batch of unknown fate waits for its retry.
    pub(crate) fn has_unknown_waiting(&self, partition: PartitionIndex) -> bool {
        let unknown = Standing::Waiting(Fate::MayBeWritten);
        self.entry(partition)
            .is_some_and(|entry| entry.in_flight.iter().any(|batch| batch.standing == unknown))
    }

    /// R4: whether no batch on any partition is without an answer or of unknown fate.
    pub(crate) fn nothing_unknown(&self) -> bool {
        let mut in_flight = self.entries.iter().flat_map(|entry| &entry.in_flight);
        in_flight.all(|batch| {
            matches!(
                batch.standing,
                Standing::Gap | Standing::Waiting(Fate::NotWritten)
            )
        })
    }

    /// T-70, T-94: restarts a partition under a new identity.
    pub(crate) fn restart(&mut self, partition: PartitionIndex, identity: Identity) -> Vec<Renumbering> {
        self.unresolved.remove(&partition);
        self.entry_mut(partition).restart(partition, identity)
    }

    /// T-73, one partition.
    pub(crate) fn forget(&mut self, partition: PartitionIndex) {
        self.unresolved.remove(&partition);
        *self.entry_mut(partition) = Entry::NEW;
    }

    /// T-73, all: behind a new epoch of a transactional producer nothing of the old one counts.
    pub(crate) fn forget_all(&mut self) {
        self.unresolved.clear();
        self.entries.fill(Entry::NEW);
    }

    fn has_in_flight(&self, partition: PartitionIndex) -> bool {
        self.entry(partition).is_some_and(Entry::has_in_flight)
    }

    fn entry(&self, partition: PartitionIndex) -> Option<&Entry> {
        self.entries.get(partition.position())
    }

    fn entry_mut(&mut self, partition: PartitionIndex) -> &mut Entry {
        let position = partition.position();
        if self.entries.len() <= position {
            self.entries.resize(position + 1, Entry::NEW);
        }
        &mut self.entries[position]
    }
}

impl Entry {
    /// Takes a batch out whose sequences are used or of unknown use; gaps before it can no longer be given back.
    fn remove(&mut self, batch: &BatchId) {
        let Some(position) = self.position(batch) else {
            return;
        };
        self.in_flight.remove(position);
        let mut place = 0;
        self.in_flight.retain(|other| {
            let before = place < position;
            place += 1;
            !(before && other.standing == Standing::Gap)
        });
    }
}

/// See [`Sequences::order_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// An earlier batch of the partition is still in flight: out of order is the normal consequence (H09).
    BehindInFlight,
    /// Later batches were acknowledged: it was written and has left the broker's memory (D-15).
    Overtaken,
    /// The broker should have taken it.
    NextExpected,
}

#[cfg(test)]
#[path = "sequences_tests.rs"]
mod tests;
