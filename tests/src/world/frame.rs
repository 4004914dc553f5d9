//! Requests and answers in words: for assertions and for the trace.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::api::ApiKey;
use kommit_protocol::batch::batches;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::{RequestHeader, decode_message, decode_request_header, decode_response_header};
use kommit_protocol::messages::*;
use kommit_protocol::units::{ProducerEpoch, ProducerId, TopicId};
use kommit_protocol::wire::{DecodeError, Reader};

/// A request that a producer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFrame {
    /// When, since the beginning.
    pub at: Duration,
    /// Which producer.
    pub producer: String,
    /// The place of the producer among those of the world: two may have one name.
    pub who: usize,
    /// How many transactions the producer had begun by then.
    pub transactions: usize,
    /// To which broker: its id, or a negative number for a bootstrap address.
    pub broker: i32,
    /// Which connection of the producer.
    pub connection: u64,
    /// What kind of request.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// What it says, in short.
    pub summary: String,
    /// The batches of a produce request.
    pub batches: Vec<SentBatch>,
    /// The additions and batches of the producer that had no answer by then, on connections that it had not closed.
    pub beside: Vec<ApiKey>,
    /// The answer in short, when one came that could be read.
    pub answer: Option<String>,
}

/// A batch in a produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentBatch {
    /// When, since the beginning.
    pub at: Duration,
    /// To which broker.
    pub broker: i32,
    /// Where it goes, as `topic-partition`.
    pub partition: String,
    /// The producer id, with an identity.
    pub producer_id: Option<i64>,
    /// The producer epoch, with an identity.
    pub epoch: Option<i16>,
    /// The sequence of its first record, with an identity.
    pub base_sequence: Option<i32>,
    /// The values of its records.
    pub values: Vec<String>,
    /// What it was answered with.
    pub answer: Option<ErrorCode>,
}

impl SentBatch {
    fn summary(&self) -> String {
        let identity = match (self.epoch, self.base_sequence) {
            (Some(epoch), Some(sequence)) => format!(" e{epoch} s{sequence}"),
            _ => String::new(),
        };
        let values: Vec<String> = self.values.iter().map(|value| shortened(value)).collect();
        format!("{}[{}{identity}]", self.partition, values.join(","))
    }
}

/// Where and when a request was written.
pub(crate) struct Written<'a> {
    pub(crate) at: Duration,
    pub(crate) producer: &'a str,
    pub(crate) who: usize,
    pub(crate) transactions: usize,
    pub(crate) broker: i32,
    pub(crate) connection: u64,
    pub(crate) beside: Vec<ApiKey>,
}

/// Reads a request, without its length prefix.
pub(crate) fn describe_request(
    frame: Bytes,
    written: &Written<'_>,
    name_of: &dyn Fn(TopicId) -> Option<String>,
) -> Result<(RequestHeader, SentFrame), DecodeError> {
    let mut body = Reader::new(frame);
    let header = decode_request_header(&mut body)?;
    let api = ApiKey::from_code(header.api_key).expect("a producer sends requests that it knows");
    let version = header.api_version;
    let mut batches = Vec::new();
    let summary = match api {
        ApiKey::Produce => {
            let request: ProduceRequest = decode_message(&mut body, api, version)?;
            batches = batches_of(&request, written, name_of);
            batches
                .iter()
                .map(SentBatch::summary)
                .collect::<Vec<_>>()
                .join(" ")
        }
        _ => summary_of(&mut body, api, version)?,
    };
    let (producer, broker, connection) = (written.producer.to_owned(), written.broker, written.connection);
    let sent = SentFrame {
        at: written.at,
        producer,
        who: written.who,
        transactions: written.transactions,
        broker,
        connection,
        api,
        version,
        summary,
        batches,
        beside: written.beside.clone(),
        answer: None,
    };
    Ok((header, sent))
}

