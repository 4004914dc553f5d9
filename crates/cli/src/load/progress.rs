//! Showing a person how far the load is: a bar on a terminal, a line every few seconds elsewhere. Always on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::summary::Tally;
use crate::clock::{self, Instant};

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Where progress is shown.
pub(crate) struct Progress {
    display: Display,
    /// The input's size, when it is known.
    size: Option<u64>,
    started: Instant,
}

enum Display {
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Progress {
    /// Begins to show a load that stands at `tally`, of an input of `size` bytes if that is known.
    pub(crate) fn start(size: Option<u64>, tally: &Tally) -> Self {
        let started = clock::now();
        let display = if io::stderr().is_terminal() {
            Display::Bar(bar(size, tally))
        } else {
            Display::Lines {
                next: started + LINE_INTERVAL,
            }
        };
        Self {
            display,
            size,
            started,
        }
    }

    /// The load has come to `tally`.
    pub(crate) fn update(&mut self, tally: &Tally) {
        let now = clock::now();
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_position(tally.standing.byte);
                bar.set_message(counts(tally, now - self.started));
            }
            Display::Lines { next } if now >= *next => {
                *next = now + LINE_INTERVAL;
                let elapsed = now - self.started;
                say(&format!(
                    "{}{}",
                    text(tally, elapsed),
                    remaining(tally, self.size, elapsed)
                ));
            }
            Display::Lines { .. } => {}
        }
    }

    /// Says something without tearing the bar.
    pub(crate) fn note(&self, sentence: &str) {
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| say(sentence)),
            Display::Lines { .. } => say(sentence),
        }
    }

    /// Takes the bar away: the summary follows.
    pub(crate) fn finish(self) {
        if let Display::Bar(bar) = self.display {
            bar.finish_and_clear();
        }
    }
}

/// A sentence for the person at standard error. If that is closed, nobody misses it.
pub(crate) fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "{sentence}");
}

fn bar(size: Option<u64>, tally: &Tally) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:24} {percent:>3}% {bytes}/{total_bytes}, {msg}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {msg}"),
    };
    bar.set_style(
        ProgressStyle::with_template(template).expect("the template is a constant that a test renders"),
    );
    bar.set_position(tally.standing.byte);
    bar.set_message(counts(tally, Duration::ZERO));
    bar.reset_eta();
    bar
}

/// A line of progress. A bar shows the bytes by itself.
fn text(tally: &Tally, elapsed: Duration) -> String {
    format!("{} bytes, {}", tally.standing.byte, counts(tally, elapsed))
}

fn counts(tally: &Tally, elapsed: Duration) -> String {
    let rate = per_second(tally.lines, elapsed);
    format!(
        "{} lines, {} transactions, {rate:.0} lines/s",
        tally.standing.line, tally.committed
    )
}

fn remaining(tally: &Tally, size: Option<u64>, elapsed: Duration) -> String {
    let rate = per_second(tally.bytes, elapsed);
    match size {
        Some(size) if rate > 0.0 => format!(
            ", {:.0} s left",
            size.saturating_sub(tally.standing.byte) as f64 / rate
        ),
        _ => String::new(),
    }
}

fn per_second(number: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        0.0
    } else {
        number as f64 / elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::lines::Position;

    fn tally() -> Tally {
        let standing = Position { byte: 500, line: 50 };
        Tally {
            standing,
            lines: 40,
            bytes: 400,
            committed: 4,
            ..Tally::default()
        }
    }

    #[test]
    fn a_line_of_progress_tells_lines_bytes_transactions_rate_and_time_left() {
        let elapsed = Duration::from_secs(2);
        assert_eq!(
            text(&tally(), elapsed),
            "500 bytes, 50 lines, 4 transactions, 20 lines/s"
        );
        assert_eq!(remaining(&tally(), Some(900), elapsed), ", 2 s left");
        assert_eq!(remaining(&tally(), None, elapsed), "");
        assert_eq!(remaining(&Tally::default(), Some(900), Duration::ZERO), "");
    }

    #[test]
    fn both_bars_have_a_template_that_renders() {
        bar(Some(10), &tally()).finish_and_clear();
        bar(None, &tally()).finish_and_clear();
    }
}
