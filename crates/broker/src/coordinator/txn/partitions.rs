//! Partitions join a transaction: asked by the client (TV1) or by the partition's leader (TV2), or only verified (B-71 … B-78).

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Identity, TopicPartition};

use super::state::{Fence, Ongoing, State};
use super::transaction::{Transaction, Transit};
use super::{Scene, TransactionCoordinator};
use crate::coordinator::interface::TransactionVersion;

impl TransactionCoordinator {
    /// B-72: one answer for all partitions. `rules` are those of whoever asks: the client, or a broker on its behalf.
    pub(super) fn join(
        &mut self,
        id: &str,
        identity: Identity,
        partitions: &[TopicPartition],
        rules: TransactionVersion,
        scene: Scene,
    ) -> Result<(), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (id, transaction) = self.find(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if transaction.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        check_identity(transaction, identity)?;
        let (mut joined, started) = match &transaction.state {
            State::PrepareCommit(_) | State::PrepareAbort(_) => {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            State::Ongoing(ongoing)
                if partitions
                    .iter()
                    .all(|joining| ongoing.partitions.contains(joining)) =>
            {
                return Ok(());
            }
            State::Ongoing(ongoing) => (ongoing.partitions.clone(), ongoing.started),
            State::Empty | State::CompleteCommit(_) | State::CompleteAbort(_) => {
                (BTreeSet::new(), scene.now.wall)
            }
            State::Dead => return Err(ErrorCode::InvalidProducerIdMapping),
        };
        joined.extend(partitions.iter().cloned());
        let transit = Transit {
            identity,
            last_epoch: transaction.last_epoch,
            timeout: transaction.timeout,
            rules,
            target: State::Ongoing(Ongoing {
                partitions: joined,
                started,
                fence: Fence::None,
            }),
        };
        self.transition(&id, transit, scene.now)
    }

    /// B-77: whether each partition is in the transaction; nothing changes.
    pub(super) fn verify(
        &mut self,
        id: &str,
        identity: Identity,
        partitions: &[TopicPartition],
    ) -> Vec<Result<(), ErrorCode>> {
        match self.verifiable(id, identity) {
            Err(error) => vec![Err(error); partitions.len()],
            Ok(transaction) => partitions
                .iter()
                .map(|partition| match transaction.state.partitions() {
                    Some(joined) if joined.contains(partition) => Ok(()),
                    Some(_) | None => Err(ErrorCode::TransactionAbortable),
                })
                .collect(),
        }
    }

    fn verifiable(&mut self, id: &str, identity: Identity) -> Result<&Transaction, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (_, transaction) = self.find(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        check_identity(transaction, identity)?;
        match transaction.state {
            State::PrepareCommit(_) | State::PrepareAbort(_) => Err(ErrorCode::ConcurrentTransactions),
            State::Empty
            | State::Ongoing(_)
            | State::CompleteCommit(_)
            | State::CompleteAbort(_)
            | State::Dead => Ok(transaction),
        }
    }
}

/// B-72: another id does not belong to the transactional id at all; another epoch is fenced.
pub(super) fn check_identity(transaction: &Transaction, identity: Identity) -> Result<(), ErrorCode> {
    if transaction.producer_id != identity.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if transaction.epoch != Some(identity.epoch) {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(())
}