fn summary_of(body: &mut Reader, api: ApiKey, version: i16) -> Result<String, DecodeError> {
    Ok(match api {
        ApiKey::EndTxn => {
            let request: EndTxnRequest = decode_message(body, api, version)?;
            let how = if request.committed { "commit" } else { "abort" };
            format!("{how} {}", identity(request.producer_id, request.producer_epoch))
        }
        ApiKey::InitProducerId => {
            let request: InitProducerIdRequest = decode_message(body, api, version)?;
            identity(request.producer_id, request.producer_epoch)
        }
        ApiKey::AddPartitionsToTxn => {
            let request: AddPartitionsToTxnRequest = decode_message(body, api, version)?;
            let mut text = String::new();
            for topic in &request.v3_and_below_topics {
                for partition in &topic.partitions {
                    write!(text, "{}-{} ", topic.name, partition.0).expect("a string takes everything");
                }
            }
            text.trim_end().to_owned()
        }
        ApiKey::AddOffsetsToTxn => {
            let request: AddOffsetsToTxnRequest = decode_message(body, api, version)?;
            request.group_id
        }
        ApiKey::TxnOffsetCommit => {
            let request: TxnOffsetCommitRequest = decode_message(body, api, version)?;
            format!(
                "{} {}",
                request.group_id,
                identity(request.producer_id, request.producer_epoch)
            )
        }
        ApiKey::FindCoordinator => {
            let request: FindCoordinatorRequest = decode_message(body, api, version)?;
            let kind = if request.key_type == 0 {
                "group"
            } else {
                "transaction"
            };
            format!("{kind} {}{}", request.key, request.coordinator_keys.join(","))
        }
        ApiKey::Metadata => {
            let request: MetadataRequest = decode_message(body, api, version)?;
            let names = request
                .topics
                .unwrap_or_default()
                .into_iter()
                .filter_map(|topic| topic.name);
            names.collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    })
}

fn identity(id: ProducerId, epoch: ProducerEpoch) -> String {
    if id == ProducerId::NONE {
        "new".to_owned()
    } else {
        format!("p{} e{}", id.0, epoch.0)
    }
}

fn batches_of(
    request: &ProduceRequest,
    written: &Written<'_>,
    name_of: &dyn Fn(TopicId) -> Option<String>,
) -> Vec<SentBatch> {
    let mut sent = Vec::new();
    for topic in &request.topic_data {
        let name = name_of(topic.topic_id).unwrap_or_else(|| topic.name.clone());
        for partition in &topic.partition_data {
            for batch in batches(partition.records.clone().unwrap_or_default()) {
                let batch = batch.expect("a producer writes batches that can be read");
                let sequence = batch.header.base_sequence;
                sent.push(SentBatch {
                    at: written.at,
                    broker: written.broker,
                    partition: format!("{name}-{}", partition.index.0),
                    producer_id: sequence.map(|_| batch.header.producer_id.0),
                    epoch: sequence.map(|_| batch.header.producer_epoch.0),
                    base_sequence: sequence.map(|sequence| sequence.number()),
                    values: whole_values_of(&batch.bytes),
                    answer: None,
                });
            }
        }
    }
    sent
}

/// The values of the records in a batch, as text; long ones shortened.
pub(crate) fn values_of(batch: &Bytes) -> Vec<String> {
    whole_values_of(batch)
        .iter()
        .map(|value| shortened(value))
        .collect()
}

fn shortened(value: &str) -> String {
    match value.len() {
        0..=32 => value.to_owned(),
        long => format!("<{long} bytes>"),
    }
}

/// The values of the records in a batch, as text.
pub(crate) fn whole_values_of(batch: &Bytes) -> Vec<String> {
    const LARGEST: usize = 64 * 1024 * 1024;
    let view = kommit_protocol::batch::BatchView::parse(batch).expect("a batch that can be read");
    let records = view.records(LARGEST).expect("records that can be read");
    let value = |record: kommit_protocol::batch::RecordView| record.value.unwrap_or_default();
    let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
    records
        .map(|record| text(value(record.expect("a record that can be read"))))
        .collect()
}

/// The code of each partition in an answer to a produce request; none when it cannot be read.
pub(crate) fn produce_codes(
    frame: Bytes,
    version: i16,
    name_of: &dyn Fn(TopicId) -> Option<String>,
) -> Option<BTreeMap<String, ErrorCode>> {
    let mut body = Reader::new(frame);
    decode_response_header(&mut body, ApiKey::Produce, version).ok()?;
    let response: ProduceResponse = decode_message(&mut body, ApiKey::Produce, version).ok()?;
    let mut codes = BTreeMap::new();
    for topic in response.responses {
        let name = name_of(topic.topic_id).unwrap_or(topic.name);
        for partition in topic.partition_responses {
            codes.insert(format!("{name}-{}", partition.index.0), partition.error_code);
        }
    }
    Some(codes)
}

/// Reads an answer, without its length prefix.
pub(crate) fn describe_answer(frame: Bytes, api: ApiKey, version: i16) -> Result<String, DecodeError> {
    let mut body = Reader::new(frame);
    decode_response_header(&mut body, api, version)?;
    Ok(match api {
        ApiKey::Produce => {
            let response: ProduceResponse = decode_message(&mut body, api, version)?;
            let partitions = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partition_responses);
            let text =
                partitions.map(|it| format!("{}:{}@{}", it.index.0, it.error_code.name(), it.base_offset));
            text.collect::<Vec<_>>().join(" ")
        }
        ApiKey::EndTxn => {
            let response: EndTxnResponse = decode_message(&mut body, api, version)?;
            let identity = identity(response.producer_id, response.producer_epoch);
            format!("{} {identity}", response.error_code.name())
        }
        ApiKey::InitProducerId => {
            let response: InitProducerIdResponse = decode_message(&mut body, api, version)?;
            let identity = identity(response.producer_id, response.producer_epoch);
            format!("{} {identity}", response.error_code.name())
        }
        ApiKey::AddPartitionsToTxn => {
            let response: AddPartitionsToTxnResponse = decode_message(&mut body, api, version)?;
            let topics = response.results_by_topic_v3_and_below;
            let codes = topics.iter().flat_map(|topic| &topic.results_by_partition);
            codes
                .map(|it| it.partition_error_code.name())
                .collect::<Vec<_>>()
                .join(" ")
        }
        ApiKey::AddOffsetsToTxn => {
            let response: AddOffsetsToTxnResponse = decode_message(&mut body, api, version)?;
            response.error_code.name().to_owned()
        }
        ApiKey::TxnOffsetCommit => {
            let response: TxnOffsetCommitResponse = decode_message(&mut body, api, version)?;
            let codes = response.topics.iter().flat_map(|topic| &topic.partitions);
            codes.map(|it| it.error_code.name()).collect::<Vec<_>>().join(" ")
        }
        ApiKey::FindCoordinator => {
            let response: FindCoordinatorResponse = decode_message(&mut body, api, version)?;
            let found = response.coordinators.iter();
            found
                .map(|it| format!("{} at {}", it.error_code.name(), it.node_id.0))
                .collect::<Vec<_>>()
                .join(" ")
        }
        ApiKey::Metadata => {
            let response: MetadataResponse = decode_message(&mut body, api, version)?;
            format!(
                "{} brokers, {} topics",
                response.brokers.len(),
                response.topics.len()
            )
        }
        _ => String::new(),
    })
}
