//! How long to wait before the next attempt: one exponential formula for retries, reconnects and connection set-up.
//!
//! Draws no random number itself: the caller brings one, so that the same seed gives the same waits.

use std::time::Duration;

/// How far a wait strays from its exponential value, in both directions.
const JITTER: f64 = 0.2;

/// An exponential backoff with base 2, from an initial wait to a largest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first repetition, without jitter.
    pub initial: Duration,
    /// No wait is longer. When it does not exceed `initial`, every wait is exactly this long.
    pub max: Duration,
}

impl Backoff {
    /// The wait after `failures` earlier failures (0 for the first repetition), in whole milliseconds.
    ///
    /// `unit_random` is drawn uniformly from `[0, 1)` and becomes a jitter of ±20 %.
    pub fn after(self, failures: u32, unit_random: f64) -> Duration {
        if self.max <= self.initial {
            return self.max;
        }
        let initial = millis(self.initial);
        let max = millis(self.max);
        let growth = f64::from(failures).exp2().min(max / initial.max(1.0));
        let factor = 1.0 - JITTER + 2.0 * JITTER * unit_random.clamp(0.0, 1.0);
        let wait = (factor * initial * growth).trunc();
        Duration::from_secs_f64(wait.min(max) / 1000.0)
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    fn backoff(initial: u64, max: u64) -> Backoff {
        Backoff {
            initial: Duration::from_millis(initial),
            max: Duration::from_millis(max),
        }
    }

    /// base 2 from the initial wait, never above the largest.
    #[test]
    fn a_wait_doubles_with_every_failure_up_to_the_largest() {
        let waits: Vec<u128> = (0..6)
            .map(|failures| backoff(100, 1000).after(failures, MIDDLE).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
    }

    /// the jitter is 20 % in both directions and never lifts a wait above the largest.
    #[test]
    fn jitter_strays_by_a_fifth_but_not_above_the_largest() {
        assert_eq!(backoff(100, 1000).after(0, 0.0), Duration::from_millis(80));
        assert_eq!(backoff(100, 1000).after(0, 0.999_99), Duration::from_millis(119));
        assert_eq!(
            backoff(100, 1000).after(40, 0.999_99),
            Duration::from_millis(1000)
        );
        assert_eq!(backoff(100, 1000).after(40, 0.0), Duration::from_millis(800));
    }

    /// max ≤ initial means the constant max, without jitter.
    #[test]
    fn a_largest_wait_that_is_not_larger_is_constant() {
        assert_eq!(backoff(500, 100).after(7, 0.0), Duration::from_millis(100));
        assert_eq!(backoff(0, 0).after(7, 0.9), Duration::ZERO);
    }

    /// an initial wait of zero counts as 1 in the bound of the growth only.
    #[test]
    fn an_initial_wait_of_zero_never_waits() {
        assert_eq!(backoff(0, 1000).after(3, 0.9), Duration::ZERO);
    }
}
