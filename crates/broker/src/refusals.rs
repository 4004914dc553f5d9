//! Answers that carry one error code, whatever the request was: for rules that answer instead of serving (B-121).
//!
//! An answer is made in two steps: a skeleton with an entry for everything that the request names, then the code on the entries.

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{NodeId, PartitionId, TopicId};

use crate::messages::{RequestMessage, ResponseMessage};

/// Which entries of an answer get the code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// All of them.
    Everything,
    /// Those of one partition, whose topic is named by name or id.
    Partition(&'a str, TopicId, PartitionId),
}

impl Target<'_> {
    fn fits(&self, name: &str, id: TopicId, index: PartitionId) -> bool {
        match self {
            Self::Everything => true,
            Self::Partition(wanted, wanted_id, wanted_index) => {
                *wanted_index == index && (*wanted == name || (id.is_known() && *wanted_id == id))
            }
        }
    }
}

/// The answer that refuses `request` with `code`.
pub(crate) fn refuse(
    request: &RequestMessage,
    version: i16,
    code: ErrorCode,
    target: Target<'_>,
) -> ResponseMessage {
    let mut response = skeleton(request, version);
    overwrite(&mut response, code, target);
    response
}

macro_rules! echo {
    ($entries:expr => $entry:ident { $($field:ident from $source:ident),* }) => {
        $entries.iter().map(|entry| $entry { $($field: entry.$source.clone(),)* ..Default::default() }).collect()
    };
    ($names:expr => $entry:ident $field:ident) => {
        $names.iter().map(|name| $entry { $field: name.clone(), ..Default::default() }).collect()
    };
    ($topics:expr => $topic:ident { $($field:ident),* } $list:ident: $partitions:ident => $partition:ident $index:ident from $source:ident) => {
        $topics.iter().map(|topic| $topic {
            $($field: topic.$field.clone(),)*
            $list: topic.$partitions.iter().map(|entry| $partition { $index: entry.$source, ..Default::default() }).collect(),
        }).collect()
    };
    ($topics:expr => $topic:ident { $($field:ident),* } $list:ident: $partitions:ident => $partition:ident $index:ident) => {
        $topics.iter().map(|topic| $topic {
            $($field: topic.$field.clone(),)*
            $list: topic.$partitions.iter().map(|index| $partition { $index: *index, ..Default::default() }).collect(),
        }).collect()
    };
}

fn skeleton(request: &RequestMessage, version: i16) -> ResponseMessage {
    use RequestMessage as Q;
    use ResponseMessage as A;
    match request {
        Q::Produce(request) => A::Produce(ProduceResponse {
            responses: echo!(request.topic_data => ProduceResponseTopic { name, topic_id }
                partition_responses: partition_data => ProduceResponsePartition index from index),
            ..Default::default()
        }),
        Q::Fetch(request) => A::Fetch(FetchResponse {
            responses: echo!(request.topics => FetchResponseTopic { topic, topic_id }
                partitions: partitions => FetchResponsePartition partition_index from partition),
            ..Default::default()
        }),
        Q::ListOffsets(request) => A::ListOffsets(ListOffsetsResponse {
            topics: echo!(request.topics => ListOffsetsResponseTopic { name }
                partitions: partitions => ListOffsetsResponsePartition partition_index from partition_index),
            ..Default::default()
        }),
        Q::OffsetCommit(request) => A::OffsetCommit(OffsetCommitResponse {
            topics: echo!(request.topics => OffsetCommitResponseTopic { name, topic_id }
                partitions: partitions => OffsetCommitResponsePartition partition_index from partition_index),
            ..Default::default()
        }),
        Q::TxnOffsetCommit(request) => A::TxnOffsetCommit(TxnOffsetCommitResponse {
            topics: echo!(request.topics => TxnOffsetCommitResponseTopic { name }
                partitions: partitions => TxnOffsetCommitResponsePartition partition_index from partition_index),
            ..Default::default()
        }),
        Q::DeleteRecords(request) => A::DeleteRecords(DeleteRecordsResponse {
            topics: echo!(request.topics => DeleteRecordsResponseTopic { name }
                partitions: partitions => DeleteRecordsResponsePartition partition_index from partition_index),
            ..Default::default()
        }),
        Q::DescribeProducers(request) => A::DescribeProducers(DescribeProducersResponse {
            topics: echo!(request.topics => DescribeProducersResponseTopic { name }
                partitions: partition_indexes => DescribeProducersResponsePartition partition_index),
            ..Default::default()
        }),
        Q::AddPartitionsToTxn(request) => A::AddPartitionsToTxn(add_partitions(request)),
        Q::OffsetFetch(request) => A::OffsetFetch(offset_fetch(request)),
        Q::FindCoordinator(request) => A::FindCoordinator(find_coordinator(request, version)),
        other => named_skeleton(other),
    }
}

