//! What the producer knows about the cluster, and when it asks again (N-47 … N-77).
//!
//! Chooses no node and sends nothing: [`crate::Network`] does, and hands the answers in.

mod apply;
mod schedule;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::messages::{MetadataRequest, MetadataRequestTopic};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{LeaderEpoch, NodeId, TopicPartition};
use thiserror::Error;
use tracing::{info, warn};

use crate::address::BrokerAddress;
use crate::cluster::ClusterSnapshot;
use crate::config::NetworkConfig;
use schedule::{Schedule, Scope};
use topics::{Standing, WorkingTopics};

pub(crate) use apply::{Answer, Verdict};
pub(crate) use schedule::UpdateRequest;

/// Why metadata cannot be had, or must not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A broker refused who we are, or we refused the broker.
    #[error("{reason}")]
    Authentication {
        /// What happened, naming the broker.
        reason: Arc<str>,
    },
    /// A broker has no version of the metadata request that this client knows.
    #[error("{reason}")]
    UnsupportedVersion {
        /// What happened, naming the broker.
        reason: Arc<str>,
    },
    /// None of the configured hosts has an address (N-18).
    #[error("none of bootstrap.servers can be resolved: {reason}")]
    Unresolvable {
        /// What happened, naming every host.
        reason: Arc<str>,
    },
    /// Another cluster answers under the configured addresses: sequences mean nothing there (H30). Stays for ever.
    #[error("{broker} belongs to cluster {found}, but this producer has written to cluster {expected}")]
    ClusterChanged {
        /// The broker that answered.
        broker: BrokerAddress,
        /// The id of the cluster that answered first.
        expected: Arc<str>,
        /// The id that came now.
        found: Arc<str>,
    },
}

impl MetadataError {
    /// Whether no later answer can mend it.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::ClusterChanged { .. })
    }
}

/// A hint that a partition has a new leader (KIP-951), taken from a produce response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Which partition.
    pub topic_partition: TopicPartition,
    /// Its new leader.
    pub leader: NodeId,
    /// The epoch of the new leader.
    pub leader_epoch: LeaderEpoch,
}

/// The metadata of one producer.
#[derive(Debug)]
pub(crate) struct Metadata {
    bootstrap: Vec<BrokerAddress>,
    snapshot: Arc<ClusterSnapshot>,
    schedule: Schedule,
    topics: WorkingTopics,
    /// The highest leader epoch seen, per partition number (N-57).
    last_seen_epochs: BTreeMap<Arc<str>, Vec<Option<LeaderEpoch>>>,
    /// The cluster id that came first (H30).
    pinned_cluster: Option<Arc<str>>,
    /// N-60, N-61: since when an update is wanted and has not come.
    attempts_since: Option<Instant>,
}

impl Metadata {
    pub(crate) fn new(config: &NetworkConfig, bootstrap: Vec<BrokerAddress>) -> Self {
        let mut snapshot = ClusterSnapshot::bootstrap(&bootstrap);
        snapshot.update_version = 1;
        Self {
            bootstrap,
            snapshot: Arc::new(snapshot),
            schedule: Schedule::new(config.retry_backoff, config.metadata_max_age),
            topics: WorkingTopics::new(config.metadata_max_idle),
            last_seen_epochs: BTreeMap::new(),
            pinned_cluster: None,
            attempts_since: None,
        }
    }

    /// N-54: a new topic is asked for without any backoff.
    pub(crate) fn add_topic(&mut self, topic: &str, now: Instant) {
        if self.topics.add(topic, now) == Standing::New {
            self.schedule.request_at_once();
        }
    }

    /// N-68: a full update, within the backoffs.
    pub(crate) fn request_update(&mut self) {
        self.schedule.request_full();
    }

    /// N-69: partial for a topic that is new, else full.
    pub(crate) fn request_update_for_topic(&mut self, topic: &str) {
        match self.topics.standing(topic) {
            Some(Standing::New) => self.schedule.request_partial(),
            _ => self.schedule.request_full(),
        }
    }

    /// N-55: the request of an update that begins now.
    pub(crate) fn begin_update(&mut self, now: Instant) -> (UpdateRequest, MetadataRequest) {
        let update = self.schedule.begin(now);
        let name = |name: &Arc<str>| MetadataRequestTopic {
            name: Some(name.to_string()),
            ..Default::default()
        };
        let topics = match update.scope {
            Scope::NewTopics => self.topics.new_ones().map(name).collect(),
            Scope::AllTopics => self.topics.all().map(name).collect(),
        };
        let request = MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        (update, request)
    }

    /// N-53: the update at hand, or the one that was due, failed.
    pub(crate) fn update_failed(&mut self, now: Instant, jitter: f64) {
        self.schedule.failed(now, jitter);
    }

