//! One partition: its log, its producers, what consumers see of it, and who leads it.
//!
//! Every append comes through [`Partition::append`] or [`Partition::append_marker`]. Nothing here knows connections or requests.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit_protocol::batch::{self, ControlType, EndTransactionMarker};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{LeaderEpoch, NodeId, Offset, Timestamp};

use crate::config::{Storage, TimestampType, TopicConfig};
use crate::coordinator::interface::{MarkerOutcome, MarkerWrite};

pub(crate) mod incoming;
pub(crate) mod log;
pub(crate) mod producers;
mod records;
mod recovery;
#[cfg(test)]
mod tests;
pub(crate) mod verification;
pub(crate) mod visibility;

use incoming::{IncomingBatch, Refusal};
use log::{BatchKind, FirstBatch, Log, LoggedBatch};
use producers::Producers;
use verification::{ClientRules, Guard, Question, Verifications};
use visibility::{AbortedTransaction, Visibility};

/// What the leader has to show for a transactional batch at the append (B-75, B-80).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The transaction was already open in the partition, or the batch needs no verification.
    NotNeeded,
    /// Verification is switched off (B-82).
    Unchecked,
    /// The coordinator agreed, at the time of this guard.
    Verified(Guard),
}

/// Where an accepted batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: Offset,
    /// The broker's time, for topics that use it (B-34).
    pub(crate) log_append_time: Option<Timestamp>,
    /// What must be replicated before acks = all is satisfied.
    pub(crate) end: Offset,
}

/// Which records a reader sees (B-112).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// A partition of a topic.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) in_sync: Vec<NodeId>,
    /// Nodes whose directory with this partition has failed (B-37).
    pub(crate) failed_on: BTreeSet<NodeId>,
    log: Log,
    producers: Producers,
    verifications: Verifications,
    visibility: Visibility,
}

impl Partition {
    /// An empty partition that lives on `replicas`, led by the first of them.
    pub(crate) fn new(replicas: Vec<NodeId>) -> Self {
        Self {
            leader: replicas.first().copied(),
            leader_epoch: LeaderEpoch(0),
            in_sync: replicas.clone(),
            replicas,
            failed_on: BTreeSet::new(),
            log: Log::default(),
            producers: Producers::default(),
            verifications: Verifications::default(),
            visibility: Visibility::default(),
        }
    }

    /// B-1: moves leadership; the epoch rises. The new leader knows what the log says of the producers (B-39), and nothing of
    /// verifications (B-5).
    pub(crate) fn lead_by(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        if leader.is_some() {
            self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        }
        self.producers = Producers::of(self.log.batches());
        self.verifications.clear();
    }

    /// B-27, B-37: whether `node` may serve the partition. A failed disk is told first, whoever leads.
    pub(crate) fn check_served_by(&self, node: NodeId) -> Result<(), ErrorCode> {
        if self.failed_on.contains(&node) {
            return Err(ErrorCode::KafkaStorageError);
        }
        if self.leader != Some(node) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(())
    }

    /// B-75, B-76: whether the coordinator must be asked about the batch, and the guard that ties its answer to now.
    pub(crate) fn start_verification(
        &mut self,
        batch: &IncomingBatch,
        rules: ClientRules,
        now: Instant,
    ) -> Result<Option<Guard>, ErrorCode> {
        let (true, Some(candidate)) = (batch.is_transactional(), batch.candidate()) else {
            return Ok(None);
        };
        if let Some(entry) = self.producers.entry(candidate.id) {
            if candidate.epoch < entry.epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            // An epoch ahead of the open transaction's goes to the coordinator, which knows whether markers are on their way.
            if entry.open_since.is_some() && candidate.epoch == entry.epoch {
                return Ok(None);
            }
        }
        let question = Question {
            id: candidate.id,
            epoch: candidate.epoch,
            base_sequence: candidate.base_sequence,
            rules,
        };
        Ok(Some(self.verifications.start(question, now)))
    }

