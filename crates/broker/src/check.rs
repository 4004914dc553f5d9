//! The built-in checker: what must hold in the logs of a cluster, whatever clients have sent (B-125). Reads batches, changes nothing.
//!
//! It goes by the logs alone and shares nothing with the checks before an append, so that it can judge those as well. What it cannot know
//! from logs, such as which records were acknowledged, is for whoever sent them. A producer that was forgotten for its silence may go
//! on with any sequence (B-46); here that counts as a gap.

use std::collections::BTreeMap;

use kommit_protocol::units::{Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use thiserror::Error;

use crate::coordinator::interface::MarkerOutcome;
use crate::partition::log::{BatchKind, LoggedBatch};

/// What is wrong in a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{partition} at offset {}: {kind}", offset.0)]
pub struct Fault {
    /// Where.
    pub partition: TopicPartition,
    /// The first offset of the batch that does not fit.
    pub offset: Offset,
    /// What.
    pub kind: FaultKind,
}

/// The rules that a batch can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// It does not begin where the batch before ended.
    #[error("the batch before ended elsewhere")]
    Offset,
    /// Its sequence is not the next of its producer and epoch: something is missing, or there twice.
    #[error("the sequence is not the next one")]
    Sequence,
    /// A producer's epoch has fallen.
    #[error("the epoch has fallen")]
    Epoch,
    /// It is outside the transaction that its producer has open in this partition.
    #[error("it is outside the open transaction of its producer")]
    OutsideTransaction,
    /// The transaction ended otherwise in another partition.
    #[error("the transaction ended otherwise in another partition")]
    Outcome,
}

/// A producer as far as a log has been read.
#[derive(Clone, Copy, Debug)]
struct Seen {
    epoch: ProducerEpoch,
    last: Option<Sequence>,
    /// The epoch of the transaction that is open.
    open: Option<ProducerEpoch>,
}

/// Reads one log after the other.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    faults: Vec<Fault>,
    outcomes: BTreeMap<(ProducerId, ProducerEpoch), MarkerOutcome>,
}

impl Checker {
    /// Reads the log of a partition from its first batch.
    pub(crate) fn read<'a>(
        &mut self,
        partition: &TopicPartition,
        batches: impl Iterator<Item = &'a LoggedBatch>,
    ) {
        let mut producers = BTreeMap::new();
        let mut end = None;
        for batch in batches {
            let mut blame = |kind| {
                self.faults.push(Fault {
                    partition: partition.clone(),
                    offset: batch.base_offset,
                    kind,
                });
            };
            if end.is_some_and(|end| end != batch.base_offset) {
                blame(FaultKind::Offset);
            }
            end = Some(Offset(batch.last_offset.0 + 1));
            let Some((id, epoch)) = batch.producer else {
                continue;
            };
            let seen = producers.get(&id).copied();
            if seen.is_some_and(|seen: Seen| epoch < seen.epoch) {
                blame(FaultKind::Epoch);
            }
            let next = match batch.kind {
                BatchKind::Marker { outcome, .. } => {
                    if ended_otherwise(&mut self.outcomes, (id, epoch), seen, outcome) {
                        blame(FaultKind::Outcome);
                    }
                    after_marker(epoch, seen)
                }
                BatchKind::Plain | BatchKind::Transactional => {
                    fault_of(batch, epoch, seen).into_iter().for_each(&mut blame);
                    after_records(batch, epoch, seen)
                }
            };
            producers.insert(id, next);
        }
    }

    /// Everything that was wrong.
    pub(crate) fn faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// A marker whose epoch is above that of the records ends one transaction only (B-89, B-93), so it says the same in every partition.
/// Where epochs do not rise with each transaction, markers of one epoch may differ.
fn ended_otherwise(
    outcomes: &mut BTreeMap<(ProducerId, ProducerEpoch), MarkerOutcome>,
    (id, epoch): (ProducerId, ProducerEpoch),
    seen: Option<Seen>,
    outcome: MarkerOutcome,
) -> bool {
    let is_its_own = seen.and_then(|seen| seen.open).is_some_and(|open| open < epoch);
    is_its_own && *outcomes.entry((id, epoch)).or_insert(outcome) != outcome
}

fn fault_of(batch: &LoggedBatch, epoch: ProducerEpoch, seen: Option<Seen>) -> Option<FaultKind> {
    let seen = seen?;
    let expected = match seen.last {
        Some(last) if seen.epoch == epoch => last.advanced_by(1),
        _ => Sequence::ZERO,
    };
    if batch.base_sequence != Some(expected) {
        return Some(FaultKind::Sequence);
    }
    let is_outside = seen.open.is_some() && batch.kind == BatchKind::Plain;
    is_outside.then_some(FaultKind::OutsideTransaction)
}

