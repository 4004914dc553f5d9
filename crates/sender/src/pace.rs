//! The pause between the end of a transaction and the first request of the next, learned for each coordinator.
//!
//! A coordinator answers EndTxn before the markers are written. Whoever adds a partition in that window waits for the broker's
//! retry interval (version 2), or is told to come again (version 1): tens of milliseconds for a window of less than one. So a
//! transaction that follows at once is held back as long as that window usually lasts. No pause fits every window, though: one in
//! ten is several times as long. Where version 2 has made a transaction wait, the coordinator is therefore asked, after the pause,
//! whether the markers are written, and again a little later if not. A first request that comes later than all this goes at once,
//! and teaches nothing. Reads no clock, and sends nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;

mod window;

use window::{HELD_BACK_COSTS, SHORTEST_PAUSE, TOO_EARLY_COSTS, Window};

/// What the first answer of a transaction said about the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstAnswer {
    /// Only its time tells.
    Given,
    /// CONCURRENT_TRANSACTIONS: the markers were not written yet.
    TooEarly,
}

/// A question whether the markers of a transaction are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkersQuestion {
    pub(crate) coordinator: NodeId,
    /// Which transaction: the one that ended then.
    ended: Instant,
}

/// What a coordinator said about the markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkersTold {
    Written,
    TooEarly,
    /// It was asked, or could not be asked, and did not answer.
    Nothing,
    /// It does not answer such questions.
    Refused,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// No transaction has ended, or the next is under way and taught its lesson.
    Idle,
    Ended(Ended),
    /// The first request of the next transaction is out.
    First {
        coordinator: NodeId,
        gap: Duration,
        sent: Instant,
        asking: Asking,
    },
}

/// A transaction that has ended, and whose markers may not be written.
#[derive(Clone, Copy, Debug)]
struct Ended {
    coordinator: NodeId,
    at: Instant,
    asking: Asking,
}

/// Where the questions about one transaction's markers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// The pause runs, or is over.
    NotYet,
    /// A question is out, after `gap`; the one before it, if any, was `step` earlier.
    UnderWay {
        gap: Duration,
        step: Option<Duration>,
    },
    /// They were not written; `step` later, at `again`, they may be.
    TooEarly {
        again: Instant,
        step: Duration,
    },
    Over(MarkersTold),
}

