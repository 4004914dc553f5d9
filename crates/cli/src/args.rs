//! The command line: four commands, each with its options. Only parsing and checks that need no broker happen here.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::properties::Property;

/// Exactly-once loading of files into Apache Kafka.
#[derive(Debug, Parser)]
#[command(name = "kommit", version, about, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 fenced by another instance, 130 stopped by Ctrl-C or SIGTERM."
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load the lines of a file into a topic, each exactly once, however often the program is killed and started again
    Load(LoadArguments),
    /// Run the embedded broker by itself
    Broker(BrokerArguments),
    /// Print what is in a topic, from the beginning to the end at start
    Read(ReadArguments),
    /// Measure this producer
    Perf(PerfArguments),
}

/// Settings of the producer, by Kafka's own names.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ProducerOptions {
    /// A producer setting by Kafka's name, for example linger.ms=20; may be repeated
    #[arg(long = "producer-property", value_name = "KEY=VALUE")]
    pub(crate) properties: Vec<Property>,
    /// A file of producer settings, KEY=VALUE on each line, # for comments
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `kommit load`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Without --bootstrap-servers, an embedded broker is started in the process; what was loaded is read back and compared, and is gone at the end.\n\
    The cursor (next byte, line number, fingerprint of the file's beginning) is committed with the lines, for the group \
    kommit-load.ID and partition 0 of the topic. A broker forgets it after its offsets.retention.minutes (Kafka: 7 days)."
)]
pub(crate) struct LoadArguments {
    /// The file to load; - for standard input, which cannot be resumed
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The topic to load into
    #[arg(long, value_parser = crate::cluster::topic_name)]
    pub(crate) topic: String,
    /// The transactional id: names this job; starting it again goes on behind the last committed line
    #[arg(long, value_name = "ID", value_parser = transactional_id)]
    pub(crate) transactional_id: String,
    /// Brokers to start from; without it, an embedded broker
    #[arg(long, value_name = "HOST:PORT,...", value_parser = crate::cluster::bootstrap_servers)]
    pub(crate) bootstrap_servers: Option<String>,
    /// Create the topic with this many partitions if it does not exist
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<NonZeroU32>,
    /// Lines in a transaction (fewer when they are more than 64 MiB)
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(crate) records_per_transaction: NonZeroU32,
    /// Split each line at the first occurrence into key and value; without it, records have no key
    #[arg(long, value_name = "S", value_parser = separator)]
    pub(crate) key_separator: Option<String>,
    /// Ignore the cursor of earlier runs and load from the first line (lines loaded before are loaded again)
    #[arg(long)]
    pub(crate) restart: bool,
    /// Read the topic back at the end and compare it with the file (always done with the embedded broker)
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) producer: ProducerOptions,
}

/// `kommit broker`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BrokerArguments {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port of the first node, the others follow; 0 for free ones
    #[arg(long, default_value_t = 9092)]
    pub(crate) port: u16,
    /// How many nodes to play
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) nodes: u16,
    /// The finalised feature level of a new cluster: 0 or 1 for the old transaction protocol, 2 for the new one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i16).range(0..=2))]
    pub(crate) transaction_version: i16,
    /// Keep everything in this directory, and find it again there at the next start; without it, everything is gone at the end
    #[arg(long, value_name = "DIR", conflicts_with = "discard")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Check each batch and throw it away: to measure producers, with as little beside them as possible
    #[arg(long)]
    pub(crate) discard: bool,
    /// Send each answer so many milliseconds later
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "discard")]
    pub(crate) delay_ms: u32,
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// Only records of committed transactions, and those outside of transactions
    #[value(name = "read_committed")]
    ReadCommitted,
    /// All records, aborted ones and those of open transactions too
    #[value(name = "read_uncommitted")]
    ReadUncommitted,
}

/// `kommit read`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReadArguments {
    /// The topic to read
    #[arg(value_parser = crate::cluster::topic_name)]
    pub(crate) topic: String,
    /// Which records to show
    #[arg(long, value_enum, default_value = "read_committed")]
    pub(crate) isolation: Isolation,
    /// Brokers to start from
    #[arg(long, value_name = "HOST:PORT,...", default_value = "127.0.0.1:9092", value_parser = crate::cluster::bootstrap_servers)]
    pub(crate) bootstrap_servers: String,
    /// Print each record as a JSON object with partition, offset, key, headers and value
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `kommit perf` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PerfMode {
    /// As many records as possible
    Throughput,
    /// Time from the intended send to the acknowledgement, at a fixed rate
    Latency,
    /// Time from begin to the end of commit
    Txn,
}

