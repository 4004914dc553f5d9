//! What was learned of one coordinator: how long it takes to write markers after it has answered EndTxn.
//!
//! Three teachers, the best first: the coordinator that is asked, the coordinator that refuses (version 1), and the time of the first
//! answer, which is all that version 2 gives by itself.

use std::time::Duration;

/// What a transaction pays that the broker holds back: its retry interval (version 2).
pub(super) const HELD_BACK_COSTS: Duration = Duration::from_millis(20);
/// What a transaction pays that is told to come again: a round trip, and the first step of our own back-off (version 1).
pub(super) const TOO_EARLY_COSTS: Duration = Duration::from_millis(2);
/// Where a pause begins that grows from nothing.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
/// A first answer that takes this much longer than usual was held back by the broker.
const HELD_BACK: Duration = Duration::from_millis(15);
/// After so many of the longest pauses that changed nothing, it is not the markers that are slow.
const IN_VAIN: u32 = 8;
/// How fast what was usual is forgotten: by this part with each transaction.
const FORGET: u32 = 256;
/// Within so many transactions, two that came too early are no accident.
const RECENT: u32 = 16;
/// The least by which a pause shrinks: the shortest one is gone by the time it has cost as much as a transaction that is held back.
pub(super) const LEAST_SHRINK: Duration = Duration::from_nanos(250);
/// By this part a first question that comes too early lengthens the pause.
const LENGTHEN: u32 = 10;
/// By this part one that does not shortens it: they are in balance where three in ten come too early, so that few are asked a second
/// time, and little time is lost in windows that are shorter than most.
const SHORTEN: u32 = 25;
/// After so many first questions in a row that were not needed, nobody asks any more.
const NEEDLESS: u32 = 1000;

/// What was learned of one coordinator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pause: Duration,
    /// How many transactions have not come too early since the last that did.
    in_time: u32,
    /// What it costs to come too early.
    cost: Duration,
    /// How long the coordinator takes for an EndTxn. A first answer that nobody holds back takes up to twice as long: its partition
    /// is added on the way.
    end: Option<Duration>,
    /// How long a first answer takes although the pause was long enough.
    slow: Duration,
    in_vain: u32,
    questions: Questions,
}

/// Whether the coordinator is asked.
#[derive(Clone, Copy, Debug)]
enum Questions {
    /// No transaction was held back yet.
    None,
    /// So many first questions in a row were not needed.
    Asked { needless: u32 },
    /// It does not answer them.
    Refused,
}

impl Window {
    pub(super) const UNKNOWN: Self = Self {
        pause: Duration::ZERO,
        in_time: RECENT,
        cost: Duration::ZERO,
        end: None,
        slow: Duration::ZERO,
        in_vain: 0,
        questions: Questions::None,
    };

    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    pub(super) fn is_asked_about(&self) -> bool {
        matches!(self.questions, Questions::Asked { .. })
    }

    /// A pause that is still being looked for triples, one that was found grows by half. None is longer than half of what it saves.
    pub(super) fn grow(&mut self, gap: Duration, cost: Duration) {
        let is_found = self.in_time >= RECENT;
        self.in_time = 0;
        let too_short = gap.max(self.pause);
        let longer = if is_found {
            too_short * 3 / 2
        } else {
            too_short * 3
        };
        self.cost = cost;
        self.pause = longer.max(SHORTEST_PAUSE).min(cost / 2);
    }

    /// An answer that was late for once can have been late for any reason: without a pause, it takes two to begin with one.
    fn held_back(&mut self, gap: Duration) {
        if self.pause.is_zero() && self.in_time >= RECENT {
            self.in_time = 0;
        } else {
            self.grow(gap, HELD_BACK_COSTS);
            if matches!(self.questions, Questions::None) {
                self.questions = Questions::Asked { needless: 0 };
            }
        }
    }

    /// Every transaction pays for the pause, and those that come too early for its lack. So the longer the pause is, compared with
    /// what it saves, the faster it shrinks: half a millisecond against 20 comes to rest where one in 160 comes too early, 10
    /// milliseconds where one in ten does.
    fn shrink(&mut self) {
        let (pause, cost) = (self.pause.as_nanos(), self.cost.as_nanos());
        let less = pause * pause / (10 * cost).max(1);
        let less = Duration::from_nanos(u64::try_from(less).unwrap_or(u64::MAX));
        self.pause = self.pause.saturating_sub(less.max(LEAST_SHRINK));
    }

    pub(super) fn learn_end(&mut self, latency: Duration) {
        let usual = self.end.unwrap_or(latency);
        self.end = Some(latency.min(usual + usual / FORGET));
        self.slow -= self.slow / FORGET;
    }

    /// The first answer of a transaction whose markers nobody asked about.
    pub(super) fn learn_first(&mut self, latency: Duration, gap: Duration) {
        if !self.is_late(latency) {
            self.in_vain = 0;
            self.in_time = self.in_time.saturating_add(1);
            if gap <= self.pause * 2 {
                self.shrink();
            }
        } else if gap < HELD_BACK_COSTS / 2 {
            self.held_back(gap);
        } else {
            self.waited_in_vain(latency);
        }
    }

    /// The first answer of a transaction whose markers were known to be written.
    pub(super) fn learn_asked(&mut self, latency: Duration) {
        if self.is_late(latency) {
            self.waited_in_vain(latency);
        } else {
            self.in_vain = 0;
        }
    }

    fn is_late(&self, latency: Duration) -> bool {
        let usual = (self.end.unwrap_or(latency) * 2).max(self.slow);
        latency >= usual + HELD_BACK
    }

    /// It cannot have been the markers: the pause is forgotten when that happens again and again.
    fn waited_in_vain(&mut self, latency: Duration) {
        self.in_vain += 1;
        if self.in_vain >= IN_VAIN {
            self.slow = latency;
            self.forget();
        }
    }

    /// The first question about a transaction came before the markers.
    pub(super) fn told_too_early(&mut self) {
        self.questions = Questions::Asked { needless: 0 };
        let longer = self.pause + self.pause / LENGTHEN;
        self.pause = longer.clamp(SHORTEST_PAUSE, HELD_BACK_COSTS / 2);
    }

    /// The first question about a transaction, `gap` after its end, came behind the markers.
    pub(super) fn told_written(&mut self, gap: Duration) {
        if gap <= self.pause * 2 {
            let shorter = self.pause - self.pause / SHORTEN;
            self.pause = if shorter < SHORTEST_PAUSE / 2 {
                Duration::ZERO
            } else {
                shorter
            };
        }
        match &mut self.questions {
            Questions::Asked { needless } if *needless < NEEDLESS => *needless += 1,
            _ => self.forget(),
        }
    }

    /// The coordinator does not answer questions.
    pub(super) fn not_to_be_asked(&mut self) {
        self.questions = Questions::Refused;
    }

    fn forget(&mut self) {
        let questions = match self.questions {
            Questions::Refused => Questions::Refused,
            Questions::None | Questions::Asked { .. } => Questions::None,
        };
        *self = Self {
            end: self.end,
            slow: self.slow,
            questions,
            ..Self::UNKNOWN
        };
    }
}
