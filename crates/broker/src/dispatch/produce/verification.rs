//! What a produce asks the transaction coordinator, and what it makes of the answer (B-74 to B-82).
//!
//! The coordinator decides at the time of the question; the answer may be on its way for as long as the settings say. Appends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{Identity, NodeId, ProducerEpoch};

use super::answer::unverified_refusal;
use super::{ItemStage, PendingProduce};
use crate::config::Verification;
use crate::coordinator::interface::{VerifyMode, VerifyRequest};
use crate::core::World;
use crate::partition::Proof;
use crate::partition::incoming::Refusal;
use crate::partition::verification::ClientRules;

/// The first version in which the broker adds partitions to the transaction (B-74).
const FIRST_ADDING_VERSION: i16 = 12;

/// Whether every batch has the coordinator's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    Done,
    Later,
}

/// A question with its answers, one for each partition, which count only once they have arrived.
#[derive(Debug)]
pub(super) struct Asked {
    question: Option<Question>,
    mode: VerifyMode,
    answers: Vec<Result<(), ErrorCode>>,
}

/// Names a question whose answers are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    asked_by: NodeId,
    transactional_id: Arc<str>,
    epoch: ProducerEpoch,
    number: u64,
}

/// The questions whose answers are on their way: of each node at most one about a transactional id (B-81).
#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: BTreeMap<(NodeId, Arc<str>), (ProducerEpoch, u64)>,
    last: u64,
}

impl Questions {
    /// A node asks. Its earlier question about the same id is given up, unless that has the higher epoch.
    fn ask(&mut self, asked_by: NodeId, id: &Arc<str>, epoch: ProducerEpoch) -> Result<Question, ErrorCode> {
        let key = (asked_by, Arc::clone(id));
        if self.open.get(&key).is_some_and(|(open, _)| *open > epoch) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        self.last += 1;
        self.open.insert(key, (epoch, self.last));
        Ok(Question {
            asked_by,
            transactional_id: Arc::clone(id),
            epoch,
            number: self.last,
        })
    }

    /// The answers arrive. They do not count when the question was given up meanwhile.
    fn close(&mut self, question: &Question) -> Result<(), ErrorCode> {
        let key = (question.asked_by, Arc::clone(&question.transactional_id));
        match self.open.get(&key) {
            Some((_, number)) if *number == question.number => {
                self.open.remove(&key);
                Ok(())
            }
            Some((epoch, _)) if *epoch > question.epoch => Err(ErrorCode::InvalidProducerEpoch),
            Some(_) | None => Err(ErrorCode::NetworkException),
        }
    }

    /// The node stopped.
    pub(crate) fn forget(&mut self, asked_by: NodeId) {
        self.open.retain(|(node, _), _| *node != asked_by);
    }
}

impl PendingProduce {
    /// B-75, B-76, B-82: which batches need the coordinator's agreement. A repetition (B-78) begins anew, as markers that were
    /// written meanwhile belong to the transaction before.
    pub(super) fn start_verification(&mut self, world: &mut World, now: Now) {
        let rules = self.rules();
        let is_off = rules == ClientRules::V1 && world.config.verification == Verification::Disabled;
        for item in &mut self.items {
            let (ItemStage::Ready(batch, Proof::NotNeeded) | ItemStage::Unverified(batch, _)) = &item.stage
            else {
                continue;
            };
            let batch = batch.clone();
            let Ok(partition) = world.cluster.partition_mut(&item.partition) else {
                continue;
            };
            item.stage = if is_off {
                ItemStage::Ready(batch, Proof::Unchecked)
            } else {
                match partition.start_verification(&batch, rules, now.instant) {
                    Ok(None) => ItemStage::Ready(batch, Proof::NotNeeded),
                    Ok(Some(guard)) => ItemStage::Unverified(batch, guard),
                    Err(code) => ItemStage::Refused(Refusal::hidden(code)),
                }
            }
        }
    }

    /// B-77, B-78: asks the coordinator about everything that is unverified. Returns when the answers arrive.
    pub(super) fn ask(&mut self, world: &mut World, now: Now) -> Instant {
        self.asked = None;
        let Some(request) = self.question() else {
            return now.instant;
        };
        let delay = world.config.verification_delay;
        let opened = if delay.is_zero() {
            Ok(None)
        } else {
            let (id, epoch) = (&request.transactional_id, request.identity.epoch);
            world.questions.ask(self.node, id, epoch).map(Some)
        };
        let answers = match &opened {
            Err(error) => vec![Err(*error); request.partitions.len()],
            Ok(_) => {
                let cluster = world.cluster.view();
                let answers = world.coordinators.verify_or_add(&request, &cluster, now);
                world.coordinators_moved(now);
                answers
            }
        };
        let is_refused = opened.is_err();
        self.asked = Some(Asked {
            question: opened.ok().flatten(),
            mode: request.mode,
            answers,
        });
        if is_refused {
            now.instant
        } else {
            now.instant + delay
        }
    }

    /// Takes the answers in.
    pub(super) fn hear(&mut self, world: &mut World, now: Now, limit: Instant) -> Verified {
        let Some(asked) = self.asked.take() else {
            return Verified::Done;
        };
        let closed = asked
            .question
            .map_or(Ok(()), |question| world.questions.close(&question));
        let may_retry = asked.mode == VerifyMode::Add && now.instant < limit;
        let mut outcome = Verified::Done;
        let unverified = self
            .items
            .iter_mut()
            .filter(|item| matches!(item.stage, ItemStage::Unverified(..)));
        for (item, answer) in unverified.zip(asked.answers) {
            let ItemStage::Unverified(batch, guard) = &item.stage else {
                continue;
            };
            match closed.and(answer) {
                Ok(()) => item.stage = ItemStage::Ready(batch.clone(), Proof::Verified(*guard)),
                Err(ErrorCode::ConcurrentTransactions) if may_retry => outcome = Verified::Later,
                Err(code) => {
                    item.stage = ItemStage::Refused(unverified_refusal(code, self.version, asked.mode));
                }
            }
        }
        outcome
    }

    fn question(&self) -> Option<VerifyRequest> {
        let mut identity = None;
        let mut partitions = Vec::new();
        for item in &self.items {
            if let ItemStage::Unverified(batch, _) = &item.stage {
                identity = identity.or(batch.producer_id.map(|id| Identity {
                    id,
                    epoch: batch.epoch,
                }));
                partitions.push(item.partition.clone());
            }
        }
        let mode = match self.rules() {
            ClientRules::V1 => VerifyMode::VerifyOnly,
            ClientRules::V2 => VerifyMode::Add,
        };
        let transactional_id = self.transactional_id.clone()?;
        Some(VerifyRequest {
            transactional_id,
            identity: identity?,
            partitions,
            mode,
        })
    }

    fn rules(&self) -> ClientRules {
        if self.version >= FIRST_ADDING_VERSION {
            ClientRules::V2
        } else {
            ClientRules::V1
        }
    }
}
