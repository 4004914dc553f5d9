//! ListOffsets and DeleteRecords: where a log begins and ends, and moving its beginning (B-116, B-117).

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::{Offset, PartitionId};

use super::repeats::named_once;
use super::{Context, fetch::check_leader, named};
use crate::core::World;
use crate::denials::Operation;
use crate::partition::{Isolation, Partition};
use crate::topics::is_internal;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
/// The most bytes that a compressed batch may expand to.
const LARGEST_EXPANSION: usize = 256 * 1024 * 1024;

/// Answers ListOffsets.
pub(super) fn list(world: &World, context: &Context<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let repeated = repeated(&request);
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let entry = |name: &str, wanted: &ListOffsetsRequestPartition| {
        let allowed = match repeated.contains(&(name, wanted.partition_index)) {
            true => Err(ErrorCode::InvalidRequest),
            false => world.config.denials.check_topic(Operation::Describe, name),
        };
        let found = allowed.and_then(|()| world.cluster.partition(&named(name, wanted.partition_index.0)));
        let place = found.and_then(|partition| {
            check_leader(partition, context.node, wanted.current_leader_epoch)?;
            let (timestamp, offset) = place_of(partition, wanted.timestamp, (isolation, context.version))?;
            Ok((timestamp, offset, partition.leader_epoch))
        });
        let mut entry = ListOffsetsResponsePartition {
            partition_index: wanted.partition_index,
            ..Default::default()
        };
        match place {
            Ok((timestamp, offset, leader_epoch)) => {
                entry.timestamp = timestamp;
                entry.offset = offset;
                if offset >= 0 {
                    entry.leader_epoch = leader_epoch;
                }
            }
            Err(code) => entry.error_code = code,
        }
        entry
    };
    let topics = named_once(
        request.topics.clone(),
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |wanted| wanted.partition_index,
    );
    let topics = topics.iter().map(|topic| ListOffsetsResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|wanted| entry(&topic.name, wanted))
            .collect(),
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// What the request names more than once, which is one time too many here.
fn repeated(request: &ListOffsetsRequest) -> BTreeSet<(&str, PartitionId)> {
    let mut once = BTreeSet::new();
    let names = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|wanted| (topic.name.as_str(), wanted.partition_index))
    });
    names.filter(|name| !once.insert(*name)).collect()
}

/// Timestamp and offset that the wire's timestamp asks for; -1 where there is none.
fn place_of(
    partition: &Partition,
    wanted: i64,
    (isolation, version): (Isolation, i16),
) -> Result<(i64, i64), ErrorCode> {
    let first_version = match wanted {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    };
    if version < first_version {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let end = partition.readable_end(isolation);
    match wanted {
        LATEST => Ok((-1, end.0)),
        EARLIEST | EARLIEST_LOCAL => Ok((-1, partition.log().start().0)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok((-1, -1)),
        MAX_TIMESTAMP => {
            let newest = partition.log().batches().map(|batch| batch.max_timestamp).max();
            Ok(newest.map_or((-1, -1), |newest| first_at_or_after(partition, newest.0, end)))
        }
        ..0 => Err(ErrorCode::UnsupportedVersion),
        wanted => Ok(first_at_or_after(partition, wanted, end)),
    }
}

/// The first record that is not older than `wanted`. Exact to the batch; within it, to the record when it is not compressed.
fn first_at_or_after(partition: &Partition, wanted: i64, end: Offset) -> (i64, i64) {
    let candidates = partition
        .log()
        .batches()
        .filter(|batch| batch.max_timestamp.0 >= wanted);
    for batch in candidates.take_while(|batch| batch.last_offset < end) {
        let view = kommit_protocol::batch::BatchView::parse(&batch.bytes)
            .and_then(|view| view.records(LARGEST_EXPANSION));
        let Ok(records) = view else {
            return (batch.max_timestamp.0, batch.base_offset.0);
        };
        let start = partition.log().start();
        let first = records
            .flatten()
            .find(|record| record.timestamp.0 >= wanted && record.offset >= start);
        if let Some(record) = first {
            return (record.timestamp.0, record.offset.0);
        }
    }
    (-1, -1)
}

/// Answers DeleteRecords.
pub(super) fn delete(
    world: &mut World,
    context: &Context<'_>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    let topics = named_once(
        request.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |wanted| wanted.partition_index,
    );
    for topic in &topics {
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let result = delete_before(world, context, &topic.name, wanted);
            partitions.push(DeleteRecordsResponsePartition {
                partition_index: wanted.partition_index,
                low_watermark: result.map_or(-1, |offset| offset.0),
                error_code: result.err().unwrap_or_default(),
            });
        }
        response.topics.push(DeleteRecordsResponseTopic {
            name: topic.name.clone(),
            partitions,
        });
    }
    world.note_change();
    response
}

fn delete_before(
    world: &mut World,
    context: &Context<'_>,
    topic: &str,
    wanted: &DeleteRecordsRequestPartition,
) -> Result<Offset, ErrorCode> {
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = named(topic, wanted.partition_index.0);
    let found = world.cluster.partition(&partition)?;
    found.check_served_by(context.node)?;
    let before = match wanted.offset {
        -1 => None,
        ..-1 => return Err(ErrorCode::OffsetOutOfRange),
        offset => Some(Offset(offset)),
    };
    world.cluster.delete_records(&partition, before)
}
