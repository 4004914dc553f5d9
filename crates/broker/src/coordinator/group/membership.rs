//! A group and its members: the classic protocol's state, and what it says to somebody who commits offsets (B-118).

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;

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
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// No members.
    #[default]
    Empty,
    /// The members are known; their leader still owes the assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Set for static members.
    pub(super) instance_id: Option<Arc<str>>,
}

impl Group {
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
        self.check_member(committer.member_id, committer.instance_id)?;
        if committer.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if kind == CommitKind::Plain && self.phase == Phase::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether the member is one, and the one that its static name belongs to.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance_id {
            let owner = self
                .members
                .iter()
                .find(|(_, member)| member.instance_id.as_deref() == Some(instance));
            return match owner {
                None => Err(ErrorCode::UnknownMemberId),
                Some((owner, _)) if **owner != *member_id => Err(ErrorCode::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }
}
