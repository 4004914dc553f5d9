//! Time from begin to the end of commit, one transaction after the other.

use kommit::{CommitError, ProducerConfig, Record, Topic, TransactionalProducer};

use super::workload::Workload;
use super::{Baseline, CLOSE_LIMIT, Seen, txn_ahead};
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
    let topic = producer.topic(&workload.topic.name).await;
    let topic = topic.map_err(|error| told("looking for the topic", &error))?;
    let record = Record::to(&topic);
    let partitions = workload.topic.partitions.iter();
    let first = partitions.map(|(partition, _)| workload.fill(record, 0).partition(partition.0));
    transact(&mut producer, first, &mut Seen::nothing()).await?;
    let baseline = Baseline::now();
    let mut seen = Seen::nothing();
    if workload.commit_and_begin {
        txn_ahead::transact_all(&mut producer, &topic, workload, &mut seen).await?;
    } else {
        transact_all(&mut producer, &topic, workload, &mut seen).await?;
    }
    // Every transaction has its outcome: a close can report nothing more.
    let _ = producer.close(CLOSE_LIMIT).await;
    Ok((baseline, seen))
}

async fn transact_all(
    producer: &mut TransactionalProducer,
    topic: &Topic,
    workload: &Workload,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let mut next = 0;
    while next < workload.records {
        let end = workload.records.min(next + workload.txn_size);
        let records = (next..end).map(|index| workload.fill(Record::to(topic), index));
        transact(producer, records, seen).await?;
        next = end;
    }
    Ok(())
}

/// One transaction. A commit that succeeds has awaited every delivery.
async fn transact<'r>(
    producer: &mut TransactionalProducer,
    records: impl Iterator<Item = Record<'r>>,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let begun = clock::now();
    let transaction = producer
        .begin()
        .await
        .map_err(|error| told("beginning a transaction", &error))?;
    let mut count = 0;
    for record in records {
        count += 1;
        if let Err(error) = transaction.send(record).await {
            seen.fail(count, &error);
            return aborted(transaction.abort().await);
        }
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
