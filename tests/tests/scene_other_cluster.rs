//! The addresses lead to another cluster: nothing is written there with sequences that mean nothing to it.

use std::time::Duration;

use kommit_accumulator::{AppendRefusal, GateReason};
use kommit_protocol::api::ApiKey::Produce;
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::answer;
use kommit_tests::world::{Producer, RecordOutcome, World, written_at};

const SECOND: Duration = Duration::from_secs(1);

/// H30, drill cluster_id_change: a producer that finds itself in another cluster is of no more use, and what waited was not written.
#[test]
fn a_producer_does_not_follow_its_addresses_into_another_cluster() {
    let kinds: [fn(&World) -> Producer; 3] = [World::plain, World::idempotent, |world| {
        let producer = world.transactional("t-1");
        producer.begin();
        producer
    }];
    for kind in kinds {
        let world = World::seeded(30).topic("orders", 1);
        let producer = kind(&world);
        let first = producer.send("orders", 0, "a");
        world.run();
        assert_eq!(first.outcome(), written_at(0));

        world.configure(|broker| broker.cluster_id = "elsewhere".to_owned());
        world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower));
        let waiting = producer.send("orders", 0, "waits");
        world.cut(1); // a connection that was lost asks for metadata, and so does a broker that does not lead
        world.run_for(5 * SECOND);
        let told = waiting.outcome().error();
        assert!(
            told.is_fatal() && told.to_string().contains("elsewhere"),
            "{told}"
        );
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
