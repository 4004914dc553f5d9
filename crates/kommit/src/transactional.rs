//! The transactional producer: where its transaction stands between two calls, and how a call ends.
//!
//! One transaction at a time, by type: [`TransactionalProducer::begin`] borrows the producer for as long as the [`Transaction`] lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::{GateReason, TransactionNumber};
use kommit_network::PartitionSnapshot;
use kommit_network::io::Connector;
use kommit_protocol::units::TopicPartition;
use kommit_sender::{Command, PendingReply, Reply};
use kommit_txn_manager::{
    CommandError, ConsumerGroupMetadata, OffsetAndMetadata, Outcome, TransactionError, TransactionFate,
};

use crate::client::Client;
use crate::commit_outcome::CommitOutcome;
use crate::error::{BeginError, CloseError, ConnectError, DeadProducer, SendError};
use crate::metrics::{Metrics, Spent};
use crate::topic::Topic;
use crate::transaction::Transaction;
use crate::{Clock, ConfigError, ProducerConfig};

/// A producer whose records become visible together or not at all.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kommit::{CommitError, ProducerConfig, Record, TransactionalProducer};
///
/// let config = ProducerConfig::builder()
///     .bootstrap_servers("localhost:9092")
///     .transactional_id("transfer-1")
///     .build()?;
/// let mut producer = TransactionalProducer::connect(config).await?;
/// let transaction = producer.begin().await?;
/// transaction.send(Record::new("debits").key("alice").value("-10")).await?;
/// transaction.send(Record::new("credits").key("bob").value("+10")).await?;
/// transaction.commit().await.map_err(CommitError::give_up)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TransactionalProducer {
    pub(crate) client: Client,
    pub(crate) standing: Standing,
    next: TransactionNumber,
}

/// Where the transaction stands between two calls of the application.
#[derive(Debug)]
pub(crate) enum Standing {
    /// None is open.
    Idle,
    /// One is open. When nobody holds its guard any more, it is to be aborted.
    Open,
    /// One is being ended, and the outcome has not been told yet.
    Ending { how: Ending, reply: PendingReply },
    /// A commit was refused or impossible: only an abort is left.
    MustAbort,
    /// The producer is of no more use.
    Dead(DeadProducer),
}

/// How a transaction is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    /// The next transaction is open behind the commit.
    CommitAndBegin,
    Abort,
}

/// How waiting for the end of a transaction went.
pub(crate) enum Ended {
    Committed,
    Aborted,
    MustAbort(TransactionError),
    /// The answer did not come within `max.block.ms`; it may still come.
    NotYet,
    Dead(DeadProducer),
}

impl TransactionalProducer {
    /// Connects, and obtains the producer id: an earlier instance with the same `transactional.id` is fenced, and its open transaction
    /// aborted (P-26).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: none of the bootstrap hosts can be resolved, no broker answers, the coordinator refuses, or `max.block.ms` passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the producer; the broker may have given out its id all the same.
    pub async fn connect(config: ProducerConfig) -> Result<Self, ConnectError> {
        let connector = Client::tcp(&config);
        Self::connect_with(config, connector, Client::system_clock()).await
    }

    /// As [`TransactionalProducer::connect`], over connections of your own making and with your own clock.
    ///
    /// # Errors
    ///
    /// As [`TransactionalProducer::connect`].
    ///
    /// # Cancel safety
    ///
    /// As [`TransactionalProducer::connect`].
    pub async fn connect_with(
        config: ProducerConfig,
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        if config.transactional_id.is_none() {
            return Err(ConnectError::Config(ConfigError::Missing {
                key: "transactional.id",
                needed: "a transactional producer is known to the cluster by it, across restarts",
            }));
        }
        let servers = config.bootstrap_servers.iter().map(ToString::to_string);
        let servers = servers.collect::<Vec<_>>().join(",");
        let client = Client::start(&config, connector, clock);
        tokio::select! {
            biased;
            initialized = client.timed(Spent::Init, initialize(&client)) => initialized?,
            reason = client.unresolvable() => return Err(unresolvable(servers, reason)),
        }
        Ok(Self {
            client,
            standing: Standing::Idle,
            next: TransactionNumber::FIRST,
        })
    }

