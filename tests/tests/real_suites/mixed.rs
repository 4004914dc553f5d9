//! Everything at once: transactions, idempotent records, and a file that is carried into a topic with its cursor in the transactions, while
//! requests are lost, delayed and answered into the void, connections die and processes are killed.
//!
//! `KOMMIT_MIXED_SECONDS` says for how long; `tests/long/mixed.sh` is the long form.

use std::collections::BTreeMap;
use std::time::Duration;

use kommit::{Producer, ProducerConfig, Record, SendError};
use kommit_tests::kafka::{Reading, RealKafka, Stage, sequence_faults};
use kommit_tests::proxy::{Cuts, Draws, Proxy, Request, Verdict};

use crate::client::{FOREVER, SENTINEL, put_sentinels, transactional};
use crate::each_kafka::draws;
use crate::ledger::{Known, Ledger};
use crate::lines::{Lines, assert_each_line_once};
use crate::program::Kommit;
use crate::stopwatch::Stopwatch;

against_each_kafka!(
    /// R1 to R14: whatever happens on the way, an independent reader finds what was promised, and nothing else.
    a_mixed_run_under_random_faults_has_no_anomaly,
);

const QUICK_SECONDS: u64 = 8;
/// Faults come in waves; behind each there is time to recover in.
const WAVE: Duration = Duration::from_secs(8);
const RECOVERY: Duration = Duration::from_secs(2);

async fn a_mixed_run_under_random_faults_has_no_anomaly(mut stage: Stage) {
    let given = std::env::var("KOMMIT_MIXED_SECONDS").ok();
    let seconds = given.map_or(QUICK_SECONDS, |text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let kafka = stage.shared().await;
    for topic in ["mixed-transactions", "mixed-records"] {
        kafka.tools().create_topic(topic, 3).await;
    }
    let mut draws = draws();
    let mut more_draws = || Draws::from_seed(draws.below(0..u64::MAX));
    let proxy = kafka.proxy(more_draws().below(0..u64::MAX));
    proxy.rule(faults(more_draws()));
    proxy.plan(Cuts::RandomTimes(
        Duration::from_millis(300)..Duration::from_secs(5),
    ));

    let config = transactional(proxy.address(), "mixed-transactions")
        .build()
        .expect("legal");
    let mut ledger = Ledger::new(config, "mixed-transactions", 3);
    let lines = Lines::write("mixed-lines", 60 * seconds as usize);
    let start = Stopwatch::start();
    let mut of_ledger = more_draws();
    let (records, kills, (), ()) = tokio::join!(
        records_until(time, proxy.address()),
        carry_lines(&lines, &proxy, time, more_draws()),
        heal_after(&proxy, time),
        ledger.run_until(|_| start.elapsed() >= time, &mut of_ledger),
    );
    println!(
        "{seconds} s: {} connections, {} of them cut; {} late requests; {} records; {} lines, {kills} loads killed or failed",
        proxy.connections(),
        proxy.cuts(),
        proxy.late_answers().len(),
        records.len(),
        lines.count
    );
    assert!(proxy.cuts() > seconds / 2, "{} cuts prove little", proxy.cuts());
    assert!(ledger.count(Known::Committed) > 0, "faults are to be survived");
    ledger.check(&kafka.tools(), kafka.bootstrap_servers()).await;
    assert_each_line_once(&kafka, "mixed-lines", &lines).await;
    check_records(&kafka, &records).await;
}

/// One request in fifty meets with a fault, but for the times of recovery.
fn faults(mut draws: Draws) -> impl FnMut(&Request) -> Verdict + Send + 'static {
    let start = Stopwatch::start();
    move |_| {
        let in_wave = Duration::from_millis(start.elapsed().as_millis() as u64 % WAVE.as_millis() as u64);
        if in_wave + RECOVERY > WAVE {
            return Verdict::Pass;
        }
        match draws.below(0..150) {
            0 => Verdict::Lose,
            1 => Verdict::LoseAnswer,
            2 => Verdict::DeliverLate(Duration::from_millis(draws.below(50..1500))),
            _ => Verdict::Pass,
        }
    }
}

type Outcome = Result<Option<i64>, SendError>;

/// Sends numbers one after the other, and tells what is known of each.
async fn records_until(time: Duration, servers: String) -> Vec<Outcome> {
    let config = ProducerConfig::builder().bootstrap_servers(servers).build();
    let producer = Producer::new(config.expect("legal")).expect("no transactional id");
    let mut deliveries = Vec::new();
    let start = Stopwatch::start();
    while start.elapsed() < time {
        let value = deliveries.len().to_string();
        let record = Record::new("mixed-records")
            .partition(deliveries.len() as i32 % 3)
            .value(&value);
        deliveries.push(producer.send(record).await.expect("room in time"));
        // The pace of a caller that has something else to do as well.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(
            delivery
                .await
                .map(|written| written.offset.map(|offset| offset.0)),
        );
    }
    producer.close(FOREVER).await.expect("nothing is left");
    outcomes
}

/// From this time on nothing is lost or late any more, and no connection is cut.
async fn heal_after(proxy: &Proxy, time: Duration) {
    tokio::time::sleep(time).await;
    proxy.rule(|_| Verdict::Pass);
    proxy.plan(Cuts::Never);
    proxy.cut();
}

/// Loads the lines, and kills the load every few seconds until the time is over; then it may finish. How often a load had to be started again.
async fn carry_lines(lines: &Lines, proxy: &Proxy, time: Duration, mut draws: Draws) -> u32 {
    let start = Stopwatch::start();
    let small = ["--records-per-transaction", "50"];
    for restarts in 0.. {
        let mut load = Kommit::load(&proxy.address(), &lines.path, "mixed-lines", &small).await;
        let life = Duration::from_millis(draws.below(1500..9000));
        let started = Stopwatch::start();
        while load.is_running() && (started.elapsed() < life || start.elapsed() > time) {
            assert!(start.elapsed() < time + 3 * FOREVER, "the load does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if load.is_running() {
            load.kill().await;
            continue;
        }
        let ended = load.wait().await;
        if ended.status.success() {
            return restarts;
        }
        println!("started again: {}", ended.stderr.trim());
    }
    unreachable!("the loop returns")
}

/// What is acknowledged is there once, where it was said to be, and in order; what is refused for certain is not there.
async fn check_records(kafka: &RealKafka, outcomes: &[Outcome]) {
    let topic = "mixed-records";
    put_sentinels(kafka, topic, 0..3).await;
    let mut seen: BTreeMap<usize, i64> = BTreeMap::new();
    let mut last = [None; 3];
    for record in kafka.tools().console_consume(&Reading::committed(topic)).await {
        if record.value == SENTINEL {
            continue;
        }
        let number: usize = record.value.parse().expect("a number");
        let before = last[record.partition as usize].replace(number);
        assert!(
            before < Some(number),
            "{topic}-{}: {number} behind {before:?}",
            record.partition
        );
        seen.insert(number, record.offset);
    }
    for (number, outcome) in outcomes.iter().enumerate() {
        let found = seen.get(&number).copied();
        let is_right = match outcome {
            Ok(Some(offset)) => found == Some(*offset),
            Ok(None) => found.is_some(),
            Err(error) => found.is_none() || error.may_be_written(),
        };
        assert!(
            is_right,
            "record {number} is {outcome:?}, and was found at {found:?}"
        );
    }
    for partition in 0..3 {
        let batches = kafka.batches(topic, partition).await;
        assert_eq!(sequence_faults(&batches), [""; 0]);
    }
}
