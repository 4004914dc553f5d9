//! Bounded reading and writing of primitive fields: how a message becomes bytes, and the reverse.
//!
//! Nothing here trusts a count or a length that came from outside: it is compared with the bytes that are left before anything
//! is allocated. Nothing here knows which messages exist.

use std::ops::RangeBounds;

use bytes::{Buf, BufMut, Bytes};

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};

mod reader;
mod writer;

pub use reader::{DecodeError, Problem, Reader};
pub use writer::{Writer, signed_varint_len, unsigned_varint_len, zigzag32, zigzag64};

/// A version of a request, together with the question whether that version is flexible (compact lengths and tagged fields, KIP-482).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The number of the version.
    pub number: i16,
    /// Whether lengths are compact and every structure ends with tagged fields.
    pub flexible: bool,
}

impl Version {
    /// Whether the version is one of `range`.
    pub fn is_in(self, range: impl RangeBounds<i16>) -> bool {
        range.contains(&self.number)
    }
}

/// A value that has a place in a message: it can be written and read in every version of that message.
pub trait Field: Sized {
    /// Writes the value as `version` lays it out.
    fn encode(&self, w: &mut Writer, version: Version);

    /// Reads a value as `version` lays it out.
    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError>;

    /// The least number of bytes that a value takes; what a declared count of elements is checked against.
    fn min_len(version: Version) -> usize;
}

/// Writes a nullable field in a version that has no null for it: an absent value becomes the empty one.
pub(crate) fn encode_not_null<T: Field + Default>(value: &Option<T>, w: &mut Writer, version: Version) {
    match value {
        Some(value) => value.encode(w, version),
        None => T::default().encode(w, version),
    }
}

/// Reads a nullable field in a version that has no null for it.
pub(crate) fn decode_not_null<T: Field>(r: &mut Reader, version: Version) -> Result<Option<T>, DecodeError> {
    T::decode(r, version).map(Some)
}

/// Whether a row of a message table has no tag, which makes it a field at a fixed place.
pub(crate) const fn is_untagged(tags: &[u32]) -> bool {
    tags.is_empty()
}

/// Leaves a tagged field unread that this crate does not know: it is newer.
pub(crate) fn pass_over(_tag: u32, _value: &mut Reader) -> Result<(), DecodeError> {
    Ok(())
}

macro_rules! number_field {
    ($($number:ty: $put:ident, $take:ident;)*) => {$(
        impl Field for $number {
            fn encode(&self, w: &mut Writer, _version: Version) {
                w.bytes.$put(*self);
            }

            fn decode(r: &mut Reader, _version: Version) -> Result<Self, DecodeError> {
                r.need(size_of::<$number>())?;
                Ok(r.bytes.$take())
            }

            fn min_len(_version: Version) -> usize {
                size_of::<$number>()
            }
        }
    )*};
}

number_field! {
    i8: put_i8, get_i8;
    i16: put_i16, get_i16;
    i32: put_i32, get_i32;
    i64: put_i64, get_i64;
    u16: put_u16, get_u16;
    u32: put_u32, get_u32;
    f64: put_f64, get_f64;
}

macro_rules! unit_field {
    ($($unit:ident($number:ty);)*) => {$(
        impl Field for $unit {
            fn encode(&self, w: &mut Writer, version: Version) {
                self.0.encode(w, version);
            }

            fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
                <$number>::decode(r, version).map($unit)
            }

            fn min_len(_version: Version) -> usize {
                size_of::<$number>()
            }
        }
    )*};
}

unit_field! {
    ProducerId(i64);
    ProducerEpoch(i16);
    Offset(i64);
    PartitionId(i32);
    NodeId(i32);
    LeaderEpoch(i32);
    Timestamp(i64);
    TopicId([u8; 16]);
}

/// A byte: 0 is false, everything else is true.
impl Field for bool {
    fn encode(&self, w: &mut Writer, _version: Version) {
        w.bytes.put_u8(u8::from(*self));
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        i8::decode(r, version).map(|byte| byte != 0)
    }

    fn min_len(_version: Version) -> usize {
        1
    }
}

