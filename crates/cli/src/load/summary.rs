//! What a load has done, counted while it runs and told at its end.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::compare::Findings;
use super::lines::{LineBatch, Position};
use crate::failure::FailureKind;

/// The counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Where this run began.
    pub(crate) resumed_at: Position,
    /// Behind the last committed line.
    pub(crate) standing: Position,
    /// Lines that this run committed.
    pub(crate) lines: u64,
    /// Bytes of the input that this run committed.
    pub(crate) bytes: u64,
    /// Committed transactions.
    pub(crate) committed: u64,
    /// Aborted transactions.
    pub(crate) aborted: u64,
    /// Transactions that were done again after an abort.
    pub(crate) retries: u64,
}

impl Tally {
    /// The counts of a run that begins at `position`.
    pub(crate) fn beginning_at(position: Position) -> Self {
        Self {
            resumed_at: position,
            standing: position,
            ..Self::default()
        }
    }

    /// A transaction with these lines was committed.
    pub(crate) fn commit(&mut self, batch: &LineBatch) {
        self.committed += 1;
        self.lines += batch.line_count();
        self.bytes += batch.byte_count();
        self.standing = batch.next;
    }

    /// Where the job stands, for a failure's text.
    pub(crate) fn sentence(&self) -> String {
        format!("{} are loaded and committed", count(self.standing.line, "line"))
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    /// All lines are in the topic.
    Done,
    /// The user ended it.
    Stopped,
    /// Another instance took over.
    Fenced,
    /// Something else.
    Failed,
}

impl From<FailureKind> for Ending {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Interrupted => Self::Stopped,
            FailureKind::Fenced => Self::Fenced,
            FailureKind::Failed | FailureKind::Usage => Self::Failed,
        }
    }
}

/// The end of a run, for a person or a program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary<'a> {
    /// How it ended.
    pub(crate) outcome: Ending,
    /// The input as it was named.
    pub(crate) file: String,
    /// The target.
    pub(crate) topic: &'a str,
    /// The job.
    pub(crate) transactional_id: &'a str,
    /// Lines that this run committed.
    pub(crate) lines: u64,
    /// Bytes of the input that this run committed.
    pub(crate) bytes: u64,
    /// Committed transactions.
    pub(crate) transactions_committed: u64,
    /// Aborted transactions.
    pub(crate) transactions_aborted: u64,
    /// Transactions that were done again after an abort.
    pub(crate) retries: u64,
    /// Lines that earlier runs had committed.
    pub(crate) resumed_at: u64,
    /// Lines of the input that are committed now, by this and earlier runs.
    pub(crate) lines_in_topic: u64,
    /// From the start of the program's work to the last commit.
    pub(crate) seconds: f64,
    /// What reading back has shown, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_back: Option<Findings>,
}

impl<'a> Summary<'a> {
    /// The summary of these counts.
    pub(crate) fn of(
        tally: &Tally,
        outcome: Ending,
        elapsed: Duration,
        names: [&'a str; 2],
        file: String,
    ) -> Self {
        Self {
            outcome,
            file,
            topic: names[0],
            transactional_id: names[1],
            lines: tally.lines,
            bytes: tally.bytes,
            transactions_committed: tally.committed,
            transactions_aborted: tally.aborted,
            retries: tally.retries,
            resumed_at: tally.resumed_at.line,
            lines_in_topic: tally.standing.line,
            seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            read_back: None,
        }
    }

    /// The summary as a person reads it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}: {} ({} bytes) of {} into topic {} in {} committed, {} aborted, {:.1} s",
            match self.outcome {
                Ending::Done => "loaded",
                Ending::Stopped | Ending::Fenced | Ending::Failed => "loaded before the end",
            },
            count(self.lines, "line"),
            self.bytes,
            self.file,
            self.topic,
            count(self.transactions_committed, "transaction"),
            self.transactions_aborted,
            self.seconds,
        );
        if self.resumed_at > 0 {
            let _ = write!(text, "; resumed behind line {}", self.resumed_at);
        }
        if self.retries > 0 {
            let _ = write!(text, "; {}", count(self.retries, "retry"));
        }
        if let Some(findings) = &self.read_back {
            let _ = write!(text, "\n{}", findings_text(findings));
        }
        text
    }
}

/// What reading back has shown, as a sentence.
pub(crate) fn findings_text(findings: &Findings) -> String {
    let mut text = format!(
        "read back with read_committed: {} in {}",
        count(findings.records, "record"),
        count(findings.partitions, "partition")
    );
    if findings.is_exactly_once() {
        text.push_str("; each line is there exactly once, in the file's order within each partition");
    }
    let faults = [
        (findings.missing, "missing"),
        (findings.doubled, "doubled"),
        (findings.out_of_order, "out of order"),
        (findings.foreign, "not from this file"),
    ];
    for (number, what) in faults.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(text, "; {number} {what}");
    }
    text
}

fn count(number: u64, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary<'static> {
        let tally = Tally {
            resumed_at: Position { byte: 10, line: 2 },
            standing: Position { byte: 40, line: 5 },
            lines: 3,
            bytes: 30,
            committed: 1,
            aborted: 2,
            retries: 2,
        };
        Summary::of(
            &tally,
            Ending::Done,
            Duration::from_millis(1500),
            ["t", "i"],
            "f".to_owned(),
        )
    }

    #[test]
    fn a_program_finds_each_count_by_name() {
        let json = serde_json::to_value(summary()).expect("plain fields");
        for (key, number) in [
            ("lines", 3),
            ("bytes", 30),
            ("transactions_committed", 1),
            ("transactions_aborted", 2),
            ("resumed_at", 2),
            ("retries", 2),
            ("lines_in_topic", 5),
        ] {
            assert_eq!(json[key], number, "{key}");
        }
        assert_eq!(json["seconds"], 1.5);
        assert_eq!(json["outcome"], "done");
    }

    #[test]
    fn a_person_reads_a_sentence() {
        let mut summary = summary();
        summary.read_back = Some(Findings {
            records: 5,
            partitions: 1,
            ..Findings::default()
        });
        assert_eq!(
            summary.text(),
            "loaded: 3 lines (30 bytes) of f into topic t in 1 transaction committed, 2 aborted, 1.5 s; resumed behind line 2; 2 retries\n\
             read back with read_committed: 5 records in 1 partition; each line is there exactly once, in the file's order within each partition"
        );
    }

    #[test]
    fn faults_are_told_by_number() {
        let text = findings_text(&Findings {
            records: 9,
            partitions: 2,
            missing: 1,
            foreign: 3,
            ..Findings::default()
        });
        assert!(text.ends_with("; 1 missing; 3 not from this file"), "{text}");
        assert!(!text.contains("exactly once"), "{text}");
    }
}
