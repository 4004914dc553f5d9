//! Requests that the network keeps back and delivers when their sender has long gone on (H01 to H04): the drills of `docs/spec/hazards.md`.
//!
//! The proxy cuts the client's connection and brings the request to the broker later, on a connection of its own, as a slow network card or a
//! paused machine would. The client asks again in the meantime, gets its answer, and is in the middle of something else when the copy comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::{
    ApiKey, DescribeTransactionsRequest, InitProducerIdResponse, ResponseKind, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kommit::{
    AbortError, CommitError, DeadProducer, ErrorCode, PartitionVerification, TransactionFate,
    TransactionalProducer,
};
use kommit_tests::kafka::{DumpedBatch, Reading, RealKafka, Stage, ask};
use kommit_tests::proxy::{Decision, Draws, Proxy, Request, Verdict};

use crate::client::{
    FOREVER, all_written, assert_committed, assert_no_sequence_faults, connect_patiently, outcomes,
    put_sentinels, send_to, transactional, values_before_sentinel,
};
use crate::each_kafka::{draws, enter, kafka_3_9};
use crate::lines::{Lines, assert_each_line_once};
use crate::program::Kommit;
use crate::rules::keep_back_first_commit;

against_each_kafka!(
    /// H01, R6: `kommit load` goes on with its next transaction, and the commit of an earlier one arrives again.
    late_endtxn_commit,
    /// H01, R6: the same with aborts, which must not take away what is committed later.
    late_endtxn_abort,
    /// H01, R6: commits that nobody waits for arrive again in the middle of transactions that were begun meanwhile.
    late_endtxn_behind_the_next_begin,
    /// H02, R7: a commit without an answer is given up, and must be neither aborted nor mixed up with what comes next.
    commit_timeout_then_abort,
    /// H03: a record that was given up arrives behind the marker of its abort.
    late_produce_after_abort,
);

against_each_kafka_of_transaction_version_1!(
    /// H04, R6: a partition joins a transaction that is over, with nobody there who would end it.
    late_addpartitions,
    /// H05, R6: the same just before the new epoch is asked for. The coordinator fences the producer, and nothing else happens.
    late_addpartitions_before_the_new_epoch,
);

/// Keeps back every so-many-th of the requests that are chosen, each for a time that is drawn anew.
fn every(
    nth: u32,
    mut times: Draws,
    is_chosen: impl Fn(&Request) -> bool + Send + 'static,
) -> impl FnMut(&Request) -> Verdict + Send + 'static {
    let mut chosen = 0;
    move |request| {
        chosen += u32::from(is_chosen(request));
        if is_chosen(request) && chosen % nth == 0 {
            Verdict::DeliverLate(Duration::from_millis(times.below(200..700)))
        } else {
            Verdict::Pass
        }
    }
}

/// Waits until so many late requests are answered, and returns the error codes of those answers.
async fn late_codes(proxy: &Proxy, at_least: usize) -> Vec<i16> {
    let answered = async {
        while proxy.late_answers().len() < at_least {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FOREVER, answered)
        .await
        .expect("the drill keeps requests back");
    let codes: Vec<i16> = proxy
        .late_answers()
        .iter()
        .map(|answer| match answer {
            ResponseKind::EndTxn(answer) => answer.error_code,
            ResponseKind::AddPartitionsToTxn(answer) => {
                answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            }
            ResponseKind::Produce(answer) => answer.responses[0].partition_responses[0].error_code,
            other => panic!("nobody kept {other:?} back"),
        })
        .collect();
    println!("answers to late requests: {codes:?}");
    codes
}

/// Waits until the coordinator has written every marker of this id's last transaction, which its answer does not wait for.
async fn until_every_marker_is_written(kafka: &RealKafka, id: &str) {
    let id = TransactionalId(StrBytes::from_string(id.to_owned()));
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id]);
    let written = async {
        loop {
            let answer = ask(&kafka.bootstrap_servers(), 0, &request)
                .await
                .expect("an answer");
            if ["CompleteAbort", "CompleteCommit", "Empty"]
                .contains(&&*answer.transaction_states[0].transaction_state)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FOREVER, written)
        .await
        .expect("in bounded time");
}

async fn late_endtxn_commit(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "late-endtxn-commit";
    // 120 transactions, and the commits that are asked for again: every fifth of these requests is some thirty.
    let lines = Lines::write(topic, 6_000);
    let proxy = kafka.proxy(0);
    proxy.rule(every(5, draws(), |request| {
        request.end_of_transaction() == Some(Decision::Commit)
    }));

    let small = ["--records-per-transaction", "50"];
    let load = Kommit::load(&proxy.address(), &lines.path, topic, &small).await;
    let ended = load.wait().await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    println!("{}", ended.summary());
    let codes = late_codes(&proxy, 24).await;
    assert!(
        codes.iter().any(|code| *code != 0),
        "none came in the middle of a later transaction: {codes:?}"
    );
    assert_each_line_once(&kafka, topic, &lines).await;
}

