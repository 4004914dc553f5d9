//! A topic as senders see it: its queues, and the choices that are made per topic.
//!
//! A handle is immutable and cheap to keep. When a topic grows, a new handle shares the queues of the old one. Knows no brokers: which
//! partitions have a leader is told from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kommit_protocol::random::mixed;
use kommit_protocol::units::PartitionId;

use crate::accumulator::AppendRefusal;
use crate::config::{Partitioning, StickyChoice};
use crate::load::{PartitionLoad, Unavailable, least_loaded};
use crate::partitioner::{Partitions, Sticky, partition_of_key};
use crate::queue::PartitionQueue;
use crate::random::SharedRandom;
use crate::ratio::CompressionRatio;

/// How often a random choice that hit a partition without leader is repeated before all partitions are looked at.
const DRAWS: u32 = 8;
/// How many partitions an adaptive choice compares: all of almost every topic, and of a larger one as many from a random place on.
const COMPARED: usize = 64;

/// The queues of a topic. A kept handle saves the look-up by name.
pub struct TopicQueues {
    name: Arc<str>,
    queues: Box<[Arc<PartitionQueue>]>,
    choices: Arc<TopicChoices>,
}

/// What is chosen per topic and survives its growth.
#[derive(Debug)]
struct TopicChoices {
    sticky: Sticky,
    random: SharedRandom,
    /// The most partitions that any handle has.
    partitions: AtomicU32,
    round_robin: AtomicU32,
    ratio: Arc<CompressionRatio>,
    unavailable: Arc<Unavailable>,
}

/// Where a record goes: a partition of a topic, or whichever partition unkeyed records stick to at the moment of the append.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'t> {
    pub(crate) topic: &'t TopicQueues,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Fixed(u32),
    Sticky,
}

impl TopicQueues {
    pub(crate) fn new(name: Arc<str>, partition_count: u32, seed: u64) -> Self {
        // The topics of one producer must not make the same choices at the same time.
        let seed = name
            .bytes()
            .fold(seed, |seed, byte| mixed(seed ^ u64::from(byte)));
        let choices = TopicChoices {
            sticky: Sticky::default(),
            random: SharedRandom::seeded(seed),
            partitions: AtomicU32::new(0),
            round_robin: AtomicU32::new(0),
            ratio: Arc::default(),
            unavailable: Arc::default(),
        };
        let topic = Self {
            name,
            queues: Box::default(),
            choices: Arc::new(choices),
        };
        topic.grown_to(partition_count)
    }

    /// A handle with at least `partition_count` partitions that shares all queues of this one. Topics never shrink.
    pub(crate) fn grown_to(&self, partition_count: u32) -> Self {
        let TopicChoices {
            ratio, unavailable, ..
        } = &*self.choices;
        let added = (self.partition_count()..partition_count).map(|partition| {
            let load = PartitionLoad::new(Arc::clone(unavailable));
            let queue = PartitionQueue::new(Arc::clone(&self.name), partition, Arc::clone(ratio), load);
            Arc::new(queue)
        });
        let queues = self.queues.iter().cloned().chain(added).collect();
        self.choices
            .partitions
            .fetch_max(partition_count, Ordering::Relaxed);
        Self {
            name: Arc::clone(&self.name),
            queues,
            choices: Arc::clone(&self.choices),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many partitions this handle knows.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.queues.len()).expect("partitions are numbered in 31 bits")
    }

    /// Whether another handle knows more partitions.
    pub fn is_outgrown(&self) -> bool {
        self.choices.partitions.load(Ordering::Relaxed) as usize > self.queues.len()
    }

    /// Tells which partitions have a leader, for the choices that prefer those. To be called with every new metadata snapshot.
    pub fn set_available(&self, is_available: impl Fn(PartitionId) -> bool) {
        for queue in &self.queues {
            queue
                .load()
                .set_has_leader(is_available(queue.topic_partition().partition));
        }
    }

