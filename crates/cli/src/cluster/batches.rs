//! Which records of a fetched blob a reader sees: control batches and what aborted transactions left are passed over.
//!
//! Whether an aborted transaction is passed over is decided by the list that the broker gives with the blob; it gives none for `read_uncommitted`.

use std::collections::BTreeSet;

use kommit_protocol::batch::{BatchError, BatchView, ControlType, EndTransactionMarker, batches};
use kommit_protocol::messages::{FetchResponseAbortedTransaction, FetchResponsePartition};
use kommit_protocol::units::{PartitionId, ProducerId};

use super::reader::ReadRecord;

/// A batch that says it expands to more is not read.
const MAX_EXPANDED: usize = 256 * 1024 * 1024;

/// The visible records of a blob.
#[derive(Debug)]
pub(super) struct Visible {
    /// In the order of their offsets.
    pub(super) records: Vec<ReadRecord>,
    /// Behind the last whole batch, or where the reading began when there is none.
    pub(super) next: i64,
}

/// The records from `offset` on. A blob may begin before it, in the middle of a batch.
pub(super) fn visible_records(
    answer: &FetchResponsePartition,
    partition: PartitionId,
    offset: i64,
) -> Result<Visible, BatchError> {
    let mut aborted = Aborted::listed(answer.aborted_transactions.as_deref().unwrap_or_default());
    let mut visible = Visible {
        records: Vec::new(),
        next: offset,
    };
    for batch in batches(answer.records.clone().unwrap_or_default()) {
        let batch = batch?;
        batch.verify_crc()?;
        let last_offset = batch.header.last_offset().0;
        let is_visible = aborted.lets_see(&batch, last_offset)?;
        visible.next = visible.next.max(last_offset + 1);
        if !is_visible {
            continue;
        }
        for record in batch.records(MAX_EXPANDED)? {
            let record = record?;
            if record.offset.0 >= offset {
                let headers = record
                    .headers
                    .into_iter()
                    .map(|header| (header.key, header.value))
                    .collect();
                let (key, value) = (record.key, record.value);
                visible.records.push(ReadRecord {
                    partition,
                    offset: record.offset.0,
                    key,
                    value,
                    headers,
                });
            }
        }
    }
    Ok(visible)
}

/// The aborted transactions while walking through the blob.
struct Aborted {
    /// Not reached yet, the one that begins last in front.
    coming: Vec<FetchResponseAbortedTransaction>,
    /// Begun and not ended.
    open: BTreeSet<ProducerId>,
}

