//! The program's one reading of the clock. Everything else takes times as arguments.

pub(crate) use tokio::time::Instant;

/// The time now, on a clock that only goes forward.
pub(crate) fn now() -> Instant {
    Instant::now()
}
