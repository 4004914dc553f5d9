//! The core: one value that owns all protocol state, and how it is fed.
//!
//! Feed it ([`SenderCore::collect`], [`SenderCore::command`], [`SenderCore::event`]), turn it ([`SenderCore::turn`]), carry out its
//! [`Actions`], wait for the next event or the returned deadline. It never waits, reads no clock and cannot fail: errors are states.

use std::sync::Arc;
use std::time::Duration;

use kommit_accumulator::{
    Accumulator, Completing, Drainer, GateReason, RestampRefusal, SendError, SendErrorKind, Stamp, StampScope,
};
use kommit_network::{Acks, ClusterSnapshot, Completed, NetAction, NetEvent, Network};
use kommit_protocol::backoff::Backoff;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::PartitionIndex;
use kommit_txn_manager::{
    CoordinatorType, Renumbering, Ticket, TransactionError, TransactionManager, TransactionalRequest,
};

use crate::at_hand::AtHand;
use crate::command::{Command, Reply};
use crate::counts::{SenderCounts, SenderReport};
use crate::flush::Flushes;
use crate::in_flight::InFlight;
use crate::next_transaction::{Followed, NextTransaction};
use crate::pace::{MarkersQuestion, Pace};
use crate::phase::Phase;
use crate::produce_response::ProduceRequest;
use crate::run_once::fatal;
use crate::topic_ids::TopicIds;

