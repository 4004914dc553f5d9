//! The broker without sockets and clock: frames and time in, frames and deadlines out.
//!
//! Reading order: here (the contract), `world` (what all nodes share), `connection` (one request at a time, B-4), `serve` (a
//! request from its frame to its answer, with the rules in between). What a request means is in `dispatch`.

use std::collections::BTreeMap;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{NodeId, Offset, ProducerId, TopicId, TopicPartition};

use crate::check::{Checker, Fault};
use crate::config::{BrokerConfig, TopicConfig};
use crate::coordinator::TransactionLog;
use crate::coordinator::interface::{CoordinatorKind, NodeState, ShardState, TransactionVersion};
use crate::durable::{self, CorruptPiece, Recovery};
use crate::faults::{Rule, RuleId, Rules};
use crate::inspect::{AbortedTransaction, Journal, JournalEntry, LoggedBatch, ProducerEntry, Watermarks};
use crate::topics::{DirectoryState, NewTopic, coordinator_topic};

mod connection;
mod serve;
pub(crate) mod world;

use connection::Connection;
pub(crate) use world::World;

/// Names a connection for as long as it exists; the owner of the sockets chooses it and never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerEvent {
    /// A client connected to a node.
    Opened {
        /// The new connection.
        connection: ConnectionId,
        /// The node whose listener accepted it.
        node: NodeId,
    },
    /// A whole frame arrived, without its length prefix.
    Frame {
        /// Where.
        connection: ConnectionId,
        /// The request's header and body.
        frame: Bytes,
    },
    /// The client is gone.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
}

/// What has to be done outside, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerAction {
    /// Bytes for the client, length prefix included.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// What.
        frame: Bytes,
    },
    /// The client's next request is taken up: one more frame may be read from it.
    Finished {
        /// Whose request is done.
        connection: ConnectionId,
    },
    /// The connection ends, after everything that was sent before.
    Close {
        /// Which.
        connection: ConnectionId,
    },
}

/// A cluster of brokers as one value, moved by one owner.
///
/// Feed [`event`](Self::event), then call [`turn`](Self::turn), carry out the actions, and call `turn` again at the deadline that
/// it returned or after the next event, whichever comes first. Same events at same times give same actions.
#[derive(Debug)]
pub struct BrokerCore {
    world: World,
    connections: BTreeMap<ConnectionId, Connection>,
    rules: Rules,
    journal: Journal,
    unsolicited: Vec<BrokerAction>,
}

impl BrokerCore {
    /// A cluster without topics and connections. Node i of the configuration gets id i + 1, counted from 0.
    pub fn new(config: BrokerConfig) -> Self {
        Self::of(World::new(config))
    }

    pub(crate) fn of(world: World) -> Self {
        let journal = Journal::new(world.config.journal_capacity);
        Self {
            world,
            connections: BTreeMap::new(),
            rules: Rules::default(),
            journal,
            unsolicited: Vec::new(),
        }
    }

    /// Takes in what happened. Nothing is answered before the next turn.
    pub fn event(&mut self, event: BrokerEvent) {
        match event {
            BrokerEvent::Opened { connection, node } => {
                if self.world.cluster.view().live_node(node).is_some() {
                    self.connections.insert(connection, Connection::new(node));
                } else {
                    self.unsolicited.push(BrokerAction::Close { connection });
                }
            }
            BrokerEvent::Frame { connection, frame } => {
                if let Some(open) = self.connections.get_mut(&connection) {
                    open.push(frame);
                }
            }
            BrokerEvent::Closed { connection } => {
                if let Some(open) = self.connections.get_mut(&connection) {
                    open.client_is_gone();
                }
            }
        }
    }

    /// Does everything that can be done without waiting. Returns when there is something to do again.
    pub fn turn(&mut self, now: Now, out: &mut Vec<BrokerAction>) -> Instant {
        out.append(&mut self.unsolicited);
        loop {
            self.world.turn(now);
            let before = self.world.changes();
            self.serve_all(now, out);
            if self.world.changes() == before {
                break;
            }
        }
        self.world.forget_group_answers();
        self.world.forget_unsaved();
        self.connections.retain(|_, connection| !connection.is_over());
        let deadlines = self.connections.values().map(Connection::next_deadline);
        deadlines.fold(self.world.next_deadline(), Instant::min)
    }

