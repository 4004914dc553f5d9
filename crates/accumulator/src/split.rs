//! Splitting a batch that the broker found too large (A-74 … A-79): a plan, and the parts that wait to be written.
//!
//! The parts take over the page of the whole and are written into it one after the other: the next part is written when the one before it
//! has ended, and its header takes the place of records that nobody needs any more. So a split takes no memory from the pool, and
//! `buffer.memory` stays a hard bound (a difference to A-75, whose parts live outside of it). It follows that the parts of a batch
//! travel one at a time, which A-49 demands of batches with a sequence anyway.
//!
//! Nobody here decides whether a batch is split, or which sequences its parts get.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kommit_protocol::batch::{
    Attributes, BatchError, BatchView, Compression, HEADER_LEN, HeaderFields, HeaderRef, RecordFields,
    RecordView, put_record, record_len, records_crc, write_header,
};
use kommit_protocol::compression::decompress;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{PartitionIndex, Timestamp};

use crate::batch::{Codec, Contents};
use crate::completion::{BatchCompletion, Promise};
use crate::pool::Page;
use crate::ratio::CompressionRatio;
use crate::stamped::{Origin, Stamp, StampedBatch};

/// The number of a split within its producer: what the parts of a batch, and their parts, know each other by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SplitNumber(pub(crate) u64);

/// A batch and the parts that it can be sent in. Nothing has happened to the batch yet.
#[derive(Debug)]
#[must_use = "the batch is neither split nor ended by a plan"]
pub struct Split {
    pub(crate) whole: StampedBatch,
    pub(crate) cuts: Vec<Cut>,
}

/// What one part will hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where its records stand in the page as long as they are not compressed and numbered as in the whole.
    pub(crate) region: Range<usize>,
    pub(crate) records: u32,
    pub(crate) max_timestamp: Timestamp,
}

impl Split {
    /// Distributes the records of `whole` to parts: of at most `batch_size` bytes, or half as large as the batch when that would
    /// leave it as it is, or when it is a part itself. A single record may be larger.
    ///
    /// So no batch is sent again as it was refused (a difference to A-74, which tries a batch that fits `batch.size` once more).
    pub(crate) fn plan(whole: StampedBatch, batch_size: usize) -> Result<Self, Box<StampedBatch>> {
        match cuts_of(&whole, batch_size) {
            Ok(cuts) => Ok(Self { whole, cuts }),
            Err(error) => {
                tracing::error!(%error, "a batch cannot be split because its own bytes cannot be read");
                Err(Box::new(whole))
            }
        }
    }

    /// How many records each part has, in order.
    pub fn record_counts(&self) -> Vec<u32> {
        self.cuts.iter().map(|cut| cut.records).collect()
    }

    /// The batch as it was sent.
    pub fn whole(&self) -> &StampedBatch {
        &self.whole
    }

    /// Gives up the plan.
    pub fn into_whole(self) -> StampedBatch {
        self.whole
    }
}

fn cuts_of(whole: &StampedBatch, batch_size: usize) -> Result<Vec<Cut>, BatchError> {
    if whole.origin() == Origin::Appended {
        let cuts = cut(whole, batch_size)?;
        if cuts.len() > 1 {
            return Ok(cuts);
        }
    }
    // Less than the whole, even when the largest record outweighs all others together.
    cut(whole, (HEADER_LEN + whole.largest_record()).max(whole.size() / 2))
}

/// Fills parts of at most `target` bytes in the order of the records.
fn cut(whole: &StampedBatch, target: usize) -> Result<Vec<Cut>, BatchError> {
    let view = BatchView::parse(&whole.bytes())?;
    let mut cuts: Vec<Cut> = Vec::new();
    let (mut first, mut size) = (0, 0);
    let mut place = whole.records_start();
    for record in view.records(whole.expanded_limit())? {
        let record = record?;
        let headers = header_refs(&record);
        let len_behind = |first| record_len(&fields(&view, &record, &headers, first));
        let end = place + len_behind(0);
        size += len_behind(first);
        match cuts.last_mut() {
            Some(last) if size <= target => {
                last.region.end = end;
                last.records += 1;
                last.max_timestamp = last.max_timestamp.max(record.timestamp);
            }
            _ => {
                first = record.offset_delta;
                size = HEADER_LEN + len_behind(first);
                cuts.push(Cut {
                    region: place..end,
                    records: 1,
                    max_timestamp: record.timestamp,
                });
            }
        }
        place = end;
    }
    Ok(cuts)
}

fn header_refs(record: &RecordView) -> Vec<HeaderRef<'_>> {
    let headers = record.headers.iter();
    headers
        .map(|header| HeaderRef {
            key: &header.key,
            value: header.value.as_deref(),
        })
        .collect()
}

