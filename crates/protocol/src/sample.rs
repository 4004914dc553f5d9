//! Pseudo-random messages for tests: every field of a version filled from a seed. Never compiled into the library.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId};
use crate::wire::Version;

/// A small generator (splitmix64): the same seed gives the same numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A type that can be filled from a generator.
pub(crate) trait Sample: Sized {
    fn sample(random: &mut Random, version: Version) -> Self;
}

/// Gives a field a value in versions in which it must not be null.
pub(crate) fn forbid_null<T: Default>(field: &mut Option<T>) {
    field.get_or_insert_default();
}

macro_rules! sample_numbers {
    ($($number:ty),*) => {$(
        impl Sample for $number {
            fn sample(random: &mut Random, _version: Version) -> Self {
                match random.below(4) {
                    0 => random.below(3) as $number,
                    _ => random.next() as $number,
                }
            }
        }
    )*};
}

sample_numbers!(i8, i16, i32, i64, u16, u32);

macro_rules! sample_units {
    ($($unit:ident),*) => {$(
        impl Sample for $unit {
            fn sample(random: &mut Random, version: Version) -> Self {
                $unit(Sample::sample(random, version))
            }
        }
    )*};
}

sample_units!(
    ProducerId,
    ProducerEpoch,
    PartitionId,
    NodeId,
    LeaderEpoch,
    TopicId
);

impl Sample for bool {
    fn sample(random: &mut Random, _version: Version) -> Self {
        random.below(2) == 1
    }
}

impl Sample for [u8; 16] {
    fn sample(random: &mut Random, _version: Version) -> Self {
        std::array::from_fn(|_| random.next() as u8)
    }
}

impl Sample for ErrorCode {
    fn sample(random: &mut Random, version: Version) -> Self {
        ErrorCode::from_code(i16::sample(random, version))
    }
}

impl Sample for String {
    fn sample(random: &mut Random, _version: Version) -> Self {
        let len = if random.below(16) == 0 {
            150
        } else {
            random.below(6)
        };
        (0..len)
            .map(|_| ['a', 'z', '0', '-', '.', 'ö', '水'][random.below(7) as usize])
            .collect()
    }
}

impl Sample for Bytes {
    fn sample(random: &mut Random, _version: Version) -> Self {
        let len = random.below(40) as usize;
        Bytes::from(random.bytes(len))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(random: &mut Random, version: Version) -> Self {
        (0..random.below(4)).map(|_| T::sample(random, version)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(random: &mut Random, version: Version) -> Self {
        (random.below(4) != 0).then(|| T::sample(random, version))
    }
}
