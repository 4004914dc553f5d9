//! A snapshot handed to the crate `metrics`, where any exporter can pick it up. Nothing is registered, and nothing runs by itself.

use ::metrics::{Label, counter, gauge};

use super::{Metric, MetricsSnapshot};

impl MetricsSnapshot {
    /// Publishes every metric to the global recorder of the crate `metrics`: totals as counters, everything else as gauges. The name is Kafka's
    /// group and name with a dot between them (`producer-topic-metrics.byte-total`); the labels are Kafka's tags (`client-id`,
    /// `topic`, `node-id`).
    ///
    /// Call it as often as the numbers shall be fresh. A counter is set to its total, so nothing is counted twice.
    pub fn publish(&self) {
        for metric in self.iter() {
            let name = format!("{}.{}", metric.scope.group(), metric.name);
            let labels = self.labels_of(metric);
            if metric.name.ends_with("-total") {
                counter!(name, labels).absolute(metric.value as u64);
            } else {
                gauge!(name, labels).set(metric.value);
            }
        }
    }

    fn labels_of(&self, metric: &Metric) -> Vec<Label> {
        let client = ("client-id", self.client_id().to_owned());
        let tags = [Some(client), metric.scope.tag()].into_iter().flatten();
        tags.map(|(key, value)| Label::new(key, value)).collect()
    }
}
