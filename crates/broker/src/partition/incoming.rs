//! A batch as a client sent it: its format is checked in two steps, before verification and before the append (B-23, B-24, B-31, B-32).
//!
//! Reads the bytes itself, without the client's batch code, except for checksum and record decoding. Never changes a log.

use bytes::Bytes;
use kommit_protocol::batch::{self, Attributes, Compression};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::producers::{Candidate, Membership};
use crate::config::TopicConfig;

/// Offset and length, before everything that the checksum or the length covers.
const LOG_OVERHEAD: usize = 12;
/// The least size of a batch of any format.
const SMALLEST_BATCH: i32 = 14;
/// Up to and with the magic byte.
const UP_TO_MAGIC: usize = 17;
/// The header of a batch of format 2.
const HEADER: usize = 61;

const CONTROL_BIT: i16 = 0x20;
const TRANSACTIONAL_BIT: i16 = 0x10;
const TIMESTAMP_TYPE_BIT: i16 = 0x08;
const COMPRESSION_BITS: i16 = 0x07;
const ZSTD: i16 = 4;

/// Why a batch is not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    /// Whether the answer shows the log start offset (B-35).
    pub(crate) log_start: LogStart,
    /// Whether the answer says in words what the code means.
    pub(crate) wording: Wording,
    /// Bad records: index in the batch, and what is wrong (B-33).
    pub(crate) records: Vec<(i32, &'static str)>,
}

/// Whether an error answer carries the current log start offset or -1 (B-35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogStart {
    Shown,
    Hidden,
}

/// Whether an error answer has a text beside its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    CodeOnly,
    InWords,
}

impl Refusal {
    /// A refusal that hides the log start offset.
    pub(crate) fn hidden(code: ErrorCode) -> Self {
        Self {
            code,
            log_start: LogStart::Hidden,
            wording: Wording::CodeOnly,
            records: Vec::new(),
        }
    }

    /// A refusal that hides it, and says in words what is wrong.
    pub(crate) fn told(code: ErrorCode) -> Self {
        Self {
            wording: Wording::InWords,
            ..Self::hidden(code)
        }
    }

    /// A refusal that shows it.
    pub(crate) fn shown(code: ErrorCode) -> Self {
        Self {
            code,
            log_start: LogStart::Shown,
            wording: Wording::CodeOnly,
            records: Vec::new(),
        }
    }
}

/// One batch of format 2, with its header read.
#[derive(Clone, Debug)]
pub(crate) struct IncomingBatch {
    pub(crate) bytes: Bytes,
    attributes: i16,
    base_offset: i64,
    last_offset_delta: i32,
    record_count: i32,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) producer_id: Option<ProducerId>,
    pub(crate) epoch: ProducerEpoch,
    base_sequence: i32,
}

impl IncomingBatch {
    /// B-24, and of B-31 what can be seen without the topic: exactly one batch of format 2.
    pub(crate) fn parse(records: &Bytes, produce_version: i16) -> Result<Self, Refusal> {
        let size = batch_size(records)?.ok_or(Refusal::hidden(ErrorCode::InvalidRecord))?;
        if magic(records) < 2 {
            return Err(Refusal::hidden(ErrorCode::InvalidRecord));
        }
        if size < HEADER {
            return Err(Refusal::hidden(ErrorCode::CorruptMessage));
        }
        let bytes = records.slice(..size);
        let attributes = i16_at(&bytes, 21);
        if attributes & COMPRESSION_BITS == ZSTD && produce_version < 7 {
            return Err(Refusal::hidden(ErrorCode::UnsupportedCompressionType));
        }
        let behind = batch_size(&records.slice(size..)).map_err(|refusal| Refusal::hidden(refusal.code))?;
        if behind.is_some() {
            return Err(Refusal::hidden(ErrorCode::InvalidRecord));
        }
        let producer_id = i64_at(&bytes, 43);
        Ok(Self {
            attributes,
            base_offset: i64_at(&bytes, 0),
            last_offset_delta: i32_at(&bytes, 23),
            max_timestamp: Timestamp(i64_at(&bytes, 35)),
            producer_id: (producer_id >= 0).then_some(ProducerId(producer_id)),
            epoch: ProducerEpoch(i16_at(&bytes, 51)),
            base_sequence: i32_at(&bytes, 53),
            record_count: i32_at(&bytes, 57),
            bytes,
        })
    }

