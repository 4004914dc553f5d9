//! The transaction coordinator: one value that knows every transactional id and writes the markers that end transactions.
//!
//! Reading order: [`state`] and [`transaction`] (what a transactional id can be), [`init`], [`partitions`] and [`end`] (what a request does to it: a
//! pure decision, then one transition), [`expiry`] (what time does to it), [`queries`] (what can be seen of it),
//! [`requests`] (messages in, messages out), [`producer_ids`], [`restart`] (what the transaction log says).
//!
//! It owns no partition: markers leave as values through `take_markers`, and come back through `markers_written`. It never
//! reads a clock, and no call waits.

mod end;
mod expiry;
mod init;
mod partitions;
mod producer_ids;
mod queries;
mod requests;
mod restart;
mod state;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::Now;
use kommit_protocol::units::{NodeId, TopicPartition};

pub(super) use self::requests::offsets_partition;

use self::expiry::Timetable;
use self::producer_ids::ProducerIds;
use self::state::State;
use self::transaction::{Transaction, Transit};
use super::interface::{
    Call, ClusterView, CoordinatorConfig, CoordinatorKind, MarkerWrite, Shard, ShardState,
    TransactionVersion, shard_number,
};

/// What happens to writes into the transaction log (B-65, B-67). A fault to switch on; [`TransactionLog::Writable`] otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TransactionLog {
    /// They are durable at once.
    #[default]
    Writable,
    /// They fail with this code; nothing changes.
    Failing(ErrorCode),
    /// They are neither durable nor lost until the log is writable again: transitions stay pending. The request that wanted one
    /// is answered as if its write had timed out.
    Stalled,
}

/// Where and when something happens to a transactional id.
#[derive(Clone, Copy, Debug)]
struct Scene {
    /// The broker that leads the shard.
    node: NodeId,
    /// When.
    now: Now,
    /// The cluster's level.
    level: TransactionVersion,
}

impl Scene {
    fn of(call: &Call<'_>) -> Self {
        Self {
            node: call.node,
            now: call.now,
            level: call.cluster.transaction_version,
        }
    }
}

/// All transactional ids of the cluster.
#[derive(Debug)]
pub(super) struct TransactionCoordinator {
    config: CoordinatorConfig,
    transactions: BTreeMap<Arc<str>, Transaction>,
    producer_ids: ProducerIds,
    markers: Vec<MarkerWrite>,
    log: TransactionLog,
    /// The coordinator epoch under which each shard was last seen active.
    shard_epochs: BTreeMap<u32, i32>,
    timetable: Timetable,
    /// Transactional ids that are not as they were last given away.
    changed: BTreeSet<Arc<str>>,
}

