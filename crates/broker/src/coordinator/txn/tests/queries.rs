//! ListTransactions and DescribeTransactions: B-100.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use kommit_protocol::units::{NodeId, ProducerId};

use crate::coordinator::interface::MarkerOutcome::Commit;
use crate::coordinator::interface::ShardState;
use crate::coordinator::interface::TransactionVersion::V2;
use crate::coordinator::interface::VerifyMode::Add;
use crate::coordinator::testing::World;

fn list(world: &mut World, request: &ListTransactionsRequest) -> ListTransactionsResponse {
    world
        .coordinators
        .list_transactions(request, &world.cluster.call(2, world.now))
}

fn names(response: &ListTransactionsResponse) -> Vec<&str> {
    response
        .transaction_states
        .iter()
        .map(|listed| listed.transactional_id.as_str())
        .collect()
}

fn world_with_two() -> World {
    let mut world = World::new(V2);
    world.init("idle").expect("new");
    let producer = world.init("busy").expect("new");
    world.ask(Add, "busy", producer, 0).expect("joins");
    world
}

/// B-100: what is known of a transactional id; the start time stays behind after the end.
#[test]
fn a_finished_transaction_shows_when_it_started() {
    let mut world = world_with_two();
    let open = world.describe("busy");
    assert_eq!(
        (open.transaction_state.as_str(), open.transaction_timeout_ms),
        ("Ongoing", 60_000)
    );
    let producer = kommit_protocol::units::Identity {
        id: open.producer_id,
        epoch: open.producer_epoch,
    };
    world.pass(5);
    world.end(5, "busy", producer, Commit).expect("commits");
    world.write_markers();
    let finished = world.describe("busy");
    assert_eq!(finished.transaction_state, "CompleteCommit");
    assert_eq!(finished.transaction_start_time_ms, open.transaction_start_time_ms);
    assert!(finished.topics.is_empty());
    assert_eq!(world.describe("idle").transaction_start_time_ms, -1);
}

/// B-100, B-22: who is not known, not named, or not coordinated here.
#[test]
fn an_id_that_cannot_be_described_says_why() {
    let mut world = world_with_two();
    assert_eq!(
        world.describe("nobody").error_code,
        ErrorCode::TransactionalIdNotFound
    );
    assert_eq!(world.describe("").error_code, ErrorCode::InvalidRequest);
    world.cluster.called = NodeId(2);
    assert_eq!(world.describe("busy").error_code, ErrorCode::NotCoordinator);
    assert!(names(&list(&mut world, &ListTransactionsRequest::default())).is_empty());
}

/// B-100: the filters of ListTransactions.
#[test]
fn a_list_contains_what_its_filters_let_through() {
    let mut world = world_with_two();
    let all = list(&mut world, &ListTransactionsRequest::default());
    assert_eq!(names(&all), ["busy", "idle"]);
    let states = vec!["Ongoing".to_owned(), "Sleeping".to_owned()];
    let by_state = list(
        &mut world,
        &ListTransactionsRequest {
            state_filters: states,
            ..Default::default()
        },
    );
    assert_eq!(names(&by_state), ["busy"]);
    assert_eq!(by_state.unknown_state_filters, ["Sleeping"]);
    let ids = vec![ProducerId(0)];
    let by_id = list(
        &mut world,
        &ListTransactionsRequest {
            producer_id_filters: ids,
            ..Default::default()
        },
    );
    assert_eq!(names(&by_id), ["idle"]);
    let pattern = Some("b.*".to_owned());
    let by_name = list(
        &mut world,
        &ListTransactionsRequest {
            transactional_id_pattern: pattern,
            ..Default::default()
        },
    );
    assert_eq!(names(&by_name), ["busy"]);
}

/// B-100: the duration filter also matches ids without a transaction.
#[test]
fn a_duration_filter_matches_idle_ids() {
    let mut world = world_with_two();
    world.pass(100);
    let lasting = |duration_filter| ListTransactionsRequest {
        duration_filter,
        ..Default::default()
    };
    assert_eq!(names(&list(&mut world, &lasting(50))), ["busy", "idle"]);
    assert_eq!(names(&list(&mut world, &lasting(100))), ["idle"]);
}

/// B-22: a broker that still loads a shard cannot say what it has.
#[test]
fn a_loading_broker_lists_nothing() {
    let mut world = world_with_two();
    world.shard_mut("idle").state = ShardState::Loading;
    let response = list(&mut world, &ListTransactionsRequest::default());
    assert_eq!(response.error_code, ErrorCode::CoordinatorLoadInProgress);
}