    /// N-72: a node was lost.
    pub(crate) fn node_lost(&mut self, now: Instant, jitter: f64) {
        if self.snapshot.is_bootstrap() {
            warn!("a bootstrap connection was lost, and no other broker is known yet");
        }
        if self.schedule.is_due(now) {
            self.schedule.failed(now, jitter);
        }
        self.schedule.request_full();
    }

    /// N-61: back to the bootstrap addresses. Topics, epochs and the time of the last refresh stay.
    pub(crate) fn rebootstrap(&mut self, now: Instant) {
        info!("metadata starts again from the bootstrap servers");
        let mut snapshot = ClusterSnapshot::bootstrap(&self.bootstrap);
        snapshot.update_version = self.snapshot.update_version + 1;
        snapshot.failure = self.snapshot.failure.clone();
        self.snapshot = Arc::new(snapshot);
        self.attempts_since = Some(now);
        self.schedule.request_full();
    }

    /// N-60: an attempt to update begins, unless one has begun already. Gives the beginning.
    pub(crate) fn attempt(&mut self, now: Instant) -> Instant {
        *self.attempts_since.get_or_insert(now)
    }

    /// Since when an update is wanted and has not come (N-61 b).
    pub(crate) fn attempts_since(&self) -> Option<Instant> {
        self.attempts_since
    }

    /// N-77: takes the hints that are newer than what is known, and gives the partitions whose leader changed.
    pub(crate) fn update_leadership(
        &mut self,
        hints: &[LeaderHint],
        nodes: &BTreeMap<NodeId, BrokerAddress>,
    ) -> Vec<TopicPartition> {
        let taken: Vec<&LeaderHint> = hints.iter().filter(|hint| self.is_newer(hint, nodes)).collect();
        if taken.is_empty() {
            return Vec::new();
        }
        let snapshot = Arc::make_mut(&mut self.snapshot);
        snapshot
            .nodes
            .extend(nodes.iter().map(|(id, address)| (*id, address.clone())));
        for hint in &taken {
            let position = usize::try_from(hint.topic_partition.partition.0).unwrap_or(usize::MAX);
            let topic = snapshot.topics.get_mut(&hint.topic_partition.topic);
            if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(position)) {
                partition.leader = Some(hint.leader);
                partition.leader_epoch = Some(hint.leader_epoch);
            }
            remember_epoch(
                &mut self.last_seen_epochs,
                &hint.topic_partition.topic,
                position,
                Some(hint.leader_epoch),
            );
        }
        taken
            .into_iter()
            .map(|hint| hint.topic_partition.clone())
            .collect()
    }

    /// N-63: the error stands until metadata comes again; that of another cluster for ever (H30).
    pub(crate) fn fail(&mut self, error: MetadataError) {
        warn!(%error, "metadata cannot be used");
        if !self
            .snapshot
            .failure
            .as_ref()
            .is_some_and(MetadataError::is_permanent)
        {
            Arc::make_mut(&mut self.snapshot).failure = Some(error);
        }
    }

    /// The highest epoch that was seen of a partition's leader (N-57).
    #[cfg(test)]
    pub(crate) fn last_seen_epoch(&self, of: &TopicPartition) -> Option<LeaderEpoch> {
        let position = usize::try_from(of.partition.0).ok()?;
        let epochs = self.last_seen_epochs.get(&of.topic)?;
        epochs.get(position).copied().flatten()
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(crate) fn snapshot(&self) -> &Arc<ClusterSnapshot> {
        &self.snapshot
    }

    fn is_newer(&self, hint: &LeaderHint, nodes: &BTreeMap<NodeId, BrokerAddress>) -> bool {
        let place = &hint.topic_partition;
        let Some(cached) = self.snapshot.partition(&place.topic, place.partition) else {
            return false;
        };
        let is_known_node =
            nodes.contains_key(&hint.leader) || self.snapshot.nodes.contains_key(&hint.leader);
        let is_later = cached.leader_epoch.is_none_or(|epoch| hint.leader_epoch > epoch);
        hint.leader.0 >= 0 && hint.leader_epoch.0 >= 0 && is_known_node && is_later
    }
}

fn remember_epoch(
    epochs: &mut BTreeMap<Arc<str>, Vec<Option<LeaderEpoch>>>,
    topic: &Arc<str>,
    position: usize,
    epoch: Option<LeaderEpoch>,
) {
    let of_topic = epochs.entry(Arc::clone(topic)).or_default();
    if of_topic.len() <= position {
        of_topic.resize(position + 1, None);
    }
    of_topic[position] = epoch;
}
