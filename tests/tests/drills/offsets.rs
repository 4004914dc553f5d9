//! Consumer groups in a transaction: H23, H25.

use kommit_protocol::api::ApiKey::TxnOffsetCommit;
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::fault::answer;
use kommit_tests::world::{CallOutcome, aborted, committed};

use crate::{SECOND, commits, with_both_versions};

/// H23, R13: the consumer is no longer who its group knows. Its offsets are refused once and not tried again, and the transaction is aborted.
#[test]
pub(crate) fn stale_generation() {
    for code in [
        ErrorCode::IllegalGeneration,
        ErrorCode::UnknownMemberId,
        ErrorCode::FencedInstanceId,
        ErrorCode::StaleMemberEpoch,
    ] {
        with_both_versions(|world, _| {
            let producer = world.transactional("t-1");
            producer.begin();
            producer.send("orders", 0, "a");
            world.rule(answer(TxnOffsetCommit, code));
            let offsets = producer.send_offset("readers", "orders", 1);
            world.run_for(5 * SECOND);
            assert!(
                offsets.outcome().must_abort(),
                "{code:?}: {:?}",
                offsets.outcome()
            );
            world.expect_sent(TxnOffsetCommit, 1);
            world.release(TxnOffsetCommit);
            let commit = producer.commit();
            world.run();
            assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
            let abort = producer.abort();
            world.run();
            assert_eq!(abort.outcome(), aborted());
            commits(&world, &producer, "b");
            assert_eq!(world.committed("orders", 0), ["b"]);
            world.audit();
        });
    }
}

/// H25: the group coordinator moves in the middle of a transaction. It is found again long before anything times out.
#[test]
pub(crate) fn group_coord_moves() {
    with_both_versions(|world, _| {
        world.move_group_coordinator(1);
        let producer = world.transactional("t-1");
        producer.begin();
        producer.send("orders", 0, "a");
        let first = producer.send_offset("readers", "orders", 1);
        world.run();
        world.move_group_coordinator(2);
        let second = producer.send_offset("readers", "orders", 2);
        let commit = producer.commit();
        world.run_for(3 * SECOND);
        assert_eq!(
            [first.outcome(), second.outcome()],
            [CallOutcome::OffsetsAdded, CallOutcome::OffsetsAdded]
        );
        assert_eq!(commit.outcome(), committed());
        let asked: Vec<i32> = world
            .sent(TxnOffsetCommit)
            .iter()
            .map(|request| request.broker)
            .collect();
        assert_eq!(asked.last(), Some(&2));
        world.audit();
    });
}
