//! Time as a value: the cores receive it as an argument and never read a clock.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use crate::units::Timestamp;

/// A moment on a monotonic clock, in nanoseconds since an origin that the owner of the clock chose.
///
/// Moments of different clocks must not be mixed; a producer has one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ORIGIN: Instant = Instant(0);
    /// A moment that never comes: the deadline of somebody who does not wait for time.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub const fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whether this is [`Instant::NEVER`].
    pub const fn is_never(self) -> bool {
        self.0 == u64::MAX
    }
}

/// Saturates at [`Instant::NEVER`], so that a deadline of `Duration::MAX` is no deadline (S-47).
impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Saturates at zero.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

/// The two readings that a core gets when it is moved: one to measure with, one to write into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic reading: deadlines, back-offs, latencies.
    pub instant: Instant,
    /// The wall-clock reading: record timestamps, nothing else.
    pub wall: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_the_end_of_time_is_never() {
        assert!((Instant::from_millis(1) + Duration::MAX).is_never());
        assert!((Instant::NEVER + Duration::from_secs(1)).is_never());
    }

    #[test]
    fn time_passed_is_never_negative() {
        assert_eq!(Instant::from_millis(1) - Instant::from_millis(3), Duration::ZERO);
        assert_eq!(
            Instant::from_millis(3) - Instant::from_millis(1),
            Duration::from_millis(2)
        );
    }
}
