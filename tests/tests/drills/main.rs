//! One drill for each hazard of `docs/spec/hazards.md`, under its name there, with both versions of the transaction protocol.
//!
//! A drill plays the schedule of its hazard, says what the client must do and what the log must show, and ends with the audit of the
//! world, which knows the promises and not the hazard. [`batches`] is about what becomes of records, [`ends`] about what becomes of
//! transactions, [`going_on`] about that with the next one open already, [`identities`] about who a producer is, [`offsets`] about consumer groups. [`switches`] shows for each rule that a drill
//! fails without it.

mod batches;
mod ends;
mod going_on;
mod identities;
mod offsets;
mod switches;

use std::time::Duration;

use kommit_tests::world::{Producer, World, committed};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [&str; 0] = [];

/// Plays a drill with version 1 and with version 2.
fn with_both_versions(drill: impl Fn(World, u8)) {
    for version in [1, 2] {
        let world = World::with_brokers(31, 2)
            .topic("orders", 3)
            .transaction_version(version);
        for partition in 0..3 {
            world.move_leader("orders", partition, Some(1));
        }
        world.move_transaction_coordinator(1);
        drill(world, version);
    }
}

/// A producer with an open transaction, of which record "a" is in the log.
fn begun(world: &World) -> Producer {
    let producer = world.transactional("t-1");
    producer.begin();
    producer.send("orders", 0, "a");
    world.run();
    producer
}

/// A transaction that nothing befalls.
fn commits(world: &World, producer: &Producer, value: &str) {
    producer.begin();
    producer.send("orders", 0, value);
    let commit = producer.commit();
    world.run();
    assert_eq!(commit.outcome(), committed());
}
