//! The transaction that follows a commit at once. It begins for the application when EndTxn goes out: its records are taken and batched from then
//! on. For the coordinator it begins when that commit has its outcome. Nothing of it is sent before, and nothing ever if the commit failed.
//!
//! When EndTxn goes out, every batch of the transaction before is complete (R5), so what is queued from then on belongs to this one alone.
//! One at a time: its own calls wait here, its commit included. What a call that waited leads to is never decided here: it is carried out
//! or refused where the transaction then stands.

use std::mem;

use kommit_accumulator::TransactionNumber;
use kommit_protocol::units::PartitionIndex;
use kommit_txn_manager::{FailureReason, StateName, Ticket};

use crate::command::{Command, Reply};
use crate::core::SenderCore;

/// Where the transaction behind the open one stands.
#[derive(Debug, Default)]
pub(crate) enum NextTransaction {
    /// Nobody asked for it.
    #[default]
    None,
    /// It begins when nothing of the one before is incomplete any more.
    Asked {
        ticket: Ticket,
        number: TransactionNumber,
    },
    /// Its records are taken, and wait for the outcome of the commit.
    Ahead(Ahead),
}

/// What is kept until the transaction begins for the coordinator.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    partitions: Vec<PartitionIndex>,
    /// T-84, R12: the first of its records that failed. The transaction before has none left that could.
    failed: Option<(Option<PartitionIndex>, FailureReason)>,
    calls: Vec<Command>,
}

/// Whether there is something to do because the next transaction began, or cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    No,
    Yes,
}

impl NextTransaction {
    /// Whether its records are taken and must not be drained.
    pub(crate) fn is_ahead(&self) -> bool {
        matches!(self, Self::Ahead(_))
    }
}

impl SenderCore {
    /// Carries out a transactional call, or keeps it while its transaction is ahead.
    pub(crate) fn transactional_command(&mut self, command: Command) {
        match (&mut self.next, command) {
            (_, Command::Condemn(reason)) => self.records_failed(None, FailureReason::Refused(reason)),
            (NextTransaction::Ahead(ahead), command) => ahead.calls.push(command),
            (_, Command::BeginNext { ticket, number }) => {
                self.next = NextTransaction::Asked { ticket, number };
            }
            (_, command) => self.carry_out(command),
        }
    }

    /// T-84, R12: records failed without a stamp, so that their transaction cannot be committed.
    pub(crate) fn records_failed(&mut self, partition: Option<PartitionIndex>, reason: FailureReason) {
        match (&mut self.next, self.txn.as_mut()) {
            (NextTransaction::Ahead(ahead), _) => {
                ahead.failed.get_or_insert((partition, reason));
            }
            (_, Some(txn)) => txn.records_failed(partition, &reason),
            (_, None) => {}
        }
    }

    /// T-22: partitions with a new batch join the open transaction, or the next one as soon as it begins.
    pub(crate) fn join(&mut self, partitions: Vec<PartitionIndex>) {
        if let NextTransaction::Ahead(ahead) = &mut self.next {
            ahead.partitions.extend(partitions);
            ahead.partitions.sort_unstable();
            ahead.partitions.dedup();
            return;
        }
        let Some(txn) = self.txn.as_mut() else { return };
        for partition in partitions {
            let name = self.drainer.topic_partition(partition);
            if let Err(error) = txn.join(partition, name) {
                tracing::debug!(%error, partition = %name, "a record came when its transaction was over");
            }
        }
    }

    /// R5: EndTxn goes out, so nothing of its transaction is incomplete.
    pub(crate) fn go_ahead(&mut self) {
        if let NextTransaction::Asked { ticket, number } = self.next {
            self.next = NextTransaction::Ahead(Ahead::default());
            self.let_in(ticket, number);
        }
    }

    /// Begins the next transaction when the one before is committed (R10: only now is its version fixed), and gives it up when it cannot be.
    pub(crate) fn follow_commit(&mut self) -> Followed {
        let Some(txn) = self.txn.as_mut() else {
            return Followed::No;
        };
        let under_way = [
            StateName::InTransaction,
            StateName::Committing,
            StateName::Initializing,
        ];
        if matches!(self.next, NextTransaction::None) || under_way.contains(&txn.state()) {
            return Followed::No;
        }
        let begun = txn.begin();
        match (mem::take(&mut self.next), begun) {
            (NextTransaction::None, _) => {}
            (NextTransaction::Asked { ticket, number }, Ok(())) => self.let_in(ticket, number),
            (NextTransaction::Asked { ticket, .. }, Err(error)) => {
                self.replies.push((ticket, Reply::Refused(error)));
            }
            (NextTransaction::Ahead(ahead), begun) => {
                if begun.is_ok() {
                    self.join(ahead.partitions);
                    if let Some((partition, reason)) = ahead.failed {
                        self.records_failed(partition, reason);
                    }
                }
                for call in ahead.calls {
                    self.transactional_command(call);
                }
            }
        }
        Followed::Yes
    }

    fn let_in(&mut self, ticket: Ticket, number: TransactionNumber) {
        self.accumulator.gate().open_for(number);
        self.replies.push((ticket, Reply::Begun));
    }
}
