//! The same for the requests of consumers and administrators, each in its lowest and its highest version.

use bytes::Bytes;
use kommit_protocol::api::Request;
use kommit_protocol::messages::*;
use kommit_protocol::units::PartitionId;
use kommit_tests::compare::Actor;
use kommit_tests::compare::requests::Topic;

use super::malformed::{change, cut};

scripts! { at [2]:
    /// B-12: questions, cut.
    cut_questions;
    /// B-12: questions with changed bytes, and bytes behind their end.
    changed_questions;
    /// B-12: requests of groups, cut.
    cut_group_requests;
}

/// Requests as bytes, with a label each.
struct Requests<'a> {
    actor: &'a Actor,
    list: Vec<(String, Vec<u8>)>,
}

impl Requests<'_> {
    fn add<R: Request>(&mut self, versions: &[i16], request: &R) {
        for version in versions {
            let label = format!("{} v{version}", R::KEY.name());
            self.list.push((label, self.actor.encoded(*version, request)));
        }
    }
}

/// Requests that change nothing.
fn questions(actor: &Actor, topic: &Topic) -> Vec<(String, Vec<u8>)> {
    let list = Vec::new();
    let mut requests = Requests { actor, list };
    let name = topic.name.clone();
    let nobody = actor.name("nobody");
    let of = ListOffsetsRequestTopic {
        name: name.clone(),
        partitions: vec![ListOffsetsRequestPartition {
            timestamp: -1,
            ..Default::default()
        }],
    };
    let latest = ListOffsetsRequest {
        topics: vec![of],
        ..Default::default()
    };
    requests.add(&[1, 5, 6, 11], &latest);
    let lookup = FindCoordinatorRequest {
        key: nobody.clone(),
        coordinator_keys: vec![nobody.clone()],
        ..Default::default()
    };
    requests.add(&[0, 1, 3, 4, 6], &lookup);
    requests.add(&[0, 2, 3, 4], &ApiVersionsRequest::default());
    let groups = DescribeGroupsRequest {
        groups: vec![nobody.clone()],
        ..Default::default()
    };
    requests.add(&[0, 3, 5, 6], &groups);
    requests.add(&[0, 3, 4, 5], &ListGroupsRequest::default());
    let resource = DescribeConfigsRequestResource {
        resource_type: 2,
        resource_name: nobody.clone(),
        configuration_keys: None,
    };
    let configs = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    requests.add(&[1, 3, 4], &configs);
    requests.add(&[0, 1, 2], &DescribeClusterRequest::default());
    let producers = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name,
            partition_indexes: vec![PartitionId(0)],
        }],
    };
    requests.add(&[0], &producers);
    let transactions = DescribeTransactionsRequest {
        transactional_ids: vec![nobody.clone()],
    };
    requests.add(&[0], &transactions);
    let listed = ListTransactionsRequest {
        state_filters: vec!["Ongoing".to_owned()],
        ..Default::default()
    };
    requests.add(&[0, 1, 2], &listed);
    requests.list
}

/// Requests of groups that nobody is in.
fn group_requests(actor: &Actor, topic: &Topic) -> Vec<(String, Vec<u8>)> {
    let list = Vec::new();
    let mut requests = Requests { actor, list };
    let group_id = actor.name("group");
    let member_id = "somebody".to_owned();
    let join = JoinGroupRequest {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
        session_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"metadata"),
        }],
        ..Default::default()
    };
    requests.add(&[0, 5, 6, 9], &join);
    let sync = SyncGroupRequest {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
        ..Default::default()
    };
    requests.add(&[0, 3, 4, 5], &sync);
    let heartbeat = HeartbeatRequest {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
        ..Default::default()
    };
    requests.add(&[0, 3, 4], &heartbeat);
    let leave = LeaveGroupRequest {
        group_id: group_id.clone(),
        member_id: member_id.clone(),
        members: vec![LeaveGroupRequestMember {
            member_id,
            ..Default::default()
        }],
    };
    requests.add(&[0, 3, 4, 5], &leave);
    let commit = OffsetCommitRequest {
        group_id: group_id.clone(),
        generation_id_or_member_epoch: 3,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.name.clone(),
            topic_id: topic.id,
            partitions: vec![OffsetCommitRequestPartition::default()],
        }],
        ..Default::default()
    };
    requests.add(&[2, 7, 8, 10], &commit);
    let of = OffsetFetchRequestTopic {
        name: topic.name.clone(),
        topic_id: topic.id,
        partition_indexes: vec![PartitionId(0)],
    };
    let of_group = OffsetFetchRequestGroup {
        group_id: group_id.clone(),
        topics: Some(vec![of.clone()]),
        ..Default::default()
    };
    let fetch = OffsetFetchRequest {
        group_id,
        topics: Some(vec![of]),
        groups: vec![of_group],
        ..Default::default()
    };
    requests.add(&[1, 5, 6, 8, 10], &fetch);
    requests.list
}

async fn cut_questions(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let requests = questions(actor, &topic);
    cut(actor, requests).await;
}

async fn changed_questions(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let requests = questions(actor, &topic);
    change(actor, requests).await;
}

async fn cut_group_requests(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let requests = group_requests(actor, &topic);
    cut(actor, requests).await;
}
