//! How members come together: JoinGroup, and the rebalance that it starts (the classic protocol).
//!
//! Left out: the initial delay of an empty group (a first member forms a generation of its own at once), and keeping static
//! members that miss a rebalance. Somebody who counts generations could notice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember, SyncGroupResponse,
};
use kommit_protocol::time::Instant;

use super::membership::{Agreement, Answers, Group, GroupAnswer, Member, Phase, Ticket, Waiting};

/// The first version whose members ask for an id before they join (KIP-394).
const FIRST_WITH_PROMISED_ID: i16 = 4;

/// The circumstances of a JoinGroup.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    /// Whom to answer.
    pub(super) ticket: Ticket,
    /// The request's version.
    pub(super) version: i16,
    /// When.
    pub(super) now: Instant,
    /// What the client calls itself.
    pub(super) client_id: String,
    /// An id that nobody has, in case that one is needed.
    pub(super) fresh_id: Arc<str>,
}

impl Group {
    /// Lets somebody join; the answer comes when everybody has, or at once when there is nothing to wait for.
    pub(super) fn join(&mut self, request: &JoinGroupRequest, joining: &Joining, answers: &mut Answers) {
        if let Err((error, member_id)) = self.try_join(request, joining, answers) {
            answers.push((joining.ticket, refused_join(error, &member_id)));
        }
    }

    fn try_join(
        &mut self,
        request: &JoinGroupRequest,
        joining: &Joining,
        answers: &mut Answers,
    ) -> Result<(), (ErrorCode, Arc<str>)> {
        let member_id: Arc<str> = request.member_id.as_str().into();
        let names: BTreeSet<_> = request
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str())
            .collect();
        if request.protocol_type.is_empty()
            || names.is_empty()
            || !self.may_agree(&request.protocol_type, &names)
        {
            return Err((ErrorCode::InconsistentGroupProtocol, member_id));
        }
        if !member_id.is_empty() {
            if self.promised_ids.remove(&member_id).is_some() {
                self.admit(member_id, request, joining, answers);
                return Ok(());
            }
            self.check_member(&member_id, request.group_instance_id.as_deref())
                .map_err(|error| (error, Arc::clone(&member_id)))?;
            self.rejoin(&member_id, request, joining, answers);
            return Ok(());
        }
        let fresh_id = Arc::clone(&joining.fresh_id);
        match request.group_instance_id.as_deref() {
            Some(instance) => self.admit_static(instance, request, joining, answers),
            None if joining.version >= FIRST_WITH_PROMISED_ID => {
                let lapses = joining.now + millis(request.session_timeout_ms);
                self.promised_ids.insert(Arc::clone(&fresh_id), lapses);
                return Err((ErrorCode::MemberIdRequired, fresh_id));
            }
            None => self.admit(fresh_id, request, joining, answers),
        }
        Ok(())
    }

    /// A static member is known by its name: whoever comes with it takes the place of whoever had it.
    fn admit_static(
        &mut self,
        instance: &str,
        request: &JoinGroupRequest,
        joining: &Joining,
        answers: &mut Answers,
    ) {
        let fresh_id = Arc::clone(&joining.fresh_id);
        let Some(owner) = self.owner_of(instance).cloned() else {
            self.admit(fresh_id, request, joining, answers);
            return;
        };
        let Some(mut member) = self.members.remove(&owner) else {
            return;
        };
        refuse_waiting(&mut member, &owner, ErrorCode::FencedInstanceId, answers);
        self.members.insert(Arc::clone(&fresh_id), member);
        if let Some(agreement) = self
            .agreement
            .as_mut()
            .filter(|agreement| agreement.leader == owner)
        {
            agreement.leader = Arc::clone(&fresh_id);
        }
        self.rejoin(&fresh_id, request, joining, answers);
    }

    fn admit(
        &mut self,
        member_id: Arc<str>,
        request: &JoinGroupRequest,
        joining: &Joining,
        answers: &mut Answers,
    ) {
        let session_timeout = millis(request.session_timeout_ms);
        let member = Member {
            client_id: joining.client_id.clone(),
            instance_id: request.group_instance_id.as_deref().map(Into::into),
            session_timeout,
            // Version 0 has only one time-out for both.
            rebalance_timeout: millis(request.rebalance_timeout_ms).max(session_timeout),
            protocols: protocols(request),
            assignment: Bytes::new(),
            session_ends: joining.now + session_timeout,
            waiting: Waiting::Join(joining.ticket),
        };
        self.note_type(&request.protocol_type, &member_id);
        self.members.insert(member_id, member);
        self.prepare(joining.now, answers);
        self.complete_if_joined(joining.now, answers);
    }

    fn rejoin(
        &mut self,
        member_id: &Arc<str>,
        request: &JoinGroupRequest,
        joining: &Joining,
        answers: &mut Answers,
    ) {
        let is_leader = self
            .agreement
            .as_ref()
            .is_some_and(|agreement| agreement.leader == *member_id);
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        let wanted = protocols(request);
        let is_changed = member.protocols != wanted;
        member.session_ends = joining.now + member.session_timeout;
        let starts_rebalance = match self.phase {
            Phase::Empty | Phase::PreparingRebalance { .. } => true,
            // The answer to the first try may have got lost.
            Phase::CompletingRebalance => is_changed,
            Phase::Stable => is_changed || is_leader,
        };
        if !starts_rebalance {
            answers.push((joining.ticket, self.joined(member_id)));
            return;
        }
        member.protocols = wanted;
        refuse_waiting(member, member_id, ErrorCode::RebalanceInProgress, answers);
        member.waiting = Waiting::Join(joining.ticket);
        self.prepare(joining.now, answers);
        self.complete_if_joined(joining.now, answers);
    }

    /// The first member of an empty group decides about its type.
    fn note_type(&mut self, protocol_type: &str, member_id: &Arc<str>) {
        if self.members.is_empty() {
            self.agreement = Some(Agreement {
                protocol_type: protocol_type.to_owned(),
                protocol: String::new(),
                leader: Arc::clone(member_id),
            });
        }
    }

    /// Starts a rebalance, unless one has started: everybody has to join again.
    pub(super) fn prepare(&mut self, now: Instant, answers: &mut Answers) {
        if matches!(self.phase, Phase::PreparingRebalance { .. }) {
            return;
        }
        for (id, member) in &mut self.members {
            if matches!(member.waiting, Waiting::Sync(_)) {
                refuse_waiting(member, id, ErrorCode::RebalanceInProgress, answers);
                member.session_ends = now + member.session_timeout;
            }
        }
        let patience = self.members.values().map(|member| member.rebalance_timeout).max();
        self.phase = Phase::PreparingRebalance {
            deadline: now + patience.unwrap_or_default(),
        };
    }

    /// Goes on when nobody is missing any more.
    pub(super) fn complete_if_joined(&mut self, now: Instant, answers: &mut Answers) {
        let is_preparing = matches!(self.phase, Phase::PreparingRebalance { .. });
        let has_joined = |member: &Member| matches!(member.waiting, Waiting::Join(_));
        if is_preparing && self.promised_ids.is_empty() && self.members.values().all(has_joined) {
            self.complete(now, answers);
        }
    }

    /// Goes on with those who have joined: a new generation with a protocol and a leader.
    pub(super) fn complete(&mut self, now: Instant, answers: &mut Answers) {
        self.members
            .retain(|_, member| matches!(member.waiting, Waiting::Join(_)));
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if let Some(agreement) = &self.agreement {
            self.protocol_type.clone_from(&agreement.protocol_type);
        }
        let (Some(protocol), Some(agreement)) = (self.elected_protocol(), self.agreement.take()) else {
            self.phase = Phase::Empty;
            self.agreement = None;
            return;
        };
        let first = self.members.keys().next().cloned();
        let leader = Some(agreement.leader)
            .filter(|leader| self.members.contains_key(leader))
            .or(first);
        let Some(leader) = leader else { return };
        self.agreement = Some(Agreement {
            protocol_type: agreement.protocol_type,
            protocol,
            leader,
        });
        self.phase = Phase::CompletingRebalance;
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if let Waiting::Join(ticket) = std::mem::replace(&mut member.waiting, Waiting::Nothing) {
                answers.push((ticket, answer));
            }
            member.assignment = Bytes::new();
            member.session_ends = now + member.session_timeout;
        }
    }

    /// The present generation as a member learns of it; only the leader learns who the others are.
    fn joined(&self, member_id: &Arc<str>) -> GroupAnswer {
        let Some(agreement) = &self.agreement else {
            return refused_join(ErrorCode::UnknownMemberId, member_id);
        };
        let metadata = |member: &Member| {
            let chosen = member
                .protocols
                .iter()
                .find(|(name, _)| *name == agreement.protocol);
            chosen.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
        };
        let everybody = self.members.iter().map(|(id, member)| JoinGroupResponseMember {
            member_id: id.to_string(),
            group_instance_id: member.instance_id.as_deref().map(str::to_owned),
            metadata: metadata(member),
        });
        let members = if agreement.leader == *member_id {
            everybody.collect()
        } else {
            Vec::new()
        };
        GroupAnswer::Join(JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: Some(agreement.protocol_type.clone()),
            protocol_name: Some(agreement.protocol.clone()),
            leader: agreement.leader.to_string(),
            member_id: member_id.to_string(),
            members,
            ..Default::default()
        })
    }
}

