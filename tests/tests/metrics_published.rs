//! The cargo feature `metrics` of the façade: a snapshot, as a recorder of the crate `metrics` gets it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kommit::metrics::Scope;
use kommit::{Producer, ProducerConfig, Record};
use kommit_broker::{BrokerConfig, EmbeddedBroker};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// By name and labels: what kind it is, and its value.
type Board = Arc<Mutex<BTreeMap<String, (&'static str, f64)>>>;

#[derive(Default)]
struct Blackboard(Board);

/// Where one metric is written on the board.
struct Line {
    board: Board,
    name: String,
}

impl Line {
    fn of(board: &Board, key: &Key) -> Arc<Self> {
        let labels = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()));
        Arc::new(Self {
            board: Arc::clone(board),
            name: format!("{}{}", key.name(), labels.collect::<String>()),
        })
    }

    fn write(&self, kind: &'static str, value: f64) {
        locked(&self.board).insert(self.name.clone(), (kind, value));
    }
}

fn locked(board: &Board) -> MutexGuard<'_, BTreeMap<String, (&'static str, f64)>> {
    board.lock().expect("nobody panics with the board")
}

impl CounterFn for Line {
    fn increment(&self, _: u64) {
        unreachable!("totals are set, not added to");
    }

    fn absolute(&self, value: u64) {
        self.write("counter", value as f64);
    }
}

impl GaugeFn for Line {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set, not added to");
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set, not taken from");
    }

    fn set(&self, value: f64) {
        self.write("gauge", value);
    }
}

impl Recorder for Blackboard {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Line::of(&self.0, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Line::of(&self.0, key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// P-39, K-22: every metric arrives once, with Kafka's group, name and tags; publishing again counts nothing twice.
#[tokio::test]
async fn a_snapshot_arrives_at_the_recorder() {
    let broker = EmbeddedBroker::start(BrokerConfig::default())
        .await
        .expect("a free port");
    let config = ProducerConfig::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .client_id("billing");
    let producer = Producer::new(config.build().expect("valid")).expect("in a runtime");
    for _ in 0..3 {
        let record = Record::new("orders").value("paid");
        let _flushed = producer.send(record).await.expect("there is room");
    }
    producer.flush().await.expect("the producer is open");
    let snapshot = producer.metrics().snapshot().await.expect("the producer is open");

    let blackboard = Blackboard::default();
    metrics::with_local_recorder(&blackboard, || {
        snapshot.publish();
        snapshot.publish();
    });

    let board = locked(&blackboard.0).clone();
    assert_eq!(board.len(), snapshot.iter().count());
    let line = |name: &str| board.get(name).copied();
    let of_topic = "producer-topic-metrics.record-send-total client-id=billing topic=orders";
    assert_eq!(line(of_topic), Some(("counter", 3.0)));
    let of_producer = "producer-metrics.record-send-total client-id=billing";
    assert_eq!(line(of_producer), Some(("counter", 3.0)));
    let in_flight = "producer-metrics.requests-in-flight client-id=billing";
    assert_eq!(line(in_flight), Some(("gauge", 0.0)));
    let node = snapshot.iter().find_map(|metric| match metric.scope {
        Scope::Node(id) if id >= 0 => Some(id),
        _ => None,
    });
    let node = node.expect("one broker was talked to");
    let of_node = format!("producer-node-metrics.request-total client-id=billing node-id=node-{node}");
    assert_eq!(line(&of_node).map(|(kind, _)| kind), Some("counter"));
    producer
        .close(Duration::from_secs(10))
        .await
        .expect("nothing waits");
}
