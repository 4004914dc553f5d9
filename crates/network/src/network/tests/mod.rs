//! Plays without sockets: the test is the link and the broker.

mod chance;
mod connecting;
mod hostile;
mod knowing;
mod logging;
mod nodes;
mod recovering;
mod requests;
mod turns;
mod updating;

use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::{decode_request_header, encode_response};
use kommit_protocol::messages::{
    ApiVersionsResponse, ApiVersionsResponseApi, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{LeaderEpoch, NodeId, PartitionId, TopicId};
use kommit_protocol::wire::{Field, Reader};

use crate::address::BrokerAddress;
use crate::boundary::{Completed, ConnectionId, LinkFailure, NetAction, NetEvent, Outcome, Sent};
use crate::config::NetworkConfig;
use crate::network::Network;

/// A request that the scripted broker has received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    id: ConnectionId,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: Bytes,
}

/// A network, its time, and everything that came out of it and has not been looked at.
struct Play {
    network: Network<&'static str>,
    now: Instant,
    actions: Vec<NetAction>,
    completed: Vec<Completed<&'static str>>,
    deadline: Instant,
    written: std::collections::BTreeMap<ConnectionId, u64>,
}

impl Play {
    fn new(config: NetworkConfig) -> Self {
        Self::with_bootstrap(config, vec![BrokerAddress::new("boot", 9092)])
    }

    fn with_bootstrap(config: NetworkConfig, bootstrap: Vec<BrokerAddress>) -> Self {
        let mut play = Self {
            network: Network::new(config, bootstrap),
            now: Instant::from_millis(1_000),
            actions: Vec::new(),
            completed: Vec::new(),
            deadline: Instant::NEVER,
            written: Default::default(),
        };
        play.turn();
        play
    }

    /// A play that has come as far as metadata with the brokers 1 and 2, which lead the partitions 0 and 1 of `orders`.
    fn with_cluster(config: NetworkConfig) -> Self {
        let mut play = Self::new(config);
        play.network.add_topic("orders", play.now);
        play.connect();
        play.answer_versions();
        let asked = play.asked_one(ApiKey::Metadata);
        play.answer(&asked, &cluster(3));
        play
    }

    /// [`Play::with_cluster`], and broker 1 is ready.
    fn with_broker(config: NetworkConfig) -> (Self, NodeId) {
        let mut play = Self::with_cluster(config);
        let node = NodeId(1);
        assert!(!play.network.ready(node, play.now));
        play.turn();
        play.connect();
        play.answer_versions();
        assert!(play.network.is_ready(node, play.now));
        (play, node)
    }

    fn turn(&mut self) {
        self.deadline = self
            .network
            .turn(self.now, &mut self.actions, &mut self.completed);
        self.actions
            .retain(|action| !matches!(action, NetAction::Trust(_))); // what it is for is tested with links
    }

    /// Lets time pass from deadline to deadline until something is to be done.
    fn sleep(&mut self) {
        while self.actions.is_empty() {
            assert!(
                self.deadline > self.now,
                "a deadline in the past makes a busy loop: {:?}",
                self.network
            );
            assert!(!self.deadline.is_never(), "nothing will ever happen");
            self.now = self.deadline;
            self.turn();
        }
    }

    fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.turn();
    }

    fn event(&mut self, event: NetEvent) {
        self.network.event(event, self.now);
        self.turn();
    }

    /// The one connection that is being attempted.
    fn attempted(&mut self) -> (ConnectionId, BrokerAddress) {
        let attempts = self.take(|action| match action {
            NetAction::Connect(id, address) => Some((*id, address.clone())),
            _ => None,
        });
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts[0].clone()
    }

    fn connect(&mut self) -> ConnectionId {
        let (id, _) = self.attempted();
        self.event(NetEvent::Connected(id));
        id
    }

    /// All requests since the last look, which count as written completely.
    fn asked(&mut self) -> Vec<Asked> {
        let asked = self.asked_unwritten();
        for (id, bytes) in self.written.clone() {
            self.event(NetEvent::Written(id, bytes));
        }
        asked
    }

    /// All requests since the last look; nobody has told yet that they are written.
    fn asked_unwritten(&mut self) -> Vec<Asked> {
        let writes = self.take(|action| match action {
            NetAction::Write(id, parts) => Some((*id, parts.concat())),
            _ => None,
        });
        let mut asked = Vec::new();
        for (id, frame) in writes {
            *self.written.entry(id).or_default() += frame.len() as u64;
            let mut reader = Reader::new(Bytes::from(frame).slice(4..));
            let header = decode_request_header(&mut reader).unwrap();
            asked.push(Asked {
                id,
                key: ApiKey::from_code(header.api_key).unwrap(),
                version: header.api_version,
                correlation_id: header.correlation_id,
                body: reader.into_rest(),
            });
        }
        asked
    }

    fn asked_one(&mut self, key: ApiKey) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.iter().map(|asked| asked.key).collect::<Vec<_>>(), [key]);
        asked[0].clone()
    }

    fn closed(&mut self) -> Vec<ConnectionId> {
        self.take(|action| match action {
            NetAction::Close(id) => Some(*id),
            _ => None,
        })
    }

    fn answer<T: Field>(&mut self, asked: &Asked, response: &T) {
        let frame = encode_response(asked.key, asked.version, asked.correlation_id, response);
        self.event(NetEvent::Frame(asked.id, frame.slice(4..)));
    }

    fn answer_versions(&mut self) {
        let asked = self.asked_one(ApiKey::ApiVersions);
        self.answer(&asked, &all_versions());
    }

    fn refuse(&mut self) {
        let (id, _) = self.attempted();
        self.event(NetEvent::ConnectFailed(
            id,
            LinkFailure::Connect("connection refused".into()),
        ));
    }

    /// What has come to its end since the last look: purpose, a word for the outcome, and whether it may have been written.
    fn ended(&mut self) -> Vec<(&'static str, &'static str, Sent)> {
        let word = |outcome: &Outcome| match outcome {
            Outcome::Response { .. } => "response",
            Outcome::Written => "written",
            Outcome::Disconnected { .. } => "disconnected",
            Outcome::TimedOut { .. } => "timed out",
            Outcome::VersionMismatch { .. } => "mismatch",
            Outcome::AuthenticationFailed { .. } => "authentication",
        };
        let ended = self.completed.drain(..);
        ended
            .map(|ended| (ended.purpose, word(&ended.result), ended.sent))
            .collect()
    }

    fn failure(&self) -> String {
        let failures = self.network.last_failures();
        failures
            .iter()
            .map(|(_, reason)| &**reason)
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn take<R>(&mut self, pick: impl Fn(&NetAction) -> Option<R>) -> Vec<R> {
        let picked = self.actions.iter().filter_map(&pick).collect();
        self.actions.retain(|action| pick(action).is_none());
        picked
    }
}

/// A broker that knows everything that this client knows.
fn all_versions() -> ApiVersionsResponse {
    let api = |key: &ApiKey| ApiVersionsResponseApi {
        api_key: key.code(),
        min_version: key.supported().min,
        max_version: key.supported().max,
    };
    ApiVersionsResponse {
        api_keys: ApiKey::ALL.iter().map(api).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn broker(node: i32) -> MetadataResponseBroker {
    MetadataResponseBroker {
        node_id: NodeId(node),
        host: format!("broker-{node}"),
        port: 9092,
        rack: None,
    }
}

fn partition(number: i32, leader: i32, epoch: i32) -> MetadataResponsePartition {
    MetadataResponsePartition {
        partition_index: PartitionId(number),
        leader_id: NodeId(leader),
        leader_epoch: LeaderEpoch(epoch),
        ..MetadataResponsePartition::default()
    }
}

fn topic(name: &str, partitions: Vec<MetadataResponsePartition>) -> MetadataResponseTopic {
    MetadataResponseTopic {
        name: Some(name.to_owned()),
        topic_id: TopicId([7; 16]),
        partitions,
        ..MetadataResponseTopic::default()
    }
}

/// Two brokers, and `orders` with two partitions in the leader epoch `epoch`.
fn cluster(epoch: i32) -> MetadataResponse {
    MetadataResponse {
        brokers: vec![broker(1), broker(2)],
        cluster_id: Some("here".to_owned()),
        controller_id: NodeId(2),
        topics: vec![topic(
            "orders",
            vec![partition(0, 1, epoch), partition(1, 2, epoch)],
        )],
        ..MetadataResponse::default()
    }
}
