//! Waiting for metadata: the topics and partitions that a record or a question is about (P-12, P-13, P-38).

use std::sync::Arc;

use kommit_accumulator::{SendError, SendErrorKind, TopicQueues};
use kommit_network::{ClusterSnapshot, MetadataError, PartitionSnapshot, TopicFailure};
use kommit_protocol::time::Instant;
use kommit_protocol::units::PartitionId;
use kommit_sender::{Command, SenderGone};

use super::{Client, closed};
use crate::metrics::Spent;

/// When what a call looks at was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    BeforeTheCall,
    SinceTheCall,
}

impl Client {
    /// How many partitions a topic has.
    pub(crate) async fn partition_count(&self, topic: &str) -> Result<u32, SendError> {
        let deadline = self.now() + self.max_block;
        Ok(self.topic(topic, None, deadline).await?.partition_count())
    }

    /// What the metadata has of a topic's partitions.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Vec<PartitionSnapshot>, SendError> {
        let deadline = self.now() + self.max_block;
        self.topic(topic, None, deadline).await?;
        let cluster = self.handle.cluster();
        let cluster = cluster.borrow();
        let known = cluster.topics.get(topic).map(|topic| topic.partitions.clone());
        known
            .filter(|partitions| !partitions.is_empty())
            .ok_or_else(|| SendError::new(SendErrorKind::NotInMetadata).with_message(topic))
    }

    /// P-12: the topic's queues, as soon as the metadata has it, and the partition with it when one is named.
    pub(super) async fn topic(
        &self,
        name: &str,
        partition: Option<PartitionId>,
        deadline: Instant,
    ) -> Result<Arc<TopicQueues>, SendError> {
        let has_it = |topic: &Arc<TopicQueues>| has_place(topic.partition_count(), partition);
        if let Some(known) = self.known_topic(name).filter(has_it) {
            return Ok(known);
        }
        let mut cluster = self.handle.cluster();
        let found = async {
            let mut age = Age::BeforeTheCall;
            loop {
                let count = partitions_of(&cluster.borrow_and_update(), name, age)?;
                if let Some(count) = count.filter(|count| has_place(*count, partition)) {
                    return Ok(self.handle.accumulator().topic(name, count));
                }
                self.ask_for(name).map_err(|_gone| closed())?;
                cluster.changed().await.map_err(|_ended| closed())?;
                age = Age::SinceTheCall;
            }
        };
        let left = deadline.saturating_since(self.now());
        match tokio::time::timeout(left, self.timed(Spent::MetadataWait, found)).await {
            Ok(found) => found,
            Err(_elapsed) => Err(self.not_in_time(name, partition).await),
        }
    }

    /// Wants metadata of a topic: of a new one as soon as may be, of a known one again.
    pub(super) fn ask_for(&self, topic: &str) -> Result<(), SenderGone> {
        self.handle.tell(if self.known_topic(topic).is_some() {
            Command::RefreshTopic(topic.into())
        } else {
            Command::NeedTopic(topic.into())
        })
    }

    /// P-13: a topic that is not there, or one without the partition.
    async fn not_in_time(&self, topic: &str, partition: Option<PartitionId>) -> SendError {
        let millis = self.max_block.as_millis();
        let known = self.known_topic(topic).map(|topic| topic.partition_count());
        let reason = match (partition, known) {
            (Some(PartitionId(partition)), Some(count)) => {
                format!(
                    "partition {partition} of topic {topic} with {count} partitions, max.block.ms = {millis}"
                )
            }
            _ => {
                let diagnosis = self.topic_diagnosis(topic).await;
                format!("topic {topic}, max.block.ms = {millis}: {diagnosis}")
            }
        };
        SendError::new(SendErrorKind::NotInMetadata).with_message(reason)
    }

    /// Waits until it is known that none of the bootstrap hosts can be resolved (N-18), for ever when one can.
    pub(crate) async fn unresolvable(&self) -> String {
        let mut cluster = self.handle.cluster();
        loop {
            if let Some(failure @ MetadataError::Unresolvable { .. }) = &cluster.borrow_and_update().failure {
                return failure.to_string();
            }
            if cluster.changed().await.is_err() {
                return std::future::pending().await; // whoever waits for the sender hears of its end
            }
        }
    }

    async fn topic_diagnosis(&self, name: &str) -> String {
        let error = self.handle.cluster().borrow().topic_error(name);
        match error {
            Some(code) => format!("{}: {}", code.name(), code.text()),
            None => self.diagnosis().await,
        }
    }
}

/// Whether a topic of so many partitions has the one that is named, if one is.
pub(super) fn has_place(count: u32, partition: Option<PartitionId>) -> bool {
    partition.is_none_or(|partition| u32::try_from(partition.0).is_ok_and(|partition| partition < count))
}

/// The topic's partition count, nothing when it is not known yet, or an error that waiting does not mend (N-64). A failure of metadata as a
/// whole ends a call that has waited for it (N-62), but not the next one, unless it is permanent (N-63).
fn partitions_of(cluster: &ClusterSnapshot, name: &str, age: Age) -> Result<Option<u32>, SendError> {
    match cluster.topic_failure(name) {
        Some(TopicFailure::Topic(code)) => {
            Err(SendError::new(SendErrorKind::Broker(code)).with_message(name))
        }
        Some(TopicFailure::Metadata(failure)) if age == Age::SinceTheCall || failure.is_permanent() => {
            let reason = format!("topic {name}: {failure}");
            Err(SendError::new(SendErrorKind::NotInMetadata).with_message(reason))
        }
        _ => Ok(cluster.partition_count(name)),
    }
}
