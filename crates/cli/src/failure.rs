//! How the program ends when it does not end well: what happened, what to do next, and the exit code.
//!
//! A failure is text for a person. Code never decides on its words.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why the program ends, as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The class that the exit code tells.
    pub(crate) kind: FailureKind,
    /// What happened, naming the broker, the setting or the line.
    pub(crate) what: String,
    /// What to do next.
    pub(crate) next: String,
}

/// The classes of failure, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The job could not be done: 1.
    Failed,
    /// The command line asks for something impossible: 2 (as clap's own errors).
    Usage,
    /// Another instance with the same transactional id took over: 3.
    Fenced,
    /// The user ended it: 130.
    Interrupted,
}

impl FailureKind {
    /// The number that the process ends with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Fenced => 3,
            Self::Interrupted => 130,
        }
    }
}

impl Failure {
    /// The job could not be done.
    pub(crate) fn failed(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Failed,
            what: what.into(),
            next: next.into(),
        }
    }

    /// The command line asks for something impossible.
    pub(crate) fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Usage,
            what: what.into(),
            next: next.into(),
        }
    }

    /// Another instance with the same transactional id took over.
    pub(crate) fn fenced(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Fenced,
            what: what.into(),
            next: next.into(),
        }
    }

    /// The user ended it.
    pub(crate) fn interrupted(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Interrupted,
            what: what.into(),
            next: next.into(),
        }
    }

    /// The same failure, with a sentence about where the job stands put behind what happened.
    #[must_use]
    pub(crate) fn standing(mut self, sentence: &str) -> Self {
        self.what.push_str("; ");
        self.what.push_str(sentence);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = match self.kind {
            FailureKind::Interrupted => "stopped",
            FailureKind::Failed | FailureKind::Usage | FailureKind::Fenced => "error",
        };
        write!(f, "{title}: {}\n next: {}", self.what, self.next)
    }
}

/// The exit code of a failure.
pub(crate) fn exit_code(failure: &Failure) -> ExitCode {
    ExitCode::from(failure.kind.number())
}

/// Standard output is gone (a closed pipe, a full disk).
pub(crate) fn output_failed(error: io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space where it is written to",
        _ => "look at the program or file that reads it",
    };
    Failure::failed(format!("standard output cannot be written: {error}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_failure_has_its_exit_code() {
        let numbers = [
            FailureKind::Failed,
            FailureKind::Usage,
            FailureKind::Fenced,
            FailureKind::Interrupted,
        ]
        .map(FailureKind::number);
        assert_eq!(numbers, [1, 2, 3, 130]);
    }

    #[test]
    fn a_failure_says_what_happened_and_what_to_do_next() {
        let failure =
            Failure::failed("no broker answers at 127.0.0.1:1", "start one").standing("17 lines are loaded");
        assert_eq!(
            failure.to_string(),
            "error: no broker answers at 127.0.0.1:1; 17 lines are loaded\n next: start one"
        );
    }
}
