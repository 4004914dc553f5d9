//! The fixed part of a batch and its checksum: written in place, read with all the checks of W-2.

use bytes::Bytes;
use thiserror::Error;

use super::checksum::combine;
use super::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_LENGTH, BatchError, CRC,
    HEADER_LEN, LAST_OFFSET_DELTA, LENGTH_OVERHEAD, MAGIC, MAGIC_AT, MAX_TIMESTAMP, PARTITION_LEADER_EPOCH,
    PRODUCER_EPOCH, PRODUCER_ID, RECORD_COUNT,
};
use crate::units::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// What a writer decides about the header. Length, format and checksum follow from the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    /// The offset of the first record; 0 from a producer.
    pub base_offset: Offset,
    /// The epoch of the leader that wrote the batch; -1 from a producer.
    pub partition_leader_epoch: LeaderEpoch,
    /// How the batch is to be read.
    pub attributes: Attributes,
    /// The offset delta of the last record.
    pub last_offset_delta: i32,
    /// The timestamp of the first record.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the records.
    pub max_timestamp: Timestamp,
    /// Whose batch it is.
    pub producer_id: ProducerId,
    /// In which generation.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record, or `None` without an identity.
    pub base_sequence: Option<Sequence>,
    /// How many records follow.
    pub record_count: u32,
}

/// The header of an empty batch from nobody.
impl Default for HeaderFields {
    fn default() -> Self {
        Self {
            base_offset: Offset::ZERO,
            partition_leader_epoch: LeaderEpoch(-1),
            attributes: Attributes::default(),
            last_offset_delta: -1,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: None,
            record_count: 0,
        }
    }
}

/// A header that no broker would accept from a producer (W-8, W-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IllegalHeader {
    /// A transaction has an owner.
    #[error("a transactional batch needs a producer id")]
    TransactionWithoutProducerId,
    /// A producer id comes with its generation.
    #[error("a batch with a producer id needs a producer epoch")]
    ProducerIdWithoutEpoch,
    /// Records of a known producer are numbered; markers are not.
    #[error("a batch with a producer id needs a base sequence")]
    ProducerIdWithoutSequence,
    /// Only -1 stands for an unknown time.
    #[error("a batch has the negative timestamp {0}")]
    NegativeTimestamp(Timestamp),
}

impl HeaderFields {
    /// Whether the fields fit together (W-8, W-10): asked when a batch is closed or stamped.
    pub fn check(&self) -> Result<(), IllegalHeader> {
        for timestamp in [self.base_timestamp, self.max_timestamp] {
            if timestamp < Timestamp::NONE {
                return Err(IllegalHeader::NegativeTimestamp(timestamp));
            }
        }
        if self.producer_id == ProducerId::NONE {
            let is_transactional = self.attributes.is_transactional();
            return if is_transactional {
                Err(IllegalHeader::TransactionWithoutProducerId)
            } else {
                Ok(())
            };
        }
        if self.producer_epoch < ProducerEpoch::FIRST {
            return Err(IllegalHeader::ProducerIdWithoutEpoch);
        }
        if self.base_sequence.is_none() && !self.attributes.is_control() {
            return Err(IllegalHeader::ProducerIdWithoutSequence);
        }
        Ok(())
    }
}