/// A universally unique id: sixteen bytes as they are.
impl Field for [u8; 16] {
    fn encode(&self, w: &mut Writer, _version: Version) {
        w.bytes.put_slice(self);
    }

    fn decode(r: &mut Reader, _version: Version) -> Result<Self, DecodeError> {
        r.need(16)?;
        let mut id = [0; 16];
        r.bytes.copy_to_slice(&mut id);
        Ok(id)
    }

    fn min_len(_version: Version) -> usize {
        16
    }
}

impl Field for ErrorCode {
    fn encode(&self, w: &mut Writer, version: Version) {
        self.code().encode(w, version);
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        i16::decode(r, version).map(ErrorCode::from_code)
    }

    fn min_len(_version: Version) -> usize {
        2
    }
}

impl Field for String {
    fn encode(&self, w: &mut Writer, version: Version) {
        w.put_string(Some(self), version);
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        Option::<String>::decode(r, version)?.ok_or_else(|| r.error(Problem::NullNotAllowed))
    }

    fn min_len(version: Version) -> usize {
        if version.flexible { 1 } else { 2 }
    }
}

impl Field for Option<String> {
    fn encode(&self, w: &mut Writer, version: Version) {
        w.put_string(self.as_deref(), version);
    }

    /// Bytes that are not UTF-8 are replaced, not refused (B-12).
    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        let len = if version.flexible {
            r.take_compact_len()?
        } else {
            r.take_len_16()?
        };
        let Some(len) = len else { return Ok(None) };
        r.need(len)?;
        let text = String::from_utf8_lossy(&r.bytes[..len]).into_owned();
        r.account_for(text.capacity())?;
        r.bytes.advance(len);
        Ok(Some(text))
    }

    fn min_len(version: Version) -> usize {
        String::min_len(version)
    }
}

impl Field for Bytes {
    fn encode(&self, w: &mut Writer, version: Version) {
        w.put_byte_string(Some(self), version);
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        Option::<Bytes>::decode(r, version)?.ok_or_else(|| r.error(Problem::NullNotAllowed))
    }

    fn min_len(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }
}

/// Reading shares the frame's memory instead of copying out of it.
impl Field for Option<Bytes> {
    fn encode(&self, w: &mut Writer, version: Version) {
        w.put_byte_string(self.as_ref(), version);
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        let Some(len) = r.take_len(version)? else {
            return Ok(None);
        };
        r.need(len)?;
        Ok(Some(r.bytes.split_to(len)))
    }

    fn min_len(version: Version) -> usize {
        Bytes::min_len(version)
    }
}

impl<T: Field> Field for Vec<T> {
    fn encode(&self, w: &mut Writer, version: Version) {
        w.put_len(Some(self.len()), version);
        self.iter().for_each(|element| element.encode(w, version));
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        Option::<Vec<T>>::decode(r, version)?.ok_or_else(|| r.error(Problem::NullNotAllowed))
    }

    fn min_len(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn encode(&self, w: &mut Writer, version: Version) {
        match self {
            Some(elements) => elements.encode(w, version),
            None => w.put_len(None, version),
        }
    }

    fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
        let Some(count) = r.take_len(version)? else {
            return Ok(None);
        };
        let least = count.saturating_mul(T::min_len(version).max(1));
        if least > r.remaining() {
            return Err(r.error(Problem::CountBeyondEnd {
                count,
                remaining: r.remaining(),
            }));
        }
        let before = r.remaining();
        let mut elements = Vec::new();
        let mut capacity = first_capacity::<T>(count, before);
        for read in 0..count {
            if read == elements.capacity() {
                capacity = capacity
                    .max(next_capacity(read, before - r.remaining(), r.remaining()))
                    .min(count);
                r.account_for((capacity - read) * size_of::<T>())?;
                elements.reserve_exact(capacity - read);
            }
            elements.push(T::decode(r, version)?);
        }
        Ok(Some(elements))
    }

    fn min_len(version: Version) -> usize {
        Vec::<T>::min_len(version)
    }
}

/// For how many of `count` declared elements memory is taken before the first one is read. In memory an element can be far larger
/// than its shortest form on the wire, so this is bounded by the bytes at hand; the rest grows with elements that really came.
fn first_capacity<T>(count: usize, remaining: usize) -> usize {
    count.min(remaining / size_of::<T>().max(1))
}