async fn late_endtxn_abort(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "late-endtxn-abort";
    kafka.create_topic(topic, 2).await;
    let proxy = kafka.proxy(0);
    proxy.rule(every(2, draws(), |request| {
        request.end_of_transaction() == Some(Decision::Abort)
    }));
    let config = transactional(proxy.address(), topic).build().expect("legal");
    let mut producer = TransactionalProducer::connect(config).await.expect("an id");
    let mut committed = Vec::new();
    for number in 0..24 {
        let aborted = producer.begin().await.expect("idle");
        all_written(send_to(&aborted, topic, 0..2, "aborted").await).await;
        aborted.abort().await.expect("aborted");

        // Some of these are under way for as long as an abort is kept back: it comes between two of their records.
        let value = number.to_string();
        let whole = producer.begin().await.expect("idle");
        all_written(send_to(&whole, topic, 0..2, &value).await).await;
        tokio::time::sleep(Duration::from_millis(if number % 8 == 1 { 700 } else { 0 })).await;
        all_written(send_to(&whole, topic, 0..2, &value).await).await;
        whole.commit().await.expect("nothing is wrong with it");
        committed.extend([value.clone(), value]);
    }
    let codes = late_codes(&proxy, 10).await;
    assert!(codes.iter().any(|code| *code != 0), "{codes:?}");
    producer.close(FOREVER).await.expect("nothing is open");
    assert_committed(&kafka, topic, 0..2, &committed).await;
    assert_no_sequence_faults(&kafka, topic, 0..2).await;
}

async fn late_endtxn_behind_the_next_begin(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "late-endtxn-next";
    kafka.create_topic(topic, 2).await;
    let proxy = kafka.proxy(0);
    proxy.rule(every(4, draws(), |request| {
        request.end_of_transaction() == Some(Decision::Commit)
    }));
    let config = transactional(proxy.address(), topic).build().expect("legal");
    let mut producer = TransactionalProducer::connect(config).await.expect("an id");
    let mut transaction = producer.begin().await.expect("idle");
    let (mut committed, mut outcomes) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let value = number.to_string();
        send_to(&transaction, topic, 0..2, &value).await;
        // Some of these are under way for as long as a commit is kept back: it comes between two of their records.
        tokio::time::sleep(Duration::from_millis(if number % 8 == 1 { 700 } else { 0 })).await;
        send_to(&transaction, topic, 0..2, &value).await;
        let (next, outcome) = transaction
            .commit_and_begin()
            .await
            .expect("nothing is wrong with it");
        transaction = next;
        outcomes.push(outcome);
        committed.extend([value.clone(), value]);
    }
    all_written(send_to(&transaction, topic, 0..2, "aborted").await).await;
    transaction.abort().await.expect("aborted");
    for outcome in outcomes {
        outcome.await.expect("committed");
    }
    let codes = late_codes(&proxy, 10).await;
    assert!(codes.iter().any(|code| *code != 0), "{codes:?}");
    producer.close(FOREVER).await.expect("nothing is open");
    assert_committed(&kafka, topic, 0..2, &committed).await;
    assert_no_sequence_faults(&kafka, topic, 0..2).await;
}

async fn commit_timeout_then_abort(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "commit-timeout";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let upstream = kafka.node().address_behind_proxy();
    keep_back_first_commit(&proxy);
    let config = transactional(proxy.address(), topic)
        .max_block(Duration::from_millis(1000))
        .set("reconnect.backoff.max.ms", "100");
    let mut producer = connect_patiently(config.build().expect("legal")).await;
    let given_up = producer.begin().await.expect("idle");
    all_written(send_to(&given_up, topic, 0..1, "given up").await).await;
    // Nothing can be asked again until the application has given up.
    proxy.refuse();
    let outcome = given_up.commit().await;
    assert!(matches!(outcome, Err(CommitError::InDoubt(_))), "{outcome:?}");
    // Abort does not exist on it. Dropping it is all that an application without patience can do.
    drop(outcome);
    proxy.forward_to(&upstream);

    let next = begin_patiently(&mut producer).await;
    all_written(send_to(&next, topic, 0..1, "next, first").await).await;
    proxy.deliver_kept_back();
    let codes = late_codes(&proxy, 1).await;
    assert_ne!(codes, [0], "it would have committed half of this transaction");
    all_written(send_to(&next, topic, 0..1, "next, second").await).await;
    next.abort().await.expect("it is not decided yet");
    let last = begin_patiently(&mut producer).await;
    all_written(send_to(&last, topic, 0..1, "last").await).await;
    last.commit().await.expect("nothing is wrong with it");

    assert_committed(&kafka, topic, 0..1, &["given up", "last"]).await;
}

