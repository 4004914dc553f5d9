//! A batch in its three stages: open for records, closed, stamped.
//!
//! Each stage is a type, and only a stamped batch has bytes for the wire. Records are written once, into a page of the pool, and never
//! move; the page goes back when the last handle on its bytes is dropped (R11). Nobody here decides when a stage ends.
//!
//! Splitting a batch starts from a [`StampedBatch`]: its page holds the records, its promise the completion that would be chained.

use std::sync::Arc;

use bytes::Bytes;
use kommit_protocol::batch::{
    self, Attributes, Compression, HEADER_LEN, HeaderFields, HeaderRef, RecordFields, finish_crc, put_record,
    record_len, records_crc, write_header,
};
use kommit_protocol::compression::compress;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{
    Identity, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition,
};
use thiserror::Error;

use crate::completion::{BatchCompletion, BatchOutcome, Delivery, Promise, RecordFacts, Settled};
use crate::error::Fate;
use crate::in_flight::InFlightBatch;
use crate::pool::Page;

/// A record as the application gives it: borrowed until it is encoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRef<'a> {
    /// The serialized key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The serialized value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order, duplicates included (W-7).
    pub headers: &'a [HeaderRef<'a>],
    /// The record's own time; without one it gets the time of the append.
    pub timestamp: Option<Timestamp>,
}

impl RecordRef<'_> {
    /// The largest size that a batch of this record alone can have.
    pub fn batch_upper_bound(&self) -> usize {
        batch::batch_upper_bound(self.key, self.value, self.headers)
    }
}

/// Who a batch comes from, and where it stands in that producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The producer is not idempotent.
    Anonymous,
    /// The batch has its place in a sequence.
    Sequenced {
        /// The producer.
        identity: Identity,
        /// The sequence of the batch's first record.
        base_sequence: Sequence,
        /// Whether the records belong to a transaction.
        scope: StampScope,
    },
}

/// Whether stamped records belong to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampScope {
    /// No transaction: idempotence alone.
    Idempotent,
    /// The records become visible with a commit.
    Transactional,
}

impl Stamp {
    /// The producer, unless the batch is anonymous.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Stamp::Anonymous => None,
            Stamp::Sequenced { identity, .. } => Some(*identity),
        }
    }

    /// Whether the records become visible with a commit only.
    pub fn is_transactional(&self) -> bool {
        matches!(
            self,
            Stamp::Sequenced {
                scope: StampScope::Transactional,
                ..
            }
        )
    }

    /// The sequence of the first record, unless the batch is anonymous.
    pub fn base_sequence(&self) -> Option<Sequence> {
        match self {
            Stamp::Anonymous => None,
            Stamp::Sequenced { base_sequence, .. } => Some(*base_sequence),
        }
    }
}

/// A batch that takes records.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    promise: Promise,
    page: Page,
    /// The size at which the batch is full; a first record may exceed it, up to the page's size.
    limit: usize,
    created: Instant,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    records: u32,
}

impl OpenBatch {
    /// A batch of at most `batch_size` bytes, or of a single larger record.
    pub(crate) fn new(
        promise: Promise,
        mut page: Page,
        batch_size: usize,
        base_timestamp: Timestamp,
        created: Instant,
    ) -> Self {
        let buffer = page.buffer_mut();
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        let limit = batch_size.min(page.size());
        Self {
            promise,
            page,
            limit,
            created,
            base_timestamp,
            max_timestamp: base_timestamp,
            records: 0,
        }
    }

    /// Writes the record into the page; `None`, and nothing changed, when there is no room.
    pub(crate) fn append(&mut self, record: &RecordRef<'_>, timestamp: Timestamp) -> Option<Delivery> {
        let fields = RecordFields {
            offset_delta: i32::try_from(self.records).ok()?,
            timestamp_delta: timestamp.0.checked_sub(self.base_timestamp.0)?,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let room_until = if self.records == 0 {
            self.page.size()
        } else {
            self.limit
        };
        if self.written() + record_len(&fields) > room_until {
            return None;
        }
        put_record(self.page.buffer_mut(), &fields);
        let index = self.records;
        self.records += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let facts = RecordFacts {
            timestamp,
            key_size: record.key.map(<[u8]>::len),
            value_size: record.value.map(<[u8]>::len),
        };
        Some(Delivery::new(Arc::clone(self.promise.completion()), index, facts))
    }

    /// there is no room for any other record.
    pub(crate) fn is_full(&self) -> bool {
        self.written() >= self.limit
    }

    /// The bytes of the batch so far, header included.
    pub(crate) fn written(&self) -> usize {
        self.page.bytes().len()
    }

    pub(crate) fn created(&self) -> Instant {
        self.created
    }

    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        self.promise.completion()
    }

