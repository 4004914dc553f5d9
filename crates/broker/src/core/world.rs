//! What all nodes share, and what happens in it by itself: markers, replication, expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{LeaderEpoch, NodeId, TopicPartition};

use crate::config::BrokerConfig;
use crate::coordinator::interface::{CONSUMER_OFFSETS_TOPIC, ClusterNode, MarkerWrite, NodeState};
use crate::coordinator::{Coordinators, GroupAnswer, Ticket, TransactionLog};
use crate::dispatch::Outcome;
use crate::dispatch::produce::verification::Questions;
use crate::durable::Entry;
use crate::messages::ResponseMessage;
use crate::partition::AppendContext;
use crate::topics::Cluster;

/// How long a marker waits for a partition without leader (B-94).
const MARKER_RETRY: std::time::Duration = std::time::Duration::from_millis(20);
/// More bytes than a marker has.
const LARGEST_MARKER: u64 = 128;
/// Behind full logs there is room for markers: this part of what records may take, and so many bytes.
const MARKER_SHARE: u64 = 16;
const MARKER_RESERVE: u64 = 64 * 1024;
/// Kafka replicates to three brokers where nobody says otherwise.
const USUAL_REPLICATION: u16 = 3;

/// What Metadata still says of a partition whose leader has moved (B-20).
#[derive(Clone, Copy, Debug)]
struct Outdated {
    leader: (Option<NodeId>, LeaderEpoch),
    /// None before the first turn behind the move.
    until: Option<Instant>,
}

/// The shared half of the broker: everything but connections.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: BrokerConfig,
    pub(crate) cluster: Cluster,
    pub(crate) coordinators: Coordinators,
    pub(crate) questions: Questions,
    markers: BTreeMap<(Instant, u64), MarkerWrite>,
    marker_count: u64,
    group_answers: BTreeMap<Ticket, GroupAnswer>,
    last_ticket: u64,
    next_transaction_log: Option<TransactionLog>,
    lagging: BTreeSet<TopicPartition>,
    /// Leaders that moved while Metadata still names the one before.
    outdated: BTreeMap<TopicPartition, Outdated>,
    /// Partitions with batches that were not given away to be kept.
    grown: BTreeSet<TopicPartition>,
    /// At least as many bytes as there are in the logs.
    log_bytes: u64,
    changes: u64,
    coordinators_due: Instant,
    expiry_due: Option<Instant>,
}

impl World {
    /// A world without topics.
    pub(crate) fn new(config: BrokerConfig) -> Self {
        let nodes = (0..config.nodes.max(1))
            .map(|index| ClusterNode {
                id: NodeId(i32::from(index) + 1),
                host: config.host.clone(),
                port: config.port.saturating_add(index),
                state: NodeState::Live,
            })
            .collect();
        Self {
            cluster: Cluster::new(nodes, &config),
            coordinators: Coordinators::new(config.coordinator.clone()),
            questions: Questions::default(),
            markers: BTreeMap::new(),
            marker_count: 0,
            group_answers: BTreeMap::new(),
            last_ticket: 0,
            next_transaction_log: None,
            lagging: BTreeSet::new(),
            outdated: BTreeMap::new(),
            grown: BTreeSet::new(),
            log_bytes: 0,
            changes: 0,
            coordinators_due: Instant::ORIGIN,
            expiry_due: None,
            config,
        }
    }

    /// Takes the changed settings over to where copies of them are (B-123).
    pub(crate) fn configured(&mut self) {
        self.coordinators.configure(&self.config.coordinator);
        self.coordinators_due = Instant::ORIGIN;
        self.expiry_due = None;
    }

    /// Rises whenever a waiting fetch or produce might have become answerable.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Something changed that others may wait for.
    pub(crate) fn note_change(&mut self) {
        self.changes += 1;
    }

    /// A new leader has read its log, in which the producers stand that have expired since: they go before anybody is served.
    pub(crate) fn leaders_moved(&mut self) {
        self.expiry_due = Some(Instant::ORIGIN);
        self.note_change();
    }

    /// B-20: the leader is about to move; for a while Metadata says nothing of it.
    pub(crate) fn announce_later(&mut self, partition: &TopicPartition) {
        if self.config.metadata_delay.is_zero() {
            return;
        }
        if let Ok(known) = self.cluster.partition(partition) {
            let leader = (known.leader, known.leader_epoch);
            let outdated = Outdated { leader, until: None };
            self.outdated.insert(partition.clone(), outdated);
        }
    }

