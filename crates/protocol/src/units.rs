//! Numbers that are not counts: each has only the arithmetic that Kafka gives it, and mixing two of them does not compile.

use std::fmt;
use std::sync::Arc;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit! {
    /// The id that a broker gave to a producer; -1 on the wire for "none".
    ProducerId(i64)
}

impl ProducerId {
    /// The wire's "no producer id".
    pub const NONE: Self = Self(-1);
}

impl Default for ProducerId {
    fn default() -> Self {
        Self::NONE
    }
}

unit! {
    /// The generation of a producer id; -1 on the wire for "none".
    ProducerEpoch(i16)
}

impl ProducerEpoch {
    /// The wire's "no epoch".
    pub const NONE: Self = Self(-1);
    /// The first epoch of a new producer id.
    pub const FIRST: Self = Self(0);
    /// The largest epoch of an idempotent producer, which bumps locally. A transaction coordinator keeps it for itself (B-66).
    pub const MAX: Self = Self(i16::MAX);

    /// The next epoch, or `None` when the producer id is used up and a new one is needed (T-94).
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl Default for ProducerEpoch {
    fn default() -> Self {
        Self::NONE
    }
}

/// A producer id together with its epoch: who a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Never [`ProducerId::NONE`].
    pub id: ProducerId,
    /// Never [`ProducerEpoch::NONE`].
    pub epoch: ProducerEpoch,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "producer {} epoch {}", self.id, self.epoch)
    }
}

/// The number of a record among all records of one identity in one partition: 0 to `i32::MAX`, then 0 again (W-9).
///
/// There is no order on sequences: after a wrap "less" has no meaning. Compare distances with [`Sequence::distance_from`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(i32);

impl Sequence {
    /// The first sequence under a new identity.
    pub const ZERO: Self = Self(0);
    const MODULUS: i64 = 1 << 31;

    /// The sequence with this number, or `None` for a negative one.
    pub fn new(number: i32) -> Option<Self> {
        (number >= 0).then_some(Self(number))
    }

    /// The number as it travels.
    pub fn number(self) -> i32 {
        self.0
    }

    /// The sequence `count` records later, wrapping behind `i32::MAX` to 0 (T-64).
    #[must_use]
    pub fn advanced_by(self, count: u32) -> Self {
        Self::wrapped(i64::from(self.0) + i64::from(count))
    }

    /// The sequence `count` records earlier, wrapping before 0.
    #[must_use]
    pub fn moved_back_by(self, count: u32) -> Self {
        Self::wrapped(i64::from(self.0) - i64::from(count))
    }

    /// How many records `self` is ahead of `earlier`; negative when it is behind. Correct as long as the two are less than 2^30 apart.
    pub fn distance_from(self, earlier: Self) -> i32 {
        let ahead = (i64::from(self.0) - i64::from(earlier.0)).rem_euclid(Self::MODULUS);
        let signed = if ahead >= Self::MODULUS / 2 {
            ahead - Self::MODULUS
        } else {
            ahead
        };
        i32::try_from(signed).expect("a distance below 2^30 in either direction fits an i32")
    }

    fn wrapped(number: i64) -> Self {
        let number = number.rem_euclid(Self::MODULUS);
        Self(i32::try_from(number).expect("a remainder below 2^31 fits an i32"))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

unit! {
    /// The place of a record in its partition.
    Offset(i64)
}

impl Offset {
    /// The first offset of a partition that never lost its beginning.
    pub const ZERO: Self = Self(0);

    /// The offset `count` places later.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add_unsigned(count))
    }

    /// The offset, or `None` for the wire's -1.
    pub fn known(wire: i64) -> Option<Self> {
        (wire >= 0).then_some(Self(wire))
    }
}

unit! {
    /// The number of a partition within its topic, from 0.
    PartitionId(i32)
}

unit! {
    /// The number by which metadata knows a broker.
    NodeId(i32)
}

unit! {
    /// How often the leadership of a partition has changed.
    LeaderEpoch(i32)
}

unit! {
    /// Milliseconds since the Unix epoch, as records carry them; -1 for "none".
    Timestamp(i64)
}

impl Timestamp {
    /// The wire's "no timestamp".
    pub const NONE: Self = Self(-1);
}

/// The 128-bit id that a topic gets at its creation; all zero for "unknown" (KIP-516).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The wire's "no topic id".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is an id at all.
    pub fn is_known(self) -> bool {
        self != Self::ZERO
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A partition by name. Cloning copies a reference to the topic name, not its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number within the topic.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition: PartitionId(partition),
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The dense number of a topic-partition within one producer, in the order of first use: an index into the cores' tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionIndex(pub u32);

impl PartitionIndex {
    /// The index as a position in a table.
    pub fn position(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(number: i32) -> Sequence {
        Sequence::new(number).expect("not negative")
    }

    /// T-64, W-9: behind i32::MAX comes 0.
    #[test]
    fn a_sequence_wraps_behind_the_largest_number() {
        assert_eq!(sequence(i32::MAX).advanced_by(1), Sequence::ZERO);
        assert_eq!(sequence(i32::MAX - 1).advanced_by(5), sequence(3));
        assert_eq!(sequence(3).moved_back_by(5), sequence(i32::MAX - 1));
        assert_eq!(Sequence::new(-1), None);
    }

    #[test]
    fn distances_reach_across_the_wrap() {
        assert_eq!(sequence(2).distance_from(sequence(i32::MAX)), 3);
        assert_eq!(sequence(i32::MAX).distance_from(sequence(2)), -3);
        assert_eq!(sequence(7).distance_from(sequence(7)), 0);
    }

    /// T-94: an epoch is used up behind i16::MAX.
    #[test]
    fn the_last_epoch_has_no_next() {
        assert_eq!(ProducerEpoch(3).next(), Some(ProducerEpoch(4)));
        assert_eq!(ProducerEpoch::MAX.next(), None);
    }
}
