//! The stage of every scene: an embedded broker with one topic, producers with short time-outs, and what a reader would see.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use kommit::{
    Clock, Metrics, Producer, ProducerConfig, Record, SystemClock, TcpConnector, TopicPartition, Transaction,
    TransactionalProducer,
};
use kommit_broker::inspect::{BatchKind, LoggedBatch};
use kommit_broker::{BrokerConfig, EmbeddedBroker, TransactionVersion};
use kommit_protocol::api::{ApiKey, Request};
use kommit_protocol::batch::{BatchView, RecordView};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame;
use kommit_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsRequestTopic, OffsetFetchRequest, OffsetFetchRequestTopic,
};
use kommit_protocol::time::Now;
use kommit_protocol::units::PartitionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The topic of every scene, with three partitions.
pub(crate) const TOPIC: &str = "orders";
/// Far beyond what anything here takes: a scene that needs it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// More polls than any call needs, so that a scene that gives it up one poll later each time also sees it end.
pub(crate) const POLLS: usize = 6;
/// Both protocols of transactions.
pub(crate) const VERSIONS: [TransactionVersion; 2] = [TransactionVersion::V1, TransactionVersion::V2];

/// A broker, what has become of its topic, and the clock of its producers.
pub(crate) struct Stage {
    pub(crate) broker: EmbeddedBroker,
    clock: Arc<MovedClock>,
}

/// The system's clock, which a scene moves on: long time-outs pass when the scene wants it, and not because a machine is slow.
struct MovedClock {
    system: SystemClock,
    moved_millis: AtomicU64,
}

impl Clock for MovedClock {
    fn now(&self) -> Now {
        let now = self.system.now();
        Now {
            instant: now.instant + Duration::from_millis(self.moved_millis.load(Ordering::Relaxed)),
            ..now
        }
    }
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::of(BrokerConfig::default()).await
    }

    pub(crate) async fn with_version(transaction_version: TransactionVersion) -> Self {
        let config = BrokerConfig {
            transaction_version,
            ..BrokerConfig::default()
        };
        Self::of(config).await
    }

    pub(crate) async fn of(config: BrokerConfig) -> Self {
        let broker = EmbeddedBroker::start(config).await.expect("a free port");
        broker.create_topic(TOPIC, 3).expect("a legal name");
        let clock = Arc::new(MovedClock {
            system: SystemClock::start(),
            moved_millis: AtomicU64::new(0),
        });
        Self { broker, clock }
    }

    /// Moves the producers' clock on, and lets the one with these metrics notice.
    pub(crate) async fn pass(&self, millis: u64, metrics: &Metrics) {
        self.clock.moved_millis.fetch_add(millis, Ordering::Relaxed);
        metrics.snapshot().await.expect("it is open");
    }

    /// A configuration for this broker; the defaults of a scene come first, so that `keys` can replace them.
    pub(crate) fn config(&self, keys: &[(&str, &str)]) -> ProducerConfig {
        config(&self.broker.bootstrap_servers(), keys)
    }

    pub(crate) fn producer(&self, keys: &[(&str, &str)]) -> Producer {
        let connector = Arc::new(TcpConnector::default());
        Producer::with_connector(self.config(keys), connector, self.clock.clone())
            .expect("no transactional id")
    }

    pub(crate) async fn transactional(&self, id: &str, keys: &[(&str, &str)]) -> TransactionalProducer {
        let mut all = vec![("transactional.id", id)];
        all.extend_from_slice(keys);
        let connector = Arc::new(TcpConnector::default());
        TransactionalProducer::connect_with(self.config(&all), connector, self.clock.clone())
            .await
            .expect("the broker gives out an id")
    }

    /// Every record of a partition, control records excepted, as a `read_uncommitted` reader sees it.
    pub(crate) fn records(&self, partition: i32) -> Vec<RecordView> {
        let batches = self.broker.log(TOPIC, partition);
        batches
            .iter()
            .filter(|batch| is_data(batch))
            .flat_map(records_of)
            .collect()
    }

    /// The values of a partition that a `read_committed` reader sees.
    pub(crate) fn committed(&self, partition: i32) -> Vec<String> {
        let place = TopicPartition::new(TOPIC, partition);
        let (stable, aborted) = self.broker.with_core(|core| {
            let marks = core.watermarks(&place).expect("the topic exists");
            let aborted = core.aborted(&place).expect("the topic exists");
            (marks.last_stable_offset, aborted)
        });
        let is_aborted = |batch: &LoggedBatch| {
            aborted.iter().any(|end| {
                batch.producer.is_some_and(|(id, _)| id == end.producer_id)
                    && (end.first_offset..end.marker_offset).contains(&batch.base_offset)
            })
        };
        let batches = self.broker.log(TOPIC, partition);
        let visible = batches
            .iter()
            .filter(|batch| is_data(batch) && batch.base_offset < stable && !is_aborted(batch));
        visible.flat_map(records_of).map(|record| text(&record)).collect()
    }

    /// How many requests of one API came.
    pub(crate) fn count(&self, api: ApiKey) -> usize {
        let journal = self.broker.journal();
        journal.iter().filter(|entry| entry.api == api).count()
    }

    /// Gives the topic more partitions.
    pub(crate) async fn expand(&self, count: i32) {
        let topic = CreatePartitionsRequestTopic {
            name: TOPIC.to_owned(),
            count,
            assignments: None,
        };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: 10_000,
            validate_only: false,
        };
        let response = self.ask(&request, 1).await;
        assert_eq!(response.results[0].error_code, ErrorCode::None, "{response:?}");
    }

    /// The broker's answer to a request of a client that is no producer.
    async fn ask<R: Request>(&self, request: &R, version: i16) -> R::Response {
        let mut stream = TcpStream::connect(self.broker.addresses()[0])
            .await
            .expect("the broker listens");
        let bytes = frame::encode_request(request, version, 1, None);
        stream.write_all(&bytes).await.expect("the broker reads");
        let length = stream.read_i32().await.expect("the broker answers");
        let mut body = vec![0; usize::try_from(length).expect("a length")];
        stream.read_exact(&mut body).await.expect("the whole answer");
        let (_, response) = frame::decode_response::<R>(body.into(), version).expect("an answer");
        response
    }

    /// The offset that a group has committed for partition 0 of the topic.
    pub(crate) async fn committed_offset(&self, group: &str) -> Option<i64> {
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: TOPIC.to_owned(),
                partition_indexes: vec![PartitionId(0)],
                ..OffsetFetchRequestTopic::default()
            }]),
            ..OffsetFetchRequest::default()
        };
        let response = self.ask(&request, 7).await;
        // A coordinator that nobody has needed yet does not even know that there is no such group.
        let partition = response.topics.first()?.partitions.first()?;
        (partition.committed_offset >= 0).then_some(partition.committed_offset)
    }
}

