//! What both producers share: the way of a record into its batch, waiting for metadata and memory, and the close.

mod metadata;
mod slice;

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kommit_accumulator::{
    AccumulatorConfig, AppendRefusal, Consequence, Delivery, Destination, GateReason, GateState, Page,
    PoolRefusal, SendError, SendErrorKind, TopicQueues, TransactionNumber,
};
use kommit_network::NetworkConfig;
use kommit_network::io::{Connector, TcpConnector};
use kommit_protocol::backoff::Backoff;
use kommit_protocol::time::Instant;
use kommit_sender::{
    Clock, Command, Order, Parts, PendingReply, Reply, SenderConfig, SenderGone, SenderHandle, SystemClock,
};
use kommit_txn_manager::{Ticket, TransactionConfig};
use tokio::task::JoinHandle;

use crate::ProducerConfig;
use crate::config::Acks;
use crate::error::{CloseError, TrySendError};
use crate::metrics::{Calls, Metrics, Spent};
use crate::record::{Record, TopicRef};
use crate::topic::Topic;

use metadata::has_place;

/// How long a record makes way for the sender. A line that moves is short again in less.
const PATIENCE: Duration = Duration::from_millis(1);
/// Longest wait for the sender to say why brokers cannot be reached.
const DIAGNOSIS_BOUND: Duration = Duration::from_secs(1);

/// A started sender and how long calls wait for it.
#[derive(Debug)]
pub(crate) struct Client {
    handle: SenderHandle,
    task: Mutex<Option<JoinHandle<()>>>,
    client_id: Arc<str>,
    max_block: Duration,
    calls: Arc<Calls>,
}

/// The queues of a record's topic: kept by the application, or looked up by name.
enum KnownTopic<'a> {
    Kept(&'a TopicQueues),
    Found(Arc<TopicQueues>),
}

impl Deref for KnownTopic<'_> {
    type Target = TopicQueues;

    fn deref(&self) -> &TopicQueues {
        match self {
            KnownTopic::Kept(queues) => queues,
            KnownTopic::Found(queues) => queues,
        }
    }
}