    /// Sections 4 and 5: checks the batch and stores it, or recognises a duplicate.
    pub(crate) fn append(
        &mut self,
        incoming: &IncomingBatch,
        proof: Proof,
        context: &AppendContext<'_>,
    ) -> Result<Appended, Refusal> {
        incoming.check(context.config)?;
        let latest = match context.storage {
            Storage::Memory => records::check(incoming, context.config, context.now.wall)?,
            Storage::Discard { .. } => incoming.max_timestamp,
        };
        if let Some(candidate) = incoming.candidate() {
            if let Some(known) = self.producers.duplicate_of(&candidate) {
                return Ok(Appended {
                    base_offset: known.base_offset(),
                    log_append_time: Some(known.timestamp),
                    end: Offset(known.last_offset.0 + 1),
                });
            }
            if incoming.is_transactional() && !self.is_verified(incoming, proof) {
                return Err(Refusal::shown(ErrorCode::InvalidTxnState));
            }
            self.producers
                .check(&candidate, self.verifications.entry(candidate.id))
                .map_err(Refusal::shown)?;
            let is_new = self.producers.entry(candidate.id).is_none();
            if is_new && self.producers.entries().len() >= context.most_producers {
                return Err(Refusal::told(ErrorCode::PolicyViolation));
            }
        }
        if incoming.bytes.len() as u64 > context.room {
            return Err(Refusal::hidden(ErrorCode::KafkaStorageError));
        }
        Ok(self.store(incoming, latest, context))
    }

    fn append_time(&self, context: &AppendContext<'_>, timestamp: Timestamp) -> Option<Timestamp> {
        (context.config.timestamp_type == TimestampType::LogAppendTime).then_some(timestamp)
    }

    /// B-80: no batch reopens a transaction that has ended since its verification.
    fn is_verified(&self, incoming: &IncomingBatch, proof: Proof) -> bool {
        let Some(id) = incoming.producer_id else {
            return true;
        };
        let is_open = self
            .producers
            .entry(id)
            .is_some_and(|entry| entry.open_since.is_some() && entry.epoch == incoming.epoch);
        match proof {
            _ if is_open => true,
            Proof::Unchecked => true,
            Proof::NotNeeded => false,
            Proof::Verified(guard) => self.verifications.is_current(id, guard),
        }
    }

    fn store(
        &mut self,
        incoming: &IncomingBatch,
        latest: Timestamp,
        context: &AppendContext<'_>,
    ) -> Appended {
        let base_offset = self.log.end();
        let append_time = self.append_time(context, context.now.wall);
        let bytes = match context.storage {
            Storage::Memory => self.stored_bytes(incoming, (base_offset, latest), append_time),
            Storage::Discard { .. } => Bytes::new(),
        };
        let candidate = incoming.candidate();
        let batch = LoggedBatch {
            base_offset,
            last_offset: Offset(base_offset.0 + i64::from(incoming.record_count()) - 1),
            producer: candidate.map(|candidate| (candidate.id, candidate.epoch)),
            base_sequence: candidate.map(|candidate| candidate.base_sequence),
            kind: if incoming.is_transactional() {
                BatchKind::Transactional
            } else {
                BatchKind::Plain
            },
            max_timestamp: append_time.unwrap_or(latest),
            bytes,
        };
        if let (BatchKind::Transactional, Some(id)) = (batch.kind, incoming.producer_id) {
            self.verifications.finish(id);
        }
        self.push(batch, context);
        Appended {
            base_offset,
            log_append_time: append_time,
            end: self.log.end(),
        }
    }

    /// The batch as consumers will get it.
    fn stored_bytes(
        &self,
        incoming: &IncomingBatch,
        (base_offset, latest): (Offset, Timestamp),
        append_time: Option<Timestamp>,
    ) -> Bytes {
        let mut bytes = BytesMut::from(incoming.bytes.as_ref());
        if let Some(time) = append_time {
            records::stamp_append_time(&mut bytes, time);
        } else {
            if incoming.claims_append_time() {
                records::clear_timestamp_type(&mut bytes);
            }
            if latest != incoming.max_timestamp {
                records::stamp_latest(&mut bytes, latest);
            }
        }
        batch::set_base_offset(&mut bytes, base_offset, self.leader_epoch);
        bytes.freeze()
    }

