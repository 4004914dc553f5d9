//! The stage itself: it is quiet when nothing happens, and the same seed plays the same scene.

use kommit_protocol::api::ApiKey::{EndTxn, Produce};
use kommit_tests::world::fault::hold;
use kommit_tests::world::{World, committed, waiting, written_at};

fn a_transaction(seed: u64) -> World {
    let world = World::seeded(seed).topic("orders", 2).batch_per_record();
    let producer = world.transactional("t-1");
    producer.begin();
    for number in 0..4 {
        producer.send("orders", number % 2, &number.to_string());
    }
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
    world
}

/// T-40: commit waits for the last batch. S-26: while a transactional request is out, nothing is drained.
#[test]
fn commit_waits_for_the_last_batch() {
    let world = World::seeded(7).topic("orders", 1);
    let producer = world.transactional("t-1");
    producer.begin();
    let delivery = producer.send("orders", 0, "a");
    world.rule(hold(Produce));
    let commit = producer.commit();

    world.run();
    world.expect_unsent(EndTxn);
    assert_eq!(commit.outcome(), waiting());

    world.release(Produce);
    world.run();
    assert_eq!(delivery.outcome(), written_at(0));
    assert_eq!(commit.outcome(), committed());
    assert_eq!(world.committed("orders", 0), ["a"]);
}

/// The same seed gives the same trace, byte for byte; another one gives other delays and the same end.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let (first, again, other) = (a_transaction(7), a_transaction(7), a_transaction(8));
    assert_eq!(first.trace(), again.trace());
    assert_ne!(first.trace(), other.trace());
    assert_eq!(first.log("orders", 0), other.log("orders", 0));
    assert!(first.trace().contains("EndTxn v5 commit"), "{}", first.trace());
}
