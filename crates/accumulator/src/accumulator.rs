//! The half of the accumulator that application tasks share: from a record to its delivery.
//!
//! Who enters: `send`, many tasks at once. One lock per record, no allocation per record, no waiting: when a new batch needs memory, the
//! caller is told how much, and gets it from the pool. Knows neither brokers nor the state of transactions; it asks the gate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;
use kommit_protocol::batch::HEADER_LEN;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{PartitionId, PartitionIndex, Timestamp};
use thiserror::Error;

use crate::batch::{OpenBatch, RecordRef};
use crate::completion::Delivery;
use crate::config::{AccumulatorConfig, Partitioning};
use crate::doorbell::Doorbell;
use crate::drainer::Drainer;
use crate::gate::{GateReason, SendGate, TransactionNumber};
use crate::incomplete::Incomplete;
use crate::partitioner::Turn;
use crate::pool::{Page, PageWait, Pool, PoolRefusal};
use crate::queue::{Appended, Entry, Follow, NotAppended, Opening, PartitionQueue, Ring, Stay};
use crate::topic::{Destination, Place, TopicQueues};
use crate::way::{Long, MakeWay};

/// How often an append follows a sticky partition that others keep switching, before it stays where it is.
const FOLLOWED_SWITCHES: u32 = 16;

/// Creates both halves: the one that application tasks share, and the one that the sender core owns. `ring` is called, from any task but
/// under no lock, whenever a sleeping core has to be woken; it must not block.
pub fn accumulator(
    config: AccumulatorConfig,
    ring: impl Fn() + Send + Sync + 'static,
) -> (Arc<Accumulator>, Drainer) {
    let doorbell = Arc::new(Doorbell::new(ring));
    let accumulator = Arc::new(Accumulator {
        gate: SendGate::new(),
        pool: Arc::new(Pool::new(
            config.buffer_memory,
            config.batch_size.max(1),
            Arc::clone(&doorbell),
        )),
        doorbell,
        topics: DashMap::new(),
        next_index: AtomicU32::new(0),
        incomplete: Arc::default(),
        config,
    });
    let drainer = Drainer::new(Arc::clone(&accumulator));
    (accumulator, drainer)
}

/// Why a record was not appended. Nothing of it is left behind (D-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AppendRefusal {
    /// A new batch is needed: come again with a page of this many bytes.
    #[error("a page of {0} bytes is needed")]
    NeedsPage(usize),
    /// The gate does not admit the record.
    #[error("the record was refused: {0}")]
    Refused(GateReason),
    /// The record can never be sent (P-15).
    #[error("the record of up to {size} bytes is larger than {limit}")]
    TooLarge {
        /// The upper bound of the record's batch in bytes.
        size: usize,
        /// The smaller one of `max.request.size` and `buffer.memory`.
        limit: usize,
    },
    /// Whether an earlier record of the partition was written is not known, and nobody has acknowledged that (H07).
    #[error(
        "partition {partition} is stopped: whether an earlier record of it was written is not known; acknowledge the gap to go on"
    )]
    Stopped {
        /// The partition.
        partition: PartitionId,
    },
    /// The topic has no such partition.
    #[error("the topic has {count} partition(s) and no partition {partition}")]
    UnknownPartition {
        /// The partition that was asked for.
        partition: PartitionId,
        /// How many partitions the handle knows.
        count: u32,
    },
}

/// The half that application tasks share (rooms 1 to 3).
pub struct Accumulator {
    pub(crate) gate: SendGate,
    pub(crate) pool: Arc<Pool>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) topics: DashMap<Arc<str>, Arc<TopicQueues>>,
    pub(crate) incomplete: Arc<Incomplete>,
    pub(crate) config: AccumulatorConfig,
    next_index: AtomicU32,
}

impl Accumulator {
    /// The handle of a topic that has at least this many partitions. The queues of a partition are the same in all handles.
    pub fn topic(&self, name: &str, partition_count: u32) -> Arc<TopicQueues> {
        if let Some(known) = self.known_topic(name)
            && known.partition_count() >= partition_count
        {
            return known;
        }
        let name: Arc<str> = Arc::from(name);
        let grow = |topic: &mut Arc<TopicQueues>| {
            if topic.partition_count() < partition_count {
                *topic = Arc::new(topic.grown_to(partition_count));
            }
        };
        let create = || {
            Arc::new(TopicQueues::new(
                Arc::clone(&name),
                partition_count,
                self.config.seed,
            ))
        };
        Arc::clone(
            &self
                .topics
                .entry(Arc::clone(&name))
                .and_modify(grow)
                .or_insert_with(create),
        )
    }

