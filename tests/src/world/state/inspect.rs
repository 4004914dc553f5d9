//! What a scene can look at afterwards.

use std::collections::BTreeMap;

use kommit_broker::coordinator::interface::MarkerOutcome;
use kommit_broker::inspect::{BatchKind, LoggedBatch};
use kommit_protocol::api::ApiKey;
use kommit_protocol::units::TopicPartition;

use super::super::frame::{SentFrame, values_of};
use super::State;

impl State {
    pub(crate) fn sent_count(&self, api: ApiKey) -> usize {
        self.sent.iter().filter(|frame| frame.api == api).count()
    }

    pub(crate) fn sent(&self, api: ApiKey) -> Vec<SentFrame> {
        self.sent
            .iter()
            .filter(|frame| frame.api == api)
            .cloned()
            .collect()
    }

    pub(crate) fn trace_text(&self) -> String {
        self.trace.text().to_owned()
    }

    fn batches(&self, topic: &str, partition: i32) -> Vec<LoggedBatch> {
        self.broker
            .log(&TopicPartition::new(topic, partition))
            .expect("a partition that exists")
    }

    pub(crate) fn log(&self, topic: &str, partition: i32) -> Vec<String> {
        let batches = self.batches(topic, partition);
        let records = batches
            .iter()
            .filter(|batch| !matches!(batch.kind, BatchKind::Marker { .. }));
        records.flat_map(|batch| values_of(&batch.bytes)).collect()
    }

    pub(crate) fn epochs(&self, topic: &str, partition: i32) -> Vec<i16> {
        let batches = self.batches(topic, partition);
        let records = batches
            .iter()
            .filter(|batch| batch.kind == BatchKind::Transactional);
        records
            .filter_map(|batch| batch.producer)
            .map(|(_, epoch)| epoch.0)
            .collect()
    }

    pub(crate) fn committed(&self, topic: &str, partition: i32) -> Vec<String> {
        let batches = self.committed_batches(topic, partition);
        batches.iter().flat_map(|batch| values_of(&batch.bytes)).collect()
    }

    /// Each transactional batch waits for the next marker of its producer; without one it is not visible, nor is anything behind it.
    pub(super) fn committed_batches(&self, topic: &str, partition: i32) -> Vec<LoggedBatch> {
        let mut visible = BTreeMap::new();
        let mut open = BTreeMap::new();
        for batch in self.batches(topic, partition) {
            let producer = batch.producer.map(|(id, _)| id);
            match batch.kind {
                BatchKind::Plain => {
                    visible.insert(batch.base_offset, batch);
                }
                BatchKind::Transactional => {
                    let of_producer: &mut Vec<LoggedBatch> = open.entry(producer).or_default();
                    of_producer.push(batch);
                }
                BatchKind::Marker { outcome, .. } => {
                    let ended = open.remove(&producer).unwrap_or_default();
                    let kept = ended.into_iter().filter(|_| outcome == MarkerOutcome::Commit);
                    visible.extend(kept.map(|batch| (batch.base_offset, batch)));
                }
            }
        }
        let unstable = open.values().flatten().map(|batch| batch.base_offset).min();
        let stable = visible
            .into_iter()
            .filter(|(offset, _)| unstable.is_none_or(|unstable| *offset < unstable));
        stable.map(|(_, batch)| batch).collect()
    }
}