impl Client {
    pub(crate) fn system_clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock::start())
    }

    /// Connections over TCP, with the configured buffers (C-29).
    pub(crate) fn tcp(config: &ProducerConfig) -> Arc<dyn Connector> {
        Arc::new(TcpConnector {
            send_buffer: config.send_buffer,
            receive_buffer: config.receive_buffer,
            ..TcpConnector::default()
        })
    }

    /// Starts the sender on the current runtime.
    pub(crate) fn start(
        config: &ProducerConfig,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (handle, task) = SenderHandle::start(parts(config, clock.as_ref()), connector, clock);
        Self {
            handle,
            task: Mutex::new(Some(task)),
            client_id: config.client_id.as_str().into(),
            max_block: config.max_block,
            calls: Arc::default(),
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::new(
            self.handle.clone(),
            Arc::clone(&self.calls),
            Arc::clone(&self.client_id),
        )
    }

    /// Awaits a call, and counts the time that it took if it succeeded (K-17).
    pub(crate) async fn timed<T, E>(
        &self,
        on: Spent,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let begun = self.now();
        let ended = call.await;
        if ended.is_ok() {
            self.spent_since(begun, on);
        }
        ended
    }

    /// Counts the time since `begun` for a call that succeeded.
    pub(crate) fn spent_since(&self, begun: Instant, on: Spent) {
        self.calls.spent(on, self.now() - begun);
    }

    pub(crate) fn now(&self) -> Instant {
        self.handle.clock().now().instant
    }

    pub(crate) fn max_block(&self) -> Duration {
        self.max_block
    }

    /// Hands a command to the sender; the reply can be waited for.
    pub(crate) fn call(&self, command: impl FnOnce(Ticket) -> Command) -> Result<PendingReply, SenderGone> {
        self.handle.ask(command)
    }

    /// Hands over a command that is not worth waking the sender for.
    pub(crate) fn leave_word(&self, command: Command) -> Result<(), SenderGone> {
        self.handle.leave_word(command)
    }

    /// Opens the gate for a transaction, unless the producer has failed or is closed.
    pub(crate) fn open_gate(&self, number: TransactionNumber) -> Result<(), GateReason> {
        let gate = self.handle.accumulator().gate();
        match gate.state() {
            GateState::Closed(GateReason::NoTransaction) => {
                gate.open_for(number);
                Ok(())
            }
            GateState::Closed(reason) => Err(reason),
            GateState::Open | GateState::InTransaction(_) => Err(GateReason::OtherTransaction),
        }
    }

    /// Lets no record in any more, because the transaction is being ended.
    pub(crate) fn close_gate(&self) {
        let gate = self.handle.accumulator().gate();
        if let GateState::InTransaction(_) = gate.state() {
            gate.close(GateReason::Ending);
        }
    }

    /// Whether the producer is in its fatal state.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(
            self.handle.accumulator().gate().state(),
            GateState::Closed(GateReason::Fatal(_))
        )
    }

    /// T-84: a record of the open transaction was refused before it reached a batch. One that no producer would take is the caller's mistake
    /// and condemns nothing.
    pub(crate) fn condemn(&self, error: &SendError) {
        if matches!(
            error.kind(),
            SendErrorKind::Refused(_) | SendErrorKind::InvalidRecord(_)
        ) {
            return;
        }
        // A sender that is gone has condemned everything already.
        let _gone = self.handle.tell(Command::Condemn(error.to_string().into()));
    }

    /// The way of almost every record: amid the open batch of its partition, at once. `None`: nothing has been done, and `send` takes over.
    #[inline]
    pub(crate) fn send_amid(
        &self,
        record: &Record<'_>,
        transaction: Option<TransactionNumber>,
    ) -> Option<Delivery> {
        valid(record).ok()?;
        let topic = self.queues_of(record)?;
        let wall = self.handle.clock().wall();
        self.handle
            .accumulator()
            .append_amid((&topic, record.partition), &record.bytes(), transaction, wall)
    }

    /// P-11: metadata, destination, append, and memory when a new batch is needed; all within `max.block.ms`.
    pub(crate) async fn send(
        &self,
        record: Record<'_>,
        transaction: Option<TransactionNumber>,
    ) -> Result<Delivery, SendError> {
        let sent = self.send_uncounted(&record, transaction).await;
        sent.inspect_err(|error| self.calls.refused(error))
    }

    async fn send_uncounted(
        &self,
        record: &Record<'_>,
        transaction: Option<TransactionNumber>,
    ) -> Result<Delivery, SendError> {
        valid(record)?;
        let Some(topic) = self.known_place(record) else {
            return self.send_to_unknown(record, transaction).await;
        };
        let destination = self.destination(&topic, record)?;
        match self.append(&destination, record, &mut None, transaction) {
            Ok(delivery) => Ok(delivery),
            Err(AppendRefusal::NeedsPage(size)) => {
                let deadline = self.now() + self.max_block;
                self.make_way(&destination).await;
                self.append_waiting(&destination, record, transaction, (size, deadline))
                    .await
            }
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    async fn send_to_unknown(
        &self,
        record: &Record<'_>,
        transaction: Option<TransactionNumber>,
    ) -> Result<Delivery, SendError> {
        let deadline = self.now() + self.max_block;
        let topic = self.topic(record.topic(), record.partition, deadline).await?;
        let destination = self.destination(&topic, record)?;
        self.append_waiting(&destination, record, transaction, (0, deadline))
            .await
    }

    /// As `send`, but gives the record back where that would wait.
    pub(crate) fn try_send<'r>(
        &self,
        record: Record<'r>,
        transaction: Option<TransactionNumber>,
    ) -> Result<Delivery, TrySendError<'r>> {
        if let Some(delivery) = self.send_amid(&record, transaction) {
            return Ok(delivery);
        }
        let sent = self.try_send_uncounted(record, transaction);
        if let Err(TrySendError::Failed(error)) = &sent {
            self.calls.refused(error);
        }
        sent
    }

    fn try_send_uncounted<'r>(
        &self,
        record: Record<'r>,
        transaction: Option<TransactionNumber>,
    ) -> Result<Delivery, TrySendError<'r>> {
        valid(&record)?;
        let Some(topic) = self.known_place(&record) else {
            // A sender that is gone refuses the record at the gate when it is tried again.
            let _gone = self.ask_for(record.topic());
            return Err(TrySendError::TopicNotReady(record));
        };
        let destination = self.destination(&topic, &record)?;
        let mut page = None;
        loop {
            match self.append(&destination, &record, &mut page, transaction) {
                Err(AppendRefusal::NeedsPage(size)) => match self.handle.accumulator().try_page(size) {
                    Ok(free) => page = Some(free),
                    Err(PoolRefusal::Closed) => return Err(closed().into()),
                    Err(_full) => return Err(TrySendError::Full(record)),
                },
                Ok(delivery) => return Ok(delivery),
                Err(refusal) => return Err(refused(&refusal).into()),
            }
        }
    }

    /// A topic to keep at hand, as soon as the metadata has it.
    pub(crate) async fn kept_topic(&self, name: &str) -> Result<Topic, SendError> {
        let deadline = self.now() + self.max_block;
        let queues = self.topic(name, None, deadline).await?;
        Ok(Topic::new(queues, self.handle.accumulator()))
    }

    /// The topic's queues, when they are known and have the partition that the record names.
    #[inline]
    fn known_place<'r>(&self, record: &Record<'r>) -> Option<KnownTopic<'r>> {
        self.queues_of(record)
            .filter(|topic| has_place(topic.partition_count(), record.partition))
    }

    #[inline]
    fn queues_of<'r>(&self, record: &Record<'r>) -> Option<KnownTopic<'r>> {
        if let TopicRef::Kept(topic) = record.topic
            && let Some(queues) = topic.queues_of(self.handle.accumulator())
        {
            return Some(KnownTopic::Kept(queues));
        }
        self.known_topic(record.topic()).map(KnownTopic::Found)
    }

    fn known_topic(&self, name: &str) -> Option<Arc<TopicQueues>> {
        self.handle.accumulator().known_topic(name)
    }

    #[inline]
    fn destination<'t>(
        &self,
        topic: &'t TopicQueues,
        record: &Record<'_>,
    ) -> Result<Destination<'t>, SendError> {
        let chosen = self
            .handle
            .accumulator()
            .destination(topic, record.partition, &record.bytes());
        chosen.map_err(|refusal| refused(&refusal))
    }

    fn append(
        &self,
        destination: &Destination<'_>,
        record: &Record<'_>,
        page: &mut Option<Page>,
        transaction: Option<TransactionNumber>,
    ) -> Result<Delivery, AppendRefusal> {
        let now = self.handle.clock().now();
        self.handle
            .accumulator()
            .append(destination, &record.bytes(), page, transaction, now)
    }

    /// Lets the sender catch up before there is another batch for it, if it is about to.
    async fn make_way(&self, destination: &Destination<'_>) {
        if let Some(line) = self.handle.accumulator().make_way(destination) {
            // Whether the line became short or the time is over: the record goes on.
            let _moved = tokio::time::timeout(PATIENCE.min(self.max_block), line).await;
        }
    }

    /// waits for memory outside of every lock, once per append.
    async fn append_waiting(
        &self,
        destination: &Destination<'_>,
        record: &Record<'_>,
        transaction: Option<TransactionNumber>,
        (mut size, deadline): (usize, Instant),
    ) -> Result<Delivery, SendError> {
        let mut page = None;
        loop {
            if size > 0 {
                page = Some(self.page(size, deadline).await?);
            }
            match self.append(destination, record, &mut page, transaction) {
                Err(AppendRefusal::NeedsPage(needed)) => size = needed,
                appended => return appended.map_err(|refusal| refused(&refusal)),
            }
        }
    }

    async fn page(&self, size: usize, deadline: Instant) -> Result<Page, SendError> {
        if let Ok(page) = self.handle.accumulator().try_page(size) {
            return Ok(page);
        }
        let begun = self.now();
        let left = deadline.saturating_since(begun);
        let waited = tokio::time::timeout(left, self.handle.accumulator().page(size)).await;
        self.spent_since(begun, Spent::BufferWait);
        match waited {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(PoolRefusal::Closed)) => Err(closed()),
            Ok(Err(PoolRefusal::TooLarge { size, total: limit })) => {
                Err(SendError::new(SendErrorKind::RecordTooLarge { size, limit }))
            }
            Ok(Err(_)) | Err(_) => Err(SendError::new(SendErrorKind::BufferExhausted { size })),
        }
    }

    /// Why brokers cannot be reached, in words, for the text of a time-out.
    pub(crate) async fn diagnosis(&self) -> String {
        let Ok(reply) = self.call(Command::Diagnose) else {
            return "the producer is closed".to_owned();
        };
        match tokio::time::timeout(DIAGNOSIS_BOUND, reply).await {
            Ok(Ok(Reply::Diagnosis(failures))) if !failures.is_empty() => {
                let lines = failures
                    .iter()
                    .map(|(broker, reason)| format!("{broker}: {reason}"));
                lines.collect::<Vec<_>>().join("; ")
            }
            _ => "the brokers were reached, but the answer did not come in time".to_owned(),
        }
    }

    /// P-41, P-42: a graceful close for as long as `timeout` lasts, then a forced one, which ends promptly.
    pub(crate) async fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        let task = self
            .task
            .lock()
            .expect("nothing panics while the task is locked")
            .take();
        let Some(mut task) = task else { return Ok(()) };
        let force = ForceOnDrop(&self.handle);
        // P-45: without time the close is forced at once.
        let ended = !timeout.is_zero() && {
            // A sender that is gone needs no telling.
            let _gone = self.handle.tell(Command::Close);
            tokio::time::timeout(timeout, &mut task).await.is_ok()
        };
        drop(force);
        if ended {
            return Ok(());
        }
        // The task ends at its next turn; how it ended (a panic included) changes nothing for the caller.
        let _ended = task.await;
        Err(CloseError::Forced { timeout })
    }
}

