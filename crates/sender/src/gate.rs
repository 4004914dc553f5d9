//! The borders of the transaction manager inside the loop: what the drainer asks it, how batches are named to it, and what the send gate
//! shows of it.

use kommit_accumulator::{DrainGate, GateReason, GateState, SendGate, Stamp, StampScope};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::PartitionIndex;
use kommit_txn_manager::{
    self as txn, BatchId, StateName, TransactionError, TransactionManager, Transactional,
};

/// Answers the drainer from the transaction manager; without one, everything may be drained and nothing is stamped (S-19).
#[derive(Debug)]
pub(crate) struct TransactionGate<'a>(pub(crate) Option<&'a mut TransactionManager>);

impl DrainGate for TransactionGate<'_> {
    fn may_drain(&mut self, partition: PartitionIndex, stamped: Option<&Stamp>) -> bool {
        let named = stamped.and_then(|stamp| Some((stamp.identity()?, stamp.base_sequence()?)));
        self.0.as_mut().is_none_or(|txn| txn.may_drain(partition, named))
    }

    fn stamp(&mut self, partition: PartitionIndex, records: u32) -> Stamp {
        match &mut self.0 {
            Some(txn) => stamp_of(txn.stamp(partition, records)),
            None => Stamp::Anonymous,
        }
    }
}

pub(crate) fn stamp_of(stamp: txn::Stamp) -> Stamp {
    let scope = match stamp.transactional {
        Transactional::Yes => StampScope::Transactional,
        Transactional::No => StampScope::Idempotent,
    };
    Stamp::Sequenced {
        identity: stamp.identity,
        base_sequence: stamp.base_sequence,
        scope,
    }
}

/// The name of a batch for the transaction manager; none without idempotence.
pub(crate) fn batch_id(partition: PartitionIndex, stamp: &Stamp, records: u32) -> Option<BatchId> {
    match *stamp {
        Stamp::Anonymous => None,
        Stamp::Sequenced {
            identity,
            base_sequence,
            ..
        } => Some(BatchId {
            partition,
            identity,
            base_sequence,
            records,
        }),
    }
}

/// Closes or opens the gate as the transaction stands. A gate that the application opened for a transaction stays open while the
/// transaction accepts records.
pub(crate) fn keep_in_step(gate: &SendGate, txn: &TransactionManager) {
    let code = |error: Option<&TransactionError>| {
        error
            .and_then(TransactionError::code)
            .unwrap_or(ErrorCode::UnknownServerError)
    };
    let reason = match (txn.state(), txn.is_transactional()) {
        (StateName::FatalError, _) => GateReason::Fatal(code(txn.fatal_error())),
        (_, false) | (StateName::InTransaction, true) => return,
        (StateName::Uninitialized | StateName::Initializing, true) => GateReason::NotInitialized,
        (StateName::Ready, true) if matches!(gate.state(), GateState::InTransaction(_)) => return,
        (StateName::Ready, true) => GateReason::NoTransaction,
        (StateName::Committing | StateName::Aborting, true) => GateReason::Ending,
        (StateName::AbortableError, true) => GateReason::MustAbort(code(txn.abortable_error())),
    };
    if gate.state() != GateState::Closed(reason) {
        gate.close(reason);
    }
}