    /// B-91, B-92: writes the end of a transaction.
    pub(crate) fn append_marker(
        &mut self,
        marker: &MarkerWrite,
        context: &AppendContext<'_>,
    ) -> Result<Offset, ErrorCode> {
        self.producers.check_marker(marker)?;
        let offset = self.log.end();
        let control = match marker.outcome {
            MarkerOutcome::Commit => ControlType::Commit,
            MarkerOutcome::Abort => ControlType::Abort,
        };
        let wall = context.now.wall;
        let end = EndTransactionMarker {
            control_type: control,
            coordinator_epoch: marker.coordinator_epoch,
        };
        let mut bytes = BytesMut::from(batch::end_transaction_marker(&end, marker.identity, wall).as_ref());
        batch::set_base_offset(&mut bytes, offset, self.leader_epoch);
        let logged = LoggedBatch {
            base_offset: offset,
            last_offset: offset,
            producer: Some((marker.identity.id, marker.identity.epoch)),
            base_sequence: None,
            kind: BatchKind::Marker {
                outcome: marker.outcome,
                coordinator_epoch: marker.coordinator_epoch,
            },
            max_timestamp: wall,
            bytes: bytes.freeze(),
        };
        self.verifications.finish(marker.identity.id);
        let begun = self.push(logged, context);
        if let Some(first_offset) = begun {
            self.visibility.ended(first_offset, offset);
            // Where nothing can be read, nobody asks what was aborted.
            if marker.outcome == MarkerOutcome::Abort && context.storage == Storage::Memory {
                let last_stable_offset = self.last_stable_offset();
                self.visibility.aborted(AbortedTransaction {
                    producer_id: marker.identity.id,
                    first_offset,
                    marker_offset: offset,
                    last_stable_offset,
                });
            }
        }
        Ok(offset)
    }

    fn push(&mut self, batch: LoggedBatch, context: &AppendContext<'_>) -> Option<Offset> {
        let now = context.now.instant;
        let begun = self.producers.apply(&batch);
        match context.storage {
            Storage::Memory => self.log.push(batch),
            Storage::Discard { .. } => self.log.discard(&batch),
        }
        self.visibility
            .appended(self.log.end(), context.replicated_at, now);
        begun
    }

    /// Whole batches from `from` that this isolation level may see.
    pub(crate) fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        max_bytes: usize,
        first: FirstBatch,
    ) -> Bytes {
        self.log
            .read(from, self.readable_end(isolation), max_bytes, first)
    }

    /// Readers of this isolation level see everything below.
    pub(crate) fn readable_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// B-117: moves the log start.
    pub(crate) fn delete_records(&mut self, before: Option<Offset>) -> Result<Offset, ErrorCode> {
        let target = before.unwrap_or_else(|| self.high_watermark());
        if target > self.high_watermark() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        self.log.delete_before(target);
        self.visibility.forget_before(self.log.start());
        Ok(self.log.start())
    }

    /// Moves the high watermark as replication goes on. Whether it moved.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        self.visibility.advance(now)
    }

    /// When the high watermark moves next.
    pub(crate) fn next_advance(&self) -> Instant {
        self.visibility.next_advance()
    }

    /// B-107.
    pub(crate) fn expire_producers(&mut self, now: Now, limit: Duration) {
        self.producers.expire(now.wall, limit);
        self.verifications.expire(now.instant, limit);
    }

    /// B-29: whether as many replicas are in sync as `min.insync.replicas` asks for.
    pub(crate) fn has_enough_in_sync(&self, config: &TopicConfig) -> bool {
        let wanted = (config.min_insync_replicas as usize).min(self.replicas.len());
        self.in_sync.len() >= wanted
    }

    /// The end of replicated data.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.visibility.high_watermark()
    }

    /// B-110.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        self.visibility.last_stable_offset(self.producers.first_open())
    }

    /// The batches.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The producers.
    pub(crate) fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The aborted index.
    pub(crate) fn visibility(&self) -> &Visibility {
        &self.visibility
    }
}

/// The circumstances of an append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendContext<'a> {
    pub(crate) config: &'a TopicConfig,
    pub(crate) storage: Storage,
    pub(crate) now: Now,
    /// When the append will be replicated (B-30).
    pub(crate) replicated_at: Instant,
    /// How many bytes the logs may still take.
    pub(crate) room: u64,
    /// How many producers the partition may remember.
    pub(crate) most_producers: usize,
}