/// P-53: a close that is given up is a forced one.
struct ForceOnDrop<'a>(&'a SenderHandle);

impl Drop for ForceOnDrop<'_> {
    fn drop(&mut self) {
        let _gone = self.0.tell(Command::ForceClose);
    }
}

/// A producer that is dropped without a close is closed by force.
impl Drop for Client {
    fn drop(&mut self) {
        let _gone = self.handle.tell(Command::ForceClose);
    }
}

/// P-10: what no topic can have.
fn valid(record: &Record<'_>) -> Result<(), SendError> {
    let invalid = |why| Err(SendError::new(SendErrorKind::InvalidRecord(why)));
    match record {
        Record {
            timestamp: Some(time),
            ..
        } if time.0 < 0 => invalid("its timestamp is negative"),
        Record {
            partition: Some(place),
            ..
        } if place.0 < 0 => invalid("its partition is negative"),
        _ => Ok(()),
    }
}

fn closed() -> SendError {
    SendError::new(SendErrorKind::Refused(GateReason::ProducerClosed)).with_consequence(Consequence::Fatal)
}

/// A refusal of the accumulator as the error of a record.
fn refused(refusal: &AppendRefusal) -> SendError {
    match *refusal {
        AppendRefusal::Refused(reason) => {
            let consequence = match reason {
                GateReason::ProducerClosed | GateReason::Fatal(_) => Consequence::Fatal,
                GateReason::MustAbort(_) => Consequence::MustAbort,
                _ => Consequence::None,
            };
            SendError::new(SendErrorKind::Refused(reason)).with_consequence(consequence)
        }
        AppendRefusal::TooLarge { size, limit } => {
            SendError::new(SendErrorKind::RecordTooLarge { size, limit })
        }
        AppendRefusal::Stopped { .. } => {
            SendError::new(SendErrorKind::BehindGap).with_message(refusal.to_string())
        }
        AppendRefusal::UnknownPartition { .. } => {
            SendError::new(SendErrorKind::NotInMetadata).with_message(refusal.to_string())
        }
        _ => SendError::new(SendErrorKind::InvalidRecord("the accumulator refused it")),
    }
}

