//! AddPartitionsToTxn, AddOffsetsToTxn and what partition leaders ask: B-71 … B-78, B-83.

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnRequestTopic, AddPartitionsToTxnRequestTransaction,
};
use kommit_protocol::units::PartitionId;

use crate::coordinator::interface::MarkerOutcome::Commit;
use crate::coordinator::interface::TransactionVersion::{V1, V2};
use crate::coordinator::interface::VerifyMode::{Add, VerifyOnly};
use crate::coordinator::interface::{CONSUMER_OFFSETS_TOPIC, ShardState, shard_number};
use crate::coordinator::testing::{World, identity};

/// B-71: one bad partition, and none is added; bad partitions are reported before bad identities.
#[test]
fn one_unknown_partition_keeps_the_others_out() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    let expected = [
        ErrorCode::OperationNotAttempted,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert_eq!(world.add(3, "t", producer, &[0, 3]), expected);
    assert_eq!(world.add(3, "t", identity(99, 9), &[0, 3]), expected);
    assert_eq!(world.state("t"), "Empty");
    let internal = world.add_topic(3, "t", producer, CONSUMER_OFFSETS_TOPIC, &[0]);
    assert_eq!(internal, [ErrorCode::TopicAuthorizationFailed]);
}

/// B-71: a request without partitions opens a transaction all the same.
#[test]
fn an_empty_list_opens_a_transaction() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    assert!(world.add(3, "t", producer, &[]).is_empty());
    assert_eq!(world.state("t"), "Ongoing");
    assert_eq!(world.end(4, "t", producer, Commit).err(), None);
    assert_eq!(world.state("t"), "CompleteCommit");
}

/// B-72: who does not belong to the transactional id learns why, in the words of the request's version.
#[test]
fn only_the_present_identity_may_add_partitions() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    assert_eq!(world.add(3, "", producer, &[0]), [ErrorCode::InvalidRequest]);
    assert_eq!(
        world.add(3, "unknown", producer, &[0]),
        [ErrorCode::InvalidProducerIdMapping]
    );
    assert_eq!(
        world.add(3, "t", identity(5, 0), &[0]),
        [ErrorCode::InvalidProducerIdMapping]
    );
    assert_eq!(
        world.add(3, "t", identity(0, 1), &[0]),
        [ErrorCode::ProducerFenced]
    );
    assert_eq!(
        world.add(1, "t", identity(0, 1), &[0]),
        [ErrorCode::InvalidProducerEpoch]
    );
    assert_eq!(
        world.add(3, "t", producer, &[0, 1]),
        [ErrorCode::None, ErrorCode::None]
    );
}

/// B-72, B-94: no partition joins while markers of the last transaction are outstanding.
#[test]
fn nothing_joins_while_markers_are_outstanding() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    world.add(3, "t", producer, &[0]);
    world.end(4, "t", producer, Commit).expect("commits");
    assert_eq!(
        world.add(3, "t", producer, &[1]),
        [ErrorCode::ConcurrentTransactions]
    );
    assert_eq!(
        world.ask(VerifyOnly, "t", producer, 0),
        Err(ErrorCode::ConcurrentTransactions)
    );
    world.write_markers();
    assert_eq!(world.add(3, "t", producer, &[1]), [ErrorCode::None]);
}

/// B-72, B-100: the transaction's start is when its first partition joined.
#[test]
fn a_transaction_starts_with_its_first_partition() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    assert_eq!(world.describe("t").transaction_start_time_ms, -1);
    world.pass(100);
    let start = world.now.wall.0;
    world.add(3, "t", producer, &[0]);
    world.pass(100);
    world.add(3, "t", producer, &[1]);
    let described = world.describe("t");
    assert_eq!(described.transaction_start_time_ms, start);
    assert_eq!(described.topics[0].partitions, [PartitionId(0), PartitionId(1)]);
}

/// B-73: a group joins with the shard that keeps its offsets; an empty group id is nobody's business yet.
#[test]
fn a_group_joins_with_its_offsets_shard() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    assert_eq!(world.add_offsets(3, "t", producer, "readers"), ErrorCode::None);
    let described = world.describe("t");
    assert_eq!(described.topics[0].topic, CONSUMER_OFFSETS_TOPIC);
    let shard = i32::try_from(shard_number("readers")).expect("small");
    assert_eq!(described.topics[0].partitions, [PartitionId(shard)]);
    assert_eq!(world.add_offsets(3, "t", producer, ""), ErrorCode::None);
    assert_eq!(
        world.add_offsets(1, "t", identity(0, 1), "g"),
        ErrorCode::InvalidProducerEpoch
    );
    assert_eq!(
        world.add_offsets(2, "t", identity(0, 1), "g"),
        ErrorCode::ProducerFenced
    );
}

