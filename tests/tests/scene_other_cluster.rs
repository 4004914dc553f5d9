//! The addresses lead to another cluster: nothing is written there with sequences that mean nothing to it.

use std::time::Duration;

use kommit_accumulator::{AppendRefusal, GateReason};
use kommit_protocol::api::ApiKey::Produce;
use kommit_tests::world::{RecordOutcome, World, written_at};

const SECOND: Duration = Duration::from_secs(1);

/// H30, drill cluster_id_change: a producer that finds itself in another cluster is of no more use, and what waited was not written.
#[test]
fn a_producer_does_not_follow_its_addresses_into_another_cluster() {
    for transactional in [None, Some("t-1")] {
        let world = World::seeded(30).topic("orders", 1);
        let producer = match transactional {
            Some(id) => world.transactional(id),
            None => world.idempotent(),
        };
        if transactional.is_some() {
            producer.begin();
        }
        let first = producer.send("orders", 0, "a");
        world.run();
        assert_eq!(first.outcome(), written_at(0));

        world.configure(|broker| broker.cluster_id = "elsewhere".to_owned());
        world.cut(1); // a connection that was lost asks for metadata
        world.run_for(5 * SECOND);
        let sent = world.sent(Produce).len();
        let refused = producer.send("orders", 0, "b").outcome();
        let RecordOutcome::Refused(AppendRefusal::Refused(GateReason::Fatal(_))) = refused else {
            panic!("{refused:?}");
        };
        world.run_for(60 * SECOND);
        assert_eq!(world.sent(Produce).len(), sent);
        assert_eq!(world.log("orders", 0), ["a"]);
    }
}
