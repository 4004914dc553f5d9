//! Idempotent records in a row, what their producer knows of each, and whether an independent reader agrees.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kommit::{Delivery, Producer, ProducerConfig, Record, SendError};
use kommit_tests::kafka::{Reading, RealKafka, sequence_faults};

use crate::client::{FOREVER, SENTINEL, put_sentinels_at};

/// So many may wait for their ends at once.
const MOST_WAITING: usize = 200;
/// The pace of a caller that has something else to do as well.
const PACE: Duration = Duration::from_millis(3);

type Outcome = Result<Option<i64>, SendError>;

/// The records that one producer has sent to a topic of its own: numbers, one after the other.
#[derive(Debug)]
pub(crate) struct Records {
    config: ProducerConfig,
    topic: String,
    partitions: i32,
    outcomes: Vec<Outcome>,
}

impl Records {
    pub(crate) fn new(servers: String, topic: &str, partitions: i32) -> Self {
        let config = ProducerConfig::builder().bootstrap_servers(servers).build();
        Self {
            config: config.expect("legal settings"),
            topic: topic.to_owned(),
            partitions,
            outcomes: Vec::new(),
        }
    }

    /// How many were sent.
    pub(crate) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Sends until it is told to stop, and tells all the time how many are acknowledged.
    pub(crate) async fn send_until(&mut self, stop: impl Fn() -> bool, acknowledged: &Cell<usize>) {
        let producer = Producer::new(self.config.clone()).expect("no transactional id");
        let mut waiting: VecDeque<Delivery> = VecDeque::new();
        for number in 0_usize.. {
            let is_over = stop();
            let bound = if is_over { 0 } else { MOST_WAITING };
            while waiting.len() > bound {
                let oldest = waiting.pop_front().expect("there is more than none");
                let outcome = oldest.await.map(|written| written.offset.map(|offset| offset.0));
                acknowledged.set(acknowledged.get() + usize::from(outcome.is_ok()));
                self.outcomes.push(outcome);
            }
            if is_over {
                break;
            }
            let value = number.to_string();
            let record = Record::new(&self.topic)
                .partition(number as i32 % self.partitions)
                .value(&value);
            waiting.push_back(producer.send(record).await.expect("room in time"));
            tokio::time::sleep(PACE).await;
        }
        producer.close(FOREVER).await.expect("nothing is left");
    }

    /// What is acknowledged is there once, where it was said to be, and in order; what is refused for certain is not there.
    pub(crate) async fn check(&self, kafka: &RealKafka) {
        let topic = &self.topic;
        let all = put_sentinels_at(kafka.bootstrap_servers(), topic, 0..self.partitions).await;
        let reading = Reading::committed(topic).at_most(all);
        let mut seen: BTreeMap<usize, i64> = BTreeMap::new();
        let mut last = vec![None; self.partitions as usize];
        let mut sentinels = 0;
        for record in kafka.tools().console_consume(&reading).await {
            if record.value == SENTINEL {
                sentinels += 1;
                continue;
            }
            let number: usize = record.value.parse().expect("a number");
            let before = last[record.partition as usize].replace(number);
            assert!(
                before < Some(number),
                "{topic}-{}: {number} behind {before:?}",
                record.partition
            );
            seen.insert(number, record.offset);
        }
        assert_eq!(sentinels, self.partitions, "every partition is read to its end");
        for (number, outcome) in self.outcomes.iter().enumerate() {
            let found = seen.remove(&number);
            let is_right = match outcome {
                Ok(Some(offset)) => found == Some(*offset),
                Ok(None) => found.is_some(),
                Err(error) => found.is_none() || error.may_be_written(),
            };
            assert!(
                is_right,
                "record {number} is {outcome:?}, and was found at {found:?}"
            );
        }
        assert!(seen.is_empty(), "records that nobody sent: {seen:?}");
        for partition in 0..self.partitions {
            let batches = kafka.batches(topic, partition).await;
            assert_eq!(sequence_faults(&batches), [""; 0]);
        }
    }
}
