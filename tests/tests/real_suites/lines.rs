//! A file of lines for `kommit load`, and whether each of them is in the topic once.

use std::fmt::Write;
use std::path::PathBuf;

use kommit_tests::kafka::{ConsumedRecord, Reading, RealKafka, sequence_faults};

use crate::client::{SENTINEL, put_sentinels};

/// How many partitions a topic that is loaded into has.
pub(crate) const PARTITIONS: usize = 6;

/// A file of numbered lines with keys, no two of them equal; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) path: PathBuf,
    pub(crate) count: usize,
    pub(crate) bytes: u64,
}

impl Lines {
    pub(crate) fn write(name: &str, count: usize) -> Self {
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

/// Kafka's own consumer finds every line once, and each partition in the file's order.
pub(crate) async fn assert_each_line_once(kafka: &RealKafka, topic: &str, lines: &Lines) {
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