/// For how many elements there is room when memory for `read` of them is used up: for all that the remaining bytes hold if the others are as
/// long as those, and in any case for half as many again, so that few of them are moved often.
fn next_capacity(read: usize, bytes_read: usize, remaining: usize) -> usize {
    let expected = read.saturating_mul(remaining) / bytes_read.max(1);
    read + expected.max(read / 2).max(1)
}

/// The tagged fields that end a structure, while they are collected (KIP-482).
#[derive(Debug, Default)]
pub(crate) struct TaggedFields {
    count: u32,
    fields: Writer,
}

impl TaggedFields {
    /// Adds a field unless it has its default value or no place in this version. Tags have to come in ascending order.
    pub(crate) fn with<T: Field + PartialEq>(
        mut self,
        tag: u32,
        value: Option<&T>,
        default: &T,
        version: Version,
    ) -> Self {
        let Some(value) = value.filter(|value| *value != default) else {
            return self;
        };
        let mut inner = Writer::default();
        value.encode(&mut inner, version);
        self.count += 1;
        self.fields.put_unsigned_varint(tag);
        self.fields
            .put_unsigned_varint(u32::try_from(inner.len()).unwrap_or(u32::MAX));
        self.fields.put_slice(&inner.bytes);
        self
    }

    /// Ends the structure.
    pub(crate) fn write_to(self, w: &mut Writer) {
        w.put_unsigned_varint(self.count);
        w.put_slice(&self.fields.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: Version = Version {
        number: 0,
        flexible: false,
    };
    const COMPACT: Version = Version {
        number: 9,
        flexible: true,
    };

    fn decode<T: Field>(bytes: &[u8], version: Version) -> Result<T, Problem> {
        T::decode(&mut Reader::new(Bytes::copy_from_slice(bytes)), version).map_err(|error| error.problem)
    }

    /// B-12: a count beyond the frame is an error before any memory is taken.
    #[test]
    fn a_count_that_the_frame_cannot_hold_is_refused() {
        let declared = |count: i32| [&count.to_be_bytes()[..], &[0; 8]].concat();
        let refused = |count| Problem::CountBeyondEnd { count, remaining: 8 };
        assert_eq!(decode::<Vec<i64>>(&declared(2), CLASSIC), Err(refused(2)));
        assert_eq!(decode::<Vec<i64>>(&declared(1), CLASSIC), Ok(vec![0]));
        assert_eq!(
            decode::<Vec<i64>>(&declared(i32::MAX), CLASSIC),
            Err(refused(i32::MAX as usize))
        );
        assert_eq!(decode::<Vec<String>>(&declared(5), CLASSIC), Err(refused(5)));
        let compact = decode::<Vec<i64>>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1], COMPACT);
        assert_eq!(
            compact,
            Err(Problem::CountBeyondEnd {
                count: u32::MAX as usize - 1,
                remaining: 1
            })
        );
    }