/// Skeletons of requests without partitions.
fn named_skeleton(request: &RequestMessage) -> ResponseMessage {
    use RequestMessage as Q;
    use ResponseMessage as A;
    match request {
        Q::Metadata(request) => A::Metadata(MetadataResponse {
            topics: request.topics.iter().flatten().map(metadata_topic).collect(),
            ..Default::default()
        }),
        Q::CreateTopics(request) => A::CreateTopics(CreateTopicsResponse {
            topics: echo!(request.topics => CreateTopicsResponseTopic { name from name }),
            ..Default::default()
        }),
        Q::CreatePartitions(request) => A::CreatePartitions(CreatePartitionsResponse {
            results: echo!(request.topics => CreatePartitionsResponseTopic { name from name }),
            ..Default::default()
        }),
        Q::DeleteTopics(request) => A::DeleteTopics(delete_topics(request)),
        Q::DescribeConfigs(request) => A::DescribeConfigs(DescribeConfigsResponse {
            results: echo!(request.resources => DescribeConfigsResponseResource {
                resource_type from resource_type, resource_name from resource_name
            }),
            ..Default::default()
        }),
        Q::DescribeTransactions(request) => A::DescribeTransactions(DescribeTransactionsResponse {
            transaction_states: echo!(request.transactional_ids => DescribeTransactionsResponseTransaction transactional_id),
            ..Default::default()
        }),
        Q::InitProducerId(_) => A::InitProducerId(Default::default()),
        Q::AddOffsetsToTxn(_) => A::AddOffsetsToTxn(Default::default()),
        Q::EndTxn(_) => A::EndTxn(Default::default()),
        Q::SaslHandshake(_) => A::SaslHandshake(Default::default()),
        Q::SaslAuthenticate(_) => A::SaslAuthenticate(Default::default()),
        Q::DescribeCluster(_) => A::DescribeCluster(Default::default()),
        Q::ListTransactions(_) => A::ListTransactions(Default::default()),
        Q::JoinGroup(request) => A::JoinGroup(JoinGroupResponse {
            member_id: request.member_id.clone(),
            ..Default::default()
        }),
        Q::SyncGroup(_) => A::SyncGroup(Default::default()),
        Q::Heartbeat(_) => A::Heartbeat(Default::default()),
        Q::LeaveGroup(_) => A::LeaveGroup(Default::default()),
        Q::ListGroups(_) => A::ListGroups(Default::default()),
        Q::DescribeGroups(request) => A::DescribeGroups(DescribeGroupsResponse {
            groups: echo!(request.groups => DescribeGroupsResponseGroup group_id),
            ..Default::default()
        }),
        _ => A::ApiVersions(Default::default()),
    }
}

fn delete_topics(request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| (Some(name.clone()), TopicId::ZERO));
    let either_way = request
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.topic_id));
    let entry = |(name, topic_id)| DeleteTopicsResponseTopic {
        name,
        topic_id,
        ..Default::default()
    };
    DeleteTopicsResponse {
        responses: by_name.chain(either_way).map(entry).collect(),
        ..Default::default()
    }
}

fn metadata_topic(topic: &MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        ..Default::default()
    }
}