/// A `begin` waits for the end of the transaction before it, but not longer than `max.block.ms`.
async fn begin_patiently(producer: &mut TransactionalProducer) -> kommit::Transaction<'_> {
    let begun = async {
        while let Err(error) = producer.begin().await.map(drop) {
            assert!(error.is_retriable(), "{error}");
        }
    };
    tokio::time::timeout(FOREVER, begun)
        .await
        .expect("in bounded time");
    producer.begin().await.expect("nothing was sent since")
}

/// Gives a record up whose requests are still on their way, and aborts its transaction: the producer can go on, or is dead. The proxy delivers them
/// behind the marker of the abort.
async fn abort_over_late_record(
    kafka: &RealKafka,
    topic: &str,
    verification: PartitionVerification,
) -> (Proxy, TransactionalProducer, Result<(), DeadProducer>) {
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let is_kept_back = Arc::new(AtomicBool::new(false));
    let keep_back = Arc::clone(&is_kept_back);
    proxy.rule(move |request| {
        if request.api_key == ApiKey::Produce && keep_back.load(Ordering::Relaxed) {
            return Verdict::KeepBack;
        }
        Verdict::Pass
    });
    let config = transactional(proxy.address(), topic)
        .partition_verification(verification)
        .request_timeout(Duration::from_millis(2400))
        .delivery_timeout(Duration::from_millis(2500));
    let mut producer = TransactionalProducer::connect(config.build().expect("legal"))
        .await
        .expect("an id");
    let expired = producer.begin().await.expect("idle");
    all_written(send_to(&expired, topic, 0..1, "before").await).await;
    is_kept_back.store(true, Ordering::Relaxed);
    let given_up = outcomes(send_to(&expired, topic, 0..1, "given up").await).await;
    assert!(
        given_up[0].as_ref().is_err_and(|error| error.may_be_written()),
        "{given_up:?}"
    );
    is_kept_back.store(false, Ordering::Relaxed);
    let ended = match expired.commit().await {
        // R12: what expired makes a commit impossible.
        Err(CommitError::MustAbort(failed)) => failed.abort().await,
        other => panic!("a record is missing: {other:?}"),
    };
    let ended = ended.map_err(|error| match error {
        AbortError::Dead(dead) => dead,
        other => panic!("the coordinator answers: {other:?}"),
    });
    until_every_marker_is_written(kafka, topic).await;
    proxy.deliver_kept_back();
    (proxy, producer, ended)
}

/// Commits one record, and finds nothing else with a reader.
async fn commit_next(kafka: &RealKafka, topic: &str, producer: &mut TransactionalProducer) {
    let next = producer.begin().await.expect("idle");
    all_written(send_to(&next, topic, 0..1, "next").await).await;
    next.commit().await.expect("nothing is wrong with it");
    put_sentinels(kafka, topic, 0..1).await;
    let seen = values_before_sentinel(kafka, Reading::committed(topic).partition(0), 1).await;
    assert_eq!(seen, ["next"]);
}

async fn late_produce_after_abort(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "late-produce";
    let (proxy, mut producer, aborted) =
        abort_over_late_record(&kafka, topic, PartitionVerification::Enabled).await;
    aborted.expect("the producer goes on");
    let codes = late_codes(&proxy, 2).await;
    assert!(codes.iter().all(|code| *code != 0), "{codes:?}");
    commit_next(&kafka, topic, &mut producer).await;
}

/// H03: a broker that does not verify partitions takes what comes behind the marker of an abort, unless that has an epoch of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_produce_without_verification() {
    let setup = kafka_3_9().property("transaction.partition.verification.enable", false);
    let Some(mut stage) = enter(setup).await else {
        return;
    };
    let kafka = stage.start().await;
    let topic = "late-unverified";
    let (proxy, _dead, aborted) =
        abort_over_late_record(&kafka, topic, PartitionVerification::NotProven).await;
    let dead = aborted.expect_err("the id is taken over");
    assert_eq!(dead.transaction(), TransactionFate::NotCommitted, "{dead}");
    let codes = late_codes(&proxy, 2).await;
    assert!(codes.iter().all(|code| *code != 0), "{codes:?}");
    assert_eq!(behind_the_marker(&kafka, topic).await, 0);
    let config = transactional(kafka.bootstrap_servers(), topic).build();
    let mut successor = TransactionalProducer::connect(config.expect("legal"))
        .await
        .expect("an id");
    commit_next(&kafka, topic, &mut successor).await;

    // Told what is not true, a producer has its record behind the marker: so the broker is one that does not verify.
    let topic = "late-believed";
    let (proxy, _producer, aborted) =
        abort_over_late_record(&kafka, topic, PartitionVerification::Enabled).await;
    aborted.expect("the producer goes on");
    late_codes(&proxy, 2).await;
    assert_eq!(behind_the_marker(&kafka, topic).await, 1);
}

