//! What the broker says, and what it means (H05, H16, H18, H19, H20): drills of `docs/spec/hazards.md` in which answers are changed or made up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, EndTxnResponse, ResponseKind};
use kommit::{
    AbortError, CommitError, Producer, ProducerConfig, Record, TransactionFate, TransactionalProducer,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::kafka::{Reading, RealKafka, Stage, Tool};
use kommit_tests::proxy::{Decision, Verdict};

use crate::client::{
    FOREVER, SENTINEL, all_written, assert_committed, assert_no_sequence_faults, connect, outcomes,
    put_sentinels, send_to, transactional, values_before_sentinel,
};

against_each_kafka!(
    /// H05, R9: a new epoch is asked for only when the transaction has ended.
    init_while_ongoing,
    /// H16: a transaction without records ends well, however often.
    empty_txn,
    /// H16, R12: when every produce request was refused, there is still something to abort.
    all_failed_txn,
    /// H18: the coordinator gives up on a transaction while its commit is on the way.
    txn_timeout_race,
    /// H19: of all error codes that can answer a commit, none is a success.
    endtxn_weird_errors,
    /// H20, R1: a leader that steps down behind the append has written the records.
    not_leader_after_append,
);

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// Puts this code into the answer to a produce request, for its only partition.
fn refuse(code: i16) -> Verdict {
    Verdict::ChangeAnswer(Box::new(move |answer| {
        let ResponseKind::Produce(answer) = answer else {
            panic!("{answer:?} is not about records")
        };
        let partition = &mut answer.responses[0].partition_responses[0];
        partition.error_code = code;
        partition.base_offset = -1;
    }))
}

async fn init_while_ongoing(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "init-while-ongoing";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let mut produced = 0;
    proxy.rule(move |request| {
        log.lock().expect("no rule panics").push(request.api_key);
        produced += u32::from(request.api_key == ApiKey::Produce);
        if request.api_key == ApiKey::Produce && produced == 2 {
            return refuse(OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        Verdict::Pass
    });
    let config = transactional(proxy.address(), topic).build().expect("legal");
    let mut producer = TransactionalProducer::connect(config).await.expect("an id");
    let torn = producer.begin().await.expect("idle");
    all_written(send_to(&torn, topic, 0..1, "before").await).await;
    let refused = outcomes(send_to(&torn, topic, 0..1, "refused").await).await;
    assert!(refused[0].is_err(), "{refused:?}");
    match torn.commit().await {
        Err(CommitError::MustAbort(failed)) => failed.abort().await.expect("aborted"),
        other => panic!("a record is missing: {other:?}"),
    }
    let next = producer.begin().await.expect("it can go on");
    all_written(send_to(&next, topic, 0..1, "next").await).await;
    next.commit().await.expect("nothing is wrong with it");

    let asked = asked.lock().expect("no rule panics").clone();
    let ends_and_ids: Vec<ApiKey> = asked
        .into_iter()
        .filter(|key| matches!(key, ApiKey::EndTxn | ApiKey::InitProducerId))
        .collect();
    assert_eq!(
        ends_and_ids[..2],
        [ApiKey::InitProducerId, ApiKey::EndTxn],
        "the first id, then the end of the torn transaction: {ends_and_ids:?}"
    );
    assert_committed(&kafka, topic, 0..1, &["next"]).await;
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}

async fn empty_txn(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "empty-txn";
    kafka.create_topic(topic, 1).await;
    let mut producer = connect(&kafka, topic).await;
    for number in 0..10 {
        let empty = producer.begin().await.expect("idle");
        if number % 2 == 0 {
            empty.commit().await.expect("there is nothing that could fail");
        } else {
            empty.abort().await.expect("there is nothing that could fail");
        }
        if number % 3 == 0 {
            let whole = producer.begin().await.expect("idle");
            send_to(&whole, topic, 0..1, "whole").await;
            whole.commit().await.expect("nothing is wrong with it");
        }
    }
    producer.close(FOREVER).await.expect("nothing is open");
    assert_committed(&kafka, topic, 0..1, &["whole"; 4]).await;
}

async fn all_failed_txn(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "all-failed";
    let narrow = [
        "--create",
        "--topic",
        topic,
        "--partitions",
        "1",
        "--config",
        "max.message.bytes=1000",
    ];
    kafka.tools().run(Tool::Topics, &narrow).await;
    let mut producer = connect(&kafka, topic).await;
    for _ in 0..3 {
        let failed = producer.begin().await.expect("idle");
        let refused = outcomes(send_to(&failed, topic, 0..1, &"~".repeat(2000)).await).await;
        assert!(refused[0].is_err(), "too large for the topic: {refused:?}");
        match failed.commit().await {
            Err(CommitError::MustAbort(failed)) => failed.abort().await.expect("aborted"),
            other => panic!("a record is missing: {other:?}"),
        }
        let whole = producer.begin().await.expect("it can go on");
        send_to(&whole, topic, 0..1, "whole").await;
        whole.commit().await.expect("nothing is wrong with it");
    }
    producer.close(FOREVER).await.expect("nothing is open");
    // It is seen only when nothing before it is left open.
    assert_committed(&kafka, topic, 0..1, &["whole"; 3]).await;
}

async fn txn_timeout_race(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "txn-timeout-race";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let mut is_first = true;
    proxy.rule(move |request| {
        if request.end_of_transaction().is_some() && std::mem::take(&mut is_first) {
            return Verdict::Lose;
        }
        Verdict::Pass
    });
    let config = transactional(proxy.address(), topic)
        .transaction_timeout(Duration::from_secs(2))
        .set("reconnect.backoff.max.ms", "100")
        .build();
    let mut producer = TransactionalProducer::connect(config.expect("legal"))
        .await
        .expect("an id");
    let slow = producer.begin().await.expect("idle");
    all_written(send_to(&slow, topic, 0..1, "slow").await).await;
    proxy.refuse();
    let upstream = kafka.node().address_behind_proxy();
    let (outcome, ()) = tokio::join!(slow.commit(), async {
        // Readable for all means that the coordinator has aborted what was open before it.
        assert_committed(&kafka, topic, 0..1, &[""; 0]).await;
        proxy.forward_to(&upstream);
    });
    match outcome {
        // The first attempt might have arrived: nobody who is fenced then knows what it did.
        Err(CommitError::Dead(dead)) if dead.error().code() == Some(ErrorCode::ProducerFenced) => {
            assert_eq!(dead.transaction(), TransactionFate::InDoubt, "{dead}");
        }
        Err(CommitError::Dead(dead)) => assert_ne!(dead.transaction(), TransactionFate::NoneOpen, "{dead}"),
        Err(CommitError::MustAbort(failed)) => match failed.abort().await {
            Ok(()) | Err(AbortError::Dead(_)) => {}
            Err(other) => panic!("the coordinator answers: {other}"),
        },
        other => panic!("the records are gone, so a commit cannot be right: {other:?}"),
    }
    let records = kafka
        .tools()
        .console_consume(&Reading::committed(topic).partition(0).at_most(1))
        .await;
    assert_eq!(records[0].value, SENTINEL);
}

/// How a commit ended, as its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Committed,
    NotCommitted,
    Unknown,
}

/// Commits one record under this topic's id, and tells how that ended. A producer that is dead then is replaced.
async fn commit_one(producer: &mut TransactionalProducer, topic: &str, value: &str) -> Known {
    let transaction = producer.begin().await.expect("idle");
    all_written(send_to(&transaction, topic, 0..1, value).await).await;
    match transaction.commit().await {
        Ok(()) => Known::Committed,
        Err(CommitError::MustAbort(failed)) => {
            let aborted = failed.abort().await;
            assert!(
                matches!(aborted, Ok(()) | Err(AbortError::Dead(_))),
                "{aborted:?}"
            );
            Known::NotCommitted
        }
        Err(CommitError::Dead(dead)) if dead.transaction() == TransactionFate::InDoubt => Known::Unknown,
        Err(CommitError::Dead(dead)) => {
            assert_ne!(dead.transaction(), TransactionFate::NoneOpen, "{dead}");
            Known::NotCommitted
        }
        Err(CommitError::InDoubt(_)) => Known::Unknown,
        Err(other) => panic!("{value}: {other}"),
    }
}

/// What becomes of the first EndTxn(commit) that carries the code at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// The broker has committed, and the answer says otherwise.
    Done,
    /// The broker has not even been asked.
    NotDone,
}

/// Error codes that do not tell whether the commit was carried out.
const PROVE_NOTHING: [i16; 8] = [-1, 7, 13, 14, 15, 16, 51, 56];

async fn endtxn_weird_errors(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "endtxn-errors";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let lie = Arc::new(Mutex::new(None));
    let next_lie = Arc::clone(&lie);
    proxy.rule(move |request| {
        if request.end_of_transaction() != Some(Decision::Commit) {
            return Verdict::Pass;
        }
        match next_lie.lock().expect("no rule panics").take() {
            None => Verdict::Pass,
            Some((Lie::Done, code)) => Verdict::ChangeAnswer(Box::new(move |answer| {
                *answer = end_txn_answer(code);
            })),
            Some((Lie::NotDone, code)) => Verdict::Answer(Box::new(end_txn_answer(code))),
        }
    });
    let new_producer = || {
        let config = transactional(proxy.address(), topic).set("retry.backoff.ms", "10");
        TransactionalProducer::connect(config.build().expect("legal"))
    };
    let mut producer = new_producer().await.expect("an id");
    let mut known = Vec::new();
    let all_codes = (-1..=133)
        .filter(|code| *code != 0)
        .map(|code| (Lie::NotDone, code));
    for told in PROVE_NOTHING
        .map(|code| (Lie::Done, code))
        .into_iter()
        .chain(all_codes)
    {
        *lie.lock().expect("no rule panics") = Some(told);
        let value = format!("{told:?}");
        let end = commit_one(&mut producer, topic, &value).await;
        if producer.begin().await.is_err() {
            producer = new_producer().await.expect("an id");
        }
        known.push((value, end));
    }
    producer.close(FOREVER).await.expect("nothing is open");
    assert_as_known(&kafka, topic, &known).await;
}

fn end_txn_answer(code: i16) -> ResponseKind {
    ResponseKind::EndTxn(
        EndTxnResponse::default()
            .with_error_code(code)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    )
}

/// What was said to be committed is there once, what was said not to be is not.
async fn assert_as_known(kafka: &RealKafka, topic: &str, known: &[(String, Known)]) {
    put_sentinels(kafka, topic, 0..1).await;
    let records = kafka
        .tools()
        .console_consume(&Reading::committed(topic).partition(0))
        .await;
    let values: Vec<&str> = records.iter().map(|record| record.value.as_str()).collect();
    let (last, values) = values.split_last().expect("the sentinel");
    assert_eq!(*last, SENTINEL);
    let seen: BTreeSet<&str> = values.iter().copied().collect();
    assert_eq!(seen.len(), values.len(), "nothing twice: {values:?}");
    let count = |end| known.iter().filter(|(_, known)| *known == end).count();
    println!(
        "{} committed, {} not, {} in doubt",
        count(Known::Committed),
        count(Known::NotCommitted),
        count(Known::Unknown)
    );
    for (value, end) in known {
        match end {
            Known::Committed => assert!(seen.contains(value.as_str()), "{value} is said to be committed"),
            Known::NotCommitted => assert!(
                !seen.contains(value.as_str()),
                "{value} is said not to be committed"
            ),
            Known::Unknown => {}
        }
    }
    assert!(
        count(Known::Committed) >= PROVE_NOTHING.len(),
        "what is asked again is answered"
    );
}

async fn not_leader_after_append(mut stage: Stage) {
    const RECORDS: usize = 300;
    let kafka = stage.shared().await;
    let topic = "not-leader";
    kafka.create_topic(topic, 1).await;
    let proxy = kafka.proxy(0);
    let mut produced = 0;
    proxy.rule(move |request| {
        produced += u32::from(request.api_key == ApiKey::Produce);
        if request.api_key == ApiKey::Produce && produced % 3 == 1 {
            return refuse(NOT_LEADER_OR_FOLLOWER);
        }
        Verdict::Pass
    });
    let config = ProducerConfig::builder()
        .bootstrap_servers(proxy.address())
        .batch_size(200)
        .set("retry.backoff.ms", "10")
        .build();
    let producer = Producer::new(config.expect("legal")).expect("no transactional id");
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let value = number.to_string();
        let record = Record::new(topic).partition(0).value(&value);
        deliveries.push(producer.send(record).await.expect("room"));
    }
    all_written(deliveries).await;
    producer.close(FOREVER).await.expect("nothing is left");
    put_sentinels(&kafka, topic, 0..1).await;
    let seen = values_before_sentinel(&kafka, Reading::committed(topic).partition(0), RECORDS).await;
    assert!(
        seen.iter()
            .map(|value| value.parse().ok())
            .eq((0..RECORDS).map(Some)),
        "{seen:?}"
    );
    assert_no_sequence_faults(&kafka, topic, 0..1).await;
}
