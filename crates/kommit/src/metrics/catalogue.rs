//! From counts to Kafka's names (K-1 … K-23): the one place that knows them. What was never measured has no mean and no maximum, and is left out.

use std::sync::Arc;

use kommit_accumulator::Accumulator;
use kommit_network::{NodeCounts, Spread};
use kommit_sender::{SenderReport, TopicCounts};

use super::calls::{Calls, Spent};
use super::{Metric, Scope};

/// The totals whose growth per second has a name of its own, and how many units of the total make one of the rate.
pub(super) const RATES: &[(&str, &str, f64)] = &[
    ("record-send-total", "record-send-rate", 1.0),
    ("record-retry-total", "record-retry-rate", 1.0),
    ("record-error-total", "record-error-rate", 1.0),
    ("byte-total", "byte-rate", 1.0),
    ("batch-split-total", "batch-split-rate", 1.0),
    ("buffer-exhausted-total", "buffer-exhausted-rate", 1.0),
    ("bufferpool-wait-time-ns-total", "bufferpool-wait-ratio", 1e9),
    ("connection-creation-total", "connection-creation-rate", 1.0),
    ("connection-close-total", "connection-close-rate", 1.0),
    ("network-io-total", "network-io-rate", 1.0),
    ("outgoing-byte-total", "outgoing-byte-rate", 1.0),
    ("incoming-byte-total", "incoming-byte-rate", 1.0),
    ("request-total", "request-rate", 1.0),
    ("response-total", "response-rate", 1.0),
    ("select-total", "select-rate", 1.0),
    ("io-wait-time-ns-total", "io-wait-ratio", 1e9),
    ("io-time-ns-total", "io-ratio", 1e9),
];

const NANOS_PER_MILLI: f64 = 1e6;

/// The metrics of one scope on their way into the list.
struct Group<'a> {
    scope: Scope,
    metrics: &'a mut Vec<Metric>,
}

impl Group<'_> {
    fn put(&mut self, name: &'static str, value: f64) {
        self.metrics.push(Metric {
            scope: self.scope.clone(),
            name,
            value,
        });
    }

    fn count(&mut self, name: &'static str, count: u64) {
        self.put(name, count as f64);
    }

    /// Mean and largest, in units of so many of what was measured.
    fn spread(&mut self, (mean, max): (&'static str, &'static str), spread: &Spread, unit: f64) {
        if let Some(average) = spread.mean() {
            self.put(mean, average / unit);
            self.put(max, spread.max as f64 / unit);
        }
    }

    fn ratio(&mut self, name: &'static str, part: u64, whole: u64) {
        if whole > 0 {
            self.put(name, part as f64 / whole as f64);
        }
    }
}

/// All metrics: those of the producer, then of each topic, then of each node, each in the catalogue's order.
pub(super) fn metrics(report: &SenderReport, accumulator: &Accumulator, calls: &Calls) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let mut group = Group {
        scope: Scope::Producer,
        metrics: &mut metrics,
    };
    records(&mut group, report, calls);
    memory(&mut group, accumulator, calls);
    times(&mut group, calls);
    connections(&mut group, report);
    event_loop(&mut group, report);
    for (name, counts) in &report.sender.topics {
        group.scope = Scope::Topic(Arc::clone(name));
        topic(&mut group, counts);
    }
    for (node_id, counts) in &report.network.nodes {
        group.scope = Scope::Node(node_id.0);
        traffic(&mut group, counts);
        let latency = ("request-latency-avg", "request-latency-max");
        group.spread(latency, &counts.produce_latency, NANOS_PER_MILLI);
    }
    metrics
}

/// K-1 … K-13.
fn records(group: &mut Group<'_>, report: &SenderReport, calls: &Calls) {
    let sender = &report.sender;
    group.spread(("batch-size-avg", "batch-size-max"), &sender.batch_size, 1.0);
    group.ratio(
        "compression-rate-avg",
        sender.batch_size.sum,
        sender.expanded_bytes,
    );
    let queue_time = ("record-queue-time-avg", "record-queue-time-max");
    group.spread(queue_time, &sender.queue_time, NANOS_PER_MILLI);
    let latency = ("request-latency-avg", "request-latency-max");
    group.spread(latency, &report.network.total().produce_latency, NANOS_PER_MILLI);
    group.count("record-send-total", sender.records_per_request.sum);
    if let Some(mean) = sender.records_per_request.mean() {
        group.put("records-per-request-avg", mean);
    }
    group.count("record-retry-total", sender.records_retried);
    group.count(
        "record-error-total",
        sender.records_failed + calls.refused_count(),
    );
    group.spread(
        ("record-size-avg", "record-size-max"),
        &sender.largest_record,
        1.0,
    );
    group.count("requests-in-flight", report.requests_in_flight as u64);
    if let Some(age) = report.metadata_age {
        group.put("metadata-age", age.as_secs_f64());
    }
    group.count("batch-split-total", sender.splits);
    let pause = report.transaction_pause.as_secs_f64() * 1e9;
    group.put("txn-pause-time-ns", pause);
    let throttle = ("produce-throttle-time-avg", "produce-throttle-time-max");
    group.spread(throttle, &sender.throttle_time, 1.0);
}

/// K-15, K-16.
fn memory(group: &mut Group<'_>, accumulator: &Accumulator, calls: &Calls) {
    group.count("buffer-exhausted-total", calls.exhausted_count());
    group.count("waiting-threads", accumulator.waiting_for_memory() as u64);
    group.count("buffer-total-bytes", accumulator.total_memory() as u64);
    group.count("buffer-available-bytes", accumulator.available_memory() as u64);
}

/// K-14, K-17.
fn times(group: &mut Group<'_>, calls: &Calls) {
    for (on, name) in Spent::ALL {
        group.count(name, calls.nanos_of(on));
    }
}

/// K-18, K-20.
fn connections(group: &mut Group<'_>, report: &SenderReport) {
    let network = &report.network;
    group.count("connection-creation-total", network.connections_created);
    group.count("connection-close-total", network.connections_closed);
    group.count(
        "connection-count",
        network.connections_created - network.connections_closed,
    );
    let total = network.total();
    group.count("network-io-total", total.request_size.count + total.responses);
    traffic(group, &total);
}

/// K-20, K-23.
fn traffic(group: &mut Group<'_>, counts: &NodeCounts) {
    group.count("request-total", counts.request_size.count);
    group.spread(
        ("request-size-avg", "request-size-max"),
        &counts.request_size,
        1.0,
    );
    group.count("outgoing-byte-total", counts.outgoing_bytes);
    group.count("response-total", counts.responses);
    group.count("incoming-byte-total", counts.incoming_bytes);
}

/// K-21.
fn event_loop(group: &mut Group<'_>, report: &SenderReport) {
    let (rest, work) = (&report.sender.rest, &report.sender.work);
    group.count("select-total", rest.count);
    group.count("io-wait-time-ns-total", rest.sum);
    group.count("io-time-ns-total", work.sum);
    if let (Some(rest), Some(work)) = (rest.mean(), work.mean()) {
        group.put("io-wait-time-ns-avg", rest);
        group.put("io-time-ns-avg", work);
    }
}

/// K-22.
fn topic(group: &mut Group<'_>, counts: &TopicCounts) {
    group.count("record-send-total", counts.records_sent);
    group.count("byte-total", counts.bytes_sent);
    group.ratio("compression-rate", counts.bytes_sent, counts.expanded_bytes);
    group.count("record-retry-total", counts.records_retried);
    group.count("record-error-total", counts.records_failed);
}
