//! A small client for everything that is not producing: is there a cluster, is there the topic, what does it hold, where does a group stand?
//!
//! Reading order: [`connection`] (one broker), this file (all brokers of a cluster), [`topics`], [`group_offsets`], [`reader`]. One request at a
//! time, in the order of the calls; whatever may pass by itself is asked again until a deadline. It never sends records.

mod batches;
mod connection;
mod group_offsets;
mod patience;
mod reader;
mod topic_name;
mod topics;

use std::collections::BTreeMap;

use kommit::{AddressError, BrokerAddress};
use kommit_protocol::api::Request;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use kommit_protocol::units::NodeId;

use self::connection::{Connection, Trouble};
use crate::failure::Failure;

pub(crate) use self::reader::{ReadRecord, TopicReader};
pub(crate) use self::topic_name::topic_name;
pub(crate) use self::topics::Topic;

/// The newest version of Metadata that this client asks in: the last that names topics by name alone.
const METADATA_VERSION: i16 = 9;

/// The text, if it is a list of addresses.
pub(crate) fn bootstrap_servers(text: &str) -> Result<String, AddressError> {
    BrokerAddress::parse_list(text).map(|_| text.to_owned())
}

/// Connections to the brokers of one cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    bootstrap: Vec<BrokerAddress>,
    /// The bootstrap broker that answered.
    entry: Option<Connection>,
    nodes: BTreeMap<NodeId, BrokerAddress>,
    connections: BTreeMap<NodeId, Connection>,
}

impl Cluster {
    /// Finds a broker among `bootstrap` (`host:port,…`) that answers as Kafka does.
    pub(crate) async fn connect(bootstrap: &str) -> Result<Self, Failure> {
        let bootstrap = BrokerAddress::parse_list(bootstrap)
            .map_err(|error| Failure::usage(error.to_string(), "correct --bootstrap-servers"))?;
        let mut cluster = Self {
            bootstrap,
            entry: None,
            nodes: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        cluster.entry().await?;
        Ok(cluster)
    }

    /// What the cluster says about itself and `topic`. Never creates the topic.
    async fn metadata(&mut self, topic: &str) -> Result<MetadataResponse, Failure> {
        let named = MetadataRequestTopic {
            name: Some(topic.to_owned()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![named]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.call_any(&request, METADATA_VERSION).await?;
        for broker in &response.brokers {
            self.learn(broker.node_id, &broker.host, broker.port);
        }
        Ok(response)
    }

    /// Asks any broker. A connection that was lost is made again once.
    async fn call_any<R: Request>(&mut self, request: &R, max_version: i16) -> Result<R::Response, Failure> {
        let reused = self.entry.is_some();
        let connection = self.entry().await?;
        match connection.call(request, max_version).await {
            Ok(response) => Ok(response),
            Err(trouble) => {
                let failure = trouble.told(connection.address());
                self.entry = None;
                if !(reused && trouble.may_pass()) {
                    return Err(failure);
                }
                let connection = self.entry().await?;
                let address = connection.address().clone();
                connection
                    .call(request, max_version)
                    .await
                    .map_err(|trouble| trouble.told(&address))
            }
        }
    }

    /// Asks one node, once: whether to ask again is for the caller to decide, who knows the partition or group and may find another node for it.
    async fn call<R: Request>(
        &mut self,
        node: NodeId,
        request: &R,
        max_version: i16,
    ) -> Result<R::Response, CallTrouble> {
        let Some(address) = self.nodes.get(&node).cloned() else {
            return Err(CallTrouble::Passing(format!(
                "no broker with the node id {node} is known"
            )));
        };
        let outcome = match self.connection(node, &address).await {
            Ok(connection) => connection.call(request, max_version).await,
            Err(trouble) => Err(trouble),
        };
        outcome.map_err(|trouble| {
            self.connections.remove(&node);
            let failure = trouble.told(&address);
            if trouble.may_pass() {
                CallTrouble::Passing(failure.what)
            } else {
                CallTrouble::Lasting(failure)
            }
        })
    }

    async fn connection(
        &mut self,
        node: NodeId,
        address: &BrokerAddress,
    ) -> Result<&mut Connection, Trouble> {
        use std::collections::btree_map::Entry;
        match self.connections.entry(node) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Connection::open(address).await?)),
        }
    }

    async fn entry(&mut self) -> Result<&mut Connection, Failure> {
        let connection = match self.entry.take() {
            Some(connection) => connection,
            None => open_first(&self.bootstrap).await?,
        };
        Ok(self.entry.insert(connection))
    }

    fn learn(&mut self, node: NodeId, host: &str, port: i32) {
        let Some(address) = BrokerAddress::advertised(host, port) else {
            return;
        };
        if self.nodes.get(&node) != Some(&address) {
            self.nodes.insert(node, address);
            self.connections.remove(&node);
        }
    }
}

/// Why a node gave no answer that can be used.
#[derive(Debug)]
enum CallTrouble {
    /// It may pass: ask for metadata and try again.
    Passing(String),
    /// It will not.
    Lasting(Failure),
}

/// Tries the bootstrap addresses one after the other.
async fn open_first(bootstrap: &[BrokerAddress]) -> Result<Connection, Failure> {
    let mut failures = Vec::new();
    for address in bootstrap {
        match Connection::open(address).await {
            Ok(connection) => return Ok(connection),
            Err(trouble) => failures.push(trouble.told(address)),
        }
    }
    let what: Vec<_> = failures.iter().map(|failure| failure.what.as_str()).collect();
    let next = failures
        .last()
        .map_or("name a broker with --bootstrap-servers", |failure| {
            failure.next.as_str()
        });
    Err(Failure::failed(what.join("; "), next))
}

/// The failure for an error code that a broker answered with.
fn refused(asked: &str, code: ErrorCode) -> Failure {
    let next = match code {
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => {
            "give this user the right (kafka-acls.sh), or use another user"
        }
        ErrorCode::InvalidTopicException => "choose a legal topic name",
        _ => "look at the broker's log",
    };
    Failure::failed(
        format!("{asked}: the broker answered {} ({})", code.name(), code.text()),
        next,
    )
}
