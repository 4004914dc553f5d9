//! Is each line in the topic once, and in the file's order within each partition? Lines in, records in, findings out.
//!
//! Lines and records are compared by 64-bit hashes. Equal lines cannot be told apart, so they are counted: a line that stands twice in the file is
//! right when it is read twice. The order within a partition is right when the partition's records are a subsequence of the file.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

/// The lines that the topic should hold, in the file's order: 8 bytes per line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    hashes: Vec<u64>,
}

impl Expected {
    /// The next line, as the record that it became.
    pub(crate) fn push(&mut self, key: Option<&[u8]>, value: &[u8]) {
        self.hashes.push(record_hash(key, Some(value)));
    }
}

/// What reading back has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    /// Records that were read.
    pub(crate) records: u64,
    /// Partitions that were read.
    pub(crate) partitions: u64,
    /// Lines of the file that are not in the topic.
    pub(crate) missing: u64,
    /// Records of lines that were already there.
    pub(crate) doubled: u64,
    /// Records that are no line of the file.
    pub(crate) foreign: u64,
    /// Records that stand behind a later line of their partition.
    pub(crate) out_of_order: u64,
}

impl Findings {
    /// Whether each line is there once and in order. Records of others do not matter.
    pub(crate) fn is_exactly_once(&self) -> bool {
        self.missing == 0 && self.doubled == 0 && self.out_of_order == 0
    }
}

/// A comparison that is under way, one partition after the other.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Hash and place of each line, sorted: the lines with one hash are a run.
    lines: Vec<(u64, usize)>,
    /// At the first position of each run: how many records had this hash.
    read: Vec<u64>,
    /// In the partition at hand: behind the line of its last record.
    place: usize,
    findings: Findings,
}

impl Comparison {
    /// A comparison with these lines.
    pub(crate) fn with(expected: Expected) -> Self {
        let mut lines: Vec<(u64, usize)> = expected.hashes.into_iter().zip(0..).collect();
        lines.sort_unstable();
        let read = vec![0; lines.len()];
        Self {
            lines,
            read,
            place: 0,
            findings: Findings::default(),
        }
    }

    /// The next records come from another partition.
    pub(crate) fn begin_partition(&mut self) {
        self.place = 0;
        self.findings.partitions += 1;
    }

    /// The next record of the partition at hand.
    pub(crate) fn record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.findings.records += 1;
        let hash = record_hash(key, value);
        let run = self.lines.partition_point(|line| *line < (hash, 0));
        if self.lines.get(run).is_none_or(|line| line.0 != hash) {
            self.findings.foreign += 1;
            return;
        }
        self.read[run] += 1;
        let later = run + self.lines[run..].partition_point(|line| *line < (hash, self.place));
        match self.lines.get(later) {
            Some((found, place)) if *found == hash => self.place = place + 1,
            _ => self.findings.out_of_order += 1,
        }
    }

    /// The end of the last partition.
    pub(crate) fn finish(mut self) -> Findings {
        let mut start = 0;
        for run in self.lines.chunk_by(|a, b| a.0 == b.0) {
            let (expected, read) = (run.len() as u64, self.read[start]);
            self.findings.missing += expected.saturating_sub(read);
            self.findings.doubled += read.saturating_sub(expected);
            start += run.len();
        }
        self.findings
    }
}

fn record_hash(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(lines: &str, partitions: &[&str]) -> Findings {
        let mut expected = Expected::default();
        lines.bytes().for_each(|line| expected.push(None, &[line]));
        let mut comparison = Comparison::with(expected);
        for partition in partitions {
            comparison.begin_partition();
            partition
                .bytes()
                .for_each(|record| comparison.record(None, Some(&[record])));
        }
        comparison.finish()
    }

    #[test]
    fn each_line_once_in_any_partition_is_right() {
        let findings = compare("abcdef", &["bde", "acf", ""]);
        assert_eq!(
            findings,
            Findings {
                records: 6,
                partitions: 3,
                ..Findings::default()
            }
        );
        assert!(findings.is_exactly_once());
    }

    #[test]
    fn equal_lines_are_counted() {
        assert!(compare("abaca", &["aba", "ca"]).is_exactly_once());
        assert!(compare("abac", &["ab", "ac"]).is_exactly_once());
        assert_eq!(compare("abaca", &["ab", "ca"]).missing, 1);
        assert_eq!(compare("aba", &["aba", "a"]).doubled, 1);
    }

    #[test]
    fn what_is_missing_doubled_foreign_or_out_of_order_is_counted() {
        assert_eq!(compare("abc", &["ac"]).missing, 1);
        let findings = compare("abc", &["abc", "b"]);
        assert_eq!((findings.doubled, findings.missing), (1, 0));
        let findings = compare("abc", &["abxc"]);
        assert_eq!((findings.foreign, findings.is_exactly_once()), (1, true));
        let findings = compare("abc", &["acb"]);
        assert_eq!((findings.out_of_order, findings.is_exactly_once()), (1, false));
    }

    #[test]
    fn a_key_makes_another_record() {
        let mut expected = Expected::default();
        expected.push(Some(b"k"), b"v");
        let mut comparison = Comparison::with(expected);
        comparison.begin_partition();
        comparison.record(None, Some(b"v"));
        let findings = comparison.finish();
        assert_eq!((findings.missing, findings.foreign), (1, 1));
    }
}