/// Answers what the member waits for with an error.
pub(super) fn refuse_waiting(member: &mut Member, id: &Arc<str>, error: ErrorCode, answers: &mut Answers) {
    match std::mem::replace(&mut member.waiting, Waiting::Nothing) {
        Waiting::Nothing => {}
        Waiting::Join(ticket) => answers.push((ticket, refused_join(error, id))),
        Waiting::Sync(ticket) => answers.push((ticket, refused_sync(error))),
    }
}

/// A JoinGroup that failed.
pub(super) fn refused_join(error_code: ErrorCode, member_id: &str) -> GroupAnswer {
    GroupAnswer::Join(JoinGroupResponse {
        error_code,
        protocol_name: None,
        member_id: member_id.to_owned(),
        ..Default::default()
    })
}

/// A SyncGroup that failed.
pub(super) fn refused_sync(error_code: ErrorCode) -> GroupAnswer {
    GroupAnswer::Sync(SyncGroupResponse {
        error_code,
        ..Default::default()
    })
}

fn protocols(request: &JoinGroupRequest) -> Vec<(String, Bytes)> {
    let supported = request.protocols.iter();
    supported
        .map(|protocol| (protocol.name.clone(), protocol.metadata.clone()))
        .collect()
}

fn millis(wire: i32) -> Duration {
    Duration::from_millis(u64::try_from(wire).unwrap_or(0))
}
