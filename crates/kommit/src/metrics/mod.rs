//! What a producer has done so far, under Kafka's names (K-1 … K-23).
//!
//! The sender counts in plain numbers and copies them when somebody asks, so that a producer whose metrics nobody reads pays for a few additions per
//! batch. There is no clock, no window and no reporter here: totals, means and maxima are those since the start of the producer, and
//! a rate is the difference of two snapshots. With the cargo feature `metrics`, a snapshot can be published to the crate of that name.
//!
//! One name is not Kafka's: `txn-pause-time-ns`, the learned pause between the end of a transaction and the first request of the next.
//!
//! Not there: authentication (K-19) and ciphers (K-25), because there is no TLS and SASL yet, and the bookkeeping of Kafka's registry (K-24).

mod calls;
mod catalogue;
#[cfg(feature = "metrics")]
mod publish;

use std::fmt;
use std::sync::Arc;

use kommit_protocol::time::Instant;
use kommit_sender::{Command, Reply, SenderGone, SenderHandle};

pub(crate) use calls::{Calls, Spent};

/// What a metric is about. Kafka's group and tag follow from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// The producer: `producer-metrics`.
    Producer,
    /// One topic: `producer-topic-metrics`, with the tag `topic`.
    Topic(Arc<str>),
    /// One broker: `producer-node-metrics`, with the tag `node-id`. A bootstrap address has a negative id.
    Node(i32),
}

impl Scope {
    /// Kafka's name of the group.
    pub fn group(&self) -> &'static str {
        match self {
            Self::Producer => "producer-metrics",
            Self::Topic(_) => "producer-topic-metrics",
            Self::Node(_) => "producer-node-metrics",
        }
    }

    /// The tag besides `client-id`, name and value.
    pub fn tag(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Producer => None,
            Self::Topic(topic) => Some(("topic", topic.to_string())),
            Self::Node(id) => Some(("node-id", format!("node-{id}"))),
        }
    }
}

/// One number of a snapshot.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// What it is about.
    pub scope: Scope,
    /// Kafka's name.
    pub name: &'static str,
    /// The number: a count, bytes, or a time in the unit that Kafka has for this name (milliseconds, unless the name says `ns`).
    pub value: f64,
}

/// The metrics of a running producer. Cheap to clone, and independent of the borrow of a transaction.
///
/// ```no_run
/// # async fn example(producer: &kommit::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// let metrics = producer.metrics();
/// let before = metrics.snapshot().await?;
/// tokio::time::sleep(std::time::Duration::from_secs(10)).await;
/// let after = metrics.snapshot().await?;
/// println!("{:?} records so far", after.value("record-send-total"));
/// for rate in after.rates_since(&before) {
///     println!("{} = {} per second", rate.name, rate.value);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Metrics {
    handle: SenderHandle,
    calls: Arc<Calls>,
    client_id: Arc<str>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(handle: SenderHandle, calls: Arc<Calls>, client_id: Arc<str>) -> Self {
        Self {
            handle,
            calls,
            client_id,
        }
    }

    /// All metrics at this moment, taken between two turns of the sender: what belongs together is counted together.
    ///
    /// # Errors
    ///
    /// [`ProducerClosed`](crate::ProducerClosed) when the producer is closed (K-17: its metrics end with it).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn snapshot(&self) -> Result<MetricsSnapshot, SenderGone> {
        let Reply::Report(report) = self.handle.ask(Command::Report)?.await? else {
            return Err(SenderGone);
        };
        Ok(MetricsSnapshot {
            at: report.at,
            client_id: Arc::clone(&self.client_id),
            metrics: catalogue::metrics(&report, self.handle.accumulator(), &self.calls),
        })
    }
}

/// The metrics of a producer at one moment. What was never measured is not there: a producer that sent nothing has no mean batch size.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSnapshot {
    at: Instant,
    client_id: Arc<str>,
    metrics: Vec<Metric>,
}

impl MetricsSnapshot {
    /// The producer's `client.id`, Kafka's tag of every metric.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// All metrics: the producer's, then by topic, then by node.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    /// A metric of the producer, by Kafka's name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.value_in(&Scope::Producer, name)
    }

    /// A metric of a topic.
    pub fn topic_value(&self, topic: &str, name: &str) -> Option<f64> {
        self.value_in(&Scope::Topic(topic.into()), name)
    }

    /// A metric of a broker.
    pub fn node_value(&self, node_id: i32, name: &str) -> Option<f64> {
        self.value_in(&Scope::Node(node_id), name)
    }

    fn value_in(&self, scope: &Scope, name: &str) -> Option<f64> {
        let found = self
            .metrics
            .iter()
            .find(|metric| metric.name == name && metric.scope == *scope);
        found.map(|metric| metric.value)
    }

    /// The rates and ratios between an earlier snapshot of the same producer and this one, under Kafka's names (`record-send-rate`,
    /// `io-wait-ratio` …). Empty when no time has passed.
    pub fn rates_since(&self, earlier: &MetricsSnapshot) -> Vec<Metric> {
        let seconds = self.at.saturating_since(earlier.at).as_secs_f64();
        if seconds == 0.0 {
            return Vec::new();
        }
        let rate = |metric: &Metric| {
            let (total, name, unit) = catalogue::RATES
                .iter()
                .find(|(total, _, _)| *total == metric.name)?;
            let before = earlier.value_in(&metric.scope, total).unwrap_or(0.0);
            Some(Metric {
                scope: metric.scope.clone(),
                name,
                value: (metric.value - before) / unit / seconds,
            })
        };
        self.metrics.iter().filter_map(rate).collect()
    }
}