    pub(crate) fn record_count(&self) -> u32 {
        self.records
    }

    pub(crate) fn into_promise(self) -> Promise {
        self.promise
    }

    /// Ends the stage: no record is added any more. Costs passes over the bytes, so call it outside of locks.
    ///
    /// Records that compression does not make shorter stay as they are, so that a batch never outgrows its page.
    pub(crate) fn close(mut self, codec: Codec) -> ClosedBatch {
        let compression = self.compress(codec);
        let records_crc = records_crc(&self.page.bytes()[HEADER_LEN..]);
        ClosedBatch {
            batch: self,
            attributes: Attributes::new(compression),
            records_crc,
        }
    }

    fn compress(&mut self, codec: Codec) -> Compression {
        if codec.compression == Compression::None {
            return Compression::None;
        }
        let records = &self.page.bytes()[HEADER_LEN..];
        let compressed = compress(codec.compression, codec.level, records);
        if compressed.len() >= records.len() {
            return Compression::None;
        }
        let buffer = self.page.buffer_mut();
        buffer.truncate(HEADER_LEN);
        buffer.extend_from_slice(&compressed);
        codec.compression
    }
}

/// How records are compressed when a batch is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codec {
    pub(crate) compression: Compression,
    pub(crate) level: Option<i32>,
}

/// A batch that takes no more records and has no stamp yet.
#[derive(Debug)]
pub(crate) struct ClosedBatch {
    batch: OpenBatch,
    attributes: Attributes,
    records_crc: u32,
}

impl ClosedBatch {
    pub(crate) fn size(&self) -> usize {
        self.batch.written()
    }

    pub(crate) fn created(&self) -> Instant {
        self.batch.created
    }

    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        self.batch.completion()
    }

    pub(crate) fn record_count(&self) -> u32 {
        self.batch.records
    }

    pub(crate) fn into_promise(self) -> Promise {
        self.batch.promise
    }

    /// Ends the stage: writes the header. From here the bytes do not change unless the batch is restamped.
    pub(crate) fn stamp(self, partition: PartitionIndex, stamp: Stamp) -> StampedBatch {
        let OpenBatch {
            promise,
            page,
            created,
            base_timestamp,
            max_timestamp,
            records,
            ..
        } = self.batch;
        let contents = Contents {
            base_timestamp,
            max_timestamp,
            records,
            attributes: self.attributes,
            records_crc: self.records_crc,
        };
        let mut page = page;
        contents.write_header(page.buffer_mut(), &stamp);
        StampedBatch {
            promise,
            page: Arc::new(page),
            partition,
            stamp,
            created,
            contents,
            attempts: 0,
            last_attempt: created,
            fate: Fate::NotWritten,
            leader: LeaderSeen::default(),
        }
    }
}

/// What the header says about the records, whoever the batch comes from.
#[derive(Clone, Copy, Debug)]
struct Contents {
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    records: u32,
    attributes: Attributes,
    records_crc: u32,
}

impl Contents {
    fn write_header(&self, page: &mut [u8], stamp: &Stamp) {
        let last = self
            .records
            .checked_sub(1)
            .expect("a batch is created for its first record");
        let attributes = if stamp.is_transactional() {
            self.attributes.transactional()
        } else {
            self.attributes
        };
        let fields = HeaderFields {
            attributes,
            last_offset_delta: i32::try_from(last).expect("every record's offset delta fitted an i32"),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: stamp.identity().map_or(ProducerId::NONE, |identity| identity.id),
            producer_epoch: stamp
                .identity()
                .map_or(ProducerEpoch::NONE, |identity| identity.epoch),
            base_sequence: stamp.base_sequence(),
            record_count: self.records,
            ..HeaderFields::default()
        };
        write_header(page, &fields);
        finish_crc(page, self.records_crc);
    }
}