/// What the user decided about sending (S-1).
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// `acks`.
    pub acks: Acks,
    /// `retries`: how often a batch may be put back.
    pub retries: u32,
    /// `request.timeout.ms`, also the broker's time to replicate a batch.
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`: from the creation of a batch to its outcome.
    pub delivery_timeout: Duration,
    /// `retry.backoff.ms` and its maximum.
    pub retry_backoff: Backoff,
    /// `max.request.size`, in bytes.
    pub max_request_size: usize,
    /// `transactional.id`.
    pub transactional_id: Option<Arc<str>>,
    /// Whether a partition has at most one batch under way.
    pub order: Order,
}

/// How order is kept across retries (S-77, S-78).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `max.in.flight.requests.per.connection` = 1: a partition is muted while a batch of it is under way.
    OneInFlight,
    /// By sequences, or not at all.
    Pipelined,
}

/// What the core wants done. The driver empties it after each turn.
#[derive(Debug, Default)]
pub struct Actions {
    /// Connections to open, write to and close.
    pub network: Vec<NetAction>,
    /// Calls to answer.
    pub replies: Vec<(Ticket, Reply)>,
    /// A new view of the cluster, when it changed.
    pub cluster: Option<Arc<ClusterSnapshot>>,
}

/// Why a request was sent, carried along until its end.
#[derive(Debug)]
pub enum Purpose {
    /// Batches for one broker.
    Produce(ProduceRequest),
    /// A request of the transaction manager.
    Transactional(Box<TransactionalRequest>),
    /// Whether the markers of the last transaction are written.
    Markers(MarkersQuestion),
}

/// The sender: all protocol state of one producer (S-1).
#[derive(Debug)]
pub struct SenderCore {
    pub(crate) config: SenderConfig,
    pub(crate) phase: Phase,
    pub(crate) accumulator: Arc<Accumulator>,
    pub(crate) drainer: Drainer,
    pub(crate) txn: Option<TransactionManager>,
    pub(crate) next: NextTransaction,
    pub(crate) at_hand: AtHand,
    pub(crate) in_flight: InFlight,
    pub(crate) pace: Pace,
    /// Produce requests that have not come to their end, those of expired batches included.
    pub(crate) unanswered_requests: usize,
    pub(crate) network: Network<Purpose>,
    pub(crate) counts: SenderCounts,
    topic_ids: TopicIds,
    flushes: Flushes,
    fresh: Vec<PartitionIndex>,
    renumberings: Vec<Renumbering>,
    completed: Vec<Completed<Purpose>>,
    pub(crate) replies: Vec<(Ticket, Reply)>,
    published: Option<Arc<ClusterSnapshot>>,
    own_tickets: u64,
    /// What closing the network asked for.
    last_actions: Vec<NetAction>,
}

/// When a batch whose bytes are in use is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl SenderCore {
    /// A sender around its parts. Without a transaction manager, records travel without identity (S-19).
    pub fn new(
        config: SenderConfig,
        accumulator: Arc<Accumulator>,
        drainer: Drainer,
        txn: Option<TransactionManager>,
        network: Network<Purpose>,
    ) -> Self {
        if !txn.as_ref().is_some_and(|txn| txn.is_transactional()) {
            accumulator.gate().open();
        }
        tracing::debug!("sender starts");
        Self {
            in_flight: InFlight::new(config.delivery_timeout),
            pace: Pace::new(),
            unanswered_requests: 0,
            config,
            phase: Phase::Running,
            accumulator,
            drainer,
            txn,
            next: NextTransaction::None,
            at_hand: AtHand::Idle,
            network,
            counts: SenderCounts::default(),
            topic_ids: TopicIds::default(),
            flushes: Flushes::default(),
            fresh: Vec::new(),
            renumberings: Vec::new(),
            completed: Vec::new(),
            replies: Vec::new(),
            published: None,
            own_tickets: 0,
            last_actions: Vec::new(),
        }
    }

    /// Takes over what the doorbell announced. Must come before the commands that were given up to then, so that a record never
    /// overtakes the command that opened its transaction.
    pub fn collect(&mut self) {
        self.fresh.extend_from_slice(self.drainer.collect());
    }

    /// Takes over a call of the application.
    pub fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::NeedTopic(topic) => self.network.add_topic(&topic, now),
            Command::RefreshTopic(topic) => {
                self.network.add_topic(&topic, now);
                self.network.request_update_for_topic(&topic);
            }
            Command::Close => self.initiate_close(),
            Command::ForceClose => self.force_close(),
            Command::Flush(ticket) => {
                self.drainer.begin_flush();
                let batches = self.drainer.incomplete_completions();
                self.flushes.begin(ticket, batches);
            }
            Command::Diagnose(ticket) => {
                let failures = self.network.last_failures();
                self.replies.push((ticket, Reply::Diagnosis(failures)));
            }
            Command::StoppedPartitions(ticket) => {
                let stopped = self.stopped_partitions();
                self.replies.push((ticket, stopped));
            }
            Command::AcknowledgeGap { ticket, partition } => {
                let reply = self.acknowledge_gap(&partition);
                self.replies.push((ticket, reply));
            }
            Command::Report(ticket) => {
                let report = Box::new(self.report(now));
                self.replies.push((ticket, Reply::Report(report)));
            }
            transactional => self.transactional_command(transactional),
        }
    }

    /// Carries out a transactional call where the transaction stands now.
    pub(crate) fn carry_out(&mut self, command: Command) {
        let Some(txn) = self.txn.as_mut() else {
            debug_assert!(
                false,
                "a producer without a transaction manager offers no transactional call"
            );
            return;
        };
        let refused = match command {
            Command::Initialize(ticket) => (Some(ticket), txn.initialize(ticket)),
            Command::Begin => (None, txn.begin()),
            Command::SendOffsets {
                ticket,
                group,
                offsets,
            } => (Some(ticket), txn.send_offsets(ticket, group, offsets)),
            Command::Commit(ticket) => (Some(ticket), txn.begin_commit(ticket)),
            Command::Abort(ticket) => (Some(ticket), txn.begin_abort(ticket)),
            Command::Condemn(_)
            | Command::BeginNext { .. }
            | Command::NeedTopic(_)
            | Command::RefreshTopic(_)
            | Command::Flush(_)
            | Command::Diagnose(_)
            | Command::StoppedPartitions(_)
            | Command::AcknowledgeGap { .. }
            | Command::Report(_)
            | Command::Close
            | Command::ForceClose => {
                return;
            }
        };
        match refused {
            (_, Ok(())) => {}
            (Some(ticket), Err(error)) => self.replies.push((ticket, Reply::Refused(error))),
            // The gate is closed again at the end of the turn, so that the transaction's first call hears of it.
            (None, Err(error)) => tracing::error!(%error, "a transaction could not be begun"),
        }
    }

    /// What was counted and learned up to now.
    pub fn report(&self, now: Instant) -> SenderReport {
        SenderReport {
            at: now,
            sender: self.counts.clone(),
            network: self.network.counts().clone(),
            requests_in_flight: self.network.in_flight_count(),
            metadata_age: self.network.metadata_age(now),
            transaction_pause: self.transaction_pause(),
        }
    }

    /// Takes note of how long the loop around this core rested and worked (K-21).
    pub fn turned(&mut self, rest: Duration, work: Duration) {
        self.counts.turned(rest, work);
    }

    /// Takes over what happened to a connection.
    pub fn event(&mut self, event: NetEvent, now: Instant) {
        self.network.event(event, now);
    }

    /// Does everything that can be done without waiting, and says when there will be more to do at the latest.
    pub fn turn(&mut self, now: Now, out: &mut Actions) -> Instant {
        let mut deadline = self.pass(now, out);
        // A pass can end requests by itself (a version that no broker has), or a transaction that needs none: their consequences belong
        // to the same turn.
        while !self.completed.is_empty() || self.follow_commit() == Followed::Yes {
            deadline = self.pass(now, out);
        }
        out.network.append(&mut self.last_actions);
        self.admit();
        self.answer(out);
        self.publish(out);
        deadline
    }

    /// Answers first, as the reference's poll does at the end of each iteration; then one pass of `run()`.
    fn pass(&mut self, now: Now, out: &mut Actions) -> Instant {
        self.network
            .turn(now.instant, &mut out.network, &mut self.completed);
        for completed in std::mem::take(&mut self.completed) {
            self.request_ended(completed, now);
        }
        self.follow_commit();
        self.stop_in_other_cluster();
        self.restart_new_topics();
        self.join_fresh_partitions(now.instant);
        let due = self.run(now);
        self.stop_behind_gaps();
        let renumbered = self.renumber(now.instant);
        let network_due = self
            .network
            .turn(now.instant, &mut out.network, &mut self.completed);
        due.min(renumbered).min(network_due)
    }

    /// H30: before anything is drained towards brokers that belong to another cluster.
    fn stop_in_other_cluster(&mut self) {
        let failure = self.network.cluster().failure.as_ref();
        let Some(what) = failure.filter(|it| it.is_permanent()).map(ToString::to_string) else {
            return;
        };
        match self.txn.as_mut() {
            Some(txn) => txn.cluster_changed(&what),
            None => {
                // Nobody else keeps a fatal state for a producer without identity.
                let fatal_code = GateReason::Fatal(ErrorCode::UnknownServerError);
                self.accumulator.gate().close(fatal_code);
                let (who, what) = ("producer".into(), what.into());
                self.fail_incomplete_batches(&fatal(&TransactionError::BrokenAnswer { who, what }));
            }
        }
    }

    fn request_ended(&mut self, completed: Completed<Purpose>, now: Now) {
        let Completed {
            purpose,
            connection,
            result,
            sent,
        } = completed;
        match purpose {
            Purpose::Produce(request) => self.produce_ended(request, connection, result, sent, now),
            Purpose::Transactional(request) => {
                self.transactional_request_ended(*request, connection, (result, sent), now)
            }
            Purpose::Markers(question) => self.markers_told(question, connection, result, now.instant),
        }
    }

    /// H11: before anything is drained towards a topic that only has the name of the one before.
    fn restart_new_topics(&mut self) {
        let Some(txn) = self.txn.as_mut() else { return };
        for topic in self.topic_ids.created_anew(self.network.cluster()) {
            txn.topic_created_anew(&topic);
        }
    }

    /// The first record of a partition lets it join the transaction (T-22), and each new batch keeps its topic in the metadata (P-12).
    fn join_fresh_partitions(&mut self, now: Instant) {
        let fresh = std::mem::take(&mut self.fresh);
        for &partition in &fresh {
            let name = self.drainer.topic_partition(partition);
            self.network.add_topic(&name.topic, now);
        }
        self.join(fresh);
        let completing = self.txn.as_ref().is_some_and(TransactionManager::is_completing);
        self.drainer.set_completing(if completing {
            Completing::Yes
        } else {
            Completing::No
        });
    }

    /// T-70: batches that wait for a retry get the stamp that they are known by now. One whose bytes are still held by a connection is
    /// looked at again; until then it is not drained, because the transaction manager does not know its old name any more. One that got
    /// its new stamp may be due since before: another pass follows at once.
    fn renumber(&mut self, now: Instant) -> Instant {
        let Some(txn) = self.txn.as_mut() else {
            return Instant::NEVER;
        };
        txn.drain_renumberings(&mut self.renumberings);
        if self.renumberings.is_empty() {
            return Instant::NEVER;
        }
        let scope = if txn.is_transactional() {
            StampScope::Transactional
        } else {
            StampScope::Idempotent
        };
        let (drainer, before) = (&mut self.drainer, self.renumberings.len());
        self.renumberings.retain(|it| {
            let stamp = Stamp::Sequenced {
                identity: it.identity,
                base_sequence: it.base_sequence,
                scope,
            };
            let renumbered = drainer.restamp(it.batch.partition, it.batch.base_sequence, stamp);
            renumbered == Err(RestampRefusal::BytesInUse)
        });
        if self.renumberings.len() < before {
            now
        } else {
            now + LOOK_AGAIN
        }
    }

    /// Keeps the gate in step with the state of the transaction.
    fn admit(&mut self) {
        let Some(txn) = self.txn.as_ref() else { return };
        if self.next.is_ahead() {
            return;
        }
        crate::gate::keep_in_step(self.accumulator.gate(), txn);
    }

    fn answer(&mut self, out: &mut Actions) {
        if let Some(txn) = self.txn.as_mut() {
            let mut answered = Vec::new();
            txn.drain_answers(&mut answered);
            self.replies.extend(
                answered
                    .into_iter()
                    .map(|it| (it.ticket, Reply::Transaction(it.outcome))),
            );
        }
        for ticket in self.flushes.finished() {
            self.drainer.end_flush();
            self.replies.push((ticket, Reply::Flushed));
        }
        out.replies.append(&mut self.replies);
    }

    /// Shows the application a new view of the cluster, and lets topics that grew have their queues.
    fn publish(&mut self, out: &mut Actions) {
        let cluster = self.network.cluster();
        if self
            .published
            .as_ref()
            .is_some_and(|published| Arc::ptr_eq(published, cluster))
        {
            return;
        }
        let cluster = Arc::clone(cluster);
        for name in cluster.topics.keys() {
            let Some(count) = cluster.partition_count(name) else {
                continue;
            };
            let topic = self.accumulator.topic(name, count);
            topic.set_available(|partition| {
                cluster
                    .partition(name, partition)
                    .is_some_and(|partition| partition.leader.is_some())
            });
        }
        self.published = Some(Arc::clone(&cluster));
        out.cluster = Some(cluster);
    }

    /// Where `run()` stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The pause behind a transaction that ends now, learned from those before (a metric).
    fn transaction_pause(&self) -> Duration {
        let coordinator = self
            .txn
            .as_ref()
            .and_then(|txn| txn.coordinator(CoordinatorType::Transaction));
        coordinator.map_or(Duration::ZERO, |node| self.pace.pause(node.id))
    }

    /// A ticket for a call that the core makes itself and that nobody waits for.
    pub(crate) fn own_ticket(&mut self) -> Ticket {
        self.own_tickets += 1;
        Ticket(u64::MAX - self.own_tickets)
    }

    pub(crate) fn closed_forcefully(&self) -> SendError {
        SendError::new(SendErrorKind::ClosedForcefully)
    }

    /// S-14: the connections end. Batches that were on them are told by the drop of their requests.
    pub(crate) fn close_client(&mut self, now: Instant) {
        self.accumulator.gate().close(GateReason::ProducerClosed);
        let mut actions = Vec::new();
        drop(self.network.close(now, &mut actions));
        self.last_actions.append(&mut actions);
        tracing::debug!("sender shutdown is complete");
    }
}
