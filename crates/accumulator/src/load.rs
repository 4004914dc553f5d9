//! What is known of every partition without its lock, and the choice among partitions that follows from it (KIP-794, A-27 … A-30).
//!
//! Numbers may be a moment old; a choice by chance can live with that. Nobody here counts batches or looks at brokers: both is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many partitions of a topic are not available, so that a choice among all of them need not look at each.
#[derive(Debug, Default)]
pub(crate) struct Unavailable(AtomicU32);

impl Unavailable {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// How one partition stands.
#[derive(Debug)]
pub(crate) struct PartitionLoad {
    /// Those of the topic. The core alone changes who is among them.
    unavailable: Arc<Unavailable>,
    /// Metadata knows a leader.
    has_leader: AtomicBool,
    /// It takes no records behind a gap (H07). Changes only under the lock of its queue, so that no append overlooks it.
    stopped: AtomicBool,
    /// The leader has taken nothing for `partitioner.availability.timeout.ms`, although there was something to take.
    stalled: AtomicBool,
    /// Batches that wait for their first sending.
    queued: AtomicU32,
    /// Batches that wait to be sent again.
    retries: AtomicU32,
}

impl PartitionLoad {
    /// Nothing waits yet, and there is a leader.
    pub(crate) fn new(unavailable: Arc<Unavailable>) -> Self {
        Self {
            unavailable,
            has_leader: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            queued: AtomicU32::new(0),
            retries: AtomicU32::new(0),
        }
    }

    /// Whether it is worth choosing: it has a leader and takes records.
    pub(crate) fn is_available(&self) -> bool {
        self.has_leader.load(Ordering::Relaxed) && !self.is_stopped()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stopped(&self, stopped: bool) {
        self.switch(&self.stopped, stopped);
    }

    pub(crate) fn set_has_leader(&self, has_leader: bool) {
        self.switch(&self.has_leader, has_leader);
    }

    fn switch(&self, what: &AtomicBool, on: bool) {
        let was_available = self.is_available();
        what.store(on, Ordering::Relaxed);
        match (was_available, self.is_available()) {
            (true, false) => self.unavailable.0.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.unavailable.0.fetch_sub(1, Ordering::Relaxed),
            (false, false) | (true, true) => return,
        };
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    pub(crate) fn set_queued(&self, batches: usize) {
        set(&self.queued, batches);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn set_retries(&self, batches: usize) {
        set(&self.retries, batches);
    }

    /// How many batches wait, or `None` for a partition that is left out: one without leader or stopped, and one whose leader is stalled, unless
    /// nothing waits for it.
    fn waiting(&self) -> Option<u32> {
        if !self.is_available() {
            return None;
        }
        let (queued, retries) = (&self.queued, &self.retries);
        let waiting = queued
            .load(Ordering::Relaxed)
            .saturating_add(retries.load(Ordering::Relaxed));
        let is_out = waiting > 0 && self.stalled.load(Ordering::Relaxed);
        (!is_out).then_some(waiting)
    }
}

/// Records pass here: what stays the same is not written, and takes the cache line from nobody.
fn set(number: &AtomicU32, batches: usize) {
    let batches = u32::try_from(batches).unwrap_or(u32::MAX);
    if number.load(Ordering::Relaxed) != batches {
        number.store(batches, Ordering::Relaxed);
    }
}

/// the position of a partition, the more probable the fewer batches wait for it; `None` when all are left out. `below` draws a
/// number below its argument.
pub(crate) fn least_loaded<'l>(
    loads: impl Iterator<Item = &'l PartitionLoad> + Clone,
    below: impl FnOnce(u32) -> u32,
) -> Option<usize> {
    let eligible = || {
        let waiting = loads.clone().map(PartitionLoad::waiting).enumerate();
        waiting.filter_map(|(position, waiting)| Some((position, waiting?)))
    };
    let longest = eligible().map(|(_, waiting)| waiting).max()?;
    let weight = |waiting: u32| u64::from(longest.saturating_sub(waiting)) + 1;
    let total: u64 = eligible().map(|(_, waiting)| weight(waiting)).sum();
    let drawn = u64::from(below(u32::try_from(total).unwrap_or(u32::MAX)));
    let mut sum = 0;
    let mut chosen = None;
    for (position, waiting) in eligible() {
        chosen = Some(position);
        sum += weight(waiting);
        if sum > drawn {
            break;
        }
    }
    // The last one, should the weights have shrunk since they were summed up.
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(batches: usize) -> PartitionLoad {
        let load = PartitionLoad::new(Arc::default());
        load.set_queued(batches);
        load
    }

    /// What each drawn number leads to.
    fn choices(loads: &[PartitionLoad]) -> Vec<Option<usize>> {
        let mut bound = 1;
        let mut choices = Vec::new();
        for drawn in 0.. {
            let choice = least_loaded(loads.iter(), |total| {
                bound = total;
                drawn
            });
            if drawn >= bound {
                break;
            }
            choices.push(choice);
        }
        choices
    }

    /// the weight is the longest queue plus one, less the own queue; KIP-794's own example of queues of 0, 3 and 1 batches.
    #[test]
    fn a_short_queue_is_chosen_more_often() {
        let loads = [waiting(0), waiting(3), waiting(1)];
        assert_eq!(choices(&loads), [0, 0, 0, 0, 1, 2, 2, 2].map(Some));
    }

    /// equal queues are equally probable.
    #[test]
    fn equal_queues_are_equally_probable() {
        assert_eq!(
            choices(&[waiting(4), waiting(4), waiting(4)]),
            [0, 1, 2].map(Some)
        );
    }

    /// what waits to be sent again counts, too.
    #[test]
    fn retries_count_as_load() {
        let loads = [waiting(0), waiting(1)];
        loads[1].set_retries(1);
        assert_eq!(choices(&loads), [0, 0, 0, 1].map(Some));
    }

    /// H07: a partition without leader, or that takes no records, is left out, and so is one whose leader is stalled, unless nothing waits for it.
    #[test]
    fn unavailable_partitions_are_left_out() {
        let loads = [waiting(0), waiting(9), waiting(2), waiting(0)];
        loads[0].set_has_leader(false);
        loads[1].set_stalled(true);
        loads[3].set_stalled(true);
        assert_eq!(choices(&loads), [2, 3, 3, 3].map(Some));
        loads[3].set_stopped(true);
        assert_eq!(choices(&loads), [Some(2)]);
    }

    /// with nothing left to choose from, the choice is made without weights.
    #[test]
    fn nothing_is_chosen_when_all_are_left_out() {
        let loads = [waiting(1), waiting(1)];
        loads[0].set_stalled(true);
        loads[1].set_has_leader(false);
        assert_eq!(least_loaded(loads.iter(), |_| 0), None);
    }
}