/// The record as a batch stores it whose first record is the one at `first` in this batch.
///
/// The base timestamp stays that of the whole, though A-20 knows it as the first record's: so no record ever gets longer.
fn fields<'r>(
    view: &BatchView,
    record: &'r RecordView,
    headers: &'r [HeaderRef<'r>],
    first: i32,
) -> RecordFields<'r> {
    RecordFields {
        offset_delta: record.offset_delta - first,
        timestamp_delta: record.timestamp.0 - view.header.base_timestamp.0,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers,
    }
}

/// A part that has not been written yet. It has its stamp and its place in the queue already.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) promise: Promise,
    pub(crate) partition: PartitionIndex,
    pub(crate) stamp: Stamp,
    pub(crate) created: Instant,
    pub(crate) base_timestamp: Timestamp,
    pub(crate) cut: Cut,
    pub(crate) split: SplitNumber,
    /// The page, as soon as all parts before this one have ended.
    pub(crate) source: Option<Source>,
}

/// The page that the parts share, on its way from one to the next.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) page: Arc<Page>,
    pub(crate) packed: Option<Packed>,
}

/// Compressed records that still have to be expanded in their place.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) compression: Compression,
    pub(crate) stored: Range<usize>,
}

impl Part {
    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        self.promise.completion()
    }

    /// No smaller than the part will be.
    pub(crate) fn largest_size(&self) -> usize {
        HEADER_LEN + self.cut.region.len()
    }

    /// Whether the part has the page, and no request is reading it any more.
    pub(crate) fn is_writable(&mut self) -> bool {
        self.source
            .as_mut()
            .is_some_and(|source| Arc::get_mut(&mut source.page).is_some())
    }

    /// Writes the part: its records numbered from zero, compressed as the configuration says, behind a header with its stamp.
    ///
    /// Only for a part that is [writable](Part::is_writable).
    pub(crate) fn write(mut self, codec: Codec, ratio: &CompressionRatio) -> StampedBatch {
        let writable = "a part is written when it is writable";
        let mut source = self.source.take().expect(writable);
        let buffer = Arc::get_mut(&mut source.page).expect(writable).buffer_mut();
        if let Some(packed) = source.packed {
            packed.expand(buffer);
        }
        let region = self.cut.region.clone();
        let start = region.start - HEADER_LEN;
        let (numbered, largest_record) = self.numbered_from_zero(&mut buffer[start..region.end]);
        let packed = codec.pack(&numbered, ratio);
        let (compression, records) = match &packed {
            Some(packed) => (codec.compression, packed),
            None => (Compression::None, &numbered),
        };
        debug_assert!(records.len() <= region.len(), "no record gets longer in a part");
        let end = region.start + records.len();
        buffer[region.start..end].copy_from_slice(records);
        let contents = Contents {
            base_timestamp: self.base_timestamp,
            max_timestamp: self.cut.max_timestamp,
            records: self.cut.records,
            largest_record,
            expanded_size: HEADER_LEN + numbered.len(),
            attributes: Attributes::new(compression),
            records_crc: records_crc(records),
        };
        StampedBatch::from_part(self, source.page, start..end, contents)
    }

    /// The records of the part, whose place with that of a header before it is given, and the size of the largest.
    fn numbered_from_zero(&self, place: &mut [u8]) -> (Vec<u8>, usize) {
        let as_they_are = HeaderFields {
            base_timestamp: self.base_timestamp,
            record_count: self.cut.records,
            ..HeaderFields::default()
        };
        write_header(place, &as_they_are);
        let readable = "the records were read when the split was planned";
        let view = BatchView::parse(&Bytes::copy_from_slice(place)).expect(readable);
        let mut numbered = Vec::with_capacity(self.cut.region.len());
        let (mut first, mut largest) = (None, 0);
        for record in view.records(place.len()).expect(readable) {
            let record = record.expect(readable);
            let first = *first.get_or_insert(record.offset_delta);
            let headers = header_refs(&record);
            let before = numbered.len();
            put_record(&mut numbered, &fields(&view, &record, &headers, first));
            largest = largest.max(numbered.len() - before);
        }
        (numbered, largest)
    }
}

impl Packed {
    fn expand(self, buffer: &mut Vec<u8>) {
        let start = self.stored.start;
        let stored = Bytes::copy_from_slice(&buffer[self.stored]);
        let records = decompress(self.compression, &stored, buffer.capacity())
            .expect("the records were expanded when the split was planned");
        let end = start + records.len();
        // Only the whole can be shorter than its records; a page had room for them when they were appended.
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        buffer[start..end].copy_from_slice(&records);
    }
}
