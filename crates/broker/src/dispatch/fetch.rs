//! Fetch: whole batches up to what the isolation level may see, and waiting for more (section 11 of the broker specification).
//!
//! There are no fetch sessions: every answer carries session id 0, so clients send full requests.

use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{LeaderEpoch, NodeId, Offset};

use super::repeats::named_once;
use super::{Context, Outcome};
use crate::core::World;
use crate::denials::Operation;
use crate::messages::ResponseMessage;
use crate::partition::log::FirstBatch;
use crate::partition::{Isolation, Partition};

/// The first version with topic ids instead of names.
const FIRST_ID_VERSION: i16 = 13;
/// The first version that names the leader to whoever asked another broker, or in an older epoch.
const FIRST_HINTING_VERSION: i16 = 16;

/// The first version with sessions, and with an error code for the whole answer.
const FIRST_SESSION_VERSION: i16 = 7;
/// The session epochs of requests that name all their partitions.
const NEW_SESSION: i32 = 0;
const NO_SESSION: i32 = -1;

/// A fetch that waits for records.
#[derive(Debug)]
pub(crate) struct PendingFetch {
    node: NodeId,
    version: i16,
    request: FetchRequest,
    deadline: Instant,
    seen_changes: u64,
}

/// Takes up a fetch request.
pub(super) fn begin(world: &mut World, context: &Context<'_>, mut request: FetchRequest) -> Outcome {
    if !matches!(request.session_epoch, NEW_SESSION | NO_SESSION) && context.version >= FIRST_SESSION_VERSION
    {
        let error_code = ErrorCode::FetchSessionIdNotFound;
        return ResponseMessage::Fetch(FetchResponse {
            error_code,
            ..Default::default()
        })
        .into();
    }
    if !matches!(request.isolation_level, 0 | 1) {
        return ResponseMessage::Fetch(unreadable(&request, context.version)).into();
    }
    request.topics = named_once(
        request.topics,
        |topic| (topic.topic.clone(), topic.topic_id),
        |topic| &mut topic.partitions,
        |wanted| wanted.partition,
    );
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let pending = Box::new(PendingFetch {
        node: context.node,
        version: context.version,
        deadline: context.now.instant + wait,
        seen_changes: world.changes(),
        request,
    });
    pending
        .answer_or_wait(world, context.now)
        .unwrap_or_else(Outcome::Fetch)
}

impl PendingFetch {
    /// When it is answered with whatever there is.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Answers when there is enough, or when the time is up (B-115). Gives itself back when it waits on.
    pub(crate) fn advance(mut self: Box<Self>, world: &World, now: Now) -> Result<Outcome, Box<Self>> {
        if now.instant < self.deadline && self.seen_changes == world.changes() {
            return Err(self);
        }
        self.seen_changes = world.changes();
        self.answer_or_wait(world, now)
    }

    fn answer_or_wait(self: Box<Self>, world: &World, now: Now) -> Result<Outcome, Box<Self>> {
        let mut reading = Reading::new(&self, world);
        for topic in &self.request.topics {
            reading.add_topic(topic);
        }
        let enough = usize::try_from(self.request.min_bytes).unwrap_or(0);
        let is_answered = reading.size >= enough || reading.has_errors || now.instant >= self.deadline;
        if !is_answered && !self.request.topics.is_empty() {
            return Err(self);
        }
        Ok(ResponseMessage::Fetch(reading.response).into())
    }
}

/// An answer under construction.
struct Reading<'a> {
    fetch: &'a PendingFetch,
    world: &'a World,
    isolation: Isolation,
    response: FetchResponse,
    size: usize,
    room: usize,
    has_errors: bool,
}