    /// The leader that Metadata names, where it is not the present one.
    pub(crate) fn announced_leader(
        &self,
        topic: &Arc<str>,
        index: i32,
    ) -> Option<(Option<NodeId>, LeaderEpoch)> {
        let partition = TopicPartition::new(Arc::clone(topic), index);
        self.outdated.get(&partition).map(|outdated| outdated.leader)
    }

    fn forget_outdated(&mut self, now: Instant) {
        let delay = self.config.metadata_delay;
        self.outdated
            .retain(|_, outdated| *outdated.until.get_or_insert(now + delay) > now);
    }

    /// How many replicas a topic gets when nobody says.
    pub(crate) fn default_replication_factor(&self) -> u16 {
        self.config.nodes.clamp(1, USUAL_REPLICATION)
    }

    /// When an append of now is replicated (B-30).
    pub(crate) fn replicated_at(&self, now: Now) -> Instant {
        now.instant + self.config.replication_delay
    }

    /// Remembers that a partition's high watermark moves later.
    pub(crate) fn appended(&mut self, partition: &TopicPartition) {
        self.note_change();
        if !self.config.replication_delay.is_zero() {
            self.lagging.insert(partition.clone());
        }
        if self.config.data_directory.is_some() {
            self.grown.insert(partition.clone());
        }
    }

    /// So many bytes were appended.
    pub(crate) fn note_bytes(&mut self, bytes: u64) {
        self.log_bytes = self.log_bytes.saturating_add(bytes);
    }

    /// How many bytes may still be appended. What was deleted is noticed when there is no room for `wanted` any more.
    pub(crate) fn room(&mut self, wanted: usize) -> u64 {
        let limit = self.config.limits.log_bytes;
        if self.log_bytes.saturating_add(wanted as u64) > limit {
            self.count_log_bytes();
        }
        limit.saturating_sub(self.log_bytes)
    }

    /// The logs have come back from a restart.
    pub(crate) fn count_log_bytes(&mut self) {
        self.log_bytes = self.cluster.log_bytes();
    }

    /// Whether a marker may be written. There is more room for markers than for records, so that transactions can end in full logs.
    fn has_room_for_marker(&mut self) -> bool {
        let limit = self.config.limits.log_bytes;
        let limit = limit
            .saturating_add(limit / MARKER_SHARE)
            .saturating_add(MARKER_RESERVE);
        if self.log_bytes.saturating_add(LARGEST_MARKER) > limit {
            self.count_log_bytes();
        }
        self.log_bytes.saturating_add(LARGEST_MARKER) <= limit
    }

    /// Where nothing survives a restart, nothing is remembered to be kept.
    pub(crate) fn forget_unsaved(&mut self) {
        if self.config.data_directory.is_none() {
            self.cluster.forget_unsaved();
            self.coordinators.forget_unsaved();
        }
    }

