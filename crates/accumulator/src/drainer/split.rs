//! A batch that was too large goes back into its queue in parts (A-74 … A-79).

use std::sync::Arc;

use kommit_protocol::time::Instant;

use super::Drainer;
use super::lane::{Retry, Waiting};
use crate::completion::{BatchOutcome, Parts, Promise};
use crate::split::{Part, Split, SplitNumber};
use crate::stamped::{Origin, Stamp, StampedBatch};

impl Drainer {
    /// Plans in which parts a batch can be sent that the broker found too large. The batch is drained still; nothing has happened to
    /// it until [`Drainer::requeue_parts`].
    ///
    /// Only for a batch of several records of which no attempt may have been written (H27).
    ///
    /// # Errors
    ///
    /// The batch itself when its bytes cannot be read, which is not its fault: the caller ends it.
    pub fn plan_split(&self, batch: StampedBatch) -> Result<Split, Box<StampedBatch>> {
        Split::plan(batch, self.shared.config.batch_size)
    }

    /// Puts the parts of a batch into its place, with their stamps, in order; the batch itself ends without anybody noticing (A-76 … A-78).
    /// A split is no attempt and waits for no backoff. The next batches of the topic are sized as if compression gained nothing.
    ///
    /// # Errors
    ///
    /// The plan, untouched, when there is not one stamp for each part.
    pub fn requeue_parts(&mut self, split: Split, stamps: &[Stamp]) -> Result<(), Box<Split>> {
        if stamps.len() != split.cuts.len() || stamps.is_empty() {
            return Err(Box::new(split));
        }
        let number = self.number_of(&split.whole);
        let Split { whole, cuts } = split;
        let (partition, created, base_timestamp) =
            (whole.partition(), whole.created(), whole.base_timestamp());
        let incomplete = Arc::clone(&self.shared.incomplete);
        let topic_partition = whole.topic_partition().clone();
        let mut parts: Vec<Part> = cuts
            .into_iter()
            .zip(stamps)
            .map(|(cut, stamp)| {
                // Before the whole leaves the incomplete set, so that it is never empty in between.
                incomplete.enter();
                Part {
                    promise: Promise::counted(topic_partition.clone(), Arc::clone(&incomplete)),
                    partition,
                    stamp: *stamp,
                    created,
                    base_timestamp,
                    cut,
                    split: number,
                    source: None,
                }
            })
            .collect();
        let completions = parts
            .iter()
            .map(|part| (part.cut.records, Arc::clone(part.completion())));
        let outcome = BatchOutcome::Split(Parts::new(completions));
        let lane = self.lane(partition);
        lane.queue.ratio().expect_no_gain();
        lane.forget_in_flight(&whole);
        whole.settle(outcome);
        if let Some(first) = parts.first_mut() {
            first.source = Some(whole.into_source());
        }
        // from the last to the first, so that without sequences the first part ends at the head, too.
        for part in parts.into_iter().rev() {
            lane.insert_retry(Retry {
                batch: Waiting::Part(part),
                due: Instant::ORIGIN,
            });
        }
        self.rearm(partition);
        Ok(())
    }

    /// Parts of a part belong to the same split: they share one page.
    fn number_of(&mut self, whole: &StampedBatch) -> SplitNumber {
        match whole.origin() {
            Origin::Part(split) => split,
            Origin::Appended => {
                self.splits += 1;
                SplitNumber(self.splits)
            }
        }
    }
}
