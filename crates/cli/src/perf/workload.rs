//! What is sent where, and how much of it: the same for every run, so that runs can be compared.

use kommit::Record;

use super::DEFAULT_LATENCY_RATE;
use crate::args::{PerfArguments, PerfMode};
use crate::cluster::Topic;
use crate::properties::Properties;

/// What all drivers send.
pub(crate) struct Workload {
    pub(super) topic: Topic,
    pub(super) payload: Vec<u8>,
    /// The keys, which records have in turn; none for records without a key.
    pub(super) keys: Vec<String>,
    pub(super) records: u64,
    /// Tasks that share the records and the producer.
    pub(super) tasks: u32,
    /// Records per second; none for no limit.
    pub(super) rate: Option<u64>,
    /// Records in a transaction.
    pub(super) txn_size: u64,
    /// Whether a transaction begins while the commit of the one before is on its way.
    pub(super) commit_and_begin: bool,
    /// `buffer.memory`, which bounds what can be unacknowledged at once.
    pub(super) buffer_memory: u64,
}

impl Workload {
    /// What the command line asks for.
    pub(super) fn of(arguments: &PerfArguments, properties: &Properties, topic: Topic) -> Self {
        let default_rate = match arguments.mode {
            PerfMode::Latency => DEFAULT_LATENCY_RATE,
            PerfMode::Throughput | PerfMode::Txn => 0,
        };
        Self {
            topic,
            payload: payload(arguments.size),
            keys: (0..arguments.keys)
                .map(|number| format!("{number:016}"))
                .collect(),
            records: arguments.records,
            tasks: arguments.tasks.get(),
            rate: Some(arguments.rate.unwrap_or(default_rate)).filter(|rate| *rate > 0),
            txn_size: u64::from(arguments.txn_size.get()),
            commit_and_begin: arguments.commit_and_begin,
            buffer_memory: properties.number("buffer.memory", 32 * 1024 * 1024),
        }
    }

    /// Gives a record for the topic its value, and the key of its number.
    pub(super) fn fill<'r>(&'r self, record: Record<'r>, number: u64) -> Record<'r> {
        let record = record.value(&self.payload);
        if self.keys.is_empty() {
            return record;
        }
        let turn = number % self.keys.len() as u64;
        record.key(&self.keys[usize::try_from(turn).expect("below a length")])
    }
}

/// Letters in no order, as Kafka's own tool sends: they compress, but not to nothing.
fn payload(size: u32) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'A' + (state % 26) as u8
    });
    letters
        .take(usize::try_from(size).unwrap_or(usize::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    #[test]
    fn the_payload_is_letters_and_always_the_same() {
        assert_eq!(payload(100), payload(100));
        assert!(payload(1000).iter().all(u8::is_ascii_uppercase));
        assert!(payload(0).is_empty());
    }

    fn workload(line: &[&str]) -> Workload {
        let line = ["kommit", "perf", "--topic", "t"].iter().chain(line);
        let arguments = Arguments::try_parse_from(line).expect("legal");
        let Command::Perf(arguments) = arguments.command else {
            panic!("perf was asked for")
        };
        let properties = Properties::collect(&arguments.producer, &[]).expect("no settings");
        let topic = Topic {
            name: "t".to_owned(),
            partitions: Vec::new(),
        };
        Workload::of(&arguments, &properties, topic)
    }

    #[test]
    fn records_have_the_keys_in_turn() {
        let workload = workload(&["--keys", "3", "--size", "1"]);
        let filled = |number| workload.fill(Record::new("t"), number);
        let expected = |key: &'static str| Record::new("t").value(&workload.payload).key(key);
        assert_eq!(filled(0), expected("0000000000000000"));
        assert_eq!(filled(2), expected("0000000000000002"));
        assert_eq!(filled(3), filled(0));
    }

    #[test]
    fn records_have_no_key_unless_asked_for() {
        let workload = workload(&["--size", "1"]);
        let expected = Record::new("t").value(&workload.payload);
        assert_eq!(workload.fill(Record::new("t"), 7), expected);
    }
}