    /// What the last turn changed of everything that survives a restart, as one piece; nothing if nothing did. It must be written
    /// before the actions of that turn are carried out (B-5), and read by [`Recovery`] in the same order.
    pub fn take_unsaved(&mut self) -> Bytes {
        durable::piece(&self.world.take_unsaved())
    }

    /// Everything that survives a restart, in pieces that stand for all that were taken so far.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let entries = self.world.all_entries();
        entries.into_iter().map(|entry| durable::piece(&[entry]))
    }

    /// B-5: stops everything at once and starts again with what was written. Connections are closed; rules and journal stay, as they
    /// are not the broker's.
    pub fn restart(&mut self, now: Now) -> Result<(), CorruptPiece> {
        let mut recovery = Recovery::new(self.world.config.clone());
        self.pieces().try_for_each(|piece| recovery.read(piece))?;
        let addresses = self.world.cluster.nodes().to_vec();
        self.world = recovery.finish(now).world;
        for node in addresses {
            self.world.cluster.set_address(node.id, &node.host, node.port);
        }
        for (id, connection) in &mut self.connections {
            connection.drop_everything();
            self.unsolicited.push(BrokerAction::Close { connection: *id });
        }
        Ok(())
    }

    /// Puts a rule in force (B-121).
    pub fn add_rule(&mut self, rule: Rule) -> RuleId {
        self.rules.add(rule)
    }

    /// Takes a rule out of force; what it held goes on at the next turn.
    pub fn remove_rule(&mut self, rule: RuleId) {
        self.rules.remove(rule);
    }

    /// How many requests fitted the rule so far.
    pub fn rule_matches(&self, rule: RuleId) -> u64 {
        self.rules.matches(rule)
    }

    /// Creates a topic with the cluster's default settings.
    pub fn create_topic(&mut self, name: &str, partitions: u32) -> Result<TopicId, ErrorCode> {
        let config = self.world.config.topic_defaults.clone();
        self.create_topic_with(name, partitions, config)
    }

    /// Creates a topic with its own settings, replicated to three nodes or as many as there are.
    pub fn create_topic_with(
        &mut self,
        name: &str,
        partitions: u32,
        config: TopicConfig,
    ) -> Result<TopicId, ErrorCode> {
        if partitions == 0 || partitions > self.world.config.max_partitions_per_topic {
            return Err(ErrorCode::InvalidPartitions);
        }
        let replication_factor = self.world.default_replication_factor();
        self.world.note_change();
        self.world.cluster.create_topic(NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor,
            config,
        })
    }

    /// Deletes a topic (B-122).
    pub fn delete_topic(&mut self, name: &str) -> Result<TopicId, ErrorCode> {
        self.world.note_change();
        self.world.cluster.delete_topic(name)
    }

    /// Adds partitions to a topic, up to `count` (B-122).
    pub fn expand_topic(&mut self, name: &str, count: u32) -> Result<(), ErrorCode> {
        self.world.note_change();
        self.world.cluster.expand_topic(name, count)
    }

    /// Moves the leadership of a partition (B-1); `None` leaves it without leader (B-18).
    pub fn move_leader(
        &mut self,
        partition: &TopicPartition,
        leader: Option<NodeId>,
    ) -> Result<(), ErrorCode> {
        self.world.leaders_moved();
        self.world.announce_later(partition);
        self.world.cluster.move_leader(partition, leader)
    }

    /// Moves a shard of a coordinator, whose epoch rises (B-69).
    pub fn move_coordinator(
        &mut self,
        kind: CoordinatorKind,
        shard: u32,
        leader: Option<NodeId>,
    ) -> Result<(), ErrorCode> {
        self.world.cluster.ensure_coordinator_topic(kind);
        let number = i32::try_from(shard).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        self.move_leader(&TopicPartition::new(coordinator_topic(kind), number), leader)
    }

    /// Whether a shard answers, or says that it is loading (B-22).
    pub fn set_shard_state(&mut self, kind: CoordinatorKind, shard: u32, state: ShardState) {
        self.world.cluster.ensure_coordinator_topic(kind);
        self.world.cluster.set_shard_state(kind, shard, state);
    }

    /// Switches the faults of the transaction log on and off, from the next turn on (B-65, B-67).
    pub fn set_transaction_log(&mut self, log: TransactionLog) {
        self.world.set_transaction_log(log);
    }

    /// Stops or starts a node. Stopping closes its connections and moves what it led (B-122).
    pub fn set_node_state(&mut self, node: NodeId, state: NodeState) {
        self.world.leaders_moved();
        self.world.cluster.set_node_state(node, state);
        if state == NodeState::Stopped {
            self.world.questions.forget(node);
            for (id, connection) in self
                .connections
                .iter_mut()
                .filter(|(_, connection)| connection.node == node)
            {
                connection.drop_everything();
                self.unsolicited.push(BrokerAction::Close { connection: *id });
            }
        }
    }

    /// The directory fails in which `node` has these partitions, or works again: the node answers KAFKA_STORAGE_ERROR for them, and
    /// what it led moves (B-37).
    pub fn set_directory(
        &mut self,
        node: NodeId,
        partitions: &[TopicPartition],
        state: DirectoryState,
    ) -> Result<(), ErrorCode> {
        self.world.leaders_moved();
        self.world.cluster.set_directory(node, partitions, state)
    }

    /// Sets the replicas in sync of a partition (B-29).
    pub fn set_in_sync(&mut self, partition: &TopicPartition, in_sync: Vec<NodeId>) -> Result<(), ErrorCode> {
        self.world.cluster.partition_mut(partition)?.in_sync = in_sync;
        Ok(())
    }

    /// Where a node is reached (B-122); the server calls it when it knows its ports.
    pub fn set_address(&mut self, node: NodeId, host: &str, port: u16) {
        self.world.cluster.set_address(node, host, port);
    }

    /// Finalises another `transaction.version` (B-6).
    pub fn set_transaction_version(&mut self, version: TransactionVersion) {
        self.world.cluster.set_transaction_version(version);
    }

    /// Changes the settings that may change at run time: delays, expiry, verification, throttle, version ranges. The intervals of
    /// expiry begin anew (B-123).
    pub fn configure(&mut self, change: impl FnOnce(&mut BrokerConfig)) {
        change(&mut self.world.config);
        self.world.configured();
    }

    /// The settings in force.
    pub fn config(&self) -> &BrokerConfig {
        &self.world.config
    }

    /// The batches of a partition, oldest first.
    pub fn log(&self, partition: &TopicPartition) -> Result<Vec<LoggedBatch>, ErrorCode> {
        Ok(self
            .world
            .cluster
            .partition(partition)?
            .log()
            .batches()
            .cloned()
            .collect())
    }

    /// What is wrong in the logs of all partitions; nothing, if clients and broker did what they should (B-125).
    pub fn faults(&self) -> Vec<Fault> {
        let mut checker = Checker::default();
        for topic in self.world.cluster.topics() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                let name = TopicPartition::new(&*topic.name, index);
                checker.read(&name, partition.log().batches());
            }
        }
        checker.faults()
    }

    /// What a partition knows of its producers (B-38).
    pub fn producers(
        &self,
        partition: &TopicPartition,
    ) -> Result<BTreeMap<ProducerId, ProducerEntry>, ErrorCode> {
        Ok(self
            .world
            .cluster
            .partition(partition)?
            .producers()
            .entries()
            .clone())
    }

    /// The aborted transactions of a partition (B-113).
    pub fn aborted(&self, partition: &TopicPartition) -> Result<Vec<AbortedTransaction>, ErrorCode> {
        Ok(self
            .world
            .cluster
            .partition(partition)?
            .visibility()
            .index()
            .to_vec())
    }

    /// The watermarks of a partition.
    pub fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, ErrorCode> {
        let partition = self.world.cluster.partition(partition)?;
        Ok(Watermarks {
            log_start: partition.log().start(),
            last_stable_offset: partition.last_stable_offset(),
            high_watermark: partition.high_watermark(),
            log_end: partition.log().end(),
        })
    }

    /// Moves the start of a log, as DeleteRecords does (B-117); `None` means up to the high watermark.
    pub fn delete_records(
        &mut self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, ErrorCode> {
        self.world.cluster.delete_records(partition, before)
    }

    /// The last requests, oldest first.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.journal.entries().cloned().collect()
    }

    /// The id of a topic.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.world.cluster.topic(name).map(|topic| topic.id)
    }
}
