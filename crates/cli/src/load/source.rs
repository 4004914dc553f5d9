//! The input as batches of lines: reads ahead no more than one batch.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::lines::{Limits, LineAssembler, LineBatch, LineTooLong, Position};

/// A batch of more than one line is not larger, whatever number of lines a transaction may have.
pub(crate) const BATCH_BYTES: u64 = 64 * 1024 * 1024;

const CHUNK_BYTES: usize = 256 * 1024;

/// How long a stream may pause before the lines that are there are loaded, so that they do not wait for a full transaction.
const STREAM_PAUSE: Duration = Duration::from_secs(1);

/// Whether lines may be held back until a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A file: the next bytes are there.
    File,
    /// A stream: the next bytes may be a long time coming.
    Stream,
}

/// Why no further line can be given out.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The input cannot be read.
    Unreadable(io::Error),
    /// A line does not fit a record.
    TooLong(LineTooLong),
}

/// An input that is read line by line.
pub(crate) struct LineSource {
    input: Box<dyn AsyncRead + Send + Unpin>,
    assembler: LineAssembler,
    chunk: Vec<u8>,
    pace: Pace,
    has_ended: bool,
}

impl LineSource {
    /// Lines of `input`, whose first byte stands at `position`.
    pub(crate) fn new(
        input: Box<dyn AsyncRead + Send + Unpin>,
        position: Position,
        pace: Pace,
        limits: Limits,
    ) -> Self {
        Self {
            input,
            assembler: LineAssembler::new(position, limits),
            chunk: vec![0; CHUNK_BYTES],
            pace,
            has_ended: false,
        }
    }

    /// The next lines, up to the limits; `None` at the end of the input.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was read stays for the next call.
    pub(crate) async fn next_batch(&mut self) -> Result<Option<LineBatch>, SourceError> {
        while !self.has_ended && !self.assembler.is_full() {
            let Some(count) = self.read_chunk().await.map_err(SourceError::Unreadable)? else {
                break;
            };
            self.assembler.push(&self.chunk[..count]);
            if count == 0 {
                self.has_ended = true;
                self.assembler.finish();
            }
        }
        self.assembler.take().map_err(SourceError::TooLong)
    }

    /// Reads some bytes (0: the end), or `None` when the stream pauses while there are lines to be loaded.
    async fn read_chunk(&mut self) -> io::Result<Option<usize>> {
        let reading = self.input.read(&mut self.chunk);
        if self.pace == Pace::File || !self.assembler.has_line() {
            return reading.await.map(Some);
        }
        match tokio::time::timeout(STREAM_PAUSE, reading).await {
            Ok(count) => count.map(Some),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        lines: 3,
        batch_bytes: BATCH_BYTES,
        line_bytes: 100,
    };

    fn source(input: impl AsyncRead + Send + Unpin + 'static, pace: Pace) -> LineSource {
        LineSource::new(Box::new(input), Position::default(), pace, LIMITS)
    }

    async fn line_counts(mut source: LineSource) -> Vec<u64> {
        let mut counts = Vec::new();
        while let Some(batch) = source.next_batch().await.expect("readable") {
            counts.push(batch.line_count());
        }
        counts
    }

    #[tokio::test]
    async fn a_file_is_given_out_in_full_batches() {
        let text: &'static [u8] = b"1\n2\n3\n4\n5";
        assert_eq!(line_counts(source(text, Pace::File)).await, [3, 2]);
        let empty: &'static [u8] = b"";
        assert!(line_counts(source(empty, Pace::File)).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_a_stream_that_pauses_do_not_wait_for_a_full_batch() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut source = source(reader, Pace::Stream);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"1\n2\nhal")
            .await
            .expect("open");
        let batch = source.next_batch().await.expect("readable").expect("two lines");
        assert_eq!(batch.line_count(), 2);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"f\n")
            .await
            .expect("open");
        drop(writer);
        let batch = source
            .next_batch()
            .await
            .expect("readable")
            .expect("the third line");
        assert_eq!(batch.lines().map(|(_, line)| line).collect::<Vec<_>>(), ["half"]);
    }
}
