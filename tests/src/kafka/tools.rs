//! Kafka's own programs, run as child processes, and what they print, parsed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::jars::Jars;
use super::java;
use super::setup::Release;

/// No tool run of a suite takes longer; a JVM's start is 0.5 to 1 s of it.
const LIMIT: Duration = Duration::from_secs(180);
/// How long a console consumer waits for one more record before it ends, when it is not told how many there are. It has to cover its own start on a
/// busy machine.
const QUIET: Duration = Duration::from_secs(8);
/// How long it waits for a record that is to come: longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a member of a group says that it is there.
const HEARTBEATS: &str = "heartbeat.interval.ms=200";
/// Stands between key and value on a tool's command line and in its output; no line of text contains it.
const SEPARATOR: char = '\u{1}';
/// What the console consumer prints for a key that is null.
const NULL: &str = "\u{2}";

/// A program that comes with Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `kafka-topics`
    Topics,
    /// `kafka-features`
    Features,
    /// `kafka-console-producer`
    ConsoleProducer,
    /// `kafka-console-consumer`
    ConsoleConsumer,
    /// `kafka-consumer-groups`
    ConsumerGroups,
    /// `kafka-transactions`
    Transactions,
    /// `kafka-dump-log`; reads files, so it is not told a broker
    DumpLogSegments,
}

impl Tool {
    fn class(self, release: Release) -> &'static str {
        match (self, release) {
            (Tool::Topics, _) => "org.apache.kafka.tools.TopicCommand",
            (Tool::Features, _) => "org.apache.kafka.tools.FeatureCommand",
            (Tool::ConsoleProducer, Release::V3_9_1) => "kafka.tools.ConsoleProducer",
            (Tool::ConsoleProducer, Release::V4_3_1) => "org.apache.kafka.tools.ConsoleProducer",
            (Tool::ConsoleConsumer, _) => "org.apache.kafka.tools.consumer.ConsoleConsumer",
            (Tool::ConsumerGroups, _) => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            (Tool::Transactions, _) => "org.apache.kafka.tools.TransactionsCommand",
            (Tool::DumpLogSegments, Release::V3_9_1) => "kafka.tools.DumpLogSegments",
            (Tool::DumpLogSegments, Release::V4_3_1) => "org.apache.kafka.tools.DumpLogSegments",
        }
    }
}

/// Which records a console consumer is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only what is committed.
    Committed,
    /// Also what is aborted or still open.
    Uncommitted,
}

/// What a console consumer is to read, from the beginning.
#[derive(Clone, Debug)]
pub struct Reading {
    topic: String,
    isolation: Isolation,
    partition: Option<i32>,
    group: Option<String>,
    most: Option<usize>,
}

impl Reading {
    /// The committed records of a topic.
    pub fn committed(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            isolation: Isolation::Committed,
            partition: None,
            group: None,
            most: None,
        }
    }

    /// All records of a topic, aborted ones as well.
    pub fn uncommitted(topic: &str) -> Self {
        Self {
            isolation: Isolation::Uncommitted,
            ..Self::committed(topic)
        }
    }

    /// Only this partition, without a consumer group.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// As a member of this group: from where it has got to, and with the others that are in it. Its heartbeats come often, so that it soon
    /// hears of others that come and go.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// Ends as soon as so many records have come, and waits for them patiently. Nothing superfluous goes unseen when each partition ends with a record
    /// that is among those so many: one record too many keeps one of the last ones out.
    #[must_use]
    pub fn at_most(mut self, records: usize) -> Self {
        self.most = Some(records);
        self
    }

    fn arguments(&self, release: Release) -> Vec<String> {
        let isolation = match self.isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        let quiet = self.most.map_or(QUIET, |_| PATIENCE).as_millis().to_string();
        let mut arguments: Vec<String> = [
            "--topic",
            &self.topic,
            "--from-beginning",
            "--isolation-level",
            isolation,
        ]
        .into_iter()
        .chain(["--timeout-ms", &quiet])
        .map(str::to_owned)
        .collect();
        if let Some(partition) = self.partition {
            arguments.extend(["--partition".to_owned(), partition.to_string()]);
        }
        if let Some(group) = &self.group {
            arguments.extend(["--group", group].map(str::to_owned));
            let option = match release {
                Release::V3_9_1 => "--consumer-property",
                Release::V4_3_1 => "--command-property",
            };
            arguments.extend([option, HEARTBEATS].map(str::to_owned));
        }
        if let Some(most) = self.most {
            arguments.extend(["--max-messages".to_owned(), most.to_string()]);
        }
        let option = match release {
            Release::V3_9_1 => "--property",
            Release::V4_3_1 => "--formatter-property",
        };
        let separator = format!("key.separator={SEPARATOR}");
        let null = format!("null.literal={NULL}");
        for property in [
            "print.partition=true",
            "print.offset=true",
            "print.key=true",
            &separator,
            &null,
        ] {
            arguments.extend([option.to_owned(), property.to_owned()]);
        }
        arguments
    }
}

/// A record as the console consumer printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Its key, when it has one.
    pub key: Option<String>,
    /// Its value; a null value is an empty text here, as the tool does not tell them apart from a line's end.
    pub value: String,
}

impl ConsumedRecord {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, SEPARATOR);
        let partition = fields.next()?.strip_prefix("Partition:")?.parse().ok()?;
        let offset = fields.next()?.strip_prefix("Offset:")?.parse().ok()?;
        let key = fields.next().filter(|key| *key != NULL).map(str::to_owned);
        let value = fields.next()?;
        let value = if value == NULL {
            String::new()
        } else {
            value.to_owned()
        };
        Some(Self {
            partition,
            offset,
            key,
            value,
        })
    }
}