fn add_partitions(request: &AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let echo = |topics: &[AddPartitionsToTxnRequestTopic]| -> Vec<AddPartitionsToTxnResponseTopic> {
        echo!(topics => AddPartitionsToTxnResponseTopic { name }
            results_by_partition: partitions => AddPartitionsToTxnResponsePartition partition_index)
    };
    AddPartitionsToTxnResponse {
        results_by_transaction: request
            .transactions
            .iter()
            .map(|transaction| AddPartitionsToTxnResponseTransaction {
                transactional_id: transaction.transactional_id.clone(),
                topic_results: echo(&transaction.topics),
            })
            .collect(),
        results_by_topic_v3_and_below: echo(&request.v3_and_below_topics),
        ..Default::default()
    }
}

fn offset_fetch(request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let groups = request
        .groups
        .iter()
        .map(|group| OffsetFetchResponseGroup {
            group_id: group.group_id.clone(),
            ..Default::default()
        })
        .collect();
    OffsetFetchResponse {
        groups,
        ..Default::default()
    }
}

fn find_coordinator(request: &FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
    if version < 4 {
        return FindCoordinatorResponse {
            node_id: NodeId(-1),
            port: -1,
            ..Default::default()
        };
    }
    let none = |key: &String| FindCoordinatorResponseCoordinator {
        key: key.clone(),
        node_id: NodeId(-1),
        port: -1,
        ..Default::default()
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.iter().map(none).collect(),
        ..Default::default()
    }
}

/// Writes `code` over what the answer says about the target.
pub(crate) fn overwrite(response: &mut ResponseMessage, code: ErrorCode, target: Target<'_>) {
    use ResponseMessage as A;
    match response {
        A::Produce(response) => overwrite_produce(response, code, target),
        A::Fetch(response) => overwrite_fetch(response, code, target),
        A::ListOffsets(response) => {
            for topic in &mut response.topics {
                let name = topic.name.as_str();
                topic
                    .partitions
                    .iter_mut()
                    .filter(|entry| target.fits(name, TopicId::ZERO, entry.partition_index))
                    .for_each(|entry| entry.error_code = code);
            }
        }
        A::OffsetCommit(response) => {
            for topic in &mut response.topics {
                let (name, id) = (topic.name.as_str(), topic.topic_id);
                topic
                    .partitions
                    .iter_mut()
                    .filter(|entry| target.fits(name, id, entry.partition_index))
                    .for_each(|entry| entry.error_code = code);
            }
        }
        A::TxnOffsetCommit(response) => {
            for topic in &mut response.topics {
                let name = topic.name.as_str();
                topic
                    .partitions
                    .iter_mut()
                    .filter(|entry| target.fits(name, TopicId::ZERO, entry.partition_index))
                    .for_each(|entry| entry.error_code = code);
            }
        }
        A::AddPartitionsToTxn(response) => overwrite_add_partitions(response, code, target),
        other => overwrite_top_level(other, code),
    }
}

fn overwrite_produce(response: &mut ProduceResponse, code: ErrorCode, target: Target<'_>) {
    for topic in &mut response.responses {
        let (name, id) = (topic.name.as_str(), topic.topic_id);
        for entry in topic
            .partition_responses
            .iter_mut()
            .filter(|entry| target.fits(name, id, entry.index))
        {
            *entry = ProduceResponsePartition {
                index: entry.index,
                error_code: code,
                base_offset: -1,
                ..ProduceResponsePartition::default()
            };
        }
    }
}

fn overwrite_fetch(response: &mut FetchResponse, code: ErrorCode, target: Target<'_>) {
    if let Target::Everything = target {
        response.error_code = code;
    }
    for topic in &mut response.responses {
        let (name, id) = (topic.topic.as_str(), topic.topic_id);
        for entry in topic
            .partitions
            .iter_mut()
            .filter(|entry| target.fits(name, id, entry.partition_index))
        {
            *entry = FetchResponsePartition {
                partition_index: entry.partition_index,
                error_code: code,
                high_watermark: -1,
                records: Some(Bytes::new()),
                ..FetchResponsePartition::default()
            };
        }
    }
}