    /// The first allocation of an array never takes more memory than there are bytes left.
    #[test]
    fn a_declared_count_takes_no_more_memory_than_the_frame_has() {
        struct Large(#[allow(dead_code, reason = "only its size matters")] [u8; 300]);
        for remaining in [0, 299, 300, 900, 1 << 20] {
            for count in [0, 1, 3, remaining] {
                let first = first_capacity::<Large>(count, remaining);
                assert!(first <= count && first * size_of::<Large>() <= remaining);
            }
        }
        assert_eq!(first_capacity::<i64>(100, 800), 100);
    }

    /// Memory for an array grows to what the remaining bytes hold if they go on as they began, and by half at least.
    #[test]
    fn an_array_grows_by_what_the_frame_still_holds() {
        assert_eq!(next_capacity(10, 100, 1_000), 110);
        assert_eq!(next_capacity(10, 1_000, 100), 15);
        assert_eq!(next_capacity(1, 1_000, 0), 2);
        assert_eq!(next_capacity(0, 0, 8), 1);
    }

    /// KIP-482: no structure has thousands of tagged fields.
    #[test]
    fn tagged_fields_are_not_endless() {
        let declared = |count: u32| {
            let mut w = Writer::default();
            w.put_unsigned_varint(count);
            w.put_slice(&[9, 0].repeat(2_000));
            let read = Reader::new(w.into_bytes()).take_tagged_fields(pass_over);
            read.map_err(|error| error.problem)
        };
        assert_eq!(declared(1_024), Ok(()));
        assert_eq!(declared(1_025), Err(Problem::TooManyTaggedFields(1_025)));
    }

    /// B-12: a negative length is null where null is allowed, and an error elsewhere.
    #[test]
    fn negative_lengths_are_null() {
        assert_eq!(decode::<Option<String>>(&[0xff, 0xfe], CLASSIC), Ok(None));
        assert_eq!(
            decode::<String>(&[0xff, 0xff], CLASSIC),
            Err(Problem::NullNotAllowed)
        );
        assert_eq!(decode::<Option<Vec<i8>>>(&[0x80, 0, 0, 0], CLASSIC), Ok(None));
        assert_eq!(
            decode::<Vec<i8>>(&[0xff; 4], CLASSIC),
            Err(Problem::NullNotAllowed)
        );
        assert_eq!(decode::<Option<Bytes>>(&[0], COMPACT), Ok(None));
        assert_eq!(decode::<Bytes>(&[0], COMPACT), Err(Problem::NullNotAllowed));
    }

    /// B-12: text that is not UTF-8 is tolerated.
    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(
            decode::<String>(&[0, 3, b'a', 0xff, b'b'], CLASSIC),
            Ok("a\u{fffd}b".to_owned())
        );
    }

    /// W-6: at most five bytes and 32 bits.
    #[test]
    fn a_varint_has_at_most_five_bytes() {
        let varint = |bytes: &[u8]| Reader::new(Bytes::copy_from_slice(bytes)).take_unsigned_varint();
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
            let mut w = Writer::default();
            w.put_unsigned_varint(value);
            assert_eq!(w.len(), unsigned_varint_len(u64::from(value)));
            assert_eq!(varint(&w.into_bytes()), Ok(value));
        }
        let problem = |bytes: &[u8]| varint(bytes).map_err(|error| error.problem);
        assert_eq!(
            problem(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
            Err(Problem::VarintTooLong)
        );
        assert_eq!(
            problem(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            Err(Problem::VarintTooLong)
        );
        assert_eq!(
            problem(&[0x80, 0x80]),
            Err(Problem::Truncated {
                needed: 1,
                remaining: 0
            })
        );
    }

    /// KIP-482: tags that nobody knows are passed over, and a tag cannot reach beyond its frame.
    #[test]
    fn unknown_tags_are_passed_over() {
        let mut r = Reader::new(Bytes::from_static(&[2, 7, 1, 42, 9, 2, 1, 1, 99]));
        assert_eq!(r.take_tagged_fields(pass_over), Ok(()));
        assert_eq!(r.remaining(), 1);
        let mut r = Reader::new(Bytes::from_static(&[1, 7, 3, 0, 0]));
        let error = r.take_tagged_fields(pass_over).expect_err("two of three bytes");
        assert_eq!(
            error.problem,
            Problem::Truncated {
                needed: 3,
                remaining: 2
            }
        );
    }

    /// A version that is not flexible cannot express a longer text; the frame stays readable.
    #[test]
    fn a_text_beyond_two_bytes_of_length_is_cut_at_a_character() {
        let text = "a".repeat(i16::MAX as usize - 1) + "öö";
        let mut w = Writer::default();
        text.encode(&mut w, CLASSIC);
        assert_eq!(
            decode::<String>(&w.into_bytes(), CLASSIC).map(|text| text.len()),
            Ok(i16::MAX as usize - 1)
        );
    }

    /// An error names the innermost field and its place.
    #[test]
    fn an_error_says_where_it_is() {
        let mut r = Reader::new(Bytes::from_static(&[0, 0, 0, 1, 0, 5, b'x']));
        let error = r
            .take::<Vec<String>>("names", CLASSIC)
            .expect_err("four bytes are missing");
        assert_eq!(
            error.to_string(),
            "field names at byte 6: 5 bytes are needed and 1 are left"
        );
    }
}
