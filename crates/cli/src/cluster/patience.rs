//! Asking again while something may still come right, until a deadline.

use std::time::Duration;

use crate::clock::{self, Instant};
use crate::failure::Failure;

const PAUSE: Duration = Duration::from_millis(100);

/// How long to go on asking.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    deadline: Instant,
    limit: Duration,
}

impl Patience {
    /// Asks again for `limit` from now on.
    pub(super) fn of(limit: Duration) -> Self {
        Self {
            deadline: clock::now() + limit,
            limit,
        }
    }

    /// Pauses before the next question, or gives up with the reason of the last one.
    pub(super) async fn pause(&self, asked: &str, reason: &str) -> Result<(), Failure> {
        if clock::now() >= self.deadline {
            return Err(Failure::failed(
                format!(
                    "{asked}: not possible within {} s; the last answer was: {reason}",
                    self.limit.as_secs()
                ),
                "look at the brokers' logs, then start again",
            ));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_ends_at_its_deadline_with_the_last_reason() {
        let patience = Patience::of(Duration::from_secs(1));
        let mut pauses = 0;
        let failure = loop {
            match patience.pause("asking", "NOT_COORDINATOR").await {
                Ok(()) => pauses += 1,
                Err(failure) => break failure,
            }
        };
        assert!(
            (9..=11).contains(&pauses),
            "1 s in pauses of 100 ms, got {pauses}"
        );
        assert!(failure.what.contains("NOT_COORDINATOR"), "{failure}");
    }
}