    /// What changed since the last call, of everything that survives a restart.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.cluster.take_unsaved(&mut entries);
        for partition in std::mem::take(&mut self.grown) {
            self.cluster.take_unsaved_batches(&partition, &mut entries);
        }
        self.coordinators.take_unsaved(&mut entries);
        entries
    }

    /// Everything that survives a restart.
    pub(crate) fn all_entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.cluster.all_entries(&mut entries);
        self.coordinators.all_entries(&mut entries);
        entries
    }

    /// Lets the coordinators act after a call: collects their markers, and looks at their deadline again.
    pub(crate) fn coordinators_moved(&mut self, now: Now) {
        for marker in self.coordinators.take_markers() {
            self.marker_count += 1;
            self.markers.insert(
                (now.instant + self.config.marker_delay, self.marker_count),
                marker,
            );
        }
        self.group_answers.extend(self.coordinators.take_group_answers());
        self.coordinators_due = Instant::ORIGIN;
        self.note_change();
    }

    /// A name for a request that a group answers when it is ready.
    pub(crate) fn fresh_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// The answer of a group, once there is one.
    pub(crate) fn take_group_answer(&mut self, ticket: Ticket) -> Option<Outcome> {
        let answer = match self.group_answers.remove(&ticket)? {
            GroupAnswer::Join(response) => ResponseMessage::JoinGroup(response),
            GroupAnswer::Sync(response) => ResponseMessage::SyncGroup(response),
        };
        Some(answer.into())
    }

    /// Drops the answers for connections that are gone: every other one has been taken when a turn ends.
    pub(crate) fn forget_group_answers(&mut self) {
        self.group_answers.clear();
    }

    /// Changes the faults of the transaction log with the next turn, which knows the time.
    pub(crate) fn set_transaction_log(&mut self, log: TransactionLog) {
        self.next_transaction_log = Some(log);
        self.note_change();
    }

    /// Everything that is due.
    pub(crate) fn turn(&mut self, now: Now) {
        self.advance_replication(now.instant);
        self.forget_outdated(now.instant);
        if let Some(log) = self.next_transaction_log.take() {
            self.coordinators.set_transaction_log(log, now);
            self.coordinators_moved(now);
        }
        loop {
            if self.coordinators_due <= now.instant {
                let next = self.coordinators.turn(&self.cluster.view(), now);
                self.coordinators_moved(now);
                self.coordinators_due = next;
            }
            let Some((number, marker)) = self.take_due_marker(now.instant) else {
                break;
            };
            self.write_marker(marker, number, now);
        }
        self.expire_producers(now);
    }

    /// When the next thing is due by itself.
    pub(crate) fn next_deadline(&self) -> Instant {
        let marker = self
            .markers
            .first_key_value()
            .map_or(Instant::NEVER, |((due, _), _)| *due);
        let replication = self
            .lagging
            .iter()
            .filter_map(|partition| self.cluster.partition(partition).ok());
        let replication = replication
            .map(|partition| partition.next_advance())
            .min()
            .unwrap_or(Instant::NEVER);
        let expiry = self.expiry_due.unwrap_or(Instant::NEVER);
        marker.min(replication).min(expiry).min(self.coordinators_due)
    }

    fn take_due_marker(&mut self, now: Instant) -> Option<(u64, MarkerWrite)> {
        let (&key, _) = self
            .markers
            .first_key_value()
            .filter(|((due, _), _)| *due <= now)?;
        self.markers.remove(&key).map(|marker| (key.1, marker))
    }

    fn advance_replication(&mut self, now: Instant) {
        let Self {
            lagging,
            cluster,
            changes,
            ..
        } = self;
        lagging.retain(|name| {
            let Ok(partition) = cluster.partition_mut(name) else {
                return false;
            };
            if partition.advance(now) {
                *changes += 1;
            }
            !partition.next_advance().is_never()
        });
    }

    /// B-69, B-91, B-94: writes a marker; one that a moved coordinator has replaced is dropped, one for a deleted partition counts as written, one for a partition without leader waits.
    fn write_marker(&mut self, marker: MarkerWrite, number: u64, now: Now) {
        if !self.coordinators.is_marker_outstanding(&marker) {
            return;
        }
        if !self.has_room_for_marker() {
            self.markers.insert((now.instant + MARKER_RETRY, number), marker);
            return;
        }
        let target = marker.topic_partition.clone();
        let context_time = self.replicated_at(now);
        let written = match self.cluster.topic_mut(&target.topic) {
            None => Ok(()),
            Some(topic) => {
                let config = topic.config.clone();
                let context = AppendContext {
                    config: &config,
                    storage: self.config.storage,
                    now,
                    replicated_at: context_time,
                    room: u64::MAX,
                    most_producers: usize::MAX,
                };
                match topic.partition_mut(target.partition.0) {
                    None => Ok(()),
                    Some(partition) if partition.leader.is_none() => Err(ErrorCode::LeaderNotAvailable),
                    Some(partition) => partition.append_marker(&marker, &context).map(|_| {
                        self.log_bytes = self.log_bytes.saturating_add(LARGEST_MARKER);
                    }),
                }
            }
        };
        match written {
            Ok(()) => {
                self.appended(&target);
                if &*target.topic == CONSUMER_OFFSETS_TOPIC {
                    self.coordinators.apply_offsets_marker(&marker);
                }
                self.coordinators
                    .markers_written(&marker.transactional_id, &target, now);
                self.coordinators_moved(now);
            }
            Err(ErrorCode::LeaderNotAvailable) => {
                self.markers.insert((now.instant + MARKER_RETRY, number), marker);
            }
            Err(code) => {
                tracing::warn!(partition = %target, code = code.name(), "a marker was refused and is dropped");
            }
        }
    }

    fn expire_producers(&mut self, now: Now) {
        if self.expiry_due.is_some_and(|due| due > now.instant) {
            return;
        }
        if self.expiry_due.is_some() {
            self.expire_now(now);
        }
        self.expiry_due = Some(now.instant + self.config.producer_id_expiration_interval);
    }

    /// B-107: forgets the producers that were idle for too long.
    pub(crate) fn expire_now(&mut self, now: Now) {
        let limit = self.config.producer_id_expiration;
        let partitions = self.cluster.topics_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| partition.expire_producers(now, limit));
    }
}
