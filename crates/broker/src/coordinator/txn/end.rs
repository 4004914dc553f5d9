//! EndTxn: the two tables of what it means, TV1 (B-85) and TV2 (B-87, B-88), and the transition behind them (B-89).
//!
//! The request's version chooses the table, not the cluster's level (B-84).

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{Identity, ProducerEpoch};

use super::partitions::check_identity;
use super::producer_ids::ProducerIds;
use super::state::{Ending, LAST_CLIENT_EPOCH, State, StateName, is_exhausted};
use super::transaction::{Transaction, Transit};
use super::{Scene, TransactionCoordinator};
use crate::coordinator::interface::{MarkerOutcome, TransactionVersion};

/// What an EndTxn means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndDecision {
    /// The outcome becomes durable now.
    Prepare,
    /// It is done already: a retry of an answer that got lost (B-96).
    Done,
    /// It is refused.
    Refuse(ErrorCode),
}

/// Which epoch an EndTxn of TV2 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedEpoch {
    /// The stored one.
    Current,
    /// The one before the last bump: the request is a retry.
    Retry,
    /// Any other.
    Foreign,
}

impl TransactionCoordinator {
    /// B-85: the end of a transaction under the rules of request versions up to 4.
    pub(super) fn end_v1(
        &mut self,
        id: &str,
        identity: Identity,
        outcome: MarkerOutcome,
        scene: Scene,
    ) -> Result<(), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (id, transaction) = self.find(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        check_identity(transaction, identity)?;
        if transaction.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        match decide_v1(transaction.state.name(), outcome) {
            EndDecision::Done => return Ok(()),
            EndDecision::Refuse(error) => return Err(error),
            EndDecision::Prepare => {}
        }
        let transit = Transit {
            identity,
            last_epoch: transaction.last_epoch,
            timeout: transaction.timeout,
            rules: TransactionVersion::V1,
            target: prepared(outcome, ending(transaction, scene)),
        };
        self.transition(&id, transit, scene.now)
    }

    /// B-87, B-88: the end of a transaction under the rules of request version 5, with the identity to go on with.
    pub(super) fn end_v2(
        &mut self,
        id: &str,
        identity: Identity,
        outcome: MarkerOutcome,
        scene: Scene,
    ) -> Result<Identity, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let (id, transaction) = self.find(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if transaction.pending.is_some() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let named = named_epoch(transaction, identity)?;
        match decide_v2(transaction.state.name(), outcome, named) {
            EndDecision::Done => return stored_identity(transaction),
            EndDecision::Refuse(error) => return Err(error),
            EndDecision::Prepare => {}
        }
        let transaction = self.transactions.get(&id).ok_or(ErrorCode::UnknownServerError)?;
        let transit = bumped_end(transaction, outcome, &mut self.producer_ids, scene)?;
        let next = client_identity(&transit);
        self.transition(&id, transit, scene.now)?;
        Ok(next)
    }
}

/// B-85, by state.
pub(super) fn decide_v1(state: StateName, outcome: MarkerOutcome) -> EndDecision {
    use EndDecision::{Done, Prepare, Refuse};
    use MarkerOutcome::{Abort, Commit};
    match (state, outcome) {
        (StateName::Ongoing, Commit | Abort) => Prepare,
        (StateName::CompleteCommit, Commit) => Done,
        (StateName::CompleteCommit, Abort) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::CompleteAbort, Abort) => Done,
        (StateName::CompleteAbort, Commit) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::PrepareCommit, Commit) => Refuse(ErrorCode::ConcurrentTransactions),
        (StateName::PrepareCommit, Abort) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::PrepareAbort, Abort) => Refuse(ErrorCode::ConcurrentTransactions),
        (StateName::PrepareAbort, Commit) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::Empty, Commit | Abort) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::Dead, Commit | Abort) => Refuse(ErrorCode::InvalidProducerIdMapping),
    }
}

/// B-87 (the last column: epochs that are not valid in the state), B-88 (the table, row by row).
pub(super) fn decide_v2(state: StateName, outcome: MarkerOutcome, named: NamedEpoch) -> EndDecision {
    use EndDecision::{Done, Prepare, Refuse};
    use MarkerOutcome::{Abort, Commit};
    use NamedEpoch::{Current, Foreign, Retry};
    match (state, outcome, named) {
        (_, _, Foreign) => Refuse(ErrorCode::ProducerFenced),

        (StateName::Empty, Abort, Retry) => Refuse(ErrorCode::ProducerFenced),
        (StateName::Empty, Abort, Current) => Prepare,
        (StateName::Empty, Commit, Retry) => Refuse(ErrorCode::ProducerFenced),
        (StateName::Empty, Commit, Current) => Refuse(ErrorCode::InvalidTxnState),

        (StateName::Ongoing, Abort, Retry) => Refuse(ErrorCode::ProducerFenced),
        (StateName::Ongoing, Abort, Current) => Prepare,
        (StateName::Ongoing, Commit, Retry) => Refuse(ErrorCode::ProducerFenced),
        (StateName::Ongoing, Commit, Current) => Prepare,

        (StateName::PrepareAbort, Abort, Retry) => Refuse(ErrorCode::ConcurrentTransactions),
        (StateName::PrepareAbort, Abort, Current) => Refuse(ErrorCode::ProducerFenced),
        (StateName::PrepareAbort, Commit, Retry) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::PrepareAbort, Commit, Current) => Refuse(ErrorCode::ProducerFenced),

        (StateName::PrepareCommit, Abort, Retry) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::PrepareCommit, Abort, Current) => Refuse(ErrorCode::ProducerFenced),
        (StateName::PrepareCommit, Commit, Retry) => Refuse(ErrorCode::ConcurrentTransactions),
        (StateName::PrepareCommit, Commit, Current) => Refuse(ErrorCode::ProducerFenced),

        (StateName::CompleteAbort, Abort, Retry) => Done,
        (StateName::CompleteAbort, Abort, Current) => Prepare,
        (StateName::CompleteAbort, Commit, Retry | Current) => Refuse(ErrorCode::InvalidTxnState),

        (StateName::CompleteCommit, Abort, Retry) => Refuse(ErrorCode::InvalidTxnState),
        (StateName::CompleteCommit, Abort, Current) => Prepare,
        (StateName::CompleteCommit, Commit, Retry) => Done,
        (StateName::CompleteCommit, Commit, Current) => Refuse(ErrorCode::InvalidTxnState),

        (StateName::Dead, _, Retry | Current) => Refuse(ErrorCode::InvalidProducerIdMapping),
    }
}

