//! Batches against an independent implementation, and against bytes that lie. Test code only.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as reference;

use super::*;
use crate::sample::Random;
use crate::units::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const BASE_TIME: i64 = 1_700_000_000_000;

/// One record as plain values.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn optional_bytes(random: &mut Random, most: u64) -> Option<Vec<u8>> {
    let len = random.below(most) as usize;
    (random.below(5) != 0).then(|| random.bytes(len))
}

fn plain_records(random: &mut Random) -> Vec<Plain> {
    let count = 1 + random.below(40);
    let mut records = Vec::new();
    for _ in 0..count {
        let headers = (0..random.below(4))
            .map(|n| (format!("h{n}"), optional_bytes(random, 20)))
            .collect();
        let timestamp = BASE_TIME + random.below(100_000) as i64;
        records.push(Plain {
            timestamp,
            key: optional_bytes(random, 20),
            value: optional_bytes(random, 300),
            headers,
        });
    }
    records
}

fn encode_records(records: &[Plain]) -> Vec<u8> {
    let mut buf = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| HeaderRef {
                key,
                value: value.as_deref(),
            })
            .collect();
        let fields = RecordFields {
            offset_delta: at as i32,
            timestamp_delta: record.timestamp - records[0].timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        put_record(&mut buf, &fields);
    }
    buf
}

fn header_fields(records: &[Plain]) -> HeaderFields {
    HeaderFields {
        base_offset: Offset(500),
        partition_leader_epoch: LeaderEpoch(4),
        attributes: Attributes::default().transactional(),
        last_offset_delta: records.len() as i32 - 1,
        base_timestamp: Timestamp(records[0].timestamp),
        max_timestamp: Timestamp(records.iter().map(|record| record.timestamp).max().unwrap_or(-1)),
        producer_id: ProducerId(81),
        producer_epoch: ProducerEpoch(6),
        base_sequence: Sequence::new(30),
        record_count: records.len() as u32,
    }
}

fn reference_record(at: usize, record: &Plain) -> reference::Record {
    let headers = record
        .headers
        .iter()
        .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)));
    reference::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 4,
        producer_id: 81,
        producer_epoch: 6,
        timestamp_type: reference::TimestampType::Creation,
        offset: 500 + at as i64,
        sequence: 30 + at as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: headers.collect(),
    }
}

fn plain(record: &RecordView) -> Plain {
    let headers = record
        .headers
        .iter()
        .map(|header| (header.key.clone(), header.value.clone().map(|v| v.to_vec())));
    Plain {
        timestamp: record.timestamp.0,
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()),
        headers: headers.collect(),
    }
}

/// W-1…W-9: our batch has the bytes of an independent implementation, and each side reads the other's.
#[test]
fn a_batch_agrees_with_the_reference() {
    let mut random = Random(21);
    let options = reference::RecordEncodeOptions {
        version: 2,
        compression: reference::Compression::None,
    };
    for _ in 0..200 {
        let mut records = plain_records(&mut random);
        records.sort_by_key(|record| record.timestamp);
        let ours = encode_batch(&header_fields(&records), &encode_records(&records));

        let theirs: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(at, record)| reference_record(at, record))
            .collect();
        let mut bytes = BytesMut::new();
        reference::RecordBatchEncoder::encode(&mut bytes, &theirs, &options)
            .expect("the reference writes a batch");
        assert_eq!(ours, bytes.freeze());

        let read =
            reference::RecordBatchDecoder::decode(&mut ours.clone()).expect("the reference reads our batch");
        assert_eq!(read.records, theirs);

        let batch = BatchView::parse(&ours).expect("a legal batch");
        assert_eq!(batch.verify_crc(), Ok(()));
        let read: Vec<_> = batch
            .records(0)
            .expect("not compressed")
            .map(|record| plain(&record.expect("legal")))
            .collect();
        assert_eq!(read, records);
    }
}

/// W-7: negative deltas, repeated header keys and the order of headers survive.
#[test]
fn records_keep_what_the_reference_loses() {
    let header = |key: &str, value: &[u8]| (key.to_owned(), Some(value.to_vec()));
    let first = Plain {
        timestamp: BASE_TIME,
        key: None,
        value: None,
        headers: Vec::new(),
    };
    let second = Plain {
        timestamp: BASE_TIME - 5_000,
        headers: vec![
            header("b", b"1"),
            header("a", b"2"),
            header("b", b"3"),
            ("".to_owned(), None),
        ],
        ..first.clone()
    };
    let records = [first, second];
    let bytes = encode_batch(&header_fields(&records), &encode_records(&records));
    let batch = BatchView::parse(&bytes).expect("a legal batch");
    let read: Vec<_> = batch
        .records(0)
        .expect("not compressed")
        .map(|record| record.expect("legal"))
        .collect();
    assert_eq!(read.iter().map(plain).collect::<Vec<_>>(), records);
    assert_eq!((read[1].offset, read[1].offset_delta), (Offset(501), 1));
}

/// W-3: the records of a batch with the broker's time carry that time.
#[test]
fn the_time_of_the_log_replaces_that_of_the_records() {
    let records = plain_records(&mut Random(1));
    let mut fields = header_fields(&records);
    fields.attributes = fields
        .attributes
        .with_timestamp_type(TimestampType::LogAppendTime);
    fields.max_timestamp = Timestamp(42);
    let batch = BatchView::parse(&encode_batch(&fields, &encode_records(&records))).expect("a legal batch");
    for record in batch.records(0).expect("not compressed") {
        assert_eq!(record.expect("legal").timestamp, Timestamp(42));
    }
}

