//! Room 9: the outcome of a batch, shared by everybody who waits for one of its records.
//!
//! A completion is filled once and never changes. It knows nothing of the batch's bytes: an expired batch has its outcome while the wire
//! may still read its page (S-45). Waiting costs no allocation per record.
//!
//! A batch that is split gets an outcome that points at the completions of its parts. [`Delivery`] and [`BatchWatch`] follow it, so that
//! nobody outside of this file ever sees that a batch was split.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use kommit_protocol::units::{Offset, Timestamp, TopicPartition};

use crate::error::{Fate, SendError, SendErrorKind};
use crate::incomplete::Incomplete;
use crate::sync::{Mutex, MutexGuard};

/// Where a delivered record is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The partition that holds the record.
    pub topic_partition: TopicPartition,
    /// The record's place; `None` when the broker did not tell (acks=0, or a duplicate it had seen before: P-25, S-65).
    pub offset: Option<Offset>,
    /// The broker's time when the topic keeps log-append times, else the record's own (W-18).
    pub timestamp: Timestamp,
    /// The key's length in bytes; `None` without a key.
    pub serialized_key_size: Option<usize>,
    /// The value's length in bytes; `None` without a value.
    pub serialized_value_size: Option<usize>,
}

/// Why a batch failed, as a whole or record by record (S-72).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFailure {
    /// The error of every record that `listed` does not name.
    unlisted: SendError,
    /// Sorted by the record's index in the batch.
    listed: Box<[(u32, SendError)]>,
}

impl BatchFailure {
    /// Some records have an error of their own; all others get `unlisted`.
    pub fn per_record(mut listed: Vec<(u32, SendError)>, unlisted: SendError) -> Self {
        listed.sort_by_key(|(index, _)| *index);
        Self {
            unlisted,
            listed: listed.into_boxed_slice(),
        }
    }

    fn of(&self, index: u32) -> &SendError {
        match self.listed.binary_search_by_key(&index, |(listed, _)| *listed) {
            Ok(position) => &self.listed[position].1,
            Err(_) => &self.unlisted,
        }
    }

    fn at(mut self, topic_partition: &TopicPartition) -> Self {
        self.unlisted = self.unlisted.at(topic_partition.clone());
        for (_, error) in &mut self.listed {
            *error = error.clone().at(topic_partition.clone());
        }
        self
    }
}

impl From<SendError> for BatchFailure {
    fn from(error: SendError) -> Self {
        Self {
            unlisted: error,
            listed: Box::default(),
        }
    }
}

/// The end of a batch.
#[derive(Clone, Debug)]
pub(crate) enum BatchOutcome {
    Written {
        base_offset: Option<Offset>,
        log_append_time: Option<Timestamp>,
    },
    Failed(BatchFailure),
    /// Its records have their outcome from its parts.
    Split(Parts),
}

/// The batches that a batch was split into, in order, each with the index that its first record had in the whole.
#[derive(Clone, Debug)]
pub(crate) struct Parts(Box<[(u32, Arc<BatchCompletion>)]>);

impl Parts {
    /// From the parts' record counts and completions, in order.
    pub(crate) fn new(parts: impl IntoIterator<Item = (u32, Arc<BatchCompletion>)>) -> Self {
        let mut first = 0;
        let numbered = parts.into_iter().map(|(records, completion)| {
            let own = first;
            first += records;
            (own, completion)
        });
        Self(numbered.collect())
    }

    /// The part that holds the record of this index, and the record's index in it.
    fn of(&self, index: u32) -> (&Arc<BatchCompletion>, u32) {
        let behind = self.0.partition_point(|(first, _)| *first <= index);
        let (first, completion) = &self.0[behind - 1];
        (completion, index - first)
    }

    fn completions(&self) -> impl DoubleEndedIterator<Item = &Arc<BatchCompletion>> {
        self.0.iter().map(|(_, completion)| completion)
    }
}

/// Whether an outcome was the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The batch has its outcome since now.
    Now,
    /// The batch had its outcome before; this one was ignored.
    Before,
}

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    /// How many deliveries rely on this entry; an entry of one may be replaced by its owner.
    sharers: usize,
}

/// The outcome of one batch and those who wait for it.
#[derive(Debug)]
pub(crate) struct BatchCompletion {
    topic_partition: TopicPartition,
    outcome: OnceLock<BatchOutcome>,
    waiters: Mutex<Vec<Waiter>>,
    incomplete: Arc<Incomplete>,
}

