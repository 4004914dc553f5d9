//! A pipeline without a consumer library: reads a topic through Kafka's protocol, writes each record to another topic, and keeps its position
//! in the transactions. It can be killed like a process, for it lives in a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{FetchRequest, GroupId, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::RecordBatchDecoder;
use kommit::{
    ConsumerGroupMetadata, Offset, OffsetAndMetadata, Record, TopicPartition, TransactionalProducer,
};
use kommit_tests::kafka::{Reading, RealKafka, ask};
use tokio::sync::oneshot;

use crate::client::{FOREVER, SENTINEL, put_sentinels, transactional};
use crate::ledger::{Known, Next, after_abort, begun, committed};
use crate::stopwatch::Stopwatch;

const FETCH: i16 = 12;
const OFFSET_FETCH: i16 = 8;
/// So many records of a partition at most are carried in one transaction.
const MOST_RECORDS: usize = 3;
/// One transaction in so many is aborted on purpose: its inputs must be carried again.
const ABORTED: usize = 7;

/// From where to where, and through which addresses. The topics have equally many partitions.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// What the producer connects to.
    pub(crate) through: String,
    /// Where inputs and positions are read.
    pub(crate) broker: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) partitions: i32,
}

/// The next offset of each partition.
type Positions = BTreeMap<i32, i64>;

/// A pipeline that runs. Dropping it ends it as the end of a process would: nothing is said to the broker.
#[derive(Debug)]
pub(crate) struct Carrier {
    alive: Option<oneshot::Sender<()>>,
    work: Option<JoinHandle<()>>,
}

impl Carrier {
    pub(crate) fn start(route: &Route) -> Self {
        let (alive, killed) = oneshot::channel();
        let route = route.clone();
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // The producer's tasks run while this waits, and at no other time.
            runtime.expect("a thread can wait").block_on(async {
                tokio::select! {
                    () = carry(route) => {}
                    _ = killed => {}
                }
            });
        });
        Self {
            alive: Some(alive),
            work: Some(work),
        }
    }

    /// Has it ended by itself? Its producer is dead then, and the next one has to go on.
    ///
    /// # Panics
    /// When it has found a promise broken.
    pub(crate) fn has_ended(&mut self) -> bool {
        if let Some(work) = self.work.take_if(|work| work.is_finished()) {
            work.join().expect("no promise was broken");
        }
        self.work.is_none()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(work) = self.work.take() {
            let ended = work.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a promise was broken");
        }
    }
}