/// Writes the header in front of the records that `batch` holds from [`HEADER_LEN`] on. The checksum is left as it is:
/// [`finish_crc`] comes last.
///
/// # Panics
///
/// When `batch` is shorter than a header.
pub fn write_header(batch: &mut [u8], fields: &HeaderFields) {
    let length = i32::try_from(batch.len() - LENGTH_OVERHEAD).unwrap_or(i32::MAX);
    batch[BASE_OFFSET].copy_from_slice(&fields.base_offset.0.to_be_bytes());
    batch[BATCH_LENGTH].copy_from_slice(&length.to_be_bytes());
    batch[PARTITION_LEADER_EPOCH].copy_from_slice(&fields.partition_leader_epoch.0.to_be_bytes());
    batch[MAGIC_AT] = MAGIC as u8;
    batch[ATTRIBUTES].copy_from_slice(&fields.attributes.bits().to_be_bytes());
    batch[LAST_OFFSET_DELTA].copy_from_slice(&fields.last_offset_delta.to_be_bytes());
    batch[BASE_TIMESTAMP].copy_from_slice(&fields.base_timestamp.0.to_be_bytes());
    batch[MAX_TIMESTAMP].copy_from_slice(&fields.max_timestamp.0.to_be_bytes());
    batch[PRODUCER_ID].copy_from_slice(&fields.producer_id.0.to_be_bytes());
    batch[PRODUCER_EPOCH].copy_from_slice(&fields.producer_epoch.0.to_be_bytes());
    batch[BASE_SEQUENCE].copy_from_slice(&fields.base_sequence.map_or(-1, Sequence::number).to_be_bytes());
    batch[RECORD_COUNT].copy_from_slice(&fields.record_count.to_be_bytes());
}

/// Gives a stored batch its place in the log. The checksum does not cover these two fields (W-1).
///
/// # Panics
///
/// When `batch` is shorter than a header.
pub fn set_base_offset(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[BASE_OFFSET].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[PARTITION_LEADER_EPOCH].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// The checksum of the records alone: computed once when a batch is closed, however often it is stamped afterwards.
pub fn records_crc(records: &[u8]) -> u32 {
    crc32c::crc32c(records)
}

/// Writes the checksum of the whole batch, given that of its records ([`records_crc`] of everything behind the header).
///
/// # Panics
///
/// When `batch` is shorter than a header.
pub fn finish_crc(batch: &mut [u8], records_crc: u32) {
    let header_crc = crc32c::crc32c(&batch[ATTRIBUTES.start..HEADER_LEN]);
    let crc = combine(header_crc, records_crc, batch.len() - HEADER_LEN);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
}

/// Whether the checksum of a whole batch fits its bytes.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    if batch.len() < HEADER_LEN {
        return Err(BatchError::TooShort(batch.len()));
    }
    let declared = u32::from_be_bytes(array(batch, CRC.start));
    let computed = crc32c::crc32c(&batch[ATTRIBUTES.start..]);
    if declared == computed {
        Ok(())
    } else {
        Err(BatchError::WrongCrc { declared, computed })
    }
}

/// A whole batch around records that are encoded already.
pub fn encode_batch(fields: &HeaderFields, records: &[u8]) -> Bytes {
    let mut batch = vec![0; HEADER_LEN];
    batch.extend_from_slice(records);
    write_header(&mut batch, fields);
    finish_crc(&mut batch, records_crc(records));
    Bytes::from(batch)
}

