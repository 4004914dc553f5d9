//! What the lock of a queue protects: batches in line, the open one, and who is to be told. Takes no lock and wakes nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::{ClosedBatch, OpenBatch, RecordRef};
use crate::completion::{BatchCompletion, BatchFailure, Delivery, Promise};
use crate::partitioner::{StuckBytes, Switching};
use crate::pool::Page;
use crate::ratio::Sizing;
use crate::way::Line;

use super::{Appended, Entry, Follow, Front, NotAppended, NotTaken, Opening, PartitionQueue, Ring, Taken};

/// The batches of a partition that the core has not taken.
#[derive(Debug, Default)]
pub(super) struct QueueState {
    /// Full batches, the oldest first.
    full: VecDeque<FullBatch>,
    open: Option<OpenBatch>,
    stuck: StuckBytes,
    pub(super) bell: Bell,
    pub(super) line: Line,
}

#[derive(Debug)]
enum FullBatch {
    Closed(ClosedBatch),
    /// Some task is closing it and will put it back.
    Closing {
        completion: Arc<BatchCompletion>,
        /// The batch was aborted meanwhile; the closing task gives it this outcome.
        doom: Option<BatchFailure>,
    },
}

/// Whether the queue is on the doorbell's list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bell {
    #[default]
    Silent,
    Rung,
}

impl QueueState {
    /// a switch that was deferred can be made now, without leaving a half-full batch behind.
    pub(super) fn may_stay(&self, entry: &Entry<'_>, appended: &mut Appended) -> bool {
        let Some(stay) = entry.stay.filter(|stay| stay.follow == Follow::Switches) else {
            return true;
        };
        let switching = self.switching();
        appended.turn_ends =
            switching == Switching::Allowed && self.stuck.are_enough(stay.turn, switching, stay.batch_size);
        !appended.turn_ends && stay.sticky.is(stay.turn)
    }

    /// Counts what was written in the turn of the sticky partition.
    fn count(&mut self, entry: &Entry<'_>, grown_by: usize, appended: &mut Appended) {
        if let Some(stay) = entry.stay.filter(|stay| stay.sticky.is(stay.turn)) {
            self.stuck.count(stay.turn, grown_by);
            appended.turn_ends = self
                .stuck
                .are_enough(stay.turn, self.switching(), stay.batch_size);
        }
    }

    /// The short way: amid the open batch, in a turn that goes on. `None`: nothing has changed.
    #[inline]
    pub(super) fn append_amid(&mut self, record: &RecordRef<'_>, entry: &Entry<'_>) -> Option<Delivery> {
        if let Some(stay) = &entry.stay
            && !stay.lasts_for(&self.stuck, entry.record_bound)
        {
            return None;
        }
        let open = self.open.as_mut()?;
        let before = open.size();
        let timestamp = record.timestamp.unwrap_or(entry.timestamp);
        let delivery = open.append_amid(record, entry.record_bound, timestamp)?;
        if let Some(stay) = &entry.stay {
            self.stuck.count(stay.turn, open.size() - before);
        }
        Some(delivery)
    }

