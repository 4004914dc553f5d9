//! Writing one record: the hot path of every application task. Never allocates when the buffer has room.

use crate::wire::{signed_varint_len, zigzag64};

use super::HEADER_LEN;

/// One header of a record, borrowed from the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    /// The key; keys may repeat, and their order is kept (W-7).
    pub key: &'a str,
    /// The value, which may be null.
    pub value: Option<&'a [u8]>,
}

/// A record as its batch stores it (W-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFields<'a> {
    /// How many offsets the record is behind the first one of the batch.
    pub offset_delta: i32,
    /// How many milliseconds the record is later than the first one; may be negative.
    pub timestamp_delta: i64,
    /// The key, which may be null.
    pub key: Option<&'a [u8]>,
    /// The value, which may be null.
    pub value: Option<&'a [u8]>,
    /// The headers in the order of the application.
    pub headers: &'a [HeaderRef<'a>],
}

/// The largest overhead of a record without headers: length, attributes, timestamp delta, offset delta (W-17).
const LARGEST_OVERHEAD: usize = 5 + 1 + 10 + 5;
/// Room for all numbers that can stand in front of the application's first byte, at their longest: the overhead with a length of ten
/// bytes instead of five, the length of the key and that of the value.
const PREFIX_LEN: usize = LARGEST_OVERHEAD + 5 + 10 + 10;

/// How many bytes [`put_record`] writes for `record`, exactly.
#[inline]
pub fn record_len(record: &RecordFields<'_>) -> usize {
    let body = body_len(record);
    varint_len(body) + body
}

/// At least as many bytes as a record of these sizes takes at any place of a batch.
#[inline]
pub fn record_upper_bound(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderRef<'_>]) -> usize {
    LARGEST_OVERHEAD + fields_len(key, value, headers)
}

/// At least as many bytes as a batch takes that holds this record alone (A-10, W-17).
#[inline]
pub fn batch_upper_bound(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderRef<'_>]) -> usize {
    HEADER_LEN + record_upper_bound(key, value, headers)
}

/// Appends `record` to `buf` and returns how many bytes that took. `buf` does not grow when it has room for [`record_len`] bytes.
#[inline]
pub fn put_record(buf: &mut Vec<u8>, record: &RecordFields<'_>) -> usize {
    let before = buf.len();
    let body = body_len(record);
    let mut prefix = Prefix {
        bytes: [0; PREFIX_LEN],
        len: 0,
    };
    prefix.put_varint(body as i64);
    prefix.put_byte(0);
    prefix.put_varint(record.timestamp_delta);
    prefix.put_varint(i64::from(record.offset_delta));
    prefix.put_len_of(record.key);
    if let Some(key) = record.key {
        prefix.append_to(buf);
        buf.extend_from_slice(key);
        prefix.len = 0;
    }
    prefix.put_len_of(record.value);
    prefix.append_to(buf);
    buf.extend_from_slice(record.value.unwrap_or_default());
    put_headers(buf, record.headers);
    debug_assert_eq!(
        buf.len() - before,
        varint_len(body) + body,
        "the computed length is exact"
    );
    buf.len() - before
}

fn put_headers(buf: &mut Vec<u8>, headers: &[HeaderRef<'_>]) {
    if headers.is_empty() {
        return buf.push(0);
    }
    put_varint(buf, headers.len() as i64);
    for header in headers {
        put_nullable(buf, Some(header.key.as_bytes()));
        put_nullable(buf, header.value);
    }
}

#[inline]
fn body_len(record: &RecordFields<'_>) -> usize {
    1 + signed_varint_len(record.timestamp_delta)
        + signed_varint_len(i64::from(record.offset_delta))
        + fields_len(record.key, record.value, record.headers)
}

#[inline]
fn fields_len(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderRef<'_>]) -> usize {
    let own = nullable_len(key) + nullable_len(value);
    if headers.is_empty() {
        return own + 1;
    }
    let headers_len: usize = headers
        .iter()
        .map(|header| nullable_len(Some(header.key.as_bytes())) + nullable_len(header.value))
        .sum();
    own + varint_len(headers.len()) + headers_len
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(bytes.len()) + bytes.len())
}

