//! A group and its members: what each state holds, and what it says to somebody who commits offsets (B-118).
//!
//! How members come, agree and leave is in `rebalance` and `session`; nothing here changes a group's phase.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kommit_protocol::time::Instant;

/// Names a request whose answer may come later; handed back with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// An answer that a group had held back.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupAnswer {
    /// To a JoinGroup: everybody has joined.
    Join(JoinGroupResponse),
    /// To a SyncGroup: the leader has assigned.
    Sync(SyncGroupResponse),
}

/// Answers in the order in which they are given.
pub(super) type Answers = Vec<(Ticket, GroupAnswer)>;

/// Who wants to commit, in the request's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committer<'a> {
    /// Below 0: no claim to a generation.
    pub(super) generation: i32,
    /// Empty: no claim to membership.
    pub(super) member_id: &'a str,
    /// The static member's name.
    pub(super) instance_id: Option<&'a str>,
}

/// How the offsets are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitKind {
    /// At once.
    Plain,
    /// With a transaction.
    Transactional,
}

/// A group. The default is one without members: a simple group, whose offsets anybody may commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Rises with each rebalance.
    pub(super) generation: i32,
    /// Where it stands.
    pub(super) phase: Phase,
    /// The members by id.
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// Ids that were given out and not yet used, with the moment at which they lapse.
    pub(super) promised_ids: BTreeMap<Arc<str>, Instant>,
    /// What the members agreed on when they last joined.
    pub(super) agreement: Option<Agreement>,
    /// The class of protocols of its members, also when the last one is gone; empty before the first.
    pub(super) protocol_type: String,
}

/// What a generation has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// The class of protocols, `consumer` for consumers.
    pub(super) protocol_type: String,
    /// The protocol that all members support.
    pub(super) protocol: String,
    /// The member that assigns.
    pub(super) leader: Arc<str>,
}

/// Where a group stands.
///
/// ```text
/// Empty -> PreparingRebalance -> CompletingRebalance -> Stable
///   ^              ^  |                   |               |
///   +--------------|--+                   |               |
///                  +----------------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// No members.
    #[default]
    Empty,
    /// Waiting for the members to join again.
    PreparingRebalance {
        /// When it goes on without those who have not.
        deadline: Instant,
    },
    /// The members are known; their leader still owes the assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What its client calls itself.
    pub(super) client_id: String,
    /// Set for static members.
    pub(super) instance_id: Option<Arc<str>>,
    /// How long it may be silent.
    pub(super) session_timeout: Duration,
    /// How long a rebalance waits for it.
    pub(super) rebalance_timeout: Duration,
    /// The protocols that it supports, the favourite first, with what it tells the leader.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// What the leader gave it.
    pub(super) assignment: Bytes,
    /// When it counts as gone, unless it is heard before or waits for an answer.
    pub(super) session_ends: Instant,
    /// What it waits for.
    pub(super) waiting: Waiting,
}

/// The request of a member that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// None.
    Nothing,
    /// A JoinGroup: the member has joined the coming generation.
    Join(Ticket),
    /// A SyncGroup.
    Sync(Ticket),
}

impl Group {
    /// How many are members, or were promised to become it.
    pub(super) fn size(&self) -> usize {
        self.members.len() + self.promised_ids.len()
    }

    /// B-118: whether the committer may.
    pub(super) fn check_commit(&self, committer: Committer<'_>, kind: CommitKind) -> Result<(), ErrorCode> {
        if committer.generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        let claims_nothing =
            committer.generation < 0 && committer.member_id.is_empty() && committer.instance_id.is_none();
        match kind {
            CommitKind::Transactional if claims_nothing => return Ok(()),
            CommitKind::Plain if claims_nothing => return Err(ErrorCode::UnknownMemberId),
            CommitKind::Plain | CommitKind::Transactional => {}
        }
        self.check_generation(committer)?;
        if kind == CommitKind::Plain && self.phase == Phase::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether somebody is a member of the present generation.
    pub(super) fn check_generation(&self, claimed: Committer<'_>) -> Result<(), ErrorCode> {
        self.check_member(claimed.member_id, claimed.instance_id)?;
        if claimed.generation == self.generation {
            Ok(())
        } else {
            Err(ErrorCode::IllegalGeneration)
        }
    }

    /// Whether the member is one, and the one that its static name belongs to.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance_id {
            return match self.owner_of(instance) {
                None => Err(ErrorCode::UnknownMemberId),
                Some(owner) if **owner != *member_id => Err(ErrorCode::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// The member with this static name.
    pub(super) fn owner_of(&self, instance: &str) -> Option<&Arc<str>> {
        let mut members = self.members.iter();
        members
            .find(|(_, member)| member.instance_id.as_deref() == Some(instance))
            .map(|(id, _)| id)
    }

    /// The member was heard: its session starts anew.
    pub(super) fn keep_alive(&mut self, member_id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_ends = now + member.session_timeout;
        }
    }

    /// Whether somebody with these protocols has something in common with all members.
    pub(super) fn may_agree(&self, protocol_type: &str, names: &BTreeSet<&str>) -> bool {
        if self.members.is_empty() {
            return true;
        }
        let is_same_type = self
            .agreement
            .as_ref()
            .is_none_or(|agreement| agreement.protocol_type == protocol_type);
        is_same_type && self.common_protocols().iter().any(|name| names.contains(name))
    }

    /// The protocol that most members like best among those that all support.
    pub(super) fn elected_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let favourite = member
                .protocols
                .iter()
                .find(|(name, _)| common.contains(name.as_str()));
            if let Some((name, _)) = favourite {
                *votes.entry(name).or_default() += 1;
            }
        }
        // Of equals the first name wins, so that the same members always agree on the same.
        let best = votes.values().max().copied()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == best)
            .map(|(name, _)| name.to_owned())
    }

    fn common_protocols(&self) -> BTreeSet<&str> {
        let of = |member: &'_ Member| -> BTreeSet<String> {
            member.protocols.iter().map(|(name, _)| name.clone()).collect()
        };
        let Some((_, first)) = self.members.first_key_value() else {
            return BTreeSet::new();
        };
        let others: Vec<_> = self.members.values().map(of).collect();
        let names = first.protocols.iter().map(|(name, _)| name.as_str());
        names
            .filter(|name| others.iter().all(|other| other.contains(*name)))
            .collect()
    }
}
