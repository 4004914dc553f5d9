//! Groups of the classic protocol: joining, assignments, heartbeats, leaving. And commits of their members.

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_tests::compare::Actor;

scripts! { at [2, 3.9]:
    /// The first steps, right ones and wrong ones, in every version.
    joining_a_group;
    /// What a member may do, and what nobody else may.
    members;
    /// Static members have a name of their own.
    static_members;
    /// What administrators see of groups.
    groups_described;
}

fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 1000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            // A subscription of version 0 to nothing.
            metadata: Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        }],
        ..Default::default()
    }
}

fn sync(group: &str, generation_id: i32, member: &str, assigned: Option<&'static [u8]>) -> SyncGroupRequest {
    let assignments = assigned.map(|assignment| SyncGroupRequestAssignment {
        member_id: member.to_owned(),
        assignment: Bytes::from_static(assignment),
    });
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member.to_owned(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments.into_iter().collect(),
        ..Default::default()
    }
}

pub(super) fn heartbeat(group: &str, generation_id: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member.to_owned(),
        group_instance_id: None,
    }
}

fn leave(group: &str, member: &str) -> LeaveGroupRequest {
    LeaveGroupRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        members: vec![LeaveGroupRequestMember {
            member_id: member.to_owned(),
            ..Default::default()
        }],
    }
}

async fn joined(
    actor: &mut Actor,
    label: &str,
    version: i16,
    request: &JoinGroupRequest,
) -> JoinGroupResponse {
    let response = actor.ask(label, version, request).await;
    response.unwrap_or_else(|| panic!("{actor:?}"))
}

/// A member of a new group, alone in it and assigned. Its answers are written down.
pub(super) async fn alone(actor: &mut Actor, group: &str, version: i16) -> (String, i32) {
    let mut joined = joined(actor, "joins", version, &join(group, "")).await;
    if joined.error_code == ErrorCode::MemberIdRequired {
        joined = self::joined(actor, "joins by name", version, &join(group, &joined.member_id)).await;
    }
    let sync = sync(
        group,
        joined.generation_id,
        &joined.member_id,
        Some(b"everything"),
    );
    actor.ask("is assigned", 5, &sync).await;
    (joined.member_id, joined.generation_id)
}

async fn joining_a_group(actor: &mut Actor) {
    for version in 0..=9 {
        let group = actor.name(format_args!("group-{version}"));
        for (label, request) in [
            ("an empty group", join("", "")),
            ("an unknown member", join(&group, "somebody")),
            (
                "no protocols",
                JoinGroupRequest {
                    protocols: Vec::new(),
                    ..join(&group, "")
                },
            ),
            (
                "no protocol type",
                JoinGroupRequest {
                    protocol_type: String::new(),
                    ..join(&group, "")
                },
            ),
            (
                "a short session",
                JoinGroupRequest {
                    session_timeout_ms: 10,
                    ..join(&group, "")
                },
            ),
            (
                "a long session",
                JoinGroupRequest {
                    session_timeout_ms: 1_800_001,
                    ..join(&group, "")
                },
            ),
        ] {
            actor.ask(label, version, &request).await;
        }
        let (member, generation) = alone(actor, &group, version).await;
        actor
            .ask(
                "another type",
                version,
                &JoinGroupRequest {
                    protocol_type: "connect".to_owned(),
                    ..join(&group, &member)
                },
            )
            .await;
        let mut other = join(&group, &member);
        other.protocols[0].name = "other".to_owned();
        actor
            .ask("an unknown member again", version, &join(&group, "somebody"))
            .await;
        actor
            .ask("heartbeat", 4, &heartbeat(&group, generation, &member))
            .await;
        actor.ask("joins again", version, &join(&group, &member)).await;
        actor.ask("joins otherwise", version, &other).await;
        actor.ask("leaves", version.min(5), &leave(&group, &member)).await;
        actor
            .ask("leaves again", version.min(5), &leave(&group, &member))
            .await;
        actor
            .ask("heartbeat of nobody", 4, &heartbeat(&group, generation, &member))
            .await;
    }
}

