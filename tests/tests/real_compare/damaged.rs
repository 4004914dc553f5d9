//! Batches that are none, and records that are none, compressed and not.

use bytes::Bytes;
use kommit_protocol::batch::{self, Attributes, Compression};
use kommit_protocol::compression::compress;
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::{Batch, CONTROL, TRANSACTIONAL, record};
use kommit_tests::compare::requests::produce;

use super::produce::{BY_ID, USUAL, one};

scripts! { at [2, 3.9]:
    /// B-24, B-31, B-32: batches that are none.
    damaged_batches;
    /// B-24, B-33: codecs by version, and bodies that are not compressed at all.
    codecs;
}

/// What is wrong with each batch, and its bytes.
fn damaged() -> Vec<(String, Bytes)> {
    let whole = Batch::plain().records(3);
    let bytes = whole.bytes();
    let len = bytes.len();
    let length = |wrong: usize| i32::try_from(wrong).expect("small").to_be_bytes();
    let with_length = |length: [u8; 4]| whole.clone().damaged(batch::BATCH_LENGTH.start, length).bytes();
    let with_attributes = |bits| whole.clone().attributes(bits).bytes();
    let mut cases: Vec<(String, Bytes)> = vec![
        ("two batches".into(), [&bytes[..], &bytes[..]].concat().into()),
        (
            "a wrong checksum".into(),
            whole.clone().damaged(batch::CRC.start, [1, 2, 3, 4]).bytes(),
        ),
        (
            "a wrong last byte".into(),
            whole.clone().damaged(len - 1, [9]).bytes(),
        ),
        ("a length of 48".into(), with_length(length(48))),
        ("a length of 0".into(), with_length(length(0))),
        ("a negative length".into(), with_length([0xff; 4])),
        ("a length beyond the end".into(), with_length(length(len))),
        (
            "a length that is short by one".into(),
            with_length(length(len - 13)),
        ),
        (
            "another leader epoch".into(),
            whole
                .clone()
                .damaged(batch::PARTITION_LEADER_EPOCH.start, [0, 0, 0, 9])
                .bytes(),
        ),
        (
            "another base offset".into(),
            whole.clone().damaged(0, 77_i64.to_be_bytes()).bytes(),
        ),
        (
            "a negative base offset".into(),
            whole.clone().damaged(0, (-1_i64).to_be_bytes()).bytes(),
        ),
        ("a control batch".into(), with_attributes(CONTROL)),
        (
            "a transactional control batch".into(),
            with_attributes(CONTROL | TRANSACTIONAL),
        ),
        ("an unused attribute".into(), with_attributes(0x80)),
        ("a delete horizon".into(), with_attributes(0x40)),
        ("codec 5".into(), with_attributes(5)),
        ("codec 7".into(), with_attributes(7)),
        ("a batch of nothing".into(), Batch::plain().records(0).bytes()),
    ];
    cases.extend(damaged_numbers(&whole));
    cases
}

/// The same batch with other numbers in its header, longer, and shorter.
fn damaged_numbers(whole: &Batch) -> Vec<(String, Bytes)> {
    let bytes = whole.bytes();
    let with_tail = |tail: usize| [&bytes[..], &vec![0; tail]].concat().into();
    let mut cases: Vec<(String, Bytes)> = Vec::new();
    for magic in [0, 1, 3, 0x7f, 0xff] {
        cases.push((
            format!("magic {magic}"),
            whole.clone().damaged(batch::MAGIC_AT, [magic]).bytes(),
        ));
    }
    for tail in [1, 5, 11, 12, 16, 17, 60, 61, 70] {
        cases.push((format!("{tail} zeros behind"), with_tail(tail)));
    }
    for keep in [1, 11, 12, 16, 17, 60, 61, 62, bytes.len() - 1] {
        cases.push((format!("cut to {keep} bytes"), bytes.slice(..keep)));
    }
    for count in [-1, 0, 1, 2, 4, i32::MAX] {
        let wrong = whole.clone().with(batch::RECORD_COUNT, count.to_be_bytes());
        cases.push((format!("count {count} for three records"), wrong.bytes()));
    }
    for delta in [-1, 0, 1, 3, i32::MAX] {
        let wrong = whole.clone().with(batch::LAST_OFFSET_DELTA, delta.to_be_bytes());
        cases.push((
            format!("last offset delta {delta} for three records"),
            wrong.bytes(),
        ));
    }
    cases
}

async fn damaged_batches(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for (label, bytes) in damaged() {
        for version in [3, 7, 8, USUAL, BY_ID] {
            let request = produce(None, -1, &[(&topic, 0, Some(bytes.clone()))]);
            actor.ask(&label, version, &request).await;
        }
    }
    for (label, records) in damaged_records() {
        let batch = Batch::plain().records(2).body(records);
        for version in [7, USUAL] {
            actor.ask(label, version, &one(&topic, &batch)).await;
        }
    }
    actor.log("what got through", &topic, 0).await;
}

/// Bodies of a batch of two records.
fn damaged_records() -> Vec<(&'static str, Vec<u8>)> {
    let [first, second] = [0, 1].map(|delta| record(0, delta, Some(b"k"), Some(b"v")));
    let both = |second: &[u8]| [&first[..], second].concat();
    let changed = |place: usize, byte: u8| {
        let mut bytes = both(&second);
        bytes[place] = byte;
        bytes
    };
    vec![
        ("fine", both(&second)),
        ("no bytes", Vec::new()),
        ("one record only", first.clone()),
        ("a byte behind", [&both(&second)[..], &[0]].concat()),
        (
            "offset deltas 0 and 0",
            both(&record(0, 0, Some(b"k"), Some(b"v"))),
        ),
        (
            "offset deltas 0 and 5",
            both(&record(0, 5, Some(b"k"), Some(b"v"))),
        ),
        (
            "a negative offset delta",
            both(&record(0, -1, Some(b"k"), Some(b"v"))),
        ),
        (
            "a time before the batch's",
            both(&record(-5, 1, Some(b"k"), Some(b"v"))),
        ),
        (
            "a time beyond the batch's",
            both(&record(7, 1, Some(b"k"), Some(b"v"))),
        ),
        ("a record of length -1", changed(0, 1)),
        ("a record that is too long", changed(0, 0x7e)),
        ("a record that is too short", changed(0, 4)),
        ("an attribute of a record", changed(1, 0xff)),
        ("a key that is too long", changed(4, 0x7e)),
        ("a key of length -2", changed(4, 3)),
        ("a value that is too long", changed(6, 0x7e)),
        ("a value that is too short", changed(6, 0)),
        ("headers that are not there", changed(8, 2)),
        ("a negative number of headers", changed(8, 1)),
        ("a length without end", vec![0xff; 20]),
    ]
}

async fn codecs(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for codec in 1..=4 {
        for (label, body) in [
            ("empty", Vec::new()),
            ("noise", b"this is not compressed".to_vec()),
        ] {
            let batch = Batch::plain().attributes(codec).body(body);
            for version in [3, 6, 7, USUAL] {
                actor
                    .ask(
                        format_args!("codec {codec}, {label}"),
                        version,
                        &one(&topic, &batch),
                    )
                    .await;
            }
        }
    }
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        for (label, records) in damaged_records() {
            let body = compress(codec, None, &records);
            let batch = Batch::plain()
                .records(2)
                .attributes(Attributes::new(codec).bits())
                .body(body);
            actor
                .ask(format_args!("{codec:?}, {label}"), USUAL, &one(&topic, &batch))
                .await;
        }
    }
    actor.log("codecs", &topic, 0).await;
}
