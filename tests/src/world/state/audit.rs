//! The promises of a producer, checked against everything that happened in a world: what was written comes off the wire, what is stored out
//! of the broker's logs, what was told from the outcomes. Uses no table and no state of the client.

use std::collections::{BTreeMap, BTreeSet};

use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::TopicPartition;
use kommit_txn_manager::TransactionFate;

use super::super::frame::{SentBatch, SentFrame, whole_values_of};
use super::super::outcome::{CallOutcome, RecordOutcome};
use super::State;
use super::producers::Record;

/// The answers that prove that an attempt wrote nothing (docs/spec/hazards.md).
const REFUSALS: [ErrorCode; 14] = [
    ErrorCode::MessageTooLarge,
    ErrorCode::RecordListTooLarge,
    ErrorCode::InvalidRecord,
    ErrorCode::CorruptMessage,
    ErrorCode::InvalidTimestamp,
    ErrorCode::UnsupportedCompressionType,
    ErrorCode::TopicAuthorizationFailed,
    ErrorCode::InvalidRequiredAcks,
    ErrorCode::NotEnoughReplicas,
    ErrorCode::OutOfOrderSequenceNumber,
    ErrorCode::InvalidProducerEpoch,
    ErrorCode::InvalidTxnState,
    ErrorCode::ConcurrentTransactions,
    ErrorCode::UnknownTopicOrPartition,
];
/// The answers to a commit that decide nothing and leave the abort.
const COMMIT_REFUSALS: [&str; 2] = ["TRANSACTION_ABORTABLE", "UNKNOWN_PRODUCER_ID"];
/// The highest version of a produce request in a transaction of version 1, and of the request that ends it.
const LAST_OF_V1: (i16, i16) = (11, 4);

/// A record on the wire: producer id, epoch, partition, sequence.
type Name = (i64, i16, String, i64);

/// What a producer said about one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Committed,
    NotCommitted,
    InDoubt,
}

/// What is stored in a partition.
struct Stored {
    /// The values that a read_committed reader sees, with their offsets.
    visible: Vec<(i64, String)>,
}

impl Stored {
    fn copies<'a>(&'a self, value: &'a str) -> impl Iterator<Item = i64> + 'a {
        let same = move |entry: &&(i64, String)| entry.1 == value;
        self.visible.iter().filter(same).map(|(offset, _)| *offset)
    }
}

impl State {
    /// The promises that are broken, one line each. The world must have come to rest.
    pub(crate) fn breaches(&self) -> Vec<String> {
        let stored = self.stored();
        let mut breaches = Vec::new();
        self.check_names(&mut breaches);
        self.check_ends(&mut breaches);
        self.check_places(&mut breaches);
        self.check_epochs_and_versions(&mut breaches);
        self.check_transactions(&stored, &mut breaches);
        self.check_records(&stored, &mut breaches);
        self.check_order(&stored, &mut breaches);
        self.check_rest(&mut breaches);
        breaches
    }

    fn stored(&self) -> BTreeMap<TopicPartition, Stored> {
        let mut all = BTreeMap::new();
        for (topic, count) in &self.topics {
            for partition in 0..i32::try_from(*count).expect("few partitions") {
                let batches = self.committed_batches(topic, partition);
                let visible = batches.iter().flat_map(|batch| {
                    let values = whole_values_of(&batch.bytes);
                    (batch.base_offset.0..).zip(values)
                });
                let visible = visible.collect();
                all.insert(TopicPartition::new(topic.as_str(), partition), Stored { visible });
            }
        }
        all
    }

    /// I1, I3: whatever may be in a log has one name, and no other record has it.
    fn check_names(&self, breaches: &mut Vec<String>) {
        let mut values: BTreeMap<Name, BTreeSet<&str>> = BTreeMap::new();
        let mut names: BTreeMap<(&str, &str), BTreeSet<Name>> = BTreeMap::new();
        for batch in self.sent.iter().flat_map(|frame| &frame.batches) {
            if batch.answer.is_some_and(|code| REFUSALS.contains(&code)) {
                continue;
            }
            for (name, value) in named(batch) {
                values.entry(name.clone()).or_default().insert(value);
                names.entry((&batch.partition, value)).or_default().insert(name);
            }
        }
        for (name, of_name) in values.iter().filter(|(_, of_name)| of_name.len() > 1) {
            breaches.push(format!("I1: {name:?} was given to {of_name:?}"));
        }
        for (value, of_value) in names.iter().filter(|(_, of_value)| of_value.len() > 1) {
            breaches.push(format!("I3: {value:?} was sent as {of_value:?}"));
        }
    }

