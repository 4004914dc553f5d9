//! The records inside a batch that a client sent: their number, keys and timestamps are checked, their values are not looked at (B-31, B-33).
//!
//! Walks over the bytes itself and allocates nothing. A compressed batch whose codec is not built in is taken as it is.

use bytes::BytesMut;
use kommit_protocol::batch::{self, ATTRIBUTES, BatchView, HEADER_LEN, MAX_TIMESTAMP};
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
    key: Key,
}

enum Key {
    Null,
    Present,
}

/// The checks of all records. The first failing check of a record counts, the key's before the timestamp's.
pub(super) fn check(incoming: &IncomingBatch, config: &TopicConfig, now: Timestamp) -> Result<(), Refusal> {
    let mut bad = Vec::new();
    let mut has_bad_timestamp = false;
    let mut index = 0;
    walk(incoming, |record| {
        if let Some((code, text)) = problem(&record, incoming, config, now) {
            has_bad_timestamp |= code == ErrorCode::InvalidTimestamp;
            if bad.len() < MOST_RECORD_ERRORS {
                bad.push((index, text));
            }
        }
        index += 1;
    })?;
    if bad.is_empty() {
        return Ok(());
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

fn walk(incoming: &IncomingBatch, mut each: impl FnMut(Record)) -> Result<(), Refusal> {
    if incoming.is_compressed() {
        return walk_compressed(incoming, each);
    }
    let mut rest = incoming.records();
    for _ in 0..incoming.record_count() {
        let record = take_record(&mut rest, incoming.base_timestamp());
        each(record.ok_or(Refusal::shown(ErrorCode::InvalidRecord))?);
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Refusal::shown(ErrorCode::InvalidRecord))
    }
}

fn walk_compressed(incoming: &IncomingBatch, mut each: impl FnMut(Record)) -> Result<(), Refusal> {
    let records = BatchView::parse(&incoming.bytes).and_then(|view| view.records(LARGEST_EXPANSION));
    let Ok(records) = records else { return Ok(()) };
    for record in records {
        let record = record.map_err(|_| Refusal::shown(ErrorCode::InvalidRecord))?;
        let key = if record.key.is_some() {
            Key::Present
        } else {
            Key::Null
        };
        each(Record {
            timestamp: record.timestamp.0,
            key,
        });
    }
    Ok(())
}

/// Length, attributes, timestamp delta, offset delta, key length: what follows is skipped by the length.
fn take_record(rest: &mut &[u8], base_timestamp: i64) -> Option<Record> {
    let len = usize::try_from(take_varint(rest)?).ok()?;
    let (mut body, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    body = body.get(1..)?;
    let timestamp = base_timestamp.wrapping_add(take_varint(&mut body)?);
    take_varint(&mut body)?;
    let key_len = take_varint(&mut body)?;
    let key = if key_len < 0 { Key::Null } else { Key::Present };
    body.get(usize::try_from(key_len).unwrap_or(0)..)?;
    Some(Record { timestamp, key })
}

/// A zigzag varint of at most ten bytes.
fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
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
