//! The crate's own random numbers: splitmix64 over a seed that the configuration gives, so that the same seed gives the same choices.
//!
//! Not for secrets. Never reads entropy from the system.

use std::sync::atomic::{AtomicU64, Ordering};

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers that many tasks may draw from without a lock.
#[derive(Debug)]
pub(crate) struct SharedRandom {
    state: AtomicU64,
}

impl SharedRandom {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }

    /// A number drawn uniformly from `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(&self, bound: u32) -> u32 {
        let state = self
            .state
            .fetch_add(GOLDEN_GAMMA, Ordering::Relaxed)
            .wrapping_add(GOLDEN_GAMMA);
        // The upper half of a product of two 32-bit numbers is below the second one.
        let scaled = ((mixed(state) >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a product of two 32-bit numbers has 32 upper bits")
    }
}

/// A sequence of random numbers with one owner.
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number drawn uniformly from `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        let mantissa = u32::try_from(mixed(self.state) >> 32).expect("half of 64 bits fits 32");
        f64::from(mantissa) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Spreads a seed or a counter over all 64 bits.
pub(crate) fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let random = SharedRandom::seeded(seed);
            (0..16).map(|_| random.below(100)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let random = SharedRandom::seeded(1);
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            seen[random.below(5) as usize] += 1;
        }
        // 5 bins of 1000 expected: 800 is more than 7 standard deviations (28) away.
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        let mut random = Random::seeded(1);
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random.unit())));
    }
}
