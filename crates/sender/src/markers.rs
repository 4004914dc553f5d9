//! Asking the coordinator whether the markers of the last transaction are written. It changes nothing at the coordinator, and whatever
//! becomes of the question, the next transaction goes its way.

use bytes::Bytes;
use kommit_network::{ConnectionId, Outcome};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::decode_message;
use kommit_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use kommit_protocol::time::Instant;
use kommit_protocol::wire::{DecodeError, Reader};
use kommit_txn_manager::{Flavour, StateName, TransactionManager};

use crate::core::{Purpose, SenderCore};
use crate::pace::{MarkersQuestion, MarkersTold};

impl SenderCore {
    /// Until when an open transaction waits for the markers of the last one, when it has something to send. T-74: with version 2 nobody
    /// says that it would come too early, so it asks.
    pub(crate) fn hold_transaction(&mut self, now: Instant) -> Option<Instant> {
        let speaks_v2 = self.txn.as_ref().map(TransactionManager::flavour) == Some(Flavour::V2);
        let question = self.pace.question(now);
        if let (true, Some(question)) = (speaks_v2 && self.has_transaction_to_send(), question) {
            self.ask(question, now);
        }
        self.holds_transaction_until(now)
    }

    /// The same, without asking.
    pub(crate) fn holds_transaction_until(&self, now: Instant) -> Option<Instant> {
        let until = self.pace.holds_until(now)?;
        self.has_transaction_to_send().then_some(until)
    }

    fn has_transaction_to_send(&self) -> bool {
        let Some(txn) = self.txn.as_ref() else {
            return false;
        };
        let is_open = matches!(txn.state(), StateName::InTransaction | StateName::Committing);
        is_open && (self.drainer.has_undrained() || txn.has_pending_requests())
    }

    fn ask(&mut self, question: MarkersQuestion, now: Instant) {
        let Some(id) = self.config.transactional_id.as_deref() else {
            return;
        };
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![id.to_owned()],
        };
        self.pace.asked(now);
        let purpose = Purpose::Markers(question);
        if self
            .network
            .send(question.coordinator, &request, None, purpose, now)
            .is_err()
        {
            self.pace.told(question, MarkersTold::Nothing, now);
        }
    }

    pub(crate) fn markers_told(
        &mut self,
        question: MarkersQuestion,
        connection: ConnectionId,
        result: Outcome,
        now: Instant,
    ) {
        let told = match result {
            Outcome::Response { version, body, .. } => match self.read(version, body) {
                Ok(told) => told,
                Err(error) => {
                    self.network.protocol_error(connection, &error.to_string(), now);
                    MarkersTold::Nothing
                }
            },
            Outcome::VersionMismatch { .. } | Outcome::TimedOut { .. } => MarkersTold::Refused,
            Outcome::Disconnected { .. } | Outcome::Written | Outcome::AuthenticationFailed { .. } => {
                MarkersTold::Nothing
            }
        };
        self.pace.told(question, told, now);
    }

    fn read(&self, version: i16, body: Bytes) -> Result<MarkersTold, DecodeError> {
        let response: DescribeTransactionsResponse =
            decode_message(&mut Reader::new(body), ApiKey::DescribeTransactions, version)?;
        let id = self.config.transactional_id.as_deref();
        let own = response
            .transaction_states
            .iter()
            .find(|it| Some(it.transactional_id.as_str()) == id);
        Ok(
            match own.map(|own| (own.error_code, own.transaction_state.as_str())) {
                Some((ErrorCode::None, "PrepareCommit" | "PrepareAbort")) => MarkersTold::TooEarly,
                Some((ErrorCode::None, _)) => MarkersTold::Written,
                _ => MarkersTold::Refused,
            },
        )
    }
}
