//! The pause between a transaction and the next, whose markers are still being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kommit_broker::BrokerConfig;
use kommit_broker::coordinator::interface::TransactionVersion;
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::{answer, disconnect_before, edit, hold};
use kommit_tests::world::{Producer, World, committed, waiting};

const MILLI: Duration = Duration::from_millis(1);
/// Longer than a round trip of the world, so that whoever comes at once comes too early.
const MARKERS: Duration = Duration::from_millis(4);

fn world(transaction_version: TransactionVersion, marker_delay: Duration) -> World {
    let config = BrokerConfig {
        transaction_version,
        marker_delay,
        seed: 31,
        ..BrokerConfig::default()
    };
    World::with_cluster(config).topic("orders", 1)
}

/// One record per transaction, one transaction behind the other; how long each took.
fn back_to_back(world: &World, producer: &Producer, count: usize) -> Vec<Duration> {
    let one = |_| {
        let begun = world.now();
        producer.begin();
        producer.send("orders", 0, "a");
        let commit = producer.commit();
        while commit.outcome() == waiting() {
            world.run_for(MILLI / 10);
        }
        assert_eq!(commit.outcome(), committed());
        world.now() - begun
    };
    (0..count).map(one).collect()
}

/// T-74: with version 2 the broker holds back whoever comes before the markers for 20 ms. Two that were held back are enough: from then on the
/// coordinator is asked, and the producer learns how long they take.
#[test]
fn transactions_of_version_2_wait_for_the_markers_and_not_for_the_broker() {
    let world = world(TransactionVersion::V2, MARKERS);
    let producer = world.transactional("t-1");
    let took = back_to_back(&world, &producer, 60);
    assert!(took[..10].iter().any(|took| *took > 20 * MILLI), "{took:?}");
    let held_back = took.iter().filter(|took| **took > 20 * MILLI).count();
    assert_eq!(held_back, 2, "{took:?}");
    let pause = producer.transaction_pause();
    assert!((MILLI..5 * MILLI).contains(&pause), "{pause:?}");
}

/// T-74: with version 1 the coordinator says so itself, and the first back-off is a millisecond.
#[test]
fn transactions_of_version_1_come_again_soon() {
    let world = world(TransactionVersion::V1, MARKERS);
    let producer = world.transactional("t-1");
    let took = back_to_back(&world, &producer, 60);
    assert!(took.iter().all(|took| *took < 15 * MILLI), "{took:?}");
    let pause = producer.transaction_pause();
    assert!((Duration::from_nanos(1)..=MILLI).contains(&pause), "{pause:?}");
}

/// A producer whose application is slower than the markers never waits for them.
#[test]
fn an_application_that_takes_its_time_never_waits() {
    let world = world(TransactionVersion::V2, MARKERS);
    let producer = world.transactional("t-1");
    back_to_back(&world, &producer, 10);
    world.run_for(30 * MILLI);
    let took = back_to_back(&world, &producer, 1);
    assert!(took[0] < 6 * MILLI, "{took:?}");
}

/// T-74: the pause is learned and kept for a transaction, too, that was begun while the commit before it was under way.
#[test]
fn a_transaction_that_was_begun_ahead_waits_for_the_markers_too() {
    for version in [TransactionVersion::V1, TransactionVersion::V2] {
        let world = world(version, MARKERS);
        let producer = world.transactional("t-1");
        producer.begin();
        let mut ended = Vec::new();
        for _ in 0..60 {
            producer.send("orders", 0, "a");
            let (_, begun) = producer.commit_and_begin();
            while begun.outcome() == waiting() {
                world.run_for(MILLI / 10);
            }
            ended.push(world.now());
        }
        let took: Vec<Duration> = ended.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let late = took.iter().filter(|took| **took > 20 * MILLI).count();
        assert!(late <= 2, "{took:?}");
        assert!(producer.transaction_pause() > Duration::ZERO);
    }
}

/// T-74: the coordinator may refuse the question, or go away: the transaction waits no longer than the broker would have held it. Whoever
/// leaves a question unanswered, and with it what stands behind it on the connection, is not asked a second time.
#[test]
fn whatever_becomes_of_the_question_the_transaction_goes_on() {
    let faults = [
        answer(
            ApiKey::DescribeTransactions,
            ErrorCode::TransactionalIdAuthorizationFailed,
        ),
        hold(ApiKey::DescribeTransactions),
        disconnect_before(ApiKey::DescribeTransactions).times(3),
    ];
    for fault in faults {
        let world = world(TransactionVersion::V2, MARKERS);
        let producer = world.transactional("t-1");
        world.rule(fault);
        let took = back_to_back(&world, &producer, 40);
        let late = took.iter().filter(|took| **took > 60 * MILLI).count();
        assert!(late <= 1, "{took:?}");
    }
}

/// T-74: with version 1 the coordinator refuses who comes too early, and need not be asked.
#[test]
fn only_version_2_asks_for_the_markers() {
    for (version, is_asked) in [(TransactionVersion::V1, false), (TransactionVersion::V2, true)] {
        let world = world(version, MARKERS);
        let answers = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&answers);
        world.rule(edit(ApiKey::DescribeTransactions, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let producer = world.transactional("t-1");
        back_to_back(&world, &producer, 20);
        assert_eq!(answers.load(Ordering::Relaxed) > 0, is_asked, "{version:?}");
    }
}