fn after_marker(epoch: ProducerEpoch, seen: Option<Seen>) -> Seen {
    Seen {
        epoch,
        last: seen.filter(|seen| seen.epoch == epoch).and_then(|seen| seen.last),
        open: None,
    }
}

fn after_records(batch: &LoggedBatch, epoch: ProducerEpoch, seen: Option<Seen>) -> Seen {
    let open = seen.and_then(|seen| seen.open);
    Seen {
        epoch,
        last: batch.last_sequence(),
        open: match batch.kind {
            BatchKind::Transactional => open.or(Some(epoch)),
            BatchKind::Plain | BatchKind::Marker { .. } => open,
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kommit_protocol::units::Timestamp;

    use super::*;

    fn batch(offset: i64, kind: BatchKind, epoch: i16, sequence: Option<i32>) -> LoggedBatch {
        LoggedBatch {
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            producer: Some((ProducerId(7), ProducerEpoch(epoch))),
            base_sequence: sequence.and_then(Sequence::new),
            kind,
            max_timestamp: Timestamp(0),
            bytes: Bytes::new(),
        }
    }

    fn plain(offset: i64, epoch: i16, sequence: i32) -> LoggedBatch {
        batch(offset, BatchKind::Plain, epoch, Some(sequence))
    }

    fn transactional(offset: i64, epoch: i16, sequence: i32) -> LoggedBatch {
        batch(offset, BatchKind::Transactional, epoch, Some(sequence))
    }

    fn marker(offset: i64, epoch: i16, outcome: MarkerOutcome) -> LoggedBatch {
        let kind = BatchKind::Marker {
            outcome,
            coordinator_epoch: 0,
        };
        batch(offset, kind, epoch, None)
    }

    fn faults(logs: &[&[LoggedBatch]]) -> Vec<FaultKind> {
        let mut checker = Checker::default();
        for (index, log) in (0..).zip(logs) {
            checker.read(&TopicPartition::new("t", index), log.iter());
        }
        checker.faults().iter().map(|fault| fault.kind).collect()
    }

    /// B-125: sequences go on by one within an epoch and begin at 0 in the next; what is missing or there twice is found.
    #[test]
    fn gaps_and_repetitions_are_found() {
        assert_eq!(faults(&[&[plain(0, 0, 5), plain(1, 0, 6), plain(2, 1, 0)]]), []);
        assert_eq!(
            faults(&[&[plain(0, 0, 0), plain(1, 0, 2)]]),
            [FaultKind::Sequence]
        );
        assert_eq!(
            faults(&[&[plain(0, 0, 0), plain(1, 0, 0)]]),
            [FaultKind::Sequence]
        );
        assert_eq!(
            faults(&[&[plain(0, 0, 0), plain(1, 1, 1)]]),
            [FaultKind::Sequence]
        );
        assert_eq!(faults(&[&[plain(0, 0, 0), plain(2, 0, 1)]]), [FaultKind::Offset]);
    }

    /// B-125: the epoch of a producer id never falls in a log.
    #[test]
    fn falling_epochs_are_found() {
        assert_eq!(faults(&[&[plain(0, 3, 0), plain(1, 2, 0)]]), [FaultKind::Epoch]);
    }

    /// B-125: a transaction is whole: no record outside it, and the same end in all partitions.
    #[test]
    fn torn_transactions_are_found() {
        let committed = [transactional(0, 0, 0), marker(1, 1, MarkerOutcome::Commit)];
        let aborted = [transactional(0, 0, 0), marker(1, 1, MarkerOutcome::Abort)];
        assert_eq!(faults(&[&committed, &committed]), []);
        assert_eq!(faults(&[&committed, &aborted]), [FaultKind::Outcome]);
        let outside = [transactional(0, 0, 0), plain(1, 0, 1)];
        assert_eq!(faults(&[&outside]), [FaultKind::OutsideTransaction]);
    }

    /// B-89, B-91: where the epoch stays, one transaction may commit and the next abort, in any partition.
    #[test]
    fn transactions_of_one_epoch_may_end_differently() {
        let first = [transactional(0, 0, 0), marker(1, 0, MarkerOutcome::Commit)];
        let second = [transactional(0, 0, 0), marker(1, 0, MarkerOutcome::Abort)];
        assert_eq!(faults(&[&first, &second]), []);
        let both = [
            transactional(0, 0, 0),
            marker(1, 0, MarkerOutcome::Commit),
            transactional(2, 0, 1),
        ];
        assert_eq!(faults(&[&both]), []);
    }
}