    /// Chooses where a record goes; to be asked once per record, before the first try to append it (A-23 … A-33).
    ///
    /// # Errors
    ///
    /// [`AppendRefusal::UnknownPartition`] when the named or chosen partition is not one of the topic's.
    pub fn destination<'t>(
        &self,
        topic: &'t TopicQueues,
        named: Option<PartitionId>,
        record: &RecordRef<'_>,
    ) -> Result<Destination<'t>, AppendRefusal> {
        topic.destination(named, record.key, record.value, &self.config.partitioning)
    }

    /// Encodes a record into the open batch of its partition. Never waits.
    ///
    /// `page` is used when a new batch is needed, and else left for the next record; a page that is too small goes back to the pool.
    ///
    /// # Errors
    ///
    /// [`AppendRefusal::NeedsPage`] asks for another call with a page; every other refusal is final for this record.
    pub fn append(
        &self,
        destination: &Destination<'_>,
        record: &RecordRef<'_>,
        page: &mut Option<Page>,
        transaction: Option<TransactionNumber>,
        now: Now,
    ) -> Result<Delivery, AppendRefusal> {
        let bound = self.bound_of(record)?;
        page.take_if(|page| page.size() < bound);
        let entry = self.entry(bound, transaction, now.wall);
        for _switch in 0..FOLLOWED_SWITCHES {
            let appended =
                self.append_once(destination, (record, page), &entry, now.instant, Follow::Switches);
            if !matches!(appended, Err(NotAppended::Moved)) {
                return appended.map_err(|why| self.refusal(why, destination.topic, bound));
            }
        }
        let appended = self.append_once(destination, (record, page), &entry, now.instant, Follow::Nothing);
        appended.map_err(|why| self.refusal(why, destination.topic, bound))
    }

    /// Encodes a record amid the open batch of its partition, as almost all records are: where no choice is to be made for this record
    /// alone, and with no more time than its timestamp's. `None`: nothing has been done, and [`append`](Self::append) has to look at it.
    #[inline]
    pub fn append_amid(
        &self,
        (topic, named): (&TopicQueues, Option<PartitionId>),
        record: &RecordRef<'_>,
        transaction: Option<TransactionNumber>,
        timestamp: Timestamp,
    ) -> Option<Delivery> {
        let bound = self.bound_of(record).ok()?;
        let mut entry = self.entry(bound, transaction, timestamp);
        let partition = match (named, &self.config.partitioning, record.key) {
            (Some(named), _, _) => named.0.try_into().ok()?,
            (None, Partitioning::HashedKeys, Some(key)) => topic.partition_of_key(key)?,
            (None, Partitioning::HashedKeys, None) | (None, Partitioning::IgnoredKeys, _) => {
                let turn = topic.sticky().turn();
                entry.stay = Some(self.stay(topic, turn, Follow::Switches));
                turn.partition()?
            }
            (None, Partitioning::RoundRobin | Partitioning::Custom(_), _) => return None,
        };
        let queue = topic.queues().get(partition as usize)?;
        queue.append_amid(record, &entry)
    }

    /// Something to wait for, for a moment, before a page is asked for: the line of batches for the same destination is long, and its sender
    /// had better catch up.
    pub fn make_way<'t>(&self, destination: &Destination<'t>) -> Option<MakeWay<'t>> {
        let topic = destination.topic;
        let partition = match destination.place {
            Place::Fixed(partition) => partition,
            Place::Sticky => topic.sticky().turn().partition()?,
        };
        let queue = topic.queues().get(partition as usize)?;
        queue.make_way(Long::of(self.config.batch_size))
    }

    /// A page if there is one now and nobody waits for it already.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn try_page(&self, size: usize) -> Result<Page, PoolRefusal> {
        self.pool.try_page(size)
    }

    /// A page as soon as it is this task's turn.
    pub fn page(&self, size: usize) -> PageWait<'_> {
        self.pool.page(size)
    }

    /// The bytes of `buffer.memory`.
    pub fn total_memory(&self) -> usize {
        self.pool.total()
    }

    /// The bytes of `buffer.memory` that are free now.
    pub fn available_memory(&self) -> usize {
        self.pool.available()
    }

    /// How many tasks wait for memory now.
    pub fn waiting_for_memory(&self) -> usize {
        self.pool.waiters()
    }

    /// accepts no record any more, wakes everybody who waits for memory, and lets the core send what is queued. Final.
    pub fn close(&self) {
        self.gate.close(GateReason::ProducerClosed);
        self.pool.close();
        self.doorbell.ring();
    }

    /// The gate, which the core moves and everybody may ask.
    pub fn gate(&self) -> &SendGate {
        &self.gate
    }

    /// The handle of a topic that was asked for before.
    pub fn known_topic(&self, name: &str) -> Option<Arc<TopicQueues>> {
        self.topics.get(name).map(|topic| Arc::clone(&topic))
    }

    #[inline]
    fn bound_of(&self, record: &RecordRef<'_>) -> Result<usize, AppendRefusal> {
        let size = record.batch_upper_bound();
        let limit = self.config.max_request_size.min(self.config.buffer_memory);
        if size > limit {
            Err(AppendRefusal::TooLarge { size, limit })
        } else {
            Ok(size)
        }
    }

    #[inline]
    fn entry(&self, bound: usize, transaction: Option<TransactionNumber>, timestamp: Timestamp) -> Entry<'_> {
        Entry {
            gate: &self.gate,
            transaction,
            record_bound: bound - HEADER_LEN,
            timestamp,
            stay: None,
        }
    }

    #[inline]
    fn stay<'t>(&self, topic: &'t TopicQueues, turn: Turn, follow: Follow) -> Stay<'t> {
        Stay {
            sticky: topic.sticky(),
            turn,
            batch_size: self.config.batch_size,
            follow,
        }
    }

    fn append_once(
        &self,
        destination: &Destination<'_>,
        record: (&RecordRef<'_>, &mut Option<Page>),
        entry: &Entry<'_>,
        now: Instant,
        follow: Follow,
    ) -> Result<Delivery, NotAppended> {
        let topic = destination.topic;
        let Place::Fixed(partition) = destination.place else {
            return self.append_sticky(topic, record, entry, now, follow);
        };
        let queue = topic.queue(partition);
        let appended = queue.append(record, entry, self.opening(now));
        self.follow_up(queue, appended)
    }

    fn append_sticky(
        &self,
        topic: &TopicQueues,
        record: (&RecordRef<'_>, &mut Option<Page>),
        entry: &Entry<'_>,
        now: Instant,
        follow: Follow,
    ) -> Result<Delivery, NotAppended> {
        let draw = || topic.draw(self.config.sticky_choice);
        let (partition, turn) = topic.sticky().current(topic.partition_count(), draw);
        let queue = topic.queue(partition);
        let entry = Entry {
            stay: Some(self.stay(topic, turn, follow)),
            ..*entry
        };
        let mut appended = queue.append(record, &entry, self.opening(now));
        if matches!(appended.result, Err(NotAppended::Stopped(_))) && follow == Follow::Switches {
            // H07: what sticks nowhere in particular goes to a partition that takes it, if there is one.
            appended.turn_ends = true;
            appended.result = Err(NotAppended::Moved);
        }
        if appended.turn_ends {
            topic.sticky().switch(turn, draw);
        }
        self.follow_up(queue, appended)
    }

    fn opening(&self, now: Instant) -> Opening<'_> {
        Opening {
            incomplete: &self.incomplete,
            batch_size: self.config.batch_size,
            compression: self.config.compression,
            now,
        }
    }

    fn refusal(&self, why: NotAppended, topic: &TopicQueues, bound: usize) -> AppendRefusal {
        match why {
            NotAppended::Refused(reason) => AppendRefusal::Refused(reason),
            NotAppended::Stopped(partition) => AppendRefusal::Stopped { partition },
            // Who follows no switches is never told of one; another call would be right.
            NotAppended::NeedsPage | NotAppended::Moved => {
                let estimate = topic.ratio().estimate(self.config.compression);
                let usual = estimate.page_size(self.config.batch_size, self.config.buffer_memory);
                AppendRefusal::NeedsPage(bound.max(usual))
            }
        }
    }

    /// What an append leaves to be done outside of the queue's lock.
    fn follow_up(&self, queue: &Arc<PartitionQueue>, appended: Appended) -> Result<Delivery, NotAppended> {
        if let Some(full) = appended.closing {
            self.close_batch(queue, *full);
        }
        self.ring_if(queue, appended.ring);
        appended.result
    }

    #[cold]
    fn close_batch(&self, queue: &Arc<PartitionQueue>, full: OpenBatch) {
        let ring = queue.put_closed(full.close(self.config.codec()));
        self.ring_if(queue, ring);
    }

    fn ring_if(&self, queue: &Arc<PartitionQueue>, ring: Ring) {
        if ring == Ring::Needed {
            self.ring_for(queue);
        }
    }

    #[cold]
    fn ring_for(&self, queue: &Arc<PartitionQueue>) {
        queue.index_or(|| PartitionIndex(self.next_index.fetch_add(1, Ordering::Relaxed)));
        self.doorbell.ring_for(queue);
    }
}

impl fmt::Debug for Accumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accumulator")
            .field("gate", &self.gate.state())
            .field("pool", &self.pool)
            .field("topics", &self.topics.len())
            .finish_non_exhaustive()
    }
}
