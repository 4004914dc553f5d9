//! When a record is due at a fixed rate.

use std::time::Duration;

/// A schedule of equal steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: u64,
}

impl Pace {
    /// So many records per second; at least one.
    pub(super) fn of(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
        }
    }

    /// How long after the start the record `index` is due. Computed from the start each time, so that no error adds up.
    pub(super) fn due(self, index: u64) -> Duration {
        let (seconds, rest) = (index / self.per_second, index % self.per_second);
        let nanos = u128::from(rest) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(nanos).expect("less than a second"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_in_equal_steps() {
        let pace = Pace::of(10_000);
        assert_eq!(pace.due(0), Duration::ZERO);
        assert_eq!(pace.due(1), Duration::from_micros(100));
        assert_eq!(pace.due(36_000_000), Duration::from_secs(3600));
        assert_eq!(Pace::of(3).due(2), Duration::from_nanos(666_666_666));
    }
}
