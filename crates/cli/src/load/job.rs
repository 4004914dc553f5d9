//! The order of things: producer id, cursor, transactions, end.

use std::num::NonZeroU32;
use std::time::Duration;

use kommit_protocol::units::PartitionId;
use tokio::io::AsyncRead;

use super::compare::{Expected, Findings};
use super::cursor::{Cursor, Fingerprint};
use super::file::{Input, Resumed};
use super::lines::{Limits, LineBatch, Position};
use super::progress::{Progress, say};
use super::read_back;
use super::record_line::LineFormat;
use super::source::{BATCH_BYTES, LineSource, Pace, SourceError};
use super::stop::Stop;
use super::summary::Tally;
use super::transactions::{Ended, Loader, Target, too_long};
use crate::args::LoadArguments;
use crate::cluster::{Cluster, Topic};
use crate::failure::Failure;
use crate::producing::{self, DEFAULT_MAX_REQUEST_SIZE};
use crate::properties::Properties;

/// The same lines are tried this often before the job fails.
const ATTEMPTS: u32 = 10;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Every run writes into this partition's cursor, wherever the lines go.
const CURSOR_PARTITION: PartitionId = PartitionId(0);

/// Where to load to.
pub(super) struct Place {
    /// The cluster.
    pub(super) bootstrap_servers: String,
    /// How to create the topic, if it may be created.
    pub(super) partitions: Option<NonZeroU32>,
}

/// A load that can begin.
pub(super) struct Job {
    cluster: Cluster,
    topic: Topic,
    loader: Option<Loader>,
    source: LineSource,
    file: String,
    /// Committed with every transaction; none for a stream.
    fingerprint: Option<Fingerprint>,
    format: LineFormat,
    /// The lines that the topic should hold, when that is to be compared.
    expected: Option<Expected>,
    tally: Tally,
    progress: Option<Progress>,
}

/// An input at its place.
struct Opened {
    source: LineSource,
    position: Position,
    fingerprint: Option<Fingerprint>,
    size: Option<u64>,
}

impl Job {
    /// Finds the cluster and topic, obtains the producer id, and only then reads the cursor: behind the fence it cannot move any more (R13).
    pub(super) async fn prepare(
        arguments: &LoadArguments,
        input: Input,
        place: Place,
    ) -> Result<Self, Failure> {
        let mut properties = Properties::collect(&arguments.producer, &[("client.id", "kommit-load")])?;
        properties.put("bootstrap.servers", &place.bootstrap_servers);
        properties.put("transactional.id", &arguments.transactional_id);
        let config = producing::config(&properties)?;
        let limits = Limits {
            lines: usize::try_from(arguments.records_per_transaction.get()).unwrap_or(usize::MAX),
            batch_bytes: BATCH_BYTES,
            line_bytes: properties.number("max.request.size", DEFAULT_MAX_REQUEST_SIZE),
        };
        let mut cluster = Cluster::connect(&place.bootstrap_servers).await?;
        let topic = cluster.ensure_topic(&arguments.topic, place.partitions).await?;
        let format = LineFormat::with_separator(arguments.key_separator.clone());
        let group = Cursor::group(&arguments.transactional_id);
        let file = arguments.file.display().to_string();
        let target = Target {
            topic: arguments.topic.clone(),
            format: format.clone(),
            file: file.clone(),
            group: group.clone(),
        };
        let loader = Loader::connect(config, target).await?;
        let cursor = match (&input, arguments.restart) {
            (Input::File(_), false) => stored_cursor(&mut cluster, &group, &arguments.topic).await?,
            _ => None,
        };
        let is_compared = arguments.verify || arguments.bootstrap_servers.is_none();
        let expected = if is_compared {
            Some(read_back::lines_before(&arguments.file, cursor, &format, limits).await?)
        } else {
            None
        };
        let Opened {
            source,
            position,
            fingerprint,
            size,
        } = open(input, cursor, limits)?;
        let tally = Tally::beginning_at(position);
        if position.line > 0 {
            say(&format!(
                "going on behind line {}, which an earlier run has committed",
                position.line
            ));
        }
        let progress = Some(Progress::start(size, &tally));
        Ok(Self {
            cluster,
            topic,
            loader: Some(loader),
            source,
            file,
            fingerprint,
            format,
            expected,
            tally,
            progress,
        })
    }

    /// Loads until the input ends, the user asks for the end, or something cannot be helped.
    pub(super) async fn run(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        let outcome = self.load_all(stop).await;
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        if let Some(loader) = self.loader.take() {
            loader.close().await;
        }
        outcome
    }