/// Kafka's tools of one release, connected to one cluster. A tool that fails makes the test fail with what it said.
#[derive(Clone, Debug)]
pub struct Tools {
    jars: Jars,
    bootstrap_servers: String,
}

impl Tools {
    pub(super) fn new(jars: Jars, bootstrap_servers: String) -> Self {
        Self {
            jars,
            bootstrap_servers,
        }
    }

    /// Creates a topic with as many replicas as there are nodes.
    pub async fn create_topic(&self, topic: &str, partitions: u32) {
        let partitions = partitions.to_string();
        self.run(
            Tool::Topics,
            &["--create", "--topic", topic, "--partitions", &partitions],
        )
        .await;
    }

    /// Lets the console producer send each line as a value without a key.
    pub async fn console_produce(&self, topic: &str, lines: &[&str]) {
        self.feed(
            Tool::ConsoleProducer,
            &["--topic", topic],
            lines.iter().map(|line| format!("{line}\n")).collect(),
        )
        .await;
    }

    /// Lets the console producer send pairs of key and value.
    pub async fn console_produce_keyed(&self, topic: &str, records: &[(&str, &str)]) {
        let option = match self.jars.release() {
            Release::V3_9_1 => "--property",
            Release::V4_3_1 => "--reader-property",
        };
        let separator = format!("key.separator={SEPARATOR}");
        let lines = records
            .iter()
            .map(|(key, value)| format!("{key}{SEPARATOR}{value}\n"))
            .collect();
        let arguments = ["--topic", topic, option, "parse.key=true", option, &separator];
        self.feed(Tool::ConsoleProducer, &arguments, lines).await;
    }

    /// What the console consumer finds, in the order in which it printed it.
    pub async fn console_consume(&self, reading: &Reading) -> Vec<ConsumedRecord> {
        let arguments = reading.arguments(self.jars.release());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let printed = self.run(Tool::ConsoleConsumer, &arguments).await;
        let parse = |line| {
            ConsumedRecord::parse(line)
                .unwrap_or_else(|| panic!("the console consumer printed {line:?}, not a record"))
        };
        printed.lines().map(parse).collect()
    }

    /// The table that `kafka-transactions` prints: one map from heading to cell per row.
    pub async fn transactions(&self, arguments: &[&str]) -> Vec<BTreeMap<String, String>> {
        table(&self.run(Tool::Transactions, arguments).await)
    }

    /// Runs a tool and returns what it printed on standard output.
    ///
    /// # Panics
    /// When the tool fails or does not end within three minutes.
    pub async fn run(&self, tool: Tool, arguments: &[&str]) -> String {
        self.feed(tool, arguments, String::new()).await
    }

    /// Runs a tool that may fail: then the error is what it said.
    ///
    /// # Panics
    /// When the tool does not end within three minutes.
    pub async fn try_run(&self, tool: Tool, arguments: &[&str]) -> Result<String, String> {
        self.execute(tool, arguments, String::new()).await
    }

    async fn feed(&self, tool: Tool, arguments: &[&str], input: String) -> String {
        let done = self.execute(tool, arguments, input).await;
        done.unwrap_or_else(|said| panic!("{tool:?} {arguments:?} failed: {said}"))
    }

    async fn execute(&self, tool: Tool, arguments: &[&str], input: String) -> Result<String, String> {
        let mut command = Command::new(java::program());
        // Its words are UTF-8.
        command.arg("-Xmx300m").env("LC_ALL", "C.UTF-8");
        command
            .args(java::SHORT_LIFE)
            .args(self.jars.java_arguments())
            .arg(tool.class(self.jars.release()));
        if tool != Tool::DumpLogSegments {
            command.args(["--bootstrap-server", &self.bootstrap_servers]);
        }
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run java: {error}"))?;

        let mut stdin = child.stdin.take().expect("standard input is piped");
        let write = async move {
            // A tool that ends before it has read everything tells why by its exit code.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        let both = async { tokio::join!(write, child.wait_with_output()).1 };
        let output = tokio::time::timeout(LIMIT, both)
            .await
            .unwrap_or_else(|_| panic!("{tool:?} {arguments:?} did not end within {} s", LIMIT.as_secs()))
            .map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(printed)
        } else {
            Err(format!(
                "{}: {printed}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }
}

/// Reads a table of tab-separated cells with a line of headings.
fn table(printed: &str) -> Vec<BTreeMap<String, String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_end()
            .split('\t')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut lines = printed.lines().filter(|line| !line.trim().is_empty());
    let Some(headings) = lines.next().map(cells) else {
        return Vec::new();
    };
    lines
        .map(|line| headings.iter().cloned().zip(cells(line)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_record_is_read_with_tabs_and_empty_values_in_it() {
        let record = ConsumedRecord::parse("Partition:3\u{1}Offset:17\u{1}k\u{1}a\tb = c").expect("a record");
        assert_eq!((record.partition, record.offset), (3, 17));
        assert_eq!(
            (record.key.as_deref(), record.value.as_str()),
            (Some("k"), "a\tb = c")
        );
        let record = ConsumedRecord::parse("Partition:0\u{1}Offset:0\u{1}\u{2}\u{1}").expect("a record");
        assert_eq!((record.key, record.value), (None, String::new()));
        assert_eq!(ConsumedRecord::parse("Processed a total of 3 messages"), None);
    }

    #[test]
    fn a_table_is_read_by_its_headings() {
        let rows =
            table("TransactionalId\tCoordinator\tProducerId\t\nt-1            \t1          \t7         \t\n");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["TransactionalId"], "t-1");
        assert_eq!(rows[0]["ProducerId"], "7");
        assert!(table("TransactionalId\tCoordinator\n").is_empty());
    }
}
