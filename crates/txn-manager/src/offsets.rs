//! Consumer offsets that are committed with the transaction (T-24 … T-26, T-79).
//!
//! Offsets live in the request that carries them and nowhere else (D-17): what is not acknowledged ends with its request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::messages::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{Identity, LeaderEpoch, Offset, TopicPartition};

use crate::outcome::Ticket;

/// Who consumed: the group and the member, read from the live consumer for each commit (R13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMetadata {
    /// `group.id`.
    pub group_id: Arc<str>,
    /// The generation of the group, when the consumer is a member.
    pub generation_id: Option<i32>,
    /// The member id; empty when the consumer is not a member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
}

impl ConsumerGroupMetadata {
    /// A group without a member: for consumers that assign their partitions themselves.
    pub fn of_group(group_id: impl Into<Arc<str>>) -> Self {
        Self {
            group_id: group_id.into(),
            generation_id: None,
            member_id: String::new(),
            group_instance_id: None,
        }
    }

    /// T-79: whether the broker has to check the member, which needs TxnOffsetCommit version 3.
    pub(crate) fn names_a_member(&self) -> bool {
        self.generation_id.is_some() || !self.member_id.is_empty() || self.group_instance_id.is_some()
    }
}

/// The next offset to read in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the last record read, when known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Free text kept with the offset.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// The offset alone.
    pub fn of_offset(offset: Offset) -> Self {
        Self {
            offset,
            leader_epoch: None,
            metadata: String::new(),
        }
    }
}

/// H25: how often the group coordinator is looked up while offsets wait for it.
const COORDINATOR_RECHECK: Duration = Duration::from_secs(1);

/// The offsets of one call, on their way.
#[derive(Clone, Debug)]
pub(crate) struct OffsetCommit {
    pub(crate) ticket: Ticket,
    pub(crate) group: ConsumerGroupMetadata,
    pub(crate) offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    /// Not acknowledged yet (T-78).
    pub(crate) remaining: BTreeSet<TopicPartition>,
    /// When the group coordinator was last asked for, or known to be fresh (H25).
    pub(crate) coordinator_asked: Option<Instant>,
}

impl OffsetCommit {
    pub(crate) fn new(
        ticket: Ticket,
        group: ConsumerGroupMetadata,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Self {
        let remaining = offsets.keys().cloned().collect();
        Self {
            ticket,
            group,
            offsets,
            remaining,
            coordinator_asked: None,
        }
    }

    /// H25: whether the group coordinator is to be looked up anew before the next attempt. Counts as asked from now on.
    pub(crate) fn asks_again(&mut self, now: Instant) -> bool {
        let due = self
            .coordinator_asked
            .is_some_and(|asked| asked + COORDINATOR_RECHECK <= now);
        if due || self.coordinator_asked.is_none() {
            self.coordinator_asked = Some(now);
        }
        due
    }

    /// T-26: all offsets of the call, with the defaults of absent fields.
    pub(crate) fn request(&self, transactional_id: &str, identity: Identity) -> TxnOffsetCommitRequest {
        TxnOffsetCommitRequest {
            transactional_id: transactional_id.to_owned(),
            group_id: self.group.group_id.as_ref().to_owned(),
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            generation_id: self.group.generation_id.unwrap_or(-1),
            member_id: self.group.member_id.clone(),
            group_instance_id: self.group.group_instance_id.clone(),
            topics: self.topics(),
        }
    }

    /// T-78: a partition that the response leaves out stays and so causes the retry.
    pub(crate) fn acknowledged(&mut self, topic: &str, partition: i32) {
        self.remaining.remove(&TopicPartition::new(topic, partition));
    }

    fn topics(&self) -> Vec<TxnOffsetCommitRequestTopic> {
        let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
        for (topic_partition, offset) in &self.offsets {
            let partition = TxnOffsetCommitRequestPartition {
                partition_index: topic_partition.partition,
                committed_offset: offset.offset.0,
                committed_leader_epoch: offset.leader_epoch.unwrap_or(LeaderEpoch(-1)),
                committed_metadata: Some(offset.metadata.clone()),
            };
            match topics.last_mut() {
                Some(last) if *last.name == *topic_partition.topic => last.partitions.push(partition),
                _ => topics.push(TxnOffsetCommitRequestTopic {
                    name: topic_partition.topic.as_ref().to_owned(),
                    partitions: vec![partition],
                }),
            }
        }
        topics
    }
}
