//! A batch of lines and the cursor behind it, in one transaction.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use kommit::{
    CommitError, ConsumerGroupMetadata, OffsetAndMetadata, ProducerConfig, Record, SendError, SendErrorKind,
    Transaction, TransactionalProducer,
};
use kommit_protocol::units::{Offset, TopicPartition};

use super::cursor::Cursor;
use super::lines::LineBatch;
use super::record_line::LineFormat;
use crate::failure::Failure;
use crate::producing::{Caused, aborted, is_lasting, told};

/// How often an unknown outcome is waited for, each time for `max.block.ms`. A later start finds it out from the cursor.
const RESOLVE_ATTEMPTS: u32 = 5;
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A producer, and where its records and cursors go.
pub(super) struct Loader {
    producer: TransactionalProducer,
    target: Target,
}

/// Where lines and cursor go.
pub(super) struct Target {
    /// The topic of the lines.
    pub(super) topic: String,
    /// How lines become records.
    pub(super) format: LineFormat,
    /// The input's name, for errors.
    pub(super) file: String,
    /// The group that keeps the cursor.
    pub(super) group: String,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The lines are in the topic, and the cursor stands behind them.
    Committed,
    /// None of them is. The same lines may be tried again.
    Aborted(String),
}

/// Why a transaction could not be filled.
struct Trouble {
    failure: Failure,
    /// Whether the same lines may be tried again.
    may_pass: bool,
}

impl Loader {
    /// Obtains the producer id, which fences an earlier run and ends its open transaction.
    pub(super) async fn connect(config: ProducerConfig, target: Target) -> Result<Self, Failure> {
        let id = config.transactional_id.clone().unwrap_or_default();
        let producer = TransactionalProducer::connect(config).await;
        let doing = format!("obtaining a producer id for the transactional id {id}");
        let producer = producer.map_err(|error| told(&doing, &error))?;
        Ok(Self { producer, target })
    }

    /// Loads the lines and, if there is one, the cursor behind them: all of it or nothing.
    pub(super) async fn load(&mut self, batch: &LineBatch, cursor: Option<Cursor>) -> Result<Ended, Failure> {
        let transaction = self
            .producer
            .begin()
            .await
            .map_err(|error| told("beginning a transaction", &error))?;
        if let Err(trouble) = fill(&transaction, &self.target, batch, cursor).await {
            aborted(transaction.abort().await)?;
            return if trouble.may_pass {
                Ok(Ended::Aborted(trouble.failure.what))
            } else {
                Err(trouble.failure)
            };
        }
        commit(transaction).await
    }

    /// Ends the producer in an orderly way.
    pub(super) async fn close(self) {
        // Everything is committed or aborted: what a close could still report changes nothing.
        let _ = self.producer.close(CLOSE_LIMIT).await;
    }
}

async fn fill(
    transaction: &Transaction<'_>,
    target: &Target,
    batch: &LineBatch,
    cursor: Option<Cursor>,
) -> Result<(), Trouble> {
    for (number, line) in batch.lines() {
        send(transaction, target, number, &line).await?;
    }
    let Some(cursor) = cursor else { return Ok(()) };
    let place = TopicPartition::new(target.topic.as_str(), 0);
    let offset = OffsetAndMetadata {
        offset: Offset(cursor.offset()),
        leader_epoch: None,
        metadata: cursor.metadata(),
    };
    let group = ConsumerGroupMetadata::of_group(target.group.as_str());
    let sent = transaction
        .send_offsets(BTreeMap::from([(place, offset)]), group)
        .await;
    sent.map_err(|error| Trouble::of("committing the cursor", &error))
}

/// The delivery is let go of: the commit awaits it, and does not succeed without it.
async fn send(
    transaction: &Transaction<'_>,
    target: &Target,
    number: u64,
    line: &Bytes,
) -> Result<(), Trouble> {
    let split = target.format.split(line);
    let (key, value) = split.map_err(|_| Trouble {
        failure: no_separator(number, target),
        may_pass: false,
    })?;
    let record = Record::new(&target.topic).value(value);
    let record = match key.as_ref() {
        Some(key) => record.key(key),
        None => record,
    };
    transaction
        .send(record)
        .await
        .map(drop)
        .map_err(|error| refused(number, target, &error))
}

impl Trouble {
    fn of(doing: &str, error: &(impl Caused + Display)) -> Self {
        Self {
            failure: told(doing, error),
            may_pass: !error.code().is_some_and(is_lasting),
        }
    }
}

fn no_separator(number: u64, target: &Target) -> Failure {
    Failure::failed(
        format!(
            "line {number} of {} does not contain the key separator",
            target.file
        ),
        "correct the line, or leave --key-separator out for records without key",
    )
}

fn refused(number: u64, target: &Target, error: &SendError) -> Trouble {
    match error.kind() {
        SendErrorKind::RecordTooLarge { limit, .. } => Trouble {
            failure: too_long(number, &target.file, *limit as u64),
            may_pass: false,
        },
        _ => {
            let doing = format!(
                "sending line {number} of {} to the topic {}",
                target.file, target.topic
            );
            Trouble::of(&doing, error)
        }
    }
}

/// The failure for a line that does not fit a record.
pub(super) fn too_long(number: u64, file: &str, limit: u64) -> Failure {
    Failure::failed(
        format!("line {number} of {file} is too long: a record may have {limit} bytes (max.request.size)"),
        "raise it with --producer-property max.request.size=BYTES (and the topic's max.message.bytes), or split the line",
    )
}

async fn commit(transaction: Transaction<'_>) -> Result<Ended, Failure> {
    const DOING: &str = "committing the transaction";
    let mut outcome = transaction.commit().await;
    for _ in 0..RESOLVE_ATTEMPTS {
        let Err(CommitError::InDoubt(in_doubt)) = outcome else {
            break;
        };
        outcome = in_doubt.resolve().await;
    }
    let error = match outcome {
        Ok(()) => return Ok(Ended::Committed),
        Err(CommitError::MustAbort(must_abort)) => must_abort,
        Err(error) => return Err(told(DOING, &error)),
    };
    let failure = told(DOING, error.error());
    let is_lasting = error.error().code().is_some_and(is_lasting);
    aborted(error.abort().await)?;
    if is_lasting {
        Err(failure)
    } else {
        Ok(Ended::Aborted(failure.what))
    }
}
