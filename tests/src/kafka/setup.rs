//! Which Kafka a test wants: the release, the transaction version, and the properties that differ from the defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A release of Apache Kafka that the suites run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// The release whose producer the specification describes.
    V4_3_1,
    /// The last release before `transaction.version` 2.
    V3_9_1,
}

impl Release {
    /// As Maven Central names it.
    pub fn number(self) -> &'static str {
        match self {
            Release::V4_3_1 => "4.3.1",
            Release::V3_9_1 => "3.9.1",
        }
    }
}

/// What kind of broker to start. Equal setups may share a running one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    release: Release,
    nodes: usize,
    transaction_version: Option<u8>,
    properties: BTreeMap<String, String>,
}

/// A node's place in its cluster.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Counts from 1.
    pub(super) id: i32,
    /// Its own ports.
    pub(super) ports: Ports,
    /// The controllers' ports of all nodes, in the order of their ids.
    pub(super) controllers: Vec<u16>,
}

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// For clients and tools that no proxy stands before.
    pub(super) direct: u16,
    /// For what comes through a proxy.
    pub(super) behind_proxy: u16,
    /// What clients on that one are told to come back to: the proxy's own port.
    pub(super) proxy: u16,
    /// For the quorum.
    pub(super) controller: u16,
}

impl Setup {
    /// Kafka 4.3.1 with its default, `transaction.version` 2.
    pub fn kafka_4_3() -> Self {
        Self::of(Release::V4_3_1).transaction_version(2)
    }

    /// Kafka 3.9.1, which knows no finalised `transaction.version` and speaks the older transaction protocol.
    pub fn kafka_3_9() -> Self {
        Self::of(Release::V3_9_1)
    }

    /// The three setups that every real suite runs against.
    pub fn all() -> [Self; 3] {
        [
            Self::kafka_4_3(),
            Self::kafka_4_3().transaction_version(1),
            Self::kafka_3_9(),
        ]
    }

    fn of(release: Release) -> Self {
        Self {
            release,
            nodes: 1,
            transaction_version: None,
            properties: BTreeMap::new(),
        }
    }

    /// Formats the broker with this finalised `transaction.version` (0, 1 or 2; releases from 4.0).
    #[must_use]
    pub fn transaction_version(mut self, version: u8) -> Self {
        assert!(
            self.release != Release::V3_9_1,
            "3.9 cannot be formatted with a transaction.version"
        );
        self.transaction_version = Some(version);
        self
    }

    /// Three nodes that are brokers and controllers at once; each partition, also of the internal topics, is on all of them, and what is
    /// written must be on two. One that is killed is noticed after four seconds.
    #[must_use]
    pub fn three_nodes(mut self) -> Self {
        self.nodes = 3;
        self.property("broker.session.timeout.ms", 4000)
    }

    /// Sets a broker property, such as `transaction.max.timeout.ms`.
    #[must_use]
    pub fn property(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.properties.insert(key.to_owned(), value.to_string());
        self
    }

    /// The release.
    pub fn release(&self) -> Release {
        self.release
    }

    /// How many nodes.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// What StorageTool must be told besides the properties.
    pub(super) fn format_arguments(&self) -> Vec<String> {
        match self.transaction_version {
            Some(version) => vec!["--feature".to_owned(), format!("transaction.version={version}")],
            None => Vec::new(),
        }
    }

    /// The text of `server.properties`: a combined node. The internal topics are small, so that it is ready soon.
    pub(super) fn server_properties(&self, place: &Place, logs: &Path) -> String {
        let Ports {
            direct,
            behind_proxy,
            proxy,
            controller,
        } = place.ports;
        let voters: Vec<String> = (1..)
            .zip(&place.controllers)
            .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
            .collect();
        let replicas = self.nodes.to_string();
        let in_sync = self.nodes.min(2).to_string();
        let fixed: [(&str, String); 17] = [
            ("process.roles", "broker,controller".into()),
            ("node.id", place.id.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            (
                "listeners",
                format!(
                    "DIRECT://127.0.0.1:{direct},PROXIED://127.0.0.1:{behind_proxy},CONTROLLER://127.0.0.1:{controller}"
                ),
            ),
            (
                "advertised.listeners",
                format!("DIRECT://127.0.0.1:{direct},PROXIED://127.0.0.1:{proxy}"),
            ),
            ("controller.listener.names", "CONTROLLER".into()),
            ("inter.broker.listener.name", "DIRECT".into()),
            (
                "listener.security.protocol.map",
                "DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT".into(),
            ),
            ("log.dirs", logs.display().to_string()),
            ("default.replication.factor", replicas.clone()),
            ("min.insync.replicas", in_sync.clone()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("offsets.topic.num.partitions", "4".into()),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", in_sync),
            ("transaction.state.log.num.partitions", "4".into()),
            ("group.initial.rebalance.delay.ms", "0".into()),
        ];
        let mut properties: BTreeMap<&str, &str> =
            fixed.iter().map(|(key, value)| (*key, value.as_str())).collect();
        properties.extend(
            self.properties
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        properties
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka {}", self.release.number())?;
        if let Some(version) = self.transaction_version {
            write!(f, ", transaction.version {version}")?;
        }
        if self.nodes > 1 {
            write!(f, ", {} nodes", self.nodes)?;
        }
        self.properties
            .iter()
            .try_for_each(|(key, value)| write!(f, ", {key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let ports = Ports {
            direct: 1,
            behind_proxy: 2,
            proxy: 9,
            controller: 3,
        };
        Place {
            id: 2,
            ports,
            controllers: vec![7, 3, 5],
        }
    }

    #[test]
    fn a_client_that_comes_through_the_proxy_is_told_to_come_back_through_it() {
        let text = Setup::kafka_4_3().server_properties(&place(), Path::new("/data"));
        assert!(
            text.contains("\nlisteners=DIRECT://127.0.0.1:1,PROXIED://127.0.0.1:2,"),
            "{text}"
        );
        assert!(
            text.contains("advertised.listeners=DIRECT://127.0.0.1:1,PROXIED://127.0.0.1:9\n"),
            "{text}"
        );
    }

    #[test]
    fn three_nodes_vote_and_keep_everything_three_times() {
        let text = Setup::kafka_4_3()
            .three_nodes()
            .server_properties(&place(), Path::new("/data"));
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:7,2@127.0.0.1:3,3@127.0.0.1:5",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "transaction.state.log.replication.factor=3",
            "transaction.state.log.min.isr=2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_property_of_the_test_replaces_the_default() {
        let setup = Setup::kafka_3_9().property("offsets.topic.num.partitions", 50);
        let text = setup.server_properties(&place(), Path::new("/data"));
        assert!(text.contains("offsets.topic.num.partitions=50\n"), "{text}");
        assert!(!text.contains("offsets.topic.num.partitions=4\n"), "{text}");
        assert!(setup.format_arguments().is_empty());
    }
}
