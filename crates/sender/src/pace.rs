//! The pause between the end of a transaction and the first request of the next, learned for each coordinator.
//!
//! A coordinator answers EndTxn before the markers are written. Whoever adds a partition in that window waits for the broker's
//! retry interval (version 2), or is told to come again (version 1): tens of milliseconds for a window of less than one. So a
//! transaction that follows at once is held back as long as that window usually lasts. It never waits for anything else: a first
//! request that comes later goes at once, and teaches nothing. Reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;

/// What a transaction pays that the broker holds back: its retry interval (version 2).
const HELD_BACK_COSTS: Duration = Duration::from_millis(20);
/// What a transaction pays that is told to come again: a round trip, and the first step of our own back-off (version 1).
const TOO_EARLY_COSTS: Duration = Duration::from_millis(2);
/// Where a pause begins that grows from nothing.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
/// A first answer that takes this much longer than usual was held back by the broker.
const HELD_BACK: Duration = Duration::from_millis(15);
/// After so many of the longest pauses that changed nothing, it is not the markers that are slow.
const IN_VAIN: u32 = 8;
/// How fast what was usual is forgotten: by this part with each transaction.
const FORGET: u32 = 256;
/// Within so many transactions, two that came too early are no accident.
const RECENT: u32 = 16;
/// The least by which a pause shrinks: the shortest one is gone by the time it has cost as much as a transaction that is held back.
const LEAST_SHRINK: Duration = Duration::from_nanos(250);

/// What the first answer of a transaction said about the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstAnswer {
    /// Only its time tells.
    Given,
    /// CONCURRENT_TRANSACTIONS: the markers were not written yet.
    TooEarly,
}

/// What was learned of one coordinator.
#[derive(Clone, Copy, Debug)]
struct Window {
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
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// No transaction has ended, or the next is under way and taught its lesson.
    Idle,
    Ended {
        coordinator: NodeId,
        at: Instant,
    },
    /// The first request of the next transaction is out.
    First {
        coordinator: NodeId,
        gap: Duration,
        sent: Instant,
    },
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
        self.windows
            .entry(coordinator)
            .or_insert(Window::UNKNOWN)
            .learn_end(latency);
        self.stage = Stage::Ended { coordinator, at: now };
    }

    /// Until when the first request of the next transaction waits; `None` when it may go.
    pub(crate) fn holds_until(&self, now: Instant) -> Option<Instant> {
        let Stage::Ended { coordinator, at } = self.stage else {
            return None;
        };
        let until = at + self.windows.get(&coordinator)?.pause;
        (now < until).then_some(until)
    }

    /// A request that adds to the transaction goes out. Only the first after an end counts.
    pub(crate) fn sent(&mut self, now: Instant) {
        if let Stage::Ended { coordinator, at } = self.stage {
            let gap = now - at;
            self.stage = Stage::First {
                coordinator,
                gap,
                sent: now,
            };
        }
    }

    /// A request that adds to the transaction was answered. Only the first after an end counts.
    pub(crate) fn answered(&mut self, answer: FirstAnswer, now: Instant) {
        let Stage::First {
            coordinator,
            gap,
            sent,
        } = self.stage
        else {
            return;
        };
        self.stage = Stage::Idle;
        let window = self.windows.entry(coordinator).or_insert(Window::UNKNOWN);
        match answer {
            FirstAnswer::TooEarly => window.grow(gap, TOO_EARLY_COSTS),
            FirstAnswer::Given => window.learn_first(now - sent, gap),
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
            .map_or(Duration::ZERO, |window| window.pause)
    }
}

impl Window {
    const UNKNOWN: Self = Self {
        pause: Duration::ZERO,
        in_time: RECENT,
        cost: Duration::ZERO,
        end: None,
        slow: Duration::ZERO,
        in_vain: 0,
    };

