//! FindCoordinator (table E-3).

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{FindCoordinatorResponse, FindCoordinatorResponseCoordinator};
use tracing::info;

use crate::coordinators::{CoordinatorNode, CoordinatorType};
use crate::error::TransactionError;
use crate::manager::TransactionManager;
use crate::requests::{TransactionalRequest, Work};

/// What an answer to FindCoordinator leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoordinatorAction {
    Cache,
    Repeat,
    FailUnauthorized,
    AbortGroupDenied,
    Abort,
    Fail,
}

/// E-3.
pub(crate) fn coordinator_action(code: ErrorCode) -> CoordinatorAction {
    use ErrorCode as E;
    match code {
        E::None => CoordinatorAction::Cache,
        retriable if retriable.is_retriable() => CoordinatorAction::Repeat,
        E::TransactionalIdAuthorizationFailed => CoordinatorAction::FailUnauthorized,
        E::GroupAuthorizationFailed => CoordinatorAction::AbortGroupDenied,
        E::TransactionAbortable => CoordinatorAction::Abort,
        any_other => fail_on_any_other(any_other),
    }
}

/// The last row of E-3.
fn fail_on_any_other(_code: ErrorCode) -> CoordinatorAction {
    CoordinatorAction::Fail
}

impl TransactionManager {
    pub(crate) fn coordinator_answered(
        &mut self,
        request: TransactionalRequest,
        body: FindCoordinatorResponse,
    ) {
        let Work::Coordinator { of, key } = &request.work else {
            return self.mislabelled(&request);
        };
        let (of, key) = (*of, key.clone());
        let Some(coordinator) = the_only_coordinator(body) else {
            let what = format!("FindCoordinator for \"{key}\" was not answered with exactly one coordinator");
            let error = TransactionError::BrokenAnswer {
                who: self.who(),
                what: what.into(),
            };
            return self.fail_request_fatally(&request, error);
        };
        let code = coordinator.error_code;
        let subject = match of {
            CoordinatorType::Group => format!("group \"{key}\""),
            CoordinatorType::Transaction => format!("transactional id \"{key}\""),
        };
        let rejection = self.rejection(request.kind().name(), code, Some(subject.into()));
        match coordinator_action(code) {
            CoordinatorAction::Cache => {
                let node = CoordinatorNode {
                    id: coordinator.node_id,
                    host: coordinator.host,
                    port: coordinator.port,
                };
                info!(coordinator = ?of, node = %node.id, "found");
                self.coordinators.found(of, node);
            }
            CoordinatorAction::Repeat => self.repeat_refused(request, code),
            CoordinatorAction::FailUnauthorized => {
                self.fail_request_fatally(&request, TransactionError::Unauthorized(rejection));
            }
            CoordinatorAction::AbortGroupDenied => {
                self.fail_request_abortably(&request, TransactionError::AccessDenied(rejection));
            }
            CoordinatorAction::Abort => {
                self.fail_request_abortably(&request, TransactionError::MustAbort(rejection));
            }
            CoordinatorAction::Fail => {
                self.fail_request_fatally(&request, TransactionError::Refused(rejection))
            }
        }
    }
}

/// Versions 0 to 3 answer for one key in the fields of the response itself; later ones in a list.
fn the_only_coordinator(mut body: FindCoordinatorResponse) -> Option<FindCoordinatorResponseCoordinator> {
    match body.coordinators.len() {
        1 => body.coordinators.pop(),
        0 if body.error_code != ErrorCode::None || !body.host.is_empty() => {
            Some(FindCoordinatorResponseCoordinator {
                key: String::new(),
                node_id: body.node_id,
                host: body.host,
                port: body.port,
                error_code: body.error_code,
                error_message: body.error_message,
            })
        }
        _ => None,
    }
}
