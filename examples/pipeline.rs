//! Consumes a topic, transforms each record and produces the result, exactly once: whatever dies, stalls or is rebalanced meanwhile.
//!
//! `cargo run -p kommit-examples --features rdkafka --example pipeline HOST:PORT GROUP INPUT OUTPUT`; both topics must exist. It runs until
//! it is killed, which it may be at any moment, and as many at once as there are partitions share the work.
//!
//! kommit has no consumer, so `rdkafka`'s is used (which is why C is compiled). The outputs and the position of their inputs are one
//! transaction. Each input partition has a transactional id of its own: whoever takes a partition over first takes its id, which ends what
//! the owner before has left open, and fences that owner for good if it still lives; only then it asks for the committed position. So the
//! position can be sent without the group's generation, which `rdkafka` does not tell.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kommit::{
    CommitError, ConsumerGroupMetadata, OffsetAndMetadata, ProducerConfig, Record, TopicPartition,
    TransactionalProducer,
};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

const MOST_RECORDS: usize = 500;
const LONGEST_WAIT: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, group, input, output] = <[String; 4]>::try_from(arguments)
        .map_err(|_| "say HOST:PORT GROUP INPUT OUTPUT: the brokers, the consumer group, two topics")?;
    let mut pipeline = Pipeline::join(servers, group, input, output)?;
    loop {
        pipeline.step().await?;
    }
}

/// Counts rebalances: what was owned before one may be somebody else's behind it.
#[derive(Debug, Default)]
struct Rebalances(Arc<AtomicU64>);

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, _rebalance: &Rebalance<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An input partition in our hands.
struct Owned {
    producer: TransactionalProducer,
    /// The offset behind the last input whose output is committed.
    next: i64,
}

/// What became of a transaction.
enum End {
    /// Inputs and outputs are done.
    Committed,
    /// Nothing of it is visible; the same inputs are to be read again.
    Aborted,
    /// Not known, or somebody else has the partition: only taking it over tells where it stands.
    Lost,
}

struct Pipeline {
    servers: String,
    group: String,
    input: String,
    output: String,
    consumer: StreamConsumer<Rebalances>,
    rebalances: Arc<AtomicU64>,
    seen_rebalances: u64,
    owned: BTreeMap<i32, Owned>,
}

impl Pipeline {
    fn join(servers: String, group: String, input: String, output: String) -> Result<Self, Box<dyn Error>> {
        let rebalances = Arc::new(AtomicU64::new(0));
        // Offsets are committed by transactions only, and with read_committed an offset is not told while one may still change it.
        let consumer: StreamConsumer<Rebalances> = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .create_with_context(Rebalances(Arc::clone(&rebalances)))?;
        consumer.subscribe(&[&input])?;
        Ok(Self {
            servers,
            group,
            input,
            output,
            consumer,
            rebalances,
            seen_rebalances: 0,
            owned: BTreeMap::new(),
        })
    }

    /// Takes over what is newly ours, reads some inputs and carries them through, one transaction for each of their partitions.
    async fn step(&mut self) -> Result<(), Box<dyn Error>> {
        let rebalances = self.rebalances.load(Ordering::SeqCst);
        if rebalances != self.seen_rebalances {
            self.seen_rebalances = rebalances;
            self.owned.clear();
        }
        for assigned in self.consumer.assignment()?.elements() {
            if !self.owned.contains_key(&assigned.partition()) {
                self.take_over(assigned.partition()).await?;
            }
        }
        for (partition, inputs) in self.read().await {
            // After a rebalance they may not be ours any more, and what is ours is read again from its committed position.
            if self.rebalances.load(Ordering::SeqCst) == self.seen_rebalances {
                self.carry(partition, inputs).await;
            }
        }
        Ok(())
    }

    /// Up to [`MOST_RECORDS`], by partition; fewer when no more come in time.
    async fn read(&self) -> BTreeMap<i32, Vec<OwnedMessage>> {
        let mut inputs: BTreeMap<i32, Vec<OwnedMessage>> = BTreeMap::new();
        for _ in 0..MOST_RECORDS {
            let Ok(message) = tokio::time::timeout(LONGEST_WAIT, self.consumer.recv()).await else {
                break;
            };
            match message {
                Ok(message) => inputs
                    .entry(message.partition())
                    .or_default()
                    .push(message.detach()),
                Err(error) => eprintln!("reading goes on after: {error}"),
            }
        }
        inputs
    }

