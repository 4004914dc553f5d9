//! What is known of one transactional id (B-58), and how a logged transition changes it.
//!
//! Decides nothing: requests and time do, in the modules next to this one.

use std::sync::Arc;

use kommit_protocol::time::Now;
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId, Timestamp};

use super::state::{Ended, Ending, Fence, State, TransactionTimeout};
use crate::coordinator::interface::{MarkerOutcome, MarkerWrite, TransactionVersion};

/// Everything that a transition sets; the rest of a [`Transaction`] follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transit {
    /// The id and epoch afterwards.
    pub(super) identity: Identity,
    /// The epoch before the bump, when a retry that still names it must be recognised.
    pub(super) last_epoch: Option<ProducerEpoch>,
    /// The timeout afterwards.
    pub(super) timeout: TransactionTimeout,
    /// The rules of the client that caused it.
    pub(super) rules: TransactionVersion,
    /// The state afterwards.
    pub(super) target: State,
}

/// What the coordinator knows of one transactional id (B-58).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    /// The present producer id.
    pub(super) producer_id: ProducerId,
    /// The producer id before the last transition; the same one unless that transition changed it.
    pub(super) previous_producer_id: Option<ProducerId>,
    /// The present epoch; none before the first InitProducerId is logged (B-59).
    pub(super) epoch: Option<ProducerEpoch>,
    /// See [`Transit::last_epoch`].
    pub(super) last_epoch: Option<ProducerEpoch>,
    /// How long its transactions may stay open.
    pub(super) timeout: TransactionTimeout,
    /// The rules under which it last moved.
    pub(super) rules: TransactionVersion,
    /// When it last moved.
    pub(super) last_update: Timestamp,
    /// Where it stands.
    pub(super) state: State,
    /// The transition that waits for the log (B-67).
    pub(super) pending: Option<Transit>,
}

impl Transaction {
    /// B-59: a transactional id that was never seen before.
    pub(super) fn new(producer_id: ProducerId, timeout: TransactionTimeout, now: Now) -> Self {
        Self {
            producer_id,
            previous_producer_id: None,
            epoch: None,
            last_epoch: None,
            timeout,
            rules: TransactionVersion::V0,
            last_update: now.wall,
            state: State::Empty,
            pending: None,
        }
    }

    /// Puts a logged transition into effect.
    pub(super) fn complete(&mut self, transit: Transit, now: Now) {
        debug_assert!(
            transit.target.name().may_follow(self.state.name(), transit.rules),
            "only legal transitions are logged"
        );
        self.pending = None;
        self.previous_producer_id = Some(self.producer_id);
        self.producer_id = transit.identity.id;
        self.epoch = Some(transit.identity.epoch);
        self.last_epoch = transit.last_epoch;
        self.timeout = transit.timeout;
        self.rules = transit.rules;
        self.last_update = now.wall;
        self.state = transit.target;
    }

    /// B-94: the transition behind the last marker, if it is time for it. B-89: a used-up epoch is left behind with its id.
    pub(super) fn completion(&self) -> Option<Transit> {
        let (ending, outcome) = self.decided()?;
        let ended = Ended {
            started: ending.started,
        };
        let target = match outcome {
            MarkerOutcome::Commit => State::CompleteCommit(ended),
            MarkerOutcome::Abort => State::CompleteAbort(ended),
        };
        if !ending.unwritten.is_empty() || self.pending.is_some() {
            return None;
        }
        let identity = match ending.next_producer_id {
            Some(id) => Identity {
                id,
                epoch: ProducerEpoch::FIRST,
            },
            None => Identity {
                id: self.producer_id,
                epoch: self.epoch?,
            },
        };
        Some(Transit {
            identity,
            last_epoch: self.last_epoch,
            timeout: self.timeout,
            rules: self.rules,
            target,
        })
    }

    /// B-91: one marker for each partition that lacks it.
    pub(super) fn markers(&self, transactional_id: &Arc<str>, coordinator_epoch: i32) -> Vec<MarkerWrite> {
        let (Some((ending, outcome)), Some(epoch)) = (self.decided(), self.epoch) else {
            return Vec::new();
        };
        ending
            .unwritten
            .iter()
            .map(|topic_partition| MarkerWrite {
                transactional_id: Arc::clone(transactional_id),
                topic_partition: topic_partition.clone(),
                identity: Identity {
                    id: self.producer_id,
                    epoch,
                },
                outcome,
                coordinator_epoch,
                transaction_version: self.rules,
            })
            .collect()
    }

    /// Whether the marker belongs to the transaction that is ending, and its partition has none yet.
    pub(super) fn lacks(&self, marker: &MarkerWrite) -> bool {
        self.decided().is_some_and(|(ending, outcome)| {
            outcome == marker.outcome
                && self.producer_id == marker.identity.id
                && self.epoch == Some(marker.identity.epoch)
                && ending.unwritten.contains(&marker.topic_partition)
        })
    }

    /// The transaction whose outcome is decided, if there is one.
    fn decided(&self) -> Option<(&Ending, MarkerOutcome)> {
        match &self.state {
            State::PrepareCommit(ending) => Some((ending, MarkerOutcome::Commit)),
            State::PrepareAbort(ending) => Some((ending, MarkerOutcome::Abort)),
            State::Empty
            | State::Ongoing(_)
            | State::CompleteCommit(_)
            | State::CompleteAbort(_)
            | State::Dead => None,
        }
    }

    /// B-5: what is left after the coordinator restarted: what the log says, nothing that was on its way there. Kafka's log does
    /// not say the last epoch, so a retry that names it is fenced afterwards.
    pub(super) fn reload(&mut self) {
        self.pending = None;
        self.last_epoch = None;
        if let State::Ongoing(ongoing) = &mut self.state
            && let Fence::Raised { logged_epoch } = ongoing.fence
        {
            self.epoch = Some(logged_epoch);
            ongoing.fence = Fence::None;
        }
    }
}
