//! From a decoded request to its answer: one file per group of APIs, and here the table that says which.

use kommit_protocol::time::Now;
use kommit_protocol::units::{NodeId, TopicPartition};

use crate::coordinator::Ticket;
use crate::coordinator::interface::{Call, CoordinatorKind};
use crate::core::World;
use crate::messages::{RequestMessage, ResponseMessage};

mod cluster;
mod configs;
pub(crate) mod fetch;
mod metadata;
mod offsets;
pub(crate) mod partitions;
pub(crate) mod produce;
mod repeats;
mod topics;
pub(crate) mod versions;

use fetch::PendingFetch;
use produce::PendingProduce;

/// The circumstances of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) node: NodeId,
    pub(crate) version: i16,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) now: Now,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is answered.
    Answer(Box<ResponseMessage>),
    /// It gets no answer (acks = 0).
    Silence,
    /// It ends the connection.
    Close,
    /// It waits for the transaction coordinator or for replication.
    Produce(Box<PendingProduce>),
    /// It waits for records.
    Fetch(Box<PendingFetch>),
    /// It waits for the other members of a group.
    Group(Ticket),
}

impl From<ResponseMessage> for Outcome {
    fn from(response: ResponseMessage) -> Self {
        Self::Answer(Box::new(response))
    }
}

/// Serves a request.
pub(crate) fn serve(world: &mut World, context: &Context<'_>, request: RequestMessage) -> Outcome {
    use RequestMessage as Q;
    use ResponseMessage as A;
    match request {
        Q::Produce(request) => produce::begin(world, context, request),
        Q::Fetch(request) => fetch::begin(world, context, request),
        Q::ListOffsets(request) => A::ListOffsets(offsets::list(world, context, request)).into(),
        Q::DeleteRecords(request) => A::DeleteRecords(offsets::delete(world, context, request)).into(),
        Q::Metadata(request) => A::Metadata(metadata::describe(world, context, &request)).into(),
        Q::ApiVersions(request) => A::ApiVersions(versions::describe(world, context, &request)).into(),
        Q::SaslHandshake(_) => A::SaslHandshake(cluster::refuse_handshake()).into(),
        Q::SaslAuthenticate(_) => A::SaslAuthenticate(cluster::refuse_authentication()).into(),
        Q::CreateTopics(request) => A::CreateTopics(topics::create(world, &request)).into(),
        Q::DeleteTopics(request) => A::DeleteTopics(topics::delete(world, context, &request)).into(),
        Q::CreatePartitions(request) => A::CreatePartitions(topics::expand(world, &request)).into(),
        Q::DescribeConfigs(request) => A::DescribeConfigs(configs::describe(world, &request)).into(),
        Q::DescribeCluster(request) => A::DescribeCluster(cluster::describe(world, &request)).into(),
        Q::DescribeProducers(request) => {
            A::DescribeProducers(cluster::describe_producers(world, context, &request)).into()
        }
        other => coordinate(world, context, &other),
    }
}

/// The requests that only a coordinator answers.
fn coordinate(world: &mut World, context: &Context<'_>, request: &RequestMessage) -> Outcome {
    use RequestMessage as Q;
    use ResponseMessage as A;
    if let Q::FindCoordinator(request) = request {
        ensure_coordinator_topic(world, request.key_type);
    }
    let ticket = world.fresh_ticket();
    let World {
        coordinators,
        cluster,
        config,
        ..
    } = world;
    let call = Call {
        node: context.node,
        version: context.version,
        now: context.now,
        client_id: context.client_id,
        cluster: cluster.view(),
        denials: &config.denials,
    };
    let answer = match request {
        Q::FindCoordinator(request) => A::FindCoordinator(coordinators.find_coordinator(request, &call)),
        Q::InitProducerId(request) => A::InitProducerId(coordinators.init_producer_id(request, &call)),
        Q::AddPartitionsToTxn(request) => {
            A::AddPartitionsToTxn(coordinators.add_partitions_to_txn(request, &call))
        }
        Q::AddOffsetsToTxn(request) => A::AddOffsetsToTxn(coordinators.add_offsets_to_txn(request, &call)),
        Q::EndTxn(request) => A::EndTxn(coordinators.end_txn(request, &call)),
        Q::TxnOffsetCommit(request) => A::TxnOffsetCommit(coordinators.txn_offset_commit(request, &call)),
        Q::OffsetCommit(request) => A::OffsetCommit(coordinators.offset_commit(request, &call)),
        Q::OffsetFetch(request) => A::OffsetFetch(coordinators.offset_fetch(request, &call)),
        Q::JoinGroup(request) => {
            coordinators.join_group(request, &call, ticket);
            world.coordinators_moved(context.now);
            return Outcome::Group(ticket);
        }
        Q::SyncGroup(request) => {
            coordinators.sync_group(request, &call, ticket);
            world.coordinators_moved(context.now);
            return Outcome::Group(ticket);
        }
        Q::Heartbeat(request) => A::Heartbeat(coordinators.heartbeat(request, &call)),
        Q::LeaveGroup(request) => A::LeaveGroup(coordinators.leave_group(request, &call)),
        Q::DescribeGroups(request) => A::DescribeGroups(coordinators.describe_groups(request, &call)),
        Q::ListGroups(request) => A::ListGroups(coordinators.list_groups(request, &call)),
        Q::DescribeTransactions(request) => {
            A::DescribeTransactions(coordinators.describe_transactions(request, &call))
        }
        Q::ListTransactions(request) => A::ListTransactions(coordinators.list_transactions(request, &call)),
        _ => return Outcome::Close,
    };
    world.coordinators_moved(context.now);
    answer.into()
}

/// B-21: looking for a coordinator creates the topic behind it.
fn ensure_coordinator_topic(world: &mut World, key_type: i8) {
    match key_type {
        0 => world.cluster.ensure_coordinator_topic(CoordinatorKind::Group),
        1 => world
            .cluster
            .ensure_coordinator_topic(CoordinatorKind::Transaction),
        _ => {}
    }
}

/// The partition `index` of the topic `name`.
fn named(name: &str, index: i32) -> TopicPartition {
    TopicPartition::new(name, index)
}
