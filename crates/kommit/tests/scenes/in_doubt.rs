//! Commits that are not answered in time (H02, R7, R8): in doubt is a state with its own calls, and never turns into an abort.

use std::time::Duration;

use kommit::{AbortError, CommitError, TransactionFate};
use kommit_broker::{Rule, Verdict};
use kommit_protocol::api::ApiKey;

use crate::stage::{LONG, Stage, VERSIONS, record, writes};

const SHORT: [(&str, &str); 1] = [("max.block.ms", "1000")];

/// R8, P-32: a commit whose answer is late is in doubt, and `resolve` learns that it was carried out.
#[tokio::test]
async fn a_late_answer_resolves_the_doubt() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &SHORT).await;
        let rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::HoldResponse));
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("doubtful")).await.expect("room"));
        let error = transaction.commit().await.expect_err("nobody answered");
        assert!(
            error.may_be_written() && !error.requires_abort() && !error.is_retriable(),
            "{error}"
        );
        let CommitError::InDoubt(in_doubt) = error else {
            panic!("the answer is still to come: {error}");
        };
        // The second wait is as short as the first one.
        let Err(CommitError::InDoubt(in_doubt)) = in_doubt.resolve().await else {
            panic!("the answer is still held back");
        };
        rule.remove();
        in_doubt.resolve().await.expect("it was committed");
        assert_eq!(stage.committed(0), ["doubtful"], "{version:?}");
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("next")).await.expect("room"));
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed(0), ["doubtful", "next"], "{version:?}");
    }
}

/// H01, R6, R7: an answer that is lost for good is asked for again, until the transaction is committed; the next one is not harmed.
#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    for version in VERSIONS {
        for verdict in [
            Verdict::DropResponse,
            Verdict::DropRequest,
            Verdict::DisconnectAfter,
        ] {
            let stage = Stage::with_version(version).await;
            let mut producer = stage.transactional("t", &[("request.timeout.ms", "500")]).await;
            let rule = stage
                .broker
                .rule(Rule::on(ApiKey::EndTxn, verdict.clone()).once());
            for value in ["first", "second"] {
                let transaction = producer.begin().await.expect("idle");
                drop(transaction.send(record(value)).await.expect("room"));
                transaction.commit().await.expect("committed in the end");
            }
            assert!(rule.matches() >= 3, "{version:?} {verdict:?}: asked again");
            assert_eq!(stage.committed(0), ["first", "second"], "{version:?} {verdict:?}");
        }
    }
}

/// R7, T-39, P-34: a doubt that was given up is settled by the next `begin`, as a commit and not as an abort.
#[tokio::test]
async fn the_next_begin_waits_for_the_doubt_to_end() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &SHORT).await;
        let rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::HoldResponse));
        let transaction = producer.begin().await.expect("idle");
        drop(transaction.send(record("doubtful")).await.expect("room"));
        let told = transaction.commit().await.map_err(CommitError::give_up);
        let told = told.expect_err("nobody answered");
        assert_eq!(told.transaction(), TransactionFate::InDoubt);
        assert!(told.may_be_written() && !told.is_fatal() && !told.is_retriable());
        let refused = producer.begin().await.expect_err("the answer is still held back");
        assert!(refused.is_retriable(), "{refused}");
        rule.remove();
        let transaction = producer.begin().await.expect("settled");
        drop(transaction.send(record("next")).await.expect("room"));
        transaction.commit().await.expect("committed");
        assert_eq!(stage.committed(0), ["doubtful", "next"], "{version:?}");
    }
}

/// P-32: an abort that is not answered in time can be waited for again.
#[tokio::test]
async fn an_unanswered_abort_is_waited_for_again() {
    for version in VERSIONS {
        let stage = Stage::with_version(version).await;
        let mut producer = stage.transactional("t", &SHORT).await;
        let rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::HoldResponse));
        let transaction = producer.begin().await.expect("idle");
        writes(&transaction, "aborted").await;
        let error = transaction.abort().await.expect_err("nobody answered");
        assert!(error.is_retriable() && !error.may_be_written(), "{error}");
        let AbortError::Unfinished(unfinished) = error else {
            panic!("the answer is still to come: {error}");
        };
        rule.remove();
        unfinished.wait().await.expect("aborted");
        assert!(stage.committed(0).is_empty(), "{version:?}");
        producer.close(LONG).await.expect("a graceful close");
    }
}

/// P-42, R8: a close does not wait for a doubt any longer than it was told.
#[tokio::test]
async fn a_close_does_not_wait_for_a_doubt() {
    let stage = Stage::set().await;
    let mut producer = stage.transactional("t", &SHORT).await;
    let _rule = stage.broker.rule(Rule::on(ApiKey::EndTxn, Verdict::HoldResponse));
    let transaction = producer.begin().await.expect("idle");
    drop(transaction.send(record("doubtful")).await.expect("room"));
    let told = transaction.commit().await.map_err(CommitError::give_up);
    told.expect_err("nobody answered");
    let closing = tokio::time::timeout(LONG, producer.close(Duration::from_millis(200)));
    closing
        .await
        .expect("bounded")
        .expect_err("forced, because the commit is not answered");
}