impl<'a> Reading<'a> {
    fn new(fetch: &'a PendingFetch, world: &'a World) -> Self {
        let isolation = match fetch.request.isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        };
        Self {
            fetch,
            world,
            isolation,
            response: FetchResponse::default(),
            size: 0,
            room: usize::try_from(fetch.request.max_bytes)
                .unwrap_or(0)
                .min(world.config.limits.fetch_bytes),
            has_errors: false,
        }
    }

    fn add_topic(&mut self, topic: &FetchRequestTopic) {
        let found = match self.fetch.version {
            FIRST_ID_VERSION.. => self
                .world
                .cluster
                .topic_by_id(topic.topic_id)
                .ok_or(ErrorCode::UnknownTopicId),
            _ => self
                .world
                .cluster
                .topic(&topic.topic)
                .ok_or(ErrorCode::UnknownTopicOrPartition),
        };
        let name = found.map_or(&*topic.topic, |found| &*found.name);
        let allowed = self.world.config.denials.check_topic(Operation::Read, name);
        let found = allowed.and(found);
        let mut partitions = Vec::with_capacity(topic.partitions.len().min(1024));
        for wanted in &topic.partitions {
            let entry = found
                .and_then(|found| {
                    found
                        .partition(wanted.partition.0)
                        .ok_or(ErrorCode::UnknownTopicOrPartition)
                })
                .and_then(|partition| self.read(partition, wanted));
            partitions.push(entry.unwrap_or_else(|code| {
                self.has_errors = true;
                let mut entry = failed(wanted, code);
                if let (ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch, Ok(found)) =
                    (code, found)
                {
                    self.hint(found.partition(wanted.partition.0), &mut entry);
                }
                entry
            }));
        }
        self.response.responses.push(FetchResponseTopic {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions,
        });
    }

    fn read(
        &mut self,
        partition: &Partition,
        wanted: &FetchRequestPartition,
    ) -> Result<FetchResponsePartition, ErrorCode> {
        check_leader(partition, self.fetch.node, wanted.current_leader_epoch)?;
        if wanted.partition_max_bytes < 0 || self.fetch.request.max_bytes < 0 {
            return Err(ErrorCode::UnknownServerError);
        }
        if self.is_follower() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let from = Offset(wanted.fetch_offset);
        if from < partition.log().start() || from > partition.log().end() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let limit = usize::try_from(wanted.partition_max_bytes)
            .unwrap_or(0)
            .min(self.room);
        let first = if self.size == 0 {
            FirstBatch::Always
        } else {
            FirstBatch::WithinLimit
        };
        let records = partition.read(from, self.isolation, limit, first);
        self.size += records.len();
        self.room = self.room.saturating_sub(records.len());
        Ok(FetchResponsePartition {
            partition_index: wanted.partition,
            high_watermark: partition.high_watermark().0,
            last_stable_offset: partition.last_stable_offset().0,
            log_start_offset: partition.log().start().0,
            aborted_transactions: self.aborted(partition, from),
            records: Some(records),
            ..Default::default()
        })
    }

    /// Whether a broker asks. No node of this cluster does: all share their logs.
    fn is_follower(&self) -> bool {
        let request = &self.fetch.request;
        request.replica_id.0 >= 0 || request.replica_state.replica_id.0 >= 0
    }

    /// B-112: the aborted transactions up to the log end, for readers of committed records only. Who is at the end of what may be read
    /// gets none.
    fn aborted(&self, partition: &Partition, from: Offset) -> Option<Vec<FetchResponseAbortedTransaction>> {
        if self.isolation == Isolation::ReadUncommitted {
            return None;
        }
        if from >= partition.readable_end(self.isolation) {
            return Some(Vec::new());
        }
        let entries =
            partition
                .visibility()
                .aborted_from(from)
                .map(|aborted| FetchResponseAbortedTransaction {
                    producer_id: aborted.producer_id,
                    first_offset: aborted.first_offset.0,
                });
        Some(entries.collect())
    }

    fn hint(&mut self, partition: Option<&Partition>, entry: &mut FetchResponsePartition) {
        let Some(partition) = partition.filter(|_| self.fetch.version >= FIRST_HINTING_VERSION) else {
            return;
        };
        let Some(leader_id) = partition.leader else { return };
        entry.current_leader = FetchResponseCurrentLeader {
            leader_id,
            leader_epoch: partition.leader_epoch,
        };
        let is_listed = self
            .response
            .node_endpoints
            .iter()
            .any(|endpoint| endpoint.node_id == leader_id);
        if is_listed || self.is_follower() {
            return;
        }
        if let Some(node) = self.world.cluster.view().live_node(leader_id) {
            self.response.node_endpoints.push(FetchResponseNodeEndpoint {
                node_id: node.id,
                host: node.host.clone(),
                port: i32::from(node.port),
                rack: None,
            });
        }
    }
}

/// Whether `node` leads the partition, in the epoch that the client knows.
pub(super) fn check_leader(partition: &Partition, node: NodeId, known: LeaderEpoch) -> Result<(), ErrorCode> {
    partition.check_served_by(node)?;
    match known.0 {
        ..0 => Ok(()),
        known if known < partition.leader_epoch.0 => Err(ErrorCode::FencedLeaderEpoch),
        known if known > partition.leader_epoch.0 => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// What a request with an impossible isolation level gets, in the form of its version.
fn unreadable(request: &FetchRequest, version: i16) -> FetchResponse {
    let code = ErrorCode::UnknownServerError;
    let mut response = FetchResponse::default();
    if version >= FIRST_SESSION_VERSION {
        response.error_code = code;
    }
    if version < FIRST_ID_VERSION {
        let topics = request.topics.iter().map(|topic| FetchResponseTopic {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| FetchResponsePartition {
                    aborted_transactions: Some(Vec::new()),
                    ..failed(wanted, code)
                })
                .collect(),
        });
        response.responses = topics.collect();
    }
    response
}

/// B-112: an empty list for what is not known, none with other errors.
fn failed(wanted: &FetchRequestPartition, code: ErrorCode) -> FetchResponsePartition {
    FetchResponsePartition {
        partition_index: wanted.partition,
        error_code: code,
        high_watermark: -1,
        aborted_transactions: matches!(
            code,
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId
        )
        .then(Vec::new),
        records: Some(Bytes::new()),
        ..Default::default()
    }
}
