//! Produce: checks, verification with the transaction coordinator, append, replication (section 4 of the broker specification).
//!
//! The order is that of B-23: authorisation, topic and format per partition, verification, acks, append. A produce that has to wait
//! for the coordinator (B-78) or for replication (B-30) is a [`PendingProduce`].

mod answer;
pub(crate) mod verification;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{NodeId, Offset, TopicId, TopicPartition};

use super::{Context, Outcome, named};
use crate::core::World;
use crate::denials::Operation;
use crate::partition::incoming::{IncomingBatch, Refusal};
use crate::partition::verification::Guard;
use crate::partition::{AppendContext, Appended, Proof};
use crate::topics::is_internal;
use verification::{Asked, Verified};

/// The first version with topic ids instead of names.
const FIRST_ID_VERSION: i16 = 13;
/// Kafka's admin client, which may write to internal topics (B-28).
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// One partition of a produce request, and how far it is.
#[derive(Debug)]
struct Item {
    topic_name: String,
    topic_id: TopicId,
    partition: TopicPartition,
    stage: ItemStage,
}

#[derive(Debug)]
enum ItemStage {
    /// Its format is right; it can be appended.
    Ready(Box<IncomingBatch>, Proof),
    /// The coordinator must agree first.
    Unverified(Box<IncomingBatch>, Guard),
    /// It is in the log.
    Appended(Appended),
    /// It is refused.
    Refused(Refusal),
}

/// A produce request on its way.
#[derive(Debug)]
pub(crate) struct PendingProduce {
    node: NodeId,
    version: i16,
    acks: i16,
    transactional_id: Option<Arc<str>>,
    is_admin: bool,
    items: Vec<Item>,
    asked: Option<Asked>,
    wait: Wait,
    timeout: Instant,
}

/// What it waits for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// The end of another transaction of the same id (B-78).
    Coordinator { next: Instant, limit: Instant },
    /// The coordinator's answers, which are on their way (B-80, B-81).
    Answers { arrives: Instant, limit: Instant },
    /// Replication (B-30).
    Replication,
}

/// Takes up a produce request.
pub(super) fn begin(world: &mut World, context: &Context<'_>, request: ProduceRequest) -> Outcome {
    let timeout = u64::try_from(request.timeout_ms).unwrap_or(0);
    let limit = context.now.instant + world.config.verification_retry.limit;
    let mut pending = Box::new(PendingProduce {
        node: context.node,
        version: context.version,
        acks: request.acks,
        transactional_id: request.transactional_id.as_deref().map(Arc::from),
        is_admin: context.client_id == Some(ADMIN_CLIENT_ID),
        items: Vec::new(),
        asked: None,
        wait: Wait::Coordinator {
            next: context.now.instant,
            limit,
        },
        timeout: context.now.instant + std::time::Duration::from_millis(timeout),
    });
    // A partition that is named twice is written once, the last time.
    let mut places = BTreeMap::new();
    for topic in request.topic_data {
        for partition in topic.partition_data {
            let item = pending.item(world, &topic.name, topic.topic_id, &partition);
            let place = *places
                .entry((item.topic_id, item.topic_name.clone(), partition.index))
                .or_insert(pending.items.len());
            match pending.items.get_mut(place) {
                Some(named_before) => *named_before = item,
                None => pending.items.push(item),
            }
        }
    }
    pending.check_transaction(world);
    pending
        .advance(world, context.now)
        .unwrap_or_else(Outcome::Produce)
}

impl PendingProduce {
    /// When it has to be looked at again, if nothing else happens.
    pub(crate) fn next_deadline(&self) -> Instant {
        match self.wait {
            Wait::Coordinator { next, .. } => next,
            Wait::Answers { arrives, .. } => arrives,
            Wait::Replication => self.timeout,
        }
    }

    /// Does what can be done now. Gives itself back when it must wait on.
    pub(crate) fn advance(mut self: Box<Self>, world: &mut World, now: Now) -> Result<Outcome, Box<Self>> {
        if let Wait::Coordinator { next, limit } = self.wait {
            if now.instant < next {
                return Err(self);
            }
            self.start_verification(world, now);
            let arrives = self.ask(world, now);
            self.wait = Wait::Answers { arrives, limit };
        }
        if let Wait::Answers { arrives, limit } = self.wait {
            if now.instant < arrives {
                return Err(self);
            }
            if self.hear(world, now, limit) == Verified::Later {
                let next = now.instant + world.config.verification_retry.interval;
                self.wait = Wait::Coordinator {
                    next: next.min(limit),
                    limit,
                };
                return Err(self);
            }
            self.append(world, now);
            self.wait = Wait::Replication;
        }
        if self.acks == -1 && !self.is_replicated(world) {
            if now.instant < self.timeout {
                return Err(self);
            }
            self.give_up_replication(world);
        }
        Ok(self.answer(world))
    }