/// A record for partition 0 of the topic.
pub(crate) fn record(value: &str) -> Record<'_> {
    Record::new(TOPIC).partition(0).value(value)
}

/// Plays a scene with a producer of each version.
pub(crate) async fn with_both_versions(scene: impl AsyncFn(&Stage, TransactionalProducer)) {
    for version in VERSIONS {
        // Shown when the scene fails.
        println!("{version:?}");
        let stage = Stage::with_version(version).await;
        let producer = stage.transactional("t", &[]).await;
        scene(&stage, producer).await;
    }
}

/// Plays a scene with both versions again and again, for a call in it that is given up one poll later each time.
pub(crate) async fn at_each_poll(scene: impl AsyncFn(&Stage, TransactionalProducer, usize)) {
    for polls in 0..POLLS {
        println!("given up after {polls} polls");
        with_both_versions(async |stage, producer| scene(stage, producer, polls).await).await;
    }
}

/// Sends a value to partition 0 of the topic, and waits until it is in the log.
pub(crate) async fn writes(transaction: &Transaction<'_>, value: &str) {
    let delivery = transaction.send(record(value)).await.expect("room");
    delivery.await.expect("written");
}

/// A transaction of one record that nothing befalls.
pub(crate) async fn commits(producer: &mut TransactionalProducer, value: &str) {
    let transaction = producer.begin().await.expect("idle");
    drop(transaction.send(record(value)).await.expect("room"));
    transaction.commit().await.expect("committed");
}

/// A configuration with time-outs that a scene can wait for.
pub(crate) fn config(bootstrap_servers: &str, keys: &[(&str, &str)]) -> ProducerConfig {
    let defaults = [
        ("bootstrap.servers", bootstrap_servers),
        ("linger.ms", "0"),
        ("max.block.ms", "20000"),
        ("retry.backoff.ms", "10"),
        ("reconnect.backoff.ms", "10"),
    ];
    let all: BTreeMap<&str, &str> = defaults.into_iter().chain(keys.iter().copied()).collect();
    let builder = all
        .into_iter()
        .fold(ProducerConfig::builder(), |builder, (key, value)| {
            builder.set(key, value)
        });
    builder.build().expect("a legal configuration")
}

fn is_data(batch: &LoggedBatch) -> bool {
    !matches!(batch.kind, BatchKind::Marker { .. })
}

fn records_of(batch: &LoggedBatch) -> Vec<RecordView> {
    let view = BatchView::parse(&batch.bytes).expect("a batch of the log");
    view.verify_crc().expect("what is in the log is whole");
    let records = view.records(16 << 20).expect("a codec that is known");
    records.map(|record| record.expect("a whole record")).collect()
}

/// A record's value as text.
pub(crate) fn text(record: &RecordView) -> String {
    let value = record.value.as_deref().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// Waits until something that happens elsewhere has happened. There is nobody to ask but the thing itself, so it looks again and again.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(LONG, waiting).await;
    assert!(in_time.is_ok(), "this did not come about: {what}");
}

/// Polls a future as often as it is woken, and drops it at its `polls`-th pending poll; `None` when that came before its end.
pub(crate) async fn given_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    if polls == 0 {
        return None;
    }
    GivenUp {
        future: Box::pin(future),
        polls,
    }
    .await
}

struct GivenUp<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for GivenUp<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.polls -= 1;
        if self.polls == 0 {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}
