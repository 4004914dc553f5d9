//! The clocks of the machine, and the only place that reads them.

use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::Timestamp;

use super::Clock;

/// The system's clocks. On Linux the wall clock is read as of the last tick of the kernel, which is up to 4 ms ago on most machines and
/// ten times as cheap: every record asks for it.
#[derive(Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose origin is now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let passed = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now {
            instant: Instant::from_nanos(passed),
            wall: self.wall(),
        }
    }

    #[cfg(target_os = "linux")]
    fn wall(&self) -> Timestamp {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Timestamp(wall.tv_sec * 1_000 + wall.tv_nsec / 1_000_000)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn wall(&self) -> Timestamp {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    /// a record's time is never ahead of the clock that other programs read, and behind it by no more than a tick of the slowest kernel;
    /// ten of them, as a machine that is busy enough does not tick in time.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "compares two clocks")]
    fn the_wall_clock_is_behind_by_few_ticks() {
        const TICKS: Duration = Duration::from_millis(100);
        let exact = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = |time: Duration| Timestamp(i64::try_from(time.as_millis()).unwrap_or_default());
        let clock = SystemClock::start();
        let before = exact();
        let read = clock.wall();
        assert!(millis(before.saturating_sub(TICKS)) <= read && read <= millis(exact()));
        assert!(clock.now().wall >= read);
    }
}
