//! Requests that scripts send again and again. Sends nothing.

use bytes::Bytes;
use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, PartitionId, ProducerEpoch, ProducerId, TopicId};

/// A topic as both ways of naming it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
}

/// A produce request for some partitions.
pub fn produce(
    transactional_id: Option<&str>,
    acks: i16,
    batches: &[(&Topic, i32, Option<Bytes>)],
) -> ProduceRequest {
    let topics = batches
        .iter()
        .map(|(topic, partition, records)| ProduceRequestTopic {
            name: topic.name.clone(),
            topic_id: topic.id,
            partition_data: vec![ProduceRequestPartition {
                index: PartitionId(*partition),
                records: records.clone(),
            }],
        });
    ProduceRequest {
        transactional_id: transactional_id.map(str::to_owned),
        acks,
        timeout_ms: 5000,
        topic_data: topics.collect(),
    }
}

/// A fetch from one partition that does not wait.
pub fn fetch(topic: &Topic, partition: i32, offset: i64, isolation_level: i8) -> FetchRequest {
    FetchRequest {
        isolation_level,
        topics: vec![FetchRequestTopic {
            topic: topic.name.clone(),
            topic_id: topic.id,
            partitions: vec![FetchRequestPartition {
                partition: PartitionId(partition),
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

/// AddPartitionsToTxn of a client.
pub fn add_partitions(
    id: &str,
    identity: Identity,
    partitions: &[(&str, &[i32])],
) -> AddPartitionsToTxnRequest {
    let topics = partitions
        .iter()
        .map(|(name, partitions)| AddPartitionsToTxnRequestTopic {
            name: (*name).to_owned(),
            partitions: partitions.iter().copied().map(PartitionId).collect(),
        });
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.to_owned(),
        v3_and_below_producer_id: identity.id,
        v3_and_below_producer_epoch: identity.epoch,
        v3_and_below_topics: topics.collect(),
        ..Default::default()
    }
}

/// AddOffsetsToTxn.
pub fn add_offsets(id: &str, identity: Identity, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest {
        transactional_id: id.to_owned(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        group_id: group.to_owned(),
    }
}

/// EndTxn.
pub fn end(id: &str, identity: Identity, committed: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: id.to_owned(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        committed,
    }
}

/// InitProducerId with or without expected values.
pub fn init(id: Option<&str>, timeout_ms: i32, expected: Option<Identity>) -> InitProducerIdRequest {
    let expected = expected.unwrap_or(Identity {
        id: ProducerId(-1),
        epoch: ProducerEpoch(-1),
    });
    InitProducerIdRequest {
        transactional_id: id.map(str::to_owned),
        transaction_timeout_ms: timeout_ms,
        producer_id: expected.id,
        producer_epoch: expected.epoch,
    }
}

/// The same producer with an epoch that is off by so much.
pub fn shifted(identity: Identity, by: i16) -> Identity {
    Identity {
        id: identity.id,
        epoch: ProducerEpoch(identity.epoch.0.wrapping_add(by)),
    }
}