/// The header of a batch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// How many bytes the whole batch has.
    pub len: usize,
    /// The epoch of the leader that wrote the batch.
    pub partition_leader_epoch: LeaderEpoch,
    /// The declared checksum; see [`verify_crc`].
    pub crc: u32,
    /// How the batch is to be read.
    pub attributes: Attributes,
    /// The offset delta of the last record.
    pub last_offset_delta: i32,
    /// The timestamp that the records' deltas start from.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the records.
    pub max_timestamp: Timestamp,
    /// Whose batch it is.
    pub producer_id: ProducerId,
    /// In which generation.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; `None` for every negative number.
    pub base_sequence: Option<Sequence>,
    /// How many records follow.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads the header of the batch with which `bytes` begin; there may be more behind it. Checks format, length and the number
    /// of records; the checksum is checked by [`verify_crc`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() <= MAGIC_AT {
            return Err(BatchError::TooShort(bytes.len()));
        }
        let magic = bytes[MAGIC_AT] as i8;
        if magic != MAGIC {
            return Err(BatchError::UnknownMagic(magic));
        }
        if bytes.len() < HEADER_LEN {
            return Err(BatchError::TooShort(bytes.len()));
        }
        let len = declared_len(bytes)?;
        if len > bytes.len() {
            return Err(BatchError::Incomplete {
                declared: len,
                present: bytes.len(),
            });
        }
        let count = i32::from_be_bytes(array(bytes, RECORD_COUNT.start));
        let record_count = u32::try_from(count).map_err(|_| BatchError::NegativeRecordCount(count))?;
        Ok(Self {
            base_offset: Offset(i64::from_be_bytes(array(bytes, BASE_OFFSET.start))),
            len,
            partition_leader_epoch: LeaderEpoch(i32::from_be_bytes(array(
                bytes,
                PARTITION_LEADER_EPOCH.start,
            ))),
            crc: u32::from_be_bytes(array(bytes, CRC.start)),
            attributes: Attributes::from_bits(i16::from_be_bytes(array(bytes, ATTRIBUTES.start))),
            last_offset_delta: i32::from_be_bytes(array(bytes, LAST_OFFSET_DELTA.start)),
            base_timestamp: Timestamp(i64::from_be_bytes(array(bytes, BASE_TIMESTAMP.start))),
            max_timestamp: Timestamp(i64::from_be_bytes(array(bytes, MAX_TIMESTAMP.start))),
            producer_id: ProducerId(i64::from_be_bytes(array(bytes, PRODUCER_ID.start))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(array(bytes, PRODUCER_EPOCH.start))),
            base_sequence: Sequence::new(i32::from_be_bytes(array(bytes, BASE_SEQUENCE.start))),
            record_count,
        })
    }

    /// The header as a writer gives it: to write it again with a change.
    pub fn fields(&self) -> HeaderFields {
        HeaderFields {
            base_offset: self.base_offset,
            partition_leader_epoch: self.partition_leader_epoch,
            attributes: self.attributes,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count,
        }
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.wrapping_add(i64::from(self.last_offset_delta)))
    }

    /// The sequence of the last record (W-9).
    pub fn last_sequence(&self) -> Option<Sequence> {
        let distance = u32::try_from(self.last_offset_delta).ok()?;
        self.base_sequence.map(|base| base.advanced_by(distance))
    }
}

/// The whole length that a batch declares, given at least its first twelve bytes.
pub(super) fn declared_len(bytes: &[u8]) -> Result<usize, BatchError> {
    let length = i32::from_be_bytes(array(bytes, BATCH_LENGTH.start));
    match usize::try_from(length) {
        Ok(len) if len + LENGTH_OVERHEAD >= HEADER_LEN => Ok(len + LENGTH_OVERHEAD),
        _ => Err(BatchError::BadLength(length)),
    }
}

