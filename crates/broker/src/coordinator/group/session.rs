//! What members do between rebalances: SyncGroup, Heartbeat, LeaveGroup, and being silent for too long (the classic protocol).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kommit_protocol::time::Instant;

use super::membership::{Answers, Committer, Group, GroupAnswer, Phase, Ticket, Waiting};
use super::rebalance::{refuse_waiting, refused_sync};

impl Group {
    /// Hands out assignments: the leader's request brings them, everybody else waits for it.
    pub(super) fn sync(
        &mut self,
        request: &SyncGroupRequest,
        ticket: Ticket,
        now: Instant,
        answers: &mut Answers,
    ) {
        if let Err(error) = self.check_sync(request) {
            answers.push((ticket, refused_sync(error)));
            return;
        }
        self.keep_alive(&request.member_id, now);
        let Some((id, _)) = self.members.get_key_value(request.member_id.as_str()) else {
            return;
        };
        let id = Arc::clone(id);
        if let Some(member) = self.members.get_mut(&id) {
            refuse_waiting(member, &id, ErrorCode::RebalanceInProgress, answers);
            member.waiting = Waiting::Sync(ticket);
        }
        let is_leader = self
            .agreement
            .as_ref()
            .is_some_and(|agreement| agreement.leader == id);
        if self.phase == Phase::CompletingRebalance && is_leader {
            self.assign(request);
        }
        if self.phase == Phase::Stable {
            self.answer_syncs(now, answers);
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_generation(Committer {
            generation: request.generation_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
        })?;
        let agreement = self.agreement.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        let differs =
            |named: &Option<String>, agreed: &str| named.as_deref().is_some_and(|named| named != agreed);
        if differs(&request.protocol_type, &agreement.protocol_type)
            || differs(&request.protocol_name, &agreement.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.phase {
            Phase::Empty => Err(ErrorCode::UnknownMemberId),
            Phase::PreparingRebalance { .. } => Err(ErrorCode::RebalanceInProgress),
            Phase::CompletingRebalance | Phase::Stable => Ok(()),
        }
    }

    fn assign(&mut self, request: &SyncGroupRequest) {
        let assigned = request
            .assignments
            .iter()
            .map(|given| (given.member_id.as_str(), &given.assignment));
        let assigned: BTreeMap<&str, &Bytes> = assigned.collect();
        for (id, member) in &mut self.members {
            member.assignment = assigned
                .get(&**id)
                .map(|given| (*given).clone())
                .unwrap_or_default();
        }
        self.phase = Phase::Stable;
    }

    fn answer_syncs(&mut self, now: Instant, answers: &mut Answers) {
        let Some(agreement) = &self.agreement else { return };
        for member in self.members.values_mut() {
            let Waiting::Sync(ticket) = member.waiting else {
                continue;
            };
            member.waiting = Waiting::Nothing;
            member.session_ends = now + member.session_timeout;
            let response = SyncGroupResponse {
                protocol_type: Some(agreement.protocol_type.clone()),
                protocol_name: Some(agreement.protocol.clone()),
                assignment: member.assignment.clone(),
                ..Default::default()
            };
            answers.push((ticket, GroupAnswer::Sync(response)));
        }
    }

    /// A sign of life, answered with whether the member has to join again.
    pub(super) fn heartbeat(&mut self, member: Committer<'_>, now: Instant) -> Result<(), ErrorCode> {
        self.check_generation(member)?;
        self.keep_alive(member.member_id, now);
        match self.phase {
            Phase::Empty => Err(ErrorCode::UnknownMemberId),
            Phase::PreparingRebalance { .. } => Err(ErrorCode::RebalanceInProgress),
            Phase::CompletingRebalance | Phase::Stable => Ok(()),
        }
    }

    /// A member goes, by its id or by its static name.
    pub(super) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now: Instant,
        answers: &mut Answers,
    ) -> Result<(), ErrorCode> {
        if self.promised_ids.remove(member_id).is_some() {
            self.complete_if_joined(now, answers);
            return Ok(());
        }
        let by_name_only = member_id.is_empty().then_some(instance_id).flatten();
        let id = match by_name_only {
            Some(instance) => self
                .owner_of(instance)
                .cloned()
                .ok_or(ErrorCode::UnknownMemberId)?,
            None => {
                self.check_member(member_id, instance_id)?;
                member_id.into()
            }
        };
        self.remove(&id, now, answers);
        Ok(())
    }

    fn remove(&mut self, id: &Arc<str>, now: Instant, answers: &mut Answers) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        refuse_waiting(&mut member, id, ErrorCode::UnknownMemberId, answers);
        self.prepare(now, answers);
        self.complete_if_joined(now, answers);
    }

    /// Does what time has made due, and says when to look again.
    pub(super) fn turn(&mut self, now: Instant, answers: &mut Answers) -> Instant {
        self.promised_ids.retain(|_, lapses| *lapses > now);
        let silent = self
            .members
            .iter()
            .filter(|(_, member)| member.waiting == Waiting::Nothing && member.session_ends <= now);
        let silent: Vec<_> = silent.map(|(id, _)| Arc::clone(id)).collect();
        for id in silent {
            self.remove(&id, now, answers);
        }
        match self.phase {
            Phase::PreparingRebalance { deadline } if deadline <= now => self.complete(now, answers),
            Phase::PreparingRebalance { .. } => self.complete_if_joined(now, answers),
            Phase::Empty | Phase::CompletingRebalance | Phase::Stable => {}
        }
        self.deadline()
    }

    fn deadline(&self) -> Instant {
        let sessions = self
            .members
            .values()
            .filter(|member| member.waiting == Waiting::Nothing);
        let sessions = sessions.map(|member| member.session_ends);
        let rebalance = match self.phase {
            Phase::PreparingRebalance { deadline } => Some(deadline),
            Phase::Empty | Phase::CompletingRebalance | Phase::Stable => None,
        };
        let promised = self.promised_ids.values().copied();
        sessions
            .chain(promised)
            .chain(rebalance)
            .min()
            .unwrap_or(Instant::NEVER)
    }
}
