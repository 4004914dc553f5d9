//! The transactional requests as messages: one line per kind, in both directions. No decisions.

use bytes::Bytes;
use kommit_network::{Network, VersionLimits};
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::decode_message;
use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;
use kommit_protocol::wire::{DecodeError, Reader};
use kommit_txn_manager::{EpochBumpSupport, RequestBody, RequestKind, ResponseBody, TransactionalRequest};

use crate::core::Purpose;

/// Sends the request to a node that is ready. It always comes back as a completion, one that could not be sent included.
pub(crate) fn send(
    network: &mut Network<Purpose>,
    node: NodeId,
    request: Box<TransactionalRequest>,
    now: Instant,
) -> Result<(), Box<TransactionalRequest>> {
    let limits = VersionLimits {
        min: request.min_version(),
        max: request.max_version(),
    };
    let body = request.body().clone();
    let purpose = Purpose::Transactional(request);
    let sent = match &body {
        RequestBody::FindCoordinator(message) => network.send(node, message, limits, purpose, now),
        RequestBody::InitProducerId(message) => network.send(node, message, limits, purpose, now),
        RequestBody::AddPartitionsToTxn(message) => network.send(node, message, limits, purpose, now),
        RequestBody::AddOffsetsToTxn(message) => network.send(node, message, limits, purpose, now),
        RequestBody::TxnOffsetCommit(message) => network.send(node, message, limits, purpose, now),
        RequestBody::EndTxn(message) => network.send(node, message, limits, purpose, now),
        RequestBody::DescribeTransactions(message) => network.send(node, message, limits, purpose, now),
    };
    match sent {
        Err(Purpose::Transactional(request)) => Err(request),
        Ok(()) | Err(Purpose::Produce(_) | Purpose::Markers(_)) => Ok(()),
    }
}

/// Reads the body of an answer.
pub(crate) fn decode(kind: RequestKind, version: i16, body: Bytes) -> Result<ResponseBody, DecodeError> {
    let r = &mut Reader::new(body);
    Ok(match kind {
        RequestKind::FindCoordinator => {
            ResponseBody::FindCoordinator(decode_message(r, ApiKey::FindCoordinator, version)?)
        }
        RequestKind::InitProducerId => {
            ResponseBody::InitProducerId(decode_message(r, ApiKey::InitProducerId, version)?)
        }
        RequestKind::AddPartitionsToTxn => {
            ResponseBody::AddPartitionsToTxn(decode_message(r, ApiKey::AddPartitionsToTxn, version)?)
        }
        RequestKind::AddOffsetsToTxn => {
            ResponseBody::AddOffsetsToTxn(decode_message(r, ApiKey::AddOffsetsToTxn, version)?)
        }
        RequestKind::TxnOffsetCommit => {
            ResponseBody::TxnOffsetCommit(decode_message(r, ApiKey::TxnOffsetCommit, version)?)
        }
        RequestKind::EndTxn => ResponseBody::EndTxn(decode_message(r, ApiKey::EndTxn, version)?),
        RequestKind::DescribeTransactions => {
            ResponseBody::DescribeTransactions(decode_message(r, ApiKey::DescribeTransactions, version)?)
        }
    })
}

/// T-62: a coordinator that speaks InitProducerId version 3 or later can bump the epoch.
pub(crate) fn epoch_bump_support(network: &Network<Purpose>, node: NodeId) -> EpochBumpSupport {
    let range = network
        .api_versions(node)
        .and_then(|versions| versions.range(ApiKey::InitProducerId));
    match range {
        Some(range) if range.max >= 3 => EpochBumpSupport::Supported,
        _ => EpochBumpSupport::Unsupported,
    }
}