/// B-71: when one partition fails, the others are not attempted.
fn overwrite_add_partitions(response: &mut AddPartitionsToTxnResponse, code: ErrorCode, target: Target<'_>) {
    let transactions = response
        .results_by_transaction
        .iter_mut()
        .flat_map(|result| &mut result.topic_results);
    for topic in transactions.chain(&mut response.results_by_topic_v3_and_below) {
        for entry in &mut topic.results_by_partition {
            let fits = target.fits(&topic.name, TopicId::ZERO, entry.partition_index);
            entry.partition_error_code = if fits {
                code
            } else {
                ErrorCode::OperationNotAttempted
            };
        }
    }
}

/// Puts the code on each entry of a list.
macro_rules! on_each {
    ($entries:expr, $code:expr) => {
        for entry in &mut $entries {
            entry.error_code = $code;
        }
    };
}

fn overwrite_top_level(response: &mut ResponseMessage, code: ErrorCode) {
    use ResponseMessage as A;
    match response {
        A::Metadata(response) => {
            response.error_code = code;
            on_each!(response.topics, code);
        }
        A::FindCoordinator(response) => {
            response.error_code = code;
            on_each!(response.coordinators, code);
        }
        A::OffsetFetch(response) => {
            response.error_code = code;
            on_each!(response.groups, code);
        }
        A::ApiVersions(response) => response.error_code = code,
        A::InitProducerId(response) => *response = refused_id(code),
        A::AddOffsetsToTxn(response) => response.error_code = code,
        A::EndTxn(response) => *response = refused_end(code),
        A::CreateTopics(response) => on_each!(response.topics, code),
        A::DeleteTopics(response) => on_each!(response.responses, code),
        A::CreatePartitions(response) => on_each!(response.results, code),
        A::DescribeConfigs(response) => on_each!(response.results, code),
        A::DescribeCluster(response) => response.error_code = code,
        A::SaslHandshake(response) => response.error_code = code,
        A::SaslAuthenticate(response) => response.error_code = code,
        A::JoinGroup(response) => response.error_code = code,
        A::SyncGroup(response) => response.error_code = code,
        A::Heartbeat(response) => response.error_code = code,
        A::LeaveGroup(response) => response.error_code = code,
        A::ListGroups(response) => response.error_code = code,
        A::DescribeGroups(response) => on_each!(response.groups, code),
        A::ListTransactions(response) => response.error_code = code,
        A::DescribeTransactions(response) => on_each!(response.transaction_states, code),
        A::DeleteRecords(response) => {
            for topic in &mut response.topics {
                on_each!(topic.partitions, code);
            }
        }
        A::DescribeProducers(response) => {
            for topic in &mut response.topics {
                on_each!(topic.partitions, code);
            }
        }
        A::Produce(_)
        | A::Fetch(_)
        | A::ListOffsets(_)
        | A::OffsetCommit(_)
        | A::TxnOffsetCommit(_)
        | A::AddPartitionsToTxn(_) => {}
    }
}

fn refused_id(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: code,
        ..Default::default()
    }
}

fn refused_end(code: ErrorCode) -> EndTxnResponse {
    EndTxnResponse {
        error_code: code,
        ..Default::default()
    }
}

/// Puts the refused entries of `refused` beside those of an answer that was made without them.
pub(crate) fn add_refused(response: &mut ResponseMessage, refused: &ResponseMessage) {
    let (ResponseMessage::Produce(response), ResponseMessage::Produce(refused)) = (response, refused) else {
        return;
    };
    for topic in &refused.responses {
        let entries = topic
            .partition_responses
            .iter()
            .filter(|entry| entry.error_code != ErrorCode::None)
            .cloned();
        let is_same =
            |known: &&mut ProduceResponseTopic| known.name == topic.name && known.topic_id == topic.topic_id;
        match response.responses.iter_mut().find(is_same) {
            Some(known) => known.partition_responses.extend(entries),
            None => response.responses.push(ProduceResponseTopic {
                partition_responses: entries.collect(),
                name: topic.name.clone(),
                topic_id: topic.topic_id,
            }),
        }
    }
    response
        .responses
        .retain(|topic| !topic.partition_responses.is_empty());
}
