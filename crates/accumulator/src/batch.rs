//! A batch in its first two stages: open for records, and closed. The third, stamped, is next door.
//!
//! Each stage is a type, and only a stamped batch has bytes for the wire. Records are written once, into a page of the pool, and never
//! move; the page goes back when the last handle on its bytes is dropped (R11). Nobody here decides when a stage ends.

use std::sync::Arc;

use kommit_protocol::batch::{
    self, Attributes, Compression, HEADER_LEN, HeaderRef, RecordFields, put_record, record_len, records_crc,
};
use kommit_protocol::compression::compress;
use kommit_protocol::time::Instant;
use kommit_protocol::units::Timestamp;

use crate::completion::{BatchCompletion, Delivery, Promise, RecordFacts};
use crate::pool::Page;
use crate::ratio::{CompressionRatio, Sizing};

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
    #[inline]
    pub fn batch_upper_bound(&self) -> usize {
        batch::batch_upper_bound(self.key, self.value, self.headers)
    }
}

/// A batch that takes records.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    promise: Promise,
    page: Page,
    sizing: Sizing,
    created: Instant,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    records: u32,
    largest_record: usize,
}

impl OpenBatch {
    /// A batch that is expected to have `batch.size` bytes at most, or a single larger record.
    pub(crate) fn new(
        promise: Promise,
        mut page: Page,
        sizing: Sizing,
        base_timestamp: Timestamp,
        created: Instant,
    ) -> Self {
        let buffer = page.buffer_mut();
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        Self {
            promise,
            page,
            sizing,
            created,
            base_timestamp,
            max_timestamp: base_timestamp,
            records: 0,
            largest_record: 0,
        }
    }

    /// Writes the record into the page; `None`, and nothing changed, when there is no room. `bound` is the record's largest length,
    /// which is what almost every record is judged by: its exact one takes longer to find.
    pub(crate) fn append(
        &mut self,
        record: &RecordRef<'_>,
        bound: usize,
        timestamp: Timestamp,
    ) -> Option<Delivery> {
        let fields = self.fields(record, timestamp)?;
        let fits = self.has_room(bound) || self.has_room(record_len(&fields));
        fits.then(|| self.write(&fields, timestamp))
    }

    /// As `append`, for a record that surely has room and does not make the batch full.
    #[inline]
    pub(crate) fn append_amid(
        &mut self,
        record: &RecordRef<'_>,
        bound: usize,
        timestamp: Timestamp,
    ) -> Option<Delivery> {
        let Sizing {
            batch_size, estimate, ..
        } = &self.sizing;
        let written = self.written();
        let is_amid = written + bound < self.page.size()
            && estimate.of(written) + bound <= *batch_size
            && estimate.of(written + bound) < *batch_size;
        if !is_amid || self.records == 0 {
            return None;
        }
        let fields = self.fields(record, timestamp)?;
        Some(self.write(&fields, timestamp))
    }

    #[inline]
    fn fields<'r>(&self, record: &RecordRef<'r>, timestamp: Timestamp) -> Option<RecordFields<'r>> {
        Some(RecordFields {
            offset_delta: i32::try_from(self.records).ok()?,
            timestamp_delta: timestamp.0.checked_sub(self.base_timestamp.0)?,
            key: record.key,
            value: record.value,
            headers: record.headers,
        })
    }

    #[inline]
    fn write(&mut self, fields: &RecordFields<'_>, timestamp: Timestamp) -> Delivery {
        let length = put_record(self.page.buffer_mut(), fields);
        let index = self.records;
        self.records += 1;
        self.largest_record = self.largest_record.max(length);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let facts = RecordFacts::of(fields.key, fields.value, timestamp);
        Delivery::new(Arc::clone(self.promise.completion()), index, facts)
    }

    fn has_room(&self, length: usize) -> bool {
        // The estimate knows nothing of a record that has not been written: it counts in full.
        let fits_batch = self.records == 0 || self.size() + length <= self.sizing.batch_size;
        fits_batch && self.written() + length <= self.page.size()
    }

    /// there is no room for any other record.
    pub(crate) fn is_full(&self) -> bool {
        self.size() >= self.sizing.batch_size || self.written() >= self.page.size()
    }

    /// The size that the batch is expected to have, header included.
    pub(crate) fn size(&self) -> usize {
        self.sizing.estimate.of(self.written())
    }

    #[inline]
    fn written(&self) -> usize {
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
        let expanded_size = self.written();
        let attributes = Attributes::new(self.compress(codec));
        let contents = Contents {
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            records: self.records,
            largest_record: self.largest_record,
            expanded_size,
            attributes,
            records_crc: records_crc(&self.page.bytes()[HEADER_LEN..]),
        };
        let Self {
            promise,
            page,
            created,
            ..
        } = self;
        ClosedBatch {
            promise,
            page,
            created,
            contents,
        }
    }

    fn compress(&mut self, codec: Codec) -> Compression {
        let Some(compressed) = codec.pack(&self.page.bytes()[HEADER_LEN..], &self.sizing.ratio) else {
            return Compression::None;
        };
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

impl Codec {
    /// The records compressed, unless that makes them no shorter. `ratio` learns from it.
    pub(crate) fn pack(self, records: &[u8], ratio: &CompressionRatio) -> Option<Vec<u8>> {
        if self.compression == Compression::None {
            return None;
        }
        let packed = compress(self.compression, self.level, records);
        ratio.observe(records.len(), packed.len().min(records.len()));
        (packed.len() < records.len()).then_some(packed)
    }
}

/// A batch that takes no more records and has no stamp yet.
#[derive(Debug)]
pub(crate) struct ClosedBatch {
    pub(crate) promise: Promise,
    pub(crate) page: Page,
    pub(crate) created: Instant,
    pub(crate) contents: Contents,
}

/// What the header says about the records, whoever the batch comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    pub(crate) base_timestamp: Timestamp,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) records: u32,
    /// The bytes of the largest record, without compression (K-9).
    pub(crate) largest_record: usize,
    /// The bytes of the batch, header included, without compression (K-2).
    pub(crate) expanded_size: usize,
    /// Nothing but the codec.
    pub(crate) attributes: Attributes,
    pub(crate) records_crc: u32,
}

impl ClosedBatch {
    pub(crate) fn size(&self) -> usize {
        self.page.bytes().len()
    }

    pub(crate) fn created(&self) -> Instant {
        self.created
    }

    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        self.promise.completion()
    }

    pub(crate) fn record_count(&self) -> u32 {
        self.contents.records
    }

    pub(crate) fn into_promise(self) -> Promise {
        self.promise
    }
}
