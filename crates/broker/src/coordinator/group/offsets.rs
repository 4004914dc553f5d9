//! The offsets of one shard of `__consumer_offsets`: what its log says, kept as tables (B-119, B-120).
//!
//! A position stands for the place of a record in the shard's log: it orders commits, transactional or not. It knows no rules
//! about who may commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Identity, LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition};

use crate::coordinator::interface::{MarkerOutcome, MarkerWrite, TransactionVersion};

/// So many producers are known in a shard, as long as their transactions are over.
const MOST_PRODUCERS: usize = 10_000;

/// An offset as a group stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredOffset {
    /// The next record to read.
    pub(super) offset: i64,
    /// The leader epoch of the last record read; -1 on the wire for "unknown", and not interpreted here.
    pub(super) leader_epoch: LeaderEpoch,
    /// The application's text.
    pub(super) metadata: String,
}

/// The place of a record in the shard's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) u64);

/// A stored offset and where it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) stored: StoredOffset,
    pub(super) position: Position,
}

/// What belongs to what: a group's offset for a partition.
pub(super) type Key = (Arc<str>, TopicPartition);

/// A producer as the shard's log knows it (B-38, as far as offsets need it).
#[derive(Clone, Debug)]
pub(super) struct ShardProducer {
    pub(super) epoch: ProducerEpoch,
    pub(super) coordinator_epoch: Option<i32>,
    /// The offsets of its open transaction, which wait for the marker; none while no transaction is open.
    pub(super) open: Option<BTreeMap<Key, Placed>>,
}

/// Whether a transactional commit may be appended as it is (B-75).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The transaction is open here.
    Open,
    /// The transaction coordinator has to be asked first.
    AskCoordinator,
}

/// The tables of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct OffsetsShard {
    pub(super) next: Position,
    pub(super) committed: BTreeMap<Key, Placed>,
    pub(super) producers: BTreeMap<ProducerId, ShardProducer>,
    /// Offsets that are not as they were last given away.
    pub(super) changed: BTreeSet<Key>,
    /// Producers that are not as they were last given away.
    pub(super) changed_producers: BTreeSet<ProducerId>,
}

impl OffsetsShard {
    /// How many more offsets there may be when `most` is the limit; those that wait for a marker count as well.
    pub(super) fn room(&self, most: usize) -> usize {
        let open = self
            .producers
            .values()
            .filter_map(|producer| producer.open.as_ref());
        let waiting: usize = open.map(BTreeMap::len).sum();
        most.saturating_sub(self.committed.len() + waiting)
    }

    /// Stores an offset that counts at once.
    pub(super) fn commit(&mut self, group: &Arc<str>, partition: TopicPartition, stored: StoredOffset) {
        let position = self.advance();
        let key = (Arc::clone(group), partition);
        self.changed.insert(key.clone());
        self.committed.insert(key, Placed { stored, position });
    }

    /// Stores an offset that waits for the marker of its transaction. Ask [`OffsetsShard::admission`] first.
    pub(super) fn commit_in_transaction(
        &mut self,
        identity: Identity,
        group: &Arc<str>,
        partition: TopicPartition,
        stored: StoredOffset,
    ) {
        let position = self.advance();
        self.make_room_for(identity.id);
        self.changed_producers.insert(identity.id);
        let producer = self.producers.entry(identity.id).or_insert(ShardProducer {
            epoch: identity.epoch,
            coordinator_epoch: None,
            open: None,
        });
        producer.epoch = identity.epoch;
        let open = producer.open.get_or_insert_default();
        open.insert((Arc::clone(group), partition), Placed { stored, position });
    }

    /// B-92, B-119: the end of a transaction. A commit makes its offsets visible, unless a newer one stands in the log behind
    /// them; an abort drops them. A marker that is older than what the shard knows does nothing.
    pub(super) fn apply(&mut self, marker: &MarkerWrite) {
        let Identity { id, epoch } = marker.identity;
        self.make_room_for(id);
        self.changed_producers.insert(id);
        let producer = self.producers.entry(id).or_insert(ShardProducer {
            epoch,
            coordinator_epoch: None,
            open: None,
        });
        if !producer.accepts(marker) {
            tracing::debug!(producer = %marker.identity, "a marker of the past is ignored");
            return;
        }
        producer.epoch = epoch;
        producer.coordinator_epoch = Some(marker.coordinator_epoch);
        let decided = producer.open.take().unwrap_or_default();
        self.advance();
        match marker.outcome {
            MarkerOutcome::Commit => self.settle(decided),
            MarkerOutcome::Abort => {}
        }
    }

