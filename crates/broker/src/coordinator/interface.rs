//! What passes between the coordinators and the rest of the broker, as plain values: no behaviour, no state, no time reading.
//!
//! The core owns one `Coordinators` and calls exactly this (every call is synchronous; what is written is durable at once):
//!
//! ```text
//! Coordinators::new(CoordinatorConfig)
//! find_coordinator(&mut self, &FindCoordinatorRequest, &Call) -> FindCoordinatorResponse
//! init_producer_id(&mut self, &InitProducerIdRequest, &Call) -> InitProducerIdResponse
//! add_partitions_to_txn(&mut self, &AddPartitionsToTxnRequest, &Call) -> AddPartitionsToTxnResponse
//! add_offsets_to_txn, end_txn, txn_offset_commit, offset_commit, offset_fetch: the same shape
//! describe_transactions, list_transactions: the same shape
//! verify_or_add(&mut self, &VerifyRequest, &ClusterView, now: Now) -> Vec<Result<(), ErrorCode>>   one per partition, in order
//! take_markers(&mut self) -> Vec<MarkerWrite>                          polled after every call and every turn
//! apply_offsets_marker(&mut self, &MarkerWrite)                        for partitions of `__consumer_offsets`, then also:
//! markers_written(&mut self, transactional_id: &str, &TopicPartition, now: Now)   written, or dropped with a deleted partition
//! turn(&mut self, &ClusterView, now: Now) -> Instant                   time-outs and expiry; the next deadline
//! take_unsaved, all_entries, restore, finish_restore                   what survives a restart
//! ```
//!
//! The coordinators check B-22 themselves with [`ClusterView::coordinator_shard`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::Now;
use kommit_protocol::units::{Identity, NodeId, TopicId, TopicPartition};

use crate::denials::Denials;

/// The topic whose partitions are the shards of the transaction coordinator.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";
/// The topic whose partitions are the shards of the group coordinator.
pub const CONSUMER_OFFSETS_TOPIC: &str = "__consumer_offsets";
/// How many shards each coordinator has (B-2).
pub const SHARD_COUNT: u32 = 50;

/// The finalised feature `transaction.version` of the cluster (B-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TransactionVersion {
    /// Level 0: clients add partitions themselves; behaves like level 1 here.
    V0,
    /// Level 1: as level 0, with flexible records in the transaction log.
    V1,
    /// Level 2: brokers add partitions on produce, every end of a transaction bumps the epoch (KIP-890).
    #[default]
    V2,
}

impl TransactionVersion {
    /// The number under which the feature is finalised.
    pub fn level(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The level with this number.
    pub fn from_level(level: i16) -> Option<Self> {
        [Self::V0, Self::V1, Self::V2]
            .into_iter()
            .find(|version| version.level() == level)
    }
}

/// Which of the two coordinators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKind {
    /// Consumer groups: shards of `__consumer_offsets`.
    Group,
    /// Transactions: shards of `__transaction_state`.
    Transaction,
}

/// A broker of the cluster as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its id in metadata.
    pub id: NodeId,
    /// The host that is advertised.
    pub host: String,
    /// The port that is advertised.
    pub port: u16,
    /// Whether it runs.
    pub state: NodeState,
}

/// Whether a broker takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Running: listed in metadata.
    Live,
    /// Stopped: not listed, leads nothing.
    Stopped,
}

/// One shard of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The node that leads it; `None` while there is none.
    pub leader: Option<NodeId>,
    /// Rises by one with each move; markers carry it (B-69).
    pub coordinator_epoch: i32,
    /// Whether it answers.
    pub state: ShardState,
}

/// Whether a shard answers (B-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// It answers.
    Active,
    /// It still reads its log: COORDINATOR_LOAD_IN_PROGRESS.
    Loading,
}

/// A topic as the coordinators need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Partitions are numbered from 0 up to this.
    pub partition_count: u32,
}

/// What the coordinators may know of the cluster during one call.
#[derive(Clone, Copy, Debug)]
pub struct ClusterView<'a> {
    /// All brokers, in order of their ids.
    pub nodes: &'a [ClusterNode],
    /// All topics, internal ones included.
    pub topics: &'a BTreeMap<Arc<str>, TopicView>,
    /// The shards of `__transaction_state`; empty until that topic exists (B-21).
    pub transaction_shards: &'a [Shard],
    /// The shards of `__consumer_offsets`; empty until that topic exists (B-21).
    pub group_shards: &'a [Shard],
    /// The finalised level.
    pub transaction_version: TransactionVersion,
}

impl<'a> ClusterView<'a> {
    /// The shard number that `key` (a transactional id or a group id) belongs to, and that shard, if it exists.
    pub fn shard_of(&self, kind: CoordinatorKind, key: &str) -> (u32, Option<&'a Shard>) {
        let number = shard_number(key);
        let shards = match kind {
            CoordinatorKind::Group => self.group_shards,
            CoordinatorKind::Transaction => self.transaction_shards,
        };
        (number, shards.get(number as usize))
    }

