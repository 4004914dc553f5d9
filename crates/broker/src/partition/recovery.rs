//! A partition across a restart: its log comes back batch by batch, and everything else is read from it (B-39).

use bytes::Bytes;
use kommit_protocol::batch::{BatchView, EndTransactionMarker};
use kommit_protocol::units::{LeaderEpoch, NodeId, Offset};

use super::incoming::IncomingBatch;
use super::log::{BatchKind, LoggedBatch};
use super::producers::Producers;
use super::visibility::{AbortedTransaction, Visibility};
use super::{ControlType, MarkerOutcome, Partition};

/// More than the one record of a marker takes.
const LARGEST_MARKER: usize = 1024;

impl Partition {
    /// The batches that were appended since the last call, as they stand in the log.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Bytes> {
        self.log.take_unsaved()
    }

    /// Takes up who has the partition, and where its log begins.
    pub(crate) fn restore(&mut self, replicas: Vec<NodeId>, leader_epoch: LeaderEpoch, log_start: Offset) {
        self.in_sync.clone_from(&replicas);
        self.replicas = replicas;
        self.leader_epoch = leader_epoch;
        self.log.delete_before(log_start);
    }

    /// Takes up the next batch.
    pub(crate) fn restore_batch(&mut self, bytes: &Bytes) -> Result<(), &'static str> {
        let batch = logged(bytes).ok_or("a batch that is none")?;
        self.log.restore(batch)
    }

    /// Behind the last batch: what was written is replicated, and the log says the rest. The leader's epoch rises twice, as in Kafka:
    /// the leader was lost, and then found.
    pub(crate) fn finish_restore(&mut self) {
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        self.log.finish_restore();
        self.visibility = Visibility::of(self.log.end(), aborted(self.log.batches()));
        self.lead_by(self.replicas.first().copied());
    }
}

/// The batch as the log knows it, from its bytes alone.
fn logged(bytes: &Bytes) -> Option<LoggedBatch> {
    let batch = IncomingBatch::parse(bytes, i16::MAX).ok()?;
    let (base_offset, last_offset) = batch.offsets()?;
    let kind = if batch.is_control() {
        marker_kind(bytes)?
    } else if batch.is_transactional() {
        BatchKind::Transactional
    } else {
        BatchKind::Plain
    };
    Some(LoggedBatch {
        base_offset,
        last_offset,
        producer: batch.producer_id.map(|id| (id, batch.epoch)),
        base_sequence: batch.candidate().map(|candidate| candidate.base_sequence),
        kind,
        max_timestamp: batch.max_timestamp,
        bytes: bytes.clone(),
    })
}

fn marker_kind(bytes: &Bytes) -> Option<BatchKind> {
    let view = BatchView::parse(bytes).ok()?;
    let record = view.records(LARGEST_MARKER).ok()?.next()?.ok()?;
    let marker = EndTransactionMarker::parse(&record).ok()??;
    Some(BatchKind::Marker {
        outcome: match marker.control_type {
            ControlType::Commit => MarkerOutcome::Commit,
            ControlType::Abort => MarkerOutcome::Abort,
        },
        coordinator_epoch: marker.coordinator_epoch,
    })
}

/// B-113: the aborted transactions as the markers of a log tell them.
fn aborted<'a>(batches: impl Iterator<Item = &'a LoggedBatch>) -> Vec<AbortedTransaction> {
    let mut producers = Producers::default();
    let mut aborted = Vec::new();
    for batch in batches {
        let begun = producers.apply(batch);
        let is_abort = matches!(
            batch.kind,
            BatchKind::Marker {
                outcome: MarkerOutcome::Abort,
                ..
            }
        );
        if let (true, Some(first_offset), Some((producer_id, _))) = (is_abort, begun, batch.producer) {
            let behind = Offset(batch.last_offset.0 + 1);
            aborted.push(AbortedTransaction {
                producer_id,
                first_offset,
                marker_offset: batch.base_offset,
                last_stable_offset: producers.first_open().unwrap_or(behind),
            });
        }
    }
    aborted
}
