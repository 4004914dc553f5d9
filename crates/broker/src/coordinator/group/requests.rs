//! The classic protocol's messages: what is checked before a group is looked at, and the answers that come later.

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, LeaveGroupRequestMember,
    LeaveGroupResponse, LeaveGroupResponseMember, SyncGroupRequest,
};
use kommit_protocol::time::{Instant, Now};

use super::GroupCoordinator;
use super::membership::{Answers, Committer, Ticket};
use super::rebalance::{Joining, refused_join, refused_sync};
use crate::coordinator::interface::{Call, CoordinatorKind};
use crate::denials::Operation;

/// `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
const SESSION_TIMEOUTS: std::ops::RangeInclusive<i32> = 6_000..=1_800_000;
/// The first version of LeaveGroup with a list of members.
const FIRST_WITH_MEMBERS: i16 = 3;

impl GroupCoordinator {
    pub(in crate::coordinator) fn join_group(
        &mut self,
        request: &JoinGroupRequest,
        call: &Call<'_>,
        ticket: Ticket,
    ) {
        let admitted = self.check_join(request, call);
        if let Err(error) = admitted {
            self.answers
                .push((ticket, refused_join(error, &request.member_id)));
            return;
        }
        self.members_seen += 1;
        let client = call.client_id.unwrap_or_default();
        let joining = Joining {
            ticket,
            version: call.version,
            now: call.now.instant,
            client_id: client.to_owned(),
            fresh_id: format!("{client}-{:032x}", self.members_seen).into(),
        };
        let id: Arc<str> = request.group_id.as_str().into();
        self.changed.insert(Arc::clone(&id));
        let group = self.groups.entry(id).or_default();
        group.join(request, &joining, &mut self.answers);
    }

    fn check_join(&self, request: &JoinGroupRequest, call: &Call<'_>) -> Result<(), ErrorCode> {
        check_group(&request.group_id, call)?;
        if !SESSION_TIMEOUTS.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        self.check_room(&request.group_id)?;
        match self.groups.get(request.group_id.as_str()) {
            Some(group) if request.member_id.is_empty() && group.size() >= self.group_max_size => {
                Err(ErrorCode::GroupMaxSizeReached)
            }
            None if !request.member_id.is_empty() => Err(ErrorCode::UnknownMemberId),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the group is known, or may become so.
    pub(super) fn check_room(&self, group: &str) -> Result<(), ErrorCode> {
        if self.groups.contains_key(group) || self.groups.len() < self.max_groups {
            Ok(())
        } else {
            Err(ErrorCode::CoordinatorNotAvailable)
        }
    }

    pub(in crate::coordinator) fn sync_group(
        &mut self,
        request: &SyncGroupRequest,
        call: &Call<'_>,
        ticket: Ticket,
    ) {
        let admitted = check_group(&request.group_id, call);
        match (admitted, self.groups.get_mut(request.group_id.as_str())) {
            (Err(error), _) => self.answers.push((ticket, refused_sync(error))),
            (Ok(()), None) => self
                .answers
                .push((ticket, refused_sync(ErrorCode::UnknownMemberId))),
            (Ok(()), Some(group)) => {
                self.changed.insert(request.group_id.as_str().into());
                group.sync(request, ticket, call.now.instant, &mut self.answers);
            }
        }
    }

    pub(in crate::coordinator) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        call: &Call<'_>,
    ) -> HeartbeatResponse {
        let member = Committer {
            generation: request.generation_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
        };
        let result = check_group(&request.group_id, call).and_then(|()| {
            let group = self
                .groups
                .get_mut(request.group_id.as_str())
                .ok_or(ErrorCode::UnknownMemberId)?;
            group.heartbeat(member, call.now.instant)
        });
        HeartbeatResponse {
            throttle_time_ms: 0,
            error_code: result.err().unwrap_or(ErrorCode::None),
        }
    }

    pub(in crate::coordinator) fn leave_group(
        &mut self,
        request: &LeaveGroupRequest,
        call: &Call<'_>,
    ) -> LeaveGroupResponse {
        let mut response = LeaveGroupResponse::default();
        if let Err(error) = check_group(&request.group_id, call) {
            response.error_code = error;
            return response;
        }
        if call.version < FIRST_WITH_MEMBERS {
            let member = LeaveGroupRequestMember {
                member_id: request.member_id.clone(),
                ..Default::default()
            };
            response.error_code = self.left(&request.group_id, &member, call.now);
            return response;
        }
        let left = request.members.iter().map(|member| LeaveGroupResponseMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            error_code: self.left(&request.group_id, member, call.now),
        });
        response.members = left.collect();
        response
    }

    fn left(&mut self, group: &str, member: &LeaveGroupRequestMember, now: Now) -> ErrorCode {
        let Some(known) = self.groups.get_mut(group) else {
            return ErrorCode::UnknownMemberId;
        };
        self.changed.insert(Arc::from(group));
        let instance = member.group_instance_id.as_deref();
        let result = known.leave(&member.member_id, instance, now.instant, &mut self.answers);
        result.err().unwrap_or(ErrorCode::None)
    }

    /// The answers that have become due since the last call.
    pub(in crate::coordinator) fn take_answers(&mut self) -> Answers {
        std::mem::take(&mut self.answers)
    }

    /// Does what time has made due, and says when to look again.
    pub(in crate::coordinator) fn turn(&mut self, now: Now) -> Instant {
        let mut due = Instant::NEVER;
        for (id, group) in &mut self.groups {
            let before = (group.generation, group.phase);
            due = due.min(group.turn(now.instant, &mut self.answers));
            if (group.generation, group.phase) != before {
                self.changed.insert(Arc::clone(id));
            }
        }
        due
    }
}

/// B-22, for groups that may have members.
fn check_group(group: &str, call: &Call<'_>) -> Result<(), ErrorCode> {
    call.denials.check_group(Operation::Read, group)?;
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    call.cluster
        .coordinator_shard(CoordinatorKind::Group, group, call.node)
        .map(|_| ())
}
