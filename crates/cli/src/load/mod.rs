//! `kommit load`: each line of a file into a topic exactly once.
//!
//! Reading order: [`lines`] and [`source`] (lines in batches), [`cursor`] and [`mod@file`] (where to go on, and is it the same file),
//! [`transactions`] (a batch and its cursor, all or nothing), [`job`] (the order of things), [`compare`] and [`read_back`] (is it true?), [`summary`],
//! [`progress`], [`stop`]. Nothing here knows how a transaction works: the façade does.

mod compare;
mod cursor;
mod file;
mod job;
mod lines;
mod progress;
mod read_back;
mod record_line;
mod source;
mod stop;
mod summary;
mod transactions;

use std::io::{self, Write};
use std::num::NonZeroU32;

use kommit_broker::EmbeddedBroker;

use self::compare::Findings;
use self::file::Input;
use self::job::{Job, Place};
use self::progress::say;
use self::stop::Stop;
use self::summary::{Ending, Summary, findings_text};
use crate::args::LoadArguments;
use crate::broker_command;
use crate::clock;
use crate::failure::{Failure, output_failed};

/// Partitions of the topic in the embedded broker, unless told otherwise.
const EMBEDDED_PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("three is not zero");

/// Loads, tells how it went, and if asked for reads back.
pub(crate) async fn run(arguments: LoadArguments) -> Result<(), Failure> {
    let started = clock::now();
    let mut stop = Stop::listen();
    let input = Input::open(&arguments.file)?;
    let (embedded, place) = place(&arguments).await?;
    let mut job = tokio::select! {
        biased;
        () = stop.asked() => return Err(Failure::interrupted("stopped before the first line", "start again")),
        prepared = Job::prepare(&arguments, input, place) => prepared?,
    };
    let outcome = job.run(&mut stop).await;
    let elapsed = clock::now() - started;
    let tally = job.tally();
    let read_back = match &outcome {
        Ok(()) => job.read_back().await?,
        Err(_) => None,
    };
    let ending = outcome
        .as_ref()
        .err()
        .map_or(Ending::Done, |failure| failure.kind.into());
    let names = [arguments.topic.as_str(), arguments.transactional_id.as_str()];
    let mut summary = Summary::of(
        &tally,
        ending,
        elapsed,
        names,
        arguments.file.display().to_string(),
    );
    summary.read_back = read_back;
    print(&summary, arguments.json)?;
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
    outcome.map_err(|failure| failure.standing(&tally.sentence()))?;
    read_back.map_or(Ok(()), judge)
}

/// The cluster of the command line, or an embedded one.
async fn place(arguments: &LoadArguments) -> Result<(Option<EmbeddedBroker>, Place), Failure> {
    if let Some(servers) = &arguments.bootstrap_servers {
        return Ok((
            None,
            Place {
                bootstrap_servers: servers.clone(),
                partitions: arguments.partitions,
            },
        ));
    }
    let broker = broker_command::start_for_this_process().await?;
    let bootstrap_servers = broker.bootstrap_servers();
    say(&format!(
        "no --bootstrap-servers: loading into an embedded broker at {bootstrap_servers}, which is gone at the end"
    ));
    let partitions = arguments.partitions.or(Some(EMBEDDED_PARTITIONS));
    Ok((
        Some(broker),
        Place {
            bootstrap_servers,
            partitions,
        },
    ))
}

fn print(summary: &Summary<'_>, as_json: bool) -> Result<(), Failure> {
    let text = if as_json {
        serde_json::to_string(summary)
            .map_err(io::Error::from)
            .map_err(output_failed)?
    } else {
        summary.text()
    };
    writeln!(io::stdout(), "{text}").map_err(output_failed)
}

fn judge(findings: Findings) -> Result<(), Failure> {
    if findings.is_exactly_once() {
        return Ok(());
    }
    Err(Failure::failed(
        format!(
            "the topic does not hold each line once and in order: {}",
            findings_text(&findings)
        ),
        "if these lines were loaded before under another transactional id, or with --restart, that is why; otherwise please report it",
    ))
}
