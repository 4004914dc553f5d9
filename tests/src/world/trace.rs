//! What happened, one line each, with its virtual time.

use std::fmt::{Display, Write};

use kommit_protocol::time::Instant;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Trace(String);

impl Trace {
    pub(crate) fn line(&mut self, now: Instant, who: &str, what: impl Display) {
        let micros = now.as_nanos() / 1_000;
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        writeln!(self.0, "{millis:>7}.{rest:03} {who:<10} {what}").expect("a string takes every line");
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
