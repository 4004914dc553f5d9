//! Topics that are deleted and created anew under their old name, and topics that metadata loses for a while (H11, R3).

use std::time::Duration;

use kommit_broker::ResponseMessage;
use kommit_protocol::api::ApiKey::{Metadata, Produce};
use kommit_protocol::api::VersionRange;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::TopicId;
use kommit_tests::world::fault::{answer, disconnect_after, edit, hold_request};
use kommit_tests::world::{RecordOutcome, World, aborted, committed};

const SECOND: Duration = Duration::from_secs(1);

fn is_written(outcome: &RecordOutcome) -> bool {
    matches!(outcome, RecordOutcome::Written(Some(_)))
}

/// R3: no two batches with different records had the same name.
fn assert_no_name_twice(world: &World) {
    let names: Vec<_> = world
        .batches()
        .iter()
        .map(|batch| (batch.epoch, batch.base_sequence, batch.values.clone()))
        .collect();
    for (epoch, sequence, values) in &names {
        let mut others = names
            .iter()
            .filter(|other| (other.0, other.1) == (*epoch, *sequence));
        assert!(others.all(|other| other.2 == *values), "{names:?}");
    }
}

/// H11, R3: the sequences of a topic that was created anew begin at 0, under a new epoch, so that no new record has the name of an old one.
#[test]
fn the_sequences_of_a_topic_that_was_created_anew_restart() {
    let world = World::seeded(71).topic("orders", 1).batch_per_record();
    let producer = world.idempotent();
    for value in ["a", "b", "c"] {
        producer.send("orders", 0, value);
    }
    world.run();
    world.recreate_topic("orders", 1);
    let records: Vec<_> = ["d", "e", "f"]
        .into_iter()
        .map(|value| producer.send("orders", 0, value))
        .collect();
    world.run_for(30 * SECOND);
    assert!(records.iter().all(|record| is_written(&record.outcome())));
    assert_eq!(world.log("orders", 0), ["d", "e", "f"]);
    let written = world.batches().split_off(world.batches().len() - 3);
    let stamps: Vec<_> = written
        .iter()
        .map(|batch| (batch.epoch, batch.base_sequence))
        .collect();
    assert_eq!(
        stamps,
        [(Some(1), Some(0)), (Some(1), Some(1)), (Some(1), Some(2))]
    );
    assert_no_name_twice(&world);
}

/// H11, R3, N-57: metadata of a broker that is behind brings the old topic back for a while. The epoch that each change costs keeps the names
/// apart, and every record is written once.
#[test]
fn metadata_that_goes_back_and_forth_uses_no_name_twice() {
    let world = World::seeded(71).topic("orders", 1).batch_per_record();
    // A broker that does not check topic ids would be the one to take a record for another.
    world.configure(|config| {
        let range = VersionRange::new(3, 12);
        config.version_overrides.insert((None, Produce), Some(range));
    });
    let producer = world.idempotent();
    let mut sent = Vec::new();
    for round in 0..4_u8 {
        let behind = world.rule_while(edit(Metadata, move |response| {
            if let ResponseMessage::Metadata(metadata) = response {
                for topic in &mut metadata.topics {
                    topic.topic_id = TopicId([1 + round % 2; 16]);
                }
            }
        }));
        world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower).once());
        for number in 0..3 {
            let value = format!("{round}.{number}");
            producer.send("orders", 0, &value);
            sent.push(value);
        }
        world.run_for(10 * SECOND);
        drop(behind);
    }
    assert_eq!(world.log("orders", 0), sent);
    let last = world.batches().pop().expect("something was sent");
    assert!(last.epoch >= Some(3), "each change of the id was seen: {last:?}");
    assert_no_name_twice(&world);
}