    /// Chooses where a record goes; to be asked once per record. A partition named by the record beats everything.
    pub(crate) fn destination(
        &self,
        named: Option<PartitionId>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        partitioning: &Partitioning,
    ) -> Result<Destination<'_>, AppendRefusal> {
        if let Some(partition) = named {
            return self.fixed(partition);
        }
        if self.queues.is_empty() {
            return self.fixed(PartitionId(0));
        }
        match (partitioning, key) {
            (Partitioning::HashedKeys, Some(key)) => Ok(Destination {
                topic: self,
                place: Place::Fixed(self.partition_of_key(key).unwrap_or(0)),
            }),
            (Partitioning::HashedKeys, None) | (Partitioning::IgnoredKeys, _) => Ok(Destination {
                topic: self,
                place: Place::Sticky,
            }),
            (Partitioning::RoundRobin, _) => Ok(Destination {
                topic: self,
                place: self.next_in_turn(),
            }),
            (Partitioning::Custom(partitioner), key) => {
                self.fixed(partitioner.partition(&self.name, key, value, self))
            }
        }
    }

    /// A-23; `None` for a topic without partitions.
    #[inline]
    pub(crate) fn partition_of_key(&self, key: &[u8]) -> Option<u32> {
        let partition = partition_of_key(key, self.partition_count())?;
        u32::try_from(partition.0).ok()
    }

    pub(crate) fn queue(&self, partition: u32) -> &Arc<PartitionQueue> {
        &self.queues[partition as usize]
    }

    pub(crate) fn queues(&self) -> &[Arc<PartitionQueue>] {
        &self.queues
    }

    pub(crate) fn ratio(&self) -> &CompressionRatio {
        &self.choices.ratio
    }

    pub(crate) fn sticky(&self) -> &Sticky {
        &self.choices.sticky
    }

    /// The partition that unkeyed records stick to next.
    pub(crate) fn draw(&self, choice: StickyChoice) -> u32 {
        let weighted = match choice {
            StickyChoice::Uniform => None,
            StickyChoice::Adaptive { .. } => self.draw_by_load(),
        };
        let chosen = weighted.and_then(|position| u32::try_from(position).ok());
        chosen.unwrap_or_else(|| self.draw_uniformly())
    }

    /// A-28, among the compared ones; `None` when all of these are left out.
    fn draw_by_load(&self) -> Option<usize> {
        let count = self.queues.len();
        let first = if count > COMPARED {
            self.choices.random.below(self.partition_count()) as usize
        } else {
            0
        };
        let (front, back) = self.queues.split_at(first);
        let compared = back.iter().chain(front).take(COMPARED);
        let loads = compared.map(|queue| queue.load());
        let chosen = least_loaded(loads, |total| self.choices.random.below(total))?;
        Some((first + chosen) % count)
    }

    /// uniform among the partitions with a leader, else among all.
    fn draw_uniformly(&self) -> u32 {
        let count = self.partition_count();
        let random = || self.choices.random.below(count);
        // Almost always the first draw is available; repeating it keeps the choice uniform without a list.
        if let Some(lucky) = (0..DRAWS)
            .map(|_| random())
            .find(|partition| self.has_leader(*partition))
        {
            return lucky;
        }
        let available = || (0..count).filter(|partition| self.has_leader(*partition));
        let leaders = u32::try_from(available().count()).expect("partitions are numbered in 31 bits");
        let chosen = self.choices.random.below(leaders);
        available().nth(chosen as usize).unwrap_or_else(random)
    }

    /// the next of the available partitions, else of all.
    fn next_in_turn(&self) -> Place {
        let turn = self.choices.round_robin.fetch_add(1, Ordering::Relaxed);
        let count = self.partition_count();
        if self.choices.unavailable.is_empty() {
            return Place::Fixed(turn % count.max(1));
        }
        let available = || (0..count).filter(|partition| self.has_leader(*partition));
        let leaders = u32::try_from(available().count()).expect("partitions are numbered in 31 bits");
        let chosen = turn
            .checked_rem(leaders)
            .and_then(|place| available().nth(place as usize));
        Place::Fixed(chosen.unwrap_or(turn % count.max(1)))
    }

    fn fixed(&self, partition: PartitionId) -> Result<Destination<'_>, AppendRefusal> {
        let known = u32::try_from(partition.0)
            .ok()
            .filter(|number| *number < self.partition_count());
        let refusal = AppendRefusal::UnknownPartition {
            partition,
            count: self.partition_count(),
        };
        known
            .map(|number| Destination {
                topic: self,
                place: Place::Fixed(number),
            })
            .ok_or(refusal)
    }

    fn has_leader(&self, partition: u32) -> bool {
        self.queue(partition).load().is_available()
    }
}

impl Partitions for TopicQueues {
    fn count(&self) -> u32 {
        self.partition_count()
    }

    fn is_available(&self, partition: PartitionId) -> bool {
        let position = usize::try_from(partition.0).ok();
        position
            .and_then(|position| self.queues.get(position))
            .is_some_and(|queue| queue.load().is_available())
    }
}

impl fmt::Debug for TopicQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicQueues")
            .field("name", &self.name)
            .field("partitions", &self.queues.len())
            .finish()
    }
}