/// `kommit perf`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "One record per partition is sent first, to open the connections; it is not counted.")]
pub(crate) struct PerfArguments {
    /// Brokers to start from
    #[arg(long, value_name = "HOST:PORT,...", default_value = "127.0.0.1:9092", value_parser = crate::cluster::bootstrap_servers)]
    pub(crate) bootstrap_servers: String,
    /// The topic to send to
    #[arg(long, value_parser = crate::cluster::topic_name)]
    pub(crate) topic: String,
    /// Create the topic with this many partitions if it does not exist
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<NonZeroU32>,
    /// What to measure
    #[arg(long, value_enum, default_value = "throughput")]
    pub(crate) mode: PerfMode,
    /// How many records to send
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// Bytes in the value of a record
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub(crate) size: u32,
    /// Give the records keys: so many different ones of 16 bytes, in turn; 0 for records without a key
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keys: u32,
    /// Tasks that share the producer and the records (mode throughput)
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) tasks: NonZeroU32,
    /// Records in a transaction (mode txn)
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) txn_size: NonZeroU32,
    /// Begin each transaction while the commit of the one before is on its way (mode txn)
    #[arg(long)]
    pub(crate) commit_and_begin: bool,
    /// The producer's linger.ms
    #[arg(long)]
    pub(crate) linger_ms: Option<u64>,
    /// The producer's batch.size
    #[arg(long)]
    pub(crate) batch_size: Option<u32>,
    /// The producer's compression.type
    #[arg(long)]
    pub(crate) compression: Option<String>,
    /// Records per second; 0 for no limit [default: 10000 for latency, else 0]
    #[arg(long)]
    pub(crate) rate: Option<u64>,
    /// The transactional id (mode txn)
    #[arg(long, value_name = "ID", default_value = "kommit-perf", value_parser = transactional_id)]
    pub(crate) transactional_id: String,
    #[command(flatten)]
    pub(crate) producer: ProducerOptions,
}

fn transactional_id(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(
            "a transactional id cannot be empty: choose a name for this job that stays the same each time"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn separator(text: &str) -> Result<String, String> {
    match text {
        "" => {
            Err("an empty separator splits nothing: leave the option out for records without key".to_owned())
        }
        text if text.contains('\n') => {
            Err("lines never contain a line end, so it cannot separate the key".to_owned())
        }
        "\\t" => Ok("\t".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn refusal(line: &[&str]) -> clap::Error {
        Arguments::try_parse_from(line).expect_err("this line must be refused")
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn wrong_usage_ends_with_exit_code_2() {
        assert_eq!(refusal(&["kommit", "load", "f"]).exit_code(), 2);
        assert_eq!(refusal(&["kommit", "broker", "--nodes", "0"]).exit_code(), 2);
        assert_eq!(
            refusal(&["kommit", "read", "t", "--isolation", "dirty"]).exit_code(),
            2
        );
    }

    #[test]
    fn an_empty_transactional_id_is_refused_by_name() {
        let error = refusal(&["kommit", "load", "f", "--topic", "t", "--transactional-id", ""]);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--transactional-id"), "{error}");
    }

    #[test]
    fn an_illegal_topic_name_is_refused_with_the_rule() {
        let error = refusal(&["kommit", "load", "f", "--topic", "a/b", "--transactional-id", "i"]);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("letters, digits"), "{error}");
    }

    #[test]
    fn a_transaction_has_a_thousand_lines_unless_told_otherwise() {
        let arguments =
            Arguments::try_parse_from(["kommit", "load", "-", "--topic", "t", "--transactional-id", "i"])
                .expect("legal");
        let Command::Load(load) = arguments.command else {
            panic!("load was asked for")
        };
        assert_eq!(load.records_per_transaction.get(), 1000);
        assert_eq!(load.bootstrap_servers, None);
    }
}
