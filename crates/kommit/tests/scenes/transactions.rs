//! Transactions that end as they should: visible together, or not at all.

use kommit::Record;
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{LONG, Stage, TOPIC, VERSIONS, until};

fn record(partition: i32, value: &str) -> Record<'_> {
    Record::new(TOPIC).partition(partition).value(value)
}

/// P-30, P-31: what is committed is visible, what is aborted never is, over several transactions and partitions.
#[tokio::test]
async fn only_committed_records_are_visible() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        for (round, commits) in [("1", true), ("2", false), ("3", true), ("4", false), ("5", true)] {
            let transaction = producer.begin().await.expect("idle");
            for partition in 0..3 {
                let sent = transaction.send(record(partition, round)).await.expect("room");
                sent.await.expect("written");
            }
            if commits {
                transaction.commit().await.expect("committed");
            } else {
                transaction.abort().await.expect("aborted");
            }
        }
        for partition in 0..3 {
            assert_eq!(stage.committed(partition), ["1", "3", "5"], "{version:?}");
            assert_eq!(stage.records(partition).len(), 5, "{version:?}");
        }
    }
}

/// P-30: a commit waits for the records that were sent before it, and their deliveries are done when it returns.
#[tokio::test]
async fn a_commit_flushes_and_tells_before_it_returns() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[("linger.ms", "10000")]).await;
        let transaction = producer.begin().await.expect("idle");
        let mut deliveries = Vec::new();
        for partition in 0..3 {
            deliveries.push(transaction.send(record(partition, "v")).await.expect("room"));
        }
        transaction.commit().await.expect("committed");
        for delivery in deliveries {
            assert!(matches!(delivery.outcome(), Some(Ok(_))), "{version:?}");
        }
    }
}

/// P-31: an abort does not send what was not sent yet.
#[tokio::test]
async fn an_abort_sends_nothing_more() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[("linger.ms", "10000")]).await;
        let transaction = producer.begin().await.expect("idle");
        let delivery = transaction.send(record(0, "never sent")).await.expect("room");
        transaction.abort().await.expect("aborted");
        let error = delivery.await.expect_err("not sent");
        assert_eq!(error.kind(), &kommit::SendErrorKind::TransactionAborted);
        assert!(!error.may_be_written());
        assert!(stage.records(0).is_empty(), "{version:?}");
    }
}

/// P-33: a transaction without records asks the coordinator for nothing.
#[tokio::test]
async fn an_empty_transaction_ends_without_a_request() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        producer
            .begin()
            .await
            .expect("idle")
            .commit()
            .await
            .expect("committed");
        producer
            .begin()
            .await
            .expect("idle")
            .abort()
            .await
            .expect("aborted");
        assert_eq!(stage.count(ApiKey::EndTxn), 0, "{version:?}");
    }
}

/// P-28: to begin is local; only a record makes the coordinator hear of the transaction.
#[tokio::test]
async fn to_begin_sends_no_request() {
    let stage = Stage::set().await;
    let mut producer = stage.transactional("t", &[]).await;
    let asked = stage.broker.journal().len();
    let transaction = producer.begin().await.expect("idle");
    assert_eq!(stage.broker.journal().len(), asked);
    transaction.abort().await.expect("aborted");
}

/// P-28: a transaction that was dropped is aborted by the next one, which then commits.
#[tokio::test]
async fn a_dropped_transaction_is_aborted_by_the_next() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let dropped = producer.begin().await.expect("idle");
        dropped
            .send(record(0, "dropped"))
            .await
            .expect("room")
            .await
            .expect("written");
        drop(dropped);
        let transaction = producer.begin().await.expect("the dropped one is aborted first");
        drop(transaction.send(record(0, "kept")).await.expect("room"));
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed(0), ["kept"], "{version:?}");
        assert_eq!(stage.records(0).len(), 2, "{version:?}");
    }
}