/// The length of a varint that holds a length. No slice is longer than `i64::MAX` bytes.
fn varint_len(len: usize) -> usize {
    signed_varint_len(len as i64)
}

fn put_nullable(buf: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(buf, bytes.map_or(-1, |bytes| bytes.len() as i64));
    buf.extend_from_slice(bytes.unwrap_or_default());
}

fn put_varint(buf: &mut Vec<u8>, value: i64) {
    let mut prefix = Prefix {
        bytes: [0; 10],
        len: 0,
    };
    prefix.put_varint(value);
    prefix.append_to(buf);
}

/// Numbers collected on the stack, so that the buffer is extended once for all of them.
struct Prefix<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Prefix<N> {
    #[inline]
    fn put_byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn put_varint(&mut self, value: i64) {
        let mut rest = zigzag64(value);
        while rest >= 0x80 {
            self.put_byte(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.put_byte(rest as u8);
    }

    fn put_len_of(&mut self, bytes: Option<&[u8]>) {
        self.put_varint(bytes.map_or(-1, |bytes| bytes.len() as i64));
    }

    /// Where there is room, by a copy of fixed size, which costs a few instructions; one of as many bytes as there are is a call.
    #[inline]
    fn append_to(&self, buf: &mut Vec<u8>) {
        let end = buf.len() + self.len;
        if buf.capacity() - buf.len() >= N {
            buf.extend_from_slice(&self.bytes);
            buf.truncate(end);
        } else {
            buf.extend_from_slice(&self.bytes[..self.len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key";

    fn headers() -> [HeaderRef<'static>; 3] {
        [
            HeaderRef {
                key: "a",
                value: Some(b"1"),
            },
            HeaderRef {
                key: "a",
                value: None,
            },
            HeaderRef {
                key: "",
                value: Some(b""),
            },
        ]
    }

    fn record<'a>(delta: i64, value: Option<&'a [u8]>, headers: &'a [HeaderRef<'a>]) -> RecordFields<'a> {
        RecordFields {
            offset_delta: 3,
            timestamp_delta: delta,
            key: Some(KEY),
            value,
            headers,
        }
    }

    /// W-5, W-6: the bytes of a record, one by one.
    #[test]
    fn a_record_is_laid_out_as_the_format_says() {
        let headers = [HeaderRef {
            key: "h",
            value: None,
        }];
        let mut buf = Vec::new();
        put_record(&mut buf, &record(-1, None, &headers));
        assert_eq!(buf, [24, 0, 1, 6, 6, b'k', b'e', b'y', 1, 2, 2, b'h', 1]);
    }

    /// a record is exactly as long as announced, and never longer than its upper bound.
    #[test]
    fn lengths_are_exact_and_bounds_hold() {
        let headers = headers();
        for len in [0, 1, 63, 64, 8191, 8192, 1 << 20] {
            for delta in [0, -1, 64, i64::MAX, i64::MIN] {
                let value = vec![7; len];
                let record = record(delta, Some(&value), &headers);
                let mut buf = Vec::with_capacity(record_len(&record));
                let capacity = buf.capacity();
                assert_eq!(put_record(&mut buf, &record), buf.len());
                assert_eq!(buf.len(), record_len(&record));
                assert_eq!(buf.capacity(), capacity, "the buffer did not grow");
                assert!(buf.len() <= record_upper_bound(record.key, record.value, &headers));
            }
        }
    }

    /// W-17: 61 + 21 + the sizes.
    #[test]
    fn the_bound_of_a_batch_counts_header_and_overhead() {
        assert_eq!(batch_upper_bound(None, None, &[]), 61 + 21 + 3);
    }
}
