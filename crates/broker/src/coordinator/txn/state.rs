//! Where one transactional id stands: the states, what each of them holds, and which may follow which (B-67).
//!
//! Nothing here decides whether a request is welcome; it only knows what a transition needs and leaves behind.
//!
//! ```text
//!            +-----------------------------------------------------------+
//!            v                                                           |
//! Empty -> Ongoing -> PrepareCommit -> CompleteCommit -------------------+--> Empty, Ongoing, Dead
//!   |        +------> PrepareAbort --> CompleteAbort --------------------+
//!   +------------------^ (TV2; also from CompleteX)
//! ```
//!
//! Kafka's `PrepareEpochFence` is the moment between deciding to fence and logging `PrepareAbort`. Here both happen within one
//! call, so nobody can meet it; what may remain of it, an epoch that was raised without being logged, is [`Fence::Raised`].

use std::collections::BTreeSet;

use kommit_protocol::units::{ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::coordinator::interface::TransactionVersion;

/// The epoch behind which a producer id is used up: the next one belongs to the coordinator (B-66).
pub(super) const LAST_CLIENT_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// Whether `epoch` leaves no further epoch for clients.
pub(super) fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch >= LAST_CLIENT_EPOCH
}

/// How long a transaction may stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionTimeout {
    /// So many milliseconds after its start.
    Millis(i32),
    /// Forever: two-phase commit (B-57, B-101).
    Never,
}

impl TransactionTimeout {
    /// Reads the wire's number, of which the largest means "never".
    pub(super) fn from_wire(millis: i32) -> Self {
        if millis == i32::MAX {
            Self::Never
        } else {
            Self::Millis(millis)
        }
    }

    /// The number as DescribeTransactions shows it.
    pub(super) fn to_wire(self) -> i32 {
        match self {
            Self::Millis(millis) => millis,
            Self::Never => i32::MAX,
        }
    }

    /// B-101: whether a transaction of this start has been open for too long.
    pub(super) fn has_passed(self, started: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Millis(millis) => started.0.saturating_add(i64::from(millis)) < now.0,
            Self::Never => false,
        }
    }
}

/// The state of a transactional id, with what is only meaningful in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Known, but nothing has happened under its present epoch.
    Empty,
    /// A transaction is open.
    Ongoing(Ongoing),
    /// The outcome is decided: commit; markers are outstanding.
    PrepareCommit(Ending),
    /// The outcome is decided: abort; markers are outstanding.
    PrepareAbort(Ending),
    /// All markers of a commit are written.
    CompleteCommit(Ended),
    /// All markers of an abort are written.
    CompleteAbort(Ended),
    /// Expired (B-105). Only a pending target: once it is logged the transactional id is forgotten.
    Dead,
}

/// An open transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ongoing {
    /// The partitions that get a marker at the end.
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// When the first partition joined.
    pub(super) started: Timestamp,
    /// Whether an attempt to fence left its epoch behind.
    pub(super) fence: Fence,
}

/// Whether a TV1 fence raised the epoch of an open transaction without getting it into the log (B-93).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// No.
    None,
    /// Yes, and it must not be raised again. What the log says is kept for a reload.
    Raised {
        /// The epoch in the log.
        logged_epoch: ProducerEpoch,
    },
}

/// A transaction whose outcome is decided and whose markers are outstanding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Partitions without their marker.
    pub(super) unwritten: BTreeSet<TopicPartition>,
    /// When it had started.
    pub(super) started: Timestamp,
    /// The id to go on with, when the epoch is used up (B-89).
    pub(super) next_producer_id: Option<ProducerId>,
}

/// A finished transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// When it had started (B-100).
    pub(super) started: Timestamp,
}

/// A state without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StateName {
    /// See [`State::Empty`].
    Empty,
    /// See [`State::Ongoing`].
    Ongoing,
    /// See [`State::PrepareCommit`].
    PrepareCommit,
    /// See [`State::PrepareAbort`].
    PrepareAbort,
    /// See [`State::CompleteCommit`].
    CompleteCommit,
    /// See [`State::CompleteAbort`].
    CompleteAbort,
    /// See [`State::Dead`].
    Dead,
}

