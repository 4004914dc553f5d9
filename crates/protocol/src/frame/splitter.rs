//! Cuts a stream of bytes into frames. Knows nothing of what is in them.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::LENGTH_PREFIX;

/// A length prefix that no frame can have. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A frame of less than nothing.
    #[error("a frame declares the negative length {0}")]
    Negative(i32),
    /// A frame that is larger than the reader allows.
    #[error("a frame declares {len} bytes and at most {max} are allowed")]
    TooLarge {
        /// The declared length.
        len: usize,
        /// What the reader allows.
        max: usize,
    },
}

/// Collects the bytes of one connection and gives back its frames without their length prefixes.
///
/// What is kept grows with the bytes that came, not with a declared length; a frame is shared with the buffer, not copied.
#[derive(Debug)]
pub struct FrameSplitter {
    bytes: BytesMut,
    max_len: usize,
    broken: Option<FrameError>,
}

impl FrameSplitter {
    /// A splitter for frames of at most `max_len` bytes.
    pub fn new(max_len: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            max_len,
            broken: None,
        }
    }

    /// Takes the next bytes of the stream. Bytes after a [`FrameError`] are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The buffer, to read from a socket straight into it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The next whole frame, `None` when more bytes have to come, or an error that stays.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator that ends must not go on, and this goes on after a push"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let Some(prefix) = self.bytes.first_chunk::<LENGTH_PREFIX>() else {
            return Ok(None);
        };
        let len = i32::from_be_bytes(*prefix);
        match usize::try_from(len) {
            Err(_) => Err(self.fail(FrameError::Negative(len))),
            Ok(len) if len > self.max_len => Err(self.fail(FrameError::TooLarge {
                len,
                max: self.max_len,
            })),
            Ok(len) if self.bytes.len() - LENGTH_PREFIX < len => Ok(None),
            Ok(len) => {
                self.bytes.advance(LENGTH_PREFIX);
                Ok(Some(self.bytes.split_to(len).freeze()))
            }
        }
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.bytes = BytesMut::new();
        self.broken = Some(error);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Random;

    fn stream(random: &mut Random) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut frames = Vec::new();
        for _ in 0..20 {
            let len = random.below(70) as usize;
            frames.push(random.bytes(len));
        }
        let stream = frames
            .iter()
            .flat_map(|frame| [&(frame.len() as i32).to_be_bytes()[..], frame].concat())
            .collect();
        (stream, frames)
    }

    /// N-24: however the network cuts the stream, the frames are the same.
    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_cut() {
        let mut random = Random(11);
        for most in [1, 2, 3, 5, 17, 64, 4096] {
            let (stream, expected) = stream(&mut random);
            let mut splitter = FrameSplitter::new(70);
            let mut frames = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let len = (1 + random.below(most) as usize).min(rest.len());
                splitter.push(&rest[..len]);
                rest = &rest[len..];
                while let Some(frame) = splitter.next().expect("legal frames") {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, expected, "pieces of at most {most} bytes");
        }
    }

    /// B-12: the frame sizes -1 and 2^31-1 end the connection, and nothing is kept for them.
    #[test]
    fn an_impossible_length_is_an_error_that_stays() {
        let mut splitter = FrameSplitter::new(100);
        splitter.push(&[0xff; 4]);
        assert_eq!(splitter.next(), Err(FrameError::Negative(-1)));
        splitter.push(&[0, 0, 0, 0]);
        assert_eq!(splitter.next(), Err(FrameError::Negative(-1)));

        let mut splitter = FrameSplitter::new(100);
        splitter.push(&i32::MAX.to_be_bytes());
        assert_eq!(
            splitter.next(),
            Err(FrameError::TooLarge {
                len: i32::MAX as usize,
                max: 100
            })
        );
    }

    #[test]
    fn a_frame_may_be_empty_and_may_have_the_full_size() {
        let mut splitter = FrameSplitter::new(2);
        splitter.push(&[0, 0, 0, 0, 0, 0, 0, 2, 8, 9]);
        assert_eq!(splitter.next(), Ok(Some(Bytes::new())));
        assert_eq!(splitter.next(), Ok(Some(Bytes::from_static(&[8, 9]))));
        assert_eq!(splitter.next(), Ok(None));
    }
}
