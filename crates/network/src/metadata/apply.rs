//! From a metadata response to the next snapshot (N-56 … N-59), with the limits within which a broker is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, TopicId};
use tracing::{error, info, warn};

use super::schedule::{Scope, UpdateRequest};
use super::{Metadata, MetadataError, remember_epoch};
use crate::address::BrokerAddress;
use crate::cluster::{ClusterSnapshot, PartitionSnapshot, TopicOrigin, TopicSnapshot};

/// More brokers than any cluster has.
const MAX_BROKERS: usize = 10_000;
/// More partitions than any topic has; also the bound of a partition's number.
const MAX_PARTITIONS: usize = 200_000;
/// Brokers number partitions without gaps. Some may be missing from a response, but the table of a topic stays in proportion to it.
const MAX_GAPS_PER_PARTITION: usize = 8;
/// Metadata of this version and later carries leader epochs that can be relied on (N-57).
const FIRST_RELIABLE_EPOCHS: i16 = 9;

/// A response together with what is known about it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: MetadataResponse,
    pub(crate) version: i16,
    pub(crate) update: UpdateRequest,
    pub(crate) broker: BrokerAddress,
}

/// What came of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The snapshot was replaced.
    Applied,
    /// The response was ignored and counts as a failed update.
    Failed,
    /// No broker answers like this; the connection should be closed.
    Malformed(String),
    /// Another cluster answered (H30); the connection should be closed.
    OtherCluster(String),
    /// The broker demands a rebootstrap (N-61 c).
    Rebootstrap,
}

impl Metadata {
    /// Applies a response, or says why not. `jitter` is a fresh random number for the next backoff.
    pub(crate) fn apply(&mut self, answer: Answer, now: Instant, jitter: f64) -> Verdict {
        let verdict = self.judge(&answer);
        match verdict {
            Verdict::Applied => self.replace_snapshot(answer, now, jitter),
            Verdict::Rebootstrap => self.schedule.abandon(),
            Verdict::Failed | Verdict::Malformed(_) | Verdict::OtherCluster(_) => {
                self.schedule.failed(now, jitter)
            }
        }
        verdict
    }

    fn judge(&mut self, answer: &Answer) -> Verdict {
        let response = &answer.response;
        if response.error_code == ErrorCode::RebootstrapRequired {
            return Verdict::Rebootstrap;
        }
        if response.error_code.is_error() {
            warn!(broker = %answer.broker, error = response.error_code.name(), "the broker refuses metadata");
            return Verdict::Failed;
        }
        if let Some(problem) = implausible(response) {
            return Verdict::Malformed(problem);
        }
        if believable_nodes(response).is_empty() {
            warn!(broker = %answer.broker, "the broker names no broker in its metadata");
            return Verdict::Failed;
        }
        match (&self.pinned_cluster, response.cluster_id.as_deref()) {
            (Some(expected), Some(found)) if **expected != *found => {
                let error = MetadataError::ClusterChanged {
                    broker: answer.broker.clone(),
                    expected: Arc::clone(expected),
                    found: found.into(),
                };
                let text = error.to_string();
                self.fail(error);
                Verdict::OtherCluster(text)
            }
            _ => Verdict::Applied,
        }
    }

