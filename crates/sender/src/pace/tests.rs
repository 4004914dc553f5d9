//! A producer against a coordinator that takes a known time for its markers.

use super::window::LEAST_SHRINK;
use super::*;

const COORDINATOR: NodeId = NodeId(1);
const MILLI: Duration = Duration::from_millis(1);
const ROUND_TRIP: Duration = Duration::from_micros(300);

/// A producer, and a coordinator that holds back who comes too early.
struct Play {
    pace: Pace,
    now: Instant,
    /// Whether the coordinator says that the markers are written.
    questions: Questions,
    asked: usize,
    /// How long a first answer takes that is not held back.
    answer: Duration,
    held_back: usize,
}

enum Questions {
    Answered,
    /// The coordinator has no such request, so none is sent.
    Unknown,
    Lost,
}

impl Play {
    /// With a coordinator that knows no questions.
    fn new() -> Self {
        Self::with(Questions::Unknown)
    }

    fn with(questions: Questions) -> Self {
        Self {
            pace: Pace::new(),
            now: Instant::ORIGIN,
            questions,
            asked: 0,
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
        while let Some(question) = self.pace.question(self.now) {
            self.ask(question, written);
            self.now = self.pace.holds_until(self.now).unwrap_or(self.now);
        }
        self.pace.sent(self.now);
        if self.now < written {
            self.held_back += 1;
            self.now += 20 * MILLI;
        }
        self.now += self.answer;
        self.pace.answered(FirstAnswer::Given, self.now);
    }

    fn ask(&mut self, question: MarkersQuestion, written: Instant) {
        self.asked += 1;
        self.pace.asked(self.now);
        let told = match self.questions {
            Questions::Lost => return,
            Questions::Unknown => MarkersTold::Refused,
            Questions::Answered if self.now < written => MarkersTold::TooEarly,
            Questions::Answered => MarkersTold::Written,
        };
        if told != MarkersTold::Refused {
            self.now += ROUND_TRIP;
        }
        self.pace.told(question, told, self.now);
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

/// A coordinator that is asked needs two transactions that were held back, however long its windows are, and no two of them alike.
#[test]
fn whoever_asks_is_held_back_no_more() {
    let mut play = Play::with(Questions::Answered);
    for number in 0..1000 {
        let window = if number % 10 == 0 { 12 * MILLI } else { MILLI / 2 };
        play.transaction(window, Duration::ZERO);
    }
    assert_eq!(play.held_back, 2);
    assert!(play.pause() < MILLI / 2, "{:?}", play.pause());
    assert!((1000..2500).contains(&play.asked), "{} questions", play.asked);
}

/// In balance, three first questions in ten come too early.
#[test]
fn most_first_questions_are_the_only_ones() {
    let mut play = Play::with(Questions::Answered);
    for _ in 0..200 {
        play.transaction(4 * MILLI, Duration::ZERO);
    }
    play.asked = 0;
    for _ in 0..1000 {
        play.transaction(4 * MILLI, Duration::ZERO);
    }
    assert!((1200..1400).contains(&play.asked), "{} questions", play.asked);
}

/// Who comes later than any window asks nobody.
#[test]
fn a_slow_application_does_not_ask() {
    let mut play = Play::with(Questions::Answered);
    play.transaction(MILLI, Duration::ZERO);
    play.transaction(MILLI, Duration::ZERO);
    for _ in 0..100 {
        play.transaction(MILLI, 30 * MILLI);
    }
    assert_eq!(play.asked, 0);
}

/// Questions that are not needed come to an end, and so does the pause.
#[test]
fn questions_that_are_not_needed_come_to_an_end() {
    let mut play = Play::with(Questions::Answered);
    play.transaction(MILLI, Duration::ZERO);
    play.transaction(MILLI, Duration::ZERO);
    for _ in 0..2000 {
        play.transaction(Duration::ZERO, Duration::ZERO);
    }
    assert_eq!(play.asked, 1001);
    assert_eq!(play.pause(), Duration::ZERO);
}

/// Neither markers that are never written nor an answer that never comes hold a transaction longer than the broker does.
#[test]
fn questions_hold_nobody_longer_than_the_broker() {
    for questions in [Questions::Answered, Questions::Lost] {
        let mut play = Play::with(questions);
        play.transaction(MILLI, Duration::ZERO);
        play.transaction(MILLI, Duration::ZERO);
        let before = play.now;
        play.transaction(1000 * MILLI, Duration::ZERO);
        assert!(play.asked > 0);
        let held = play.now - before - HELD_BACK_COSTS - ROUND_TRIP;
        assert!(held <= HELD_BACK_COSTS + ROUND_TRIP + 10 * MILLI, "{held:?}");
    }
}

/// An answer about a transaction says nothing about the next one.
#[test]
fn a_late_answer_is_not_about_this_transaction() {
    let mut play = Play::with(Questions::Lost);
    play.transaction(MILLI, Duration::ZERO);
    play.transaction(MILLI, Duration::ZERO);
    play.pace.ended(COORDINATOR, ROUND_TRIP, play.now);
    let now = play.pace.holds_until(play.now).unwrap_or(play.now);
    let late = play.pace.question(now).expect("two were held back");
    play.pace.asked(now);
    play.pace.sent(now + HELD_BACK_COSTS);
    let ended = now + 2 * HELD_BACK_COSTS;
    play.pace.ended(COORDINATOR, ROUND_TRIP, ended);
    let now = play.pace.holds_until(ended).unwrap_or(ended);
    assert!(play.pace.question(now).is_some());
    play.pace.asked(now);
    play.pace.told(late, MarkersTold::Written, now);
    assert_eq!(play.pace.holds_until(now), Some(ended + HELD_BACK_COSTS));
}
