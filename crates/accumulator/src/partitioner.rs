//! Room 2: which partition a record without a named one goes to.
//!
//! Pure functions and one lock-free state per topic. Never looks into a queue: whether its last batch is full is told by the append.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use kommit_protocol::units::PartitionId;

/// The partitions of a topic as a partitioner may see them.
pub trait Partitions {
    /// How many partitions the topic has.
    fn count(&self) -> u32;
    /// Whether the partition has a leader at the moment.
    fn is_available(&self, partition: PartitionId) -> bool;
}

/// The application's own choice of partitions. Called once per record, in the task that sends it.
pub trait Partitioner: fmt::Debug + Send + Sync {
    /// The partition of a record of this topic. A number outside of the topic is refused as an invalid argument.
    fn partition(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        partitions: &dyn Partitions,
    ) -> PartitionId;
}

/// the partition of a key, over all partitions of the topic, available or not. `None` for a topic without partitions.
pub fn partition_of_key(key: &[u8], partition_count: u32) -> Option<PartitionId> {
    let positive = murmur2(key) & 0x7fff_ffff;
    let partition = positive.checked_rem(partition_count)?;
    Some(PartitionId(
        i32::try_from(partition).expect("a remainder of 31 bits fits an i32"),
    ))
}

/// The 32-bit murmur2 hash with Kafka's seed.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka mixes in the low 32 bits of the length.
    let length = (bytes.len() & 0xffff_ffff) as u32;
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = blocks.iter().fold(SEED ^ length, |hash, block| {
        let k = u32::from_le_bytes(*block).wrapping_mul(M);
        let k = (k ^ (k >> R)).wrapping_mul(M);
        hash.wrapping_mul(M) ^ k
    });
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Whether the sticky partition may be left now: not while it has a half-full batch, which would go out small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switching {
    Allowed,
    Deferred,
}

/// The partition that unkeyed records of a topic stick to, and how much they have filled it (KIP-794). One word: the partition + 1 in the
/// upper half (0 before the first choice), the bytes since the last switch in the lower half.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    word: AtomicU64,
}

impl Sticky {
    /// The present partition. Chosen by `draw` on first use, and when it lies outside of a topic of `count` partitions.
    pub(crate) fn current(&self, count: u32, draw: impl Fn() -> u32) -> u32 {
        let stuck = |word| Self::partition(word).filter(|partition| *partition < count);
        let choose = |word| match stuck(word) {
            Some(_) => None,
            None => Some(Self::word(draw(), 0)),
        };
        match self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, choose)
        {
            Ok(_before) => self.current_or(draw),
            Err(word) => stuck(word).unwrap_or_else(draw),
        }
    }

    /// Whether `partition` is still the sticky one.
    pub(crate) fn is(&self, partition: u32) -> bool {
        Self::partition(self.word.load(Ordering::Acquire)) == Some(partition)
    }

    /// counts bytes that went to `partition`, and switches when a batch is full, or two whatever the queue says. Does nothing
    /// when somebody has switched meanwhile.
    pub(crate) fn count(
        &self,
        partition: u32,
        bytes: usize,
        switching: Switching,
        batch_size: usize,
        draw: impl Fn() -> u32,
    ) {
        let full = u32::try_from(batch_size.max(1)).unwrap_or(u32::MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let count = |word: u64| {
            if Self::partition(word) != Some(partition) {
                return None;
            }
            let produced = Self::produced(word).saturating_add(bytes);
            let limit = match switching {
                Switching::Allowed => full,
                Switching::Deferred => full.saturating_mul(2),
            };
            let next = if produced >= limit {
                Self::word(draw(), 0)
            } else {
                Self::word(partition, produced)
            };
            Some(next)
        };
        // An error says that somebody else has switched.
        let _switched = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, count);
    }

    fn current_or(&self, draw: impl Fn() -> u32) -> u32 {
        Self::partition(self.word.load(Ordering::Acquire)).unwrap_or_else(draw)
    }

    fn word(partition: u32, produced: u32) -> u64 {
        (u64::from(partition) + 1) << 32 | u64::from(produced)
    }

    fn partition(word: u64) -> Option<u32> {
        u32::try_from(word >> 32)
            .expect("the upper half of 64 bits")
            .checked_sub(1)
    }

    fn produced(word: u64) -> u32 {
        u32::try_from(word & 0xffff_ffff).expect("the lower half of 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// the values that Kafka's own test publishes for murmur2.
    #[test]
    fn murmur2_gives_the_published_values() {
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }

    /// the sign bit is dropped, not the sign changed.
    #[test]
    fn a_key_goes_to_the_positive_part_of_its_hash() {
        let positive = (-973_932_308_i32 & 0x7fff_ffff) % 7;
        assert_eq!(partition_of_key(b"21", 7), Some(PartitionId(positive)));
        assert_eq!(partition_of_key(b"21", 0), None);
    }

    /// a batch's worth of bytes switches, unless a half-full batch would be left behind.
    #[test]
    fn the_sticky_partition_changes_after_a_batch() {
        let sticky = Sticky::default();
        assert_eq!(sticky.current(8, || 3), 3);
        sticky.count(3, 99, Switching::Allowed, 100, || 5);
        assert_eq!(sticky.current(8, || 7), 3);
        sticky.count(3, 1, Switching::Allowed, 100, || 5);
        assert!(sticky.is(5) && !sticky.is(3));
    }

    /// two batches' worth switches in any case.
    #[test]
    fn a_deferred_switch_comes_after_two_batches() {
        let sticky = Sticky::default();
        assert_eq!(sticky.current(8, || 3), 3);
        sticky.count(3, 199, Switching::Deferred, 100, || 5);
        assert!(sticky.is(3));
        sticky.count(3, 1, Switching::Deferred, 100, || 5);
        assert!(sticky.is(5));
    }

    /// the bytes of a record that raced with a switch are not counted for the new partition.
    #[test]
    fn bytes_of_a_partition_that_was_left_do_not_count() {
        let sticky = Sticky::default();
        assert_eq!(sticky.current(8, || 3), 3);
        sticky.count(4, 1_000, Switching::Allowed, 100, || 5);
        assert!(sticky.is(3));
    }

    /// A topic handle of fewer partitions never gets a partition that it does not know.
    #[test]
    fn a_partition_outside_of_the_topic_is_chosen_anew() {
        let sticky = Sticky::default();
        assert_eq!(sticky.current(8, || 6), 6);
        assert_eq!(sticky.current(4, || 2), 2);
    }
}
