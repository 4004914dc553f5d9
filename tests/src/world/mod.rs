//! A producer and the embedded broker in one thread and in virtual time: the stage on which scenes are played.
//!
//! Reading order: here ([`World`], what a scene can say), [`producer`] (the application's side), [`outcome`] (what it is told),
//! [`fault`] (what the broker does wrong), `state` (the event heap: who moves when), `link` (bytes between the two), [`frame`] (what was
//! sent, decoded), `settings`, `random`.
//!
//! There is no runtime, no clock and no thread here: time is a number that jumps to the next event, and chance comes from the seed. The
//! same seed gives the same [`World::trace`], byte for byte; a scene that fails prints both.

pub mod fault;
pub mod frame;
pub mod link;
pub mod outcome;
pub mod producer;
mod random;
pub mod settings;
mod state;
mod trace;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kommit_broker::coordinator::interface::{CoordinatorKind, NodeState, ShardState, TransactionVersion};
use kommit_broker::{BrokerConfig, BrokerCore, RuleId};
use kommit_protocol::api::ApiKey;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, TopicPartition};
use kommit_txn_manager::OnGap;

pub use fault::Fault;
pub use frame::{SentBatch, SentFrame};
pub use outcome::{CallOutcome, RecordOutcome, aborted, begun, committed, waiting, written_at};
pub use producer::{Call, Producer, Sending};
pub use settings::Settings;

use state::State;

/// The stage. Cheap to clone; all clones and the producers on it are the same world.
#[derive(Clone, Debug)]
pub struct World {
    state: Rc<RefCell<State>>,
}

/// Takes its fault away when it is dropped.
#[derive(Debug)]
#[must_use = "the fault ends when its guard is dropped"]
pub struct FaultGuard {
    world: World,
    rule: RuleId,
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.world.state.borrow_mut().remove_rule(self.rule);
    }
}

