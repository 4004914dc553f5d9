//! What a running Kafka says about itself: is it ready, who leads a partition, who coordinates a transactional id or a group.
//!
//! Asked in the codec of `kafka-protocol`, one connection for each question. It uses no codec of ours: a harness that waits for a broker
//! must not hang because a codec is wrong.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, MetadataRequest, MetadataResponse, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first flexible version of each request, which every release has.
const METADATA: i16 = 9;
const FIND_COORDINATOR: i16 = 3;
const CREATE_TOPICS: i16 = 5;
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// No answer that a suite asks for is longer.
const LONGEST_ANSWER: i32 = 16 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinated {
    /// A consumer group.
    Group = 0,
    /// The transactions of a transactional id.
    Transaction = 1,
}

/// Who leads a partition, and who has all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// The leader's node id; none while there is none.
    pub leader: Option<i32>,
    /// Has every replica everything?
    pub are_in_sync: bool,
}

/// Ready means: the port accepts, a controller and all nodes are known, and there is a coordinator of both kinds, so that the
/// internal topics exist. The error says what is missing.
pub(super) async fn is_ready(address: &str, nodes: usize) -> Result<(), String> {
    let metadata = metadata(address).await.map_err(|error| error.to_string())?;
    if metadata.controller_id.0 < 0 {
        return Err("no controller yet".to_owned());
    }
    if metadata.brokers.len() < nodes {
        return Err(format!("{} of {nodes} nodes are up", metadata.brokers.len()));
    }
    for coordinated in [Coordinated::Group, Coordinated::Transaction] {
        let found = coordinator(address, coordinated, "probe").await;
        found.map_err(|error| format!("coordinator of a {coordinated:?}: {error}"))?;
    }
    Ok(())
}

/// All partitions, those of the internal topics included, by topic and index.
pub(super) async fn partitions(address: &str) -> io::Result<BTreeMap<(String, i32), Replicas>> {
    let topics = metadata(address).await?.topics.into_iter();
    let partitions = topics.flat_map(|topic| {
        let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
        let partitions = topic.partitions.into_iter();
        partitions.map(move |partition| ((name.clone(), partition.partition_index), replicas(&partition)))
    });
    Ok(partitions.collect())
}

fn replicas(partition: &MetadataResponsePartition) -> Replicas {
    Replicas {
        leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
        are_in_sync: partition.isr_nodes.len() == partition.replica_nodes.len(),
    }
}

/// The node id of the coordinator of a group or a transactional id. An error while there is none.
pub(super) async fn coordinator(address: &str, coordinated: Coordinated, key: &str) -> io::Result<i32> {
    let request = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_string(key.to_owned()))
        .with_key_type(coordinated as i8);
    let found = ask(address, FIND_COORDINATOR, &request).await?;
    match found.error_code {
        0 => Ok(found.node_id.0),
        code => Err(io::Error::other(format!("none yet (code {code})"))),
    }
}

/// Creates a topic, unless it is there; replicas are the broker's default.
pub(super) async fn create_topic(address: &str, topic: &str, partitions: i32) -> io::Result<()> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_num_partitions(partitions)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let created = ask(address, CREATE_TOPICS, &request).await?;
    match created.topics.first().map(|topic| topic.error_code) {
        Some(0 | TOPIC_ALREADY_EXISTS) => Ok(()),
        code => Err(io::Error::other(format!("not created (code {code:?})"))),
    }
}

async fn metadata(address: &str) -> io::Result<MetadataResponse> {
    let everything = MetadataRequest::default().with_topics(None);
    ask(address, METADATA, &everything).await
}

/// Asks one question on a connection of its own.
///
/// # Errors
/// When nobody is there, and when there is no answer in time.
pub async fn ask<R: Request>(address: &str, version: i16, request: &R) -> io::Result<R::Response> {
    let exchange = async {
        let mut connection = TcpStream::connect(address).await?;
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("probe")));
        encode_request_header_into_buffer(&mut frame, &header)
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(io::Error::other)?;
        connection
            .write_i32(i32::try_from(frame.len()).map_err(io::Error::other)?)
            .await?;
        connection.write_all(&frame).await?;
        let length = connection.read_i32().await?;
        if !(4..=LONGEST_ANSWER).contains(&length) {
            return Err(io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = BytesMut::zeroed(length as usize);
        connection.read_exact(&mut answer).await?;
        let mut answer = answer.freeze();
        ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .and_then(|_| R::Response::decode(&mut answer, version))
            .map_err(io::Error::other)
    };
    tokio::time::timeout(ANSWER_LIMIT, exchange)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("no answer yet")))
}
