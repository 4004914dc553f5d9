//! FindCoordinator: which broker leads the shard that a key belongs to (B-2, B-21). Creates nothing.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, FindCoordinatorResponseCoordinator,
};
use kommit_protocol::units::NodeId;

use super::interface::{Call, ClusterNode, CoordinatorKind};
use crate::denials::Operation;

/// The first version that asks for many keys at once.
const FIRST_WITH_LIST: i16 = 4;

/// The kinds of keys.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// Known by name, not served.
const SHARE_GROUP: i8 = 2;

/// Answers for one key, or from version 4 on for each key of the list.
pub(super) fn find_coordinator(request: &FindCoordinatorRequest, call: &Call<'_>) -> FindCoordinatorResponse {
    let mut response = FindCoordinatorResponse::default();
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
    response.error_message = Some(found.error_code.text().to_owned());
    response.node_id = found.node_id;
    response.host = found.host;
    response.port = found.port;
    response
}

fn answer(key: &str, key_type: i8, call: &Call<'_>) -> FindCoordinatorResponseCoordinator {
    let found = match key_type {
        GROUP => leader(CoordinatorKind::Group, key, call),
        TRANSACTION => call
            .denials
            .check_transactional_id(Operation::Describe, key)
            .and_then(|()| leader(CoordinatorKind::Transaction, key, call)),
        _ => Err(ErrorCode::InvalidRequest),
    };
    let mut coordinator = FindCoordinatorResponseCoordinator {
        key: key.to_owned(),
        node_id: NodeId(-1),
        host: String::new(),
        port: -1,
        error_code: ErrorCode::None,
        error_message: Some(String::new()),
    };
    match found {
        Ok(node) => {
            coordinator.node_id = node.id;
            coordinator.host.clone_from(&node.host);
            coordinator.port = i32::from(node.port);
        }
        Err(error) => {
            coordinator.error_code = error;
            if !(GROUP..=SHARE_GROUP).contains(&key_type) {
                coordinator.error_message = Some(error.text().to_owned());
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::interface::TransactionVersion;
    use crate::coordinator::testing::World;

    fn ask(world: &World, version: i16, key_type: i8) -> FindCoordinatorResponse {
        let request = FindCoordinatorRequest {
            key: "t".to_owned(),
            key_type,
            coordinator_keys: vec!["t".to_owned(), "u".to_owned()],
        };
        find_coordinator(&request, &world.cluster.call(version, world.now))
    }

    /// B-2, B-21: the coordinator of a key is the leader of its shard; from version 4 on there is one answer per key.
    #[test]
    fn the_coordinator_is_the_leader_of_the_shard() {
        let mut world = World::new(TransactionVersion::V2);
        world.shard_mut("t").leader = Some(NodeId(2));
        let single = ask(&world, 3, 1);
        assert_eq!(
            (single.error_code, single.node_id, single.port),
            (ErrorCode::None, NodeId(2), 9093)
        );
        let many = ask(&world, 6, 1).coordinators;
        let found: Vec<_> = many
            .iter()
            .map(|found| (found.key.as_str(), found.node_id.0))
            .collect();
        assert_eq!(found, [("t", 2), ("u", 1)]);
        assert_eq!(
            ask(&world, 3, 0).node_id,
            NodeId(1),
            "groups have shards of their own"
        );
    }

    /// B-21: without the internal topic, or without a leader, nobody coordinates yet.
    #[test]
    fn nobody_coordinates_a_shard_without_leader() {
        let mut world = World::new(TransactionVersion::V2);
        world.shard_mut("t").leader = None;
        let leaderless = ask(&world, 3, 1);
        assert_eq!(leaderless.error_code, ErrorCode::CoordinatorNotAvailable);
        assert_eq!((leaderless.node_id, leaderless.host.as_str()), (NodeId(-1), ""));
        world.cluster.group_shards.clear();
        assert_eq!(ask(&world, 3, 0).error_code, ErrorCode::CoordinatorNotAvailable);
    }

    /// B-21: there are two kinds of keys.
    #[test]
    fn an_unknown_kind_of_key_is_an_invalid_request() {
        let world = World::new(TransactionVersion::V2);
        assert_eq!(ask(&world, 3, 2).error_code, ErrorCode::InvalidRequest);
        assert_eq!(
            ask(&world, 4, -1).coordinators[1].error_code,
            ErrorCode::InvalidRequest
        );
    }
}
