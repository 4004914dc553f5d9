//! The floor: a loop that encodes records into batches, finishes their checksums and writes them; nothing else.
//!
//! No sharing between tasks, no waiting for room, no retry, no second broker. What a client needs beyond this is the price of being one.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kommit_protocol::api::Request;
use kommit_protocol::batch::{
    Attributes, Compression, HEADER_LEN, HeaderFields, RecordFields, finish_crc, put_record,
    record_upper_bound, records_crc, write_header,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::{ProduceFrame, ProducePartition, decode_response, encode_request};
use kommit_protocol::messages::{
    CreateTopicsRequest, CreateTopicsRequestTopic, EndTxnRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ProduceRequest,
};
use kommit_protocol::units::{Identity, PartitionId, Sequence, Timestamp, TopicId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::measurement::{Measurement, Options};

const PRODUCE: i16 = 12;
const IN_FLIGHT: usize = 5;
const CLIENT: Option<&str> = Some("floor");

/// Runs the mode that the options name, and prints the line.
pub fn run(options: &Options) {
    let measurement = match &*options.text("mode", "throughput") {
        "throughput" => records(options),
        "txn" => transactions(options),
        other => panic!("the floor has no mode {other}"),
    };
    measurement.report("floor", options);
}

/// Writes all records, with five batches in flight.
pub fn records(options: &Options) -> Measurement {
    let mut line = Line::open(options);
    let mut batches = Batches::of(options, line.identity(None));
    let mut left = options.number("records", 1_000_000);
    let mut measurement = Measurement::begin();
    let mut in_flight = 0;
    while left > 0 {
        if in_flight == IN_FLIGHT {
            line.produced();
            in_flight -= 1;
        }
        let (batch, count) = batches.next(left);
        line.produce(&batches, batch.clone(), None);
        batches.take_back(batch);
        in_flight += 1;
        left -= count;
        measurement.acked += count;
    }
    (0..in_flight).for_each(|_| line.produced());
    measurement
}

/// Two blocking round trips for each transaction: its batch, and its end.
#[tokio::main]
pub async fn transactions(options: &Options) -> Measurement {
    let mut line = Line::open(options);
    let id = options.text("transactional-id", "floor");
    let mut batches = Batches::of(options, line.identity(Some(&id)));
    line.stream.set_nonblocking(true).expect("a socket");
    let mut stream = tokio::net::TcpStream::from_std(line.stream).expect("a socket");
    let (records, size) = (
        options.number("records", 1_000_000),
        options.number("txn-size", 100),
    );
    let mut measurement = Measurement::begin();
    for _ in 0..records / size {
        let begun = Instant::now();
        let (batch, count) = batches.next(size);
        let frame = batches.frame(&line.topic, batch, Some(&id)).concat();
        let answer = round_trip::<ProduceRequest>(&mut stream, &frame, PRODUCE).await;
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::None, "produce");
        let end = EndTxnRequest {
            transactional_id: id.clone(),
            producer_id: batches.identity.id,
            producer_epoch: batches.identity.epoch,
            committed: true,
        };
        let frame = encode_request(&end, 5, 0, CLIENT);
        let answer = round_trip::<EndTxnRequest>(&mut stream, &frame, 5).await;
        assert_eq!(answer.error_code, ErrorCode::None, "the end of a transaction");
        batches.identity = Identity {
            id: answer.producer_id,
            epoch: answer.producer_epoch,
        };
        batches.sequences.fill(Sequence::ZERO);
        measurement.time_since(begun);
        measurement.acked += count;
        measurement.transactions += 1;
    }
    measurement
}

async fn round_trip<R: Request>(
    stream: &mut tokio::net::TcpStream,
    frame: &[u8],
    version: i16,
) -> R::Response {
    stream.write_all(frame).await.expect("a socket");
    let length = stream.read_u32().await.expect("a socket");
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.expect("a socket");
    decode_response::<R>(answer.into(), version).expect("an answer").1
}

/// Batches full of one and the same record, each for the next partition.
struct Batches {
    payload: Vec<u8>,
    keys: Vec<String>,
    batch_size: usize,
    identity: Identity,
    sequences: Vec<Sequence>,
    partition: usize,
    page: Vec<u8>,
    transactional: bool,
}

impl Batches {
    fn of(options: &Options, identity: Identity) -> Self {
        let batch_size = options.number("batch-size", 16_384) as usize;
        Self {
            payload: options.payload(),
            keys: options.keys(),
            batch_size,
            identity,
            sequences: vec![Sequence::ZERO; options.number("partitions", 1) as usize],
            partition: 0,
            page: Vec::with_capacity(batch_size),
            transactional: options.text("mode", "throughput") == "txn",
        }
    }

    /// A finished batch of at most `limit` records, and how many it has.
    fn next(&mut self, limit: u64) -> (Bytes, u64) {
        self.partition = (self.partition + 1) % self.sequences.len();
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        page.resize(HEADER_LEN, 0);
        let longest = self.keys.first().map(String::as_bytes);
        let room =
            self.batch_size - record_upper_bound(longest, Some(&self.payload), &[]).min(self.batch_size);
        let mut keys = self.keys.iter().map(String::as_bytes).cycle();
        let mut count = 0;
        while count < limit && (page.len() <= room || count == 0) {
            let record = RecordFields {
                offset_delta: count as i32,
                timestamp_delta: 0,
                key: keys.next(),
                value: Some(&self.payload),
                headers: &[],
            };
            put_record(&mut page, &record);
            count += 1;
        }
        self.finish(&mut page, count as u32);
        (Bytes::from(page), count)
    }

    fn finish(&mut self, page: &mut [u8], count: u32) {
        let attributes = Attributes::new(Compression::None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sequence = &mut self.sequences[self.partition];
        let fields = HeaderFields {
            attributes: if self.transactional {
                attributes.transactional()
            } else {
                attributes
            },
            last_offset_delta: count as i32 - 1,
            base_timestamp: Timestamp(now.as_millis() as i64),
            max_timestamp: Timestamp(now.as_millis() as i64),
            producer_id: self.identity.id,
            producer_epoch: self.identity.epoch,
            base_sequence: Some(*sequence),
            record_count: count,
            ..HeaderFields::default()
        };
        *sequence = sequence.advanced_by(count);
        write_header(page, &fields);
        let crc = records_crc(&page[HEADER_LEN..]);
        finish_crc(page, crc);
    }

    fn frame(&self, topic: &str, batch: Bytes, transactional_id: Option<&str>) -> Vec<Bytes> {
        let partitions = [ProducePartition {
            topic,
            topic_id: TopicId::ZERO,
            partition: PartitionId(self.partition as i32),
            batch,
        }];
        let frame = ProduceFrame {
            version: PRODUCE,
            transactional_id,
            acks: -1,
            timeout_ms: 30_000,
            partitions: &partitions,
        };
        frame.encode(0, CLIENT)
    }

    /// The memory of a batch that has been written.
    fn take_back(&mut self, batch: Bytes) {
        self.page = Vec::from(batch);
    }
}

/// A blocking connection to the only broker, which has the topic.
struct Line {
    stream: TcpStream,
    topic: String,
    answer: Vec<u8>,
}

impl Line {
    fn open(options: &Options) -> Self {
        let servers = options.text("bootstrap-servers", "127.0.0.1:9092");
        let stream = TcpStream::connect(&*servers).expect("a broker");
        stream.set_nodelay(true).expect("a socket");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a socket");
        let topic = options.text("topic", "floor");
        let mut line = Self {
            stream,
            topic,
            answer: Vec::new(),
        };
        line.ask(
            &CreateTopicsRequest {
                topics: vec![CreateTopicsRequestTopic {
                    name: line.topic.clone(),
                    num_partitions: options.number("partitions", 1) as i32,
                    replication_factor: -1,
                    ..Default::default()
                }],
                ..Default::default()
            },
            7,
        );
        line
    }

    fn identity(&mut self, transactional_id: Option<&str>) -> Identity {
        if let Some(id) = transactional_id {
            let lookup = FindCoordinatorRequest {
                key_type: 1,
                coordinator_keys: vec![id.to_owned()],
                ..Default::default()
            };
            self.ask(&lookup, 4);
        }
        let request = InitProducerIdRequest {
            transactional_id: transactional_id.map(str::to_owned),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let answer = self.ask(&request, 4);
        assert_eq!(answer.error_code, ErrorCode::None, "an identity");
        Identity {
            id: answer.producer_id,
            epoch: answer.producer_epoch,
        }
    }

    fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let frame = encode_request(request, version, 0, CLIENT);
        self.stream.write_all(&frame).expect("a socket");
        self.read();
        let answer = Bytes::copy_from_slice(&self.answer);
        decode_response::<R>(answer, version).expect("an answer").1
    }

    fn produce(&mut self, batches: &Batches, batch: Bytes, transactional_id: Option<&str>) {
        let parts = batches.frame(&self.topic, batch, transactional_id);
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = self.stream.write_vectored(rest).expect("a socket");
            IoSlice::advance_slices(&mut rest, written);
        }
    }

    fn produced(&mut self) {
        self.read();
        let answer = Bytes::copy_from_slice(&self.answer);
        let (_, answer) = decode_response::<ProduceRequest>(answer, PRODUCE).expect("an answer");
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::None, "produce");
    }

    fn read(&mut self) {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("a socket");
        self.answer.resize(u32::from_be_bytes(length) as usize, 0);
        self.stream.read_exact(&mut self.answer).expect("a socket");
    }
}
