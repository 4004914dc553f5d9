//! Flushes that wait: each holds the batches that were incomplete when it began, and nothing that came later.

use std::collections::VecDeque;

use kommit_accumulator::BatchWatch;
use kommit_txn_manager::Ticket;

/// One call of `flush`.
#[derive(Debug)]
struct Flush {
    ticket: Ticket,
    waiting: VecDeque<BatchWatch>,
}

/// All calls of `flush` that have not been answered.
#[derive(Debug, Default)]
pub(crate) struct Flushes(Vec<Flush>);

impl Flushes {
    /// Waits for `batches` on behalf of `ticket`.
    pub(crate) fn begin(&mut self, ticket: Ticket, batches: impl IntoIterator<Item = BatchWatch>) {
        self.0.push(Flush {
            ticket,
            waiting: batches.into_iter().collect(),
        });
    }

    /// Takes out the flushes whose batches all have their outcome. Each batch is looked at until it is done and never again.
    pub(crate) fn finished(&mut self) -> Vec<Ticket> {
        let mut finished = Vec::new();
        self.0.retain_mut(|flush| {
            while flush.waiting.front().is_some_and(BatchWatch::is_done) {
                flush.waiting.pop_front();
            }
            let done = flush.waiting.is_empty();
            if done {
                finished.push(flush.ticket);
            }
            !done
        });
        finished
    }
}
