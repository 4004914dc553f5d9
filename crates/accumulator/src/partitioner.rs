//! Room 2: which partition a record without a named one goes to.
//!
//! Pure functions and one lock-free state per topic. Never looks into a queue: whether its last batch is full is told by the append.

use std::fmt;
use std::sync::atomic::Ordering;

use kommit_protocol::units::PartitionId;

use crate::sync::AtomicU64;

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

/// The partition that unkeyed records of a topic stick to (KIP-794).
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    word: AtomicU64,
}

/// A partition's turn to be the sticky one. One word: the number of the turn in the upper half, the partition + 1 in the lower half (0
/// before the first choice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl Turn {
    pub(crate) fn partition(self) -> Option<u32> {
        u32::try_from(self.0 & 0xffff_ffff)
            .expect("the lower half of 64 bits")
            .checked_sub(1)
    }

    fn next(self, partition: u32) -> Self {
        let number = (self.0 >> 32).wrapping_add(1);
        Self(number << 32 | (u64::from(partition) + 1))
    }
}

impl Sticky {
    /// The present partition and its turn. Chosen by `draw` on first use, and when it lies outside of a topic of `count` partitions.
    #[inline]
    pub(crate) fn current(&self, count: u32, draw: impl Fn() -> u32) -> (u32, Turn) {
        let turn = self.turn();
        match turn.partition() {
            Some(partition) if partition < count => (partition, turn),
            _ => self.chosen_anew(turn, count, draw),
        }
    }

    /// Whether the turn still lasts.
    #[inline]
    pub(crate) fn is(&self, turn: Turn) -> bool {
        self.turn() == turn
    }

    /// Ends the turn, unless somebody else has done that.
    pub(crate) fn switch(&self, turn: Turn, draw: impl Fn() -> u32) {
        let next = turn.next(draw());
        // An error says that somebody else has switched.
        let _switched = self
            .word
            .compare_exchange(turn.0, next.0, Ordering::AcqRel, Ordering::Acquire);
    }

    #[cold]
    fn chosen_anew(&self, unfit: Turn, count: u32, draw: impl Fn() -> u32) -> (u32, Turn) {
        self.switch(unfit, &draw);
        let turn = self.turn();
        match turn.partition().filter(|partition| *partition < count) {
            Some(partition) => (partition, turn),
            None => (draw(), turn),
        }
    }

    /// The present turn.
    #[inline]
    pub(crate) fn turn(&self) -> Turn {
        Turn(self.word.load(Ordering::Acquire))
    }
}

/// The bytes that went to a partition in its last turn. Kept by its queue, whose lock is held for every record in any case.
#[derive(Debug)]
pub(crate) struct StuckBytes {
    turn: Turn,
    bytes: usize,
}

impl Default for StuckBytes {
    fn default() -> Self {
        Self {
            turn: Turn(0),
            bytes: 0,
        }
    }
}

impl StuckBytes {
    #[inline]
    pub(crate) fn count(&mut self, turn: Turn, bytes: usize) {
        self.bytes = self.of(turn) + bytes;
        self.turn = turn;
    }

    /// whether the turn ends: when a batch is full, or two whatever the queue says.
    #[inline]
    pub(crate) fn are_enough(&self, turn: Turn, switching: Switching, batch_size: usize) -> bool {
        let full = batch_size.max(1);
        let limit = match switching {
            Switching::Allowed => full,
            Switching::Deferred => full.saturating_mul(2),
        };
        self.of(turn) >= limit
    }

    /// Whether `more` bytes could end the turn although the queue has a half-full batch.
    #[inline]
    pub(crate) fn would_be_enough(&self, turn: Turn, more: usize, batch_size: usize) -> bool {
        self.of(turn).saturating_add(more) >= batch_size.saturating_mul(2)
    }

    #[inline]
    fn of(&self, turn: Turn) -> usize {
        if self.turn == turn { self.bytes } else { 0 }
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

    /// a batch's worth of bytes switches, unless a half-full batch would be left behind: then two.
    #[test]
    fn the_sticky_partition_changes_after_a_batch_or_two() {
        let sticky = Sticky::default();
        let (partition, turn) = sticky.current(8, || 3);
        assert_eq!(partition, 3);
        let mut bytes = StuckBytes::default();
        bytes.count(turn, 99);
        assert!(!bytes.are_enough(turn, Switching::Allowed, 100));
        bytes.count(turn, 1);
        assert!(bytes.are_enough(turn, Switching::Allowed, 100));
        bytes.count(turn, 99);
        assert!(!bytes.are_enough(turn, Switching::Deferred, 100));
        bytes.count(turn, 1);
        assert!(bytes.are_enough(turn, Switching::Deferred, 100));
    }

    /// a turn ends once, and what was counted in it does not count in the next one, even of the same partition.
    #[test]
    fn a_turn_ends_once_and_takes_its_bytes_with_it() {
        let sticky = Sticky::default();
        let (_, turn) = sticky.current(8, || 3);
        let mut bytes = StuckBytes::default();
        bytes.count(turn, 1_000);
        sticky.switch(turn, || 3);
        sticky.switch(turn, || 5);
        let (partition, next) = sticky.current(8, || 7);
        assert!(partition == 3 && sticky.is(next) && !sticky.is(turn));
        assert!(!bytes.are_enough(next, Switching::Allowed, 100));
    }

    /// A topic handle of fewer partitions never gets a partition that it does not know.
    #[test]
    fn a_partition_outside_of_the_topic_is_chosen_anew() {
        let sticky = Sticky::default();
        assert_eq!(sticky.current(8, || 6).0, 6);
        assert_eq!(sticky.current(4, || 2).0, 2);
    }
}
