//! Verification of transactional batches: which answers of the coordinator are still good (B-48, B-75, B-80).
//!
//! An entry lives from the question to the append, or to the next marker. It is not in the log and does not outlive a leader move (B-5).

use std::collections::BTreeMap;
use std::time::Duration;

use kommit_protocol::time::Instant;
use kommit_protocol::units::{ProducerEpoch, ProducerId, Sequence};

/// So many producers may be asked about at once. Those that nobody knows stay until they expire.
const MOST_VERIFICATIONS: usize = 10_000;

/// Ties the coordinator's answer to the moment of the question: a marker in between makes it worthless (B-80).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Guard(u64);

/// Under which rules the batch asks (B-74).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRules {
    /// Produce up to version 11.
    V1,
    /// Produce from version 12: the first batch of a producer must have sequence 0 (B-47).
    V2,
}

/// A verification that has been started and not used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerificationEntry {
    guard: Guard,
    epoch: ProducerEpoch,
    lowest_sequence: Sequence,
    rules: ClientRules,
    started: Instant,
}

impl VerificationEntry {
    /// Whether a TV2 client asks.
    pub(crate) fn is_v2(&self) -> bool {
        self.rules == ClientRules::V2
    }

    /// B-48: whether a batch that begins at `sequence` would overtake one whose verification failed.
    pub(crate) fn is_overtaken_by(&self, sequence: Sequence) -> bool {
        sequence.number() > self.lowest_sequence.number()
    }
}

/// All verifications of a partition.
#[derive(Debug, Default)]
pub(crate) struct Verifications {
    entries: BTreeMap<ProducerId, VerificationEntry>,
    last_guard: u64,
}

/// Who asks, with which first sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) base_sequence: Sequence,
    pub(crate) rules: ClientRules,
}

impl Verifications {
    /// Starts a verification, or joins the one that is under way for the same producer. When there are too many, the oldest one ends: its
    /// batch will be refused.
    pub(crate) fn start(&mut self, question: Question, now: Instant) -> Guard {
        if self.entries.len() >= MOST_VERIFICATIONS && !self.entries.contains_key(&question.id) {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.guard);
            let oldest = oldest.map(|(id, _)| *id);
            oldest.and_then(|id| self.entries.remove(&id));
        }
        let last_guard = &mut self.last_guard;
        let entry = self.entries.entry(question.id).or_insert_with(|| {
            *last_guard += 1;
            VerificationEntry {
                guard: Guard(*last_guard),
                epoch: question.epoch,
                lowest_sequence: question.base_sequence,
                rules: question.rules,
                started: now,
            }
        });
        let starts_over = question.epoch > entry.epoch;
        let is_lower =
            question.epoch == entry.epoch && question.base_sequence.number() < entry.lowest_sequence.number();
        if starts_over || is_lower {
            entry.lowest_sequence = question.base_sequence;
        }
        if starts_over {
            entry.epoch = question.epoch;
            entry.rules = question.rules;
        }
        entry.guard
    }

    /// Whether the guard is the one of the verification under way.
    pub(crate) fn is_current(&self, id: ProducerId, guard: Guard) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.guard == guard)
    }

    /// The verification under way for a producer.
    pub(crate) fn entry(&self, id: ProducerId) -> Option<&VerificationEntry> {
        self.entries.get(&id)
    }

    /// The verification was used by an append, or overtaken by a marker.
    pub(crate) fn finish(&mut self, id: ProducerId) {
        self.entries.remove(&id);
    }

    /// B-5: a new leader knows nothing of them.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// B-107: entries expire like producers.
    pub(crate) fn expire(&mut self, now: Instant, limit: Duration) {
        self.entries.retain(|_, entry| now - entry.started < limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Producers that nobody knows can be asked about without end: the oldest question makes room, and is not good any more.
    #[test]
    fn the_oldest_of_too_many_verifications_ends() {
        let mut verifications = Verifications::default();
        let mut start = |id| {
            let question = Question {
                id: ProducerId(id),
                epoch: ProducerEpoch(0),
                base_sequence: Sequence::ZERO,
                rules: ClientRules::V1,
            };
            verifications.start(question, Instant::ORIGIN)
        };
        let first = start(7);
        let second = start(3);
        for id in 10..10 + MOST_VERIFICATIONS as i64 - 1 {
            start(id);
        }
        assert_eq!(verifications.entries.len(), MOST_VERIFICATIONS);
        assert!(!verifications.is_current(ProducerId(7), first));
        assert!(verifications.is_current(ProducerId(3), second));
    }
}