/// B-77: verification tells whether the client added the partition, and changes nothing.
#[test]
fn verification_only_looks() {
    let mut world = World::new(V1);
    let producer = world.init("t").expect("new");
    assert_eq!(
        world.ask(VerifyOnly, "t", producer, 0),
        Err(ErrorCode::TransactionAbortable)
    );
    assert_eq!(world.state("t"), "Empty");
    world.add(3, "t", producer, &[0]);
    assert_eq!(world.ask(VerifyOnly, "t", producer, 0), Ok(()));
    assert_eq!(
        world.ask(VerifyOnly, "t", producer, 1),
        Err(ErrorCode::TransactionAbortable)
    );
    assert_eq!(
        world.ask(VerifyOnly, "t", identity(7, 0), 0),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        world.ask(VerifyOnly, "t", identity(0, 3), 0),
        Err(ErrorCode::ProducerFenced)
    );
    assert_eq!(
        world.ask(VerifyOnly, "unknown", producer, 0),
        Err(ErrorCode::InvalidProducerIdMapping)
    );
    assert_eq!(
        world.ask(VerifyOnly, "", producer, 0),
        Err(ErrorCode::InvalidRequest)
    );
}

/// B-78, B-83: under TV2 the first produce opens the transaction.
#[test]
fn the_first_produce_opens_the_transaction() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.pass(50);
    assert_eq!(world.ask(Add, "t", producer, 2), Ok(()));
    let described = world.describe("t");
    assert_eq!(described.transaction_state, "Ongoing");
    assert_eq!(described.transaction_start_time_ms, world.now.wall.0);
    assert_eq!(world.ask(Add, "t", producer, 2), Ok(()));
    assert_eq!(
        world.ask(Add, "t", identity(0, 1), 2),
        Err(ErrorCode::ProducerFenced)
    );
    world.end(5, "t", producer, Commit).expect("commits");
    let next = identity(0, 1);
    assert_eq!(
        world.ask(Add, "t", next, 0),
        Err(ErrorCode::ConcurrentTransactions)
    );
    world.write_markers();
    assert_eq!(world.ask(Add, "t", next, 0), Ok(()));
}

/// B-79: a partition's leader learns that nobody coordinates, or not yet.
#[test]
fn a_leader_learns_that_the_coordinator_is_away() {
    let mut world = World::new(V2);
    let producer = world.init("t").expect("new");
    world.shard_mut("t").state = ShardState::Loading;
    assert_eq!(
        world.ask(Add, "t", producer, 0),
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    world.shard_mut("t").leader = None;
    assert_eq!(
        world.ask(Add, "t", producer, 0),
        Err(ErrorCode::CoordinatorNotAvailable)
    );
}

/// B-8, B-77: between brokers, one request verifies for one transaction and adds for another.
#[test]
fn brokers_ask_for_several_transactions_at_once() {
    let mut world = World::new(V2);
    let (first, second) = (world.init("a").expect("new"), world.init("b").expect("new"));
    let transaction = |id: &str, producer: kommit_protocol::units::Identity, verify_only| {
        AddPartitionsToTxnRequestTransaction {
            transactional_id: id.to_owned(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            verify_only,
            topics: vec![AddPartitionsToTxnRequestTopic {
                name: "orders".to_owned(),
                partitions: vec![PartitionId(0)],
            }],
        }
    };
    let request = AddPartitionsToTxnRequest {
        transactions: vec![transaction("a", first, true), transaction("b", second, false)],
        ..Default::default()
    };
    let response = world
        .coordinators
        .add_partitions_to_txn(&request, &world.cluster.call(5, world.now));
    let codes: Vec<_> = response
        .results_by_transaction
        .iter()
        .map(|result| result.topic_results[0].results_by_partition[0].partition_error_code)
        .collect();
    assert_eq!(codes, [ErrorCode::TransactionAbortable, ErrorCode::None]);
    assert_eq!(
        (world.state("a").as_str(), world.state("b").as_str()),
        ("Empty", "Ongoing")
    );
}