    fn replace_snapshot(&mut self, answer: Answer, now: Instant, jitter: f64) {
        let Answer {
            response,
            version,
            update,
            ..
        } = answer;
        self.schedule.succeeded(update, now, jitter);
        self.attempts_since = None;
        if self.pinned_cluster.is_none()
            && let Some(id) = response.cluster_id.as_deref()
        {
            info!(cluster_id = id, "the cluster is known");
            self.pinned_cluster = Some(id.into());
        }
        let nodes = believable_nodes(&response);
        let mut topics = BTreeMap::new();
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref() else {
                continue;
            };
            self.topics
                .answered_if_kept(name, now, |kept| topics.insert(kept, topic));
        }
        let mut next: BTreeMap<Arc<str>, TopicSnapshot> = topics
            .into_iter()
            .map(|(name, topic)| (Arc::clone(&name), self.take_topic(&name, topic, version)))
            .collect();
        if update.scope == Scope::NewTopics {
            self.keep_other_topics(&mut next, now);
        }
        self.last_seen_epochs
            .retain(|topic, _| self.topics.standing(topic).is_some());
        self.snapshot = Arc::new(ClusterSnapshot {
            controller: Some(response.controller_id).filter(|id| nodes.contains_key(id)),
            nodes,
            topics: next,
            update_version: self.snapshot.update_version + 1,
            cluster_id: response
                .cluster_id
                .as_deref()
                .map(Arc::from)
                .or_else(|| self.pinned_cluster.clone()),
            failure: self.snapshot.failure.clone().filter(MetadataError::is_permanent),
        });
    }

    /// N-58: a partial response leaves the other topics as they are, unless they have expired.
    fn keep_other_topics(&mut self, next: &mut BTreeMap<Arc<str>, TopicSnapshot>, now: Instant) {
        let previous = Arc::clone(&self.snapshot);
        for (name, topic) in &previous.topics {
            let is_kept =
                topic.error.is_none() && !next.contains_key(name) && self.topics.retain(name, now).is_some();
            if is_kept {
                next.insert(Arc::clone(name), topic.clone());
            }
        }
    }

    /// N-56: a topic's error, or its partitions.
    fn take_topic(&mut self, name: &Arc<str>, topic: &MetadataResponseTopic, version: i16) -> TopicSnapshot {
        if topic.error_code.is_error() {
            self.judge_topic_error(name, topic.error_code);
            return TopicSnapshot {
                id: topic.topic_id,
                error: Some(topic.error_code),
                origin: origin(topic),
                ..TopicSnapshot::default()
            };
        }
        let positions = topic
            .partitions
            .iter()
            .map(position)
            .max()
            .map_or(0, |last| last + 1);
        let mut partitions = vec![PartitionSnapshot::default(); positions];
        for partition in &topic.partitions {
            if partition.error_code.is_invalid_metadata() {
                self.schedule.request_full();
            }
            if partition.error_code == ErrorCode::ListenerNotFound {
                warn!(topic = %name, partition = %partition.partition_index, "the leader has no listener for this client");
            }
            partitions[position(partition)] = self.take_partition(name, topic.topic_id, partition, version);
        }
        TopicSnapshot {
            id: topic.topic_id,
            partitions,
            error: None,
            origin: origin(topic),
        }
    }

    fn judge_topic_error(&mut self, name: &Arc<str>, code: ErrorCode) {
        warn!(topic = %name, error = code.name(), "the broker has no metadata of the topic");
        if matches!(
            code,
            ErrorCode::InvalidTopicException | ErrorCode::TopicAuthorizationFailed
        ) {
            error!(topic = %name, error = code.name(), "the topic cannot be used");
        }
        if code.is_invalid_metadata() {
            self.schedule.request_full();
        }
    }

    /// N-57: an older leader epoch than the one last seen does not replace what is known; N-52: what counts as news.
    fn take_partition(
        &mut self,
        topic: &Arc<str>,
        topic_id: TopicId,
        partition: &MetadataResponsePartition,
        version: i16,
    ) -> PartitionSnapshot {
        let position = position(partition);
        let taken = PartitionSnapshot {
            leader: Some(partition.leader_id).filter(|leader| leader.0 >= 0),
            leader_epoch: Some(partition.leader_epoch).filter(|epoch| epoch.0 >= 0),
            error: Some(partition.error_code).filter(|code| code.is_error()),
            replicas: Arc::from(&partition.replica_nodes[..]),
            in_sync_replicas: Arc::from(&partition.isr_nodes[..]),
            offline_replicas: Arc::from(&partition.offline_replicas[..]),
        };
        let epoch = taken.leader_epoch.filter(|_| version >= FIRST_RELIABLE_EPOCHS);
        let Some(epoch) = epoch else {
            self.schedule.news();
            remember_epoch(&mut self.last_seen_epochs, topic, position, None);
            return PartitionSnapshot {
                leader_epoch: None,
                ..taken
            };
        };
        let last_seen = self
            .last_seen_epochs
            .get(topic)
            .and_then(|epochs| epochs.get(position).copied().flatten());
        let is_recreated = topic_id.is_known() && self.snapshot.topic_id(topic) != topic_id;
        match last_seen {
            Some(last) if !is_recreated && epoch < last => {
                let cached = self.snapshot.partition(topic, partition.partition_index);
                return cached.cloned().unwrap_or_default();
            }
            Some(last) if !is_recreated && epoch == last => {}
            _ => self.schedule.news(),
        }
        remember_epoch(&mut self.last_seen_epochs, topic, position, Some(epoch));
        taken
    }
}

/// What no broker would say, in words; what is below the limits is believed.
fn implausible(response: &MetadataResponse) -> Option<String> {
    if response.brokers.len() > MAX_BROKERS {
        return Some(format!(
            "its metadata names {} brokers (at most {MAX_BROKERS})",
            response.brokers.len()
        ));
    }
    for topic in &response.topics {
        let bound = topic
            .partitions
            .len()
            .saturating_mul(1 + MAX_GAPS_PER_PARTITION)
            .min(MAX_PARTITIONS);
        let bad = topic
            .partitions
            .iter()
            .find(|partition| position(partition) >= bound);
        if let Some(partition) = bad {
            return Some(format!(
                "its metadata names a partition {}",
                partition.partition_index
            ));
        }
    }
    None
}

/// The brokers that can be connected to. Negative ids are ours (N-1), so a broker cannot have one.
fn believable_nodes(response: &MetadataResponse) -> BTreeMap<NodeId, BrokerAddress> {
    let nodes = response.brokers.iter().filter(|broker| broker.node_id.0 >= 0);
    nodes
        .filter_map(|broker| {
            Some((
                broker.node_id,
                BrokerAddress::advertised(&broker.host, broker.port)?,
            ))
        })
        .collect()
}

fn origin(topic: &MetadataResponseTopic) -> TopicOrigin {
    match topic.is_internal {
        true => TopicOrigin::Internal,
        false => TopicOrigin::Application,
    }
}

/// The position of a partition in its topic; beyond every limit for a negative number.
fn position(partition: &MetadataResponsePartition) -> usize {
    usize::try_from(partition.partition_index.0).unwrap_or(usize::MAX)
}
