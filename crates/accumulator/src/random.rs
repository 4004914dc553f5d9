//! Random numbers that many tasks draw from: those of [`kommit_protocol::random`], in an order that depends on the tasks.
//!
//! Not for secrets. Never reads entropy from the system.

use std::sync::atomic::{AtomicU64, Ordering};

use kommit_protocol::random::{STEP, mixed};

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
        let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        // The upper half of a product of two 32-bit numbers is below the second one.
        let scaled = ((mixed(state) >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("a product of two 32-bit numbers has 32 upper bits")
    }
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
    }
}
