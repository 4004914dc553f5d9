//! A transaction as a guard: it owns its sends, and its end consumes it.

use std::collections::BTreeMap;

use kommit_accumulator::{Delivery, TransactionNumber};
use kommit_protocol::units::TopicPartition;
use kommit_txn_manager::{ConsumerGroupMetadata, OffsetAndMetadata, TransactionError};

use crate::commit_outcome::CommitOutcome;
use crate::error::{
    AbortError, BeginError, CommitError, DeadProducer, OffsetsError, SendAllError, SendError, TrySendError,
};
use crate::metrics::Spent;
use crate::record::Record;
use crate::transactional::{Ended, Ending, TransactionalProducer};

/// An open transaction.
///
/// Records are sent through it, so a send before `begin` or after the end does not compile; nor does a send beside a running `commit`, or
/// a second transaction. Dropped without an end, it is aborted by the next [`begin`](TransactionalProducer::begin), or when the producer
/// is closed; dropping never blocks.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'p> {
    producer: &'p mut TransactionalProducer,
    number: TransactionNumber,
}

impl<'p> Transaction<'p> {
    pub(crate) fn new(producer: &'p mut TransactionalProducer, number: TransactionNumber) -> Self {
        Self { producer, number }
    }

    /// Puts a record into its batch, waiting as [`Producer::send`](crate::Producer::send) does. The returned [`Delivery`] tells where the record was written; a
    /// commit waits for it in any case, and does not succeed unless it did.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the record is in no batch and will not be written.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready sends nothing.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, SendError> {
        if let Some(delivery) = self.producer.client.send_amid(&record, Some(self.number)) {
            return Ok(delivery);
        }
        let sent = self.producer.client.send(record, Some(self.number)).await;
        if let Err(error) = &sent {
            self.producer.client.condemn(error);
        }
        sent
    }

    /// Sends a slice of records in its order, each as [`send`](Transaction::send) does, with up to `max.block.ms` for each. There is a delivery for each
    /// record, in the same order.
    ///
    /// # Errors
    ///
    /// [`SendAllError`]: a record was refused. It has the deliveries of the records before it; those behind it were not tried.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the records sent that were taken already, without anybody to hear of their outcome; the commit waits for them.
    pub async fn send_all(&self, records: &[Record<'_>]) -> Result<Vec<Delivery>, SendAllError> {
        let sent = self.producer.client.send_all(records, Some(self.number)).await;
        if let Err(refused) = &sent {
            self.producer.client.condemn(&refused.error);
        }
        sent
    }

    /// As [`send`](Transaction::send), without waiting: when the topic is not known yet, or memory is short, the record comes back.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]: the record back, or the error that it would have got.
    pub fn try_send<'r>(&self, record: Record<'r>) -> Result<Delivery, TrySendError<'r>> {
        let sent = self.producer.client.try_send(record, Some(self.number));
        if let Err(TrySendError::Failed(error)) = &sent {
            self.producer.client.condemn(error);
        }
        sent
    }

    /// Commits consumer offsets together with the records: each is the next offset to read (P-29).
    ///
    /// # Errors
    ///
    /// [`OffsetsError`]: the transaction can only be aborted, or the answer did not come within `max.block.ms`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the request running; whether the offsets are part of the transaction is then known only to its end.
    pub async fn send_offsets(
        &self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: ConsumerGroupMetadata,
    ) -> Result<(), OffsetsError> {
        // P-8: the arguments come first, and without offsets nothing is asked of anybody.
        if group.generation_id.is_some_and(|generation| generation > 0) && group.member_id.is_empty() {
            return Err(OffsetsError::InvalidGroup("it has a generation and no member id"));
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let call = self.producer.send_offsets(group, offsets);
        self.producer.client.timed(Spent::SendOffsets, call).await
    }

    /// Makes everything that was sent visible, at once. Waits for all deliveries, then for the coordinator, up to `max.block.ms`.
    ///
    /// # Errors
    ///
    /// [`CommitError`], a type for each thing that is left to do: *must abort*, *in doubt*, *dead*.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the commit running (P-34). The next [`begin`](TransactionalProducer::begin) waits for its outcome, which is
    /// then not told any more.
    pub async fn commit(self) -> Result<(), CommitError<'p>> {
        self.end(Ending::Commit).await
    }

    /// Commits, and begins the next transaction without waiting for the coordinator: waits for all deliveries, up to `max.block.ms`, and returns
    /// when the commit is on its way. Records of the next transaction are taken from then on, and batched. None of them is sent before
    /// the commit has its outcome, which the returned future tells; their `delivery.timeout.ms` runs meanwhile.
    ///
    /// Should the commit fail after all, the next transaction can only be aborted, and its deliveries say that their records are in no log. It is
    /// an ordinary transaction otherwise; its own end waits for that outcome, so never more than one commit is ahead of the coordinator.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     producer: &mut kommit::TransactionalProducer,
    /// #     inputs: Vec<Vec<String>>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// use kommit::{CommitError, Record};
    ///
    /// let mut transaction = producer.begin().await?;
    /// for input in inputs {
    ///     for line in &input {
    ///         transaction.send(Record::new("lines").value(line.as_str())).await?;
    ///     }
    ///     let (next, outcome) = transaction.commit_and_begin().await.map_err(CommitError::give_up)?;
    ///     transaction = next;
    ///     tokio::spawn(async move {
    ///         match outcome.await {
    ///             Ok(()) => println!("{} lines are visible", input.len()),
    ///             Err(error) => println!("{error}; visible all the same? {}", error.may_be_written()),
    ///         }
    ///     });
    /// }
    /// transaction.commit().await.map_err(CommitError::give_up)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`], and no transaction has begun: it failed before it was on its way, or was not on its way within
    /// `max.block.ms`. What happens to it later is told by the [`CommitOutcome`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future is like dropping that of [`Transaction::commit`]: the commit goes on, and the next
    /// [`begin`](TransactionalProducer::begin) waits for it. Dropping the [`CommitOutcome`] changes nothing: the end of the next transaction fails
    /// when this one has failed. Dropping the next transaction aborts that one only, once this one has its outcome.
    pub async fn commit_and_begin(self) -> Result<(Transaction<'p>, CommitOutcome), CommitError<'p>> {
        let producer = self.producer;
        match producer.commit_and_begin().await {
            Ok((number, outcome)) => Ok((Transaction::new(producer, number), outcome)),
            Err(ended) => Err(commit_error(producer, ended).await),
        }
    }

    /// Makes everything that was sent invisible for ever. Records that were not sent yet are not sent any more.
    ///
    /// # Errors
    ///
    /// [`AbortError`]: not finished within `max.block.ms`, or the producer is dead. The transaction is not committed in either case.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the abort running; the next [`begin`](TransactionalProducer::begin) waits for it.
    pub async fn abort(self) -> Result<(), AbortError<'p>> {
        abort(self.producer).await
    }

    async fn end(self, how: Ending) -> Result<(), CommitError<'p>> {
        let producer = self.producer;
        if let Err(BeginError::Closed) = producer.ask_to_end(how) {
            return Err(CommitError::Dead(DeadProducer::closed(how)));
        }
        commit_outcome(producer).await
    }
}