/// P-46: a transaction that was dropped is aborted when the producer is closed.
#[tokio::test]
async fn a_dropped_transaction_is_aborted_by_the_close() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let dropped = producer.begin().await.expect("idle");
        dropped
            .send(record(0, "dropped"))
            .await
            .expect("room")
            .await
            .expect("written");
        drop(dropped);
        producer.close(LONG).await.expect("a graceful close");
        assert_eq!(stage.count(ApiKey::EndTxn), 1, "{version:?}");
        assert!(stage.committed(0).is_empty(), "{version:?}");
        until("nothing is open any more", || {
            let place = kommit::TopicPartition::new(TOPIC, 0);
            let marks = stage
                .broker
                .with_core(|core| core.watermarks(&place))
                .expect("the topic");
            marks.last_stable_offset == marks.log_end
        })
        .await;
    }
}

/// T-63, R4: with version 2 every transaction has an epoch of its own; with version 1 they share one.
#[tokio::test]
async fn only_version_2_has_an_epoch_for_each_transaction() {
    for (version, epochs) in VERSIONS.into_iter().zip([1, 3]) {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        for _ in 0..3 {
            let transaction = producer.begin().await.expect("idle");
            drop(transaction.send(record(0, "v")).await.expect("room"));
            transaction.commit().await.expect("committed");
        }
        let mut seen: Vec<_> = stage
            .broker
            .log(TOPIC, 0)
            .iter()
            .filter(|batch| batch.base_sequence.is_some())
            .map(|batch| batch.producer)
            .collect();
        seen.dedup();
        assert_eq!(seen.len(), epochs, "{version:?}");
    }
}

/// T-22: with version 1 a partition is added before its first batch goes out; with version 2 nobody asks.
#[tokio::test]
async fn only_version_1_adds_partitions_by_itself() {
    for (version, asks) in VERSIONS.into_iter().zip([true, false]) {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record(0, "v")).await.expect("room"));
        transaction.commit().await.expect("committed");
        let journal = stage.broker.journal();
        let place = |api| journal.iter().position(|entry| entry.api == api);
        let (added, produced) = (place(ApiKey::AddPartitionsToTxn), place(ApiKey::Produce));
        assert_eq!(added.is_some(), asks, "{version:?}");
        assert!(added.is_none() || added < produced, "{version:?}");
    }
}

/// H17: CONCURRENT_TRANSACTIONS while an earlier end is still being written is waited out.
#[tokio::test]
async fn a_busy_coordinator_is_waited_for() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let busy = Verdict::Answer(ErrorCode::ConcurrentTransactions);
        let rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, busy).times(3));
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record(0, "v")).await.expect("room"));
        transaction.commit().await.expect("committed in the end");
        assert_eq!(rule.matches(), 4, "{version:?}");
        assert_eq!(stage.committed(0), ["v"], "{version:?}");
    }
}

/// R10, H15: when the cluster changes its version between two transactions, both are whole.
#[tokio::test]
async fn the_version_may_change_between_transactions() {
    for (before, after) in [(VERSIONS[0], VERSIONS[1]), (VERSIONS[1], VERSIONS[0])] {
        let stage = Stage::with_version(before).await;
        let mut producer = stage.transactional("t", &[]).await;
        let transaction = producer.begin().await.expect("idle");
        transaction
            .send(record(0, "before"))
            .await
            .expect("room")
            .await
            .expect("written");
        stage.broker.set_transaction_version(after);
        drop(transaction.send(record(1, "during")).await.expect("room"));
        transaction.commit().await.expect("committed");
        for round in ["first", "second"] {
            let transaction = producer.begin().await.expect("idle");
            drop(transaction.send(record(0, round)).await.expect("room"));
            transaction.commit().await.expect("committed");
        }
        assert_eq!(stage.committed(0), ["before", "first", "second"]);
        assert_eq!(stage.committed(1), ["during"]);
    }
}