/// The settings, handed to the crates that they belong to.
fn parts(config: &ProducerConfig, clock: &dyn Clock) -> Parts {
    let backoff = |(initial, max): (Duration, Duration)| Backoff { initial, max };
    let retry_backoff = backoff(config.retry_backoff);
    let transactional_id: Option<Arc<str>> = config.transactional_id.as_deref().map(Arc::from);
    // Jitter and sticky choices differ between producers; nothing depends on their being unpredictable.
    let seed = clock.now().wall.0.unsigned_abs() ^ u64::from(std::process::id()).rotate_left(32);
    Parts {
        sender: SenderConfig {
            acks: match config.acks {
                Acks::All => kommit_network::Acks::All,
                Acks::Leader => kommit_network::Acks::Leader,
                Acks::None => kommit_network::Acks::None,
            },
            retries: config.retries,
            request_timeout: config.request_timeout,
            delivery_timeout: config.delivery_timeout,
            retry_backoff,
            max_request_size: config.max_request_size,
            transactional_id: transactional_id.clone(),
            order: if config.max_in_flight == 1 {
                Order::OneInFlight
            } else {
                Order::Pipelined
            },
        },
        accumulator: AccumulatorConfig {
            batch_size: config.batch_size,
            buffer_memory: config.buffer_memory,
            linger: config.linger,
            delivery_timeout: config.delivery_timeout,
            retry_backoff,
            max_request_size: config.max_request_size,
            partitioning: config.partitioning.clone(),
            sticky_choice: config.sticky_choice,
            compression: config.compression,
            compression_level: config.compression_level,
            seed,
        },
        network: NetworkConfig {
            client_id: Some(config.client_id.clone()),
            max_in_flight: config.max_in_flight,
            request_timeout: config.request_timeout,
            retry_backoff,
            reconnect_backoff: backoff(config.reconnect_backoff),
            connection_setup_timeout: backoff(config.connection_setup_timeout),
            connections_max_idle: config.connections_max_idle,
            metadata_max_age: config.metadata_max_age,
            metadata_max_idle: config.metadata_max_idle,
            recovery: config.metadata_recovery,
            seed,
            ..NetworkConfig::default()
        },
        transaction: config.idempotence.then_some(TransactionConfig {
            transactional_id,
            transaction_timeout: config.transaction_timeout,
            retry_backoff,
            on_gap: config.on_gap,
            fencing: config.fencing,
            partition_verification: config.partition_verification,
        }),
        bootstrap: config.bootstrap_servers.clone(),
    }
}
