//! `kommit load`, killed and started again, and two of them at once: each line once, in the file's order.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use kommit_tests::kafka::{ConsumedRecord, Reading, RealKafka, Stage, sequence_faults};

use crate::client::{FOREVER, SENTINEL, put_sentinels};
use crate::each_kafka::draws;
use crate::program::Kommit;

against_each_kafka!(
    /// R13: killed with `kill -9` three times and started again, every line is there once.
    a_load_that_is_killed_three_times_loads_each_line_once,
    /// P-26: a second load of the same job takes over, the first one ends with exit code 3, and nothing is doubled.
    a_second_load_fences_the_first_and_nothing_is_doubled,
);

const PARTITIONS: usize = 6;

/// A file of numbered lines with keys, no two of them equal; removed when it is dropped.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    count: usize,
    bytes: u64,
}

impl Lines {
    fn write(name: &str, count: usize) -> Self {
        let path = std::env::temp_dir().join(format!("kommit-{name}-{}", std::process::id()));
        let mut text = String::new();
        for number in 0..count {
            writeln!(text, "key {}|{}", number % 997, line(number)).expect("a string takes everything");
        }
        std::fs::write(&path, &text).expect("the temporary folder can be written");
        Self {
            path,
            count,
            bytes: text.len() as u64,
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The value of a line: its number, and a tail of a length that varies.
fn line(number: usize) -> String {
    format!("{number:06} {}", "~".repeat(number % 41))
}

async fn a_load_that_is_killed_three_times_loads_each_line_once(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "killed-load";
    let lines = Lines::write(&format!("killed-{:?}", kafka.setup().release()), 200_000);
    let mut draws = draws();
    for kill in 1..=3 {
        let run = Kommit::load(&kafka, &lines.path, topic).await;
        // The moment is told by what has reached the log, a quarter of the file further each time, and then any moment of a transaction.
        let size = lines.bytes / 4 * (kill - 1) + draws.below(1..lines.bytes / 4);
        let mut run = grown_to(&kafka, topic, size, run).await;
        tokio::time::sleep(Duration::from_micros(draws.below(0..30_000))).await;
        assert!(run.is_running(), "kill {kill} comes too late");
        let ended = run.kill().await;
        println!("kill {kill} at {} bytes: {}", kafka.log_size(topic), ended.stderr);
        assert_eq!(ended.status.code(), None, "killed: {ended:?}");
    }
    let last = Kommit::load(&kafka, &lines.path, topic).await.wait().await;
    assert_eq!(last.status.code(), Some(0), "{last:?}");
    let summary = last.summary();
    println!("{summary}");
    assert_eq!(summary["lines_in_topic"], lines.count, "{summary}");
    assert!(summary["resumed_at"].as_u64() > Some(0), "{summary}");
    assert_each_line_once(&kafka, topic, &lines).await;

    let again = Kommit::load(&kafka, &lines.path, topic).await.wait().await;
    assert_eq!(again.summary()["lines"], 0, "nothing is left to load: {again:?}");
}

async fn a_second_load_fences_the_first_and_nothing_is_doubled(mut stage: Stage) {
    let kafka = stage.shared().await;
    let topic = "two-loads";
    let lines = Lines::write(&format!("two-{:?}", kafka.setup().release()), 60_000);
    let older = Kommit::load(&kafka, &lines.path, topic).await;
    let older = grown_to(&kafka, topic, lines.bytes / 10, older).await;
    let newer = Kommit::load(&kafka, &lines.path, topic).await.wait().await;
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

/// Kafka's own consumer finds every line once, and each partition in the file's order.
async fn assert_each_line_once(kafka: &RealKafka, topic: &str, lines: &Lines) {
    put_sentinels(kafka, topic, 0..PARTITIONS as i32).await;
    let reading = Reading::committed(topic).at_most(lines.count + PARTITIONS);
    let records = kafka.tools().console_consume(&reading).await;
    let mut times_seen = vec![0; lines.count];
    let mut last_of_partition = [None; PARTITIONS];
    let mut sentinels = 0;
    for ConsumedRecord {
        partition,
        offset,
        key,
        value,
    } in records
    {
        if value == SENTINEL {
            sentinels += 1;
            continue;
        }
        let number: usize = value[..6].parse().expect("a line begins with its number");
        assert_eq!(value, line(number));
        assert_eq!(key, Some(format!("key {}", number % 997)));
        times_seen[number] += 1;
        let last = last_of_partition[partition as usize].replace(number);
        assert!(
            last < Some(number),
            "{topic}-{partition} offset {offset}: line {number} behind {last:?}"
        );
    }
    let wrong: Vec<_> = times_seen
        .iter()
        .enumerate()
        .filter(|(_, times)| **times != 1)
        .take(10)
        .collect();
    assert_eq!(wrong, [], "lines and how often they were seen");
    assert_eq!(sentinels, PARTITIONS, "every partition was read to its end");
    for partition in [0, PARTITIONS - 1] {
        let batches = kafka.batches(topic, partition as i32).await;
        assert_eq!(sequence_faults(&batches), [""; 0]);
    }
}
