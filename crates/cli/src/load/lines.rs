//! Bytes in, batches of lines out, in bounded memory. No files, no waiting.
//!
//! A line ends at `\n`, which is not part of it; every other byte, a `\r` before it too, is kept. What stands behind the last `\n` is a line as well,
//! unless it is empty.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A place between two lines of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Bytes before it.
    pub(crate) byte: u64,
    /// Lines before it.
    pub(crate) line: u64,
}

/// How large a batch and a line may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Lines in a batch.
    pub(crate) lines: usize,
    /// Bytes in a batch of more than one line.
    pub(crate) batch_bytes: u64,
    /// Bytes in a line.
    pub(crate) line_bytes: u64,
}

/// A line that is longer than [`Limits::line_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// The limit.
    pub(crate) limit: u64,
}

/// Consecutive lines: what one transaction loads.
#[derive(Clone, Debug)]
pub(crate) struct LineBatch {
    text: Bytes,
    /// Where each line ends in `text`, its `\n` not included.
    ends: Vec<usize>,
    /// The place before the first line.
    pub(crate) start: Position,
    /// The place behind the last line.
    pub(crate) next: Position,
}

impl LineBatch {
    /// The lines, each with its number from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        starts
            .zip(&self.ends)
            .zip(self.start.line + 1..)
            .map(|((start, end), number)| (number, self.text.slice(start..*end)))
    }

    /// How many lines there are.
    pub(crate) fn line_count(&self) -> u64 {
        self.next.line - self.start.line
    }

    /// How many bytes the lines take in the input.
    pub(crate) fn byte_count(&self) -> u64 {
        self.next.byte - self.start.byte
    }
}

/// Cuts a stream of bytes into batches of lines.
#[derive(Debug)]
pub(crate) struct LineAssembler {
    limits: Limits,
    /// What was read and not given out; begins at `position`.
    text: BytesMut,
    position: Position,
    /// The line ends in `text`, as places in the input.
    ends: VecDeque<u64>,
    too_long: Option<LineTooLong>,
}

impl LineAssembler {
    /// An assembler whose first byte stands at `position` of the input.
    pub(crate) fn new(position: Position, limits: Limits) -> Self {
        Self {
            limits,
            text: BytesMut::new(),
            position,
            ends: VecDeque::new(),
            too_long: None,
        }
    }

    /// Takes over the next bytes. Behind a line that is too long nothing is taken any more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let (None, false) = (self.too_long, rest.is_empty()) {
            let line_end = rest.iter().position(|byte| *byte == b'\n');
            let (line, taken) = line_end.map_or((rest.len(), rest.len()), |end| (end, end + 1));
            if self.open_line_bytes() + line as u64 > self.limits.line_bytes {
                self.too_long = Some(LineTooLong {
                    line: self.open_line_number(),
                    limit: self.limits.line_bytes,
                });
                return;
            }
            self.text.extend_from_slice(&rest[..taken]);
            if line_end.is_some() {
                self.ends.push_back(self.text_end() - 1);
            }
            rest = &rest[taken..];
        }
    }

    /// The input has ended: what stands behind the last line end becomes a line.
    pub(crate) fn finish(&mut self) {
        if self.too_long.is_none() && self.open_line_bytes() > 0 {
            self.ends.push_back(self.text_end());
        }
    }

    /// Whether a whole batch is there, or none will ever be.
    pub(crate) fn is_full(&self) -> bool {
        self.too_long.is_some()
            || self.ends.len() >= self.limits.lines
            || self.text_end() - self.position.byte >= self.limits.batch_bytes && !self.ends.is_empty()
    }

    /// Whether there is at least one whole line.
    pub(crate) fn has_line(&self) -> bool {
        !self.ends.is_empty()
    }

    /// The whole lines that are there, up to the limits; `None` when there is none. A line that is too long is reported when all before it are taken.
    pub(crate) fn take(&mut self) -> Result<Option<LineBatch>, LineTooLong> {
        let fitting = self
            .ends
            .iter()
            .take(self.limits.lines)
            .take_while(|end| **end - self.position.byte <= self.limits.batch_bytes)
            .count();
        let count = fitting.max(1).min(self.ends.len());
        if count == 0 {
            return self.too_long.map_or(Ok(None), Err);
        }
        let start = self.position;
        let ends: Vec<usize> = self
            .ends
            .drain(..count)
            .map(|end| distance(start.byte, end))
            .collect();
        let last_end = ends.last().copied().unwrap_or_default();
        // The last line of the input may have no line end.
        let text = self.text.split_to((last_end + 1).min(self.text.len())).freeze();
        self.position = Position {
            byte: start.byte + text.len() as u64,
            line: start.line + count as u64,
        };
        Ok(Some(LineBatch {
            text,
            ends,
            start,
            next: self.position,
        }))
    }

    fn text_end(&self) -> u64 {
        self.position.byte + self.text.len() as u64
    }

    fn open_line_bytes(&self) -> u64 {
        self.text_end() - self.ends.back().map_or(self.position.byte, |end| end + 1)
    }

    fn open_line_number(&self) -> u64 {
        self.position.line + self.ends.len() as u64 + 1
    }
}

fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to - from).expect("a batch was held in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        lines: 2,
        batch_bytes: 100,
        line_bytes: 10,
    };

    fn assemble(limits: Limits, chunks: &[&str]) -> (Vec<Vec<String>>, Option<LineTooLong>, Position) {
        let mut assembler = LineAssembler::new(Position::default(), limits);
        chunks.iter().for_each(|chunk| assembler.push(chunk.as_bytes()));
        assembler.finish();
        let (mut batches, mut next) = (Vec::new(), Position::default());
        loop {
            match assembler.take() {
                Ok(Some(batch)) => {
                    assert_eq!(batch.start, next, "batches follow each other without a gap");
                    next = batch.next;
                    batches.push(
                        batch
                            .lines()
                            .map(|(_, line)| String::from_utf8_lossy(&line).into_owned())
                            .collect(),
                    );
                }
                Ok(None) => return (batches, None, next),
                Err(too_long) => return (batches, Some(too_long), next),
            }
        }
    }

    #[test]
    fn lines_are_cut_wherever_the_chunks_end() {
        let (batches, _, next) = assemble(LIMITS, &["a\nb", "c\n", "\nd", "e"]);
        assert_eq!(batches, [vec!["a", "bc"], vec!["", "de"]]);
        assert_eq!(next, Position { byte: 8, line: 4 });
    }

    #[test]
    fn a_last_line_without_line_end_is_a_line_and_an_empty_one_is_not() {
        assert_eq!(assemble(LIMITS, &["a"]).0, [vec!["a"]]);
        assert_eq!(assemble(LIMITS, &["a\n"]).0, [vec!["a"]]);
        assert!(assemble(LIMITS, &[""]).0.is_empty());
        assert_eq!(assemble(LIMITS, &["\n"]).0, [vec![""]]);
    }

    #[test]
    fn only_the_line_feed_is_taken_off() {
        assert_eq!(assemble(LIMITS, &["a\r\n", " b \n"]).0, [vec!["a\r", " b "]]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_when_all_before_it_are_taken() {
        let (batches, too_long, next) = assemble(LIMITS, &["a\nb\nc\n01234", "567890\nd\n"]);
        assert_eq!(batches, [vec!["a", "b"], vec!["c"]]);
        assert_eq!(too_long, Some(LineTooLong { line: 4, limit: 10 }));
        assert_eq!(next, Position { byte: 6, line: 3 });
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes() {
        assert_eq!(assemble(LIMITS, &["0123456789\n"]).1, None);
    }

    #[test]
    fn a_batch_ends_before_its_bytes_pass_the_limit() {
        let limits = Limits {
            lines: 100,
            batch_bytes: 5,
            line_bytes: 10,
        };
        let (batches, ..) = assemble(limits, &["aa\nbb\ncc\n", "12345678\ndd\n"]);
        assert_eq!(
            batches,
            [vec!["aa", "bb"], vec!["cc"], vec!["12345678"], vec!["dd"]]
        );
    }

    #[test]
    fn numbers_and_places_go_on_from_where_the_input_was_entered() {
        let mut assembler = LineAssembler::new(Position { byte: 100, line: 7 }, LIMITS);
        assembler.push(b"x\ny\n");
        assert!(assembler.is_full());
        let batch = assembler.take().expect("short lines").expect("two lines");
        assert_eq!(
            batch.lines().map(|(number, _)| number).collect::<Vec<_>>(),
            [8, 9]
        );
        assert_eq!(
            (batch.next, batch.line_count(), batch.byte_count()),
            (Position { byte: 104, line: 9 }, 2, 4)
        );
    }
}