/// B-87: which epoch the request names. Another producer id is refused, unless it was just left behind with its last epoch.
fn named_epoch(transaction: &Transaction, identity: Identity) -> Result<NamedEpoch, ErrorCode> {
    let stored = transaction.epoch;
    let is_overflow_retry = identity.id != transaction.producer_id
        && Some(identity.id) == transaction.previous_producer_id
        && identity.epoch == LAST_CLIENT_EPOCH
        && stored == Some(ProducerEpoch::FIRST);
    if is_overflow_retry {
        return Ok(NamedEpoch::Retry);
    }
    if identity.id != transaction.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if stored == Some(identity.epoch) {
        return Ok(NamedEpoch::Current);
    }
    let is_retry = identity.epoch.next().is_some_and(|bumped| stored == Some(bumped));
    Ok(if is_retry {
        NamedEpoch::Retry
    } else {
        NamedEpoch::Foreign
    })
}

/// B-93 under TV2: the abort that fences is an abort with a bump like any other.
pub(super) fn bumped_abort(
    transaction: &Transaction,
    producer_ids: &mut ProducerIds,
    scene: Scene,
) -> Result<Transit, ErrorCode> {
    bumped_end(transaction, MarkerOutcome::Abort, producer_ids, scene)
}

/// B-89: the end bumps the epoch; when that uses it up, the next producer id is reserved.
fn bumped_end(
    transaction: &Transaction,
    outcome: MarkerOutcome,
    producer_ids: &mut ProducerIds,
    scene: Scene,
) -> Result<Transit, ErrorCode> {
    let stored = transaction.epoch.ok_or(ErrorCode::UnknownServerError)?;
    // An epoch that TV1 raised to the very end can only be left with a new id; its markers keep it.
    let bumped = stored.next().unwrap_or(ProducerEpoch::MAX);
    let mut ending = ending(transaction, scene);
    if is_exhausted(stored) {
        ending.next_producer_id = Some(producer_ids.allocate(scene.node)?);
    }
    Ok(Transit {
        identity: Identity {
            id: transaction.producer_id,
            epoch: bumped,
        },
        last_epoch: Some(stored),
        timeout: transaction.timeout,
        rules: TransactionVersion::V2,
        target: prepared(outcome, ending),
    })
}

fn ending(transaction: &Transaction, scene: Scene) -> Ending {
    match &transaction.state {
        State::Ongoing(ongoing) => Ending {
            unwritten: ongoing.partitions.clone(),
            started: ongoing.started,
            next_producer_id: None,
        },
        // An empty abort starts and ends in one moment.
        State::Empty
        | State::PrepareCommit(_)
        | State::PrepareAbort(_)
        | State::CompleteCommit(_)
        | State::CompleteAbort(_)
        | State::Dead => Ending {
            unwritten: BTreeSet::new(),
            started: scene.now.wall,
            next_producer_id: None,
        },
    }
}

fn prepared(outcome: MarkerOutcome, ending: Ending) -> State {
    match outcome {
        MarkerOutcome::Commit => State::PrepareCommit(ending),
        MarkerOutcome::Abort => State::PrepareAbort(ending),
    }
}

/// B-90: what the client must use next.
fn client_identity(transit: &Transit) -> Identity {
    match &transit.target {
        State::PrepareCommit(Ending {
            next_producer_id: Some(id),
            ..
        })
        | State::PrepareAbort(Ending {
            next_producer_id: Some(id),
            ..
        }) => Identity {
            id: *id,
            epoch: ProducerEpoch::FIRST,
        },
        State::Empty
        | State::Ongoing(_)
        | State::PrepareCommit(_)
        | State::PrepareAbort(_)
        | State::CompleteCommit(_)
        | State::CompleteAbort(_)
        | State::Dead => transit.identity,
    }
}

fn stored_identity(transaction: &Transaction) -> Result<Identity, ErrorCode> {
    let epoch = transaction.epoch.ok_or(ErrorCode::UnknownServerError)?;
    Ok(Identity {
        id: transaction.producer_id,
        epoch,
    })
}
