//! Who a producer is: H12, H14, H15, H21, H22, H30.

use kommit_broker::ResponseMessage;
use kommit_protocol::api::ApiKey::{AddPartitionsToTxn, EndTxn, InitProducerId, Produce};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::ProducerEpoch;
use kommit_tests::world::fault::{answer, edit};
use kommit_tests::world::{RecordOutcome, committed, written_at};

use crate::{SECOND, commits, with_both_versions};

/// H12: a new epoch begins with sequence 0 on every partition, each when it is next used. One bump must not lead to another.
#[test]
pub(crate) fn bump_all_partitions() {
    with_both_versions(|world, _| {
        let producer = world.idempotent();
        for partition in 0..3 {
            producer.send("orders", partition, &format!("before {partition}"));
        }
        world.run();
        world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
        producer.send("orders", 0, "refused");
        world.run();
        for partition in 0..3 {
            producer.send("orders", partition, &format!("behind {partition}"));
        }
        world.run();
        for partition in 0..3 {
            let expected = [format!("before {partition}"), format!("behind {partition}")];
            assert_eq!(world.log("orders", partition), expected);
        }
        let behind = world.batches().split_off(4);
        let stamps: Vec<_> = behind
            .iter()
            .map(|batch| (batch.epoch, batch.base_sequence))
            .collect();
        assert_eq!(stamps, [(Some(1), Some(0)); 3]);
        world.audit();
    });
}

/// H14: behind the last epoch of a producer id comes another id, and every record is stored once.
#[test]
pub(crate) fn wrap_epoch() {
    with_both_versions(|world, _| {
        world.rule(
            edit(InitProducerId, |response| {
                if let ResponseMessage::InitProducerId(given) = response {
                    given.producer_epoch = ProducerEpoch(i16::MAX - 1);
                }
            })
            .once(),
        );
        let producer = world.idempotent();
        for round in 0..4 {
            let record = producer.send("orders", 0, &format!("written {round}"));
            world.run();
            assert_eq!(record.outcome(), written_at(round));
            world.rule(answer(Produce, ErrorCode::InvalidRecord).once());
            producer.send("orders", 0, &format!("refused {round}"));
            world.run();
        }
        world.expect_sent(InitProducerId, 2);
        let epochs: Vec<_> = world.batches().iter().filter_map(|batch| batch.epoch).collect();
        assert_eq!(epochs[..4], [i16::MAX - 1, i16::MAX - 1, i16::MAX, i16::MAX]);
        assert_eq!(epochs[4], 0);
        world.audit();
    });
}

/// H15, R10: the cluster changes its version while a transaction is open. The transaction ends as it was begun.
#[test]
pub(crate) fn tv_flip() {
    with_both_versions(|world, version| {
        let producer = world.transactional("t-1");
        commits(&world, &producer, "before");
        producer.begin();
        producer.send("orders", 0, "across");
        world.run();
        let world = world.transaction_version(3 - version);
        // The producer hears of it with its next connection.
        world.cut(1);
        producer.send("orders", 1, "across, later");
        let commit = producer.commit();
        world.run();
        assert_eq!(commit.outcome(), committed());
        let is_v1 = world.sent(EndTxn)[1].version <= 4;
        assert_eq!(is_v1, version == 1);
        commits(&world, &producer, "behind");
        commits(&world, &producer, "and on");
        assert_eq!(
            world.committed("orders", 0),
            ["before", "across", "behind", "and on"]
        );
        assert_eq!(world.committed("orders", 1), ["across, later"]);
        world.audit();
    });
}

/// H15: the identity that comes with the end of a transaction is taken over, and its sequences begin at 0.
#[test]
pub(crate) fn adopt_epoch() {
    with_both_versions(|world, version| {
        let producer = world.transactional("t-1");
        for value in ["a", "b", "c"] {
            commits(&world, &producer, value);
        }
        world.expect_sent(InitProducerId, 1);
        let batches = world.batches();
        let epochs: Vec<_> = batches.iter().filter_map(|batch| batch.epoch).collect();
        let sequences: Vec<_> = batches.iter().filter_map(|batch| batch.base_sequence).collect();
        if version == 1 {
            assert_eq!((epochs[0], sequences), (epochs[2], vec![0, 1, 2]));
        } else {
            assert_eq!((epochs[0] + 2, sequences), (epochs[2], vec![0, 0, 0]));
        }
        world.audit();
    });
}

/// H21: a coordinator that has forgotten the transactional id ends the producer, which must not come back by itself.
#[test]
pub(crate) fn txn_id_expired() {
    with_both_versions(|world, version| {
        let producer = world.transactional("t-1");
        commits(&world, &producer, "a");
        let asked = if version == 1 { AddPartitionsToTxn } else { EndTxn };
        world.rule(answer(asked, ErrorCode::InvalidProducerIdMapping));
        producer.begin();
        producer.send("orders", 0, "b");
        let commit = producer.commit();
        world.run();
        let again = producer.abort();
        world.run_for(60 * SECOND);
        assert!(commit.outcome().is_dead(), "{:?}", commit.outcome());
        assert_ne!(again.outcome(), kommit_tests::world::aborted());
        world.expect_sent(InitProducerId, 1);
        world.audit();
        assert_eq!(world.committed("orders", 0), ["a"]);
    });
}

/// H22, R9: each newer instance ends the older one, which must stay dead and not take the id back.
#[test]
pub(crate) fn hijack_tx_ids() {
    with_both_versions(|world, _| {
        let mut older = world.transactional("t-1");
        for round in 0..3 {
            older.begin();
            older.send("orders", 0, &format!("older {round}"));
            world.run();
            let newer = world.transactional("t-1");
            let commit = older.commit();
            commits(&world, &newer, &format!("newer {round}"));
            world.run_for(10 * SECOND);
            assert!(commit.outcome().is_dead(), "{:?}", commit.outcome());
            older = newer;
        }
        let taken = world.sent(InitProducerId);
        let owners: std::collections::BTreeSet<usize> = taken.iter().map(|request| request.who).collect();
        assert_eq!(owners.len(), 4);
        assert_eq!(world.committed("orders", 0), ["newer 0", "newer 1", "newer 2"]);
        world.audit();
    });
}

/// H30: the addresses lead to another cluster. Nothing must be written there.
#[test]
pub(crate) fn cluster_id_change() {
    with_both_versions(|world, _| {
        let producer = world.idempotent();
        producer.send("orders", 0, "here");
        world.run();
        world.configure(|config| config.cluster_id = "another".to_owned());
        world.rule(answer(Produce, ErrorCode::NotLeaderOrFollower).once());
        let elsewhere = producer.send("orders", 0, "elsewhere");
        world.run_for(200 * SECOND);
        assert!(
            matches!(elsewhere.outcome(), RecordOutcome::Failed(_)),
            "{:?}",
            elsewhere.outcome()
        );
        assert_eq!(world.log("orders", 0), ["here"]);
        world.audit();
    });
}