    /// I4, I5: the end goes last and is decided once.
    fn check_ends(&self, breaches: &mut Vec<String>) {
        let mut decided: BTreeMap<(usize, usize), Vec<&SentFrame>> = BTreeMap::new();
        for frame in self.sent.iter().filter(|frame| frame.api == ApiKey::EndTxn) {
            if !frame.beside.is_empty() {
                let (at, beside) = (frame.at, &frame.beside);
                breaches.push(format!("I4: {} at {at:?} went beside {beside:?}", frame.summary));
            }
            decided
                .entry((frame.who, frame.transactions))
                .or_default()
                .push(frame);
        }
        for (transaction, frames) in decided {
            let (commits, aborts): (Vec<&SentFrame>, Vec<&SentFrame>) = frames
                .iter()
                .partition(|frame| frame.summary.starts_with("commit"));
            let refused = |frame: &&SentFrame| {
                let answer = frame.answer.as_deref().unwrap_or_default();
                COMMIT_REFUSALS.iter().any(|code| answer.starts_with(code))
            };
            if !aborts.is_empty() && !commits.iter().all(refused) {
                breaches.push(format!("I5: {transaction:?} was committed and aborted"));
            }
        }
    }

    /// I4: a record goes out in its own transaction, not before it and not behind it.
    fn check_places(&self, breaches: &mut Vec<String>) {
        let own = self.records.iter().filter_map(|record| {
            let name = (record.who, record.place.to_string(), record.value.as_str());
            Some((name, record.transaction? + 1))
        });
        let own: BTreeMap<_, usize> = own.collect();
        for frame in &self.sent {
            for batch in &frame.batches {
                for value in &batch.values {
                    let of = own.get(&(frame.who, batch.partition.clone(), value.as_str()));
                    if of.is_some_and(|of| *of != frame.transactions) {
                        let (at, now) = (frame.at, frame.transactions);
                        breaches.push(format!(
                            "I4: {value} of transaction {of:?} was sent at {at:?} in {now}"
                        ));
                    }
                }
            }
        }
    }

    /// R6: a transaction with an unanswered request is followed by another epoch. R9: only the first identity is a new one. R10: one
    /// version in one transaction.
    fn check_epochs_and_versions(&self, breaches: &mut Vec<String>) {
        for (who, producer) in self.producers.iter().enumerate() {
            let frames: Vec<&SentFrame> = self.sent.iter().filter(|frame| frame.who == who).collect();
            for transaction in 1..=producer.transactions.len() {
                let of = |number: usize| frames.iter().filter(move |it| it.transactions == number);
                let identities = |number: usize| -> BTreeSet<(Option<i64>, Option<i16>)> {
                    let batches = of(number).flat_map(|frame| &frame.batches);
                    batches.map(|batch| (batch.producer_id, batch.epoch)).collect()
                };
                let is_unanswered = |it: &&SentFrame| it.answer.is_none() && is_part(it.api);
                let shared = identities(transaction)
                    .intersection(&identities(transaction + 1))
                    .count();
                if of(transaction).any(is_unanswered) && shared > 0 {
                    breaches.push(format!(
                        "R6: the epoch outlived transaction {transaction} of {who}"
                    ));
                }
                let is_v1 = of(transaction).filter_map(|it| match it.api {
                    ApiKey::Produce => Some(it.version <= LAST_OF_V1.0),
                    ApiKey::EndTxn => Some(it.version <= LAST_OF_V1.1),
                    _ => None,
                });
                if is_v1.collect::<BTreeSet<bool>>().len() > 1 {
                    breaches.push(format!("R10: two versions in transaction {transaction} of {who}"));
                }
            }
            // H03: as the last act of a dying instance it may, and nothing of the transaction protocol follows.
            let acts = frames
                .iter()
                .filter(|it| is_part(it.api) || it.api == ApiKey::InitProducerId);
            let lives_on = acts.skip_while(|it| !is_takeover(it)).any(|it| !is_takeover(it));
            if lives_on {
                breaches.push(format!("R9: {who} took its own identity over"));
            }
        }
    }

    /// I7 … I9: committed means visible once, all of it; aborted means never; in doubt means all or nothing.
    fn check_transactions(&self, stored: &BTreeMap<TopicPartition, Stored>, breaches: &mut Vec<String>) {
        for (who, producer) in self.producers.iter().enumerate() {
            for transaction in 0..producer.transactions.len() {
                let told = self.told(who, transaction);
                let copies: Vec<(&str, usize)> = self
                    .records
                    .iter()
                    .filter(|record| record.who == who && record.transaction == Some(transaction))
                    .filter(|record| record.is_accepted())
                    .map(|record| {
                        (
                            record.value.as_str(),
                            stored[&record.place].copies(&record.value).count(),
                        )
                    })
                    .collect();
                let all_once = copies.iter().all(|(_, count)| *count == 1);
                let none = copies.iter().all(|(_, count)| *count == 0);
                let holds = match told {
                    Told::Committed => all_once,
                    Told::NotCommitted => none,
                    Told::InDoubt => all_once || none,
                };
                if !holds {
                    breaches.push(format!("I7-I9: told {told:?}, and visible are {copies:?}"));
                }
            }
        }
    }

