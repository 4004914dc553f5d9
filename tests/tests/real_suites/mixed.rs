//! Everything at once: transactions, idempotent records, a file that is carried into a topic with its cursor in the transactions, and a
//! pipeline with its offsets in them, while requests are lost, delayed and answered into the void, connections die and processes are killed.
//!
//! `KOMMIT_MIXED_SECONDS` says for how long; `tests/long/mixed.sh` is the long form.

use std::cell::Cell;
use std::time::Duration;

use kommit_tests::kafka::Stage;
use kommit_tests::proxy::{Cuts, Draws, Proxy, Request, Verdict};

use crate::carrier::{Carrier, Route};
use crate::client::{FOREVER, put_values, transactional};
use crate::each_kafka::draws;
use crate::ledger::{Known, Ledger};
use crate::lines::{Lines, assert_each_line_once};
use crate::program::Kommit;
use crate::records::Records;
use crate::stopwatch::Stopwatch;

against_each_kafka!(
    /// R1 to R14, H24: whatever happens on the way, an independent reader finds what was promised, and nothing else.
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
    for topic in ["mixed-transactions", "mixed-records", "mixed-in", "mixed-out"] {
        kafka.create_topic(topic, 3).await;
    }
    let each = 60 * seconds as usize;
    put_values(
        &kafka.bootstrap_servers(),
        ("mixed-in", 3),
        (0..each).map(|number| number.to_string()),
    )
    .await;
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
    let mut records = Records::new(proxy.address(), "mixed-records", 3);
    let acknowledged = Cell::new(0);
    let lines = Lines::write("mixed-lines", each);
    let route = Route {
        through: proxy.address(),
        broker: kafka.bootstrap_servers(),
        input: "mixed-in".to_owned(),
        output: "mixed-out".to_owned(),
        partitions: 3,
    };
    let start = Stopwatch::start();
    let mut of_ledger = more_draws();
    let ((), kills, carriers, (), ()) = tokio::join!(
        records.send_until(|| start.elapsed() >= time, &acknowledged),
        carry_lines(&lines, &proxy, time, more_draws()),
        carry_through(&route, each, time, more_draws()),
        heal_after(&proxy, time),
        ledger.run_until(|_| start.elapsed() >= time, &mut of_ledger),
    );
    println!(
        "{seconds} s: {} connections, {} of them cut; {} late requests; {} records; {} lines, {kills} loads killed or failed; as many inputs, {carriers} pipelines killed or dead",
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
    route.check(&kafka, each).await;
    assert!(acknowledged.get() > 0, "faults are to be survived");
    records.check(&kafka).await;
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

/// Carries all inputs through, and kills the pipeline every few seconds until the time is over; then it may finish. How often it had to be started
/// again.
async fn carry_through(route: &Route, inputs: usize, time: Duration, mut draws: Draws) -> u32 {
    let start = Stopwatch::start();
    for restarts in 0.. {
        let mut carrier = Carrier::start(route);
        let life = Duration::from_millis(draws.below(800..4000));
        let started = Stopwatch::start();
        while !carrier.has_ended() && (started.elapsed() < life || start.elapsed() > time) {
            assert!(start.elapsed() < time + 3 * FOREVER, "the pipeline does not end");
            let positions = route.positions().await.unwrap_or_default();
            if positions.values().sum::<i64>() == inputs as i64 {
                return restarts;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    unreachable!("the loop returns")
}