    /// Ends whatever the owner before has left open, and goes to where the partition stands then.
    async fn take_over(&mut self, partition: i32) -> Result<(), Box<dyn Error>> {
        let config = ProducerConfig::builder()
            .bootstrap_servers(&self.servers)
            .transactional_id(format!("{}-{}-{partition}", self.group, self.input))
            .transaction_timeout(Duration::from_secs(10))
            .build()?;
        let producer = TransactionalProducer::connect(config).await?;
        let Some(next) = self.committed_position(partition) else {
            return Ok(());
        };
        if self.rewind(partition, next) {
            println!("partition {partition} from offset {next}");
            self.owned.insert(partition, Owned { producer, next });
        }
        Ok(())
    }

    /// None when the coordinator does not tell it now.
    fn committed_position(&self, partition: i32) -> Option<i64> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.input, partition);
        let answered = tokio::task::block_in_place(|| self.consumer.committed_offsets(asked, ANSWER_LIMIT));
        match answered.ok()?.find_partition(&self.input, partition)?.offset() {
            Offset::Offset(next) => Some(next),
            Offset::Invalid => Some(0),
            _ => None,
        }
    }

    /// The next inputs of the partition are those from this offset on; what was fetched before is forgotten. False when the partition
    /// is not ours any more.
    fn rewind(&self, partition: i32, next: i64) -> bool {
        let seek = || {
            self.consumer
                .seek(&self.input, partition, Offset::Offset(next), ANSWER_LIMIT)
        };
        tokio::task::block_in_place(seek)
            .inspect_err(|error| {
                eprintln!("partition {partition} does not go back to offset {next}: {error}")
            })
            .is_ok()
    }

    /// Afterwards the partition stands where it stood before, or behind these inputs, or it is not owned and will be taken over anew.
    async fn carry(&mut self, partition: i32, mut inputs: Vec<OwnedMessage>) {
        let Some(mut owned) = self.owned.remove(&partition) else {
            return;
        };
        inputs.retain(|input| input.offset() >= owned.next);
        let is_kept = match inputs.last().map(|last| last.offset() + 1) {
            None => true,
            Some(next) => match self.transact(&mut owned.producer, partition, &inputs).await {
                End::Committed => {
                    owned.next = next;
                    true
                }
                End::Aborted => self.rewind(partition, owned.next),
                End::Lost => false,
            },
        };
        if is_kept {
            self.owned.insert(partition, owned);
        }
    }

    async fn transact(
        &self,
        producer: &mut TransactionalProducer,
        partition: i32,
        inputs: &[OwnedMessage],
    ) -> End {
        let Ok(transaction) = producer.begin().await else {
            return End::Lost;
        };
        let mut next = 0;
        let mut is_sent = true;
        for input in inputs {
            let value = transform(input.payload().unwrap_or_default());
            let record = Record::new(&self.output).value(&value);
            let record = match input.key() {
                Some(key) => record.key(key),
                None => record,
            };
            is_sent &= transaction.send(record).await.is_ok();
            next = input.offset() + 1;
        }
        let position = BTreeMap::from([(
            TopicPartition::new(self.input.as_str(), partition),
            OffsetAndMetadata::of_offset(kommit::Offset(next)),
        )]);
        let group = ConsumerGroupMetadata::of_group(self.group.as_str());
        is_sent = is_sent && transaction.send_offsets(position, group).await.is_ok();
        if !is_sent {
            return match transaction.abort().await {
                Ok(()) => End::Aborted,
                Err(_) => End::Lost,
            };
        }
        match transaction.commit().await {
            Ok(()) => End::Committed,
            Err(CommitError::MustAbort(failed)) => {
                eprintln!("partition {partition} once more: {}", failed.error());
                match failed.abort().await {
                    Ok(()) => End::Aborted,
                    Err(_) => End::Lost,
                }
            }
            Err(error) => {
                eprintln!("partition {partition} is given up: {error}");
                End::Lost
            }
        }
    }
}

/// The work: here, capitals.
fn transform(value: &[u8]) -> Vec<u8> {
    value.to_ascii_uppercase()
}
