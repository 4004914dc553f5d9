//! OffsetCommit and TxnOffsetCommit: who may store offsets, and which of them (B-118, B-119).

use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kommit_protocol::units::{Identity, LeaderEpoch, PartitionId, TopicPartition};

use super::membership::{CommitKind, Committer, Group};
use super::offsets::{Admission, StoredOffset};
use super::{FIRST_WITH_TOPIC_IDS, GroupCoordinator};
use crate::coordinator::interface::{Call, CoordinatorKind, VerifyMode, VerifyRequest};
use crate::coordinator::txn::{TransactionCoordinator, offsets_partition};
use crate::denials::Operation;

/// The first version of OffsetCommit that knows GROUP_ID_NOT_FOUND.
const FIRST_WITH_GROUP_ID_NOT_FOUND: i16 = 9;

/// What one partition of a request asks for, or why it cannot be had.
type Wish = Result<(TopicPartition, StoredOffset), ErrorCode>;

impl GroupCoordinator {
    /// B-118, B-119: the offsets wait for the transaction's end.
    pub(in crate::coordinator) fn txn_offset_commit(
        &mut self,
        request: &TxnOffsetCommitRequest,
        call: &Call<'_>,
        transactions: &mut TransactionCoordinator,
    ) -> TxnOffsetCommitResponse {
        let wishes = self.transactional_wishes(request, call);
        let hopeless: Vec<bool> = wishes.iter().map(is_hopeless).collect();
        let codes = match check_transactional_group(request, call) {
            Err(error) => vec![error; wishes.len()],
            Ok(()) if wishes.iter().all(is_hopeless) => refused(&wishes, ErrorCode::None),
            Ok(()) => match self.admit_transactional(request, call, transactions) {
                Err(error) => refused(&wishes, error),
                Ok(()) => {
                    let identity = Identity {
                        id: request.producer_id,
                        epoch: request.producer_epoch,
                    };
                    let group: Arc<str> = request.group_id.as_str().into();
                    let most = self.max_offsets_per_shard;
                    let shard = self.shard_mut(&group);
                    let mut room = shard.room(most);
                    stored(wishes, |place, offset| {
                        take_one(&mut room)?;
                        shard.commit_in_transaction(identity, &group, place, offset);
                        Ok(())
                    })
                }
            },
        };
        let named = request.topics.iter().map(|topic| {
            let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
            (topic.name.as_str(), indexes.collect())
        });
        let topics = arranged(named, codes, &hopeless).into_iter();
        let topics = topics.map(|(name, partitions)| TxnOffsetCommitResponseTopic {
            name: name.to_owned(),
            partitions: partitions
                .into_iter()
                .map(|(partition_index, error_code)| TxnOffsetCommitResponsePartition {
                    partition_index,
                    error_code,
                })
                .collect(),
        });
        TxnOffsetCommitResponse {
            throttle_time_ms: 0,
            topics: topics.collect(),
        }
    }