    /// Begins a transaction. No request is sent (P-28), unless an earlier transaction was dropped without an end: that one is ended first.
    ///
    /// # Errors
    ///
    /// [`BeginError`]: the producer is of no more use, or the earlier transaction could not be ended within `max.block.ms`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future begins nothing; the end of an earlier transaction goes on and is awaited by the next call.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, BeginError> {
        let begun = self.client.now();
        self.end_earlier().await?;
        if let Err(reason) = self.client.open_gate(self.next) {
            return Err(self.cannot_begin(reason).await);
        }
        self.client
            .leave_word(Command::Begin)
            .map_err(|_gone| BeginError::Closed)?;
        let number = self.next;
        self.next = number.next();
        self.standing = Standing::Open;
        self.client.spent_since(begun, Spent::Begin);
        Ok(Transaction::new(self, number))
    }

    /// Ends the producer: what was sent is finished, a transaction that nobody ended is aborted, and after `timeout` everything that still waits fails
    /// (P-41 … P-46).
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

    /// As [`Producer::partitions_for`](crate::Producer::partitions_for).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<PartitionSnapshot>, SendError> {
        self.client.partitions(topic).await
    }

    /// What the producer has done so far, to be asked at any time, also in the middle of a transaction (P-39).
    pub fn metrics(&self) -> Metrics {
        self.client.metrics()
    }

    /// A handle of a topic, as [`Producer::topic`](crate::Producer::topic).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn topic(&self, name: &str) -> Result<Topic, SendError> {
        self.client.kept_topic(name).await
    }

    /// The name that brokers see, generated when none was configured.
    pub fn client_id(&self) -> &str {
        self.client.client_id()
    }

    /// Ends what an earlier guard left behind: a dropped one is aborted, a call that was not waited for is waited for.
    async fn end_earlier(&mut self) -> Result<(), BeginError> {
        // A transaction is ended in at most three steps: the outcome of a commit, the abort that it asks for, the outcome of that.
        for _ in 0..3 {
            match &self.standing {
                Standing::Idle => return Ok(()),
                Standing::Dead(dead) => return Err(BeginError::Dead(dead.clone())),
                Standing::Open | Standing::MustAbort => self.ask_to_end(Ending::Abort)?,
                Standing::Ending { .. } => {}
            }
            if let Ended::NotYet = self.await_end().await {
                return Err(BeginError::EarlierNotEnded {
                    diagnosis: self.client.diagnosis().await,
                });
            }
        }
        match &self.standing {
            Standing::Dead(dead) => Err(BeginError::Dead(dead.clone())),
            _ => Ok(()),
        }
    }

    /// Hands the end of the transaction to the sender. Who waits for it is [`TransactionalProducer::await_end`].
    pub(crate) fn ask_to_end(&mut self, how: Ending) -> Result<(), BeginError> {
        self.client.close_gate();
        let reply = match how {
            Ending::Commit | Ending::CommitAndBegin => self.client.call(Command::Commit),
            Ending::Abort => self.client.call(Command::Abort),
        };
        self.standing = Standing::Ending {
            how,
            reply: reply.map_err(|_gone| BeginError::Closed)?,
        };
        Ok(())
    }

    /// Waits up to `max.block.ms` for the end that was asked for. The reply stays here when the wait is given up, so that nothing is lost.
    pub(crate) async fn await_end(&mut self) -> Ended {
        let Standing::Ending { how, reply } = &mut self.standing else {
            return Ended::Aborted;
        };
        let how = *how;
        let begun = self.client.now();
        let Ok(answer) = tokio::time::timeout(self.client.max_block(), reply).await else {
            return Ended::NotYet;
        };
        let ended = match answer {
            Ok(Reply::Transaction(outcome)) => ended(outcome),
            Ok(Reply::Refused(CommandError::Failed(error))) => match how {
                Ending::Commit | Ending::CommitAndBegin if !self.client.has_failed() => {
                    Ended::MustAbort(error)
                }
                _ => Ended::Dead(DeadProducer::new(error, TransactionFate::NotCommitted)),
            },
            Ok(Reply::Refused(CommandError::IllegalState(text))) => Ended::Dead(DeadProducer::new(
                TransactionError::IllegalState(text),
                TransactionFate::NotCommitted,
            )),
            Ok(_) | Err(_) => Ended::Dead(DeadProducer::closed(how)),
        };
        match ended {
            Ended::Committed => self.client.spent_since(begun, Spent::Commit),
            Ended::Aborted => self.client.spent_since(begun, Spent::Abort),
            _ => {}
        }
        self.standing = match &ended {
            Ended::Committed if how == Ending::CommitAndBegin => Standing::Open,
            Ended::Committed | Ended::Aborted => Standing::Idle,
            Ended::MustAbort(_) => Standing::MustAbort,
            Ended::Dead(dead) => Standing::Dead(dead.clone()),
            Ended::NotYet => return ended,
        };
        ended
    }

    /// Hands the commit to the sender, and waits up to `max.block.ms` until it is on its way and the next transaction has begun.
    pub(crate) async fn commit_and_begin(&mut self) -> Result<(TransactionNumber, CommitOutcome), Ended> {
        let closed = || Ended::Dead(DeadProducer::closed(Ending::CommitAndBegin));
        let asked = self.client.now();
        let number = self.next;
        let begun = self.client.call(|ticket| Command::BeginNext { ticket, number });
        let begun = begun.map_err(|_gone| closed())?;
        self.next = number.next();
        self.ask_to_end(Ending::CommitAndBegin)
            .map_err(|_gone| closed())?;
        match tokio::time::timeout(self.client.max_block(), begun).await {
            Ok(Ok(Reply::Begun)) => {}
            Ok(_) => return Err(self.await_end().await),
            Err(_elapsed) => return Err(Ended::NotYet),
        }
        self.client.spent_since(asked, Spent::Commit);
        match std::mem::replace(&mut self.standing, Standing::Open) {
            Standing::Ending { reply, .. } => Ok((number, CommitOutcome::new(reply))),
            _ => Err(closed()),
        }
    }

    /// Puts offsets into the open transaction (P-29).
    pub(crate) async fn send_offsets(
        &self,
        group: ConsumerGroupMetadata,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<(), crate::error::OffsetsError> {
        use crate::error::OffsetsError;
        let call = self.client.call(|ticket| Command::SendOffsets {
            ticket,
            group,
            offsets,
        });
        let reply = call.map_err(|_gone| OffsetsError::Closed)?;
        let Ok(answer) = tokio::time::timeout(self.client.max_block(), reply).await else {
            return Err(OffsetsError::TimedOut {
                diagnosis: self.client.diagnosis().await,
            });
        };
        match answer {
            Ok(Reply::Transaction(Outcome::OffsetsAdded)) => Ok(()),
            Ok(Reply::Transaction(Outcome::MustAbort(error) | Outcome::NotInitialized(error))) => {
                Err(OffsetsError::MustAbort(error))
            }
            Ok(Reply::Transaction(Outcome::Dead { error, transaction })) => {
                Err(OffsetsError::Dead(DeadProducer::new(error, transaction)))
            }
            Ok(Reply::Refused(CommandError::Failed(error))) if self.client.has_failed() => Err(
                OffsetsError::Dead(DeadProducer::new(error, TransactionFate::NotCommitted)),
            ),
            Ok(Reply::Refused(CommandError::Failed(error))) => Err(OffsetsError::MustAbort(error)),
            Ok(Reply::Refused(CommandError::IllegalState(text))) => {
                Err(OffsetsError::MustAbort(TransactionError::IllegalState(text)))
            }
            Ok(_) | Err(_) => Err(OffsetsError::Closed),
        }
    }

    async fn cannot_begin(&mut self, reason: GateReason) -> BeginError {
        match reason {
            GateReason::ProducerClosed => BeginError::Closed,
            GateReason::Fatal(_) => match self.failure().await {
                Some(error) => BeginError::Dead(DeadProducer::new(error, TransactionFate::NoneOpen)),
                None => BeginError::Refused(reason),
            },
            other => BeginError::Refused(other),
        }
    }

    /// Why the producer has failed: behind that, a commit is refused with the reason and changes nothing (T-10).
    async fn failure(&self) -> Option<TransactionError> {
        let refused = self.client.call(Command::Commit).ok()?;
        match tokio::time::timeout(self.client.max_block(), refused).await {
            Ok(Ok(Reply::Refused(CommandError::Failed(error)))) => Some(error),
            _ => None,
        }
    }
}