async fn members(actor: &mut Actor) {
    let nobody = actor.name("nobody");
    for version in 0..=5 {
        let group = actor.name(format_args!("group-{version}"));
        let (member, generation) = alone(actor, &group, 7).await;
        for (label, group, generation, member) in [
            ("right", &group, generation, member.as_str()),
            ("an older generation", &group, generation - 1, &member),
            ("a newer generation", &group, generation + 1, &member),
            ("another member", &group, generation, "somebody"),
            ("no member", &group, generation, ""),
            ("another group", &nobody, generation, &member),
            ("an empty group", &String::new(), generation, &member),
        ] {
            actor
                .ask(
                    format_args!("{label}: sync"),
                    version,
                    &sync(group, generation, member, None),
                )
                .await;
            actor
                .ask(
                    format_args!("{label}: heartbeat"),
                    version.min(4),
                    &heartbeat(group, generation, member),
                )
                .await;
            let commit = OffsetCommitRequest {
                group_id: group.clone(),
                generation_id_or_member_epoch: generation,
                member_id: member.to_owned(),
                ..Default::default()
            };
            actor
                .ask(format_args!("{label}: commit"), version + 3, &commit)
                .await;
        }
        let mut wrong = sync(&group, generation, &member, None);
        wrong.protocol_type = Some("connect".to_owned());
        actor.ask("another type", version, &wrong).await;
        let mut wrong = sync(&group, generation, &member, None);
        wrong.protocol_name = Some("other".to_owned());
        actor.ask("another protocol", version, &wrong).await;
        for (label, group, member) in [
            ("another member", &group, "somebody"),
            ("another group", &nobody, member.as_str()),
            ("an empty group", &String::new(), &member),
            ("right", &group, &member),
        ] {
            actor
                .ask(format_args!("{label}: leave"), version, &leave(group, member))
                .await;
        }
        actor
            .ask(
                "sync of nobody",
                version,
                &sync(&group, generation, &member, None),
            )
            .await;
    }
}

async fn static_members(actor: &mut Actor) {
    for version in [5, 7, 9] {
        let group = actor.name(format_args!("group-{version}"));
        let of = |member: &str| JoinGroupRequest {
            group_instance_id: Some("instance".to_owned()),
            ..join(&group, member)
        };
        let first = joined(actor, "joins", version, &of("")).await;
        actor
            .ask(
                "is assigned",
                5,
                &sync(&group, first.generation_id, &first.member_id, Some(b"all")),
            )
            .await;
        for member in [first.member_id.as_str(), "somebody"] {
            for instance in ["instance", "other"] {
                let request = HeartbeatRequest {
                    group_instance_id: Some(instance.to_owned()),
                    ..heartbeat(&group, first.generation_id, member)
                };
                actor
                    .ask(format_args!("heartbeat of {instance}"), 4, &request)
                    .await;
                let mut request = sync(&group, first.generation_id, member, None);
                request.group_instance_id = Some(instance.to_owned());
                actor.ask(format_args!("sync of {instance}"), 5, &request).await;
            }
        }
        for instance in ["other", "instance", "instance"] {
            let request = LeaveGroupRequest {
                group_id: group.clone(),
                members: vec![LeaveGroupRequestMember {
                    group_instance_id: Some(instance.to_owned()),
                    ..Default::default()
                }],
                ..Default::default()
            };
            actor.ask(format_args!("{instance} leaves"), 5, &request).await;
        }
    }
}

async fn groups_described(actor: &mut Actor) {
    let [stable, empty, nobody] = ["stable", "empty", "nobody"].map(|name| actor.name(name));
    alone(actor, &stable, 7).await;
    let (member, _) = alone(actor, &empty, 7).await;
    actor.ask("leaves", 3, &leave(&empty, &member)).await;
    for version in 0..=6 {
        for include_authorized_operations in [false, true] {
            let request = DescribeGroupsRequest {
                groups: vec![stable.clone(), empty.clone(), nobody.clone(), String::new()],
                include_authorized_operations,
            };
            actor.ask("described", version, &request).await;
        }
    }
    for version in 0..=5 {
        for filter in [None, Some("Stable"), Some("Empty"), Some("Nonsense")] {
            let request = ListGroupsRequest {
                states_filter: filter.into_iter().map(str::to_owned).collect(),
                ..Default::default()
            };
            actor
                .ask(format_args!("listed by {filter:?}"), version, &request)
                .await;
        }
    }
}
