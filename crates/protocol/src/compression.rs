//! The codecs of record batches, in pure Rust: the records of a batch become one compressed stream and come back from it (W-4, W-12).
//!
//! Expanding is bounded twice: by what the caller allows, and by the largest ratio that any of the codecs can reach. Compressing
//! happens where a batch is closed, never in a core. Levels are followed by gzip and zstd: the encoder of lz4 has one, the fast one. What comes
//! from outside is expanded by another library than the one that compresses, so that neither's mistakes can hide in the other.

use std::io::{Read, Write};

use bytes::Bytes;
use structured_zstd::encoding as zstd_encoder;
use thiserror::Error;

use crate::batch::Compression;

mod snappy;

/// No codec turns a byte into more than about 32 KiB (a run of zstd); what claims more is an attack.
const LARGEST_RATIO: usize = 1 << 16;
/// The largest window that a zstd frame may ask for: what the reference encoder uses up to its level 19.
const ZSTD_WINDOW: u64 = 8 << 20;

/// Why compressed records could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecompressError {
    /// They would be larger than allowed.
    #[error("they expand to more than {0} bytes")]
    TooLarge(usize),
    /// They are not what the codec writes.
    #[error("{0}")]
    Malformed(String),
}

impl DecompressError {
    fn malformed(error: impl ToString) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Compresses the concatenated records of a batch. `level` is the codec's own scale; `None` is its default.
pub fn compress(codec: Compression, level: Option<i32>, records: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => records.to_vec(),
        Compression::Gzip => gzip(level, records),
        Compression::Snappy => snappy::compress(records),
        Compression::Lz4 => lz4(records),
        Compression::Zstd => zstd(level, records),
    }
}

/// Expands the records of a batch to at most `max_len` bytes.
pub fn decompress(codec: Compression, stored: &Bytes, max_len: usize) -> Result<Bytes, DecompressError> {
    let max_len = max_len.min(stored.len().saturating_mul(LARGEST_RATIO));
    match codec {
        Compression::None => Ok(stored.clone()),
        Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(&stored[..]), max_len),
        Compression::Snappy => snappy::decompress(stored, max_len).map(Bytes::from),
        Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(&stored[..]), max_len),
        Compression::Zstd => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&stored[..], ZSTD_WINDOW);
            read_bounded(decoder.map_err(DecompressError::malformed)?, max_len)
        }
    }
}

/// Reads to the end, one byte past the limit at most.
fn read_bounded(reader: impl Read, max_len: usize) -> Result<Bytes, DecompressError> {
    let mut records = Vec::new();
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(limit)
        .read_to_end(&mut records)
        .map_err(DecompressError::malformed)?;
    if records.len() > max_len {
        return Err(DecompressError::TooLarge(max_len));
    }
    Ok(Bytes::from(records))
}

fn zstd(level: Option<i32>, records: &[u8]) -> Vec<u8> {
    let level = level.map_or(
        zstd_encoder::CompressionLevel::Default,
        zstd_encoder::CompressionLevel::from_level,
    );
    zstd_encoder::compress_slice_to_vec(records, level)
}

fn gzip(level: Option<i32>, records: &[u8]) -> Vec<u8> {
    let level = level
        .and_then(|level| u32::try_from(level).ok())
        .map_or_else(flate2::Compression::default, |level| {
            flate2::Compression::new(level.min(9))
        });
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    in_memory(encoder.write_all(records));
    in_memory(encoder.finish())
}

/// W-12: independent blocks of 64 KiB, no checksums but the header's, no content size.
fn lz4(records: &[u8]) -> Vec<u8> {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    in_memory(encoder.write_all(records));
    in_memory(encoder.finish())
}

fn in_memory<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.expect("an encoder that writes into memory cannot fail")
}

#[cfg(test)]
mod tests;
