//! The writing side: appends fields to a growing buffer.

use bytes::{BufMut, Bytes, BytesMut};

use super::Version;

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    pub(super) bytes: BytesMut,
}

impl Writer {
    /// A writer with room for `capacity` bytes before it has to grow.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(capacity),
        }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    /// Takes what was written so far; the writer goes on behind it in the same memory.
    pub fn split(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    /// Writes bytes as they are.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    /// Writes an unsigned base-128 number, least significant group first (W-6).
    pub fn put_unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    /// Overwrites four bytes that were written earlier: a length that is known only now.
    pub(crate) fn set_i32(&mut self, at: usize, value: i32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Writes the length of bytes or the count of an array. A length that the field cannot express is beyond every frame limit.
    pub(crate) fn put_len(&mut self, len: Option<usize>, version: Version) {
        if version.flexible {
            let raw = len.map_or(0, |len| u32::try_from(len.saturating_add(1)).unwrap_or(u32::MAX));
            self.put_unsigned_varint(raw);
        } else {
            self.bytes
                .put_i32(len.map_or(-1, |len| i32::try_from(len).unwrap_or(i32::MAX)));
        }
    }

    /// Writes a string. A version that is not flexible cannot express more than 32,767 bytes; a longer text is cut there, and
    /// whoever builds the message has to refuse it earlier.
    pub(crate) fn put_string(&mut self, text: Option<&str>, version: Version) {
        if version.flexible {
            self.put_len(text.map(str::len), version);
            self.bytes.put_slice(text.unwrap_or_default().as_bytes());
            return;
        }
        let Some(text) = text else {
            return self.bytes.put_i16(-1);
        };
        let mut end = text.len().min(i16::MAX as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes.put_u16(end as u16);
        self.bytes.put_slice(&text.as_bytes()[..end]);
    }

    pub(super) fn put_byte_string(&mut self, bytes: Option<&Bytes>, version: Version) {
        self.put_len(bytes.map(Bytes::len), version);
        self.bytes.put_slice(bytes.map_or(&[], |bytes| bytes));
    }
}

/// Folds the sign into the lowest bit, so that small numbers of either sign stay short.
pub const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

/// [`zigzag32`] for 64 bits.
pub const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes the base-128 form of `value` takes.
pub const fn unsigned_varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// How many bytes the zigzag base-128 form of `value` takes.
pub const fn signed_varint_len(value: i64) -> usize {
    unsigned_varint_len(zigzag64(value))
}