    fn told(&self, who: usize, transaction: usize) -> Told {
        let calls = &self.producers[who].transactions[transaction];
        let outcome = |ticket: &_| self.call_outcome(who, *ticket);
        let commits: Vec<CallOutcome> = calls.commits.iter().map(outcome).collect();
        let in_doubt = |it: &CallOutcome| {
            matches!(
                it,
                CallOutcome::Dead(_, TransactionFate::InDoubt)
                    | CallOutcome::Waiting
                    | CallOutcome::SenderGone
            )
        };
        if commits.contains(&CallOutcome::Committed) {
            Told::Committed
        } else if commits.iter().any(in_doubt) {
            Told::InDoubt
        } else {
            Told::NotCommitted
        }
    }

    /// I10, I13: every record is told once what became of it, and it is true.
    fn check_records(&self, stored: &BTreeMap<TopicPartition, Stored>, breaches: &mut Vec<String>) {
        for (number, record) in self.records.iter().enumerate() {
            let copies: Vec<i64> = stored[&record.place].copies(&record.value).collect();
            let outcome = self.record_outcome(number);
            let holds = match &outcome {
                RecordOutcome::Waiting => false,
                _ if record.transaction.is_some() => copies.len() <= 1,
                RecordOutcome::Written(Some(offset)) => copies == [*offset],
                RecordOutcome::Written(None) => copies.len() == 1,
                RecordOutcome::Failed(error) if error.may_be_written() => copies.len() <= 1,
                RecordOutcome::Failed(_) | RecordOutcome::Refused(_) => copies.is_empty(),
            };
            if !holds {
                breaches.push(format!(
                    "I10, I13: {} is stored at {copies:?}, and told was {outcome:?}",
                    record.value
                ));
            }
        }
    }

    /// I11, I12: the records of a producer are in their partition, in the order in which they were sent.
    fn check_order(&self, stored: &BTreeMap<TopicPartition, Stored>, breaches: &mut Vec<String>) {
        for (place, partition) in stored {
            for who in 0..self.producers.len() {
                let is_own = |record: &&Record| record.who == who && record.place == *place;
                let own = self.records.iter().filter(is_own);
                let offsets: Vec<i64> = own.flat_map(|record| partition.copies(&record.value)).collect();
                if !offsets.is_sorted() {
                    breaches.push(format!("I11: the records of {who} in {place} are at {offsets:?}"));
                }
            }
            let known: BTreeSet<&str> = self
                .records
                .iter()
                .filter(|record| record.place == *place)
                .map(|record| record.value.as_str())
                .collect();
            for (offset, value) in &partition.visible {
                if !known.contains(value.as_str()) {
                    breaches.push(format!(
                        "I12: nobody sent {value} to {place}, where it is at {offset}"
                    ));
                }
            }
        }
    }

    /// I18: nothing is left open.
    fn check_rest(&self, breaches: &mut Vec<String>) {
        for (topic, count) in &self.topics {
            for partition in 0..i32::try_from(*count).expect("few partitions") {
                let place = TopicPartition::new(topic.as_str(), partition);
                let marks = self.broker.watermarks(&place).expect("a partition that exists");
                if marks.last_stable_offset != marks.log_end {
                    breaches.push(format!("I18: a transaction is open in {place}: {marks:?}"));
                }
            }
        }
    }
}

/// Whether a producer that has had transactions asks for a new identity.
fn is_takeover(frame: &SentFrame) -> bool {
    frame.api == ApiKey::InitProducerId && frame.summary == "new" && frame.transactions > 0
}

fn is_part(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::Produce
            | ApiKey::AddPartitionsToTxn
            | ApiKey::AddOffsetsToTxn
            | ApiKey::TxnOffsetCommit
            | ApiKey::EndTxn
    )
}

/// The name of each record of a batch; none without an identity.
fn named(batch: &SentBatch) -> impl Iterator<Item = (Name, &str)> {
    const SEQUENCES: i64 = 1 << 31;
    let identity = batch.producer_id.zip(batch.epoch).zip(batch.base_sequence);
    let values = batch.values.iter().filter(move |_| identity.is_some());
    values.enumerate().filter_map(move |(place, value)| {
        let ((id, epoch), base) = identity?;
        let sequence = (i64::from(base) + i64::try_from(place).ok()?) % SEQUENCES;
        Some(((id, epoch, batch.partition.clone(), sequence), value.as_str()))
    })
}
