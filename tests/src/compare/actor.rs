//! Who plays a script against one broker: sends requests over TCP and writes down what is answered.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::api::{ApiKey, Request};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame;
use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, NodeId, PartitionId, ProducerEpoch};
use kommit_protocol::wire::{Field, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::plain::{self, Aliases};
use super::requests::{Topic, fetch, init};

/// No answer of either broker takes so long, unless a script waits on purpose.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that a broker does by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOKS: u32 = 1000;
/// So many names have a hash in each of fifty shards, as both brokers would show by answering too early otherwise.
const NAMES_FOR_ALL_SHARDS: u32 = 400;
/// B-66: the one behind it is the coordinator's.
const LAST_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX - 1);
const CLIENT: &str = "actor";

/// Plays a script against one broker.
#[derive(Debug)]
pub struct Actor {
    script: String,
    level: u8,
    address: String,
    connection: Option<TcpStream>,
    correlation: i32,
    aliases: Aliases,
    versions: Vec<ApiVersionsResponseApi>,
    answers: Vec<(String, String)>,
}

impl Actor {
    pub(super) fn new(script: &str, level: u8, address: &str) -> Self {
        Self {
            script: script.to_owned(),
            level,
            address: address.to_owned(),
            connection: None,
            correlation: 0,
            aliases: Aliases::default(),
            versions: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Goes on at another address, where the broker has started again.
    pub(super) fn move_to(&mut self, address: &str) {
        self.address = address.to_owned();
        self.connection = None;
    }

    /// What was asked and answered so far.
    pub fn answers(&self) -> &[(String, String)] {
        &self.answers
    }

    /// The finalised `transaction.version`.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// A name that no other script uses, for topics, groups and transactional ids.
    pub fn name(&self, suffix: impl Display) -> String {
        format!("{}-{suffix}", self.script)
    }

    /// Those of some versions that the broker has said it serves.
    pub fn served<R: Request>(&self, versions: impl IntoIterator<Item = i16>) -> Vec<i16> {
        let of_request = |listed: &&ApiVersionsResponseApi| listed.api_key == R::KEY.code();
        let listed = self.versions.iter().find(of_request);
        let listed = listed.unwrap_or_else(|| panic!("{} does not serve {}", self.address, R::KEY));
        let all = versions.into_iter();
        all.filter(|version| (listed.min_version..=listed.max_version).contains(version))
            .collect()
    }

    /// Asks for the versions, takes the first producer id away, which looks like a default, and waits for all shards of both coordinators.
    pub(super) async fn prepare(&mut self) {
        self.versions = self.quiet(2, &ApiVersionsRequest::default()).await.api_keys;
        for key_type in [0, 1] {
            let lookup = FindCoordinatorRequest {
                key: "anybody".to_owned(),
                key_type,
                ..Default::default()
            };
            self.until("a coordinator", async |actor| {
                actor.quiet(3, &lookup).await.error_code == ErrorCode::None
            })
            .await;
        }
        let everywhere: Vec<String> = (0..NAMES_FOR_ALL_SHARDS)
            .map(|number| format!("name-{number}"))
            .collect();
        let transactions = DescribeTransactionsRequest {
            transactional_ids: everywhere.clone(),
        };
        self.until("transactions", async |actor| {
            let found = actor.quiet(0, &transactions).await.transaction_states;
            !found.iter().any(|state| is_passing(state.error_code))
        })
        .await;
        let groups = DescribeGroupsRequest {
            groups: everywhere,
            ..Default::default()
        };
        self.until("groups", async |actor| {
            let found = actor.quiet(4, &groups).await.groups;
            !found.iter().any(|group| is_passing(group.error_code))
        })
        .await;
        let identity = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        self.until("producer ids", async |actor| {
            actor.quiet(4, &identity).await.error_code == ErrorCode::None
        })
        .await;
    }

    /// Looks again and again at something that the broker does by itself.
    async fn until(&mut self, what: &str, is_there: impl AsyncFn(&mut Self) -> bool) {
        for _ in 0..LOOKS {
            if is_there(self).await {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
        panic!("{} has no {what}", self.address);
    }

    /// Asks, and writes down the answer. `None` when the broker closed the connection; the next question gets a new one.
    pub async fn ask<R: Request>(
        &mut self,
        label: impl Display,
        version: i16,
        request: &R,
    ) -> Option<R::Response>
    where
        R::Response: Any + Debug + Clone,
    {
        let answer = self.exchange(version, request).await;
        let text = match &answer {
            Ok((response, 0)) => plain::text(response.clone(), &self.script, &mut self.aliases),
            Ok((response, behind)) => {
                let text = plain::text(response.clone(), &self.script, &mut self.aliases);
                format!("{text} and {behind} bytes")
            }
            Err(error) => format!("no answer: {}", told(error)),
        };
        self.answers
            .push((format!("{label} [{} v{version}]", R::KEY.name()), text));
        answer.ok().map(|(response, _)| response)
    }

    /// Asks without writing down.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn quiet<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let answer = self.exchange(version, request).await;
        answer
            .unwrap_or_else(|error| panic!("{} of {}: {error}", R::KEY, self.address))
            .0
    }

    /// Sends without waiting for an answer, on the connection of all questions.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation += 1;
        let frame = frame::encode_request(request, version, self.correlation, Some(CLIENT));
        let sent = self.write(&frame).await;
        sent.unwrap_or_else(|error| panic!("{} to {}: {error}", R::KEY, self.address));
    }

    /// Writes down the answer to a request that was sent.
    pub async fn hear<R: Request>(&mut self, label: impl Display, version: i16)
    where
        R::Response: Any + Debug,
    {
        let text = match self
            .read_frame()
            .await
            .and_then(|frame| decoded::<R>(frame, version))
        {
            Ok((_, response, _)) => plain::text(response, &self.script, &mut self.aliases),
            Err(error) => format!("no answer: {}", told(&error)),
        };
        self.answers
            .push((format!("{label} [{} v{version}]", R::KEY.name()), text));
    }

    /// Sends bytes on a connection of their own, and writes down whether the broker answers or closes the connection.
    pub async fn raw(&mut self, label: impl Display, bytes: &[u8]) {
        self.connection = None;
        let text = match self.write(bytes).await {
            Err(error) => told(&error),
            Ok(()) => match self.read_frame().await {
                Ok(_) => "answered".to_owned(),
                Err(error) => told(&error),
            },
        };
        self.connection = None;
        self.answers.push((format!("{label} [raw]"), text));
    }

    /// A request in bytes, its length before it, as this actor would send it.
    pub fn encoded<R: Request>(&self, version: i16, request: &R) -> Vec<u8> {
        frame::encode_request(request, version, 7, Some(CLIENT)).to_vec()
    }

    /// Writes something down that a script found out by itself.
    pub fn note(&mut self, label: impl Display, found: impl Debug) {
        self.answers
            .push((format!("{label} [note]"), format!("{found:?}")));
    }

    /// Creates a topic and waits for its leaders.
    pub async fn topic(&mut self, suffix: impl Display, partitions: i32, configs: &[(&str, &str)]) -> Topic {
        let name = self.name(suffix);
        let configs = configs.iter().map(|(key, value)| CreateTopicsRequestConfig {
            name: (*key).to_owned(),
            value: Some((*value).to_owned()),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreateTopicsRequestTopic {
                name: name.clone(),
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs.collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let created = self.quiet(7, &request).await;
        assert_eq!(created.topics[0].error_code, ErrorCode::None, "{created:?}");
        self.known_topic(name).await
    }

    /// Waits until a topic exists with its leaders.
    pub async fn known_topic(&mut self, name: String) -> Topic {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name.clone()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        for _ in 0..LOOKS {
            let found = self.quiet(12, &request).await.topics.remove(0);
            let is_led = found
                .partitions
                .iter()
                .all(|partition| partition.leader_id == NodeId(1));
            if found.error_code == ErrorCode::None && is_led && !found.partitions.is_empty() {
                self.until_served(&name, found.partitions.len()).await;
                return Topic {
                    name,
                    id: found.topic_id,
                };
            }
            sleep(LOOK_AGAIN).await;
        }
        panic!("{name} does not come into being");
    }

    /// Metadata can know of a leader before the leader does.
    async fn until_served(&mut self, name: &str, partitions: usize) {
        let partitions = (0..).take(partitions).map(|index| ListOffsetsRequestPartition {
            partition_index: PartitionId(index),
            timestamp: -1,
            ..Default::default()
        });
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsRequestTopic {
                name: name.to_owned(),
                partitions: partitions.collect(),
            }],
            ..Default::default()
        };
        self.until("leaders", async |actor| {
            let found = actor.quiet(7, &request).await.topics.remove(0);
            let mut codes = found.partitions.iter().map(|partition| partition.error_code);
            codes.all(|code| code == ErrorCode::None)
        })
        .await;
    }

    /// A new identity without a transactional id.
    pub async fn idempotent(&mut self) -> Identity {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let response = self.quiet(4, &request).await;
        assert_eq!(response.error_code, ErrorCode::None);
        Identity {
            id: response.producer_id,
            epoch: response.producer_epoch,
        }
    }

    /// A transactional id's identity, as soon as it can be had.
    pub async fn transactional(&mut self, id: &str, timeout_ms: i32) -> Identity {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: timeout_ms,
            ..Default::default()
        };
        for _ in 0..LOOKS {
            let response = self.quiet(4, &request).await;
            if response.error_code == ErrorCode::None {
                return Identity {
                    id: response.producer_id,
                    epoch: response.producer_epoch,
                };
            }
            assert!(is_passing(response.error_code), "{response:?}");
            sleep(LOOK_AGAIN).await;
        }
        panic!("{id} gets no identity");
    }

    /// Asks for identities until the last epoch of a producer id is reached. The questions go out in bunches, for there are 32,767.
    pub async fn exhausted(&mut self, id: &str) -> Identity {
        const BUNCH: i32 = 1000;
        let request = init(Some(id), 60_000, None);
        let mut identity = self.transactional(id, 60_000).await;
        while identity.epoch < LAST_EPOCH {
            let bunch = BUNCH.min(i32::from(LAST_EPOCH.0 - identity.epoch.0));
            for _ in 0..bunch {
                self.send(4, &request).await;
            }
            for _ in 0..bunch {
                let frame = self.read_frame().await.expect("an answer");
                let (_, response, _) = decoded::<InitProducerIdRequest>(frame, 4).expect("an answer");
                assert_eq!(response.error_code, ErrorCode::None);
                identity.epoch = response.producer_epoch;
            }
        }
        identity
    }

    /// Waits until no marker of a transactional id is missing.
    pub async fn settled(&mut self, id: &str) {
        self.until_state(id, |state| {
            matches!(state, "Empty" | "CompleteCommit" | "CompleteAbort")
        })
        .await;
    }

    /// Waits until a transactional id is in a state.
    pub async fn until_state(&mut self, id: &str, is_it: impl Fn(&str) -> bool) {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![id.to_owned()],
        };
        for _ in 0..LOOKS {
            let found = self.quiet(0, &request).await.transaction_states.remove(0);
            if found.error_code == ErrorCode::None && is_it(&found.transaction_state) {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
        panic!("{id} does not get into the state");
    }

    /// Writes down everything that is in a partition, for both kinds of readers.
    pub async fn log(&mut self, label: impl Display, topic: &Topic, partition: i32) {
        for isolation in [0, 1] {
            let request = fetch(topic, partition, 0, isolation);
            self.ask(
                format_args!("{label}: log of {} at isolation {isolation}", topic.name),
                12,
                &request,
            )
            .await;
        }
    }

    async fn exchange<R: Request>(&mut self, version: i16, request: &R) -> io::Result<(R::Response, usize)> {
        self.correlation += 1;
        let frame = frame::encode_request(request, version, self.correlation, Some(CLIENT));
        self.write(&frame).await?;
        let frame = self.read_frame().await?;
        let (correlation, response, behind) = decoded::<R>(frame, version)?;
        assert_eq!(correlation, self.correlation, "answers come in order");
        Ok((response, behind))
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.connection.is_none() {
            let connection = TcpStream::connect(self.address.as_str()).await?;
            connection.set_nodelay(true)?;
            self.connection = Some(connection);
        }
        let connection = self.connection.as_mut().expect("it was just opened");
        connection.write_all(bytes).await
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let read = async {
            let length = connection.read_i32().await?;
            let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?;
            let mut frame = vec![0; length];
            connection.read_exact(&mut frame).await?;
            Ok(Bytes::from(frame))
        };
        let result = timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if result.is_err() {
            self.connection = None;
        }
        result
    }
}

fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ConcurrentTransactions
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
    )
}

/// The correlation id, the message, and how many bytes are behind it.
fn decoded<R: Request>(frame: Bytes, version: i16) -> io::Result<(i32, R::Response, usize)> {
    let invalid =
        |error: kommit_protocol::wire::DecodeError| io::Error::new(io::ErrorKind::InvalidData, error);
    // B-9: the answer to a version of ApiVersions that is not served is laid out as version 0.
    let version = if R::KEY == ApiKey::ApiVersions && frame.get(4..6) == Some(&[0, 35]) {
        0
    } else {
        version
    };
    let mut reader = Reader::new(frame);
    let correlation = frame::decode_response_header(&mut reader, R::KEY, version).map_err(invalid)?;
    let response = R::Response::decode(&mut reader, R::KEY.version(version)).map_err(invalid)?;
    Ok((correlation, response, reader.remaining()))
}

/// A connection that ends is closed, in whatever words.
fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => "closed".to_owned(),
        io::ErrorKind::TimedOut => "silent".to_owned(),
        _ => error.to_string(),
    }
}