    fn transactional_wishes(&self, request: &TxnOffsetCommitRequest, call: &Call<'_>) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for topic in &request.topics {
            let name: Arc<str> = topic.name.as_str().into();
            for partition in &topic.partitions {
                let place = TopicPartition {
                    topic: Arc::clone(&name),
                    partition: partition.partition_index,
                };
                let offset = (partition.committed_offset, partition.committed_leader_epoch);
                wishes.push(self.wish(place, offset, partition.committed_metadata.as_deref(), call));
            }
        }
        wishes
    }

    /// Everything that decides about the request as a whole: the transaction (B-119), then the group (B-118).
    fn admit_transactional(
        &mut self,
        request: &TxnOffsetCommitRequest,
        call: &Call<'_>,
        transactions: &mut TransactionCoordinator,
    ) -> Result<(), ErrorCode> {
        let group: Arc<str> = request.group_id.as_str().into();
        let identity = Identity {
            id: request.producer_id,
            epoch: request.producer_epoch,
        };
        if self.shard_mut(&group).admission(identity)? == Admission::AskCoordinator {
            let question = VerifyRequest {
                transactional_id: request.transactional_id.as_str().into(),
                identity,
                partitions: vec![offsets_partition(&group)],
                mode: if call.version >= 5 {
                    VerifyMode::Add
                } else {
                    VerifyMode::VerifyOnly
                },
            };
            let answers = transactions.verify_or_add(&question, &call.cluster, call.now);
            answers
                .into_iter()
                .collect::<Result<Vec<()>, _>>()
                .map_err(|error| translated(error, call.version))?;
        }
        let committer = Committer {
            generation: request.generation_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
        };
        self.check_committer(&group, committer, CommitKind::Transactional, call)
    }

    /// The offsets count at once.
    pub(in crate::coordinator) fn offset_commit(
        &mut self,
        request: &OffsetCommitRequest,
        call: &Call<'_>,
    ) -> OffsetCommitResponse {
        let wishes: Vec<Wish> = request
            .topics
            .iter()
            .flat_map(|topic| self.topic_wishes(topic, call))
            .collect();
        let hopeless: Vec<bool> = wishes.iter().map(is_hopeless).collect();
        let allowed = call.denials.check_group(Operation::Read, &request.group_id);
        let codes = match allowed.map(|()| self.admit_plain(request, call)) {
            Err(error) => vec![error; wishes.len()],
            Ok(Err(error)) => refused(&wishes, error),
            Ok(Ok(())) => {
                let group: Arc<str> = request.group_id.as_str().into();
                let most = self.max_offsets_per_shard;
                let shard = self.shard_mut(&group);
                let mut room = shard.room(most);
                stored(wishes, |place, offset| {
                    if shard.committed(&group, &place).is_none() {
                        take_one(&mut room)?;
                    }
                    shard.commit(&group, place, offset);
                    Ok(())
                })
            }
        };
        let named = request.topics.iter().map(|topic| {
            let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
            ((topic.name.as_str(), topic.topic_id), indexes.collect())
        });
        let topics = arranged(named, codes, &hopeless).into_iter();
        let topics = topics.map(|((name, topic_id), partitions)| OffsetCommitResponseTopic {
            name: name.to_owned(),
            topic_id,
            partitions: partitions
                .into_iter()
                .map(|(partition_index, error_code)| OffsetCommitResponsePartition {
                    partition_index,
                    error_code,
                })
                .collect(),
        });
        OffsetCommitResponse {
            throttle_time_ms: 0,
            topics: topics.collect(),
        }
    }

    fn topic_wishes(&self, topic: &OffsetCommitRequestTopic, call: &Call<'_>) -> Vec<Wish> {
        let name: Result<Arc<str>, ErrorCode> = if call.version >= FIRST_WITH_TOPIC_IDS {
            call.cluster
                .topic_name(topic.topic_id)
                .cloned()
                .ok_or(ErrorCode::UnknownTopicId)
        } else {
            Ok(topic.name.as_str().into())
        };
        let wishes = topic.partitions.iter().map(|partition| {
            let place = TopicPartition {
                topic: name.clone()?,
                partition: partition.partition_index,
            };
            let offset = (partition.committed_offset, partition.committed_leader_epoch);
            self.wish(place, offset, partition.committed_metadata.as_deref(), call)
        });
        wishes.collect()
    }

    fn admit_plain(&mut self, request: &OffsetCommitRequest, call: &Call<'_>) -> Result<(), ErrorCode> {
        call.cluster
            .coordinator_shard(CoordinatorKind::Group, &request.group_id, call.node)?;
        let committer = Committer {
            generation: request.generation_id_or_member_epoch,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
        };
        let group: Arc<str> = request.group_id.as_str().into();
        self.check_committer(&group, committer, CommitKind::Plain, call)
    }

    /// B-118: an unknown group springs into being for whoever claims no generation; a known one has its rules.
    fn check_committer(
        &mut self,
        group: &Arc<str>,
        committer: Committer<'_>,
        kind: CommitKind,
        call: &Call<'_>,
    ) -> Result<(), ErrorCode> {
        match self.groups.get_mut(group) {
            Some(known) => {
                known.check_commit(committer, kind)?;
                known.keep_alive(committer.member_id, call.now.instant);
                Ok(())
            }
            None if committer.generation < 0 => {
                self.check_room(group)?;
                self.changed.insert(Arc::clone(group));
                self.groups.insert(Arc::clone(group), Group::default());
                Ok(())
            }
            None if kind == CommitKind::Plain && call.version >= FIRST_WITH_GROUP_ID_NOT_FOUND => {
                Err(ErrorCode::GroupIdNotFound)
            }
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    /// B-118: what can be said about a partition alone.
    fn wish(
        &self,
        place: TopicPartition,
        (offset, leader_epoch): (i64, LeaderEpoch),
        metadata: Option<&str>,
        call: &Call<'_>,
    ) -> Wish {
        call.denials.check_topic(Operation::Read, &place.topic)?;
        if !call.cluster.has_partition(&place) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let metadata = metadata.unwrap_or_default().to_owned();
        if metadata.len() > self.metadata_max_bytes {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok((
            place,
            StoredOffset {
                offset,
                leader_epoch,
                metadata,
            },
        ))
    }
}

/// B-118, B-22: a group that may have transactional offsets, on the broker that coordinates it.
fn check_transactional_group(request: &TxnOffsetCommitRequest, call: &Call<'_>) -> Result<(), ErrorCode> {
    let group = request.group_id.as_str();
    call.denials
        .check_transactional_id(Operation::Write, &request.transactional_id)?;
    call.denials.check_group(Operation::Read, group)?;
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    call.cluster
        .coordinator_shard(CoordinatorKind::Group, group, call.node)
        .map(|_| ())
}

/// B-119: how the transaction coordinator's codes reach the client here.
fn translated(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::TransactionAbortable if version <= 3 => ErrorCode::InvalidTxnState,
        unchanged => unchanged,
    }
}

/// Whether the wish fails whatever transaction and group say. The length of metadata is looked at behind them.
fn is_hopeless(wish: &Wish) -> bool {
    matches!(wish, Err(fault) if *fault != ErrorCode::OffsetMetadataTooLarge)
}

/// Each partition with its own fault, the faultless ones with `error`.
fn refused(wishes: &[Wish], error: ErrorCode) -> Vec<ErrorCode> {
    wishes
        .iter()
        .map(|wish| match wish {
            Err(fault) if is_hopeless(wish) => *fault,
            _ => error,
        })
        .collect()
}

/// The answer as Kafka puts it together. When something was refused before the group was asked, that comes first, then the rest, and each
/// topic once; otherwise it is as the request was.
fn arranged<K: PartialEq + Copy>(
    named: impl Iterator<Item = (K, Vec<PartitionId>)>,
    codes: Vec<ErrorCode>,
    hopeless: &[bool],
) -> Vec<(K, Vec<(PartitionId, ErrorCode)>)> {
    let mut answers = codes.into_iter().zip(hopeless);
    let topics =
        named.map(|(topic, partitions)| (topic, partitions.into_iter().zip(answers.by_ref()).collect()));
    let topics: Vec<(K, Vec<_>)> = topics.collect();
    let mut merged: Vec<(K, Vec<_>)> = Vec::new();
    if !hopeless.contains(&true) {
        let plain = |(partition, (code, _))| (partition, code);
        return topics
            .into_iter()
            .map(|(topic, answers)| (topic, answers.into_iter().map(plain).collect()))
            .collect();
    }
    for is_first in [true, false] {
        for (topic, answers) in &topics {
            let answers = answers
                .iter()
                .filter(|(_, (_, is_hopeless))| **is_hopeless == is_first);
            let mut answers = answers
                .map(|(partition, (code, _))| (*partition, *code))
                .peekable();
            match merged.iter_mut().find(|(known, _)| known == topic) {
                Some((_, known)) => known.extend(answers),
                None if answers.peek().is_some() => merged.push((*topic, answers.collect())),
                None => {}
            }
        }
    }
    merged
}

/// Room for one more offset.
fn take_one(room: &mut usize) -> Result<(), ErrorCode> {
    *room = room.checked_sub(1).ok_or(ErrorCode::InvalidCommitOffsetSize)?;
    Ok(())
}

fn stored(
    wishes: Vec<Wish>,
    mut store: impl FnMut(TopicPartition, StoredOffset) -> Result<(), ErrorCode>,
) -> Vec<ErrorCode> {
    let stored = wishes
        .into_iter()
        .map(|wish| wish.and_then(|(place, offset)| store(place, offset)));
    stored
        .map(|result| result.err().unwrap_or(ErrorCode::None))
        .collect()
}
