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
mod txn_ahead;
mod usage;
mod workload;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use kommit::{Producer, Record};

use self::histogram::Histogram;
use self::report::Report;
use self::workload::Workload;
use crate::args::{PerfArguments, PerfMode};
use crate::clock::{self, Instant};
use crate::cluster::Cluster;
use crate::failure::{Failure, output_failed};
use crate::producing::{self, told};
use crate::properties::Properties;

const DEFAULT_LATENCY_RATE: u64 = 10_000;
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

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

    fn join(&mut self, other: Self) {
        self.acked += other.acked;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.times.join(&other.times);
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
    let workload = Arc::new(Workload::of(&arguments, &properties, topic));
    let (baseline, seen) = if arguments.mode == PerfMode::Txn {
        txn::measure(config, &workload).await?
    } else {
        let producer = Producer::new(config).map_err(|error| told("starting the producer", &error))?;
        warm_up(&producer, &workload).await?;
        let producer = Arc::new(producer);
        let baseline = Baseline::now();
        let seen = match arguments.mode {
            PerfMode::Latency => latency::measure(&producer, &workload).await?,
            PerfMode::Throughput | PerfMode::Txn => throughput::measure(&producer, &workload).await?,
        };
        let report = Report::of(arguments.mode, &workload, &baseline, &seen);
        if let Some(producer) = Arc::into_inner(producer) {
            // Every delivery has its outcome: a close can report nothing more.
            let _ = producer.close(CLOSE_LIMIT).await;
        }
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

fn broken(reason: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the measurement broke off: {reason}"), "please report it")
}