async fn commit_outcome(producer: &mut TransactionalProducer) -> Result<(), CommitError<'_>> {
    match producer.await_end().await {
        Ended::Committed => Ok(()),
        other => Err(commit_error(producer, other).await),
    }
}

async fn commit_error(producer: &mut TransactionalProducer, ended: Ended) -> CommitError<'_> {
    match ended {
        Ended::MustAbort(error) => CommitError::MustAbort(MustAbort { producer, error }),
        Ended::Dead(dead) => CommitError::Dead(dead),
        Ended::NotYet => {
            let diagnosis = producer.client.diagnosis().await;
            CommitError::InDoubt(InDoubt { producer, diagnosis })
        }
        Ended::Committed | Ended::Aborted => {
            let text = "a commit was answered with another end".into();
            let error = TransactionError::IllegalState(text);
            CommitError::MustAbort(MustAbort { producer, error })
        }
    }
}

async fn abort(producer: &mut TransactionalProducer) -> Result<(), AbortError<'_>> {
    if let Err(BeginError::Closed) = producer.ask_to_end(Ending::Abort) {
        return Err(AbortError::Dead(DeadProducer::closed(Ending::Abort)));
    }
    abort_outcome(producer).await
}

async fn abort_outcome(producer: &mut TransactionalProducer) -> Result<(), AbortError<'_>> {
    match producer.await_end().await {
        Ended::Aborted | Ended::Committed => Ok(()),
        Ended::Dead(dead) => Err(AbortError::Dead(dead)),
        Ended::MustAbort(_) | Ended::NotYet => {
            let diagnosis = producer.client.diagnosis().await;
            Err(AbortError::Unfinished(UnfinishedAbort { producer, diagnosis }))
        }
    }
}

/// A transaction that did not commit and cannot: nothing of it is visible, and only its abort is left.
#[derive(Debug)]
pub struct MustAbort<'p> {
    producer: &'p mut TransactionalProducer,
    error: TransactionError,
}

impl<'p> MustAbort<'p> {
    /// Why the transaction cannot be committed.
    pub fn error(&self) -> &TransactionError {
        &self.error
    }

    /// Aborts it, after which the producer can begin again.
    ///
    /// # Errors
    ///
    /// As [`Transaction::abort`].
    ///
    /// # Cancel safety
    ///
    /// As [`Transaction::abort`].
    pub async fn abort(self) -> Result<(), AbortError<'p>> {
        abort(self.producer).await
    }
}

/// A commit whose outcome is not known yet: it was asked for, and `max.block.ms` passed without an answer. It is never turned into an
/// abort; the same commit goes on in the background, and when its own answers cannot tell what became of it any more, the coordinator is
/// asked (R8).
#[derive(Debug)]
pub struct InDoubt<'p> {
    producer: &'p mut TransactionalProducer,
    pub(crate) diagnosis: String,
}

impl<'p> InDoubt<'p> {
    /// Waits again, up to `max.block.ms`, for the truth about the same commit. It is repeated until the coordinator answers it; when the
    /// answer comes too late to tell (another instance took over, the transaction's time-out passed), the coordinator is asked with
    /// `DescribeTransactions`. Nothing is guessed.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`]: still in doubt, with the reason, when the time passed again; and dead, with what became of the transaction,
    /// when the coordinator told that it was not committed or could not tell.
    ///
    /// # Cancel safety
    ///
    /// As [`Transaction::commit`].
    pub async fn resolve(self) -> Result<(), CommitError<'p>> {
        commit_outcome(self.producer).await
    }
}

/// An abort that was not answered within `max.block.ms`. It goes on in the background; the transaction will not be committed.
#[derive(Debug)]
pub struct UnfinishedAbort<'p> {
    producer: &'p mut TransactionalProducer,
    pub(crate) diagnosis: String,
}

impl<'p> UnfinishedAbort<'p> {
    /// Waits again, up to `max.block.ms`.
    ///
    /// # Errors
    ///
    /// As [`Transaction::abort`].
    ///
    /// # Cancel safety
    ///
    /// As [`Transaction::abort`].
    pub async fn wait(self) -> Result<(), AbortError<'p>> {
        abort_outcome(self.producer).await
    }
}