impl TransactionCoordinator {
    pub(super) fn new(config: CoordinatorConfig) -> Self {
        Self {
            timetable: Timetable::new(&config),
            config,
            transactions: BTreeMap::new(),
            producer_ids: ProducerIds::default(),
            markers: Vec::new(),
            log: TransactionLog::default(),
            shard_epochs: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    pub(super) fn configure(&mut self, config: &CoordinatorConfig) {
        self.timetable = Timetable::new(config);
        self.config = config.clone();
    }

    /// Changes what happens to writes. Once the log is writable, what was pending takes effect.
    pub(super) fn set_log(&mut self, log: TransactionLog, now: Now) {
        self.log = log;
        if log != TransactionLog::Writable {
            return;
        }
        let ids: Vec<_> = self.transactions.keys().cloned().collect();
        for id in ids {
            match self
                .transactions
                .get_mut(&id)
                .and_then(|transaction| transaction.pending.take())
            {
                Some(transit) => self.apply(&id, transit, now),
                None => self.complete_if_written(&id, now),
            }
        }
    }

    /// The markers that have become due since the last call (B-90, B-91).
    pub(super) fn take_markers(&mut self) -> Vec<MarkerWrite> {
        std::mem::take(&mut self.markers)
    }

    /// B-69: whether a marker that was taken is still to be written: a moved coordinator has replaced those of its predecessor,
    /// and a late copy could end a transaction that came afterwards.
    pub(super) fn is_outstanding(&self, marker: &MarkerWrite) -> bool {
        let id = &*marker.transactional_id;
        let is_current = self.shard_epochs.get(&shard_number(id)) == Some(&marker.coordinator_epoch);
        is_current
            && self
                .transactions
                .get(id)
                .is_some_and(|transaction| transaction.lacks(marker))
    }

    /// B-94: the partition has its marker, or does not exist any more. Unknown and repeated notes are ignored.
    pub(super) fn markers_written(&mut self, id: &str, partition: &TopicPartition, now: Now) {
        let Some((id, transaction)) = self.find(id) else {
            return;
        };
        if let State::PrepareCommit(ending) | State::PrepareAbort(ending) = &mut transaction.state {
            ending.unwritten.remove(partition);
        }
        self.complete_if_written(&id, now);
    }

    /// Notices that shards have moved or finished loading: their transactions are as the log has them, and decided ones get
    /// their markers from the new coordinator (B-68, B-69, B-95).
    fn observe(&mut self, cluster: &ClusterView<'_>, now: Now) {
        for (number, shard) in (0..).zip(cluster.transaction_shards) {
            if shard.state != ShardState::Active || shard.leader.is_none() {
                continue;
            }
            let known = self.shard_epochs.insert(number, shard.coordinator_epoch);
            if known != Some(shard.coordinator_epoch) {
                self.reload_shard(number, shard, now);
            }
        }
    }

    fn reload_shard(&mut self, number: u32, shard: &Shard, now: Now) {
        self.markers
            .retain(|marker| shard_number(&marker.transactional_id) != number);
        let of_shard = self
            .transactions
            .iter_mut()
            .filter(|(id, _)| shard_number(id) == number);
        let mut ids = Vec::new();
        for (id, transaction) in of_shard {
            transaction.reload();
            self.markers
                .extend(transaction.markers(id, shard.coordinator_epoch));
            ids.push(Arc::clone(id));
        }
        for id in ids {
            self.complete_if_written(&id, now);
        }
    }

    /// B-22, with the shard's epoch noted.
    fn check_shard(&mut self, id: &str, call: &Call<'_>) -> Result<(), ErrorCode> {
        self.observe(&call.cluster, call.now);
        call.cluster
            .coordinator_shard(CoordinatorKind::Transaction, id, call.node)
            .map(|_| ())
    }

    fn find(&mut self, id: &str) -> Option<(Arc<str>, &mut Transaction)> {
        let (id, _) = self.transactions.get_key_value(id)?;
        let id = Arc::clone(id);
        self.transactions
            .get_mut(&id)
            .map(|transaction| (id, transaction))
    }

    /// B-67: one transition: legal, logged, then in effect. The error is the one for the client (B-65).
    fn transition(&mut self, id: &Arc<str>, transit: Transit, now: Now) -> Result<(), ErrorCode> {
        let transaction = self
            .transactions
            .get_mut(id)
            .ok_or(ErrorCode::UnknownServerError)?;
        if transaction.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if !transit
            .target
            .name()
            .may_follow(transaction.state.name(), transit.rules)
        {
            return Err(ErrorCode::UnknownServerError);
        }
        match self.log {
            TransactionLog::Writable => {
                self.apply(id, transit, now);
                Ok(())
            }
            TransactionLog::Failing(code) => Err(append_error(code)),
            TransactionLog::Stalled => {
                transaction.pending = Some(transit);
                Err(append_error(ErrorCode::RequestTimedOut))
            }
        }
    }

    /// What follows from a transition that is in the log.
    fn apply(&mut self, id: &Arc<str>, transit: Transit, now: Now) {
        self.changed.insert(Arc::clone(id));
        if transit.target == State::Dead {
            self.transactions.remove(id);
            return;
        }
        let is_decided = matches!(transit.target, State::PrepareCommit(_) | State::PrepareAbort(_));
        let coordinator_epoch = self.shard_epochs.get(&shard_number(id)).copied().unwrap_or(0);
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        transaction.complete(transit, now);
        if is_decided {
            self.markers.extend(transaction.markers(id, coordinator_epoch));
            self.complete_if_written(id, now);
        }
    }

    /// B-94: after the last marker the transaction is complete. When the log refuses, it is tried again with the next change.
    fn complete_if_written(&mut self, id: &Arc<str>, now: Now) {
        let Some(transit) = self.transactions.get(id).and_then(Transaction::completion) else {
            return;
        };
        if let Err(error) = self.transition(id, transit, now) {
            tracing::debug!(transactional_id = %id, error = error.name(), "completion is not logged yet");
        }
    }
}

/// B-65: what clients get to know of a failed write into an internal topic.
pub(super) fn append_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        others => others,
    }
}