/// H11: a batch that was on its way to the old topic goes to the new one, once, whether the old one took it or not.
#[test]
fn a_batch_on_its_way_to_the_old_topic_goes_to_the_new_one() {
    for was_written in [false, true] {
        let world = World::seeded(71).topic("orders", 1).batch_per_record();
        let producer = world.idempotent();
        producer.send("orders", 0, "a");
        world.run();
        if was_written {
            world.rule(disconnect_after(Produce).once());
        } else {
            world.rule(hold_request(Produce).once());
        }
        let record = producer.send("orders", 0, "b");
        world.run_for(Duration::from_millis(20));
        world.recreate_topic("orders", 1);
        world.release(Produce);
        world.run_for(40 * SECOND);
        let behind = producer.send("orders", 0, "c");
        world.run_for(10 * SECOND);
        assert!(is_written(&record.outcome()), "{:?}", record.outcome());
        assert!(is_written(&behind.outcome()), "{:?}", behind.outcome());
        assert_eq!(
            world.log("orders", 0),
            ["b", "c"],
            "written to the old one: {was_written}"
        );
    }
}

/// H11: transactions of both versions go on in a topic that was created anew; at worst one has to be aborted, and it says so.
#[test]
fn transactions_go_on_in_a_topic_that_was_created_anew() {
    for version in [1, 2] {
        let world = World::seeded(71).topic("orders", 1).transaction_version(version);
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "old");
        let commit = producer.commit();
        world.run();
        assert_eq!(commit.outcome(), committed());
        world.recreate_topic("orders", 1);
        let mut expected = Vec::new();
        for value in ["first", "second", "third"] {
            producer.begin();
            producer.send("orders", 0, value);
            let commit = producer.commit();
            world.run_for(30 * SECOND);
            if commit.outcome() == committed() {
                expected.push(value);
            } else {
                assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
                let abort = producer.abort();
                world.run_for(10 * SECOND);
                assert_eq!(abort.outcome(), aborted());
            }
            assert_eq!(world.committed("orders", 0), expected, "version {version}");
        }
        assert!(expected.len() >= 2, "version {version}: {expected:?}");
    }
}

/// H11, R3: with version 1 the sequences of a topic that was created anew restart behind the transaction that learned of it.
#[test]
fn a_version_1_transaction_that_learns_of_a_new_topic_is_followed_by_a_new_epoch() {
    let world = World::seeded(71).topic("orders", 1).transaction_version(1);
    let producer = world.transactional("t-1");
    for value in ["old", "learns", "restarts"] {
        if value == "learns" {
            world.recreate_topic("orders", 1);
            world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower).once());
        }
        producer.begin();
        producer.send("orders", 0, value);
        let commit = producer.commit();
        world.run_for(30 * SECOND);
        assert_eq!(commit.outcome(), committed());
    }
    assert_eq!(world.committed("orders", 0), ["learns", "restarts"]);
    let stamps: Vec<_> = world
        .batches()
        .iter()
        .map(|batch| (batch.epoch, batch.base_sequence))
        .collect();
    let expected = [(0, 0), (0, 1), (0, 1), (1, 0)].map(|(epoch, base)| (Some(epoch), Some(base)));
    assert_eq!(stamps, expected);
}

/// H11, R3: a topic that metadata loses for a while comes back with its sequences: what is sent then is not taken for a repetition.
#[test]
fn a_topic_that_metadata_loses_for_a_while_keeps_its_sequences() {
    let world = World::seeded(71).topic("orders", 1).batch_per_record();
    let producer = world.idempotent();
    for value in ["a", "b"] {
        producer.send("orders", 0, value);
    }
    world.run();
    world.rule(edit(Metadata, |response| {
        if let ResponseMessage::Metadata(metadata) = response {
            for topic in &mut metadata.topics {
                topic.error_code = ErrorCode::UnknownTopicOrPartition;
                topic.partitions.clear();
            }
        }
    }));
    world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower).once());
    let record = producer.send("orders", 0, "c");
    world.run_for(3 * SECOND);
    assert_eq!(record.outcome(), RecordOutcome::Waiting, "nobody knows the topic");
    world.release(Metadata);
    world.run_for(20 * SECOND);
    assert!(is_written(&record.outcome()), "{:?}", record.outcome());
    assert_eq!(world.log("orders", 0), ["a", "b", "c"]);
}
