//! `kommit load`, killed and started again, and two of them at once: each line once, in the file's order.

use std::time::Duration;

use kommit_tests::kafka::{RealKafka, Stage};

use crate::client::FOREVER;
use crate::each_kafka::draws;
use crate::lines::{Lines, assert_each_line_once};
use crate::program::Kommit;

against_each_kafka!(
    /// R13: killed with `kill -9` three times and started again, every line is there once.
    a_load_that_is_killed_three_times_loads_each_line_once,
    /// P-26: a second load of the same job takes over, the first one ends with exit code 3, and nothing is doubled.
    a_second_load_fences_the_first_and_nothing_is_doubled,
);

async fn a_load_that_is_killed_three_times_loads_each_line_once(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "killed-load";
    let lines = Lines::write("killed", 200_000);
    let servers = kafka.bootstrap_servers();
    let mut draws = draws();
    for kill in 1..=3 {
        let run = Kommit::load(&servers, &lines.path, topic, &[]).await;
        // The moment is told by what has reached the log, a quarter of the file further each time, and then any moment of a transaction.
        let size = lines.bytes / 4 * (kill - 1) + draws.below(1..lines.bytes / 4);
        let mut run = grown_to(&kafka, topic, size, run).await;
        tokio::time::sleep(Duration::from_micros(draws.below(0..30_000))).await;
        assert!(run.is_running(), "kill {kill} comes too late");
        let ended = run.kill().await;
        println!("kill {kill} at {} bytes: {}", kafka.log_size(topic), ended.stderr);
        assert_eq!(ended.status.code(), None, "killed: {ended:?}");
    }
    let last = Kommit::load(&servers, &lines.path, topic, &[]).await.wait().await;
    assert_eq!(last.status.code(), Some(0), "{last:?}");
    let summary = last.summary();
    println!("{summary}");
    assert_eq!(summary["lines_in_topic"], lines.count, "{summary}");
    assert!(summary["resumed_at"].as_u64() > Some(0), "{summary}");
    assert_each_line_once(&kafka, topic, &lines).await;

    let again = Kommit::load(&servers, &lines.path, topic, &[]).await.wait().await;
    assert_eq!(again.summary()["lines"], 0, "nothing is left to load: {again:?}");
}

async fn a_second_load_fences_the_first_and_nothing_is_doubled(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "two-loads";
    let lines = Lines::write("two", 60_000);
    let servers = kafka.bootstrap_servers();
    // In small steps: it is far from its end when the newer one is there, however slowly that starts.
    let small = ["--records-per-transaction", "50"];
    let older = Kommit::load(&servers, &lines.path, topic, &small).await;
    let older = grown_to(&kafka, topic, lines.bytes / 10, older).await;
    let newer = Kommit::load(&servers, &lines.path, topic, &[]).await.wait().await;
    assert_eq!(newer.status.code(), Some(0), "{newer:?}");
    let summary = newer.summary();
    assert!(
        summary["resumed_at"].as_u64() > Some(0),
        "the older one was under way: {summary}"
    );

    let older = older.wait().await;
    assert_eq!(older.status.code(), Some(3), "{older:?}");
    assert_eq!(older.summary()["outcome"], "fenced", "{older:?}");
    assert!(older.stderr.contains("took over"), "{older:?}");
    assert_each_line_once(&kafka, topic, &lines).await;
}

/// Waits until the topic's logs have so many bytes.
async fn grown_to(kafka: &RealKafka, topic: &str, size: u64, mut run: Kommit) -> Kommit {
    let grown = async {
        while kafka.log_size(topic) < size && run.is_running() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(FOREVER, grown)
        .await
        .expect("the load goes on");
    run
}
