//! What time does: transactions that stay open too long are aborted (B-101), transactional ids without activity are forgotten
//! (B-105). Both are looked at in intervals, as a broker does, and only on shards that have an active leader.

use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{Identity, NodeId, ProducerEpoch};

use super::state::State;
use super::transaction::{Transaction, Transit};
use super::{Scene, TransactionCoordinator};
use crate::coordinator::interface::{ClusterView, CoordinatorConfig, CoordinatorKind, ShardState};

/// When the two checks are due.
#[derive(Debug)]
pub(super) struct Timetable {
    timed_out: Schedule,
    expired: Schedule,
}

impl Timetable {
    pub(super) fn new(config: &CoordinatorConfig) -> Self {
        Self {
            timed_out: Schedule::new(config.timed_out_transaction_interval),
            expired: Schedule::new(config.expired_transactional_id_interval),
        }
    }
}

/// Something that is done in intervals, from the first time that somebody looks.
#[derive(Debug)]
struct Schedule {
    interval: Duration,
    next: Option<Instant>,
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        // An interval of nothing would be due again at once, for ever.
        Self {
            interval: interval.max(Duration::from_millis(1)),
            next: None,
        }
    }

    /// Whether it is due; if so, the next time is set.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due || self.next.is_none() {
            self.next = Some(now + self.interval);
        }
        due
    }

    fn deadline(&self) -> Instant {
        self.next.unwrap_or(Instant::NEVER)
    }
}

impl TransactionCoordinator {
    /// Does what time has made due, and says when to look again: never, while no transaction is open and no id is known.
    pub(in crate::coordinator) fn turn(&mut self, cluster: &ClusterView<'_>, now: Now) -> Instant {
        self.observe(cluster, now);
        if self.timetable.timed_out.is_due(now.instant) {
            self.abort_timed_out(cluster, now);
        }
        if self.timetable.expired.is_due(now.instant) {
            self.forget_expired(cluster, now);
        }
        let is_open = |transaction: &Transaction| matches!(transaction.state, State::Ongoing(_));
        if self.transactions.is_empty() {
            Instant::NEVER
        } else if self.transactions.values().any(is_open) {
            self.timetable
                .timed_out
                .deadline()
                .min(self.timetable.expired.deadline())
        } else {
            self.timetable.expired.deadline()
        }
    }

    /// B-101.
    fn abort_timed_out(&mut self, cluster: &ClusterView<'_>, now: Now) {
        let level = cluster.transaction_version;
        let is_timed_out = |transaction: &Transaction| match &transaction.state {
            State::Ongoing(ongoing) => {
                transaction.pending.is_none() && transaction.timeout.has_passed(ongoing.started, now.wall)
            }
            State::Empty
            | State::PrepareCommit(_)
            | State::PrepareAbort(_)
            | State::CompleteCommit(_)
            | State::CompleteAbort(_)
            | State::Dead => false,
        };
        for (id, node) in self.select(cluster, is_timed_out) {
            // A refused write leaves the transaction open; the next check comes back to it.
            if let Err(error) = self.fence(&id, Scene { node, now, level }) {
                tracing::debug!(transactional_id = %id, error = error.name(), "a timed-out transaction stays open");
            }
        }
    }

    /// B-105.
    fn forget_expired(&mut self, cluster: &ClusterView<'_>, now: Now) {
        let expiration = self.config.transactional_id_expiration.as_millis();
        let expiration = i64::try_from(expiration).unwrap_or(i64::MAX);
        let is_expired = |transaction: &Transaction| match transaction.state {
            State::Empty | State::CompleteCommit(_) | State::CompleteAbort(_) => {
                let idle = now.wall.0.saturating_sub(transaction.last_update.0);
                transaction.pending.is_none() && idle >= expiration
            }
            State::Ongoing(_) | State::PrepareCommit(_) | State::PrepareAbort(_) | State::Dead => false,
        };
        for (id, _) in self.select(cluster, is_expired) {
            let Some(transaction) = self.transactions.get(&id) else {
                continue;
            };
            let transit = Transit {
                identity: Identity {
                    id: transaction.producer_id,
                    epoch: transaction.epoch.unwrap_or(ProducerEpoch::NONE),
                },
                last_epoch: transaction.last_epoch,
                timeout: transaction.timeout,
                rules: transaction.rules,
                target: State::Dead,
            };
            if let Err(error) = self.transition(&id, transit, now) {
                tracing::debug!(transactional_id = %id, error = error.name(), "an expired id stays known");
            }
        }
    }

    /// The transactional ids that `wanted` picks on shards that work, with the leaders of these shards.
    fn select(
        &self,
        cluster: &ClusterView<'_>,
        wanted: impl Fn(&Transaction) -> bool,
    ) -> Vec<(Arc<str>, NodeId)> {
        let leader = |id: &str| {
            let shard = cluster.shard_of(CoordinatorKind::Transaction, id).1?;
            if shard.state == ShardState::Active {
                shard.leader
            } else {
                None
            }
        };
        self.transactions
            .iter()
            .filter(|(_, transaction)| wanted(transaction))
            .filter_map(|(id, _)| Some((Arc::clone(id), leader(id)?)))
            .collect()
    }
}
