//! What can be seen of groups: DescribeGroups and ListGroups. Changes nothing.

use std::collections::BTreeMap;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribeGroupsResponseGroup, DescribeGroupsResponseMember,
    ListGroupsRequest, ListGroupsResponse, ListGroupsResponseGroup,
};

use super::GroupCoordinator;
use super::membership::{Group, Member, Phase};
use crate::coordinator::interface::{Call, CoordinatorKind};

/// The first version of DescribeGroups that says GROUP_ID_NOT_FOUND.
const FIRST_WITH_NOT_FOUND: i16 = 6;
/// How often one answer describes the same group with its members.
const MOST_DESCRIPTIONS: u32 = 8;
/// One bit for each operation on a group, all allowed: Read, Delete, Describe, DescribeConfigs, AlterConfigs.
const GROUP_OPERATIONS: i32 = 3400;
/// Every member runs on this machine.
const CLIENT_HOST: &str = "/127.0.0.1";
/// The state of a group that does not exist.
const DEAD: &str = "Dead";
/// The type of every group that this coordinator knows.
const CLASSIC: &str = "classic";

impl GroupCoordinator {
    pub(in crate::coordinator) fn describe_groups(
        &self,
        request: &DescribeGroupsRequest,
        call: &Call<'_>,
    ) -> DescribeGroupsResponse {
        let mut described = BTreeMap::new();
        let groups = request.groups.iter().map(|id| {
            let description = self.description(id, call, &mut described);
            let is_told = request.include_authorized_operations && description.error_code == ErrorCode::None;
            DescribeGroupsResponseGroup {
                group_id: id.clone(),
                authorized_operations: if is_told { GROUP_OPERATIONS } else { i32::MIN },
                ..description
            }
        });
        DescribeGroupsResponse {
            throttle_time_ms: 0,
            groups: groups.collect(),
        }
    }

    /// A group that is named again and again is described in full a few times only: no request makes its answer much larger than all groups
    /// together.
    fn description<'r>(
        &self,
        id: &'r str,
        call: &Call<'_>,
        described_before: &mut BTreeMap<&'r str, u32>,
    ) -> DescribeGroupsResponseGroup {
        let shard = call
            .cluster
            .coordinator_shard(CoordinatorKind::Group, id, call.node);
        if let Err(error_code) = shard {
            return DescribeGroupsResponseGroup {
                error_code,
                ..Default::default()
            };
        }
        match self.groups.get(id) {
            Some(group) => {
                let times = described_before.entry(id).or_default();
                *times += 1;
                if *times <= MOST_DESCRIPTIONS {
                    described(group)
                } else {
                    DescribeGroupsResponseGroup {
                        group_state: group.phase.text().to_owned(),
                        ..Default::default()
                    }
                }
            }
            None => DescribeGroupsResponseGroup {
                error_code: if call.version >= FIRST_WITH_NOT_FOUND {
                    ErrorCode::GroupIdNotFound
                } else {
                    ErrorCode::None
                },
                error_message: (call.version >= FIRST_WITH_NOT_FOUND)
                    .then(|| ErrorCode::GroupIdNotFound.text().to_owned()),
                group_state: DEAD.to_owned(),
                ..Default::default()
            },
        }
    }

    pub(in crate::coordinator) fn list_groups(
        &self,
        request: &ListGroupsRequest,
        call: &Call<'_>,
    ) -> ListGroupsResponse {
        let is_wanted = |wanted: &[String], value: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let own = self.groups.iter().filter(|(id, group)| {
            let shard = call
                .cluster
                .coordinator_shard(CoordinatorKind::Group, id, call.node);
            shard.is_ok()
                && is_wanted(&request.states_filter, group.phase.text())
                && is_wanted(&request.types_filter, CLASSIC)
        });
        let listed = own.map(|(id, group)| ListGroupsResponseGroup {
            group_id: id.to_string(),
            protocol_type: group.protocol_type.clone(),
            group_state: group.phase.text().to_owned(),
            group_type: CLASSIC.to_owned(),
        });
        ListGroupsResponse {
            groups: listed.collect(),
            ..Default::default()
        }
    }
}

impl Phase {
    fn text(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::PreparingRebalance { .. } => "PreparingRebalance",
            Phase::CompletingRebalance => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }
}

/// The protocol, its metadata and the assignments are shown once the members have agreed.
fn described(group: &Group) -> DescribeGroupsResponseGroup {
    let protocol = match (group.phase, &group.agreement) {
        (Phase::Stable, Some(agreement)) => agreement.protocol.clone(),
        _ => String::new(),
    };
    let members = group
        .members
        .iter()
        .map(|(id, member)| DescribeGroupsResponseMember {
            member_id: id.to_string(),
            group_instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.clone(),
            client_host: CLIENT_HOST.to_owned(),
            member_metadata: metadata(member, &protocol),
            member_assignment: member.assignment.clone(),
        });
    DescribeGroupsResponseGroup {
        group_state: group.phase.text().to_owned(),
        protocol_type: group.protocol_type.clone(),
        members: members.collect(),
        protocol_data: protocol.clone(),
        ..Default::default()
    }
}

fn metadata(member: &Member, protocol: &str) -> bytes::Bytes {
    let chosen = member.protocols.iter().find(|(name, _)| name == protocol);
    chosen.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
}
