//! AddPartitionsToTxn (table E-2, T-74, T-76). V1 only.

use std::collections::BTreeMap;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::AddPartitionsToTxnResponse;
use kommit_protocol::units::{PartitionId, PartitionIndex};

use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::requests::{TransactionalRequest, Work};

/// What the answer for one partition leads to. All but `Added`, `Denied` and `Refused` end the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddPartitionAction {
    Added,
    FindCoordinator,
    /// The markers of the previous transaction are still being written (T-74).
    RepeatSoon,
    Repeat,
    Fenced,
    Fail,
    Denied,
    /// The partition was not added; go on with the next.
    Refused,
    Recover,
    Abort,
}

/// E-2.
pub(crate) fn add_partition_action(code: ErrorCode) -> AddPartitionAction {
    use ErrorCode as E;
    match code {
        E::None => AddPartitionAction::Added,
        E::CoordinatorNotAvailable | E::NotCoordinator => AddPartitionAction::FindCoordinator,
        E::ConcurrentTransactions => AddPartitionAction::RepeatSoon,
        retriable if retriable.is_retriable() => AddPartitionAction::Repeat,
        E::InvalidProducerEpoch | E::ProducerFenced => AddPartitionAction::Fenced,
        E::TransactionalIdAuthorizationFailed | E::InvalidTxnState | E::InvalidProducerIdMapping => {
            AddPartitionAction::Fail
        }
        E::TopicAuthorizationFailed => AddPartitionAction::Denied,
        E::OperationNotAttempted => AddPartitionAction::Refused,
        E::UnknownProducerId => AddPartitionAction::Recover,
        E::TransactionAbortable => AddPartitionAction::Abort,
        any_other => refuse_on_any_other(any_other),
    }
}

/// The last row of E-2.
fn refuse_on_any_other(_code: ErrorCode) -> AddPartitionAction {
    AddPartitionAction::Refused
}

/// What the loop over the partitions collects (T-76).
#[derive(Default)]
struct Collected {
    answered: Vec<PartitionIndex>,
    denied: Vec<String>,
    refused: Vec<String>,
    first_refusal: Option<ErrorCode>,
}

impl TransactionManager {
    pub(crate) fn partitions_answered(
        &mut self,
        request: TransactionalRequest,
        body: &AddPartitionsToTxnResponse,
    ) {
        let Work::Partitions(partitions) = &request.work else {
            return self.mislabelled(&request);
        };
        let mut asked: BTreeMap<(&str, PartitionId), PartitionIndex> = BTreeMap::new();
        for partition in partitions {
            if let Some(Some(name)) = self.names.get(partition.position()) {
                asked.insert((&name.topic, name.partition), *partition);
            }
        }
        let mut collected = Collected::default();
        for topic in &body.results_by_topic_v3_and_below {
            for result in &topic.results_by_partition {
                let Some(index) = asked.remove(&(topic.name.as_str(), result.partition_index)) else {
                    continue;
                };
                let code = result.partition_error_code;
                let action = add_partition_action(code);
                if !collected.take(index, &topic.name, result.partition_index, code) {
                    return self.partition_ends_response(request, code, action);
                }
            }
        }
        // A partition that the response leaves out is still pending: the request goes again.
        let complete = asked.is_empty();
        self.partitions_collected(request, collected, complete);
    }

    fn partition_ends_response(
        &mut self,
        request: TransactionalRequest,
        code: ErrorCode,
        action: AddPartitionAction,
    ) {
        match action {
            AddPartitionAction::Added | AddPartitionAction::Denied | AddPartitionAction::Refused => {}
            AddPartitionAction::FindCoordinator => self.look_up_and_repeat(request, code),
            AddPartitionAction::RepeatSoon | AddPartitionAction::Repeat => {
                self.repeat_refused(request, code);
            }
            AddPartitionAction::Fenced | AddPartitionAction::Fail => {
                let error = self.fatal_refusal(&request, code);
                self.fail_request_fatally(&request, error);
            }
            AddPartitionAction::Recover => {
                let error = self.abortable_refusal(&request, code, None);
                self.fail_request_recoverably(&request, error);
            }
            AddPartitionAction::Abort => {
                let error = self.abortable_refusal(&request, code, None);
                self.fail_request_abortably(&request, error);
            }
        }
    }

    /// T-76.
    fn partitions_collected(&mut self, request: TransactionalRequest, collected: Collected, complete: bool) {
        let name = request.kind().name();
        let error = if !collected.denied.is_empty() {
            let topics = format!("topics {}", collected.denied.join(", "));
            let rejection = self.rejection(name, ErrorCode::TopicAuthorizationFailed, Some(topics.into()));
            Some(TransactionError::AccessDenied(rejection))
        } else {
            collected.first_refusal.map(|code| {
                let partitions = collected.refused.join(", ");
                TransactionError::MustAbort(self.rejection(name, code, Some(partitions.into())))
            })
        };
        let Some(transaction) = self.state.transaction_mut() else {
            return;
        };
        match error {
            Some(error) => {
                transaction.refused(&collected.answered);
                self.fail_request_abortably(&request, error);
            }
            None => {
                if !collected.answered.is_empty() {
                    transaction.joined(&collected.answered);
                }
                if !complete {
                    self.repeat_unanswered(request);
                }
            }
        }
    }
}

impl Collected {
    /// Whether the loop goes on behind this partition.
    fn take(&mut self, index: PartitionIndex, topic: &str, partition: PartitionId, code: ErrorCode) -> bool {
        match add_partition_action(code) {
            AddPartitionAction::Added => {}
            AddPartitionAction::Denied => {
                if self.denied.last().is_none_or(|last| last != topic) {
                    self.denied.push(topic.to_owned());
                }
            }
            AddPartitionAction::Refused => {
                // OPERATION_NOT_ATTEMPTED is the consequence of another partition's error, which says more.
                if self
                    .first_refusal
                    .is_none_or(|first| first == ErrorCode::OperationNotAttempted)
                {
                    self.first_refusal = Some(code);
                }
                self.refused
                    .push(format!("{topic}-{partition} ({})", code.name()));
            }
            AddPartitionAction::FindCoordinator
            | AddPartitionAction::RepeatSoon
            | AddPartitionAction::Repeat
            | AddPartitionAction::Fenced
            | AddPartitionAction::Fail
            | AddPartitionAction::Recover
            | AddPartitionAction::Abort => return false,
        }
        self.answered.push(index);
        true
    }
}