    /// What was done so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Reads the topic back, if that was asked for.
    pub(super) async fn read_back(&mut self) -> Result<Option<Findings>, Failure> {
        let Some(expected) = self.expected.take() else {
            return Ok(None);
        };
        read_back::compare(&mut self.cluster, self.topic.clone(), expected)
            .await
            .map(Some)
    }

    async fn load_all(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.asked() => return Err(stopped()),
                batch = self.source.next_batch() => batch,
            };
            let Some(batch) = batch.map_err(|error| unreadable(error, &self.file))? else {
                return Ok(());
            };
            self.load(&batch, stop).await?;
        }
    }

    /// Loads one batch, again and again while that may help.
    async fn load(&mut self, batch: &LineBatch, stop: &Stop) -> Result<(), Failure> {
        let cursor = self.fingerprint.map(|fingerprint| Cursor {
            next: batch.next,
            fingerprint,
        });
        let loader = self
            .loader
            .as_mut()
            .expect("the loader is there until the run ends");
        for attempt in 1.. {
            match loader.load(batch, cursor).await? {
                Ended::Committed => break,
                Ended::Aborted(reason) if attempt == ATTEMPTS => return Err(given_up(&reason)),
                Ended::Aborted(reason) => {
                    self.tally.aborted += 1;
                    if stop.is_asked() {
                        return Err(stopped());
                    }
                    self.tally.retries += 1;
                    note(
                        self.progress.as_ref(),
                        &format!("the transaction was aborted and is tried again: {reason}"),
                    );
                    tokio::time::sleep(RETRY_PAUSE * attempt).await;
                }
            }
        }
        self.tally.commit(batch);
        if let Some(expected) = &mut self.expected {
            read_back::expect_lines(expected, batch, &self.format);
        }
        if let Some(progress) = &mut self.progress {
            progress.update(&self.tally);
        }
        Ok(())
    }
}

fn note(progress: Option<&Progress>, sentence: &str) {
    if let Some(progress) = progress {
        progress.note(sentence);
    }
}

fn open(input: Input, cursor: Option<Cursor>, limits: Limits) -> Result<Opened, Failure> {
    let stream = |reader: Box<dyn AsyncRead + Send + Unpin>| {
        say(
            "this input has no cursor: each line is loaded once, but a run that was ended early cannot be resumed",
        );
        let source = LineSource::new(reader, Position::default(), Pace::Stream, limits);
        Opened {
            source,
            position: Position::default(),
            fingerprint: None,
            size: None,
        }
    };
    match input {
        Input::Standard => Ok(stream(Box::new(tokio::io::stdin()))),
        Input::Stream(file) => Ok(stream(Box::new(tokio::fs::File::from_std(file)))),
        Input::File(file) => {
            let size = Some(file.size);
            let Resumed {
                file,
                position,
                fingerprint,
            } = file.resume(cursor)?;
            let source = LineSource::new(
                Box::new(tokio::fs::File::from_std(file)),
                position,
                Pace::File,
                limits,
            );
            Ok(Opened {
                source,
                position,
                fingerprint: Some(fingerprint),
                size,
            })
        }
    }
}

async fn stored_cursor(cluster: &mut Cluster, group: &str, topic: &str) -> Result<Option<Cursor>, Failure> {
    let Some((offset, metadata)) = cluster.stable_offset(group, topic, CURSOR_PARTITION).await? else {
        return Ok(None);
    };
    let cursor = Cursor::parse(offset, &metadata).map_err(|error| {
        Failure::failed(
            format!(
                "the group {group} has an offset for {topic}-{CURSOR_PARTITION} that no load wrote: {error}"
            ),
            "choose another --transactional-id, or say --restart to load from the first line",
        )
    })?;
    Ok(Some(cursor))
}

fn unreadable(error: SourceError, file: &str) -> Failure {
    match error {
        SourceError::Unreadable(error) => Failure::failed(
            format!("reading {file}: {error}"),
            "look at the file and its disk, then start again",
        ),
        SourceError::TooLong(line) => too_long(line.line, file, line.limit),
    }
}

fn stopped() -> Failure {
    Failure::interrupted(
        "stopped by Ctrl-C or SIGTERM",
        "start again with the same transactional id to go on behind them",
    )
}

fn given_up(reason: &str) -> Failure {
    Failure::failed(
        format!("the same transaction was aborted {ATTEMPTS} times; the last reason: {reason}"),
        "look at the brokers' logs, then start again to go on",
    )
}