    /// B-23 step 2: the topic, the partition, its leader, and the format of the batch.
    fn item(&self, world: &World, name: &str, id: TopicId, partition: &ProduceRequestPartition) -> Item {
        let topic = match self.version {
            FIRST_ID_VERSION.. => world.cluster.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
            _ => world
                .cluster
                .topic(name)
                .ok_or(ErrorCode::UnknownTopicOrPartition),
        };
        let index = partition.index.0;
        let full_name = topic.map_or(name, |topic| &*topic.name);
        let allowed = world.config.denials.check_topic(Operation::Write, full_name);
        let stage = allowed
            .and(topic)
            .and_then(|topic| topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition))
            .and_then(|found| found.check_served_by(self.node))
            .and_then(|()| match is_internal(full_name) && !self.is_admin {
                true => Err(ErrorCode::InvalidTopicException),
                false => Ok(()),
            })
            .map_err(Refusal::hidden)
            .and_then(|()| {
                IncomingBatch::parse(partition.records.as_ref().unwrap_or(&Bytes::new()), self.version)
            });
        Item {
            topic_name: name.to_owned(),
            topic_id: id,
            partition: named(full_name, index),
            stage: match stage {
                Ok(batch) => ItemStage::Ready(Box::new(batch), Proof::NotNeeded),
                Err(refusal) => ItemStage::Refused(refusal),
            },
        }
    }

    /// B-23 step 1, B-26, and B-75's empty transactional id.
    fn check_transaction(&mut self, world: &World) {
        let transactional = self.batches().filter(|batch| batch.is_transactional());
        let producer_ids: BTreeSet<_> = transactional.map(|batch| batch.producer_id).collect();
        let has_several = producer_ids.len() > 1;
        if producer_ids.is_empty() {
            return;
        }
        let refusal = match self.transactional_id.as_deref() {
            None => Refusal::hidden(ErrorCode::TransactionalIdAuthorizationFailed),
            Some("") => Refusal::hidden(ErrorCode::InvalidRequest),
            Some(id)
                if world
                    .config
                    .denials
                    .check_transactional_id(Operation::Write, id)
                    .is_err() =>
            {
                Refusal::hidden(ErrorCode::TransactionalIdAuthorizationFailed)
            }
            Some(_) if has_several => Refusal::told(ErrorCode::InvalidProducerIdMapping),
            Some(_) => return,
        };
        for item in &mut self.items {
            item.stage = ItemStage::Refused(refusal.clone());
        }
    }

    fn batches(&self) -> impl Iterator<Item = &IncomingBatch> {
        self.items.iter().filter_map(|item| match &item.stage {
            ItemStage::Ready(batch, _) | ItemStage::Unverified(batch, _) => Some(&**batch),
            ItemStage::Appended(_) | ItemStage::Refused(_) => None,
        })
    }

    /// B-25, B-29, and the append itself.
    fn append(&mut self, world: &mut World, now: Now) {
        let is_acks_legal = matches!(self.acks, -1..=1);
        let replicated_at = world.replicated_at(now);
        for item in &mut self.items {
            let ItemStage::Ready(batch, proof) = &item.stage else {
                continue;
            };
            let result = if is_acks_legal {
                append_batch(
                    world,
                    &item.partition,
                    (batch, *proof),
                    (self.node, self.acks),
                    (now, replicated_at),
                )
            } else {
                Err(Refusal::hidden(ErrorCode::InvalidRequiredAcks))
            };
            item.stage = match result {
                Ok(appended) => {
                    world.appended(&item.partition);
                    ItemStage::Appended(appended)
                }
                Err(refusal) => ItemStage::Refused(refusal),
            };
        }
    }

    fn is_replicated(&self, world: &World) -> bool {
        self.items.iter().all(|item| lag(item, world).is_none())
    }

    /// B-30: what is not replicated in time is answered with REQUEST_TIMED_OUT, though it stays in the log.
    fn give_up_replication(&mut self, world: &World) {
        for item in &mut self.items {
            if lag(item, world).is_some() {
                item.stage = ItemStage::Refused(Refusal::hidden(ErrorCode::RequestTimedOut));
            }
        }
    }
}

fn append_batch(
    world: &mut World,
    name: &TopicPartition,
    (batch, proof): (&IncomingBatch, Proof),
    (node, acks): (NodeId, i16),
    (now, replicated_at): (Now, Instant),
) -> Result<Appended, Refusal> {
    let unknown = || Refusal::hidden(ErrorCode::UnknownTopicOrPartition);
    let storage = world.config.storage;
    let room = world.room(batch.bytes.len());
    let most_producers = world.config.limits.producers_per_partition;
    let topic = world.cluster.topic_mut(&name.topic).ok_or_else(unknown)?;
    let config = topic.config.clone();
    let partition = topic.partition_mut(name.partition.0).ok_or_else(unknown)?;
    partition.check_served_by(node).map_err(Refusal::hidden)?;
    if acks == -1 && !partition.has_enough_in_sync(&config) {
        return Err(Refusal::hidden(ErrorCode::NotEnoughReplicas));
    }
    let bytes_before = partition.log().bytes();
    let context = AppendContext {
        config: &config,
        storage,
        now,
        replicated_at,
        room,
        most_producers,
    };
    let appended = partition.append(batch, proof, &context)?;
    let more = partition.log().bytes() - bytes_before;
    world.note_bytes(more);
    Ok(appended)
}

/// How far an appended batch is from being replicated; `None` when it is, or was refused.
fn lag(item: &Item, world: &World) -> Option<Offset> {
    let ItemStage::Appended(appended) = &item.stage else {
        return None;
    };
    let watermark = world.cluster.partition(&item.partition).ok()?.high_watermark();
    (watermark < appended.end).then_some(appended.end)
}
