//! What the accumulator must be told. Plain values: whoever builds them has validated them against the configuration table.

use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::backoff::Backoff;
use kommit_protocol::batch::Compression;

use crate::batch::Codec;
use crate::partitioner::Partitioner;

/// The settings of an accumulator, under Kafka's names.
#[derive(Clone, Debug)]
pub struct AccumulatorConfig {
    /// `batch.size` in bytes, header included; 0 means one record per batch.
    pub batch_size: usize,
    /// `buffer.memory` in bytes: the hard bound on everything that is queued or in flight.
    pub buffer_memory: usize,
    /// `linger.ms`: how long a batch that is not full waits for more records.
    pub linger: Duration,
    /// `delivery.timeout.ms`: counted from the creation of a batch.
    pub delivery_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry_backoff: Backoff,
    /// `max.request.size` in bytes: no larger record is accepted (P-15).
    pub max_request_size: usize,
    /// `compression.type`.
    pub compression: Compression,
    /// The level on the codec's own scale; `None` is its default.
    pub compression_level: Option<i32>,
    /// `partitioner.class` and `partitioner.ignore.keys`.
    pub partitioning: Partitioning,
    /// `partitioner.adaptive.partitioning.enable` and `partitioner.availability.timeout.ms`.
    pub sticky_choice: StickyChoice,
    /// Where all choices by chance begin: sticky partitions and jitter.
    pub seed: u64,
}

impl AccumulatorConfig {
    pub(crate) fn codec(&self) -> Codec {
        Codec {
            compression: self.compression,
            level: self.compression_level,
        }
    }
}

/// Kafka's defaults.
impl Default for AccumulatorConfig {
    fn default() -> Self {
        Self {
            batch_size: 16_384,
            buffer_memory: 32 * 1024 * 1024,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: Backoff {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(1),
            },
            max_request_size: 1_048_576,
            compression: Compression::None,
            compression_level: None,
            partitioning: Partitioning::default(),
            sticky_choice: StickyChoice::default(),
            seed: 0,
        }
    }
}

/// Who chooses the partition of a record that names none (A-33: a named partition beats everything).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Partitioning {
    /// The hash of the key; records without a key stick to a random partition for about a batch (A-23 … A-27).
    #[default]
    HashedKeys,
    /// `partitioner.ignore.keys`: all records are placed as if they had no key.
    IgnoredKeys,
    /// Partitions in turn, available ones first; keys are ignored.
    RoundRobin,
    /// The application's own choice.
    Custom(Arc<dyn Partitioner>),
}

/// Which partition records without a key stick to next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyChoice {
    /// Any one that has a leader, all equally probable.
    Uniform,
    /// One that has a leader, the more probable the fewer batches wait for it (KIP-794, A-28).
    Adaptive {
        /// A partition with waiting batches is left out when its leader has taken nothing for longer than this.
        availability_timeout: Option<Duration>,
    },
}

impl StickyChoice {
    pub(crate) fn availability_timeout(self) -> Option<Duration> {
        match self {
            Self::Uniform => None,
            Self::Adaptive { availability_timeout } => availability_timeout,
        }
    }
}

impl Default for StickyChoice {
    fn default() -> Self {
        Self::Adaptive {
            availability_timeout: None,
        }
    }
}
