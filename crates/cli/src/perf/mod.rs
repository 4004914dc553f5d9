//! `kommit perf`: how fast is this producer, against any cluster?
//!
//! Each mode is a driver of its own ([`throughput`], [`latency`], [`txn`]) that sends one and the same payload and awaits every delivery; the
//! measured time and processor time begin behind the warm-up. Nothing is allocated per record here.

mod histogram;
mod latency;
mod pace;
mod report;
mod throughput;
mod txn;
mod usage;

use std::io::{self, Write};
use std::time::Duration;

use kommit::{Producer, Record};

use self::histogram::Histogram;
use self::report::Report;
use crate::args::{PerfArguments, PerfMode};
use crate::clock::{self, Instant};
use crate::cluster::{Cluster, Topic};
use crate::failure::{Failure, output_failed};
use crate::producing::{self, told};
use crate::properties::Properties;

const DEFAULT_LATENCY_RATE: u64 = 10_000;
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// What is sent where, and how much of it.
pub(crate) struct Workload {
    topic: Topic,
    payload: Vec<u8>,
    records: u64,
    /// Records per second; none for no limit.
    rate: Option<u64>,
    /// Records in a transaction.
    txn_size: u64,
    /// `buffer.memory`, which bounds what can be unacknowledged at once.
    buffer_memory: u64,
}

/// What a driver has seen.
pub(crate) struct Seen {
    acked: u64,
    failed: u64,
    /// The first failure's text.
    first_failure: Option<String>,
    txns: u64,
    times: Histogram,
}

/// When the measured part began.
pub(crate) struct Baseline {
    started: Instant,
    processor_time: Duration,
}

impl Baseline {
    fn now() -> Self {
        Self {
            started: clock::now(),
            processor_time: usage::processor_time(),
        }
    }
}

impl Seen {
    fn nothing() -> Self {
        Self {
            acked: 0,
            failed: 0,
            first_failure: None,
            txns: 0,
            times: Histogram::new(),
        }
    }

    fn fail(&mut self, records: u64, reason: &dyn std::fmt::Display) {
        self.failed += records;
        self.first_failure.get_or_insert_with(|| reason.to_string());
    }
}

/// Measures, and prints one JSON object on one line.
pub(crate) async fn run(arguments: PerfArguments) -> Result<(), Failure> {
    let properties = properties(&arguments)?;
    let config = producing::config(&properties)?;
    let mut cluster = Cluster::connect(&arguments.bootstrap_servers).await?;
    let topic = cluster
        .ensure_topic(&arguments.topic, arguments.partitions)
        .await?;
    drop(cluster);
    let workload = workload(&arguments, &properties, topic);
    let (baseline, seen) = if arguments.mode == PerfMode::Txn {
        txn::measure(config, &workload).await?
    } else {
        let producer = Producer::new(config).map_err(|error| told("starting the producer", &error))?;
        warm_up(&producer, &workload).await?;
        let baseline = Baseline::now();
        let (seen, producer) = match arguments.mode {
            PerfMode::Latency => latency::measure(producer, &workload).await?,
            PerfMode::Throughput | PerfMode::Txn => throughput::measure(producer, &workload).await?,
        };
        let report = Report::of(arguments.mode, &workload, &baseline, &seen);
        // Every delivery has its outcome: a close can report nothing more.
        let _ = producer.close(CLOSE_LIMIT).await;
        return finish(&report, &seen);
    };
    finish(&Report::of(arguments.mode, &workload, &baseline, &seen), &seen)
}

fn finish(report: &Report, seen: &Seen) -> Result<(), Failure> {
    let line = serde_json::to_string(report)
        .map_err(io::Error::from)
        .map_err(output_failed)?;
    writeln!(io::stdout(), "{line}").map_err(output_failed)?;
    match &seen.first_failure {
        None => Ok(()),
        Some(reason) => Err(Failure::failed(
            format!("{} records failed; the first one: {reason}", seen.failed),
            "look at the brokers' logs",
        )),
    }
}

fn properties(arguments: &PerfArguments) -> Result<Properties, Failure> {
    let mut properties = Properties::collect(&arguments.producer, &[("client.id", "kommit-perf")])?;
    properties.put("bootstrap.servers", &arguments.bootstrap_servers);
    let named = [
        ("linger.ms", arguments.linger_ms.map(|value| value.to_string())),
        ("batch.size", arguments.batch_size.map(|value| value.to_string())),
        ("compression.type", arguments.compression.clone()),
        (
            "transactional.id",
            (arguments.mode == PerfMode::Txn).then(|| arguments.transactional_id.clone()),
        ),
    ];
    for (key, value) in named {
        if let Some(value) = value {
            properties.put(key, value);
        }
    }
    Ok(properties)
}

fn workload(arguments: &PerfArguments, properties: &Properties, topic: Topic) -> Workload {
    let default_rate = if arguments.mode == PerfMode::Latency {
        DEFAULT_LATENCY_RATE
    } else {
        0
    };
    Workload {
        topic,
        payload: payload(arguments.size),
        records: arguments.records,
        rate: Some(arguments.rate.unwrap_or(default_rate)).filter(|rate| *rate > 0),
        txn_size: u64::from(arguments.txn_size.get()),
        buffer_memory: properties.number("buffer.memory", 32 * 1024 * 1024),
    }
}

/// Letters in no order, as Kafka's own tool sends: they compress, but not to nothing. The same for every run.
fn payload(size: u32) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'A' + (state % 26) as u8
    });
    letters
        .take(usize::try_from(size).unwrap_or(usize::MAX))
        .collect()
}

/// One record per partition, so that every leader is connected.
async fn warm_up(producer: &Producer, workload: &Workload) -> Result<(), Failure> {
    let failed = |error: kommit::SendError| told("sending the first record", &error);
    let mut deliveries = Vec::with_capacity(workload.topic.partitions.len());
    for (partition, _) in &workload.topic.partitions {
        let record = Record::new(&workload.topic.name)
            .partition(partition.0)
            .value(&workload.payload);
        deliveries.push(producer.send(record).await.map_err(failed)?);
    }
    for delivery in deliveries {
        delivery.await.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_letters_and_always_the_same() {
        assert_eq!(payload(100), payload(100));
        assert!(payload(1000).iter().all(u8::is_ascii_uppercase));
        assert!(payload(0).is_empty());
    }
}
