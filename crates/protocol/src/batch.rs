//! The record batch, format 2: where its fields stand, how records are written into it and read out of it.
//!
//! Reading order: this file (layout and attributes), [`record`] (writing one record), [`header`] (writing and reading the fixed
//! part, checksums), [`reader`] (batches out of a blob, records out of a batch), [`control`] (transaction markers).
//! Nothing here holds a batch: buffers belong to the caller.

use std::ops::Range;

use thiserror::Error;

use crate::compression::DecompressError;

mod checksum;
pub mod control;
pub mod header;
pub mod reader;
pub mod record;

pub use control::{ControlType, EndTransactionMarker, end_transaction_marker};
pub use header::{
    BatchHeader, HeaderFields, IllegalHeader, encode_batch, finish_crc, records_crc, set_base_offset,
    verify_crc, write_header,
};
pub use reader::{BatchView, Batches, RecordHeader, RecordView, Records, batches};
pub use record::{HeaderRef, RecordFields, batch_upper_bound, put_record, record_len, record_upper_bound};

/// How many bytes stand before the records; also the smallest legal batch (W-2).
pub const HEADER_LEN: usize = 61;
/// How many bytes the batch length does not count: itself and the base offset.
pub const LENGTH_OVERHEAD: usize = 12;
/// The number of this batch format.
pub const MAGIC: i8 = 2;

/// Where the base offset stands.
pub const BASE_OFFSET: Range<usize> = 0..8;
/// Where the batch length stands.
pub const BATCH_LENGTH: Range<usize> = 8..12;
/// Where the partition leader epoch stands.
pub const PARTITION_LEADER_EPOCH: Range<usize> = 12..16;
/// Where the number of the format stands.
pub const MAGIC_AT: usize = 16;
/// Where the checksum stands.
pub const CRC: Range<usize> = 17..21;
/// Where the attributes stand; the checksum covers everything from here (W-1).
pub const ATTRIBUTES: Range<usize> = 21..23;
/// Where the offset delta of the last record stands.
pub const LAST_OFFSET_DELTA: Range<usize> = 23..27;
/// Where the timestamp of the first record stands.
pub const BASE_TIMESTAMP: Range<usize> = 27..35;
/// Where the largest timestamp stands.
pub const MAX_TIMESTAMP: Range<usize> = 35..43;
/// Where the producer id stands.
pub const PRODUCER_ID: Range<usize> = 43..51;
/// Where the producer epoch stands.
pub const PRODUCER_EPOCH: Range<usize> = 51..53;
/// Where the sequence of the first record stands.
pub const BASE_SEQUENCE: Range<usize> = 53..57;
/// Where the number of records stands.
pub const RECORD_COUNT: Range<usize> = 57..61;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// A gzip stream.
    Gzip,
    /// Snappy blocks in the framing of snappy-java.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// A zstd frame.
    Zstd,
}

impl Compression {
    /// Kafka's name of the codec.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The codec of this name, or `None` when there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
        all.into_iter().find(|codec| codec.name() == name)
    }

    const fn bits(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }
}

/// What the timestamps of a batch mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's time.
    #[default]
    CreateTime,
    /// The time at which the broker wrote the batch, which replaces those of its records.
    LogAppendTime,
}

/// The sixteen bits that say how a batch is to be read (W-3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// A batch of data without a transaction, compressed like this.
    pub const fn new(compression: Compression) -> Self {
        Self(compression.bits())
    }

    /// The attributes of these bits.
    pub const fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    /// The bits as they travel.
    pub const fn bits(self) -> i16 {
        self.0
    }

    /// The same, as part of a transaction.
    #[must_use]
    pub const fn transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// The same, as a control batch.
    #[must_use]
    pub const fn control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }

    /// The same with another meaning of the timestamps.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The codec, or an error for one that this crate does not know.
    pub const fn compression(self) -> Result<Compression, BatchError> {
        match self.0 & Self::COMPRESSION {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            codec => Err(BatchError::UnknownCompression(codec)),
        }
    }

    /// What the timestamps mean.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch is part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch carries a marker instead of data.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time after which tombstones may be deleted.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// Why bytes could not be read as a batch or as a record (W-2, W-16).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than the smallest legal batch has.
    #[error("a batch of {0} bytes is shorter than its header")]
    TooShort(usize),
    /// The batch declares more bytes than there are.
    #[error("a batch declares {declared} bytes and {present} are there")]
    Incomplete {
        /// The length that the batch declares, all of it.
        declared: usize,
        /// How many bytes there are.
        present: usize,
    },
    /// The batch declares fewer bytes than its header has.
    #[error("a batch declares the length {0}")]
    BadLength(i32),
    /// Another batch format.
    #[error("a batch has the format {0} instead of 2")]
    UnknownMagic(i8),
    /// The checksum does not fit the bytes.
    #[error("a batch has the checksum {computed:#010x} and declares {declared:#010x}")]
    WrongCrc {
        /// What the batch says.
        declared: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Fewer than no records.
    #[error("a batch declares {0} records")]
    NegativeRecordCount(i32),
    /// A codec that this crate does not know.
    #[error("a batch is compressed with the unknown codec {0}")]
    UnknownCompression(i16),
    /// The compressed records cannot be expanded.
    #[error("the records of a {codec} batch cannot be expanded: {error}")]
    Decompression {
        /// The name of the codec.
        codec: &'static str,
        /// What went wrong.
        error: DecompressError,
    },
    /// The declared number of records does not use up the bytes exactly.
    #[error("{0} bytes are left behind the last record of a batch")]
    BytesBehindRecords(usize),
    /// A record that contradicts itself.
    #[error("record {record} of a batch is not valid: {problem}")]
    BadRecord {
        /// The place of the record in its batch, from 0.
        record: u32,
        /// What is wrong with it.
        problem: RecordProblem,
    },
    /// A control record whose key or value is too short or has a negative version.
    #[error("a control record has a bad key or value")]
    BadControlRecord,
}

/// What can be wrong with a record (W-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordProblem {
    /// A length or a number reaches beyond the end of the record or of the batch.
    #[error("a length reaches beyond the end")]
    BeyondEnd,
    /// A variable-length number has too many bytes or bits.
    #[error("a variable-length number is too long")]
    VarintTooLong,
    /// The record declares a negative length.
    #[error("its length is negative")]
    NegativeLength,
    /// A header without a key.
    #[error("a header has no key")]
    NullHeaderKey,
    /// Fewer than no headers, or more headers than bytes.
    #[error("its number of headers is impossible")]
    BadHeaderCount,
    /// Bytes between the last header and the end of the record.
    #[error("bytes are left behind its last header")]
    TrailingBytes,
}

#[cfg(test)]
mod tests;
