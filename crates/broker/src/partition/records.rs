//! The records inside a batch that a client sent: their number, keys and timestamps are checked, their values are not looked at (B-31, B-33).
//!
//! Walks over the bytes itself, and allocates only to expand a compressed batch.

use bytes::{Bytes, BytesMut};
use kommit_protocol::batch::{self, ATTRIBUTES, Compression, HEADER_LEN, MAX_TIMESTAMP};
use kommit_protocol::compression::decompress;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::Timestamp;

use super::incoming::{IncomingBatch, Refusal};
use crate::config::{CleanupPolicy, TimestampType, TopicConfig};

/// The most bytes that a compressed batch may expand to while it is checked.
const LARGEST_EXPANSION: usize = 256 * 1024 * 1024;
/// The most bad records that an answer lists.
const MOST_RECORD_ERRORS: usize = 1000;
const TIMESTAMP_TYPE_BIT: u8 = 0x08;

/// What the checks look at.
struct Record {
    timestamp: i64,
    offset_delta: i32,
    key: Key,
}

enum Key {
    Null,
    Present,
}

/// The checks of all records, and the latest of their times. The first failing check of a record counts, the key's before the timestamp's.
pub(super) fn check(
    incoming: &IncomingBatch,
    config: &TopicConfig,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let mut latest = Timestamp::NONE;
    let mut bad = Vec::new();
    let mut has_bad_timestamp = false;
    let mut index = 0;
    walk(incoming, |record| {
        latest = latest.max(Timestamp(record.timestamp));
        if let Some((code, text)) = problem(&record, incoming, config, now) {
            has_bad_timestamp |= code == ErrorCode::InvalidTimestamp;
            if bad.len() < MOST_RECORD_ERRORS {
                bad.push((index, text));
            }
        }
        index += 1;
    })?;
    if bad.is_empty() {
        return Ok(latest);
    }
    let code = if has_bad_timestamp {
        ErrorCode::InvalidTimestamp
    } else {
        ErrorCode::InvalidRecord
    };
    Err(Refusal {
        records: bad,
        ..Refusal::shown(code)
    })
}

fn problem(
    record: &Record,
    incoming: &IncomingBatch,
    config: &TopicConfig,
    now: Timestamp,
) -> Option<(ErrorCode, &'static str)> {
    if config.cleanup_policy == CleanupPolicy::Compact && matches!(record.key, Key::Null) {
        return Some((
            ErrorCode::InvalidRecord,
            "a record of a compacted topic needs a key",
        ));
    }
    let is_create_time = config.timestamp_type == TimestampType::CreateTime;
    let has_timestamp = record.timestamp != Timestamp::NONE.0;
    if incoming.claims_append_time() && !(is_create_time && has_timestamp) {
        return Some((
            ErrorCode::InvalidTimestamp,
            "the timestamp type of a produced batch must be create time",
        ));
    }
    if !is_create_time || !has_timestamp {
        return None;
    }
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let earliest = now.0.saturating_sub(millis(config.timestamp_before_max));
    let latest = now.0.saturating_add(millis(config.timestamp_after_max));
    (record.timestamp < earliest || record.timestamp > latest).then_some((
        ErrorCode::InvalidTimestamp,
        "the timestamp is outside the range that the topic accepts",
    ))
}

/// Reads every record. Those of a compressed batch must also be numbered from 0; the numbers in an uncompressed one do not count (B-32).
fn walk(incoming: &IncomingBatch, mut each: impl FnMut(Record)) -> Result<(), Refusal> {
    let invalid = || Refusal::shown(ErrorCode::InvalidRecord);
    let codec = incoming.codec().unwrap_or(Compression::None);
    let records = expanded(codec, &incoming.records())?;
    let mut rest = &records[..];
    for index in 0..incoming.record_count() {
        let record = match codec {
            Compression::None => take_record(&mut rest, incoming.base_timestamp())?,
            _ => take_expanded_record(&mut rest, incoming.base_timestamp())?,
        };
        if codec != Compression::None && u32::try_from(record.offset_delta) != Ok(index) {
            return Err(Refusal::shown(ErrorCode::UnknownServerError));
        }
        each(record);
    }
    rest.is_empty().then_some(()).ok_or_else(invalid)
}

/// The records as they were before they were compressed. Of the codecs, only zstd takes no bytes for no records.
fn expanded(codec: Compression, stored: &Bytes) -> Result<Bytes, Refusal> {
    match codec {
        Compression::None => Ok(stored.clone()),
        Compression::Zstd if stored.is_empty() => Ok(Bytes::new()),
        _ if stored.is_empty() => Err(Refusal::shown(ErrorCode::UnknownServerError)),
        _ => decompress(codec, stored, LARGEST_EXPANSION)
            .map_err(|_| Refusal::shown(ErrorCode::UnknownServerError)),
    }
}

