//! Commits that are not waited for: the next transaction begins when the commit is on its way (P-28, P-30).

use std::collections::BTreeMap;

use kommit::{
    CommitError, CommitOutcome, ConsumerGroupMetadata, Offset, OffsetAndMetadata, TopicPartition,
    Transaction, TransactionFate, TransactionalProducer,
};
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

use crate::stage::{
    LONG, Stage, TOPIC, VERSIONS, at_each_poll, commits, given_up_after, record, with_both_versions,
};

const SHORT: [(&str, &str); 1] = [("max.block.ms", "1000")];

/// Commits one record, and begins the next transaction.
async fn goes_on<'p>(
    producer: &'p mut TransactionalProducer,
    value: &str,
) -> (Transaction<'p>, CommitOutcome) {
    let transaction = producer.begin().await.expect("idle");
    drop(transaction.send(record(value)).await.expect("room"));
    transaction.commit_and_begin().await.expect("on its way")
}

/// P-28, P-30: while an answer is out, the next transaction takes records and offsets; every outcome is told, and everything is visible in order.
#[tokio::test]
async fn each_transaction_begins_while_the_one_before_is_committed() {
    with_both_versions(async |stage, mut producer| {
        let mut transaction = producer.begin().await.expect("idle");
        let mut outcomes = Vec::new();
        for value in ["a", "b", "c", "d"] {
            drop(transaction.send(record(value)).await.expect("room"));
            let next = OffsetAndMetadata::of_offset(Offset(7));
            let offsets = BTreeMap::from([(TopicPartition::new(TOPIC, 0), next)]);
            let group = ConsumerGroupMetadata::of_group("readers");
            transaction.send_offsets(offsets, group).await.expect("added");
            let (next, outcome) = transaction.commit_and_begin().await.expect("on its way");
            transaction = next;
            outcomes.push(outcome);
        }
        transaction.abort().await.expect("nothing in it");
        for outcome in outcomes {
            outcome.await.expect("committed");
        }
        assert_eq!(stage.committed(0), ["a", "b", "c", "d"]);
        assert_eq!(stage.committed_offset("readers").await, Some(7));
    })
    .await;
}

/// S-26: a record of the next transaction waits in its batch, and is sent when the commit has its answer.
#[tokio::test]
async fn a_record_waits_for_the_commit_of_the_transaction_before() {
    with_both_versions(async |stage, mut producer| {
        let rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::HoldResponse));
        let (next, outcome) = goes_on(&mut producer, "a").await;
        let ahead = next.send(record("b")).await.expect("room");
        let asked = stage.count(ApiKey::Produce);
        assert!(
            given_up_after(1, next.send(record("c"))).await.is_some(),
            "it is taken at once"
        );
        assert!(ahead.outcome().is_none());
        rule.remove();
        outcome.await.expect("committed");
        ahead.await.expect("written");
        assert!(stage.count(ApiKey::Produce) > asked);
        next.commit().await.expect("committed");
        assert_eq!(stage.committed(0), ["a", "b", "c"]);
    })
    .await;
}

/// P-34: who drops the outcome learns it from the next transaction, which begins all the same.
#[tokio::test]
async fn a_dropped_outcome_changes_nothing() {
    with_both_versions(async |stage, mut producer| {
        let (next, outcome) = goes_on(&mut producer, "a").await;
        drop(outcome);
        drop(next.send(record("b")).await.expect("room"));
        next.commit().await.expect("committed, and so is the one before");
        assert_eq!(stage.committed(0), ["a", "b"]);
    })
    .await;
}

/// P-31, P-46: a dropped next transaction is aborted by the next begin, or by the close; the one before is committed.
#[tokio::test]
async fn a_dropped_next_transaction_is_aborted_alone() {
    with_both_versions(async |stage, mut producer| {
        for value in ["a", "b"] {
            let (next, outcome) = goes_on(&mut producer, value).await;
            drop(next.send(record("dropped")).await.expect("room"));
            drop(next);
            outcome.await.expect("committed");
        }
        producer.close(LONG).await.expect("in time");
        assert_eq!(stage.committed(0), ["a", "b"]);
    })
    .await;
}

