//! The outcome of a commit behind which the next transaction has begun already. It holds nothing of the producer.

use std::pin::Pin;
use std::task::{Context, Poll};

use kommit_sender::{PendingReply, Reply, SenderGone};
use kommit_txn_manager::Outcome;

use crate::error::{CommitError, DeadProducer, TransactionFailed};
use crate::transactional::Ending;

/// What becomes of a commit that the application did not wait for: a future, given by
/// [`Transaction::commit_and_begin`](crate::Transaction::commit_and_begin).
///
/// It is ready when the coordinator's answer is there, however long that takes, or when the producer is closed. An error says whether the
/// records may be visible. The next transaction is then of no use: it can only be aborted, and none of its records is in a log.
///
/// # Cancel safety
///
/// Dropping it changes nothing: the commit goes on, and the next transaction still begins behind it, or fails with it. It can be awaited on
/// another task, and polled through a reference as often as one likes until it is ready.
#[derive(Debug)]
#[must_use = "whether the transaction was committed is told here"]
pub struct CommitOutcome(PendingReply);

impl CommitOutcome {
    pub(crate) fn new(reply: PendingReply) -> Self {
        Self(reply)
    }
}

impl Future for CommitOutcome {
    type Output = Result<(), TransactionFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(told)
    }
}

fn told(answer: Result<Reply, SenderGone>) -> Result<(), TransactionFailed> {
    let error = match answer {
        Ok(Reply::Transaction(Outcome::Committed)) => return Ok(()),
        Ok(Reply::Transaction(Outcome::MustAbort(error))) => {
            return Err(TransactionFailed::not_committed(&error));
        }
        Ok(Reply::Transaction(Outcome::Dead { error, transaction })) => DeadProducer::new(error, transaction),
        Ok(_) | Err(_) => DeadProducer::closed(Ending::Commit),
    };
    Err(CommitError::Dead(error).give_up())
}