impl Aborted {
    fn listed(transactions: &[FetchResponseAbortedTransaction]) -> Self {
        let mut coming = transactions.to_vec();
        coming.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            coming,
            open: BTreeSet::new(),
        }
    }

    fn lets_see(&mut self, batch: &BatchView, last_offset: i64) -> Result<bool, BatchError> {
        while let Some(begun) = self
            .coming
            .pop_if(|transaction| transaction.first_offset <= last_offset)
        {
            self.open.insert(begun.producer_id);
        }
        let header = &batch.header;
        if header.attributes.is_control() {
            if is_abort_marker(batch)? {
                self.open.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(!(header.attributes.is_transactional() && self.open.contains(&header.producer_id)))
    }
}

fn is_abort_marker(batch: &BatchView) -> Result<bool, BatchError> {
    let Some(record) = batch.records(MAX_EXPANDED)?.next() else {
        return Ok(false);
    };
    let marker = EndTransactionMarker::parse(&record?)?;
    Ok(marker.is_some_and(|marker| marker.control_type == ControlType::Abort))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use kommit_protocol::batch::{
        Attributes, Compression, HeaderFields, RecordFields, encode_batch, end_transaction_marker,
        put_record, set_base_offset,
    };
    use kommit_protocol::units::{Identity, LeaderEpoch, Offset, ProducerEpoch, Timestamp};

    const EPOCH: ProducerEpoch = ProducerEpoch(0);

    /// A log that grows at its end.
    #[derive(Default)]
    struct Log {
        blob: BytesMut,
        end: i64,
    }

    impl Log {
        fn put(&mut self, producer: Option<i64>, values: &str) -> &mut Self {
            let mut records = Vec::new();
            for (value, offset_delta) in values.as_bytes().chunks(1).zip(0..) {
                put_record(
                    &mut records,
                    &RecordFields {
                        offset_delta,
                        timestamp_delta: 0,
                        key: None,
                        value: Some(value),
                        headers: &[],
                    },
                );
            }
            let attributes = Attributes::new(Compression::None);
            let fields = HeaderFields {
                attributes: if producer.is_some() {
                    attributes.transactional()
                } else {
                    attributes
                },
                producer_id: producer.map_or(ProducerId::NONE, ProducerId),
                producer_epoch: EPOCH,
                last_offset_delta: values.len() as i32 - 1,
                record_count: values.len() as u32,
                ..HeaderFields::default()
            };
            self.push(encode_batch(&fields, &records), values.len())
        }

        fn end_transaction(&mut self, producer: i64, control_type: ControlType) -> &mut Self {
            let marker = EndTransactionMarker {
                control_type,
                coordinator_epoch: 0,
            };
            let identity = Identity {
                id: ProducerId(producer),
                epoch: EPOCH,
            };
            self.push(end_transaction_marker(&marker, identity, Timestamp(0)), 1)
        }

        fn push(&mut self, batch: Bytes, records: usize) -> &mut Self {
            let mut batch = batch.to_vec();
            set_base_offset(&mut batch, Offset(self.end), LeaderEpoch(0));
            self.blob.extend_from_slice(&batch);
            self.end += records as i64;
            self
        }

        fn read(&self, aborted: Option<&[(i64, i64)]>, from: i64) -> (String, i64) {
            let aborted_transactions = aborted.map(|list| {
                let entry = |(producer, first_offset): &(i64, i64)| FetchResponseAbortedTransaction {
                    producer_id: ProducerId(*producer),
                    first_offset: *first_offset,
                };
                list.iter().map(entry).collect()
            });
            let records = Some(self.blob.clone().freeze());
            let answer = FetchResponsePartition {
                aborted_transactions,
                records,
                ..FetchResponsePartition::default()
            };
            let visible = visible_records(&answer, PartitionId(0), from).expect("a legal blob");
            let text = visible
                .records
                .iter()
                .flat_map(|record| record.value.as_deref().unwrap_or_default())
                .copied();
            (String::from_utf8(text.collect()).expect("text"), visible.next)
        }
    }

    /// B-112, B-114: the aborted transaction, and only it, is passed over; markers never show.
    #[test]
    fn records_of_an_aborted_transaction_are_not_seen() {
        let mut log = Log::default();
        log.put(Some(1), "ab")
            .put(Some(2), "c")
            .put(None, "d")
            .end_transaction(1, ControlType::Abort)
            .put(Some(1), "e");
        log.end_transaction(2, ControlType::Commit)
            .end_transaction(1, ControlType::Commit);
        assert_eq!(log.read(Some(&[(1, 0)]), 0), ("cde".to_owned(), 8));
    }

    #[test]
    fn a_producer_that_aborts_twice_is_passed_over_twice() {
        let mut log = Log::default();
        log.put(Some(1), "a")
            .end_transaction(1, ControlType::Abort)
            .put(Some(1), "b")
            .end_transaction(1, ControlType::Commit);
        log.put(Some(1), "c").end_transaction(1, ControlType::Abort);
        assert_eq!(log.read(Some(&[(1, 4), (1, 0)]), 0).0, "b");
    }

    #[test]
    fn without_a_list_everything_but_the_markers_is_seen() {
        let mut log = Log::default();
        log.put(Some(1), "ab")
            .end_transaction(1, ControlType::Abort)
            .put(None, "c");
        assert_eq!(log.read(None, 0), ("abc".to_owned(), 4));
    }

    #[test]
    fn a_blob_that_begins_before_the_offset_is_entered_in_its_middle() {
        let mut log = Log::default();
        log.put(None, "abc").put(None, "d");
        assert_eq!(log.read(None, 2).0, "cd");
    }

    #[test]
    fn a_batch_that_is_cut_off_is_left_for_the_next_fetch() {
        let mut log = Log::default();
        log.put(None, "ab").put(None, "cd");
        log.blob.truncate(log.blob.len() - 1);
        assert_eq!(log.read(None, 0), ("ab".to_owned(), 2));
    }

    #[test]
    fn a_damaged_batch_is_an_error() {
        let mut log = Log::default();
        log.put(None, "ab");
        let last = log.blob.len() - 1;
        log.blob[last] ^= 1;
        let records = Some(log.blob.freeze());
        let answer = FetchResponsePartition {
            records,
            ..FetchResponsePartition::default()
        };
        assert!(visible_records(&answer, PartitionId(0), 0).is_err());
    }
}