fn first_error(record_count: u32, records: &[u8]) -> Option<BatchError> {
    let fields = HeaderFields {
        record_count,
        ..HeaderFields::default()
    };
    let batch = BatchView::parse(&encode_batch(&fields, records)).expect("a legal header");
    batch.records(0).expect("not compressed").find_map(Result::err)
}

fn bad(record: u32, problem: RecordProblem) -> Option<BatchError> {
    Some(BatchError::BadRecord { record, problem })
}

/// W-2: the declared number of records uses up the bytes exactly; with none the rest is not looked at.
#[test]
fn a_wrong_number_of_records_is_an_error() {
    let record = [12, 0, 0, 0, 1, 1, 0];
    assert_eq!(first_error(1, &record), None);
    assert_eq!(first_error(2, &record), bad(1, RecordProblem::BeyondEnd));
    assert_eq!(
        first_error(1, &[record, record].concat()),
        Some(BatchError::BytesBehindRecords(7))
    );
    assert_eq!(first_error(0, &record), None);
    assert_eq!(
        first_error(u32::MAX >> 1, &record),
        bad(1, RecordProblem::BeyondEnd)
    );
}

/// W-16: every way in which a record can contradict itself.
#[test]
fn a_record_that_contradicts_itself_is_an_error() {
    use RecordProblem::*;
    let cases: [(&[u8], RecordProblem); 13] = [
        (&[], BeyondEnd),
        (&[14, 0, 0, 0, 1, 1, 0], BeyondEnd),
        (&[1, 0, 0, 0, 1, 1, 0], NegativeLength),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 1], VarintTooLong),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f], VarintTooLong),
        (&[0x80], BeyondEnd),
        (&[12, 0, 0, 0, 20, 1, 0], BeyondEnd),
        (&[12, 0, 0, 0, 1, 20, 0], BeyondEnd),
        (&[12, 0, 0, 0, 1, 1, 1], BadHeaderCount),
        (&[12, 0, 0, 0, 1, 1, 2], BadHeaderCount),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], NullHeaderKey),
        (&[14, 0, 0, 0, 1, 1, 0, 7], TrailingBytes),
        (&[16, 0, 0, 0, 1, 1, 2, 4, b'k'], BeyondEnd),
    ];
    for (bytes, problem) in cases {
        assert_eq!(first_error(1, bytes), bad(0, problem), "{bytes:?}");
    }
}

/// W-16: every negative length is null, not only -1.
#[test]
fn negative_lengths_are_null() {
    let fields = HeaderFields {
        record_count: 1,
        ..HeaderFields::default()
    };
    let bytes = encode_batch(&fields, &[18, 0, 0, 0, 3, 5, 2, 2, b'k', 9]);
    let batch = BatchView::parse(&bytes).expect("a legal header");
    let record = batch
        .records(0)
        .expect("not compressed")
        .next()
        .expect("one record")
        .expect("legal");
    assert_eq!((record.key, record.value), (None, None));
    assert_eq!(
        record.headers,
        [RecordHeader {
            key: "k".to_owned(),
            value: None
        }]
    );
}

/// W-16: whatever the bytes are, reading them ends, at the latest after as many records as there are bytes.
#[test]
fn hostile_batches_are_errors() {
    let mut random = Random(77);
    for _ in 0..3_000 {
        let records = plain_records(&mut random);
        let mut bytes = encode_batch(&header_fields(&records), &encode_records(&records)).to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        let len = bytes.len();
        bytes.truncate(len - random.below(3) as usize);
        for batch in batches(Bytes::from(bytes)).flatten() {
            if let Ok(records) = batch.records(1 << 20) {
                assert!(records.count() <= len);
            }
        }
    }
}

/// Target F4: a record may have hundreds of empty headers, but not so many that a few compressed bytes fill the memory.
#[test]
fn empty_headers_take_no_more_memory_than_their_record_justifies() {
    let empty = HeaderRef {
        key: "",
        value: Some(b""),
    };
    for (count, expected) in [(500, None), (500_000, bad(0, RecordProblem::BadHeaderCount))] {
        let headers = vec![empty; count];
        let mut records = Vec::new();
        put_record(
            &mut records,
            &RecordFields {
                offset_delta: 0,
                timestamp_delta: 0,
                key: None,
                value: None,
                headers: &headers,
            },
        );
        let counted = allocation_counter::measure(|| assert_eq!(first_error(1, &records), expected));
        assert!(
            counted.bytes_max <= 16 * records.len() as u64 + (64 << 10),
            "{counted:?}"
        );
    }
}

/// A fetch may cut the last batch off; a batch of another format is an error, and nothing is read behind it.
#[test]
fn a_blob_ends_at_a_batch_that_is_cut_off() {
    let records = plain_records(&mut Random(4));
    let batch = encode_batch(&header_fields(&records), &encode_records(&records));
    let whole = [&batch[..], &batch].concat();
    for tail in [0, 1, 16, 17, 60, 61, batch.len() - 1] {
        let mut found = batches(Bytes::from([&whole[..], &batch[..tail]].concat()));
        assert_eq!(
            found.by_ref().filter_map(Result::ok).count(),
            2,
            "a tail of {tail} bytes"
        );
        assert_eq!(found.rest().len(), tail);
    }
    let mut old = batch.to_vec();
    old[MAGIC_AT] = 1;
    let mut found = batches(Bytes::from([old, whole].concat()));
    assert_eq!(found.next(), Some(Err(BatchError::UnknownMagic(1))));
    assert_eq!(found.next(), None);
}
