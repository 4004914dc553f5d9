//! The idempotent producer: records one by one, each written once.

use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::Delivery;
use kommit_network::PartitionSnapshot;
use kommit_network::io::Connector;
use kommit_protocol::units::{PartitionId, TopicPartition};
use kommit_sender::{Command, Reply};

use crate::client::Client;
use crate::error::{CloseError, ConnectError, FlushError, GapError, SendAllError, SendError, TrySendError};
use crate::metrics::{Metrics, Spent};
use crate::record::Record;
use crate::topic::Topic;
use crate::{Clock, ConfigError, ProducerConfig};

/// A producer whose records are written exactly once each, in order within a partition, across retries.
///
/// It may be used by many tasks at once through a shared reference. Only the order of sends of one task and partition is kept (P-4).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kommit::{Producer, ProducerConfig, Record};
///
/// let config = ProducerConfig::builder().bootstrap_servers("localhost:9092").build()?;
/// let producer = Producer::new(config)?;
/// let delivery = producer.send(Record::new("orders").key("7").value("paid")).await?;
/// println!("written at {:?}", delivery.await?.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    client: Client,
}

impl Producer {
    /// Starts the producer on the current tokio runtime. Nothing is waited for: connections are made when the first record needs them.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Config`] when the configuration names a `transactional.id`, which needs a
    /// [`TransactionalProducer`](crate::TransactionalProducer).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(config: ProducerConfig) -> Result<Self, ConnectError> {
        let connector = Client::tcp(&config);
        Self::with_connector(config, connector, Client::system_clock())
    }

    /// As [`Producer::new`], over connections of your own making and with your own clock.
    ///
    /// # Errors
    ///
    /// As [`Producer::new`].
    ///
    /// # Panics
    ///
    /// As [`Producer::new`].
    pub fn with_connector(
        config: ProducerConfig,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        if let Some(id) = &config.transactional_id {
            return Err(ConnectError::Config(ConfigError::Value {
                key: "transactional.id",
                value: id.clone(),
                allowed: "no value here; use TransactionalProducer for transactions".to_owned(),
            }));
        }
        Ok(Self {
            client: Client::start(&config, connector, clock),
        })
    }

    /// Puts a record into its batch, waiting up to `max.block.ms` for the topic's metadata and for memory together, and up to a millisecond
    /// behind a long line of batches that moves. The returned [`Delivery`] tells where the record was written.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the record is in no batch and will not be written.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready sends nothing.
    #[inline]
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, SendError> {
        match self.client.send_amid(&record, None) {
            Some(delivery) => Ok(delivery),
            None => self.client.send(record, None).await,
        }
    }

    /// Sends a slice of records in its order, each as [`send`](Producer::send) does, with up to `max.block.ms` for each. There is a delivery for each
    /// record, in the same order.
    ///
    /// # Errors
    ///
    /// [`SendAllError`]: a record was refused. It has the deliveries of the records before it; those behind it were not tried.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the records sent that were taken already, without anybody to hear of their outcome; [`flush`](Producer::flush) waits for them.
    pub async fn send_all(&self, records: &[Record<'_>]) -> Result<Vec<Delivery>, SendAllError> {
        self.client.send_all(records, None).await
    }

    /// As [`send`](Producer::send), without waiting: when the topic is not known yet, or memory is short, the record comes back.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]: the record back, or the error that it would have got.
    pub fn try_send<'r>(&self, record: Record<'r>) -> Result<Delivery, TrySendError<'r>> {
        self.client.try_send(record, None)
    }

    /// Sends everything that waits at once, and waits until every record that was sent before has its outcome (P-36). Failed
    /// records do not make it fail: their deliveries tell.
    ///
    /// # Errors
    ///
    /// [`FlushError::Closed`] when the producer was closed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops only the waiting.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let reply = self
            .client
            .call(Command::Flush)
            .map_err(|_gone| FlushError::Closed)?;
        match self.client.timed(Spent::Flush, reply).await {
            Ok(Reply::Flushed) => Ok(()),
            Ok(_) | Err(_) => Err(FlushError::Closed),
        }
    }

    /// The partitions that take no records, because whether an earlier record of them was written is not known and nobody has
    /// acknowledged that (`on_gap`, [`OnGap::Stop`](crate::OnGap::Stop)).
    ///
    /// # Errors
    ///
    /// [`GapError::Closed`] when the producer is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn stopped_partitions(&self) -> Result<Vec<TopicPartition>, GapError> {
        let call = self.client.call(Command::StoppedPartitions);
        match call.map_err(|_gone| GapError::Closed)?.await {
            Ok(Reply::Stopped(partitions)) => Ok(partitions),
            Ok(_) | Err(_) => Err(GapError::Closed),
        }
    }

    /// Takes note that a record of this partition may or may not be in the log (its [`Delivery`] said so): the partition takes records
    /// again, and they may follow a lost one.
    ///
    /// # Errors
    ///
    /// [`GapError`]: the partition has not stopped, or the producer is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the acknowledgement with the sender, which carries it out.
    pub async fn acknowledge_gap(&self, topic: &str, partition: PartitionId) -> Result<(), GapError> {
        let partition = TopicPartition {
            topic: topic.into(),
            partition,
        };
        let named = partition.clone();
        let call = self
            .client
            .call(|ticket| Command::AcknowledgeGap { ticket, partition });
        match call.map_err(|_gone| GapError::Closed)?.await {
            Ok(Reply::GapAcknowledged) => Ok(()),
            Ok(Reply::NoGap) => Err(GapError::NoGap { partition: named }),
            Ok(_) | Err(_) => Err(GapError::Closed),
        }
    }

    /// What the cluster's metadata has of the partitions of a topic, in the order of their numbers: leader, epoch and replicas of each. Waits up to
    /// `max.block.ms` for the metadata (P-38).
    ///
    /// # Errors
    ///
    /// [`SendError`]: the topic does not exist, may not be used, or is not known in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionSnapshot>, SendError> {
        self.client.partitions(topic).await
    }

    /// A handle of a topic, waiting up to `max.block.ms` for its metadata. [`Record::to`] takes it, and no record needs a look-up by name.
    ///
    /// # Errors
    ///
    /// As [`partition_count`](Producer::partition_count).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn topic(&self, name: &str) -> Result<Topic, SendError> {
        self.client.kept_topic(name).await
    }

    /// How many partitions a topic has, waiting up to `max.block.ms` for its metadata (P-38).
    ///
    /// # Errors
    ///
    /// [`SendError`]: the topic does not exist, may not be used, or is not known in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn partition_count(&self, topic: &str) -> Result<u32, SendError> {
        self.client.partition_count(topic).await
    }

    /// What the producer has done so far, to be asked at any time (P-39).
    pub fn metrics(&self) -> Metrics {
        self.client.metrics()
    }

    /// The name that brokers see, generated when none was configured.
    pub fn client_id(&self) -> &str {
        self.client.client_id()
    }

    /// Ends the producer: what was sent is finished, and after `timeout` everything that still waits fails (P-41 … P-46).
    ///
    /// # Errors
    ///
    /// [`CloseError`] when `timeout` passed and what was left had to fail.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forces the close (P-53).
    pub async fn close(self, timeout: Duration) -> Result<(), CloseError> {
        self.client.close(timeout).await
    }
}
