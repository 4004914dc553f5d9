//! InitProducerId: who a producer is (B-54 … B-66), and the fence that it puts behind its predecessor (B-93).

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Identity, ProducerEpoch};

use super::end::bumped_abort;
use super::state::{Ending, Fence, State, TransactionTimeout, is_exhausted};
use super::transaction::{Transaction, Transit};
use super::{Scene, TransactionCoordinator};
use crate::coordinator::interface::TransactionVersion;

/// What an InitProducerId means for a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InitDecision {
    /// B-63: the open transaction is aborted first.
    Fence,
    /// B-64: the epochs are used up; the client gets a new id.
    Rotate {
        /// What a retry may still name.
        last_epoch: Option<ProducerEpoch>,
    },
    /// B-64: the same id with this epoch.
    Proceed {
        /// The epoch that the client gets.
        epoch: ProducerEpoch,
        /// What a retry may still name.
        last_epoch: Option<ProducerEpoch>,
    },
}

impl TransactionCoordinator {
    /// B-59 … B-64: the identity for the client, in effect when this returns.
    pub(super) fn initialize(
        &mut self,
        id: &str,
        timeout: TransactionTimeout,
        expected: Option<Identity>,
        scene: Scene,
    ) -> Result<Identity, ErrorCode> {
        if !self.transactions.contains_key(id) {
            if self.transactions.len() >= self.config.max_ids {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            let producer_id = self.producer_ids.allocate(scene.node)?;
            self.transactions
                .insert(Arc::from(id), Transaction::new(producer_id, timeout, scene.now));
        }
        let (id, transaction) = self.find(id).ok_or(ErrorCode::UnknownServerError)?;
        let (identity, last_epoch) = match decide(transaction, expected)? {
            InitDecision::Fence => {
                self.fence(&id, scene)?;
                return Err(ErrorCode::ConcurrentTransactions);
            }
            InitDecision::Rotate { last_epoch } => {
                let id = self.producer_ids.allocate(scene.node)?;
                (
                    Identity {
                        id,
                        epoch: ProducerEpoch::FIRST,
                    },
                    last_epoch,
                )
            }
            InitDecision::Proceed { epoch, last_epoch } => (
                Identity {
                    id: transaction.producer_id,
                    epoch,
                },
                last_epoch,
            ),
        };
        let rules = scene.level;
        let transit = Transit {
            identity,
            last_epoch,
            timeout,
            rules,
            target: State::Empty,
        };
        self.transition(&id, transit, scene.now)?;
        Ok(identity)
    }

    /// B-93: aborts the open transaction under an epoch that its producer does not have.
    pub(super) fn fence(&mut self, id: &Arc<str>, scene: Scene) -> Result<(), ErrorCode> {
        let transaction = self
            .transactions
            .get_mut(id)
            .ok_or(ErrorCode::UnknownServerError)?;
        let transit = match scene.level {
            TransactionVersion::V0 | TransactionVersion::V1 => raised_abort(transaction, scene),
            TransactionVersion::V2 => bumped_abort(transaction, &mut self.producer_ids, scene),
        }?;
        self.transition(id, transit, scene.now)
    }
}

/// B-60 … B-64, in this order.
fn decide(transaction: &Transaction, expected: Option<Identity>) -> Result<InitDecision, ErrorCode> {
    if transaction.pending.is_some() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if expected.is_some_and(|expected| !is_known(transaction, expected)) {
        return Err(ErrorCode::ProducerFenced);
    }
    match &transaction.state {
        State::PrepareCommit(_) | State::PrepareAbort(_) => Err(ErrorCode::ConcurrentTransactions),
        State::Ongoing(_) => Ok(InitDecision::Fence),
        State::Empty | State::CompleteCommit(_) | State::CompleteAbort(_) => {
            next_epoch(transaction, expected)
        }
        State::Dead => Err(ErrorCode::UnknownServerError),
    }
}

/// B-61: whether the expected id is, or just was, the id of this transactional id.
fn is_known(transaction: &Transaction, expected: Identity) -> bool {
    transaction.epoch.is_none()
        || expected.id == transaction.producer_id
        || (Some(expected.id) == transaction.previous_producer_id && is_exhausted(expected.epoch))
}

/// B-64.
fn next_epoch(transaction: &Transaction, expected: Option<Identity>) -> Result<InitDecision, ErrorCode> {
    let Some(stored) = transaction.epoch else {
        return Ok(InitDecision::Proceed {
            epoch: ProducerEpoch::FIRST,
            last_epoch: None,
        });
    };
    let expected = expected.map(|expected| expected.epoch);
    if is_exhausted(stored) {
        return match expected {
            None => Ok(InitDecision::Rotate { last_epoch: None }),
            Some(epoch) if epoch == stored => Ok(InitDecision::Rotate {
                last_epoch: Some(stored),
            }),
            Some(_) => Err(ErrorCode::UnknownServerError),
        };
    }
    let bumped = stored.next().ok_or(ErrorCode::UnknownServerError)?;
    match expected {
        None => Ok(InitDecision::Proceed {
            epoch: bumped,
            last_epoch: None,
        }),
        Some(epoch) if epoch == stored => Ok(InitDecision::Proceed {
            epoch: bumped,
            last_epoch: Some(stored),
        }),
        Some(epoch) if Some(epoch) == transaction.last_epoch => Ok(InitDecision::Proceed {
            epoch: stored,
            last_epoch: transaction.last_epoch,
        }),
        Some(_) => Err(ErrorCode::ProducerFenced),
    }
}

/// B-93 under TV1: the epoch is raised first, at once and only once, and the markers carry it.
fn raised_abort(transaction: &mut Transaction, scene: Scene) -> Result<Transit, ErrorCode> {
    let State::Ongoing(ongoing) = &mut transaction.state else {
        return Err(ErrorCode::UnknownServerError);
    };
    let stored = transaction.epoch.ok_or(ErrorCode::UnknownServerError)?;
    let raised = match ongoing.fence {
        Fence::None => stored.next().ok_or(ErrorCode::UnknownServerError)?,
        Fence::Raised { .. } => stored,
    };
    if ongoing.fence == Fence::None {
        ongoing.fence = Fence::Raised { logged_epoch: stored };
        transaction.last_epoch = None;
        transaction.epoch = Some(raised);
    }
    let ending = Ending {
        unwritten: ongoing.partitions.clone(),
        started: ongoing.started,
        next_producer_id: None,
    };
    Ok(Transit {
        identity: Identity {
            id: transaction.producer_id,
            epoch: raised,
        },
        last_epoch: None,
        timeout: transaction.timeout,
        rules: scene.level,
        target: State::PrepareAbort(ending),
    })
}

impl TransactionCoordinator {
    /// B-54: a new identity for a producer without transactions, another one with each call.
    pub(super) fn allocate_idempotent(&mut self, scene: Scene) -> Result<Identity, ErrorCode> {
        let id = self.producer_ids.allocate(scene.node)?;
        Ok(Identity {
            id,
            epoch: ProducerEpoch::FIRST,
        })
    }

    /// B-56: a timeout that clients may ask for.
    pub(super) fn check_timeout(&self, millis: i32) -> Result<TransactionTimeout, ErrorCode> {
        let asked = u128::try_from(millis).unwrap_or(0);
        if asked == 0 || asked > self.config.transaction_max_timeout.as_millis() {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        Ok(TransactionTimeout::from_wire(millis))
    }
}
