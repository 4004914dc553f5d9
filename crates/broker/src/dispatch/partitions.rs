//! Which partitions a request names: for rules and for the journal. Topics that are not known by their id are left out.

use kommit_protocol::messages::*;
use kommit_protocol::units::{PartitionId, TopicId, TopicPartition};

use crate::messages::RequestMessage;
use crate::topics::Cluster;

/// All partitions of the request, in its order.
pub(crate) fn of(request: &RequestMessage, cluster: &Cluster) -> Vec<TopicPartition> {
    let mut found = Found {
        cluster,
        partitions: Vec::new(),
    };
    match request {
        RequestMessage::Produce(request) => {
            for topic in &request.topic_data {
                found.add(
                    &topic.name,
                    topic.topic_id,
                    topic.partition_data.iter().map(|entry| entry.index),
                );
            }
        }
        RequestMessage::Fetch(request) => {
            for topic in &request.topics {
                found.add(
                    &topic.topic,
                    topic.topic_id,
                    topic.partitions.iter().map(|entry| entry.partition),
                );
            }
        }
        RequestMessage::ListOffsets(request) => {
            for topic in &request.topics {
                let indexes = topic.partitions.iter().map(|entry| entry.partition_index);
                found.add(&topic.name, TopicId::ZERO, indexes);
            }
        }
        RequestMessage::OffsetCommit(request) => {
            for topic in &request.topics {
                let indexes = topic.partitions.iter().map(|entry| entry.partition_index);
                found.add(&topic.name, topic.topic_id, indexes);
            }
        }
        RequestMessage::TxnOffsetCommit(request) => {
            for topic in &request.topics {
                let indexes = topic.partitions.iter().map(|entry| entry.partition_index);
                found.add(&topic.name, TopicId::ZERO, indexes);
            }
        }
        RequestMessage::AddPartitionsToTxn(request) => {
            let inner = request
                .transactions
                .iter()
                .flat_map(|transaction| &transaction.topics);
            for topic in inner.chain(&request.v3_and_below_topics) {
                found.add_topic(topic);
            }
        }
        RequestMessage::DeleteRecords(request) => {
            for topic in &request.topics {
                let indexes = topic.partitions.iter().map(|entry| entry.partition_index);
                found.add(&topic.name, TopicId::ZERO, indexes);
            }
        }
        _ => {}
    }
    found.partitions
}

struct Found<'a> {
    cluster: &'a Cluster,
    partitions: Vec<TopicPartition>,
}

impl Found<'_> {
    fn add(&mut self, name: &str, id: TopicId, indexes: impl Iterator<Item = PartitionId>) {
        let by_id = self.cluster.topic_by_id(id).map(|topic| topic.name.clone());
        let name = by_id.unwrap_or_else(|| name.into());
        if !name.is_empty() {
            self.partitions.extend(indexes.map(|partition| TopicPartition {
                topic: name.clone(),
                partition,
            }));
        }
    }

    fn add_topic(&mut self, topic: &AddPartitionsToTxnRequestTopic) {
        self.add(&topic.name, TopicId::ZERO, topic.partitions.iter().copied());
    }
}
