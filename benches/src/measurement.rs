//! The options of `kommit perf` and its line of JSON, for programs that are measured beside it. Knows no client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The options, by their names without dashes.
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads `--name value` pairs of the command line.
    pub fn of_this_program() -> Self {
        let mut arguments = std::env::args().skip(1);
        let mut options = BTreeMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next().expect("an option has a value");
            options.insert(name.trim_start_matches('-').to_owned(), value);
        }
        Self(options)
    }

    /// Options without a command line.
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self(owned.collect())
    }

    /// An option's text, or `default`.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }

    /// An option's number, or `default`.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.0
            .get(name)
            .map_or(default, |text| text.parse().expect("a number"))
    }

    /// Keys of 16 bytes, which records have in turn; none for records without a key.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.number("keys", 0);
        (0..keys).map(|number| format!("{number:016}")).collect()
    }

    /// The numbers of the records that one of the sending tasks has: each task has the next one in turn.
    pub fn share(&self, task: u64) -> impl Iterator<Item = u64> + use<> {
        let tasks = usize::try_from(self.tasks()).expect("a number of tasks");
        (task..self.number("records", 1_000_000)).step_by(tasks)
    }

    /// How many tasks share the producer and the records.
    pub fn tasks(&self) -> u64 {
        self.number("tasks", 1).max(1)
    }

    /// The value of every record: letters in no order, as `kommit perf` sends.
    pub fn payload(&self) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let letter = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'A' + (state % 26) as u8
        };
        let size = usize::try_from(self.number("size", 100)).expect("a size");
        std::iter::repeat_with(letter).take(size).collect()
    }
}

/// One measurement, from the end of the warm-up on.
pub struct Measurement {
    started: Instant,
    processor_time: Duration,
    ended: Option<(Duration, Duration)>,
    /// Microseconds of what was timed.
    pub times: Vec<u64>,
    /// Acknowledged records.
    pub acked: u64,
    /// Records that failed.
    pub failed: u64,
    /// Committed transactions.
    pub transactions: u64,
}

impl Measurement {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            started: Instant::now(),
            processor_time: processor_time(),
            ended: None,
            times: Vec::new(),
            acked: 0,
            failed: 0,
            transactions: 0,
        }
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Adds what another task has counted.
    pub fn join(&mut self, other: &Self) {
        self.acked += other.acked;
        self.failed += other.failed;
        self.times.extend(&other.times);
    }

    /// Counts something that took from `begun` until now.
    pub fn time_since(&mut self, begun: Instant) {
        self.times.push(begun.elapsed().as_micros() as u64);
    }

    /// Ends now; otherwise it ends with the first look at it.
    pub fn end(&mut self) {
        let spent = || (self.started.elapsed(), processor_time() - self.processor_time);
        self.ended = Some(self.ended.unwrap_or_else(spent));
    }

    /// Nanoseconds of processor time for each acknowledged record.
    pub fn cpu_ns_per_record(mut self) -> f64 {
        self.end();
        let (_, cpu) = self.ended.unwrap_or_default();
        cpu.as_secs_f64() * 1e9 / self.acked.max(1) as f64
    }

    /// The median of what was timed, in microseconds.
    pub fn median(mut self) -> f64 {
        self.times.sort_unstable();
        self.times
            .get(self.times.len() / 2)
            .map_or(0.0, |median| *median as f64)
    }

    /// Prints the line.
    pub fn report(mut self, who: &str, options: &Options) {
        self.end();
        let (wall, cpu) = self.ended.unwrap_or_default();
        let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
        let mode = options.text("mode", "throughput");
        let (size, records) = (options.number("size", 100), options.number("records", 1_000_000));
        let rate = self.acked as f64 / wall;
        let kind = if mode == "txn" { "txn" } else { "ack" };
        self.times.sort_unstable();
        let at = |share: f64| {
            let wanted = (self.times.len() as f64 * share).ceil() as usize;
            self.times
                .get(wanted.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        println!(
            "{{\"who\":\"{who}\",\"mode\":\"{mode}\",\"records\":{records},\"size\":{size},\"acked\":{},\"failed\":{},\"wall_s\":{wall:.4},\
             \"krec_s\":{:.3},\"mb_s\":{:.3},\"cpu_s\":{cpu:.3},\"cpu_ns_per_rec\":{:.1},\"rss_mib\":{:.1},\"txns\":{},\
             \"{kind}_p50_us\":{},\"{kind}_p99_us\":{},\"{kind}_p999_us\":{},\"{kind}_max_us\":{}}}",
            self.acked,
            self.failed,
            rate / 1e3,
            rate * size as f64 / 1e6,
            cpu * 1e9 / self.acked.max(1) as f64,
            peak_memory_mib(),
            self.transactions,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        );
    }
}

/// Waits for `due` without missing it by a timer's millisecond.
pub fn wait_until(due: Instant) {
    while let Some(left) = due
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

/// When record `index` is due at `rate` records per second.
pub fn due(started: Instant, rate: u64, index: u64) -> Instant {
    started + Duration::from_nanos((u128::from(index) * 1_000_000_000 / u128::from(rate.max(1))) as u64)
}

/// User and system time of this process; the kernel counts it in hundredths of a second.
pub fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = behind_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn peak_memory_mib() -> f64 {
    mebibytes("VmHWM:")
}

/// The memory of this process now, in MiB.
pub fn memory_mib() -> f64 {
    mebibytes("VmRSS:")
}

/// A line of the kernel's account of this process, in MiB.
fn mebibytes(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