/// The pauses of one producer.
#[derive(Debug)]
pub(crate) struct Pace {
    windows: BTreeMap<NodeId, Window>,
    stage: Stage,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            windows: BTreeMap::new(),
            stage: Stage::Idle,
        }
    }

    /// The coordinator has answered, `latency` after it was asked, that the transaction ended.
    pub(crate) fn ended(&mut self, coordinator: NodeId, latency: Duration, now: Instant) {
        self.window(coordinator).learn_end(latency);
        self.stage = Stage::Ended(Ended {
            coordinator,
            at: now,
            asking: Asking::NotYet,
        });
    }

    /// Until when the first request of the next transaction waits; `None` when it may go, or a question may.
    pub(crate) fn holds_until(&self, now: Instant) -> Option<Instant> {
        let ended = self.last_end()?;
        let until = match ended.asking {
            Asking::NotYet => ended.at + self.pause(ended.coordinator),
            Asking::UnderWay { .. } => ended.at + HELD_BACK_COSTS,
            Asking::TooEarly { again, .. } => again,
            Asking::Over(_) => return None,
        };
        (now < until).then_some(until)
    }

    /// The question that is to be asked before the first request of the next transaction goes. Nobody is held back by questions for
    /// longer than by the broker, and who comes later than that does not ask.
    pub(crate) fn question(&self, now: Instant) -> Option<MarkersQuestion> {
        let Ended {
            coordinator,
            at,
            asking,
        } = *self.last_end()?;
        let may_ask = match asking {
            Asking::NotYet => self.windows.get(&coordinator)?.is_asked_about(),
            Asking::TooEarly { .. } => true,
            Asking::UnderWay { .. } | Asking::Over(_) => false,
        };
        let is_time = now - at < HELD_BACK_COSTS && self.holds_until(now).is_none();
        let question = MarkersQuestion {
            coordinator,
            ended: at,
        };
        (may_ask && is_time).then_some(question)
    }

    /// The question is out.
    pub(crate) fn asked(&mut self, now: Instant) {
        if let Stage::Ended(ended) = &mut self.stage {
            let step = match ended.asking {
                Asking::TooEarly { step, .. } => Some(step),
                _ => None,
            };
            let gap = now - ended.at;
            ended.asking = Asking::UnderWay { gap, step };
        }
    }

    /// The question came to its end. Only the first about a transaction teaches, and one whose transaction waits no longer only tells
    /// whether questions are answered.
    pub(crate) fn told(&mut self, question: MarkersQuestion, told: MarkersTold, now: Instant) {
        let window = self
            .windows
            .entry(question.coordinator)
            .or_insert(Window::UNKNOWN);
        if told == MarkersTold::Refused {
            window.not_to_be_asked();
        }
        let Stage::Ended(ended) = &mut self.stage else {
            return;
        };
        let Asking::UnderWay { gap, step } = ended.asking else {
            return;
        };
        if ended.at != question.ended {
            return;
        }
        match (told, step) {
            (MarkersTold::TooEarly, None) => window.told_too_early(),
            (MarkersTold::Written, None) => window.told_written(gap),
            _ => {}
        }
        ended.asking = if told == MarkersTold::TooEarly {
            let step = step.map_or(window.pause() / 4, |step| step * 3 / 2);
            let step = step.max(SHORTEST_PAUSE);
            let again = now + step;
            Asking::TooEarly { again, step }
        } else {
            Asking::Over(told)
        };
    }

    /// A request that adds to the transaction goes out. Only the first after an end counts.
    pub(crate) fn sent(&mut self, now: Instant) {
        if let Stage::Ended(ended) = self.stage {
            self.stage = Stage::First {
                coordinator: ended.coordinator,
                gap: now - ended.at,
                sent: now,
                asking: ended.asking,
            };
        }
    }

    /// A request that adds to the transaction was answered. Only the first after an end counts.
    pub(crate) fn answered(&mut self, answer: FirstAnswer, now: Instant) {
        let Stage::First {
            coordinator,
            gap,
            sent,
            asking,
        } = self.stage
        else {
            return;
        };
        self.stage = Stage::Idle;
        let window = self.window(coordinator);
        match (answer, asking) {
            (FirstAnswer::TooEarly, _) => window.grow(gap, TOO_EARLY_COSTS),
            (FirstAnswer::Given, Asking::Over(MarkersTold::Written)) => window.learn_asked(now - sent),
            (FirstAnswer::Given, _) => window.learn_first(now - sent, gap),
        }
    }

    /// A request went unanswered, which says nothing about the window.
    pub(crate) fn unanswered(&mut self) {
        if matches!(self.stage, Stage::First { .. }) {
            self.stage = Stage::Idle;
        }
    }

    /// The pause behind a transaction that ends now; of the coordinator that ended the last one.
    pub(crate) fn pause(&self, coordinator: NodeId) -> Duration {
        self.windows
            .get(&coordinator)
            .map_or(Duration::ZERO, Window::pause)
    }

    /// The transaction that has ended, until the first request of the next is out.
    fn last_end(&self) -> Option<&Ended> {
        match &self.stage {
            Stage::Ended(ended) => Some(ended),
            Stage::Idle | Stage::First { .. } => None,
        }
    }

    fn window(&mut self, coordinator: NodeId) -> &mut Window {
        self.windows.entry(coordinator).or_insert(Window::UNKNOWN)
    }
}

#[cfg(test)]
mod tests;
