//! A running Kafka: one node, or a cluster of several that are brokers and controllers at once.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::folders;
use super::jars::Jars;
use super::node::{LOOK_AGAIN, Node, START_LIMIT};
use super::probe::{self, Coordinated, Replicas};
use super::segments::{self, DumpedBatch};
use super::setup::{Place, Ports, Setup};
use super::tools::Tools;
use crate::proxy::Proxy;

/// A port found free can be taken before the broker binds it.
const START_ATTEMPTS: u32 = 3;
/// How long replicas may take to get everything, on a machine that is busy.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

/// A real Kafka. Dropping it ends its processes.
#[derive(Debug)]
pub struct RealKafka {
    setup: Setup,
    jars: Jars,
    nodes: Vec<Node>,
}

impl RealKafka {
    /// Starts new nodes with empty data folders and waits until they are ready.
    ///
    /// # Panics
    /// When they do not get ready; the text has the end of a node's log.
    pub(super) async fn start(setup: Setup, jars: Jars) -> Self {
        for attempt in 1.. {
            let nodes = places(setup.nodes())
                .into_iter()
                .map(|place| Node::new(setup.clone(), jars.clone(), place));
            let kafka = Self {
                nodes: nodes.collect(),
                setup: setup.clone(),
                jars: jars.clone(),
            };
            match kafka.launch().await {
                Ok(()) => return kafka,
                Err(reason) if reason.contains("Address already in use") && attempt < START_ATTEMPTS => {}
                Err(reason) => panic!("{setup} does not start: {reason}"),
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    async fn launch(&self) -> Result<(), String> {
        for node in &self.nodes {
            node.format().await;
        }
        // None is ready before the others are there.
        self.nodes.iter().try_for_each(Node::launch)?;
        for node in &self.nodes {
            node.until_ready().await?;
        }
        Ok(())
    }

    /// What a client connects to that no proxy stands before: every node.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Node::address).collect();
        addresses.join(",")
    }

    /// The nodes; their ids count from 1.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The first node, which is all that most suites need.
    pub fn node(&self) -> &Node {
        &self.nodes[0]
    }

    /// The proxy of the first node.
    ///
    /// # Panics
    /// When the node's port for the proxy cannot be listened on.
    pub fn proxy(&self, seed: u64) -> Proxy {
        self.node().proxy(seed)
    }

    /// The setup that this Kafka was started with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Kafka's own tools; no proxy stands before them.
    pub fn tools(&self) -> Tools {
        Tools::new(self.jars.clone(), self.bootstrap_servers())
    }

    /// Creates a topic with as many replicas as there are nodes, and waits for its leaders. Asked without a tool: a JVM takes a second.
    ///
    /// # Panics
    /// When the topic cannot be created.
    pub async fn create_topic(&self, topic: &str, partitions: i32) {
        self.told(async |address| probe::create_topic(address, topic, partitions).await.ok())
            .await;
        self.told(async |address| {
            let known = probe::partitions(address).await.ok()?;
            let leaders = known
                .iter()
                .filter(|((name, _), replicas)| name == topic && replicas.leader.is_some());
            (leaders.count() == partitions as usize).then_some(())
        })
        .await;
    }

    /// Every batch that is physically in a partition's log, in its order, as DumpLogSegments reads it from the first node.
    pub async fn batches(&self, topic: &str, partition: i32) -> Vec<DumpedBatch> {
        let folder = self.node().data().join(format!("{topic}-{partition}"));
        segments::dump(&self.tools(), &folder).await
    }

    /// How many bytes the logs of a topic's partitions have now, on the first node.
    pub fn log_size(&self, topic: &str) -> u64 {
        folders::size_of_logs(&self.node().data(), topic)
    }

    /// Who leads each partition, internal topics included, as soon as a node tells.
    ///
    /// # Panics
    /// When none does.
    pub async fn partitions(&self) -> BTreeMap<(String, i32), Replicas> {
        self.told(async |address| probe::partitions(address).await.ok())
            .await
    }

    /// The node that coordinates a group or a transactional id, as soon as there is one.
    ///
    /// # Panics
    /// When there is none in bounded time.
    pub async fn coordinator(&self, coordinated: Coordinated, key: &str) -> i32 {
        self.told(async |address| probe::coordinator(address, coordinated, key).await.ok())
            .await
    }

    /// Waits until every partition has a leader, and every replica has everything.
    ///
    /// # Panics
    /// When that takes two minutes.
    pub async fn until_in_sync(&self) {
        let all = async {
            let is_whole = |replicas: &Replicas| replicas.leader.is_some() && replicas.are_in_sync;
            while !self.partitions().await.values().all(is_whole) {
                sleep(LOOK_AGAIN).await;
            }
        };
        let caught_up = timeout(CATCH_UP_LIMIT, all).await;
        caught_up.unwrap_or_else(|_| panic!("{}: replicas are missing", self.setup));
    }

    /// The first answer that a running node gives.
    async fn told<T>(&self, question: impl AsyncFn(&str) -> Option<T>) -> T {
        let asking = async {
            loop {
                for node in self.nodes.iter().filter(|node| node.is_running()) {
                    if let Some(answer) = question(&node.address()).await {
                        return answer;
                    }
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        let told = timeout(START_LIMIT, asking).await;
        told.unwrap_or_else(|_| panic!("{}: no node tells", self.setup))
    }
}

/// A place for each node, with ports that were free a moment ago, different from each other because they are bound together. Those of
/// the proxies stay bound.
fn places(nodes: usize) -> Vec<(Place, TcpListener)> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback");
    let listeners: Vec<[TcpListener; 4]> = (0..nodes).map(|_| [(); 4].map(bind)).collect();
    let number = |listener: &TcpListener| {
        let address = listener.local_addr();
        address.expect("a bound listener has an address").port()
    };
    let controllers: Vec<u16> = listeners.iter().map(|[_, _, _, own]| number(own)).collect();
    (1..)
        .zip(listeners)
        .map(|(id, [direct, behind_proxy, proxy, controller])| {
            let ports = Ports {
                direct: number(&direct),
                behind_proxy: number(&behind_proxy),
                proxy: number(&proxy),
                controller: number(&controller),
            };
            let controllers = controllers.clone();
            (
                Place {
                    id,
                    ports,
                    controllers,
                },
                proxy,
            )
        })
        .collect()
}
