//! Time from begin to the outcome of the commit, where each transaction begins behind the commit of the one before.

use std::ops::Range;

use kommit::{CommitOutcome, Record, Topic, Transaction, TransactionalProducer};

use super::Seen;
use super::workload::Workload;
use crate::clock::{self, Instant};
use crate::failure::Failure;
use crate::producing::told;

/// A transaction whose commit is on its way.
struct Committing {
    begun: Instant,
    records: u64,
    outcome: CommitOutcome,
}

/// Sends all records, and commits each transaction while the next one is filled. An error ends the measurement.
pub(super) async fn transact_all(
    producer: &mut TransactionalProducer,
    topic: &Topic,
    workload: &Workload,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let mut transaction = producer
        .begin()
        .await
        .map_err(|error| told("beginning a transaction", &error))?;
    let mut before = None;
    let (mut begun, mut next) = (clock::now(), 0);
    while next < workload.records {
        let end = workload.records.min(next + workload.txn_size);
        // A commit is on its way only when the one before has its outcome: to await both costs no time.
        let (told, gone_on) = tokio::join!(
            outcome(before.take(), seen),
            send_and_go_on(transaction, topic, workload, next..end)
        );
        told?;
        let (after, outcome) = gone_on?;
        before = Some(Committing {
            begun,
            records: end - next,
            outcome,
        });
        (transaction, begun, next) = (after, clock::now(), end);
    }
    outcome(before, seen).await?;
    // The last transaction is empty.
    transaction
        .commit()
        .await
        .map_err(|error| told("committing", &error))
}

async fn send_and_go_on<'p>(
    transaction: Transaction<'p>,
    topic: &Topic,
    workload: &Workload,
    records: Range<u64>,
) -> Result<(Transaction<'p>, CommitOutcome), Failure> {
    for index in records {
        // The outcome of the commit tells what would become of a delivery.
        if let Err(error) = transaction.send(workload.fill(Record::to(topic), index)).await {
            return Err(told("sending", &error));
        }
    }
    let gone_on = transaction.commit_and_begin().await;
    gone_on.map_err(|error| told("committing", &error))
}

async fn outcome(committing: Option<Committing>, seen: &mut Seen) -> Result<(), Failure> {
    let Some(Committing {
        begun,
        records,
        outcome,
    }) = committing
    else {
        return Ok(());
    };
    outcome.await.map_err(|error| told("committing", &error))?;
    seen.acked += records;
    seen.txns += 1;
    seen.times.record(clock::now() - begun);
    Ok(())
}
