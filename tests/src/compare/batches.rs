//! Batches to send, right and wrong ones, written byte by byte. It uses no batch writer of ours, because wrong batches are the point.

use std::ops::Range;

use bytes::Bytes;
use kommit_protocol::batch::{self, HEADER_LEN};
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId};

/// The timestamp of records unless a script says otherwise: 2023, long past and within every limit.
pub const USUAL_TIME: i64 = 1_700_000_000_000;
/// The bit of transactional batches.
pub const TRANSACTIONAL: i16 = 0x10;
/// The bit of control batches.
pub const CONTROL: i16 = 0x20;
/// The bit of batches with the broker's time.
pub const APPEND_TIME: i16 = 0x08;

/// A batch of records with one-letter keys and values.
#[derive(Clone, Debug)]
pub struct Batch {
    identity: Identity,
    sequence: i32,
    count: i32,
    attributes: i16,
    time: i64,
    key: Option<&'static [u8]>,
    records: Option<Vec<u8>>,
    before_crc: Vec<(usize, Vec<u8>)>,
    after_crc: Vec<(usize, Vec<u8>)>,
}

impl Batch {
    /// One record without a producer.
    pub fn plain() -> Self {
        Self {
            identity: Identity {
                id: ProducerId(-1),
                epoch: ProducerEpoch(-1),
            },
            sequence: -1,
            count: 1,
            attributes: 0,
            time: USUAL_TIME,
            key: Some(b"k"),
            records: None,
            before_crc: Vec::new(),
            after_crc: Vec::new(),
        }
    }

    /// One record of an idempotent producer.
    pub fn of(identity: Identity, sequence: i32) -> Self {
        Self {
            identity,
            sequence,
            ..Self::plain()
        }
    }

    /// One record of a transaction.
    pub fn in_transaction(identity: Identity, sequence: i32) -> Self {
        Self {
            attributes: TRANSACTIONAL,
            ..Self::of(identity, sequence)
        }
    }

    /// So many records.
    #[must_use]
    pub fn records(self, count: i32) -> Self {
        Self { count, ..self }
    }

    /// With these attributes, whatever they mean.
    #[must_use]
    pub fn attributes(self, attributes: i16) -> Self {
        Self { attributes, ..self }
    }

    /// All records of this time.
    #[must_use]
    pub fn time(self, time: i64) -> Self {
        Self { time, ..self }
    }

    /// Keys are null.
    #[must_use]
    pub fn without_keys(self) -> Self {
        Self { key: None, ..self }
    }

    /// These bytes instead of records.
    #[must_use]
    pub fn body(self, records: Vec<u8>) -> Self {
        Self {
            records: Some(records),
            ..self
        }
    }

    /// Writes other bytes into the header, before the checksum is made.
    #[must_use]
    pub fn with(mut self, place: Range<usize>, bytes: impl AsRef<[u8]>) -> Self {
        self.before_crc.push((place.start, bytes.as_ref().to_vec()));
        self
    }

    /// Writes other bytes over the finished batch.
    #[must_use]
    pub fn damaged(mut self, place: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.after_crc.push((place, bytes.as_ref().to_vec()));
        self
    }

    /// The bytes of the batch.
    pub fn bytes(&self) -> Bytes {
        let records = self.records.clone().unwrap_or_else(|| self.usual_records());
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend_from_slice(&records);
        let length =
            i32::try_from(bytes.len() - batch::LENGTH_OVERHEAD).expect("a batch of a script is small");
        put(&mut bytes, batch::BATCH_LENGTH.start, &length.to_be_bytes());
        put(
            &mut bytes,
            batch::PARTITION_LEADER_EPOCH.start,
            &(-1_i32).to_be_bytes(),
        );
        put(&mut bytes, batch::MAGIC_AT, &[2]);
        put(
            &mut bytes,
            batch::ATTRIBUTES.start,
            &self.attributes.to_be_bytes(),
        );
        put(
            &mut bytes,
            batch::LAST_OFFSET_DELTA.start,
            &(self.count - 1).to_be_bytes(),
        );
        put(&mut bytes, batch::BASE_TIMESTAMP.start, &self.time.to_be_bytes());
        put(&mut bytes, batch::MAX_TIMESTAMP.start, &self.time.to_be_bytes());
        put(
            &mut bytes,
            batch::PRODUCER_ID.start,
            &self.identity.id.0.to_be_bytes(),
        );
        put(
            &mut bytes,
            batch::PRODUCER_EPOCH.start,
            &self.identity.epoch.0.to_be_bytes(),
        );
        put(
            &mut bytes,
            batch::BASE_SEQUENCE.start,
            &self.sequence.to_be_bytes(),
        );
        put(&mut bytes, batch::RECORD_COUNT.start, &self.count.to_be_bytes());
        for (place, changed) in &self.before_crc {
            put(&mut bytes, *place, changed);
        }
        let records = batch::records_crc(bytes.get(HEADER_LEN..).unwrap_or_default());
        batch::finish_crc(&mut bytes, records);
        for (place, changed) in &self.after_crc {
            put(&mut bytes, *place, changed);
        }
        bytes.into()
    }

    fn usual_records(&self) -> Vec<u8> {
        (0..self.count.max(0))
            .flat_map(|delta| record(0, delta, self.key, Some(b"v")))
            .collect()
    }
}

/// One record with its length before it.
pub fn record(time_delta: i64, offset_delta: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![0];
    put_varint(&mut body, time_delta);
    put_varint(&mut body, offset_delta.into());
    for part in [key, value] {
        put_varint(&mut body, part.map_or(-1, |part| part.len() as i64));
        body.extend_from_slice(part.unwrap_or_default());
    }
    put_varint(&mut body, 0);
    let mut framed = Vec::new();
    put_varint(&mut framed, body.len() as i64);
    framed.extend(body);
    framed
}

/// Appends a zigzag number.
pub fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn put(bytes: &mut [u8], place: usize, changed: &[u8]) {
    bytes
        .get_mut(place..place + changed.len())
        .expect("a script changes bytes within its batch")
        .copy_from_slice(changed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_a_script_is_a_batch() {
        let bytes = Batch::plain().records(3).bytes();
        let view = batch::BatchView::parse(&bytes).expect("a batch");
        assert_eq!(view.verify_crc(), Ok(()));
        assert_eq!(view.records(1 << 10).expect("records").count(), 3);
        let damaged = Batch::plain().damaged(batch::CRC.start, [0, 0]).bytes();
        assert!(batch::verify_crc(&damaged).is_err());
    }
}