    /// The long way: into the open batch if it has room, or into a new one on `page`.
    pub(super) fn append(
        &mut self,
        queue: &PartitionQueue,
        (record, page): (&RecordRef<'_>, &mut Option<Page>),
        entry: &Entry<'_>,
        opening: Opening<'_>,
        appended: &mut Appended,
    ) {
        let timestamp = record.timestamp.unwrap_or(entry.timestamp);
        if let Some(open) = &mut self.open {
            let before = open.size();
            if let Some(delivery) = open.append(record, entry.record_bound, timestamp) {
                let grown_by = open.size() - before;
                appended.result = Ok(delivery);
                if open.is_full() {
                    appended.closing = self.keep_place();
                }
                return self.count(entry, grown_by, appended);
            }
            // no room means that the batch takes no more records, even if a smaller one would fit.
            appended.closing = self.keep_place();
        }
        let Some(own) = page.take() else {
            appended.result = Err(NotAppended::NeedsPage);
            return;
        };
        // Counted before the gate is asked again: whoever closes the gate and then finds nothing incomplete has missed nothing (D-9).
        opening.incomplete.enter();
        if let Err(reason) = entry.gate.check(entry.transaction) {
            opening.incomplete.leave();
            *page = Some(own);
            appended.result = Err(NotAppended::Refused(reason));
            // The core may have seen the count while it was raised, and must look again.
            appended.ring = self.ring();
            return;
        }
        let promise = Promise::counted(queue.topic_partition.clone(), Arc::clone(opening.incomplete));
        let sizing = Sizing {
            batch_size: opening.batch_size,
            estimate: queue.ratio.estimate(opening.compression),
            ratio: Arc::clone(&queue.ratio),
        };
        let mut open = OpenBatch::new(promise, own, sizing, timestamp, opening.now);
        let first = open.append(record, entry.record_bound, timestamp);
        appended.result = Ok(first.expect("a page has room for the record that it was brought for"));
        let grown_by = open.size();
        // Even a full one: the caller may have another batch to close already. The next append or the core closes it.
        self.open = Some(open);
        self.count(entry, grown_by, appended);
        appended.ring = self.ring();
    }

    /// Moves the open batch out and keeps its place.
    fn keep_place(&mut self) -> Option<Box<OpenBatch>> {
        let open = self.open.take()?;
        let completion = Arc::clone(open.completion());
        self.full.push_back(FullBatch::Closing {
            completion,
            doom: None,
        });
        Some(Box::new(open))
    }

    /// Gives up the place of a batch that was aborted while it was being closed, and returns what it was aborted with.
    pub(super) fn give_up_doomed(&mut self, completion: &Arc<BatchCompletion>) -> Option<BatchFailure> {
        let position = self.full.iter().position(|full| full.is_doomed(completion))?;
        match self.full.remove(position)? {
            FullBatch::Closing { doom, .. } => doom,
            FullBatch::Closed(_) => None,
        }
    }

    pub(super) fn fill_place(&mut self, batch: ClosedBatch) {
        let place = self
            .full
            .iter_mut()
            .find(|full| full.is_kept_for(batch.completion()));
        *place.expect("a place is kept until its batch comes back") = FullBatch::Closed(batch);
    }

    pub(super) fn take_first(&mut self, limit: Option<usize>) -> Result<Taken, NotTaken> {
        let exceeds = |size: usize| limit.is_some_and(|limit| size > limit);
        match self.full.front() {
            Some(FullBatch::Closing { .. }) => return Err(NotTaken::NotThere),
            Some(FullBatch::Closed(batch)) if exceeds(batch.size()) => return Err(NotTaken::TooLarge),
            Some(FullBatch::Closed(_)) => {}
            None => {
                let open = self.open.as_ref().ok_or(NotTaken::NotThere)?;
                if exceeds(open.size()) {
                    return Err(NotTaken::TooLarge);
                }
            }
        }
        match self.full.pop_front() {
            Some(FullBatch::Closed(batch)) => Ok(Taken::Closed(batch)),
            Some(FullBatch::Closing { .. }) => Err(NotTaken::NotThere),
            None => self.open.take().map(Taken::Open).ok_or(NotTaken::NotThere),
        }
    }

    /// Everything. A batch that is being closed stays, and gets `failure` as its outcome when it comes back.
    pub(super) fn take_all(&mut self, failure: &BatchFailure, taken: &mut Vec<Taken>) {
        for full in std::mem::take(&mut self.full) {
            match full {
                FullBatch::Closed(batch) => taken.push(Taken::Closed(batch)),
                FullBatch::Closing { completion, doom } => {
                    let doom = doom.or_else(|| Some(failure.clone()));
                    self.full.push_back(FullBatch::Closing { completion, doom });
                }
            }
        }
        taken.extend(self.open.take().map(Taken::Open));
    }

    pub(super) fn completions(&self) -> impl Iterator<Item = &Arc<BatchCompletion>> {
        let full = self.full.iter().map(FullBatch::completion);
        full.chain(self.open.iter().map(OpenBatch::completion))
    }

    pub(super) fn front(&self) -> Front {
        match (self.full.front(), &self.open) {
            (Some(FullBatch::Closing { .. }), _) => Front::Closing,
            (Some(FullBatch::Closed(batch)), _) => Front::Full {
                created: batch.created(),
            },
            (None, Some(open)) if open.is_full() => Front::Full {
                created: open.created(),
            },
            (None, Some(open)) => Front::Open {
                created: open.created(),
            },
            (None, None) => Front::Empty,
        }
    }

    /// How many batches are queued.
    pub(super) fn length(&self) -> usize {
        self.full.len() + usize::from(self.open.is_some())
    }

    /// a half-full batch defers the switch to another partition.
    fn switching(&self) -> Switching {
        match &self.open {
            Some(open) if !open.is_full() => Switching::Deferred,
            _ => Switching::Allowed,
        }
    }

    pub(super) fn ring(&mut self) -> Ring {
        match std::mem::replace(&mut self.bell, Bell::Rung) {
            Bell::Silent => Ring::Needed,
            Bell::Rung => Ring::NotNeeded,
        }
    }
}

impl FullBatch {
    fn completion(&self) -> &Arc<BatchCompletion> {
        match self {
            FullBatch::Closed(batch) => batch.completion(),
            FullBatch::Closing { completion, .. } => completion,
        }
    }

    fn is_doomed(&self, completion: &Arc<BatchCompletion>) -> bool {
        matches!(self, FullBatch::Closing { doom: Some(_), .. }) && self.is_kept_for(completion)
    }

    fn is_kept_for(&self, completion: &Arc<BatchCompletion>) -> bool {
        matches!(self, FullBatch::Closing { completion: kept, .. } if Arc::ptr_eq(kept, completion))
    }
}