    /// B-22: the shard of `key` when `node` may answer for it now, else the code to refuse with.
    pub fn coordinator_shard(
        &self,
        kind: CoordinatorKind,
        key: &str,
        node: NodeId,
    ) -> Result<&'a Shard, ErrorCode> {
        let (_, shard) = self.shard_of(kind, key);
        let shard = shard.ok_or(ErrorCode::NotCoordinator)?;
        if shard.leader != Some(node) {
            return Err(ErrorCode::NotCoordinator);
        }
        match shard.state {
            ShardState::Active => Ok(shard),
            ShardState::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// Whether the partition exists.
    pub fn has_partition(&self, partition: &TopicPartition) -> bool {
        let Ok(index) = u32::try_from(partition.partition.0) else {
            return false;
        };
        self.topics
            .get(&partition.topic)
            .is_some_and(|topic| index < topic.partition_count)
    }

    /// The name of the topic with this id.
    pub fn topic_name(&self, id: TopicId) -> Option<&'a Arc<str>> {
        self.topics
            .iter()
            .find(|(_, topic)| topic.id == id)
            .map(|(name, _)| name)
    }

    /// The running node with this id.
    pub fn live_node(&self, id: NodeId) -> Option<&'a ClusterNode> {
        self.nodes
            .iter()
            .find(|node| node.id == id && node.state == NodeState::Live)
    }
}

/// The circumstances of one request.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The broker that received it.
    pub node: NodeId,
    /// The request's version, which is also the answer's.
    pub version: i16,
    /// When.
    pub now: Now,
    /// The header's client id.
    pub client_id: Option<&'a str>,
    /// The cluster as it is now.
    pub cluster: ClusterView<'a>,
    /// What the client may not do (B-126).
    pub denials: &'a Denials,
}

/// Whether a partition's leader asks about a transaction or adds itself to it (B-74).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// TV1: the client must have added the partition (B-77).
    VerifyOnly,
    /// TV2: the broker adds the partition on the client's behalf (B-78).
    Add,
}

/// What a partition's leader asks the transaction coordinator before an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// Whose transaction.
    pub transactional_id: Arc<str>,
    /// The batch's identity.
    pub identity: Identity,
    /// The partitions that have no open transaction of that identity.
    pub partitions: Vec<TopicPartition>,
    /// Ask, or add.
    pub mode: VerifyMode,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerOutcome {
    /// Its records become visible.
    Commit,
    /// Its records are skipped by read_committed consumers.
    Abort,
}

/// A control batch that a coordinator wants in a partition (B-91).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerWrite {
    /// Whose transaction ends; handed back with `markers_written`.
    pub transactional_id: Arc<str>,
    /// Where the marker goes.
    pub topic_partition: TopicPartition,
    /// The identity that the marker carries: TV1 the transaction's epoch, TV2 the bumped one.
    pub identity: Identity,
    /// Commit or abort.
    pub outcome: MarkerOutcome,
    /// The epoch of the coordinator shard that writes it (B-69).
    pub coordinator_epoch: i32,
    /// The rules under which the transaction ends, for the partition's epoch check (B-92): V2 demands a greater epoch.
    pub transaction_version: TransactionVersion,
}

/// The coordinators' settings, with Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// `transaction.max.timeout.ms` (B-56).
    pub transaction_max_timeout: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms` (B-101).
    pub timed_out_transaction_interval: Duration,
    /// `transactional.id.expiration.ms` (B-105).
    pub transactional_id_expiration: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms` (B-105).
    pub expired_transactional_id_interval: Duration,
    /// `offset.metadata.max.bytes` (B-118).
    pub offset_metadata_max_bytes: usize,
    /// `group.max.size`, those included that were given an id and have not joined yet.
    pub group_max_size: usize,
    /// How many transactional ids, and how many groups, there may be. More are told COORDINATOR_NOT_AVAILABLE.
    pub max_ids: usize,
    /// How many offsets each shard of `__consumer_offsets` stores, with those that wait for a marker. One more is refused with
    /// INVALID_COMMIT_OFFSET_SIZE, as Kafka refuses what is too large for its log.
    pub max_offsets_per_shard: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            transaction_max_timeout: Duration::from_millis(900_000),
            timed_out_transaction_interval: Duration::from_millis(10_000),
            transactional_id_expiration: Duration::from_secs(7 * 24 * 3600),
            expired_transactional_id_interval: Duration::from_secs(3600),
            offset_metadata_max_bytes: 4096,
            group_max_size: 10_000,
            max_ids: 100_000,
            max_offsets_per_shard: 100_000,
        }
    }
}

/// Kafka's shard of a transactional id or group id: `abs(java_hash(key)) mod 50` (B-2).
pub fn shard_number(key: &str) -> u32 {
    let hash = key.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    let positive = if hash == i32::MIN { 0 } else { hash.unsigned_abs() };
    positive % SHARD_COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-2: the shard is Java's string hash modulo 50; the hash that has no absolute value counts as 0.
    #[test]
    fn a_key_belongs_to_the_shard_of_its_java_hash() {
        assert_eq!(shard_number(""), 0);
        assert_eq!(shard_number("a"), 97 % 50);
        assert_eq!(shard_number("ab"), (97 * 31 + 98) % 50);
        assert_eq!(shard_number("polygenelubricants"), 0);
    }
}
