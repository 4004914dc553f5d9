//! Control batches: the markers that end a transaction in a partition (W-11). Who may write one is not decided here.

use bytes::Bytes;

use super::header::{HeaderFields, encode_batch};
use super::reader::RecordView;
use super::record::{RecordFields, put_record};
use super::{Attributes, BatchError};
use crate::units::{Identity, Timestamp};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// Its records are to be passed over.
    Abort,
    /// Its records count.
    Commit,
}

impl ControlType {
    const fn number(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
        }
    }

    /// Reads the key of a control record. `None` is a control record of another kind, which a reader passes over.
    pub fn parse(key: &[u8]) -> Result<Option<Self>, BatchError> {
        let (version, rest) = take_i16(key)?;
        let (number, _) = take_i16(rest)?;
        match (version, number) {
            (..0, _) => Err(BatchError::BadControlRecord),
            (_, 0) => Ok(Some(ControlType::Abort)),
            (_, 1) => Ok(Some(ControlType::Commit)),
            _ => Ok(None),
        }
    }
}

/// What the marker at the end of a transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// How the transaction ended.
    pub control_type: ControlType,
    /// The epoch of the coordinator that ended it.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Reads a control record. `None` is a control record of another kind, which a reader passes over. Of newer versions the known
    /// beginning is read.
    pub fn parse(record: &RecordView) -> Result<Option<Self>, BatchError> {
        let key = record.key.as_deref().ok_or(BatchError::BadControlRecord)?;
        let Some(control_type) = ControlType::parse(key)? else {
            return Ok(None);
        };
        let (version, rest) = take_i16(record.value.as_deref().unwrap_or_default())?;
        let epoch = rest.first_chunk::<4>().ok_or(BatchError::BadControlRecord)?;
        if version < 0 {
            return Err(BatchError::BadControlRecord);
        }
        Ok(Some(Self {
            control_type,
            coordinator_epoch: i32::from_be_bytes(*epoch),
        }))
    }
}

/// A control batch with the marker, at offset 0: see [`super::set_base_offset`].
pub fn end_transaction_marker(
    marker: &EndTransactionMarker,
    identity: Identity,
    timestamp: Timestamp,
) -> Bytes {
    let mut key = [0; 4];
    key[2..].copy_from_slice(&marker.control_type.number().to_be_bytes());
    let mut value = [0; 6];
    value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
    let record = RecordFields {
        offset_delta: 0,
        timestamp_delta: 0,
        key: Some(&key),
        value: Some(&value),
        headers: &[],
    };
    let mut records = Vec::with_capacity(32);
    put_record(&mut records, &record);
    let fields = HeaderFields {
        attributes: Attributes::default().transactional().control(),
        last_offset_delta: 0,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        record_count: 1,
        ..HeaderFields::default()
    };
    encode_batch(&fields, &records)
}

fn take_i16(bytes: &[u8]) -> Result<(i16, &[u8]), BatchError> {
    let (number, rest) = bytes
        .split_first_chunk::<2>()
        .ok_or(BatchError::BadControlRecord)?;
    Ok((i16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchView;
    use crate::units::{ProducerEpoch, ProducerId};

    fn marker_record(marker: &EndTransactionMarker) -> RecordView {
        let identity = Identity {
            id: ProducerId(9),
            epoch: ProducerEpoch(2),
        };
        let batch =
            BatchView::parse(&end_transaction_marker(marker, identity, Timestamp(5))).expect("a batch");
        assert_eq!(batch.verify_crc(), Ok(()));
        assert!(batch.header.attributes.is_control() && batch.header.attributes.is_transactional());
        assert_eq!(batch.header.base_sequence, None);
        batch
            .records(0)
            .expect("not compressed")
            .next()
            .expect("one record")
            .expect("a legal record")
    }

    /// W-11: a marker comes back as it was written.
    #[test]
    fn a_marker_comes_back_from_its_batch() {
        for control_type in [ControlType::Abort, ControlType::Commit] {
            let marker = EndTransactionMarker {
                control_type,
                coordinator_epoch: 17,
            };
            assert_eq!(
                EndTransactionMarker::parse(&marker_record(&marker)),
                Ok(Some(marker))
            );
        }
    }

    /// W-11: newer versions are read by their known beginning, negative ones are errors, other kinds are passed over.
    #[test]
    fn control_records_of_the_future_are_passed_over() {
        assert_eq!(
            ControlType::parse(&[0, 5, 0, 1, 99]),
            Ok(Some(ControlType::Commit))
        );
        assert_eq!(ControlType::parse(&[0, 0, 0, 2]), Ok(None));
        assert_eq!(
            ControlType::parse(&[0xff, 0xff, 0, 1]),
            Err(BatchError::BadControlRecord)
        );
        assert_eq!(ControlType::parse(&[0, 0, 0]), Err(BatchError::BadControlRecord));

        let mut record = marker_record(&EndTransactionMarker {
            control_type: ControlType::Commit,
            coordinator_epoch: 1,
        });
        record.value = Some(Bytes::from_static(&[0, 1, 0, 0, 0, 4, 7, 7]));
        let marker = EndTransactionMarker {
            control_type: ControlType::Commit,
            coordinator_epoch: 4,
        };
        assert_eq!(EndTransactionMarker::parse(&record), Ok(Some(marker)));
        record.value = Some(Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 4]));
        assert_eq!(
            EndTransactionMarker::parse(&record),
            Err(BatchError::BadControlRecord)
        );
        record.value = None;
        assert_eq!(
            EndTransactionMarker::parse(&record),
            Err(BatchError::BadControlRecord)
        );
    }
}
