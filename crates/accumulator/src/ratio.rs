//! How much compression is expected to take off the batches of a topic, learnt from those that were closed (A-19, A-56 … A-59).
//!
//! In whole thousandths, so that all machines come to the same sizes (A-19 has 32-bit floats). Looks at no bytes itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kommit_protocol::batch::{Compression, HEADER_LEN};

/// No gain at all: where every estimate begins.
const NO_GAIN: u32 = 1_000;
/// A batch that came out larger than expected counts at once, with something on top.
const STEP_UP: u32 = 50;
/// One that came out smaller counts little by little, so that a lucky batch does not make the next ones too large.
const STEP_DOWN: u32 = 5;
/// what the estimate is multiplied with, in hundredths, to be on the safe side.
const CAUTION: u64 = 105;
/// An estimate times caution that stands for no gain and no loss.
const SCALE: u64 = 100_000;
/// How many times `batch.size` the records of one batch may fill before they are compressed.
const LARGEST_EXPANSION: usize = 4;
/// Which part of the memory such a batch may take, so that no few partitions use it up.
const MEMORY_SHARE: usize = 32;

/// The expected size of compressed records per 1000 bytes of records. One per topic; a producer has one codec.
#[derive(Debug)]
pub(crate) struct CompressionRatio {
    permille: AtomicU32,
}

impl Default for CompressionRatio {
    fn default() -> Self {
        Self {
            permille: AtomicU32::new(NO_GAIN),
        }
    }
}

impl CompressionRatio {
    /// What a batch is judged by that begins now.
    pub(crate) fn estimate(&self, compression: Compression) -> SizeEstimate {
        match compression {
            Compression::None => SizeEstimate::Exact,
            _ => SizeEstimate::Compressed {
                permille: self.permille.load(Ordering::Relaxed),
            },
        }
    }

    /// takes notice of records that were compressed from `before` to `after` bytes.
    pub(crate) fn observe(&self, before: usize, after: usize) {
        let Some(observed) = permille(before, after) else {
            return;
        };
        let learn = |estimate: u32| {
            Some(if observed > estimate {
                observed.max(estimate + STEP_UP)
            } else {
                observed.max(estimate.saturating_sub(STEP_DOWN))
            })
        };
        // Cannot fail: every estimate has a successor.
        let _before = self
            .permille
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
    }

    /// a batch was too large, so the next ones are sized as if nothing could be gained. (A real ratio above 1 does not occur:
    /// records that compression makes longer stay as they are.)
    pub(crate) fn expect_no_gain(&self) {
        self.permille.store(NO_GAIN, Ordering::Relaxed);
    }
}

/// `None` for no records at all.
fn permille(before: usize, after: usize) -> Option<u32> {
    let ratio = after.checked_mul(1_000)?.checked_add(before)?.checked_sub(1)? / before.max(1);
    (before > 0).then(|| u32::try_from(ratio).unwrap_or(u32::MAX).clamp(1, 2 * NO_GAIN))
}

/// How the size that a batch will have is judged while it takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeEstimate {
    /// It is what has been written.
    Exact,
    /// Its records will be compressed.
    Compressed { permille: u32 },
}

impl SizeEstimate {
    /// The expected size of a batch of `written` bytes, header included.
    pub(crate) fn of(self, written: usize) -> usize {
        match self {
            Self::Exact => written,
            Self::Compressed { permille } => {
                let records = written.saturating_sub(HEADER_LEN);
                HEADER_LEN + scaled(records, factor(permille), SCALE)
            }
        }
    }

    /// The page that a batch of `batch_size` bytes is written into: larger by what compression is expected to gain, within limits.
    pub(crate) fn page_size(self, batch_size: usize, buffer_memory: usize) -> usize {
        let records = batch_size.saturating_sub(HEADER_LEN);
        let expanded = match self {
            Self::Exact => batch_size,
            Self::Compressed { permille } => HEADER_LEN + scaled(records, SCALE, factor(permille)),
        };
        let limit = (LARGEST_EXPANSION * batch_size).min(buffer_memory / MEMORY_SHARE);
        expanded.min(limit).max(batch_size)
    }
}

