//! The reading side: a cursor over the bytes of one frame that never runs past their end.

use bytes::{Buf, Bytes};
use thiserror::Error;

use super::{Field, Version};

/// Why bytes could not be read as a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("field {field} at byte {at}: {problem}")]
pub struct DecodeError {
    /// The innermost field that was being read; empty outside of messages.
    pub field: &'static str,
    /// How many bytes of the frame were read before.
    pub at: usize,
    /// What was wrong.
    pub problem: Problem,
}

impl DecodeError {
    /// The same error with the name of the field, unless an inner field has given its name.
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

/// What can be wrong with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The bytes end before the field does.
    #[error("{needed} bytes are needed and {remaining} are left")]
    Truncated {
        /// How long the field is.
        needed: usize,
        /// How many bytes there are.
        remaining: usize,
    },
    /// A count that the remaining bytes cannot hold.
    #[error("{count} elements are declared and {remaining} bytes are left")]
    CountBeyondEnd {
        /// The declared count.
        count: usize,
        /// How many bytes there are.
        remaining: usize,
    },
    /// A variable-length number of more bytes or bits than its type has.
    #[error("a variable-length number is too long")]
    VarintTooLong,
    /// Null in a place where this version has no null.
    #[error("null is not allowed here")]
    NullNotAllowed,
    /// Far more elements than any message of this length has, each as short as can be: in memory they would be large.
    #[error("more than {0} bytes of memory are needed for it")]
    TooMuchMemory(usize),
    /// More tagged fields than any structure has.
    #[error("{0} tagged fields are declared")]
    TooManyTaggedFields(u32),
    /// A version that the message has no layout for.
    #[error("version {0} is not known")]
    UnknownVersion(i16),
}

/// How many bytes of memory each byte of a frame may become, and how many there may be besides. Messages stay below three per byte unless
/// their names are empty; while an array grows, it can be there twice.
const MEMORY_PER_BYTE: usize = 9;
const MEMORY_BESIDES: usize = 32 << 10;
/// No structure has more tagged fields.
const MAX_TAGGED_FIELDS: u32 = 1_024;

/// A bounded cursor over the bytes of one frame. Byte fields share the frame's memory.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) bytes: Bytes,
    len: usize,
    /// How much memory arrays and texts may still take.
    memory: usize,
}

impl Reader {
    /// A reader at the beginning of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        let len = bytes.len();
        Self {
            bytes,
            len,
            memory: Self::allowance(len),
        }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that are left.
    pub fn into_rest(self) -> Bytes {
        self.bytes
    }

    /// An error at the present place.
    pub fn error(&self, problem: Problem) -> DecodeError {
        DecodeError {
            field: "",
            at: self.len - self.bytes.len(),
            problem,
        }
    }

    /// Reads a field, naming it in errors.
    pub fn take<T: Field>(&mut self, field: &'static str, version: Version) -> Result<T, DecodeError> {
        T::decode(self, version).map_err(|error| error.in_field(field))
    }

    /// Reads an unsigned base-128 number of at most five bytes (W-6).
    pub fn take_unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let Some(&byte) = self.bytes.first() else {
                return Err(self.error(Problem::Truncated {
                    needed: 1,
                    remaining: 0,
                }));
            };
            if shift == 28 && byte > 0x0f {
                break;
            }
            self.bytes.advance(1);
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(Problem::VarintTooLong))
    }

    /// Reads the tagged fields that end a structure. `known` reads the value of a tag it knows; other tags are passed over.
    pub fn take_tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.take_unsigned_varint()?;
        if count > MAX_TAGGED_FIELDS {
            return Err(self.error(Problem::TooManyTaggedFields(count)));
        }
        for _ in 0..count {
            let tag = self.take_unsigned_varint()?;
            let size = usize::try_from(self.take_unsigned_varint()?).unwrap_or(usize::MAX);
            self.need(size)?;
            let end = self.len - self.bytes.len() + size;
            let mut value = Reader {
                bytes: self.bytes.split_to(size),
                len: end,
                memory: self.memory,
            };
            known(tag, &mut value)?;
            self.memory = value.memory;
        }
        Ok(())
    }

    /// Fails unless `needed` bytes are left.
    pub(super) fn need(&self, needed: usize) -> Result<(), DecodeError> {
        if needed <= self.bytes.len() {
            return Ok(());
        }
        Err(self.error(Problem::Truncated {
            needed,
            remaining: self.bytes.len(),
        }))
    }

    /// Fails when arrays and texts together take more memory than a frame of this length justifies.
    pub(super) fn account_for(&mut self, memory: usize) -> Result<(), DecodeError> {
        match self.memory.checked_sub(memory) {
            Some(left) => self.memory = left,
            None => return Err(self.error(Problem::TooMuchMemory(Self::allowance(self.len)))),
        }
        Ok(())
    }

    fn allowance(len: usize) -> usize {
        len.saturating_mul(MEMORY_PER_BYTE).saturating_add(MEMORY_BESIDES)
    }

    /// The length of bytes or the count of an array: four bytes, or compact. A negative one is null (B-12).
    pub(super) fn take_len(&mut self, version: Version) -> Result<Option<usize>, DecodeError> {
        if version.flexible {
            return self.take_compact_len();
        }
        self.need(4)?;
        Ok(usize::try_from(self.bytes.get_i32()).ok())
    }

    /// The length of a string of a version that is not flexible.
    pub(super) fn take_len_16(&mut self) -> Result<Option<usize>, DecodeError> {
        self.need(2)?;
        Ok(usize::try_from(self.bytes.get_i16()).ok())
    }

    /// A compact length: one more than the length, or 0 for null.
    pub(super) fn take_compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let raw = self.take_unsigned_varint()?;
        Ok(raw
            .checked_sub(1)
            .map(|len| usize::try_from(len).unwrap_or(usize::MAX)))
    }
}