fn ended(outcome: Outcome) -> Ended {
    match outcome {
        Outcome::Committed => Ended::Committed,
        Outcome::Aborted => Ended::Aborted,
        Outcome::MustAbort(error) | Outcome::NotInitialized(error) => Ended::MustAbort(error),
        Outcome::Dead { error, transaction } => Ended::Dead(DeadProducer::new(error, transaction)),
        Outcome::Initialized | Outcome::OffsetsAdded => {
            let text = "an end of a transaction was answered with something else".into();
            Ended::Dead(DeadProducer::new(
                TransactionError::IllegalState(text),
                TransactionFate::InDoubt,
            ))
        }
    }
}

/// N-18: what no broker can mend need not be waited for.
fn unresolvable(servers: String, reason: String) -> ConnectError {
    ConnectError::Config(ConfigError::Value {
        key: "bootstrap.servers",
        value: servers,
        allowed: reason,
    })
}

async fn initialize(client: &Client) -> Result<(), ConnectError> {
    let reply = client
        .call(Command::Initialize)
        .map_err(|_gone| ConnectError::Closed)?;
    let Ok(answer) = tokio::time::timeout(client.max_block(), reply).await else {
        return Err(ConnectError::TimedOut {
            max_block: client.max_block(),
            diagnosis: client.diagnosis().await,
        });
    };
    match answer {
        Ok(Reply::Transaction(Outcome::Initialized)) => Ok(()),
        Ok(Reply::Transaction(
            Outcome::NotInitialized(error) | Outcome::MustAbort(error) | Outcome::Dead { error, .. },
        ))
        | Ok(Reply::Refused(CommandError::Failed(error))) => Err(ConnectError::Refused(error)),
        Ok(Reply::Refused(CommandError::IllegalState(text))) => {
            Err(ConnectError::Refused(TransactionError::IllegalState(text)))
        }
        Ok(_) | Err(_) => Err(ConnectError::Closed),
    }
}
