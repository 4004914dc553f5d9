//! The only source of chance in the producer: seeded, so that the same seed gives the same jitter and the same choices.
//!
//! Not for secrets. Never reads entropy from the system.

/// How far the state of a [`Random`] moves with each number.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of pseudo-random numbers (SplitMix64) with one owner.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of a seed.
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number drawn uniformly from `[0, 1)`: what jitter is made of.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `bound`, or 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }
}

/// Spreads a seed or a counter over all 64 bits.
pub fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut other) = (Random::seeded(7), Random::seeded(7));
        for _ in 0..1_000 {
            let unit = one.unit();
            assert!((0.0..1.0).contains(&unit));
            assert_eq!(unit.to_bits(), other.unit().to_bits());
        }
        assert!((0..1_000).all(|_| one.below(3) < 3));
        assert_eq!(one.below(0), 0);
    }
}