    /// A pause that is still being looked for triples, one that was found grows by half. None is longer than half of what it saves.
    fn grow(&mut self, gap: Duration, cost: Duration) {
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

    fn learn_end(&mut self, latency: Duration) {
        let usual = self.end.unwrap_or(latency);
        self.end = Some(latency.min(usual + usual / FORGET));
        self.slow -= self.slow / FORGET;
    }

    fn learn_first(&mut self, latency: Duration, gap: Duration) {
        let usual = (self.end.unwrap_or(latency) * 2).max(self.slow);
        if latency < usual + HELD_BACK {
            self.in_vain = 0;
            self.in_time = self.in_time.saturating_add(1);
            if gap <= self.pause * 2 {
                self.shrink();
            }
            return;
        }
        if gap >= HELD_BACK_COSTS / 2 {
            self.in_vain += 1;
        }
        if self.in_vain < IN_VAIN {
            self.held_back(gap);
        } else {
            *self = Self {
                end: self.end,
                slow: latency,
                ..Self::UNKNOWN
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COORDINATOR: NodeId = NodeId(1);
    const MILLI: Duration = Duration::from_millis(1);
    const ROUND_TRIP: Duration = Duration::from_micros(300);

    /// A producer, and a coordinator that holds back who comes too early.
    struct Play {
        pace: Pace,
        now: Instant,
        /// How long a first answer takes that is not held back.
        answer: Duration,
        held_back: usize,
    }

    impl Play {
        fn new() -> Self {
            Self {
                pace: Pace::new(),
                now: Instant::ORIGIN,
                answer: ROUND_TRIP,
                held_back: 0,
            }
        }

        /// Ends a transaction whose markers take `window`, and begins the next after `idle`.
        fn transaction(&mut self, window: Duration, idle: Duration) {
            self.pace.ended(COORDINATOR, ROUND_TRIP, self.now);
            let written = self.now + window;
            self.now += idle;
            self.now = self.pace.holds_until(self.now).unwrap_or(self.now);
            self.pace.sent(self.now);
            if self.now < written {
                self.held_back += 1;
                self.now += 20 * MILLI;
            }
            self.now += self.answer;
            self.pace.answered(FirstAnswer::Given, self.now);
        }

        fn pause(&self) -> Duration {
            self.pace.pause(COORDINATOR)
        }
    }

    /// The pause becomes as long as the window, and stays there: of a thousand transactions hardly any is held back.
    #[test]
    fn a_pause_as_long_as_the_window_is_learned() {
        let mut play = Play::new();
        for _ in 0..20 {
            play.transaction(MILLI / 2, Duration::ZERO);
        }
        play.held_back = 0;
        for _ in 0..1000 {
            play.transaction(MILLI / 2, Duration::ZERO);
            assert!(play.pause() <= MILLI, "{:?}", play.pause());
        }
        assert!(
            (1..=8).contains(&play.held_back),
            "{} were held back",
            play.held_back
        );
    }

    /// Where markers are written at once, nobody waits.
    #[test]
    fn without_a_window_there_is_no_pause() {
        let mut play = Play::new();
        for _ in 0..100 {
            play.transaction(Duration::ZERO, Duration::ZERO);
        }
        assert_eq!(play.pause(), Duration::ZERO);
    }

    /// What the application itself took counts: who comes late does not wait, and the pause stays as it was.
    #[test]
    fn a_slow_application_neither_waits_nor_teaches() {
        let mut play = Play::new();
        play.transaction(MILLI, Duration::ZERO);
        play.transaction(MILLI, Duration::ZERO);
        let learned = play.pause();
        assert!(learned > Duration::ZERO);
        for _ in 0..100 {
            let before = play.now;
            play.transaction(MILLI, 30 * MILLI);
            assert_eq!(play.now - before, 30 * MILLI + ROUND_TRIP);
        }
        assert_eq!(play.pause(), learned);
    }

    /// However long the markers take, the pause stays below the broker's own interval, and is given up when it is of no use.
    #[test]
    fn a_pause_is_bounded() {
        let mut play = Play::new();
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            play.transaction(1000 * MILLI, Duration::ZERO);
            longest = longest.max(play.pause());
        }
        assert_eq!(longest, HELD_BACK_COSTS / 2);
    }

    /// A broker that has just started takes long, and hardly any transaction finds out how long.
    #[test]
    fn a_long_window_is_learned_from_few_transactions() {
        let mut play = Play::new();
        while play.pause() < 8 * MILLI {
            play.transaction(8 * MILLI, Duration::ZERO);
        }
        // The accident, then 0.1, 0.3, 0.9, 2.7 and 8.1 milliseconds.
        assert_eq!(play.held_back, 6);
    }

    /// A single answer that is late says nothing about markers, and nobody waits because of it.
    #[test]
    fn one_late_answer_is_an_accident() {
        let mut play = Play::new();
        for number in 0..1000 {
            let is_late = number % 100 == 50;
            play.transaction(if is_late { MILLI } else { Duration::ZERO }, Duration::ZERO);
            assert_eq!(play.pause(), Duration::ZERO);
        }
    }

    /// A pause that was learned by mistake is gone when it has cost as much as it could have saved.
    #[test]
    fn a_pause_that_saves_nothing_is_given_up() {
        let mut play = Play::new();
        play.transaction(MILLI, Duration::ZERO);
        play.transaction(MILLI, Duration::ZERO);
        assert_eq!(play.pause(), SHORTEST_PAUSE);
        for _ in 0..SHORTEST_PAUSE.div_duration_f64(LEAST_SHRINK) as usize {
            play.transaction(Duration::ZERO, Duration::ZERO);
        }
        assert_eq!(play.pause(), Duration::ZERO);
    }

    /// With version 1 the coordinator says itself that the request came too early.
    #[test]
    fn a_refusal_that_came_too_early_teaches_as_well() {
        let mut play = Play::new();
        play.pace.ended(COORDINATOR, ROUND_TRIP, play.now);
        play.pace.sent(play.now);
        play.pace.answered(FirstAnswer::TooEarly, play.now + ROUND_TRIP);
        assert_eq!(play.pause(), SHORTEST_PAUSE);
    }

    /// A leader that is slow for another reason is found out, and hardly any transaction waits for it in vain.
    #[test]
    fn slow_partitions_are_not_taken_for_slow_markers() {
        let mut play = Play::new();
        play.answer = 40 * MILLI;
        let mut waited = 0;
        for _ in 0..1000 {
            play.transaction(Duration::ZERO, Duration::ZERO);
            waited += usize::from(play.pause() > MILLI);
        }
        assert!(waited < 250, "{waited}");
    }
}