impl Route {
    /// The group's positions, without what an open transaction may still change.
    pub(crate) async fn positions(&self) -> io::Result<Positions> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(&self.input))
            .with_partition_indexes((0..self.partitions).collect());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(self.input.clone())))
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default()
            .with_groups(vec![group])
            .with_require_stable(true);
        let mut answer = ask(&self.broker, OFFSET_FETCH, &request).await?;
        let group = answer.groups.remove(0);
        let partitions = group.topics.into_iter().flat_map(|topic| topic.partitions);
        let mut positions = Positions::new();
        for partition in partitions {
            match (group.error_code, partition.error_code) {
                (0, 0) => positions.insert(partition.partition_index, partition.committed_offset.max(0)),
                codes => return Err(io::Error::other(format!("codes {codes:?}"))),
            };
        }
        match positions.len() == self.partitions as usize {
            true => Ok(positions),
            false => Err(io::Error::other(format!("code {}", group.error_code))),
        }
    }

    /// What is at a position, as offsets and texts. The input has no transactions.
    async fn read(&self, partition: i32, position: i64) -> io::Result<Vec<(i64, String)>> {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(position)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name(&self.input))
            .with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic]);
        let mut answer = ask(&self.broker, FETCH, &request).await?;
        let partition = answer.responses.remove(0).partitions.remove(0);
        if partition.error_code != 0 {
            return Err(io::Error::other(format!("code {}", partition.error_code)));
        }
        let mut blob = partition.records.unwrap_or_default();
        let mut records = Vec::new();
        // The last batch may be cut off; the next read begins with it.
        while let Ok(batch) = RecordBatchDecoder::decode(&mut blob) {
            records.extend(batch.records);
        }
        let text = |value: Option<bytes::Bytes>| {
            String::from_utf8(value.unwrap_or_default().to_vec()).expect("inputs are texts")
        };
        let new = records.into_iter().filter(|record| record.offset >= position);
        Ok(new
            .take(MOST_RECORDS)
            .map(|record| (record.offset, text(record.value)))
            .collect())
    }

    /// Kafka's own consumer finds each of the inputs once in the output, in their order, and the group is at the end of the input.
    pub(crate) async fn check(&self, kafka: &RealKafka, inputs: usize) {
        put_sentinels(kafka, &self.output, 0..self.partitions).await;
        let reading = Reading::committed(&self.output).at_most(inputs + self.partitions as usize);
        let mut times_seen = vec![0; inputs];
        let mut last = vec![None; self.partitions as usize];
        let mut sentinels = 0;
        for record in kafka.tools().console_consume(&reading).await {
            if record.value == SENTINEL {
                sentinels += 1;
                continue;
            }
            let number: usize = record.value.parse().expect("a number");
            times_seen[number] += 1;
            let before = last[record.partition as usize].replace(number);
            assert!(before < Some(number), "{number} behind {before:?}: {record:?}");
        }
        let wrong: Vec<_> = (0..).zip(times_seen).filter(|(_, times)| *times != 1).collect();
        assert_eq!(wrong, [], "inputs and how many outputs they have");
        assert_eq!(sentinels, self.partitions, "every partition is read to its end");
        let ends = patiently(async || self.positions().await).await;
        assert_eq!(ends.values().sum::<i64>(), inputs as i64, "{ends:?}");
    }
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Carries for as long as its producer lives.
async fn carry(route: Route) {
    let mut producer = connect(&route).await;
    let mut positions = patiently(async || route.positions().await).await;
    for number in 1.. {
        let mut inputs = Vec::new();
        for (partition, position) in &positions {
            for (offset, text) in patiently(async || route.read(*partition, *position).await).await {
                inputs.push((*partition, offset, text));
            }
        }
        if inputs.is_empty() {
            // Between two looks at an input that has nothing new.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let (known, next) = carry_once(&mut producer, &route, (&inputs, number % ABORTED == 0)).await;
        // H24: what is not committed is read again, from where it was.
        if known == Known::Committed {
            positions.extend(
                inputs
                    .iter()
                    .map(|(partition, offset, _)| (*partition, offset + 1)),
            );
        }
        if next == Next::NewProducer {
            return;
        }
    }
}

/// Writes inputs to the output, with the position behind them, in one transaction.
async fn carry_once(
    producer: &mut TransactionalProducer,
    route: &Route,
    (inputs, is_given_up): (&[(i32, i64, String)], bool),
) -> (Known, Next) {
    let Some(transaction) = begun(producer).await else {
        return (Known::NotCommitted, Next::NewProducer);
    };
    let mut offsets = BTreeMap::new();
    for (partition, offset, text) in inputs {
        // R12: a record that fails makes the commit fail.
        let record = Record::new(&route.output).partition(*partition).value(text);
        let _condemned = transaction.send(record).await;
        let place = TopicPartition::new(route.input.as_str(), *partition);
        offsets.insert(place, OffsetAndMetadata::of_offset(Offset(offset + 1)));
    }
    let group = ConsumerGroupMetadata::of_group(route.input.as_str());
    match transaction.send_offsets(offsets, group).await {
        Ok(()) if !is_given_up => committed(transaction.commit().await).await,
        _ => (Known::NotCommitted, after_abort(transaction.abort().await).await),
    }
}

async fn connect(route: &Route) -> TransactionalProducer {
    let config = transactional(route.through.clone(), &route.input).build();
    let config = config.expect("legal settings");
    patiently(async || TransactionalProducer::connect(config.clone()).await).await
}

/// Asks again until it succeeds.
pub(crate) async fn patiently<T, E: std::fmt::Display>(question: impl AsyncFn() -> Result<T, E>) -> T {
    let start = Stopwatch::start();
    loop {
        match question().await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < 2 * FOREVER, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
