//! The line that a measurement prints: keys and units are an interface, programs read them.

use serde::Serialize;

use super::workload::Workload;
use super::{Baseline, Seen, usage};
use crate::args::PerfMode;
use crate::clock;

/// One measurement. Counts and times begin behind the warm-up; memory is the process's peak.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    who: &'static str,
    mode: &'static str,
    records: u64,
    size: u64,
    acked: u64,
    failed: u64,
    wall_s: f64,
    /// Thousands of acknowledged records per second.
    krec_s: f64,
    /// Millions of acknowledged payload bytes per second.
    mb_s: f64,
    cpu_s: f64,
    cpu_ns_per_rec: f64,
    rss_mib: f64,
    txns: u64,
    #[serde(flatten)]
    percentiles: Percentiles,
}

/// Percentiles in microseconds, under the names of what was timed.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Percentiles {
    Ack {
        ack_p50_us: u64,
        ack_p99_us: u64,
        ack_p999_us: u64,
        ack_max_us: u64,
    },
    Txn {
        txn_p50_us: u64,
        txn_p99_us: u64,
        txn_p999_us: u64,
        txn_max_us: u64,
    },
}

impl Report {
    /// The measurement that began at `baseline` and ends now.
    pub(super) fn of(mode: PerfMode, workload: &Workload, baseline: &Baseline, seen: &Seen) -> Self {
        let wall = (clock::now() - baseline.started).as_secs_f64();
        let cpu = usage::processor_time()
            .saturating_sub(baseline.processor_time)
            .as_secs_f64();
        let size = workload.payload.len() as u64;
        let rate = if wall > 0.0 { seen.acked as f64 / wall } else { 0.0 };
        Self {
            who: "kommit",
            mode: name(mode),
            records: workload.records,
            size,
            acked: seen.acked,
            failed: seen.failed,
            wall_s: rounded(wall, 4),
            krec_s: rounded(rate / 1e3, 3),
            mb_s: rounded(rate * size as f64 / 1e6, 3),
            cpu_s: rounded(cpu, 3),
            cpu_ns_per_rec: rounded(cpu * 1e9 / seen.acked.max(1) as f64, 1),
            rss_mib: rounded(usage::peak_memory_mib(), 1),
            txns: seen.txns,
            percentiles: Percentiles::of(mode, seen),
        }
    }
}

impl Percentiles {
    fn of(mode: PerfMode, seen: &Seen) -> Self {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| seen.times.percentile(share));
        let max = seen.times.largest();
        match mode {
            PerfMode::Throughput | PerfMode::Latency => Self::Ack {
                ack_p50_us: p50,
                ack_p99_us: p99,
                ack_p999_us: p999,
                ack_max_us: max,
            },
            PerfMode::Txn => Self::Txn {
                txn_p50_us: p50,
                txn_p99_us: p99,
                txn_p999_us: p999,
                txn_max_us: max,
            },
        }
    }
}

fn name(mode: PerfMode) -> &'static str {
    match mode {
        PerfMode::Throughput => "throughput",
        PerfMode::Latency => "latency",
        PerfMode::Txn => "txn",
    }
}

fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Topic;

    fn keys(mode: PerfMode) -> Vec<String> {
        let workload = Workload {
            topic: Topic {
                name: "t".to_owned(),
                partitions: Vec::new(),
            },
            payload: vec![b'x'; 100],
            keys: Vec::new(),
            records: 10,
            tasks: 1,
            rate: None,
            txn_size: 1,
            commit_and_begin: false,
            buffer_memory: 1024,
        };
        let report = Report::of(mode, &workload, &Baseline::now(), &Seen::nothing());
        let line = serde_json::to_string(&report).expect("plain fields");
        assert!(!line.contains('\n'));
        let object: serde_json::Map<_, _> = serde_json::from_str(&line).expect("an object");
        object.keys().cloned().collect()
    }

    #[test]
    fn programs_find_every_key() {
        let shared = [
            "who",
            "mode",
            "records",
            "size",
            "acked",
            "failed",
            "wall_s",
            "krec_s",
            "mb_s",
            "cpu_s",
            "cpu_ns_per_rec",
            "rss_mib",
            "txns",
        ];
        let expected = |times: [&str; 4]| {
            let mut expected: Vec<String> = shared.iter().chain(&times).map(ToString::to_string).collect();
            expected.sort();
            expected
        };
        let sorted = |mode| {
            let mut keys = keys(mode);
            keys.sort();
            keys
        };
        let ack = expected(["ack_p50_us", "ack_p99_us", "ack_p999_us", "ack_max_us"]);
        assert_eq!(sorted(PerfMode::Throughput), ack);
        assert_eq!(sorted(PerfMode::Latency), ack);
        assert_eq!(
            sorted(PerfMode::Txn),
            expected(["txn_p50_us", "txn_p99_us", "txn_p999_us", "txn_max_us"])
        );
    }
}
