//! The program's one reading of the clock. Everything else takes times as arguments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use tokio::time::Instant;

/// The time now, on a clock that only goes forward.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day since the Unix epoch; zero on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "the program is the edge; this module is where it reads the clock")]
pub(crate) fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
