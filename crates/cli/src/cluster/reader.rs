//! Reads a topic from its beginning to its end at start, one partition after the other, as a consumer with either isolation would see it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::api::Request;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, FetchResponse, FetchResponsePartition,
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic, ListOffsetsResponse,
};
use kommit_protocol::units::{NodeId, PartitionId};

use super::batches::{Visible, visible_records};
use super::patience::Patience;
use super::topics::Topic;
use super::{CallTrouble, Cluster, refused};
use crate::args::Isolation;
use crate::failure::Failure;

/// The last version that names topics by name.
const FETCH_VERSION: i16 = 12;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const NO_REPLICA: NodeId = NodeId(-1);
const MAX_WAIT_MS: i32 = 500;
const MAX_BYTES: i32 = 8 * 1024 * 1024;
const READ_LIMIT: Duration = Duration::from_secs(30);

/// One record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadRecord {
    /// Its partition.
    pub(crate) partition: PartitionId,
    /// Its place there.
    pub(crate) offset: i64,
    /// Its key.
    pub(crate) key: Option<Bytes>,
    /// Its value.
    pub(crate) value: Option<Bytes>,
    /// Its headers, in order; a name may occur more than once.
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
}

/// A walk over a topic.
#[derive(Debug)]
pub(crate) struct TopicReader<'c> {
    cluster: &'c mut Cluster,
    topic: Topic,
    isolation: Isolation,
    /// Partitions not read to their end, with the offsets that are left.
    left: BTreeMap<PartitionId, Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    next: i64,
    end: i64,
}

impl<'c> TopicReader<'c> {
    /// Looks up where each partition begins and ends now.
    pub(crate) async fn open(
        cluster: &'c mut Cluster,
        topic: Topic,
        isolation: Isolation,
    ) -> Result<Self, Failure> {
        let partitions: Vec<_> = topic.partitions.iter().map(|(partition, _)| *partition).collect();
        let mut reader = Self {
            cluster,
            topic,
            isolation,
            left: BTreeMap::new(),
        };
        for partition in partitions {
            let next = reader.list_offset(partition, EARLIEST).await?;
            let end = reader.list_offset(partition, LATEST).await?;
            reader.left.insert(partition, Range { next, end });
        }
        Ok(reader)
    }

    /// The next records, all of one partition, in the order of their offsets; `None` when every partition is read to its end. Partitions come in order,
    /// each as a whole. A list may be empty: what was there is not visible.
    pub(crate) async fn next_records(&mut self) -> Result<Option<Vec<ReadRecord>>, Failure> {
        let patience = Patience::of(READ_LIMIT);
        while let Some((&partition, &range)) = self.left.first_key_value() {
            if range.next >= range.end {
                self.left.remove(&partition);
                continue;
            }
            let Visible { mut records, next } = self.fetch(partition, range.next).await?;
            if next <= range.next {
                patience
                    .pause(
                        &self.asked(partition),
                        "no batch, although the partition does not end there",
                    )
                    .await?;
                continue;
            }
            records.retain(|record| record.offset < range.end);
            self.left.insert(partition, Range { next, ..range });
            return Ok(Some(records));
        }
        Ok(None)
    }

    async fn list_offset(&mut self, partition: PartitionId, timestamp: i64) -> Result<i64, Failure> {
        let wanted = ListOffsetsRequestPartition {
            partition_index: partition,
            timestamp,
            ..ListOffsetsRequestPartition::default()
        };
        let topic = ListOffsetsRequestTopic {
            name: self.topic.name.clone(),
            partitions: vec![wanted],
        };
        let request = ListOffsetsRequest {
            replica_id: NO_REPLICA,
            isolation_level: isolation_level(self.isolation),
            topics: vec![topic],
            ..ListOffsetsRequest::default()
        };
        self.ask_leader(partition, &request, i16::MAX, only_offset).await
    }

    async fn fetch(&mut self, partition: PartitionId, offset: i64) -> Result<Visible, Failure> {
        let wanted = FetchRequestPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: MAX_BYTES,
            ..FetchRequestPartition::default()
        };
        let topic = FetchRequestTopic {
            topic: self.topic.name.clone(),
            partitions: vec![wanted],
            ..FetchRequestTopic::default()
        };
        let request = FetchRequest {
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: MAX_BYTES,
            isolation_level: isolation_level(self.isolation),
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let answer = self
            .ask_leader(partition, &request, FETCH_VERSION, only_partition)
            .await?;
        visible_records(&answer, partition, offset).map_err(|reason| {
            let what = format!("{} at offset {offset}: {reason}", self.asked(partition));
            Failure::failed(what, "look at this batch with kafka-dump-log.sh")
        })
    }

    /// Asks the partition's leader, and again the next one when it has moved.
    async fn ask_leader<R: Request, T>(
        &mut self,
        partition: PartitionId,
        request: &R,
        max_version: i16,
        read: impl Fn(R::Response) -> Result<T, ErrorCode>,
    ) -> Result<T, Failure> {
        let asked = self.asked(partition);
        let patience = Patience::of(READ_LIMIT);
        loop {
            let leader = self
                .topic
                .partitions
                .iter()
                .find(|(known, _)| *known == partition)
                .map(|(_, leader)| *leader);
            let reason = match leader {
                None => "the partition is gone".to_owned(),
                Some(leader) => match self.cluster.call(leader, request, max_version).await {
                    Ok(response) => match read(response) {
                        Ok(answer) => return Ok(answer),
                        Err(code) if code.is_retriable() => code.to_string(),
                        Err(code) => return Err(refused(&asked, code)),
                    },
                    Err(CallTrouble::Passing(reason)) => reason,
                    Err(CallTrouble::Lasting(failure)) => return Err(failure),
                },
            };
            patience.pause(&asked, &reason).await?;
            self.topic = self.cluster.topic_again(&self.topic.name).await?;
        }
    }

    fn asked(&self, partition: PartitionId) -> String {
        format!("reading {}-{partition}", self.topic.name)
    }
}

fn isolation_level(isolation: Isolation) -> i8 {
    match isolation {
        Isolation::ReadUncommitted => 0,
        Isolation::ReadCommitted => 1,
    }
}

fn only_offset(response: ListOffsetsResponse) -> Result<i64, ErrorCode> {
    let partition = response
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .next();
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.error_code.into_result().map(|()| partition.offset)
}

fn only_partition(response: FetchResponse) -> Result<FetchResponsePartition, ErrorCode> {
    response.error_code.into_result()?;
    let partition = response
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .next();
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.error_code.into_result().map(|()| partition)
}
