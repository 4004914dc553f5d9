//! What is known of the open transaction: its flavour, its partitions, and whether anything of it went unanswered.
//!
//! It exists only inside the states that have a transaction, so that nothing of one transaction can reach the next.

use std::mem;

use kommit_protocol::units::PartitionIndex;

use crate::version::Flavour;

/// The open transaction.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    /// Latched at begin (R10).
    pub(crate) flavour: Flavour,
    pub(crate) started: Started,
    /// R6: whether some request of this transaction went unanswered.
    pub(crate) answers: Answers,
    /// H03: whether some batch of this transaction came to its end without being known as written or not.
    pub(crate) batches: BatchFates,
    pub(crate) commit: CommitAttempts,
    memberships: Vec<Membership>,
    new: Vec<PartitionIndex>,
    joined: u32,
}

/// Whether the coordinator knows of this transaction, so that it has to be ended there (T-42, H16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// Nothing was added: EndTxn is not needed.
    No,
    /// An addition went unanswered: EndTxn is needed, and "no such transaction" is a fine answer to an abort.
    Unknown,
    /// Something was added.
    Yes,
}

/// R6, the dirty bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Every request so far was answered.
    Complete,
    /// A copy of some request may still be on its way.
    SomeMissing,
}

/// H03: what is known of the batches that came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchFates {
    /// Each was written, or was not.
    Known,
    /// At least one may have been written, or may be still.
    SomeUnknown,
}

/// R7, R8: what is known of the EndTxn(commit) attempts that were finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitAttempts {
    /// None may have been applied.
    NoneApplied,
    /// At least one may have been applied: never abort, never report "not committed" without proof.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Outside,
    /// To be added; in no request yet.
    New,
    /// In an AddPartitionsToTxn that is queued or sent.
    Pending,
    Joined,
}

impl Transaction {
    pub(crate) fn begun(flavour: Flavour) -> Self {
        Self {
            flavour,
            started: Started::No,
            answers: Answers::Complete,
            batches: BatchFates::Known,
            commit: CommitAttempts::NoneApplied,
            memberships: Vec::new(),
            new: Vec::new(),
            joined: 0,
        }
    }

    /// What an abort finds when initializing failed: nothing to end.
    pub(crate) fn nothing() -> Self {
        Self::begun(Flavour::V1)
    }

    /// T-22, O-2: the first record of a partition. V1 announces it before the first drain; V2 leaves that to the produce request.
    pub(crate) fn join(&mut self, partition: PartitionIndex) {
        let position = partition.position();
        if self.memberships.len() <= position {
            self.memberships.resize(position + 1, Membership::Outside);
        }
        if self.memberships[position] != Membership::Outside {
            return;
        }
        match self.flavour {
            Flavour::V1 => {
                self.memberships[position] = Membership::New;
                self.new.push(partition);
            }
            Flavour::V2 => {
                self.memberships[position] = Membership::Joined;
                self.joined += 1;
                self.started = Started::Yes;
            }
        }
    }

    pub(crate) fn has_joined(&self, partition: PartitionIndex) -> bool {
        self.memberships.get(partition.position()) == Some(&Membership::Joined)
    }

    /// T-74: whether any partition was added yet.
    pub(crate) fn has_partitions(&self) -> bool {
        self.joined > 0
    }

    pub(crate) fn has_new_partitions(&self) -> bool {
        !self.new.is_empty()
    }

    /// T-46: moves the new partitions to pending and lists **all** pending ones.
    pub(crate) fn announce(&mut self) -> Vec<PartitionIndex> {
        for partition in mem::take(&mut self.new) {
            self.memberships[partition.position()] = Membership::Pending;
        }
        self.pending().collect()
    }

    /// O-2, `begin_abort`: what was not announced never is.
    pub(crate) fn drop_new_partitions(&mut self) {
        for partition in mem::take(&mut self.new) {
            self.memberships[partition.position()] = Membership::Outside;
        }
    }

    /// T-76: the partitions of an answered request that was not refused as a whole.
    pub(crate) fn joined(&mut self, partitions: &[PartitionIndex]) {
        for partition in partitions {
            if let Some(membership) = self.memberships.get_mut(partition.position())
                && *membership != Membership::Joined
            {
                *membership = Membership::Joined;
                self.joined += 1;
            }
        }
        self.started = Started::Yes;
    }

    /// T-76: the partitions of a refused request are no longer pending.
    pub(crate) fn refused(&mut self, partitions: &[PartitionIndex]) {
        for partition in partitions {
            if let Some(membership) = self.memberships.get_mut(partition.position())
                && *membership == Membership::Pending
            {
                *membership = Membership::Outside;
            }
        }
    }

    /// H16: an addition may have been applied.
    pub(crate) fn may_have_started(&mut self) {
        if self.started == Started::No {
            self.started = Started::Unknown;
        }
    }

    /// H03: whether a batch may still arrive when this transaction has been aborted.
    pub(crate) fn may_have_batch_on_its_way(&self) -> bool {
        self.batches == BatchFates::SomeUnknown && self.answers == Answers::SomeMissing
    }

    fn pending(&self) -> impl Iterator<Item = PartitionIndex> {
        let positions = self.memberships.iter().enumerate();
        positions
            .filter(|(_, membership)| **membership == Membership::Pending)
            .filter_map(|(position, _)| u32::try_from(position).ok().map(PartitionIndex))
    }
}