impl World {
    /// A world with a cluster of one broker, without topics. Everything that is left to chance follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::with_brokers(seed, 1)
    }

    /// As [`World::seeded`], with several brokers; their ids are 1, 2, 3 …
    pub fn with_brokers(seed: u64, brokers: u16) -> Self {
        Self::with_cluster(BrokerConfig {
            nodes: brokers,
            seed,
            ..BrokerConfig::default()
        })
    }

    /// A world with this cluster, whose seed is the world's; its ports are the world's own.
    pub fn with_cluster(config: BrokerConfig) -> Self {
        let seed = config.seed;
        let config = BrokerConfig {
            port: link::FIRST_PORT,
            ..config
        };
        Self {
            state: Rc::new(RefCell::new(State::new(seed, BrokerCore::new(config)))),
        }
    }

    /// Creates a topic.
    #[must_use]
    pub fn topic(self, name: &str, partitions: u32) -> Self {
        self.create_topic(name, partitions);
        self
    }

    /// Finalises `transaction.version` (B-6).
    #[must_use]
    pub fn transaction_version(self, level: u8) -> Self {
        let version = match level {
            0 => TransactionVersion::V0,
            1 => TransactionVersion::V1,
            _ => TransactionVersion::V2,
        };
        self.state
            .borrow_mut()
            .broker_mut()
            .set_transaction_version(version);
        self
    }

    /// Changes the settings of producers that are made from now on.
    #[must_use]
    pub fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.state.borrow_mut().settings);
        self
    }

    /// Every record becomes a batch of its own.
    #[must_use]
    pub fn batch_per_record(self) -> Self {
        self.set(|settings| settings.batch_size = 1)
    }

    /// Idempotent producers go on behind a record of unknown fate (H07).
    #[must_use]
    pub fn going_on_behind_gaps(self) -> Self {
        self.set(|settings| settings.on_gap = OnGap::Continue)
    }

    /// Creates a topic in the middle of a scene.
    pub fn create_topic(&self, name: &str, partitions: u32) {
        self.state.borrow_mut().create_topic(name, partitions);
    }

    /// Deletes a topic and creates it anew, with another id.
    pub fn recreate_topic(&self, name: &str, partitions: u32) {
        let mut state = self.state.borrow_mut();
        state
            .broker_mut()
            .delete_topic(name)
            .expect("a topic that exists");
        state.create_topic(name, partitions);
    }

    /// Changes the settings of the broker.
    pub fn configure(&self, change: impl FnOnce(&mut BrokerConfig)) {
        self.state.borrow_mut().broker_mut().configure(change);
    }

    /// A transactional producer that has its identity already.
    pub fn transactional(&self, transactional_id: &str) -> Producer {
        let producer = self.uninitialized(transactional_id);
        let initialized = producer.initialize();
        self.run();
        assert_eq!(
            initialized.outcome(),
            CallOutcome::Initialized,
            "a producer comes to its identity"
        );
        producer
    }

    /// A transactional producer that has not asked for its identity.
    pub fn uninitialized(&self, transactional_id: &str) -> Producer {
        Producer::start(self, Some(transactional_id), state::Idempotence::On)
    }

    /// A producer with sequences and without transactions.
    pub fn idempotent(&self) -> Producer {
        Producer::start(self, None, state::Idempotence::On)
    }

    /// A producer without identity.
    pub fn plain(&self) -> Producer {
        Producer::start(self, None, state::Idempotence::Off)
    }

    /// Puts a fault in force until it is used up or [released](World::release).
    pub fn rule(&self, fault: Fault) {
        self.state.borrow_mut().add_rule(fault);
    }

    /// Puts a fault in force for as long as the guard lives.
    pub fn rule_while(&self, fault: Fault) -> FaultGuard {
        let rule = self.state.borrow_mut().add_rule(fault);
        FaultGuard {
            world: self.clone(),
            rule,
        }
    }

    /// Ends all faults about this API; what they held goes on.
    pub fn release(&self, api: ApiKey) {
        self.state.borrow_mut().release(api);
    }

    /// Breaks all connections to a broker; what is on its way is lost.
    pub fn cut(&self, broker: i32) {
        self.state.borrow_mut().cut(NodeId(broker));
    }

    /// A broker takes no new connections from now on, or takes them again.
    pub fn reachable(&self, broker: i32, how: link::Reachable) {
        self.state.borrow_mut().set_reachable(NodeId(broker), how);
    }

    /// Sockets to a broker take no bytes any more: what is written waits in the client.
    pub fn stall(&self, broker: i32) {
        self.state.borrow_mut().stall(NodeId(broker));
    }

    /// The next answer to `api` is cut short inside, so that it cannot be decoded.
    pub fn garble(&self, api: ApiKey) {
        self.state.borrow_mut().garble(api);
    }

    /// Moves the leadership of a partition; `None` leaves it without leader.
    pub fn move_leader(&self, topic: &str, partition: i32, broker: Option<i32>) {
        let place = TopicPartition::new(topic, partition);
        let moved = self
            .state
            .borrow_mut()
            .broker_mut()
            .move_leader(&place, broker.map(NodeId));
        moved.expect("the partition and the broker exist");
    }

    /// Stops a broker: its connections end, and what it led moves.
    pub fn stop_broker(&self, broker: i32) {
        self.state
            .borrow_mut()
            .broker_mut()
            .set_node_state(NodeId(broker), NodeState::Stopped);
    }

    /// The whole cluster ends at once, and starts again with what it had written (B-5). With a data directory in its configuration,
    /// which nobody writes, what it gave away to be written is compared with what it knows.
    pub fn restart(&self) {
        self.state.borrow_mut().restart();
    }

    /// All shards of the transaction coordinator move to `broker`.
    pub fn move_transaction_coordinator(&self, broker: i32) {
        self.move_coordinator(CoordinatorKind::Transaction, broker);
    }

    /// All shards of the group coordinator move to `broker`.
    pub fn move_group_coordinator(&self, broker: i32) {
        self.move_coordinator(CoordinatorKind::Group, broker);
    }

    fn move_coordinator(&self, kind: CoordinatorKind, broker: i32) {
        for shard in 0..kommit_broker::coordinator::interface::SHARD_COUNT {
            let moved =
                self.state
                    .borrow_mut()
                    .broker_mut()
                    .move_coordinator(kind, shard, Some(NodeId(broker)));
            moved.expect("every shard can be led by a live broker");
        }
    }

    /// All shards of the transaction coordinator load, or are ready again (B-22).
    pub fn set_transaction_coordinator(&self, state: ShardState) {
        for shard in 0..kommit_broker::coordinator::interface::SHARD_COUNT {
            self.state
                .borrow_mut()
                .broker_mut()
                .set_shard_state(CoordinatorKind::Transaction, shard, state);
        }
    }

    /// Runs until nothing happens any more: no byte is on its way, and for two seconds of virtual time no frame, no connection and no
    /// outcome came. Whatever waits longer than that (a request time-out, an expiry) is still to come.
    pub fn run(&self) {
        state::run_to_quiet(&self.state);
    }

    /// Runs for exactly so long.
    pub fn run_for(&self, duration: Duration) {
        state::run_for(&self.state, duration);
    }

    /// Runs until `producer` wrote `count` requests of this kind, counted from the beginning.
    pub fn run_until_sent(&self, api: ApiKey, count: usize) {
        state::run_until(&self.state, |state| state.sent_count(api) >= count);
    }

    /// Ends every fault, and runs until nothing can be under way any more: no record, no request, no transaction.
    pub fn settle(&self) {
        let longest = self.state.borrow_mut().heal();
        self.run_for(longest);
    }

    /// [Settles](World::settle), and fails when a promise is broken, whatever the scene was about (`docs/spec/proof.md`, I1 …).
    ///
    /// Counts on records that differ in their values, and on producers with an identity.
    pub fn audit(&self) {
        let breaches = self.breaches();
        assert!(breaches.is_empty(), "broken promises:\n{}", breaches.join("\n"));
    }

    /// As [`World::audit`]: the promises that are broken.
    pub fn breaches(&self) -> Vec<String> {
        self.settle();
        self.state.borrow().breaches()
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.state.borrow().now - Instant::ORIGIN
    }

    /// The requests of this kind that were written so far, oldest first.
    pub fn sent(&self, api: ApiKey) -> Vec<SentFrame> {
        self.state.borrow().sent(api)
    }

    /// The batches that were written so far, oldest first, each as often as it was written.
    pub fn batches(&self) -> Vec<SentBatch> {
        self.sent(ApiKey::Produce)
            .iter()
            .flat_map(|frame| frame.batches.clone())
            .collect()
    }

    /// Fails unless no request of this kind has been written so far.
    pub fn expect_unsent(&self, api: ApiKey) {
        self.expect_sent(api, 0);
    }

    /// Fails unless `count` requests of this kind have been written so far.
    pub fn expect_sent(&self, api: ApiKey, count: usize) {
        let sent = self.sent(api);
        assert_eq!(sent.len(), count, "requests of {api} so far: {sent:#?}");
    }

    /// The values in a partition, oldest first, whatever became of their transactions.
    pub fn log(&self, topic: &str, partition: i32) -> Vec<String> {
        self.state.borrow().log(topic, partition)
    }

    /// The values that a read_committed reader finds in a partition.
    pub fn committed(&self, topic: &str, partition: i32) -> Vec<String> {
        self.state.borrow().committed(topic, partition)
    }

    /// The epochs of the transactional batches in a partition, markers left out.
    pub fn epochs(&self, topic: &str, partition: i32) -> Vec<i16> {
        self.state.borrow().epochs(topic, partition)
    }

    /// How often a producer was turned so far: an idle one is not.
    pub fn turns(&self) -> u64 {
        self.state.borrow().turns
    }

    /// Everything that happened so far, one line each, with its virtual time.
    pub fn trace(&self) -> String {
        self.state.borrow().trace_text()
    }
}