    /// Makes room for a producer that is not known yet: the one with the lowest id goes whose transactions are over. Should it come back, the
    /// coordinator knows its epoch.
    fn make_room_for(&mut self, id: ProducerId) {
        if self.producers.len() < MOST_PRODUCERS || self.producers.contains_key(&id) {
            return;
        }
        let mut closed = self
            .producers
            .iter()
            .filter(|(_, producer)| producer.open.is_none());
        if let Some((&id, _)) = closed.next() {
            self.producers.remove(&id);
            self.changed_producers.remove(&id);
        }
    }

    fn settle(&mut self, decided: BTreeMap<Key, Placed>) {
        for (key, placed) in decided {
            let is_newer = self
                .committed
                .get(&key)
                .is_none_or(|known| known.position < placed.position);
            if is_newer {
                self.changed.insert(key.clone());
                self.committed.insert(key, placed);
            }
        }
    }

    fn advance(&mut self) -> Position {
        let position = self.next;
        self.next = Position(position.0 + 1);
        position
    }

    /// B-75, B-76: whether a commit of this identity needs the transaction coordinator's word.
    pub(super) fn admission(&self, identity: Identity) -> Result<Admission, ErrorCode> {
        let Some(producer) = self.producers.get(&identity.id) else {
            return Ok(Admission::AskCoordinator);
        };
        if identity.epoch < producer.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        match producer.open {
            Some(_) if identity.epoch == producer.epoch => Ok(Admission::Open),
            Some(_) => Err(ErrorCode::InvalidProducerEpoch),
            None => Ok(Admission::AskCoordinator),
        }
    }

    /// The offset that counts now.
    pub(super) fn committed(&self, group: &Arc<str>, partition: &TopicPartition) -> Option<&StoredOffset> {
        let key = (Arc::clone(group), partition.clone());
        self.committed.get(&key).map(|placed| &placed.stored)
    }

    /// All offsets of a group that count now.
    pub(super) fn committed_of(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &StoredOffset)> {
        let of_group = self
            .committed
            .iter()
            .filter(move |((owner, _), _)| &**owner == group);
        of_group.map(|((_, partition), placed)| (partition, &placed.stored))
    }

    /// B-120: whether an offset of the group for the partition waits for a marker.
    pub(super) fn is_unstable(&self, group: &Arc<str>, partition: &TopicPartition) -> bool {
        let key = (Arc::clone(group), partition.clone());
        self.producers
            .values()
            .filter_map(|producer| producer.open.as_ref())
            .any(|open| open.contains_key(&key))
    }
}

impl ShardProducer {
    /// B-69, B-92: whether the marker's epochs are not behind the shard's.
    fn accepts(&self, marker: &MarkerWrite) -> bool {
        if self
            .coordinator_epoch
            .is_some_and(|known| marker.coordinator_epoch < known)
        {
            return false;
        }
        match marker.transaction_version {
            TransactionVersion::V0 | TransactionVersion::V1 => marker.identity.epoch >= self.epoch,
            // A repeated marker, or the very last epoch (B-93), may be equal.
            TransactionVersion::V2 => {
                marker.identity.epoch > self.epoch
                    || (marker.identity.epoch == self.epoch
                        && (self.open.is_none() || self.epoch == ProducerEpoch::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard does not remember every producer that it ever saw: the oldest goes first, and none whose transaction is open.
    #[test]
    fn a_shard_forgets_the_oldest_producers_without_a_transaction() {
        let mut shard = OffsetsShard::default();
        let group: Arc<str> = "g".into();
        let most = i64::try_from(MOST_PRODUCERS).expect("few");
        for id in 0..most + 10 {
            let identity = Identity {
                id: ProducerId(id),
                epoch: ProducerEpoch(0),
            };
            let stored = StoredOffset {
                offset: id,
                leader_epoch: LeaderEpoch(-1),
                metadata: String::new(),
            };
            shard.commit_in_transaction(identity, &group, TopicPartition::new("orders", 0), stored);
            if id > 0 {
                shard.apply(&MarkerWrite {
                    transactional_id: "t".into(),
                    topic_partition: TopicPartition::new("__consumer_offsets", 0),
                    identity,
                    outcome: MarkerOutcome::Commit,
                    coordinator_epoch: 0,
                    transaction_version: TransactionVersion::V1,
                });
            }
        }
        assert_eq!(shard.producers.len(), MOST_PRODUCERS);
        assert!(shard.producers.contains_key(&ProducerId(0)));
        assert!(!shard.producers.contains_key(&ProducerId(1)));
        assert!(shard.producers.contains_key(&ProducerId(most + 9)));
    }
}
