//! The last stage of a batch: stamped, and with bytes for the wire.
//!
//! The bytes do not change as long as anybody reads them. Nobody here decides whether a batch is sent again or how it ends.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kommit_protocol::batch::{Compression, HEADER_LEN, HeaderFields, finish_crc, write_header};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{
    Identity, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition,
};
use thiserror::Error;

use crate::batch::{ClosedBatch, Contents};
use crate::completion::{BatchCompletion, BatchOutcome, Promise, Settled};
use crate::error::Fate;
use crate::in_flight::InFlightBatch;
use crate::pool::Page;
use crate::split::{Packed, Part, Source, SplitNumber};

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

/// Where a batch comes from (A-16 "split flag").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its records were appended to it.
    Appended,
    /// It is what a split left of a larger one.
    Part(SplitNumber),
}

/// A batch that is ready for the wire. It keeps stamp and bytes until its fate is known (R2).
#[derive(Debug)]
pub struct StampedBatch {
    promise: Promise,
    page: Arc<Page>,
    /// Where the batch stands in its page: all of it, except for the part of a split batch.
    place: Range<usize>,
    origin: Origin,
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
    pub(crate) fn new(batch: ClosedBatch, partition: PartitionIndex, stamp: Stamp) -> Self {
        let ClosedBatch {
            promise,
            mut page,
            created,
            contents,
        } = batch;
        write_stamped_header(page.buffer_mut(), &contents, &stamp);
        Self {
            promise,
            place: 0..page.bytes().len(),
            origin: Origin::Appended,
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

    /// The part whose records have just been written into `place`, behind room for the header.
    pub(crate) fn from_part(
        part: Part,
        mut page: Arc<Page>,
        place: Range<usize>,
        contents: Contents,
    ) -> Self {
        let own = Arc::get_mut(&mut page).expect("a part is written while nobody else has its page");
        write_stamped_header(&mut own.buffer_mut()[place.clone()], &contents, &part.stamp);
        Self {
            promise: part.promise,
            page,
            place,
            origin: Origin::Part(part.split),
            partition: part.partition,
            stamp: part.stamp,
            created: part.created,
            contents,
            attempts: 0,
            last_attempt: part.created,
            fate: Fate::NotWritten,
            leader: LeaderSeen::default(),
        }
    }

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
        write_stamped_header(&mut page.buffer_mut()[self.place.clone()], &self.contents, &stamp);
        self.stamp = stamp;
        Ok(())
    }

    /// The batch as it travels. Cheap; the page stays out of the pool for as long as any of these handles lives (R11, S-45).
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(PageBytes {
            page: Arc::clone(&self.page),
            place: self.place.clone(),
        })
    }

    /// The bytes of the batch, header included.
    pub fn size(&self) -> usize {
        self.place.len()
    }

    /// The bytes that the batch would have without compression, header included (K-2).
    pub fn expanded_size(&self) -> usize {
        self.contents.expanded_size
    }

    /// The bytes of its largest record, without compression (K-9).
    pub fn largest_record(&self) -> usize {
        self.contents.largest_record
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

    /// How its records are compressed; not at all when that made them no shorter.
    pub fn compression(&self) -> Compression {
        self.contents.attributes.compression().unwrap_or_default()
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

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Where the records begin in the page.
    pub(crate) fn records_start(&self) -> usize {
        self.place.start + HEADER_LEN
    }

    /// More bytes than the records can have when they are expanded: they were in the page once.
    pub(crate) fn expanded_limit(&self) -> usize {
        self.page.size()
    }

    pub(crate) fn base_timestamp(&self) -> Timestamp {
        self.contents.base_timestamp
    }

    /// The page behind a part that has ended, for the next one; its own records are of no use any more.
    pub(crate) fn into_page(self) -> Source {
        Source {
            page: self.page,
            packed: None,
        }
    }

    /// The page with the records, for the parts that they are to be split into.
    pub(crate) fn into_source(self) -> Source {
        let compression = self.contents.attributes.compression();
        let stored = self.records_start()..self.place.end;
        let packed = match compression {
            Ok(Compression::None) | Err(_) => None,
            Ok(compression) => Some(Packed { compression, stored }),
        };
        Source {
            page: self.page,
            packed,
        }
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
struct PageBytes {
    page: Arc<Page>,
    place: Range<usize>,
}

impl AsRef<[u8]> for PageBytes {
    fn as_ref(&self) -> &[u8] {
        &self.page.bytes()[self.place.clone()]
    }
}

/// Writes the whole header, checksum included, in front of the records.
fn write_stamped_header(page: &mut [u8], contents: &Contents, stamp: &Stamp) {
    let last = contents
        .records
        .checked_sub(1)
        .expect("a batch is created for its first record");
    let attributes = if stamp.is_transactional() {
        contents.attributes.transactional()
    } else {
        contents.attributes
    };
    let fields = HeaderFields {
        attributes,
        last_offset_delta: i32::try_from(last).expect("every record's offset delta fitted an i32"),
        base_timestamp: contents.base_timestamp,
        max_timestamp: contents.max_timestamp,
        producer_id: stamp.identity().map_or(ProducerId::NONE, |identity| identity.id),
        producer_epoch: stamp
            .identity()
            .map_or(ProducerEpoch::NONE, |identity| identity.epoch),
        base_sequence: stamp.base_sequence(),
        record_count: contents.records,
        ..HeaderFields::default()
    };
    debug_assert_eq!(
        fields.check(),
        Ok(()),
        "W-8, W-10: no broker accepts such a batch"
    );
    write_header(page, &fields);
    finish_crc(page, contents.records_crc);
}
