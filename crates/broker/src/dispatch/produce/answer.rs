//! What a produce request is answered with (B-13, B-27, B-33 to B-36, B-79). Reads the outcome; changes nothing.

use std::collections::BTreeMap;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;

use super::{Item, ItemStage, PendingProduce};
use crate::coordinator::interface::VerifyMode;
use crate::core::World;
use crate::dispatch::Outcome;
use crate::messages::ResponseMessage;
use crate::partition::incoming::{LogStart, Refusal, Wording};

/// The first version that knows TRANSACTION_ABORTABLE (B-79).
const FIRST_ABORTABLE_VERSION: i16 = 11;
/// The first version with hints about leaders (B-27).
const FIRST_HINTING_VERSION: i16 = 10;

impl PendingProduce {
    /// The answer, or the silence that acks = 0 asked for (B-13).
    pub(super) fn answer(self, world: &World) -> Outcome {
        let has_failed = self
            .items
            .iter()
            .any(|item| matches!(item.stage, ItemStage::Refused(_)));
        if self.acks == 0 {
            return if has_failed {
                Outcome::Close
            } else {
                Outcome::Silence
            };
        }
        let mut response = ProduceResponse::default();
        let mut places = BTreeMap::new();
        for item in &self.items {
            let entry = self.entry(item, world, &mut response.node_endpoints);
            let place = *places
                .entry((item.topic_id, &item.topic_name))
                .or_insert(response.responses.len());
            match response.responses.get_mut(place) {
                Some(topic) => topic.partition_responses.push(entry),
                None => response.responses.push(ProduceResponseTopic {
                    name: item.topic_name.clone(),
                    topic_id: item.topic_id,
                    partition_responses: vec![entry],
                }),
            }
        }
        ResponseMessage::Produce(response).into()
    }

    fn entry(
        &self,
        item: &Item,
        world: &World,
        endpoints: &mut Vec<ProduceResponseNodeEndpoint>,
    ) -> ProduceResponsePartition {
        let partition = world.cluster.partition(&item.partition).ok();
        let log_start = partition.map_or(-1, |partition| partition.log().start().0);
        let mut entry = ProduceResponsePartition {
            index: item.partition.partition,
            ..Default::default()
        };
        match &item.stage {
            ItemStage::Appended(appended) => {
                entry.base_offset = appended.base_offset.0;
                entry.log_append_time_ms = appended.log_append_time.map_or(-1, |time| time.0);
                entry.log_start_offset = log_start;
            }
            ItemStage::Refused(refusal) => {
                entry.base_offset = -1;
                entry.error_code = refusal.code;
                entry.log_start_offset = if refusal.log_start == LogStart::Shown {
                    log_start
                } else {
                    -1
                };
                describe_records(&mut entry, refusal);
                if refusal.code == ErrorCode::NotLeaderOrFollower && self.version >= FIRST_HINTING_VERSION {
                    entry.current_leader = self.leader_hint(item, world, endpoints);
                }
            }
            ItemStage::Ready(..) | ItemStage::Unverified(..) => {
                entry.error_code = ErrorCode::UnknownServerError
            }
        }
        entry
    }

    /// B-27: who leads, and where that node is.
    fn leader_hint(
        &self,
        item: &Item,
        world: &World,
        endpoints: &mut Vec<ProduceResponseNodeEndpoint>,
    ) -> ProduceResponseCurrentLeader {
        let Ok(partition) = world.cluster.partition(&item.partition) else {
            return Default::default();
        };
        let Some(leader_id) = partition.leader else {
            return Default::default();
        };
        if let Some(node) = world.cluster.view().live_node(leader_id)
            && !endpoints.iter().any(|endpoint| endpoint.node_id == leader_id)
        {
            endpoints.push(ProduceResponseNodeEndpoint {
                node_id: node.id,
                host: node.host.clone(),
                port: i32::from(node.port),
                rack: None,
            });
        }
        ProduceResponseCurrentLeader {
            leader_id,
            leader_epoch: partition.leader_epoch,
        }
    }
}

/// B-79: how the coordinator's refusal reaches the client, with words where the code alone would puzzle.
pub(super) fn unverified_refusal(code: ErrorCode, version: i16, mode: VerifyMode) -> Refusal {
    match translated(code, version, mode) {
        code @ (ErrorCode::InvalidTxnState
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::ConcurrentTransactions) => Refusal::told(code),
        code => Refusal::hidden(code),
    }
}

fn translated(code: ErrorCode, version: i16, mode: VerifyMode) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < FIRST_ABORTABLE_VERSION => ErrorCode::InvalidTxnState,
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        ErrorCode::ConcurrentTransactions if mode == VerifyMode::VerifyOnly => ErrorCode::NotEnoughReplicas,
        unchanged => unchanged,
    }
}

/// B-33: what is wrong in words, and the bad records of a refused batch one by one.
fn describe_records(entry: &mut ProduceResponsePartition, refusal: &Refusal) {
    if refusal.wording == Wording::InWords {
        entry.error_message = Some(refusal.code.text().to_owned());
    }
    if refusal.records.is_empty() {
        return;
    }
    entry.error_message = Some(format!(
        "{} records of the batch were rejected",
        refusal.records.len()
    ));
    entry.record_errors = refusal
        .records
        .iter()
        .map(|(index, text)| ProduceResponseRecordError {
            batch_index: *index,
            batch_index_error_message: Some((*text).to_owned()),
        })
        .collect();
}