    /// B-31, B-32: the checks of the append that need only the header.
    pub(crate) fn check(&self, config: &TopicConfig) -> Result<(), Refusal> {
        if self.base_offset != 0 {
            return Err(Refusal::shown(ErrorCode::InvalidRecord));
        }
        if self.bytes.len() > config.max_message_bytes {
            return Err(Refusal::hidden(ErrorCode::MessageTooLarge));
        }
        if batch::verify_crc(&self.bytes).is_err() {
            return Err(Refusal::hidden(ErrorCode::CorruptMessage));
        }
        if self.codec().is_none() {
            return Err(Refusal::shown(ErrorCode::UnknownServerError));
        }
        let count_fits = self.record_count > 0 && self.last_offset_delta == self.record_count - 1;
        let has_sequence = self.producer_id.is_none() || self.base_sequence >= 0;
        if self.is_control() || !count_fits || !has_sequence {
            return Err(Refusal::shown(ErrorCode::InvalidRecord));
        }
        if self.bytes.len() > config.segment_bytes {
            return Err(Refusal::hidden(ErrorCode::RecordListTooLarge));
        }
        Ok(())
    }

    /// The offsets of its first and last record; none for a count that is not one.
    pub(super) fn offsets(&self) -> Option<(Offset, Offset)> {
        let count_fits = self.record_count > 0 && self.last_offset_delta == self.record_count - 1;
        let last = self.base_offset.checked_add(i64::from(self.last_offset_delta))?;
        (count_fits && self.base_offset >= 0 && last < i64::MAX)
            .then_some((Offset(self.base_offset), Offset(last)))
    }

    /// Whether the control bit is set: in the log, a marker.
    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether the transactional bit is set.
    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the client claims that the timestamps are the broker's (B-33).
    pub(crate) fn claims_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE_BIT != 0
    }

    /// How the records are compressed; `None` for a number that no codec has.
    pub(crate) fn codec(&self) -> Option<Compression> {
        Attributes::from_bits(self.attributes).compression().ok()
    }

    /// The time that the records' deltas count from.
    pub(crate) fn base_timestamp(&self) -> i64 {
        i64_at(&self.bytes, 27)
    }

    /// The bytes behind the header.
    pub(crate) fn records(&self) -> Bytes {
        self.bytes.slice(HEADER..)
    }

    /// How many records the header announces.
    pub(crate) fn record_count(&self) -> u32 {
        u32::try_from(self.record_count).unwrap_or(0)
    }

    /// The batch for the producer checks; `None` without producer id or without sequence.
    pub(crate) fn candidate(&self) -> Option<Candidate> {
        let base_sequence = Sequence::new(self.base_sequence)?;
        let transactional = if self.is_transactional() {
            Membership::Transactional
        } else {
            Membership::Plain
        };
        Some(Candidate {
            id: self.producer_id?,
            epoch: self.epoch,
            base_sequence,
            last_sequence: base_sequence.advanced_by(self.record_count().saturating_sub(1)),
            membership: transactional,
        })
    }
}

/// The size of the batch at the beginning of `blob`, or `None` when there is no whole batch.
fn batch_size(blob: &[u8]) -> Result<Option<usize>, Refusal> {
    if blob.len() < LOG_OVERHEAD {
        return Ok(None);
    }
    let declared = i32_at(blob, 8).saturating_add(12);
    if declared < SMALLEST_BATCH {
        return Err(Refusal::told(ErrorCode::CorruptMessage));
    }
    if blob.len() < UP_TO_MAGIC {
        return Ok(None);
    }
    if !(0..=2).contains(&magic(blob)) {
        return Err(Refusal::told(ErrorCode::CorruptMessage));
    }
    let declared = usize::try_from(declared).unwrap_or(usize::MAX);
    Ok((declared <= blob.len()).then_some(declared))
}

fn magic(blob: &[u8]) -> i8 {
    i8::from_be_bytes(array_at(blob, 16))
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(array_at(bytes, at))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let slice = bytes
        .get(at..at + N)
        .expect("the length was compared with the header's before");
    slice
        .try_into()
        .expect("a slice of N bytes is an array of N bytes")
}