impl BatchCompletion {
    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(crate) fn settle(&self, outcome: BatchOutcome) -> Settled {
        let outcome = match outcome {
            BatchOutcome::Failed(failure) => BatchOutcome::Failed(failure.at(&self.topic_partition)),
            other @ (BatchOutcome::Written { .. } | BatchOutcome::Split(_)) => other,
        };
        if self.outcome.set(outcome).is_err() {
            return Settled::Before;
        }
        let waiters = std::mem::take(&mut *self.lock());
        waiters.into_iter().for_each(|waiter| waiter.waker.wake());
        self.incomplete.leave();
        Settled::Now
    }

    pub(crate) fn watch(self: &Arc<Self>) -> BatchWatch {
        BatchWatch {
            waiting: vec![Arc::clone(self)],
            place: Seat::default(),
        }
    }

    /// Whether every record of the batch has its result, those of its parts included.
    fn is_done(&self) -> bool {
        match self.outcome.get() {
            None => false,
            Some(BatchOutcome::Split(parts)) => parts.completions().all(|part| part.is_done()),
            Some(BatchOutcome::Written { .. } | BatchOutcome::Failed(_)) => true,
        }
    }

    /// The outcome, or a registration of the task that asks. `place` is the caller's entry among the waiters.
    ///
    /// The list never holds more entries than there are deliveries and watches: the last entry is shared when it is the same task's,
    /// and an entry that nobody shares is replaced in place.
    fn poll(&self, place: &mut Seat, context: &Context<'_>) -> Poll<&BatchOutcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut waiters = self.lock();
        // The outcome may have come before the lock: then the waiters have been woken without us.
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let replaced = register(&mut waiters, place, context.waker());
        drop(waiters);
        // A waker may run anything when it is dropped.
        drop(replaced);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters
            .lock()
            .expect("nothing panics while the waiters are locked")
    }
}

/// Makes sure that `waker` is among the waiters, and returns the one that it replaced.
fn register(waiters: &mut Vec<Waiter>, place: &mut Seat, waker: &Waker) -> Option<Waker> {
    if let Some(own) = place.position().and_then(|position| waiters.get_mut(position)) {
        if own.waker.will_wake(waker) {
            return None;
        }
        if own.sharers == 1 {
            return Some(std::mem::replace(&mut own.waker, waker.clone()));
        }
        own.sharers -= 1;
    }
    match waiters.last_mut() {
        Some(last) if last.waker.will_wake(waker) => last.sharers += 1,
        _ => waiters.push(Waiter {
            waker: waker.clone(),
            sharers: 1,
        }),
    }
    *place = Seat::at(waiters.len() - 1);
    None
}

/// The promise that a batch gets an outcome. It travels with the batch through its stages; dropped without an outcome, it gives one, so
/// that no record is ever lost silently (P-47).
#[derive(Debug)]
pub(crate) struct Promise {
    completion: Arc<BatchCompletion>,
}

impl Promise {
    /// A promise for a batch that has been counted as incomplete already.
    pub(crate) fn counted(topic_partition: TopicPartition, incomplete: Arc<Incomplete>) -> Self {
        let (outcome, waiters) = (OnceLock::new(), Mutex::new(Vec::new()));
        Self {
            completion: Arc::new(BatchCompletion {
                topic_partition,
                outcome,
                waiters,
                incomplete,
            }),
        }
    }

    pub(crate) fn completion(&self) -> &Arc<BatchCompletion> {
        &self.completion
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.completion.is_settled() {
            let error = SendError::new(SendErrorKind::ProducerGone).with_fate(Fate::MayBeWritten);
            self.completion.settle(BatchOutcome::Failed(error.into()));
        }
    }
}

/// What was known of a record when it was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordFacts {
    timestamp: Timestamp,
    key: FieldSize,
    value: FieldSize,
}

impl RecordFacts {
    pub(crate) fn of(key: Option<&[u8]>, value: Option<&[u8]>, timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            key: FieldSize::of(key),
            value: FieldSize::of(value),
        }
    }
}

/// The size of a key or value that may be absent, in four bytes: an application keeps many deliveries. Holds size + 1; no record is larger than
/// 31 bits can say.
#[derive(Clone, Copy, Debug)]
struct FieldSize(Option<NonZeroU32>);

impl FieldSize {
    fn of(field: Option<&[u8]>) -> Self {
        let above = |field: &[u8]| u32::try_from(field.len() + 1).ok().and_then(NonZeroU32::new);
        Self(field.and_then(above))
    }

    fn bytes(self) -> Option<usize> {
        self.0.map(|above| above.get() as usize - 1)
    }
}