/// The leadership that a batch has seen.
#[derive(Clone, Copy, Debug, Default)]
struct LeaderSeen {
    epoch: Option<LeaderEpoch>,
    changed_at_attempt: Option<u32>,
}

/// The bytes are still being read by somebody, so that the batch cannot get another stamp now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bytes of the batch are still in use")]
pub struct BytesInUse;

/// A batch that is ready for the wire. It keeps stamp and bytes until its fate is known (R2).
#[derive(Debug)]
pub struct StampedBatch {
    promise: Promise,
    page: Arc<Page>,
    partition: PartitionIndex,
    stamp: Stamp,
    created: Instant,
    contents: Contents,
    attempts: u32,
    last_attempt: Instant,
    fate: Fate,
    leader: LeaderSeen,
}

impl StampedBatch {
    /// Joins what one more attempt told about the records (R1).
    pub fn join_fate(&mut self, attempt: Fate) {
        self.fate = self.fate.joined_with(attempt);
    }

    /// Writes another stamp into the header. The records are not touched.
    ///
    /// # Errors
    ///
    /// [`BytesInUse`] while a request of an earlier attempt may still be read; nothing has changed then (R2).
    pub fn restamp(&mut self, stamp: Stamp) -> Result<(), BytesInUse> {
        let page = Arc::get_mut(&mut self.page).ok_or(BytesInUse)?;
        self.contents.write_header(page.buffer_mut(), &stamp);
        self.stamp = stamp;
        Ok(())
    }

    /// The batch as it travels. Cheap; the page stays out of the pool for as long as any of these handles lives (R11, S-45).
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(PageBytes(Arc::clone(&self.page)))
    }

    /// The bytes of the batch, header included.
    pub fn size(&self) -> usize {
        self.page.bytes().len()
    }

    /// Which partition the batch is for, as an index.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// Which partition the batch is for, by name.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.completion().topic_partition()
    }

    /// The producer and the place in its sequence.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// How many records the batch holds; at least one.
    pub fn record_count(&self) -> u32 {
        self.contents.records
    }

    /// The sequence of the last record, unless the batch is anonymous (A-63, W-9).
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.stamp
            .base_sequence()
            .map(|base| base.advanced_by(self.record_count().saturating_sub(1)))
    }

    /// How often the batch was put back into its queue (0 on the first send).
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When the batch got its first record: where its delivery timeout starts.
    pub fn created(&self) -> Instant {
        self.created
    }

    /// When the batch was last put back, or created.
    pub fn last_attempt(&self) -> Instant {
        self.last_attempt
    }

    /// What is known about the records from all attempts that have ended (R1).
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Whether the records' senders have their result already: expired or aborted while the request was out (S-69).
    pub fn outcome_given(&self) -> bool {
        self.completion().is_settled()
    }

    /// A hold on its outcome, to keep while the batch itself travels.
    pub fn hold(&self) -> InFlightBatch {
        InFlightBatch::of(self)
    }

    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        self.promise.completion()
    }

    pub(crate) fn promise(&self) -> &Promise {
        &self.promise
    }

    pub(crate) fn settle(&self, outcome: BatchOutcome) -> Settled {
        self.completion().settle(outcome)
    }

    /// one more attempt begins at `now`.
    pub(crate) fn begin_retry(&mut self, now: Instant) {
        self.attempts += 1;
        self.last_attempt = self.last_attempt.max(now);
    }

    /// takes note of the leader epoch that metadata has for the partition.
    pub(crate) fn see_leader(&mut self, epoch: Option<LeaderEpoch>) {
        if epoch > self.leader.epoch {
            self.leader = LeaderSeen {
                epoch,
                changed_at_attempt: Some(self.attempts),
            };
        }
    }

    /// the leader changed since the retry began, which makes waiting for it pointless.
    pub(crate) fn leader_changed_for_retry(&self) -> bool {
        self.attempts >= 1 && self.leader.changed_at_attempt == Some(self.attempts)
    }
}

/// A handle on the bytes of a page.
struct PageBytes(Arc<Page>);

impl AsRef<[u8]> for PageBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