/// Thousandths of hundredths.
fn factor(permille: u32) -> u64 {
    u64::from(permille) * CAUTION
}

fn scaled(size: usize, by: u64, of: u64) -> usize {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    usize::try_from(size.saturating_mul(by) / of).unwrap_or(usize::MAX)
}

/// When an open batch is full: what its topic's batches are expected to come out as, and how large they may be.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    pub(crate) batch_size: usize,
    pub(crate) estimate: SizeEstimate,
    /// Learns from the batch when it is closed.
    pub(crate) ratio: Arc<CompressionRatio>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(observations: &[(usize, usize)]) -> SizeEstimate {
        let ratio = CompressionRatio::default();
        for (before, after) in observations {
            ratio.observe(*before, *after);
        }
        ratio.estimate(Compression::Lz4)
    }

    fn at(permille: u32) -> SizeEstimate {
        SizeEstimate::Compressed { permille }
    }

    /// the estimate begins at 1 and goes down by 0.005 for each smaller batch, never below what was seen.
    #[test]
    fn the_estimate_goes_down_slowly() {
        assert_eq!(learnt(&[]), at(1_000));
        assert_eq!(learnt(&[(1_000, 300)]), at(995));
        assert_eq!(learnt(&[(1_000, 300); 100]), at(500));
        assert_eq!(learnt(&[(1_000, 300); 200]), at(300));
    }

    /// it goes up to what was seen, by 0.05 at least.
    #[test]
    fn the_estimate_goes_up_at_once() {
        let mut seen = vec![(1_000, 300); 200];
        seen.push((1_000, 310));
        assert_eq!(learnt(&seen), at(350));
        seen.push((1_000, 900));
        assert_eq!(learnt(&seen), at(900));
    }

    /// a split takes back everything that was gained.
    #[test]
    fn a_split_expects_no_gain_any_more() {
        let ratio = CompressionRatio::default();
        (0..200).for_each(|_| ratio.observe(1_000, 300));
        ratio.expect_no_gain();
        assert_eq!(ratio.estimate(Compression::Zstd), at(1_000));
    }

    /// without a codec sizes are exact, whatever was seen; no records teach nothing.
    #[test]
    fn without_compression_sizes_are_exact() {
        let ratio = CompressionRatio::default();
        ratio.observe(0, 20);
        assert_eq!(ratio.estimate(Compression::Lz4), at(1_000));
        assert_eq!(ratio.estimate(Compression::None), SizeEstimate::Exact);
        assert_eq!(SizeEstimate::Exact.of(12_345), 12_345);
    }

    /// 61 bytes, and the records times ratio times 1.05, truncated.
    #[test]
    fn the_size_of_a_compressed_batch_is_estimated_with_caution() {
        assert_eq!(at(1_000).of(HEADER_LEN + 1_000), HEADER_LEN + 1_050);
        assert_eq!(at(300).of(HEADER_LEN + 999), HEADER_LEN + 314);
        assert_eq!(at(300).of(HEADER_LEN), HEADER_LEN);
    }

    /// a page has room for the records before they are compressed, within four batches and a small part of the memory.
    #[test]
    fn a_page_has_room_for_records_before_their_compression() {
        let memory = 1 << 25;
        assert_eq!(SizeEstimate::Exact.page_size(16_384, memory), 16_384);
        assert_eq!(at(1_000).page_size(16_384, memory), 16_384);
        let half = at(500).page_size(16_384, memory);
        // (16384 - 61) / 0.525 + 61
        assert_eq!(half, 31_152);
        assert!(at(500).of(half) <= 16_384);
        assert_eq!(at(10).page_size(16_384, memory), 4 * 16_384);
        assert_eq!(at(10).page_size(16_384, 32 * 20_000), 20_000);
        assert_eq!(at(10).page_size(16_384, 16_384), 16_384);
    }
}
