//! The classic group protocol, and what a group with members says to transactional commits (B-118).

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupRequestMember, OffsetCommitRequest, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic, SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kommit_protocol::units::NodeId;

use crate::coordinator::interface::TransactionVersion::V2;
use crate::coordinator::testing::World;
use crate::coordinator::{GroupAnswer, Ticket};

/// The session timeout of all members, in milliseconds; a rebalance waits twice as long.
const SESSION: i32 = 10_000;

/// A world, and who waits for what.
struct Group {
    world: World,
    tickets: u64,
}

impl Group {
    fn new() -> Self {
        let mut world = World::new(V2);
        world.pass(0);
        Self { world, tickets: 0 }
    }

    fn join(&mut self, version: i16, request: &JoinGroupRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let call = self.world.cluster.call(version, self.world.now);
        self.world.coordinators.join_group(request, &call, ticket);
        ticket
    }

    fn sync(&mut self, request: &SyncGroupRequest) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let call = self.world.cluster.call(5, self.world.now);
        self.world.coordinators.sync_group(request, &call, ticket);
        ticket
    }

    /// The only answer that is due, which must be to this JoinGroup.
    fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        let mut answers = self.joins();
        assert_eq!(answers.len(), 1, "one answer is due");
        let (to, response) = answers.remove(0);
        assert_eq!(to, ticket);
        response
    }

    fn joins(&mut self) -> Vec<(Ticket, JoinGroupResponse)> {
        let answers = self.world.coordinators.take_group_answers().into_iter();
        answers
            .map(|(ticket, answer)| match answer {
                GroupAnswer::Join(response) => (ticket, response),
                GroupAnswer::Sync(response) => panic!("not a join: {response:?}"),
            })
            .collect()
    }

    fn syncs(&mut self) -> Vec<(Ticket, SyncGroupResponse)> {
        let answers = self.world.coordinators.take_group_answers().into_iter();
        answers
            .map(|(ticket, answer)| match answer {
                GroupAnswer::Sync(response) => (ticket, response),
                GroupAnswer::Join(response) => panic!("not a sync: {response:?}"),
            })
            .collect()
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "readers".to_owned(),
            generation_id: generation,
            member_id: member.to_owned(),
            group_instance_id: None,
        };
        let call = self.world.cluster.call(4, self.world.now);
        self.world.coordinators.heartbeat(&request, &call).error_code
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> ErrorCode {
        let leaving = LeaveGroupRequestMember {
            member_id: member.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            reason: None,
        };
        let request = LeaveGroupRequest {
            group_id: "readers".to_owned(),
            members: vec![leaving],
            ..Default::default()
        };
        let call = self.world.cluster.call(5, self.world.now);
        self.world.coordinators.leave_group(&request, &call).members[0].error_code
    }

    /// A group of one member with its assignment; returns the member's id.
    fn with_one_member() -> (Self, String) {
        let mut group = Self::new();
        let ticket = group.join(3, &joining(""));
        let first = group.joined(ticket).member_id;
        group.sync(&assigning(&first, 1, &[(&first, "all")]));
        assert_eq!(group.syncs()[0].1.error_code, ErrorCode::None);
        (group, first)
    }
}

fn joining(member: &str) -> JoinGroupRequest {
    joining_with(member, &["range"])
}

fn joining_with(member: &str, protocols: &[&str]) -> JoinGroupRequest {
    let protocol = |name: &&str| JoinGroupRequestProtocol {
        name: (*name).to_owned(),
        metadata: Bytes::from_static(b"topics"),
    };
    JoinGroupRequest {
        group_id: "readers".to_owned(),
        session_timeout_ms: SESSION,
        rebalance_timeout_ms: 2 * SESSION,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: protocols.iter().map(protocol).collect(),
        ..Default::default()
    }
}