/// Length, attributes, timestamp delta, offset delta, key, value, headers: the parts must fill the length.
fn take_record(rest: &mut &[u8], base_timestamp: i64) -> Result<Record, Refusal> {
    let invalid = || Refusal::shown(ErrorCode::InvalidRecord);
    let len = match take_varint(rest) {
        Ok(len) => usize::try_from(len).map_err(|_| invalid())?,
        Err(Broken::Cut) => return Err(invalid()),
        Err(Broken::Endless) => return Err(Refusal::shown(ErrorCode::UnknownServerError)),
    };
    let (body, behind) = rest.split_at_checked(len).ok_or_else(invalid)?;
    *rest = behind;
    let mut body = body;
    let record = take_body(&mut body, base_timestamp).map_err(|_| invalid())?;
    body.is_empty().then_some(record).ok_or_else(invalid)
}

/// A record of a compressed batch: Kafka goes by its parts alone, whatever its length says.
fn take_expanded_record(rest: &mut &[u8], base_timestamp: i64) -> Result<Record, Refusal> {
    take_varint(rest)
        .and_then(|_| take_body(rest, base_timestamp))
        .map_err(|_| Refusal::shown(ErrorCode::InvalidRecord))
}

fn take_body(body: &mut &[u8], base_timestamp: i64) -> Result<Record, Broken> {
    take_bytes(body, 1)?;
    let timestamp = base_timestamp.wrapping_add(take_varlong(body)?);
    let offset_delta = take_varint(body)?;
    let key_len = take_varint(body)?;
    take_bytes(body, key_len)?;
    let value_len = take_varint(body)?;
    take_bytes(body, value_len)?;
    let headers = u32::try_from(take_varint(body)?).map_err(|_| Broken::Cut)?;
    for _ in 0..headers {
        let name_len = take_varint(body)?;
        u32::try_from(name_len).map_err(|_| Broken::Cut)?;
        take_bytes(body, name_len)?;
        let value_len = take_varint(body)?;
        take_bytes(body, value_len)?;
    }
    Ok(Record {
        timestamp,
        offset_delta,
        key: if key_len < 0 { Key::Null } else { Key::Present },
    })
}

/// Why a number or a length cannot be read.
enum Broken {
    /// The bytes end before it.
    Cut,
    /// It has more bytes than any number.
    Endless,
}

/// Skips so many bytes; none for the negative length of null.
fn take_bytes(bytes: &mut &[u8], len: i32) -> Result<(), Broken> {
    let len = usize::try_from(len).unwrap_or(0);
    *bytes = bytes.get(len..).ok_or(Broken::Cut)?;
    Ok(())
}

/// A zigzag number of at most five bytes.
fn take_varint(bytes: &mut &[u8]) -> Result<i32, Broken> {
    let value = take_unsigned(bytes, 5)? as u32;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// A zigzag number of at most ten bytes.
fn take_varlong(bytes: &mut &[u8]) -> Result<i64, Broken> {
    let value = take_unsigned(bytes, 10)?;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

fn take_unsigned(bytes: &mut &[u8], most_bytes: u32) -> Result<u64, Broken> {
    let mut value = 0_u64;
    for place in 0..most_bytes {
        let (byte, rest) = bytes.split_first().ok_or(Broken::Cut)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken::Endless)
}

/// The latest of the records' times replaces what the client wrote into the header.
pub(super) fn stamp_latest(batch: &mut BytesMut, latest: Timestamp) {
    if let Some(max_timestamp) = batch.get_mut(MAX_TIMESTAMP) {
        max_timestamp.copy_from_slice(&latest.0.to_be_bytes());
    }
    finish(batch);
}

/// B-34: the batch of a log-append-time topic gets the broker's time, and a new checksum.
pub(super) fn stamp_append_time(batch: &mut BytesMut, time: Timestamp) {
    if let Some(max_timestamp) = batch.get_mut(MAX_TIMESTAMP) {
        max_timestamp.copy_from_slice(&time.0.to_be_bytes());
    }
    if let Some(attributes) = batch.get_mut(ATTRIBUTES.start + 1) {
        *attributes |= TIMESTAMP_TYPE_BIT;
    }
    finish(batch);
}

/// B-33: on a create-time topic the client's timestamp type does not count.
pub(super) fn clear_timestamp_type(batch: &mut BytesMut) {
    if let Some(attributes) = batch.get_mut(ATTRIBUTES.start + 1) {
        *attributes &= !TIMESTAMP_TYPE_BIT;
    }
    finish(batch);
}

fn finish(batch: &mut BytesMut) {
    let records = batch::records_crc(batch.get(HEADER_LEN..).unwrap_or_default());
    batch::finish_crc(batch, records);
}
