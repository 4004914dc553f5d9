//! Getting an identity, and new epochs (2.14, 2.15, R4, R9).
//!
//! An idempotent-only producer bumps its epoch itself; a transactional one gets the next epoch with EndTxn (V2) or asks for it with
//! InitProducerId once the coordinator cannot be in the transaction any more (V1).

use std::collections::BTreeSet;
use std::mem;

use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::messages::InitProducerIdRequest;
use kommit_protocol::units::{Identity, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use tracing::{info, warn};

use crate::config::{Fencing, PartitionVerification};
use crate::coordinators::EpochBumpSupport;
use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::outcome::Outcome;
use crate::requests::{IdentityPurpose, RequestBody, TransactionalRequest, Work};
use crate::state::{Event, State};
use crate::transaction::{Answers, Started};
use crate::version::{Flavour, Takeover};

/// Whether a new epoch is due, and which partitions of an idempotent-only producer restart with it (T-93).
#[derive(Debug, Default)]
pub(crate) struct EpochBump {
    due: Due,
    partitions: BTreeSet<PartitionIndex>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    No,
    Yes,
}

impl EpochBump {
    pub(crate) fn require(&mut self) {
        self.due = Due::Yes;
    }

    /// T-93.
    pub(crate) fn require_for(&mut self, partition: PartitionIndex) {
        self.due = Due::Yes;
        self.partitions.insert(partition);
    }

    /// Whether the partition is restarted with the next epoch.
    pub(crate) fn concerns(&self, partition: PartitionIndex) -> bool {
        self.partitions.contains(&partition)
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due == Due::Yes
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl TransactionManager {
    /// T-89: looks at the partitions whose acknowledgements were lost. Every turn, first.
    pub fn resolve_sequences(&mut self) {
        for partition in self.sequences.resolve() {
            if !self.is_transactional() {
                info!(partition = %self.name(partition), "the next sequence is in doubt; the epoch will be bumped");
                self.epoch_bump.require_for(partition);
                continue;
            }
            // T-90.
            let abortable = self.can_recover_by_abort();
            let (who, partition) = (self.who(), self.name(partition));
            self.fail_recoverably(TransactionError::LostAcknowledgements {
                who,
                partition,
                abortable,
            });
        }
    }

    /// T-95: an idempotent-only producer bumps its epoch when one is due, and asks for an identity when it has none.
    ///
    /// R4: the epoch stays while a batch of it is without an answer or of unknown fate, on any partition; no new batch is
    /// stamped meanwhile, so that the wait ends.
    pub fn refresh_identity(&mut self) {
        if self.is_transactional() || self.fatal_error().is_some() {
            return;
        }
        if self.epoch_bump.is_due() && (self.sequences.nothing_unknown() || !HazardRule::R4.is_kept()) {
            self.bump_locally();
        }
        if self.identity.is_none() && matches!(self.state, State::Uninitialized) {
            self.step(Event::Initialize);
            self.enqueue_identity(IdentityPurpose::First);
        }
    }

    /// H11: the topic was deleted and created anew. Its sequences restart under a new epoch, so that no name is used twice whatever metadata
    /// says next (R3): at once when idempotent-only, with R4; behind the end of a V1 transaction; V2 gets a new epoch with each end anyway.
    pub fn topic_created_anew(&mut self, topic: &str) {
        let of_topic =
            |name: &Option<TopicPartition>| name.as_ref().is_some_and(|name| *name.topic == *topic);
        let partitions = (0..).map(PartitionIndex).zip(&self.names);
        for (partition, _) in partitions.filter(|(_, name)| of_topic(name)) {
            if !self.sequences.has_begun(partition) {
                continue;
            }
            if !self.is_transactional() {
                info!(topic, "the topic was created anew; the epoch will be bumped");
                self.epoch_bump.require_for(partition);
            } else if self.must_bump_itself() {
                self.epoch_bump.require();
            }
        }
    }

    /// S-24, T-14, T-57: when initializing was not authorized, goes back to the start, so that it can be tried again.
    ///
    /// Gives the error that the incomplete batches are to be failed with.
    pub fn recover_authorization(&mut self) -> Option<TransactionError> {
        let error = self
            .abortable_error()
            .filter(|error| error.is_authorization())
            .cloned()?;
        self.refuse_queued(&error);
        self.queue.take_unless(|_| false);
        self.identity = None;
        self.sequences.forget_all();
        self.epoch_bump.clear();
        self.step(Event::Uninitialize);
        Some(error)
    }

    /// The identity given by the coordinator (T-75, T-77).
    pub(crate) fn adopt(&mut self, identity: Identity) {
        info!(%identity, "new identity");
        self.identity = Some(identity);
        if self.is_transactional() {
            self.sequences.forget_all();
            self.epoch_bump.clear();
            return;
        }
        // T-97: partitions that waited for this identity restart with it; the others follow when they are drained (T-72).
        self.restart_partitions(identity);
    }

    /// The transaction has ended at the coordinator, or was never known there (T-43). A bump that is due by now goes first (D-18).
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        self.finish_with(outcome, None);
    }

    /// As `finish`, with the identity that came with the end (T-77).
    pub(crate) fn finish_with(&mut self, outcome: Outcome, fresh: Option<Identity>) {
        let due = fresh.is_none() && self.needs_fresh_epoch();
        let takeover = self.versions.take_over_behind_transaction();
        if let Some(identity) = fresh {
            self.adopt(identity);
        }
        let upgraded = takeover == Takeover::NeedsFreshEpoch && fresh.is_none();
        if !due && !upgraded {
            self.step(Event::TransactionEnded);
            return self.complete(outcome);
        }
        self.step(Event::EndedNeedsIdentity);
        if let Some(pending) = &mut self.pending {
            pending.decided = Some(outcome);
        }
        let purpose = if self.identity.is_some() {
            IdentityPurpose::Bump
        } else {
            IdentityPurpose::First
        };
        self.enqueue_identity(purpose);
    }

    /// T-44, T-45.
    pub(crate) fn enqueue_identity(&mut self, purpose: IdentityPurpose) {
        let (producer_id, producer_epoch) = match (purpose, self.identity) {
            (IdentityPurpose::Bump, Some(identity)) if HazardRule::R9.is_kept() => {
                (identity.id, identity.epoch)
            }
            (IdentityPurpose::Bump, _) | (IdentityPurpose::First, _) => {
                (ProducerId::NONE, ProducerEpoch::NONE)
            }
        };
        let body = self.identity_request(producer_id, producer_epoch);
        self.enqueue(body, Work::Identity(purpose));
        if purpose == IdentityPurpose::First {
            self.queue.delay_first_identity(self.identity_refusals);
        }
    }

    fn identity_request(&self, producer_id: ProducerId, producer_epoch: ProducerEpoch) -> RequestBody {
        let transaction_timeout_ms = match self.config.transactional_id {
            Some(_) => i32::try_from(self.config.transaction_timeout.as_millis()).unwrap_or(i32::MAX),
            None => i32::MAX,
        };
        let transactional_id = self
            .config
            .transactional_id
            .as_ref()
            .map(|id| id.as_ref().to_owned());
        RequestBody::InitProducerId(InitProducerIdRequest {
            transactional_id,
            transaction_timeout_ms,
            producer_id,
            producer_epoch,
        })
    }

    /// H03: where nothing proves that the brokers refuse a batch that arrives behind the abort marker, the marker gets an epoch that such a
    /// batch does not have. The call ignores newer instances (H22), so this one ends with it.
    pub(crate) fn take_over_if_due(&self, request: &mut TransactionalRequest) {
        let is_late_batch_possible = self.state.transaction().is_some_and(|transaction| {
            transaction.flavour == Flavour::V1 && transaction.may_have_batch_on_its_way()
        });
        if !is_late_batch_possible
            || self.config.partition_verification == PartitionVerification::Enabled
            || matches!(request.work, Work::TakeOver)
        {
            return;
        }
        warn!(
            "a batch may arrive behind the abort: the transactional id is taken over, and this producer ends"
        );
        request.body = self.identity_request(ProducerId::NONE, ProducerEpoch::NONE);
        request.work = Work::TakeOver;
    }

    /// Why a transaction may not be followed by another one under the same epoch.
    fn needs_fresh_epoch(&self) -> bool {
        if self.identity.is_none() || self.epoch_bump.is_due() {
            return true;
        }
        let Some(transaction) = self.state.transaction() else {
            return false;
        };
        match (transaction.flavour, transaction.answers) {
            (Flavour::V1, Answers::Complete) => {
                self.config.fencing == Fencing::EveryTransaction
                    && transaction.started != Started::No
                    && self.coordinators.epoch_bump == EpochBumpSupport::Supported
            }
            (Flavour::V1, Answers::SomeMissing) if !HazardRule::R6.is_kept() => false,
            // R6: a late copy must not be able to reach the next transaction.
            (Flavour::V1, Answers::SomeMissing) => {
                let supported = self.coordinators.epoch_bump == EpochBumpSupport::Supported;
                if !supported {
                    warn!(
                        "a request of the transaction went unanswered, and the coordinator cannot bump the epoch"
                    );
                }
                supported
            }
            // T-100: the end of a V2 transaction brings the next epoch; when it did not, ask for it.
            (Flavour::V2, _) => transaction.started != Started::No,
        }
    }

    /// T-94.
    fn bump_locally(&mut self) {
        let Some(identity) = self.identity else {
            // T-97: the identity that is on its way is fresh anyway.
            return;
        };
        match identity.epoch.next() {
            Some(epoch) => {
                let identity = Identity {
                    id: identity.id,
                    epoch,
                };
                info!(%identity, "epoch bumped");
                self.identity = Some(identity);
                self.restart_partitions(identity);
            }
            None => {
                info!("the epochs of this producer id are used up");
                self.identity = None;
                self.step(Event::Uninitialize);
            }
        }
    }

    fn restart_partitions(&mut self, identity: Identity) {
        for partition in mem::take(&mut self.epoch_bump.partitions) {
            let renumbered = self.sequences.restart(partition, identity);
            self.renumberings.extend(renumbered);
        }
        self.epoch_bump.clear();
    }
}
