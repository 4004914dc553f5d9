//! Transactions in a row, what their producer knows of each, and whether an independent reader agrees.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use kommit::{
    AbortError, CommitError, ProducerConfig, Record, Transaction, TransactionFate, TransactionalProducer,
};
use kommit_tests::kafka::{Reading, Tools};
use kommit_tests::proxy::Draws;

use crate::client::{FOREVER, SENTINEL, put_sentinels_at};
use crate::stopwatch::Stopwatch;

/// How a transaction ended, as far as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Committed,
    NotCommitted,
    Unknown,
}

/// Each transaction has so many records.
pub(crate) const RECORDS_EACH: usize = 30;

/// The transactions that one transactional id has made in a topic of its own.
#[derive(Debug)]
pub(crate) struct Ledger {
    config: ProducerConfig,
    topic: String,
    partitions: i32,
    known: Vec<Known>,
    /// How often a dead producer was replaced.
    pub(crate) replaced: usize,
}

impl Ledger {
    pub(crate) fn new(config: ProducerConfig, topic: &str, partitions: i32) -> Self {
        Self {
            config,
            topic: topic.to_owned(),
            partitions,
            known: Vec::new(),
            replaced: 0,
        }
    }

    /// How many transactions it has.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// How many of them ended so.
    pub(crate) fn count(&self, end: Known) -> usize {
        self.known.iter().filter(|known| **known == end).count()
    }

    /// A producer for this ledger, as soon as there is a coordinator.
    pub(crate) async fn connect(&self) -> TransactionalProducer {
        let start = Stopwatch::start();
        loop {
            match TransactionalProducer::connect(self.config.clone()).await {
                Ok(producer) => return producer,
                Err(error) => assert!(start.elapsed() < FOREVER, "no id: {error}"),
            }
        }
    }

    /// Makes transactions until it is told to stop; a dead producer is replaced.
    pub(crate) async fn run_until(&mut self, mut stop: impl FnMut(&Self) -> bool, draws: &mut Draws) {
        let mut producer = self.connect().await;
        while !stop(self) {
            if self.run_one(&mut producer, draws).await == Next::NewProducer {
                self.replaced += 1;
                producer = self.connect().await;
            }
        }
        producer.close(FOREVER).await.expect("nothing is open");
    }

    /// One transaction, committed or, each fourth time, aborted.
    async fn run_one(&mut self, producer: &mut TransactionalProducer, draws: &mut Draws) -> Next {
        let number = self.known.len();
        let Some(transaction) = begun(producer).await else {
            return Next::NewProducer;
        };
        let mut is_whole = true;
        for record in 0..RECORDS_EACH {
            let value = format!("{number} {record}");
            let record = Record::new(&self.topic)
                .partition(record as i32 % self.partitions)
                .value(&value);
            is_whole &= transaction.send(record).await.is_ok();
        }
        let (end, next) = if draws.below(0..4) == 0 {
            (Known::NotCommitted, after_abort(transaction.abort().await).await)
        } else {
            committed(transaction.commit().await).await
        };
        assert!(
            is_whole || end != Known::Committed,
            "transaction {number} lacks a record"
        );
        self.known.push(end);
        next
    }

    /// A reader of Kafka's finds what is committed once and whole, and nothing of what is not.
    pub(crate) async fn check(&self, tools: &Tools, servers: String) {
        let (committed, unknown) = (self.count(Known::Committed), self.count(Known::Unknown));
        println!(
            "{}: {committed} of {} committed, {unknown} not known, {} producers replaced",
            self.topic,
            self.known.len(),
            self.replaced
        );
        put_sentinels_at(servers, &self.topic, 0..self.partitions).await;
        let reading = Reading::committed(&self.topic);
        let reading = match unknown {
            0 => reading.at_most(committed * RECORDS_EACH + self.partitions as usize),
            _ => reading,
        };
        let mut seen = self.seen(tools, &reading).await;
        for (number, end) in self.known.iter().enumerate() {
            let records = seen.remove(&number).unwrap_or_default();
            let is_whole = records.iter().copied().eq(0..RECORDS_EACH);
            let is_right = match end {
                Known::Committed => is_whole,
                Known::NotCommitted => records.is_empty(),
                Known::Unknown => is_whole || records.is_empty(),
            };
            assert!(is_right, "transaction {number} is {end:?}, but has {records:?}");
        }
        assert!(seen.is_empty(), "transactions that nobody made: {seen:?}");
    }

    /// The numbers of the records that a reader finds of each transaction, in ascending order. Each partition is read to its end.
    async fn seen(&self, tools: &Tools, reading: &Reading) -> BTreeMap<usize, Vec<usize>> {
        let mut seen: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut sentinels = 0;
        for record in tools.console_consume(reading).await {
            if record.value == SENTINEL {
                sentinels += 1;
                continue;
            }
            let (transaction, record) = record.value.split_once(' ').expect("two numbers");
            let number = |text: &str| text.parse::<usize>().expect("a number");
            seen.entry(number(transaction)).or_default().push(number(record));
        }
        assert_eq!(sentinels, self.partitions, "every partition is read to its end");
        seen.values_mut().for_each(|records| records.sort_unstable());
        seen
    }
}

/// Who makes the next transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    SameProducer,
    NewProducer,
}

/// A new transaction, for which the end of the one before may have to be waited for; none when the producer is dead.
pub(crate) async fn begun(producer: &mut TransactionalProducer) -> Option<Transaction<'_>> {
    let start = Stopwatch::start();
    while let Err(error) = producer.begin().await.map(drop) {
        if error.is_fatal() {
            return None;
        }
        assert!(start.elapsed() < FOREVER, "no transaction begins: {error}");
    }
    producer.begin().await.ok()
}

/// Resolves what is in doubt, and aborts what must be aborted.
pub(crate) async fn committed(mut outcome: Result<(), CommitError<'_>>) -> (Known, Next) {
    let start = Stopwatch::start();
    while start.elapsed() < FOREVER {
        match outcome {
            Ok(()) => return (Known::Committed, Next::SameProducer),
            Err(CommitError::InDoubt(in_doubt)) => outcome = in_doubt.resolve().await,
            Err(CommitError::MustAbort(failed)) => {
                return (Known::NotCommitted, after_abort(failed.abort().await).await);
            }
            Err(CommitError::Dead(dead)) => {
                println!("dead: {dead}");
                let known = match dead.transaction() {
                    TransactionFate::InDoubt => Known::Unknown,
                    _ => Known::NotCommitted,
                };
                return (known, Next::NewProducer);
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("in doubt for {} s", FOREVER.as_secs());
}

pub(crate) async fn after_abort(mut outcome: Result<(), AbortError<'_>>) -> Next {
    let start = Stopwatch::start();
    while start.elapsed() < FOREVER {
        match outcome {
            Ok(()) => return Next::SameProducer,
            Err(AbortError::Dead(dead)) => {
                println!("dead: {dead}");
                return Next::NewProducer;
            }
            Err(AbortError::Unfinished(unfinished)) => outcome = unfinished.wait().await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no abort for {} s", FOREVER.as_secs());
}

/// Waits until a count that another future keeps is by more than this larger than now.
pub(crate) async fn more_than(count: &Cell<usize>, more: usize) {
    let enough = count.get() + more;
    while count.get() <= enough {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
