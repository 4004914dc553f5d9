//! Reading: batches out of a blob, records out of a batch. Shares the blob's memory and believes no declared length.

use bytes::{Buf, Bytes};

use super::header::{BatchHeader, declared_len, verify_crc};
use super::{BatchError, HEADER_LEN, LENGTH_OVERHEAD, MAGIC_AT, RecordProblem, TimestampType};
use crate::compression::decompress;
use crate::units::{Offset, Timestamp};

/// The batches of a blob, as produce requests and fetch responses carry it.
pub fn batches(blob: Bytes) -> Batches {
    Batches { rest: blob }
}

/// Iterates over the batches of a blob. A batch that is cut off at the end is not an error but the end (fetch); an impossible one
/// is an error and then the end.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The bytes behind the batches that were read: a batch that is cut off, or nothing.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<BatchView, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() <= MAGIC_AT.max(LENGTH_OVERHEAD) {
            return None;
        }
        let is_cut_off = declared_len(&self.rest).is_ok_and(|len| len > self.rest.len());
        if is_cut_off {
            return None;
        }
        let batch = BatchView::parse(&self.rest);
        match &batch {
            Ok(batch) => self.rest.advance(batch.header.len),
            Err(_) => self.rest.clear(),
        }
        Some(batch)
    }
}

/// One batch within a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// The header.
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: Bytes,
}

impl BatchView {
    /// The batch with which `bytes` begin; see [`BatchHeader::parse`].
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let bytes = bytes.slice(..header.len);
        Ok(Self { header, bytes })
    }

    /// Whether the checksum fits.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        verify_crc(&self.bytes)
    }

    /// The records. Compressed ones are expanded to at most `max_len` bytes.
    pub fn records(&self, max_len: usize) -> Result<Records, BatchError> {
        let stored = self.bytes.slice(HEADER_LEN..);
        let codec = self.header.attributes.compression()?;
        let rest = decompress(codec, &stored, max_len).map_err(|error| BatchError::Decompression {
            codec: codec.name(),
            error,
        })?;
        Ok(Records {
            header: self.header.clone(),
            rest,
            next: 0,
        })
    }
}

/// A record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// The record's place in its partition.
    pub offset: Offset,
    /// How far the record is behind the first one of its batch.
    pub offset_delta: i32,
    /// The record's time: its own, or the broker's when the batch says so.
    pub timestamp: Timestamp,
    /// The key, which may be null.
    pub key: Option<Bytes>,
    /// The value, which may be null.
    pub value: Option<Bytes>,
    /// The headers in their order, repeated keys included.
    pub headers: Vec<RecordHeader>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The key. Bytes that are not UTF-8 are replaced.
    pub key: String,
    /// The value, which may be null.
    pub value: Option<Bytes>,
}

/// Iterates over the records of a batch. After the last one, bytes that are left are an error (W-2); behind an error comes nothing.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    rest: Bytes,
    next: u32,
}

impl Records {
    fn fail(&mut self, error: BatchError) -> BatchError {
        self.rest.clear();
        self.next = self.header.record_count;
        error
    }

    fn take_record(&mut self) -> Result<RecordView, RecordProblem> {
        let len = take_varint(&mut self.rest)?;
        let len = usize::try_from(len).map_err(|_| RecordProblem::NegativeLength)?;
        let mut body = take_slice(&mut self.rest, len)?;
        take_slice(&mut body, 1)?;
        let timestamp_delta = take_varlong(&mut body)?;
        let offset_delta = take_varint(&mut body)?;
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let headers = take_headers(&mut body)?;
        if !body.is_empty() {
            return Err(RecordProblem::TrailingBytes);
        }
        let timestamp = match self.header.attributes.timestamp_type() {
            TimestampType::CreateTime => {
                Timestamp(self.header.base_timestamp.0.wrapping_add(timestamp_delta))
            }
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let offset = Offset(self.header.base_offset.0.wrapping_add(i64::from(offset_delta)));
        Ok(RecordView {
            offset,
            offset_delta,
            timestamp,
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<RecordView, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.header.record_count {
            let left = self.rest.len();
            if left == 0 || self.header.record_count == 0 {
                return None;
            }
            return Some(Err(self.fail(BatchError::BytesBehindRecords(left))));
        }
        let record = self.next;
        self.next += 1;
        match self.take_record() {
            Ok(record) => Some(Ok(record)),
            Err(problem) => Some(Err(self.fail(BatchError::BadRecord { record, problem }))),
        }
    }
}

/// How much memory headers may take: an empty header has two bytes in a record and far more in memory. Hundreds of empty headers are read;
/// millions of them, which a few compressed bytes can hold, are not.
const HEADER_MEMORY_PER_BYTE: usize = 9;
const HEADER_MEMORY_BESIDES: usize = 32 << 10;

fn take_headers(body: &mut Bytes) -> Result<Vec<RecordHeader>, RecordProblem> {
    let count = usize::try_from(take_varint(body)?).map_err(|_| RecordProblem::BadHeaderCount)?;
    let memory = count.saturating_mul(size_of::<RecordHeader>());
    if count > body.len() || memory > HEADER_MEMORY_PER_BYTE * body.len() + HEADER_MEMORY_BESIDES {
        return Err(RecordProblem::BadHeaderCount);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = take_nullable(body)?.ok_or(RecordProblem::NullHeaderKey)?;
        let key = String::from_utf8_lossy(&key).into_owned();
        headers.push(RecordHeader {
            key,
            value: take_nullable(body)?,
        });
    }
    Ok(headers)
}

/// Bytes behind their length. Every negative length is null (W-16).
fn take_nullable(body: &mut Bytes) -> Result<Option<Bytes>, RecordProblem> {
    match usize::try_from(take_varint(body)?) {
        Ok(len) => take_slice(body, len).map(Some),
        Err(_) => Ok(None),
    }
}

fn take_slice(bytes: &mut Bytes, len: usize) -> Result<Bytes, RecordProblem> {
    if len > bytes.len() {
        return Err(RecordProblem::BeyondEnd);
    }
    Ok(bytes.split_to(len))
}

fn take_varint(bytes: &mut Bytes) -> Result<i32, RecordProblem> {
    let raw = take_unsigned(bytes, 32)?;
    Ok(unzigzag(raw) as i32)
}

fn take_varlong(bytes: &mut Bytes) -> Result<i64, RecordProblem> {
    take_unsigned(bytes, 64).map(unzigzag)
}

/// A base-128 number of at most `bits` bits (W-6).
fn take_unsigned(bytes: &mut Bytes, bits: u32) -> Result<u64, RecordProblem> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let shift = 7 * at as u32;
        let group = u64::from(byte & 0x7f);
        if shift >= bits || group.checked_shl(shift).is_none_or(|wide| wide >> shift != group) {
            return Err(RecordProblem::VarintTooLong);
        }
        value |= group << shift;
        if byte & 0x80 == 0 {
            bytes.advance(at + 1);
            return if bits == 64 || value >> bits == 0 {
                Ok(value)
            } else {
                Err(RecordProblem::VarintTooLong)
            };
        }
    }
    Err(RecordProblem::BeyondEnd)
}

const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
