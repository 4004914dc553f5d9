//! What physically is in a partition's log, batch by batch, and whether its sequences are whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::tools::{Tool, Tools};

/// A batch as DumpLogSegments prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Number of records.
    pub count: i64,
    /// Who wrote it; none for a producer that is not idempotent.
    pub producer_id: Option<i64>,
    /// The producer's epoch, when there is a producer id.
    pub producer_epoch: i16,
    /// Sequence of the first record; none for control batches and for producers that are not idempotent.
    pub base_sequence: Option<i32>,
    /// Does it belong to a transaction?
    pub is_transactional: bool,
    /// Is it a marker (commit or abort) and not records?
    pub is_control: bool,
}

impl DumpedBatch {
    /// Reads a line of `name: value` pairs; a line without a base offset is not about a batch.
    fn parse(line: &str) -> Option<Result<Self, String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pairs = words
            .windows(2)
            .filter_map(|pair| Some((pair[0].strip_suffix(':')?, pair[1])));
        let fields: BTreeMap<&str, &str> = pairs.collect();
        fields.contains_key("baseOffset").then(|| {
            Self::from_fields(&fields).ok_or_else(|| format!("not the description of a batch: {line}"))
        })
    }

    fn from_fields(fields: &BTreeMap<&str, &str>) -> Option<Self> {
        let number = |name: &str| fields.get(name)?.parse::<i64>().ok();
        let truth = |name: &str| fields.get(name)?.parse::<bool>().ok();
        Some(Self {
            base_offset: number("baseOffset")?,
            last_offset: number("lastOffset")?,
            count: number("count")?,
            producer_id: Some(number("producerId")?).filter(|id| *id >= 0),
            producer_epoch: number("producerEpoch")?.try_into().ok()?,
            base_sequence: number("baseSequence")?
                .try_into()
                .ok()
                .filter(|sequence: &i32| *sequence >= 0),
            is_transactional: truth("isTransactional")?,
            is_control: truth("isControl")?,
        })
    }
}

/// Dumps every segment of a partition's folder, in the order of their offsets.
pub(super) async fn dump(tools: &Tools, folder: &Path) -> Vec<DumpedBatch> {
    let files: Vec<String> = segment_files(folder)
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let printed = tools
        .run(Tool::DumpLogSegments, &["--files", &files.join(",")])
        .await;
    printed
        .lines()
        .filter_map(DumpedBatch::parse)
        .map(|batch| batch.unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("no log in {}: {error}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    files.sort();
    files
}

/// What is wrong with the sequences of a partition's batches: for each producer id and epoch they begin at 0 and go on without
/// a gap and without a repeat, however often the producer sent them. One sentence per fault; none is right.
pub fn sequence_faults(batches: &[DumpedBatch]) -> Vec<String> {
    let mut next_sequences: BTreeMap<(i64, i16), i32> = BTreeMap::new();
    let mut faults = Vec::new();
    for batch in batches {
        let (Some(producer_id), Some(sequence)) = (batch.producer_id, batch.base_sequence) else {
            continue;
        };
        let next = next_sequences
            .entry((producer_id, batch.producer_epoch))
            .or_insert(0);
        if sequence != *next {
            faults.push(format!(
                "offset {}: producer {producer_id} epoch {}: sequence {sequence} where {next} was due",
                batch.base_offset, batch.producer_epoch
            ));
        }
        *next = after(sequence, batch.count);
    }
    faults
}

/// The sequence that follows a batch; after the largest one comes 0.
fn after(base_sequence: i32, count: i64) -> i32 {
    let next = (i64::from(base_sequence) + count) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).expect("a remainder of 2^31 fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: i64, epoch: i16, base_sequence: i32, count: i64) -> DumpedBatch {
        DumpedBatch {
            base_offset,
            last_offset: base_offset + count - 1,
            count,
            producer_id: Some(9),
            producer_epoch: epoch,
            base_sequence: Some(base_sequence),
            is_transactional: false,
            is_control: false,
        }
    }

    #[test]
    fn a_line_of_the_dump_is_read_field_by_field() {
        let line = "baseOffset: 4 lastOffset: 6 count: 3 baseSequence: 12 lastSequence: 14 producerId: 7 \
                    producerEpoch: 2 partitionLeaderEpoch: 0 isTransactional: true isControl: false \
                    deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1 size: 75 magic: 2 isvalid: true";
        let read = DumpedBatch::parse(line).expect("a batch").expect("whole");
        let expected = DumpedBatch {
            producer_id: Some(7),
            is_transactional: true,
            ..batch(4, 2, 12, 3)
        };
        assert_eq!(read, expected);
        assert_eq!(DumpedBatch::parse("Log starting offset: 0"), None);
        assert!(
            DumpedBatch::parse("baseOffset: 4 lastOffset: x")
                .expect("about a batch")
                .is_err()
        );
    }

    #[test]
    fn sequences_without_gap_or_repeat_have_no_fault_even_where_they_wrap() {
        assert!(sequence_faults(&[batch(0, 0, 0, 5), batch(5, 0, 5, 2), batch(7, 1, 0, 1)]).is_empty());
        assert_eq!(after(i32::MAX - 1, 2), 0);
        assert_eq!(after(i32::MAX, 3), 2);
    }

    #[test]
    fn a_gap_and_a_repeat_are_faults_with_their_offsets() {
        let repeated = sequence_faults(&[batch(0, 0, 0, 5), batch(5, 0, 0, 5)]);
        assert_eq!(
            repeated,
            ["offset 5: producer 9 epoch 0: sequence 0 where 5 was due"]
        );
        let gap = sequence_faults(&[batch(0, 0, 0, 5), batch(5, 0, 7, 1)]);
        assert_eq!(gap, ["offset 5: producer 9 epoch 0: sequence 7 where 5 was due"]);
        let late_start = sequence_faults(&[batch(0, 3, 1, 1)]);
        assert_eq!(
            late_start,
            ["offset 0: producer 9 epoch 3: sequence 1 where 0 was due"]
        );
    }
}
