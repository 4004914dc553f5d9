//! FindCoordinator: which broker leads the shard that a key belongs to (B-2, B-21). Creates nothing.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, FindCoordinatorResponseCoordinator,
};
use kommit_protocol::units::NodeId;

use super::interface::{Call, ClusterNode, CoordinatorKind};

/// The first version that asks for many keys at once.
const FIRST_WITH_LIST: i16 = 4;

/// Answers for one key, or from version 4 on for each key of the list.
pub(super) fn find_coordinator(request: &FindCoordinatorRequest, call: &Call<'_>) -> FindCoordinatorResponse {
    let mut response = FindCoordinatorResponse {
        error_message: None,
        ..Default::default()
    };
    if call.version >= FIRST_WITH_LIST {
        let found = request
            .coordinator_keys
            .iter()
            .map(|key| answer(key, request.key_type, call));
        response.coordinators = found.collect();
        return response;
    }
    let found = answer(&request.key, request.key_type, call);
    response.error_code = found.error_code;
    response.error_message = found.error_message;
    response.node_id = found.node_id;
    response.host = found.host;
    response.port = found.port;
    response
}

fn answer(key: &str, key_type: i8, call: &Call<'_>) -> FindCoordinatorResponseCoordinator {
    let found = match key_type {
        0 => leader(CoordinatorKind::Group, key, call),
        1 => leader(CoordinatorKind::Transaction, key, call),
        _ => Err(ErrorCode::InvalidRequest),
    };
    let mut coordinator = FindCoordinatorResponseCoordinator {
        key: key.to_owned(),
        node_id: NodeId(-1),
        host: String::new(),
        port: -1,
        error_code: ErrorCode::None,
        error_message: None,
    };
    match found {
        Ok(node) => {
            coordinator.node_id = node.id;
            coordinator.host.clone_from(&node.host);
            coordinator.port = i32::from(node.port);
        }
        Err(error) => {
            coordinator.error_code = error;
            coordinator.error_message = Some(error.text().to_owned());
        }
    }
    coordinator
}

fn leader<'a>(kind: CoordinatorKind, key: &str, call: &Call<'a>) -> Result<&'a ClusterNode, ErrorCode> {
    let leader = call.cluster.shard_of(kind, key).1.and_then(|shard| shard.leader);
    leader
        .and_then(|id| call.cluster.live_node(id))
        .ok_or(ErrorCode::CoordinatorNotAvailable)
}
