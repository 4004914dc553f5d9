//! What the sender counts (S-81, K-1 … K-13, K-21, K-22): plain numbers of the one task that owns them, touched once per batch, request or turn and never
//! per record. A snapshot is a copy between two turns, so that all its numbers belong together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::StampedBatch;
use kommit_network::{NetworkCounts, Spread};
use kommit_protocol::time::Instant;

/// What was sent to one topic (K-22). There from its first batch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Records that were handed to requests, repetitions included.
    pub records_sent: u64,
    /// The bytes of their batches.
    pub bytes_sent: u64,
    /// The bytes that these batches would have without compression.
    pub expanded_bytes: u64,
    /// Records in batches that were put back to be sent again.
    pub records_retried: u64,
    /// Records that failed.
    pub records_failed: u64,
}

/// What the sender has counted since it was started. A batch that is sent again counts again, as in Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Bytes per batch that was sent (K-1).
    pub batch_size: Spread,
    /// The bytes that all these batches would have without compression (K-2).
    pub expanded_bytes: u64,
    /// From the first record of a batch to its sending, in nanoseconds (K-3).
    pub queue_time: Spread,
    /// Records per produce request; their sum is the number of records sent (K-5, K-6).
    pub records_per_request: Spread,
    /// Records in batches that were put back to be sent again (K-7).
    pub records_retried: u64,
    /// Records that failed behind their batch (K-8). What an abort or a close took back is not counted.
    pub records_failed: u64,
    /// The largest record of each batch that was sent (K-9).
    pub largest_record: Spread,
    /// Batches that were sent again in parts (K-12).
    pub splits: u64,
    /// What brokers asked to wait after a produce request, in milliseconds, 0 included (K-13).
    pub throttle_time: Spread,
    /// By topic.
    pub topics: BTreeMap<Arc<str>, TopicCounts>,
    /// Turns of the loop: their number, and the time between them in nanoseconds (K-21).
    pub rest: Spread,
    /// The time that turns took, in nanoseconds (K-21).
    pub work: Spread,
}

/// Everything that the sender task can tell, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// When.
    pub at: Instant,
    /// What the sender counted.
    pub sender: SenderCounts,
    /// What the network counted.
    pub network: NetworkCounts,
    /// Requests without an answer, on all connections (K-10).
    pub requests_in_flight: usize,
    /// How old the metadata is; nothing before the first (K-11).
    pub metadata_age: Option<Duration>,
    /// The learned pause behind a transaction that ends now.
    pub transaction_pause: Duration,
}

impl SenderCounts {
    pub(crate) fn request_sent(&mut self, batches: &[StampedBatch], now: Instant) {
        let mut records = 0;
        for batch in batches {
            let (size, expanded) = (batch.size() as u64, batch.expanded_size() as u64);
            self.batch_size.measure(size);
            self.expanded_bytes += expanded;
            self.queue_time.measure(nanos(now - batch.created()));
            self.largest_record.measure(batch.largest_record() as u64);
            let topic = self.topic(&batch.topic_partition().topic);
            topic.records_sent += u64::from(batch.record_count());
            topic.bytes_sent += size;
            topic.expanded_bytes += expanded;
            records += u64::from(batch.record_count());
        }
        self.records_per_request.measure(records);
    }

    pub(crate) fn retried(&mut self, batch: &StampedBatch) {
        let records = u64::from(batch.record_count());
        self.records_retried += records;
        // S-82: a topic that is not there is passed over, here and below.
        if let Some(topic) = self.topics.get_mut(&batch.topic_partition().topic) {
            topic.records_retried += records;
        }
    }

    pub(crate) fn failed(&mut self, topic: &str, records: u32) {
        self.records_failed += u64::from(records);
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.records_failed += u64::from(records);
        }
    }

    pub(crate) fn throttled(&mut self, throttle_time_ms: i32) {
        self.throttle_time
            .measure(u64::try_from(throttle_time_ms).unwrap_or(0));
    }

    /// The loop rested and then worked for so long.
    pub(crate) fn turned(&mut self, rest: Duration, work: Duration) {
        self.rest.measure(nanos(rest));
        self.work.measure(nanos(work));
    }

    fn topic(&mut self, name: &Arc<str>) -> &mut TopicCounts {
        if !self.topics.contains_key(name) {
            self.topics.insert(Arc::clone(name), TopicCounts::default());
        }
        self.topics
            .get_mut(name)
            .expect("the topic was inserted when it was not there")
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-82: records that failed before anything of their topic was sent are counted, and their topic is passed over.
    #[test]
    fn a_topic_of_which_nothing_was_sent_is_passed_over() {
        let mut counts = SenderCounts::default();
        counts.failed("never sent", 3);
        assert_eq!((counts.records_failed, counts.topics.len()), (3, 0));
    }
}