/// The `N` bytes from `at` on; the caller has checked that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Random;

    fn fields() -> HeaderFields {
        HeaderFields {
            attributes: Attributes::default().transactional(),
            last_offset_delta: 4,
            base_timestamp: Timestamp(1_000),
            max_timestamp: Timestamp(2_000),
            producer_id: ProducerId(77),
            producer_epoch: ProducerEpoch(3),
            base_sequence: Sequence::new(i32::MAX - 1),
            record_count: 5,
            ..HeaderFields::default()
        }
    }

    /// W-1: a checksum that is put together equals one that is computed over everything.
    #[test]
    fn a_combined_checksum_is_the_checksum_of_the_whole() {
        let mut random = Random(3);
        for len in [0, 1, 2, 63, 64, 1000, 16_384, 100_001] {
            let records = random.bytes(len);
            let batch = encode_batch(&fields(), &records);
            assert_eq!(verify_crc(&batch), Ok(()), "{len} bytes of records");
            let mut damaged = batch.to_vec();
            let at = ATTRIBUTES.start + random.below((batch.len() - ATTRIBUTES.start) as u64) as usize;
            damaged[at] ^= 1;
            assert!(matches!(verify_crc(&damaged), Err(BatchError::WrongCrc { .. })));
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let batch = encode_batch(&fields(), b"records");
        let header = BatchHeader::parse(&batch).expect("a legal header");
        assert_eq!(header.fields(), fields());
        assert_eq!(header.len, batch.len());
        assert_eq!(header.last_offset(), Offset(4));
        assert_eq!(
            header.last_sequence(),
            Sequence::new(2),
            "W-9: behind i32::MAX comes 0"
        );
    }

    /// W-1: the broker gives a batch its offset without a new checksum.
    #[test]
    fn the_checksum_survives_a_new_base_offset() {
        let mut batch = encode_batch(&fields(), b"records").to_vec();
        set_base_offset(&mut batch, Offset(900), LeaderEpoch(8));
        assert_eq!(verify_crc(&batch), Ok(()));
        let header = BatchHeader::parse(&batch).expect("a legal header");
        assert_eq!(
            (header.base_offset, header.partition_leader_epoch),
            (Offset(900), LeaderEpoch(8))
        );
    }

    /// W-2: what a reader rejects.
    #[test]
    fn an_impossible_header_is_rejected() {
        let batch = encode_batch(&fields(), b"").to_vec();
        let parse_with = |at: usize, bytes: &[u8]| {
            let mut batch = batch.clone();
            batch[at..at + bytes.len()].copy_from_slice(bytes);
            BatchHeader::parse(&batch)
        };
        assert_eq!(BatchHeader::parse(&batch[..60]), Err(BatchError::TooShort(60)));
        assert_eq!(BatchHeader::parse(&[]), Err(BatchError::TooShort(0)));
        assert_eq!(parse_with(MAGIC_AT, &[1]), Err(BatchError::UnknownMagic(1)));
        assert_eq!(
            parse_with(BATCH_LENGTH.start, &[0, 0, 0, 48]),
            Err(BatchError::BadLength(48))
        );
        assert_eq!(
            parse_with(BATCH_LENGTH.start, &[0xff; 4]),
            Err(BatchError::BadLength(-1))
        );
        let incomplete = BatchError::Incomplete {
            declared: 62,
            present: 61,
        };
        assert_eq!(parse_with(BATCH_LENGTH.start, &[0, 0, 0, 50]), Err(incomplete));
        assert_eq!(
            parse_with(RECORD_COUNT.start, &[0xff; 4]),
            Err(BatchError::NegativeRecordCount(-1))
        );
    }

    /// W-8, W-10: a transaction needs a producer id, an id needs epoch and sequence, and times are not negative.
    #[test]
    fn fields_that_do_not_fit_together_are_found() {
        assert_eq!(fields().check(), Ok(()));
        assert_eq!(HeaderFields::default().check(), Ok(()));
        let check = |change: fn(&mut HeaderFields)| {
            let mut fields = fields();
            change(&mut fields);
            fields.check()
        };
        let without_id = check(|fields| fields.producer_id = ProducerId::NONE);
        assert_eq!(without_id, Err(IllegalHeader::TransactionWithoutProducerId));
        let without_epoch = check(|fields| fields.producer_epoch = ProducerEpoch::NONE);
        assert_eq!(without_epoch, Err(IllegalHeader::ProducerIdWithoutEpoch));
        let without_sequence = check(|fields| fields.base_sequence = None);
        assert_eq!(without_sequence, Err(IllegalHeader::ProducerIdWithoutSequence));
        let marker = check(|fields| {
            fields.base_sequence = None;
            fields.attributes = fields.attributes.control();
        });
        assert_eq!(marker, Ok(()));
        let negative = check(|fields| fields.base_timestamp = Timestamp(-2));
        assert_eq!(negative, Err(IllegalHeader::NegativeTimestamp(Timestamp(-2))));
    }
}
