//! What tests may look at: the batches of a partition, its producers, and the journal of requests (B-124). Changes nothing.

use std::collections::VecDeque;

use kommit_protocol::api::ApiKey;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, Offset, TopicPartition};

pub use crate::partition::log::{BatchKind, LoggedBatch};
pub use crate::partition::producers::{ProducerEntry, RememberedBatch};
pub use crate::partition::visibility::AbortedTransaction;

use crate::core::ConnectionId;

/// The journal remembers no more partitions of one request.
const MOST_PARTITIONS: usize = 1000;

/// A request as the journal remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// The connection that it came on.
    pub connection: ConnectionId,
    /// The node that it came to.
    pub node: NodeId,
    /// Which API.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// Its correlation id.
    pub correlation_id: i32,
    /// Its client id.
    pub client_id: Option<String>,
    /// When its turn came.
    pub at: Instant,
    /// The first 1000 partitions that it names, in its order.
    pub partitions: Vec<TopicPartition>,
    /// What a rule did to it, as text.
    pub verdict: Option<String>,
}

/// The last requests, oldest first.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: VecDeque<JournalEntry>,
    capacity: usize,
}

impl Journal {
    /// An empty journal that remembers `capacity` requests.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
        }
    }

    /// Whether anything is remembered at all.
    pub(crate) fn is_kept(&self) -> bool {
        self.capacity > 0
    }

    /// Remembers a request, and forgets the oldest one when the journal is full.
    pub(crate) fn push(&mut self, mut entry: JournalEntry) {
        entry.partitions.truncate(MOST_PARTITIONS);
        entry.partitions.shrink_to_fit();
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// All remembered requests.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &JournalEntry> {
        self.entries.iter()
    }
}

/// The watermarks of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Below it is what a read_committed reader sees.
    pub last_stable_offset: Offset,
    /// The end of replicated data.
    pub high_watermark: Offset,
    /// The offset of the next record.
    pub log_end: Offset,
}
