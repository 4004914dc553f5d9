//! The group coordinator: groups, and the offsets that they store, transactional or not.
//!
//! Reading order: [`offsets`] (the tables of a shard), [`membership`] (a group, and who may commit), [`commit`], [`fetch`];
//! then the classic protocol: [`rebalance`], [`session`], [`requests`]; [`queries`] shows it, [`restart`] keeps it.
//! It asks the transaction coordinator before transactional offsets are stored, and is told by markers how transactions end.

mod commit;
mod fetch;
mod membership;
mod offsets;
mod queries;
mod rebalance;
mod requests;
mod restart;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::membership::{Answers, Group};
pub use self::membership::{GroupAnswer, Ticket};
use self::offsets::OffsetsShard;
use super::interface::{CONSUMER_OFFSETS_TOPIC, CoordinatorConfig, MarkerWrite, shard_number};

/// The first version of OffsetCommit and OffsetFetch that names topics by id.
const FIRST_WITH_TOPIC_IDS: i16 = 10;

/// All groups of the cluster.
#[derive(Debug)]
pub(super) struct GroupCoordinator {
    metadata_max_bytes: usize,
    group_max_size: usize,
    max_groups: usize,
    max_offsets_per_shard: usize,
    groups: BTreeMap<Arc<str>, Group>,
    shards: BTreeMap<u32, OffsetsShard>,
    /// Counts everybody who ever wanted to join, for ids that nobody has.
    members_seen: u64,
    /// That count as it was last given away.
    members_saved: u64,
    /// Groups that are not as they were last given away.
    changed: BTreeSet<Arc<str>>,
    /// Shards with offsets or producers that are not as they were last given away.
    changed_shards: BTreeSet<u32>,
    answers: Answers,
}

impl GroupCoordinator {
    pub(super) fn new(config: &CoordinatorConfig) -> Self {
        Self {
            metadata_max_bytes: config.offset_metadata_max_bytes,
            group_max_size: config.group_max_size,
            max_groups: config.max_ids,
            max_offsets_per_shard: config.max_offsets_per_shard,
            groups: BTreeMap::new(),
            shards: BTreeMap::new(),
            members_seen: 0,
            members_saved: 0,
            changed: BTreeSet::new(),
            changed_shards: BTreeSet::new(),
            answers: Answers::new(),
        }
    }

    pub(super) fn configure(&mut self, config: &CoordinatorConfig) {
        self.metadata_max_bytes = config.offset_metadata_max_bytes;
        self.group_max_size = config.group_max_size;
        self.max_groups = config.max_ids;
        self.max_offsets_per_shard = config.max_offsets_per_shard;
    }

    /// B-119: the end of a transaction reaches its offsets. Markers for other topics are nobody's concern here.
    pub(super) fn apply_marker(&mut self, marker: &MarkerWrite) {
        let partition = &marker.topic_partition;
        if &*partition.topic != CONSUMER_OFFSETS_TOPIC {
            return;
        }
        if let Ok(number) = u32::try_from(partition.partition.0) {
            self.changed_shards.insert(number);
            self.shards.entry(number).or_default().apply(marker);
        }
    }

    fn shard_mut(&mut self, group: &str) -> &mut OffsetsShard {
        let number = shard_number(group);
        self.changed_shards.insert(number);
        self.shards.entry(number).or_default()
    }
}