/// How many batches of the first producer stand behind its first marker.
async fn behind_the_marker(kafka: &RealKafka, topic: &str) -> usize {
    let batches = kafka.batches(topic, 0).await;
    let marker = batches.iter().position(|batch| batch.is_control);
    let behind = &batches[marker.expect("the abort left a marker")..];
    let of_first = |batch: &&DumpedBatch| !batch.is_control && batch.producer_id == batches[0].producer_id;
    behind.iter().filter(of_first).count()
}

async fn late_addpartitions(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "late-addpartitions";
    kafka.create_topic(topic, 2).await;
    let proxy = kafka.proxy(0);
    proxy.rule(every(5, draws(), |request| {
        request.api_key == ApiKey::AddPartitionsToTxn
    }));
    let connect = || {
        let config = transactional(proxy.address(), topic).transaction_timeout(Duration::from_millis(3000));
        TransactionalProducer::connect(config.build().expect("legal"))
    };
    let mut producer = connect().await.expect("an id");
    let mut committed = Vec::new();
    let mut fenced = 0;
    for number in 0..20 {
        // A copy that comes between the end of its transaction and the new epoch has the next drill to itself.
        if let Err(error) = producer.begin().await.map(drop) {
            assert!(
                error.is_fatal() && error.to_string().contains("renew the epoch"),
                "{error}"
            );
            fenced += 1;
            producer = connect().await.expect("an id");
        }
        let value = number.to_string();
        let transaction = producer.begin().await.expect("a new instance");
        send_to(&transaction, topic, 0..2, &value).await;
        transaction.commit().await.expect("nothing is wrong with it");
        committed.push(value);
        // Idle for longer than a request is kept back and a transaction may last: a phantom would be aborted, and the producer fenced.
        if number % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(5000)).await;
        }
    }
    let codes = late_codes(&proxy, 4).await;
    let accepted = codes.iter().filter(|code| **code == 0).count();
    assert!(
        fenced <= accepted,
        "fenced {fenced} times, and {accepted} copies were accepted"
    );
    let last = producer.begin().await.expect("no phantom has fenced it");
    last.abort().await.expect("aborted");
    producer.close(FOREVER).await.expect("nothing is open");
    assert_committed(&kafka, topic, 0..2, &committed).await;
}

async fn late_addpartitions_before_the_new_epoch(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "late-addpartitions-renewal";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let mut is_first = true;
    let renewals = Arc::new(AtomicUsize::new(0));
    let may_renew = Arc::new(AtomicBool::new(false));
    let (asked, may_pass) = (Arc::clone(&renewals), Arc::clone(&may_renew));
    proxy.rule(move |request| match request.api_key {
        ApiKey::AddPartitionsToTxn if std::mem::take(&mut is_first) => Verdict::KeepBack,
        ApiKey::InitProducerId if request.renews_an_epoch() && !may_pass.load(Ordering::Relaxed) => {
            asked.fetch_add(1, Ordering::Relaxed);
            Verdict::Answer(Box::new(ResponseKind::InitProducerId(
                InitProducerIdResponse::default().with_error_code(ErrorCode::ConcurrentTransactions.code()),
            )))
        }
        _ => Verdict::Pass,
    });
    let connect = || {
        let config = transactional(proxy.address(), topic);
        TransactionalProducer::connect(config.build().expect("legal"))
    };
    let mut producer = connect().await.expect("an id");
    let transaction = producer.begin().await.expect("idle");
    send_to(&transaction, topic, 0..1, "first").await;
    let phantom = async {
        while renewals.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        until_every_marker_is_written(&kafka, topic).await;
        proxy.deliver_kept_back();
        assert_eq!(late_codes(&proxy, 1).await, [0], "the copy opens a transaction");
        may_renew.store(true, Ordering::Relaxed);
    };
    let (committed, ()) = tokio::join!(transaction.commit(), phantom);
    committed.expect("it was committed before the epoch could be renewed");
    let error = producer
        .begin()
        .await
        .map(drop)
        .expect_err("the producer is fenced");
    assert!(
        error.is_fatal() && error.to_string().contains("renew the epoch"),
        "{error}"
    );

    let mut producer = connect().await.expect("an id");
    let transaction = producer.begin().await.expect("idle");
    send_to(&transaction, topic, 0..1, "second").await;
    transaction.commit().await.expect("nothing is wrong with it");
    assert_committed(&kafka, topic, 0..1, &["first", "second"]).await;
}
