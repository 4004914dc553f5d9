//! Time from begin to the end of commit, one transaction after the other.

use kommit::{CommitError, ProducerConfig, Record, TransactionalProducer};

use super::{Baseline, CLOSE_LIMIT, Seen, Workload};
use crate::clock;
use crate::failure::Failure;
use crate::producing::{aborted, told};

/// Sends all records in transactions and commits each. The first transaction, one record per partition, opens the connections and is not counted.
pub(super) async fn measure(
    config: ProducerConfig,
    workload: &Workload,
) -> Result<(Baseline, Seen), Failure> {
    let producer = TransactionalProducer::connect(config).await;
    let mut producer = producer.map_err(|error| told("obtaining a producer id", &error))?;
    let record = Record::new(&workload.topic.name).value(&workload.payload);
    let first = workload
        .topic
        .partitions
        .iter()
        .map(|(partition, _)| record.partition(partition.0));
    transact(&mut producer, first, &mut Seen::nothing()).await?;
    let baseline = Baseline::now();
    let mut seen = Seen::nothing();
    let mut left = workload.records;
    while left > 0 {
        let count = left.min(workload.txn_size);
        transact(
            &mut producer,
            std::iter::repeat_n(record, usize::try_from(count).unwrap_or(usize::MAX)),
            &mut seen,
        )
        .await?;
        left -= count;
    }
    // Every transaction has its outcome: a close can report nothing more.
    let _ = producer.close(CLOSE_LIMIT).await;
    Ok((baseline, seen))
}

/// One transaction. A commit that succeeds has awaited every delivery.
async fn transact<'r>(
    producer: &mut TransactionalProducer,
    records: impl ExactSizeIterator<Item = Record<'r>>,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let count = records.len() as u64;
    let begun = clock::now();
    let transaction = producer
        .begin()
        .await
        .map_err(|error| told("beginning a transaction", &error))?;
    let mut refusal = None;
    for record in records {
        if let Err(error) = transaction.send(record).await {
            refusal = Some(error);
            break;
        }
    }
    if let Some(error) = refusal {
        seen.fail(count, &error);
        return aborted(transaction.abort().await);
    }
    match transaction.commit().await {
        Ok(()) => {
            seen.acked += count;
            seen.txns += 1;
            seen.times.record(clock::now() - begun);
            Ok(())
        }
        Err(CommitError::MustAbort(must_abort)) => {
            seen.fail(count, must_abort.error());
            aborted(must_abort.abort().await)
        }
        Err(error) => Err(told("committing", &error)),
    }
}