fn assigning(member: &str, generation: i32, assignments: &[(&str, &'static str)]) -> SyncGroupRequest {
    let assignment = |(member, text): &(&str, &'static str)| SyncGroupRequestAssignment {
        member_id: (*member).to_owned(),
        assignment: Bytes::from_static(text.as_bytes()),
    };
    SyncGroupRequest {
        group_id: "readers".to_owned(),
        generation_id: generation,
        member_id: member.to_owned(),
        assignments: assignments.iter().map(assignment).collect(),
        ..Default::default()
    }
}

/// KIP-394: a member asks for an id first, and joins with it.
#[test]
fn a_member_joins_with_the_id_it_was_promised() {
    let mut group = Group::new();
    let ticket = group.join(4, &joining(""));
    let promised = group.joined(ticket);
    assert_eq!(promised.error_code, ErrorCode::MemberIdRequired);
    let ticket = group.join(4, &joining(&promised.member_id));
    let joined = group.joined(ticket);
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
    assert_eq!(
        (&joined.leader, &joined.member_id),
        (&promised.member_id, &promised.member_id)
    );
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
}

/// A second member starts a rebalance; it ends when the first has joined again, and the leader's assignment reaches both.
#[test]
fn a_second_member_shares_the_work() {
    let (mut group, first) = Group::with_one_member();
    let waiting = group.join(3, &joining(""));
    assert!(group.joins().is_empty(), "the first member has not joined again");
    assert_eq!(group.heartbeat(&first, 1), ErrorCode::RebalanceInProgress);
    group.join(3, &joining(&first));
    let answers = group.joins();
    let (leader, follower): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(ticket, _)| *ticket != waiting);
    let (leader, follower) = (&leader[0].1, &follower[0].1);
    assert_eq!((leader.generation_id, leader.members.len()), (2, 2));
    assert_eq!((&leader.leader, &follower.leader), (&first, &first));
    assert!(follower.members.is_empty());

    let second = follower.member_id.clone();
    let early = group.sync(&assigning(&second, 2, &[]));
    assert!(group.syncs().is_empty(), "the leader has not assigned");
    group.sync(&assigning(&first, 2, &[(&first, "left"), (&second, "right")]));
    let syncs = group.syncs();
    let given = |wanted: Ticket| {
        syncs
            .iter()
            .find(|(ticket, _)| *ticket == wanted)
            .map(|(_, answer)| answer)
    };
    assert_eq!(syncs.len(), 2);
    assert_eq!(
        given(early).expect("answered").assignment,
        Bytes::from_static(b"right")
    );
    assert_eq!(group.heartbeat(&second, 2), ErrorCode::None);
}

/// Whoever is not a member, or of another generation, is told so.
#[test]
fn strangers_and_late_comers_are_told_apart() {
    let (mut group, first) = Group::with_one_member();
    assert_eq!(group.heartbeat("stranger", 1), ErrorCode::UnknownMemberId);
    assert_eq!(group.heartbeat(&first, 0), ErrorCode::IllegalGeneration);
    group.sync(&assigning(&first, 0, &[]));
    assert_eq!(group.syncs()[0].1.error_code, ErrorCode::IllegalGeneration);
    let ticket = group.join(5, &joining("stranger"));
    assert_eq!(group.joined(ticket).error_code, ErrorCode::UnknownMemberId);
    assert_eq!(group.leave("stranger", None), ErrorCode::UnknownMemberId);
}

/// A request that no group would take is refused before a group is looked at.
#[test]
fn a_hopeless_join_is_refused() {
    let (mut group, _) = Group::with_one_member();
    let refused = |group: &mut Group, request: &JoinGroupRequest| {
        let ticket = group.join(3, request);
        group.joined(ticket).error_code
    };
    let nameless = JoinGroupRequest {
        group_id: String::new(),
        ..joining("")
    };
    assert_eq!(refused(&mut group, &nameless), ErrorCode::InvalidGroupId);
    let hasty = JoinGroupRequest {
        session_timeout_ms: 5_999,
        ..joining("")
    };
    assert_eq!(refused(&mut group, &hasty), ErrorCode::InvalidSessionTimeout);
    let foreign = joining_with("", &["sticky"]);
    assert_eq!(
        refused(&mut group, &foreign),
        ErrorCode::InconsistentGroupProtocol
    );
    let other_type = JoinGroupRequest {
        protocol_type: "connect".to_owned(),
        ..joining("")
    };
    assert_eq!(
        refused(&mut group, &other_type),
        ErrorCode::InconsistentGroupProtocol
    );
    group.world.cluster.called = NodeId(2);
    assert_eq!(refused(&mut group, &joining("")), ErrorCode::NotCoordinator);
}

/// A member that is silent for its session is gone; one that beats stays.
#[test]
fn a_silent_member_is_gone() {
    let (mut group, first) = Group::with_one_member();
    group.world.pass(9_999);
    assert_eq!(group.heartbeat(&first, 1), ErrorCode::None);
    group.world.pass(9_999);
    assert_eq!(group.heartbeat(&first, 1), ErrorCode::None);
    group.world.pass(10_000);
    assert_eq!(group.heartbeat(&first, 1), ErrorCode::UnknownMemberId);
}

/// A rebalance goes on without a member that beats but does not join again.
#[test]
fn a_rebalance_does_not_wait_for_ever() {
    let (mut group, first) = Group::with_one_member();
    let waiting = group.join(3, &joining(""));
    // The rebalance waits for 20 s; the first member shows up every 8 s, without joining.
    for _ in 0..2 {
        group.world.pass(8_000);
        assert_eq!(group.heartbeat(&first, 1), ErrorCode::RebalanceInProgress);
    }
    assert!(group.joins().is_empty());
    group.world.pass(4_000);
    let joined = group.joined(waiting);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
    assert_eq!(group.heartbeat(&first, 1), ErrorCode::UnknownMemberId);
}

/// The last member to leave leaves an empty group, which lets simple commits in again.
#[test]
fn an_empty_group_is_a_simple_group_again() {
    let (mut group, first) = Group::with_one_member();
    assert_eq!(commit(&mut group, "", -1), ErrorCode::UnknownMemberId);
    assert_eq!(group.leave(&first, None), ErrorCode::None);
    assert_eq!(commit(&mut group, "", -1), ErrorCode::None);
}

/// KIP-345: whoever comes with the name of a static member takes its place, and the old one is fenced.
#[test]
fn a_static_member_is_replaced_by_its_name() {
    let mut group = Group::new();
    let named = |member: &str| JoinGroupRequest {
        group_instance_id: Some("one".to_owned()),
        ..joining(member)
    };
    let ticket = group.join(5, &named(""));
    let old = group.joined(ticket).member_id;
    let ticket = group.join(5, &named(""));
    let new = group.joined(ticket).member_id;
    assert_ne!(old, new);
    let ticket = group.join(5, &named(&old));
    assert_eq!(group.joined(ticket).error_code, ErrorCode::FencedInstanceId);
    assert_eq!(group.leave(&old, Some("one")), ErrorCode::FencedInstanceId);
    assert_eq!(group.leave("", Some("one")), ErrorCode::None);
}

/// The protocol is one that all support, and of these the one that most prefer.
#[test]
fn the_members_elect_a_protocol_that_all_support() {
    let mut group = Group::new();
    let ticket = group.join(3, &joining_with("", &["sticky", "range", "round"]));
    let first = group.joined(ticket).member_id;
    group.join(3, &joining_with("", &["round", "range"]));
    group.join(3, &joining_with("", &["round", "range"]));
    group.join(3, &joining_with(&first, &["sticky", "range", "round"]));
    let names: Vec<_> = group
        .joins()
        .into_iter()
        .map(|(_, answer)| answer.protocol_name)
        .collect();
    assert_eq!(
        names,
        [
            Some("round".to_owned()),
            Some("round".to_owned()),
            Some("round".to_owned())
        ]
    );
}

fn commit(group: &mut Group, member: &str, generation: i32) -> ErrorCode {
    let request = OffsetCommitRequest {
        group_id: "readers".to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: "orders".to_owned(),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let call = group.world.cluster.call(9, group.world.now);
    group.world.coordinators.offset_commit(&request, &call).topics[0].partitions[0].error_code
}

/// B-118: what a live group says to a transactional commit, beside what it says to a plain one.
#[test]
fn a_live_group_checks_who_commits() {
    let (mut group, first) = Group::with_one_member();
    let producer = group.world.init("t").expect("new");
    let mut transactional = |member: &str, generation: i32, instance: Option<&str>| {
        let request = TxnOffsetCommitRequest {
            transactional_id: "t".to_owned(),
            group_id: "readers".to_owned(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            generation_id: generation,
            member_id: member.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "orders".to_owned(),
                partitions: vec![TxnOffsetCommitRequestPartition::default()],
            }],
        };
        let call = group.world.cluster.call(5, group.world.now);
        group.world.coordinators.txn_offset_commit(&request, &call).topics[0].partitions[0].error_code
    };
    assert_eq!(transactional("", -1, None), ErrorCode::None);
    assert_eq!(transactional(&first, -1, None), ErrorCode::IllegalGeneration);
    assert_eq!(transactional("", -1, Some("one")), ErrorCode::UnknownMemberId);
    assert_eq!(transactional("stranger", 1, None), ErrorCode::UnknownMemberId);
    assert_eq!(transactional(&first, 2, None), ErrorCode::IllegalGeneration);
    assert_eq!(transactional(&first, 1, None), ErrorCode::None);

    assert_eq!(commit(&mut group, "", -1), ErrorCode::UnknownMemberId);
    assert_eq!(commit(&mut group, &first, 1), ErrorCode::None);
    group.join(3, &joining(""));
    group.join(3, &joining(&first));
    group.joins();
    assert_eq!(
        commit(&mut group, &first, 2),
        ErrorCode::RebalanceInProgress,
        "the leader owes the assignment"
    );
}

/// A group that is named a thousand times in one request is described with its members a few times: the answer does not grow with both.
#[test]
fn a_group_is_described_a_few_times() {
    let (mut group, first) = Group::with_one_member();
    let request = DescribeGroupsRequest {
        groups: vec!["readers".to_owned(); 1000],
        ..Default::default()
    };
    let call = group.world.cluster.call(5, group.world.now);
    let described = group.world.coordinators.describe_groups(&request, &call).groups;
    for in_full in &described[..8] {
        assert_eq!(in_full.members[0].member_id, first);
    }
    for again in &described[8..] {
        assert_eq!(
            (again.group_id.as_str(), again.group_state.as_str()),
            ("readers", "Stable")
        );
        assert_eq!((again.members.len(), again.protocol_type.len()), (0, 0));
    }
    assert_eq!(described.len(), 1000);
}