impl StateName {
    /// All names, in the order of the specification's table.
    pub(super) const ALL: [Self; 7] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
    ];

    /// Kafka's name, as ListTransactions shows it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
        }
    }

    /// The table of section 7: whether `self` may come after `from` under `rules`.
    pub(super) fn may_follow(self, from: Self, rules: TransactionVersion) -> bool {
        use StateName::{CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit};
        match self {
            Empty => matches!(from, Empty | CompleteCommit | CompleteAbort),
            Ongoing => matches!(from, Ongoing | Empty | CompleteCommit | CompleteAbort),
            PrepareCommit => from == Ongoing,
            PrepareAbort => match from {
                Ongoing => true,
                Empty | CompleteCommit | CompleteAbort => rules == TransactionVersion::V2,
                PrepareCommit | PrepareAbort | Dead => false,
            },
            CompleteCommit => from == PrepareCommit,
            CompleteAbort => from == PrepareAbort,
            Dead => matches!(from, Empty | CompleteCommit | CompleteAbort),
        }
    }
}

impl State {
    /// The state without its content.
    pub(super) fn name(&self) -> StateName {
        match self {
            Self::Empty => StateName::Empty,
            Self::Ongoing(_) => StateName::Ongoing,
            Self::PrepareCommit(_) => StateName::PrepareCommit,
            Self::PrepareAbort(_) => StateName::PrepareAbort,
            Self::CompleteCommit(_) => StateName::CompleteCommit,
            Self::CompleteAbort(_) => StateName::CompleteAbort,
            Self::Dead => StateName::Dead,
        }
    }

    /// When the present or last transaction started; nothing in Empty (B-100).
    pub(super) fn started(&self) -> Option<Timestamp> {
        match self {
            Self::Empty | Self::Dead => None,
            Self::Ongoing(ongoing) => Some(ongoing.started),
            Self::PrepareCommit(ending) | Self::PrepareAbort(ending) => Some(ending.started),
            Self::CompleteCommit(ended) | Self::CompleteAbort(ended) => Some(ended.started),
        }
    }

    /// The partitions that still wait for a marker or will.
    pub(super) fn partitions(&self) -> Option<&BTreeSet<TopicPartition>> {
        match self {
            Self::Ongoing(ongoing) => Some(&ongoing.partitions),
            Self::PrepareCommit(ending) | Self::PrepareAbort(ending) => Some(&ending.unwritten),
            Self::Empty | Self::CompleteCommit(_) | Self::CompleteAbort(_) | Self::Dead => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: TransactionVersion) -> Vec<String> {
        StateName::ALL
            .iter()
            .map(|target| {
                let from: Vec<_> = StateName::ALL
                    .iter()
                    .filter(|from| target.may_follow(**from, rules))
                    .map(|from| from.text())
                    .collect();
                format!("{} from {}", target.text(), from.join(" "))
            })
            .collect()
    }

    /// Section 7: which state may come after which, under the rules of level 2.
    #[test]
    fn the_table_of_transitions_is_the_one_of_the_specification() {
        assert_eq!(
            table(TransactionVersion::V2),
            [
                "Empty from Empty CompleteCommit CompleteAbort",
                "Ongoing from Empty Ongoing CompleteCommit CompleteAbort",
                "PrepareCommit from Ongoing",
                "PrepareAbort from Empty Ongoing CompleteCommit CompleteAbort",
                "CompleteCommit from PrepareCommit",
                "CompleteAbort from PrepareAbort",
                "Dead from Empty CompleteCommit CompleteAbort",
            ]
        );
    }

    /// Section 7: under the older rules only an open transaction can be aborted.
    #[test]
    fn only_an_open_transaction_is_aborted_under_the_old_rules() {
        for rules in [TransactionVersion::V0, TransactionVersion::V1] {
            let row = table(rules)
                .into_iter()
                .find(|row| row.starts_with("PrepareAbort"));
            assert_eq!(row.as_deref(), Some("PrepareAbort from Ongoing"));
        }
    }

    /// B-101: the largest timeout never passes, the others when they are exceeded.
    #[test]
    fn a_timeout_passes_when_it_is_exceeded() {
        let minute = TransactionTimeout::from_wire(60_000);
        let start = Timestamp(1_000);
        assert!(!minute.has_passed(start, Timestamp(61_000)));
        assert!(minute.has_passed(start, Timestamp(61_001)));
        assert!(!TransactionTimeout::from_wire(i32::MAX).has_passed(start, Timestamp(i64::MAX)));
    }
}