/// An entry among the waiters, once there is one: its position + 1, in four bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Seat(Option<NonZeroU32>);

impl Seat {
    fn at(position: usize) -> Self {
        Self(u32::try_from(position + 1).ok().and_then(NonZeroU32::new))
    }

    fn position(self) -> Option<usize> {
        self.0.map(|above| above.get() as usize - 1)
    }
}

/// A record on its way: a future of its metadata or its error.
///
/// # Cancel safety
///
/// Dropping a delivery changes nothing about the record, which is sent all the same. It may be polled again after it was ready and gives
/// the same result.
#[derive(Debug)]
#[must_use = "a record is delivered without it, but only the delivery tells whether it was"]
pub struct Delivery {
    completion: Arc<BatchCompletion>,
    index: u32,
    facts: RecordFacts,
    place: Seat,
}

impl Delivery {
    pub(crate) fn new(completion: Arc<BatchCompletion>, index: u32, facts: RecordFacts) -> Self {
        Self {
            completion,
            index,
            facts,
            place: Seat::default(),
        }
    }

    /// The partition that the record was appended for.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.completion.topic_partition()
    }

    /// Whether there is a result. Cheaper than [`Delivery::outcome`], which copies it.
    pub fn is_done(&self) -> bool {
        let (mut completion, mut index) = (&self.completion, self.index);
        loop {
            match completion.outcome.get() {
                None => return false,
                Some(BatchOutcome::Split(parts)) => (completion, index) = parts.of(index),
                Some(BatchOutcome::Failed(_) | BatchOutcome::Written { .. }) => return true,
            }
        }
    }

    /// The result, or `None` while there is none.
    pub fn outcome(&self) -> Option<Result<RecordMetadata, SendError>> {
        let (mut completion, mut index) = (&self.completion, self.index);
        loop {
            match completion.outcome.get()? {
                BatchOutcome::Split(parts) => (completion, index) = parts.of(index),
                BatchOutcome::Failed(failure) => return Some(Err(failure.of(index).clone())),
                BatchOutcome::Written {
                    base_offset,
                    log_append_time,
                } => return Some(Ok(self.metadata(index, *base_offset, *log_append_time))),
            }
        }
    }

    fn metadata(
        &self,
        index: u32,
        base_offset: Option<Offset>,
        log_append_time: Option<Timestamp>,
    ) -> RecordMetadata {
        RecordMetadata {
            topic_partition: self.completion.topic_partition.clone(),
            offset: base_offset.map(|base| base.plus(u64::from(index))),
            timestamp: log_append_time.unwrap_or(self.facts.timestamp),
            serialized_key_size: self.facts.key.bytes(),
            serialized_value_size: self.facts.value.bytes(),
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let (part, index) = match this.completion.poll(&mut this.place, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(BatchOutcome::Split(parts)) => parts.of(this.index),
                Poll::Ready(BatchOutcome::Failed(failure)) => {
                    return Poll::Ready(Err(failure.of(this.index).clone()));
                }
                Poll::Ready(BatchOutcome::Written {
                    base_offset,
                    log_append_time,
                }) => return Poll::Ready(Ok(this.metadata(this.index, *base_offset, *log_append_time))),
            };
            // from now on the record belongs to its part.
            this.completion = Arc::clone(part);
            this.index = index;
            this.place = Seat::default();
        }
    }
}

/// Waits for a batch to get any outcome: what a flush is made of. A batch that was split is waited for until its last part is done.
///
/// # Cancel safety
///
/// Dropping a watch changes nothing about the batch.
#[derive(Debug)]
pub struct BatchWatch {
    /// The batch, or those of its parts that have not been seen done; the last one is waited for.
    waiting: Vec<Arc<BatchCompletion>>,
    place: Seat,
}

impl BatchWatch {
    /// Whether the batch has its outcome, and all parts of it have theirs.
    pub fn is_done(&self) -> bool {
        self.waiting.iter().all(|completion| completion.is_done())
    }
}

impl Future for BatchWatch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        while let Some(last) = this.waiting.pop() {
            match last.poll(&mut this.place, context) {
                Poll::Pending => {
                    this.waiting.push(last);
                    return Poll::Pending;
                }
                Poll::Ready(BatchOutcome::Split(parts)) => {
                    this.waiting.extend(parts.completions().rev().cloned());
                }
                Poll::Ready(BatchOutcome::Written { .. } | BatchOutcome::Failed(_)) => {}
            }
            this.place = Seat::default();
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
