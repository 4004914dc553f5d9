//! Reading the topic back with `read_committed` and comparing it with the lines.

use std::path::Path;

use super::compare::{Comparison, Expected, Findings};
use super::cursor::Cursor;
use super::lines::{Limits, LineBatch, Position};
use super::record_line::LineFormat;
use super::source::{LineSource, Pace};
use crate::args::Isolation;
use crate::cluster::{Cluster, Topic, TopicReader};
use crate::failure::Failure;

/// The lines that earlier runs have loaded: those before the cursor.
pub(super) async fn lines_before(
    path: &Path,
    cursor: Option<Cursor>,
    format: &LineFormat,
    limits: Limits,
) -> Result<Expected, Failure> {
    let mut expected = Expected::default();
    let Some(cursor) = cursor else { return Ok(expected) };
    let unreadable = |reason: String| {
        Failure::failed(
            format!("reading {} from its first line: {reason}", path.display()),
            "look at the file",
        )
    };
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| unreadable(error.to_string()))?;
    let before = tokio::io::AsyncReadExt::take(file, cursor.next.byte);
    let mut source = LineSource::new(Box::new(before), Position::default(), Pace::File, limits);
    while let Some(batch) = source
        .next_batch()
        .await
        .map_err(|error| unreadable(format!("{error:?}")))?
    {
        expect_lines(&mut expected, &batch, format);
    }
    Ok(expected)
}

/// These lines were loaded.
pub(super) fn expect_lines(expected: &mut Expected, batch: &LineBatch, format: &LineFormat) {
    for (_, line) in batch.lines() {
        // A line without the separator is never loaded.
        if let Ok((key, value)) = format.split(&line) {
            expected.push(key, value);
        }
    }
}

/// Reads the whole topic as a consumer would, and compares.
pub(super) async fn compare(
    cluster: &mut Cluster,
    topic: Topic,
    expected: Expected,
) -> Result<Findings, Failure> {
    let mut comparison = Comparison::with(expected);
    let partitions = topic.partitions.len() as u64;
    let mut reader = TopicReader::open(cluster, topic, Isolation::ReadCommitted).await?;
    let mut current = None;
    while let Some(records) = reader.next_records().await? {
        for record in &records {
            if current.replace(record.partition) != Some(record.partition) {
                comparison.begin_partition();
            }
            comparison.record(record.key.as_deref(), record.value.as_deref());
        }
    }
    Ok(Findings {
        partitions,
        ..comparison.finish()
    })
}