/// P-34, R7: a `commit_and_begin` that is dropped commits, and the transaction that nobody holds is empty; one that was never polled was
/// never asked for.
#[tokio::test]
async fn a_dropped_commit_and_begin_goes_on() {
    at_each_poll(async |stage, mut producer, polls| {
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("asked for")).await.expect("room"));
        drop(given_up_after(polls, transaction.commit_and_begin()).await);
        commits(&mut producer, "next").await;
        let expected: &[&str] = if polls == 0 {
            &["next"]
        } else {
            &["asked for", "next"]
        };
        assert_eq!(stage.committed(0), expected);
    })
    .await;
}

/// T-54: a commit that is refused leaves the next transaction only its abort, and the producer goes on behind that.
#[tokio::test]
async fn a_refused_commit_condemns_the_next_transaction() {
    with_both_versions(async |stage, mut producer| {
        let refusal = Verdict::Answer(ErrorCode::TransactionAbortable);
        let _rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, refusal).once());
        let (next, outcome) = goes_on(&mut producer, "refused").await;
        let ahead = next.send(record("ahead")).await;
        let error = outcome.await.expect_err("refused");
        assert!(
            !error.may_be_written() && error.is_retriable() && !error.is_fatal(),
            "{error}"
        );
        if let Ok(delivery) = ahead {
            let error = delivery.await.expect_err("it went with the one before");
            assert!(error.requires_abort() && !error.may_be_written(), "{error}");
        }
        assert!(
            next.send(record("late"))
                .await
                .expect_err("refused")
                .requires_abort()
        );
        let Err(CommitError::MustAbort(must_abort)) = next.commit().await else {
            panic!("only an abort is left");
        };
        must_abort.abort().await.expect("aborted");
        commits(&mut producer, "kept").await;
        assert_eq!(stage.committed(0), ["kept"]);
    })
    .await;
}

/// R8, H18: a producer that is dead says of each of its two transactions what became of it.
#[tokio::test]
async fn a_dead_producer_tells_of_both_transactions() {
    with_both_versions(async |stage, mut producer| {
        let fenced = Verdict::Answer(ErrorCode::ProducerFenced);
        let _rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, fenced).once());
        let (next, outcome) = goes_on(&mut producer, "a").await;
        let error = outcome.await.expect_err("fenced");
        assert!(
            error.is_fatal() && error.transaction() == TransactionFate::NotCommitted,
            "{error}"
        );
        let Err(CommitError::Dead(dead)) = next.commit().await else {
            panic!("the producer is dead");
        };
        assert!(
            dead.is_fenced() && dead.transaction() == TransactionFate::NotCommitted,
            "{dead}"
        );
    })
    .await;
}

/// P-32: both waits are as long as `max.block.ms`, and what was not in time can be waited for again.
#[tokio::test]
async fn what_is_not_in_time_is_in_doubt() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &SHORT).await;
        let rule = stage
            .broker
            .rule(Rule::on(ApiKey::Produce, Verdict::HoldResponse));
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("a")).await.expect("room"));
        let Err(CommitError::InDoubt(in_doubt)) = transaction.commit_and_begin().await else {
            panic!("the record was not written in time");
        };
        rule.remove();
        in_doubt.resolve().await.expect("committed");
        let transaction = producer
            .begin()
            .await
            .expect("the one that was begun behind it is ended");
        let rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::HoldResponse));
        drop(transaction.send(record("b")).await.expect("room"));
        let (next, outcome) = transaction.commit_and_begin().await.expect("on its way");
        drop(next.send(record("c")).await.expect("room"));
        let Err(CommitError::InDoubt(in_doubt)) = next.commit().await else {
            panic!("the one before has no outcome");
        };
        rule.remove();
        in_doubt.resolve().await.expect("committed");
        outcome.await.expect("committed before");
        assert_eq!(stage.committed(0), ["a", "b", "c"], "{version:?}");
    }
}
