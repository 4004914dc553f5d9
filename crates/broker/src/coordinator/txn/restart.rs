//! What the transaction log says (B-58), and how it comes back: the metadata of each transactional id, and which producer ids are taken.
//!
//! Decided transactions get their markers once their shard is seen active (B-68).

use std::collections::BTreeSet;
use std::sync::Arc;

use kommit_protocol::units::{ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use super::TransactionCoordinator;
use super::state::{Ended, Ending, Fence, Ongoing, State, StateName, TransactionTimeout};
use super::transaction::Transaction;
use crate::coordinator::interface::TransactionVersion;
use crate::durable::{Entry, Place, TransactionState};

/// The start of a transaction that there was not.
const NEVER_STARTED: Timestamp = Timestamp(-1);

impl TransactionCoordinator {
    /// What changed since the last call.
    pub(in crate::coordinator) fn take_unsaved(&mut self, out: &mut Vec<Entry>) {
        out.extend(self.producer_ids.take_unsaved().map(Entry::ProducerIds));
        for id in std::mem::take(&mut self.changed) {
            out.push(match self.transactions.get(&id) {
                Some(transaction) => match logged(&id, transaction) {
                    Some(state) => Entry::Transaction(state),
                    None => continue,
                },
                None => Entry::TransactionForgotten(id.to_string()),
            });
        }
    }

    /// Nobody keeps what changed.
    pub(in crate::coordinator) fn forget_unsaved(&mut self) {
        self.changed.clear();
    }

    /// Everything.
    pub(in crate::coordinator) fn all_entries(&self, out: &mut Vec<Entry>) {
        out.push(Entry::ProducerIds(self.producer_ids.next_block()));
        let states = self.transactions.iter();
        out.extend(
            states
                .filter_map(|(id, transaction)| logged(id, transaction))
                .map(Entry::Transaction),
        );
    }

    /// Takes up what the log said.
    pub(in crate::coordinator) fn restore(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry {
            Entry::ProducerIds(next) => self.producer_ids.restore(next),
            Entry::Transaction(state) => {
                let id: Arc<str> = state.transactional_id.as_str().into();
                self.transactions.insert(id, restored(state)?);
                Ok(())
            }
            Entry::TransactionForgotten(id) => {
                self.transactions.remove(&*id);
                Ok(())
            }
            _ => Err("an entry that is not of transactions"),
        }
    }
}

/// What the log says of a transactional id; nothing before the first InitProducerId is logged (B-59).
fn logged(id: &str, transaction: &Transaction) -> Option<TransactionState> {
    let mut transaction = transaction.clone();
    transaction.reload();
    let next_producer_id = match &transaction.state {
        State::PrepareCommit(ending) | State::PrepareAbort(ending) => ending.next_producer_id,
        State::Empty
        | State::Ongoing(_)
        | State::CompleteCommit(_)
        | State::CompleteAbort(_)
        | State::Dead => None,
    };
    let partitions = transaction.state.partitions().into_iter().flatten();
    Some(TransactionState {
        transactional_id: id.to_owned(),
        producer_id: transaction.producer_id,
        previous_producer_id: transaction.previous_producer_id.unwrap_or(ProducerId::NONE),
        next_producer_id: next_producer_id.unwrap_or(ProducerId::NONE),
        epoch: transaction.epoch?,
        timeout_ms: transaction.timeout.to_wire(),
        status: status(transaction.state.name()),
        partitions: partitions.map(Place::from).collect(),
        started: transaction.state.started().unwrap_or(NEVER_STARTED),
        last_update: transaction.last_update,
        client_transaction_version: transaction.rules.level(),
    })
}

fn restored(stored: TransactionState) -> Result<Transaction, &'static str> {
    let known = |id: ProducerId| (id != ProducerId::NONE).then_some(id);
    let partitions: BTreeSet<TopicPartition> = stored.partitions.into_iter().map(Into::into).collect();
    let started = stored.started;
    let ending = |unwritten| Ending {
        unwritten,
        started,
        next_producer_id: known(stored.next_producer_id),
    };
    let state = match StateName::ALL
        .into_iter()
        .find(|name| status(*name) == stored.status)
    {
        Some(StateName::Empty) => State::Empty,
        Some(StateName::Ongoing) => State::Ongoing(Ongoing {
            partitions,
            started,
            fence: Fence::None,
        }),
        Some(StateName::PrepareCommit) => State::PrepareCommit(ending(partitions)),
        Some(StateName::PrepareAbort) => State::PrepareAbort(ending(partitions)),
        Some(StateName::CompleteCommit) => State::CompleteCommit(Ended { started }),
        Some(StateName::CompleteAbort) => State::CompleteAbort(Ended { started }),
        Some(StateName::Dead) | None => return Err("a state of a transaction that there is not"),
    };
    let rules = TransactionVersion::from_level(stored.client_transaction_version)
        .ok_or("rules of a transaction that there are not")?;
    if stored.epoch < ProducerEpoch::FIRST {
        return Err("a negative epoch");
    }
    Ok(Transaction {
        producer_id: stored.producer_id,
        previous_producer_id: known(stored.previous_producer_id),
        epoch: Some(stored.epoch),
        last_epoch: None,
        timeout: TransactionTimeout::from_wire(stored.timeout_ms),
        rules,
        last_update: stored.last_update,
        state,
        pending: None,
    })
}

/// The number of a state in Kafka's log.
fn status(name: StateName) -> i8 {
    match name {
        StateName::Empty => 0,
        StateName::Ongoing => 1,
        StateName::PrepareCommit => 2,
        StateName::PrepareAbort => 3,
        StateName::CompleteCommit => 4,
        StateName::CompleteAbort => 5,
        StateName::Dead => 6,
    }
}
