//! OffsetFetch: the offsets of groups as they count now, or a request to wait for an open transaction (B-120).

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kommit_protocol::units::{LeaderEpoch, PartitionId, TopicId, TopicPartition};

use super::offsets::StoredOffset;
use super::{FIRST_WITH_TOPIC_IDS, GroupCoordinator};
use crate::coordinator::interface::{Call, CoordinatorKind};

/// The first version that asks for many groups.
const FIRST_WITH_GROUPS: i16 = 8;
/// The first version with a code for the whole answer.
const FIRST_WITH_TOP_LEVEL_ERROR: i16 = 2;

/// What the reader wants to see while a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stability {
    /// UNSTABLE_OFFSET_COMMIT, so that it comes back later.
    Required,
    /// What counts until then.
    Unimportant,
}

impl GroupCoordinator {
    pub(in crate::coordinator) fn offset_fetch(
        &mut self,
        request: &OffsetFetchRequest,
        call: &Call<'_>,
    ) -> OffsetFetchResponse {
        let stability = if request.require_stable {
            Stability::Required
        } else {
            Stability::Unimportant
        };
        let mut response = OffsetFetchResponse::default();
        if call.version >= FIRST_WITH_GROUPS {
            response.groups = request
                .groups
                .iter()
                .map(|group| self.fetched(group, stability, call))
                .collect();
            return response;
        }
        let group = OffsetFetchRequestGroup {
            group_id: request.group_id.clone(),
            topics: request.topics.clone(),
            ..Default::default()
        };
        let fetched = self.fetched(&group, stability, call);
        if call.version < FIRST_WITH_TOP_LEVEL_ERROR && fetched.error_code != ErrorCode::None {
            let topics = request.topics.iter().flatten();
            response.topics = topics
                .map(|topic| failed_topic(topic, fetched.error_code))
                .collect();
            return response;
        }
        response.topics = fetched.topics;
        response.error_code = fetched.error_code;
        response
    }

    fn fetched(
        &mut self,
        group: &OffsetFetchRequestGroup,
        stability: Stability,
        call: &Call<'_>,
    ) -> OffsetFetchResponseGroup {
        let mut response = OffsetFetchResponseGroup {
            group_id: group.group_id.clone(),
            ..Default::default()
        };
        match call
            .cluster
            .coordinator_shard(CoordinatorKind::Group, &group.group_id, call.node)
        {
            Err(error) => response.error_code = error,
            Ok(_) => {
                let owner: Arc<str> = group.group_id.as_str().into();
                response.topics = match &group.topics {
                    None => self.all_topics(&owner, stability, call),
                    Some(topics) => topics
                        .iter()
                        .map(|topic| self.named_topic(&owner, topic, stability, call))
                        .collect(),
                };
            }
        }
        response
    }

    /// B-120: only partitions that have an offset which counts.
    fn all_topics(
        &mut self,
        group: &Arc<str>,
        stability: Stability,
        call: &Call<'_>,
    ) -> Vec<OffsetFetchResponseTopic> {
        let mut by_name: BTreeMap<Arc<str>, Vec<PartitionId>> = BTreeMap::new();
        for (place, _) in self.shard_mut(group).committed_of(group) {
            by_name
                .entry(Arc::clone(&place.topic))
                .or_default()
                .push(place.partition);
        }
        let mut topics = Vec::new();
        for (name, partitions) in by_name {
            let topic_id = call.cluster.topics.get(&name).map(|topic| topic.id);
            if topic_id.is_none() && call.version >= FIRST_WITH_TOPIC_IDS {
                continue;
            }
            let places = partitions.into_iter();
            let partitions = places
                .map(|partition| self.partition(group, &name, partition, stability))
                .collect();
            let topic_id = topic_id.unwrap_or(TopicId::ZERO);
            topics.push(OffsetFetchResponseTopic {
                name: name.to_string(),
                topic_id,
                partitions,
            });
        }
        topics
    }

    fn named_topic(
        &mut self,
        group: &Arc<str>,
        topic: &OffsetFetchRequestTopic,
        stability: Stability,
        call: &Call<'_>,
    ) -> OffsetFetchResponseTopic {
        let name: Arc<str> = if call.version >= FIRST_WITH_TOPIC_IDS {
            match call.cluster.topic_name(topic.topic_id) {
                Some(name) => Arc::clone(name),
                None => return failed_topic(topic, ErrorCode::UnknownTopicId),
            }
        } else {
            topic.name.as_str().into()
        };
        let places = topic.partition_indexes.iter();
        let partitions = places
            .map(|partition| self.partition(group, &name, *partition, stability))
            .collect();
        OffsetFetchResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
        }
    }

    fn partition(
        &mut self,
        group: &Arc<str>,
        topic: &Arc<str>,
        partition: PartitionId,
        stability: Stability,
    ) -> OffsetFetchResponsePartition {
        let place = TopicPartition {
            topic: Arc::clone(topic),
            partition,
        };
        let shard = self.shard_mut(group);
        if stability == Stability::Required && shard.is_unstable(group, &place) {
            return no_offset(partition, ErrorCode::UnstableOffsetCommit);
        }
        match shard.committed(group, &place) {
            None => no_offset(partition, ErrorCode::None),
            Some(StoredOffset {
                offset,
                leader_epoch,
                metadata,
            }) => OffsetFetchResponsePartition {
                partition_index: partition,
                committed_offset: *offset,
                committed_leader_epoch: *leader_epoch,
                metadata: Some(metadata.clone()),
                error_code: ErrorCode::None,
            },
        }
    }
}

fn failed_topic(topic: &OffsetFetchRequestTopic, error: ErrorCode) -> OffsetFetchResponseTopic {
    let partitions = topic
        .partition_indexes
        .iter()
        .map(|partition| no_offset(*partition, error))
        .collect();
    OffsetFetchResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions,
    }
}

fn no_offset(partition_index: PartitionId, error_code: ErrorCode) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: LeaderEpoch(-1),
        metadata: Some(String::new()),
        error_code,
    }
}
