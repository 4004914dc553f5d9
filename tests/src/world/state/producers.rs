//! The producers on the stage: each a core, its commands, and its part of the accumulator. What the driver does with sockets and
//! wake-ups, a world does with events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kommit_accumulator::{
    Accumulator, AppendRefusal, Delivery, GateReason, GateState, RecordRef, TransactionNumber, accumulator,
};
use kommit_network::{BrokerAddress, NetEvent, Network};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{PartitionId, TopicPartition};
use kommit_sender::{Actions, Command, Phase, Reply, SenderCore};
use kommit_txn_manager::{Outcome, Ticket, TransactionManager};

use super::super::link::FIRST_PORT;
use super::super::outcome::{CallOutcome, RecordOutcome};
use super::State;

/// Whether a producer has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idempotence {
    On,
    Off,
}

/// A producer.
#[derive(Debug)]
pub(crate) struct ProducerState {
    pub(crate) name: String,
    /// When it must be turned.
    pub(crate) due: Instant,
    /// `None` when it has ended.
    core: Option<SenderCore>,
    accumulator: Arc<Accumulator>,
    rung: Arc<AtomicBool>,
    commands: Vec<Command>,
    replies: BTreeMap<Ticket, Reply>,
    tickets: u64,
    transaction: TransactionNumber,
    in_transaction: Option<TransactionNumber>,
    /// All that were begun, oldest first.
    pub(crate) transactions: Vec<TransactionCalls>,
}

/// The calls that were to end a transaction.
#[derive(Debug, Default)]
pub(crate) struct TransactionCalls {
    /// The commit behind which it was begun, when nobody waited for that.
    behind: Option<Ticket>,
    pub(crate) commits: Vec<Ticket>,
    pub(crate) aborts: Vec<Ticket>,
}

impl ProducerState {
    /// How many transactions had been begun when the one began in which the coordinator is by now: one that is ahead of the commit before it,
    /// or fell with it, has not.
    pub(crate) fn begun_count(&self) -> usize {
        let has_begun = |it: &TransactionCalls| {
            it.behind.is_none_or(|commit| {
                self.replies.get(&commit) == Some(&Reply::Transaction(Outcome::Committed))
            })
        };
        let last = self.transactions.iter().rposition(has_begun);
        last.map_or(0, |last| last + 1)
    }

    pub(crate) fn event(&mut self, event: NetEvent, now: Instant) {
        if let Some(core) = &mut self.core {
            core.event(event, now);
            self.due = now;
        }
    }
}

/// A record and what became of it.
#[derive(Debug)]
pub(crate) struct Record {
    name: String,
    /// Which producer.
    pub(crate) who: usize,
    /// In which of its transactions.
    pub(crate) transaction: Option<usize>,
    pub(crate) place: TopicPartition,
    pub(crate) value: String,
    sent: Result<Delivery, AppendRefusal>,
    is_told: bool,
}

impl Record {
    /// Whether it is in a batch.
    pub(crate) fn is_accepted(&self) -> bool {
        self.sent.is_ok()
    }
}

impl State {
    pub(crate) fn add_producer(&mut self, transactional_id: Option<&str>, idempotence: Idempotence) -> usize {
        let index = self.producers.len();
        let name = transactional_id.map_or_else(|| format!("p-{index}"), str::to_owned);
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(index as u64);
        let transactional_id: Option<Arc<str>> = transactional_id.map(Arc::from);
        let rung = Arc::new(AtomicBool::new(false));
        let bell = Arc::clone(&rung);
        let ring = move || bell.store(true, Ordering::Relaxed);
        let (accumulator, drainer) = accumulator(self.settings.accumulator(seed), ring);
        let bootstrap = vec![BrokerAddress::new("127.0.0.1", FIRST_PORT)];
        let network = Network::new(self.settings.network(&name, seed), bootstrap);
        let transaction = self.settings.transaction(transactional_id.clone());
        let txn = (idempotence == Idempotence::On).then(|| TransactionManager::new(transaction));
        let sender = self.settings.sender(transactional_id);
        let core = SenderCore::new(sender, Arc::clone(&accumulator), drainer, txn, network);
        self.producers.push(ProducerState {
            name,
            due: self.now,
            core: Some(core),
            accumulator,
            rung,
            commands: Vec::new(),
            replies: BTreeMap::new(),
            tickets: 0,
            transaction: TransactionNumber::FIRST,
            in_transaction: None,
            transactions: Vec::new(),
        });
        index
    }

    pub(crate) fn command(&mut self, producer: usize, command: Command) {
        let it = &mut self.producers[producer];
        if !matches!(command, Command::NeedTopic(_)) {
            self.trace.line(self.now, &it.name, format_args!("{command:?}"));
        }
        if it.core.is_some() {
            it.commands.push(command);
            it.due = self.now;
        }
    }

    pub(crate) fn call(&mut self, producer: usize, command: impl FnOnce(Ticket) -> Command) -> Ticket {
        let it = &mut self.producers[producer];
        it.tickets += 1;
        let ticket = Ticket(it.tickets);
        let command = command(ticket);
        if let Some(transaction) = it.transactions.last_mut() {
            match command {
                Command::Commit(_) => transaction.commits.push(ticket),
                Command::Abort(_) => transaction.aborts.push(ticket),
                _ => {}
            }
        }
        self.command(producer, command);
        ticket
    }

    /// As the public producer: the gate first, then the word to the core.
    pub(crate) fn begin(&mut self, producer: usize) {
        let it = &mut self.producers[producer];
        let gate = it.accumulator.gate();
        let state = gate.state();
        assert_eq!(
            state,
            GateState::Closed(GateReason::NoTransaction),
            "a transaction can be begun"
        );
        let number = it.transaction;
        gate.open_for(number);
        it.transaction = number.next();
        it.in_transaction = Some(number);
        it.transactions.push(TransactionCalls::default());
        self.command(producer, Command::Begin);
    }

    /// As the public producer: the word about the next transaction goes before the commit. Returns the tickets of the commit and of the begin.
    pub(crate) fn commit_and_begin(&mut self, producer: usize) -> (Ticket, Ticket) {
        let number = self.producers[producer].transaction;
        let begun = self.call(producer, |ticket| Command::BeginNext { ticket, number });
        self.close_gate(producer);
        let commit = self.call(producer, Command::Commit);
        let it = &mut self.producers[producer];
        it.transaction = number.next();
        it.in_transaction = Some(number);
        it.transactions.push(TransactionCalls {
            behind: Some(commit),
            ..TransactionCalls::default()
        });
        (commit, begun)
    }

    /// As the public producer: no record enters a transaction that is being ended.
    pub(crate) fn close_gate(&mut self, producer: usize) {
        let gate = self.producers[producer].accumulator.gate();
        if let GateState::InTransaction(_) = gate.state() {
            gate.close(GateReason::Ending);
        }
    }

    /// Appends a record, and returns its number. A scene has memory enough.
    pub(crate) fn send(
        &mut self,
        producer: usize,
        topic: &str,
        partition: Option<i32>,
        value: &[u8],
    ) -> usize {
        let now = self.now();
        let count = self.topics.get(topic).copied().unwrap_or(1);
        if self.producers[producer].accumulator.known_topic(topic).is_none() {
            self.command(producer, Command::NeedTopic(topic.into()));
        }
        let it = &mut self.producers[producer];
        let queues = it.accumulator.topic(topic, count);
        let record = RecordRef {
            key: None,
            value: Some(value),
            headers: &[],
            timestamp: None,
        };
        let destination = it
            .accumulator
            .destination(&queues, partition.map(PartitionId), &record);
        let destination = destination.expect("a partition that exists");
        let mut page = None;
        let sent = loop {
            match it
                .accumulator
                .append(&destination, &record, &mut page, it.in_transaction, now)
            {
                Err(AppendRefusal::NeedsPage(size)) => {
                    page = Some(it.accumulator.try_page(size).expect("a scene has memory enough"));
                }
                appended => break appended,
            }
        };
        if it.rung.swap(false, Ordering::Relaxed) && it.core.is_some() {
            it.due = self.now;
        }
        // A record that was refused is nowhere, so it does not matter where.
        let place = match &sent {
            Ok(delivery) => delivery.topic_partition().clone(),
            Err(_) => TopicPartition::new(topic, partition.unwrap_or_default()),
        };
        let name = format!("{place} {:.12}", String::from_utf8_lossy(value));
        let refused = sent
            .as_ref()
            .err()
            .map_or_else(String::new, |refusal| format!(": {refusal}"));
        self.trace
            .line(self.now, &it.name, format_args!("send {name}{refused}"));
        let begun = it.transactions.len();
        self.records.push(Record {
            name,
            who: producer,
            transaction: it.in_transaction.and_then(|_| begun.checked_sub(1)),
            place,
            value: String::from_utf8_lossy(value).into_owned(),
            sent,
            is_told: false,
        });
        self.records.len() - 1
    }

    pub(crate) fn record_outcome(&self, record: usize) -> RecordOutcome {
        match &self.records[record].sent {
            Err(refusal) => RecordOutcome::Refused(*refusal),
            Ok(delivery) => delivery
                .outcome()
                .map_or(RecordOutcome::Waiting, RecordOutcome::of),
        }
    }

    pub(crate) fn call_outcome(&self, producer: usize, ticket: Ticket) -> CallOutcome {
        let it = &self.producers[producer];
        match it.replies.get(&ticket) {
            Some(reply) => CallOutcome::of(reply.clone()),
            None if it.core.is_some() => CallOutcome::Waiting,
            None => CallOutcome::SenderGone,
        }
    }

    pub(crate) fn phase(&self, producer: usize) -> Phase {
        self.producers[producer]
            .core
            .as_ref()
            .map_or(Phase::Closed, SenderCore::phase)
    }

    pub(crate) fn transaction_pause(&self, producer: usize) -> Duration {
        let core = self.producers[producer].core.as_ref();
        core.map_or(Duration::ZERO, |core| core.report(self.now).transaction_pause)
    }

    /// Feed, turn, carry out: what the driver does.
    pub(super) fn turn_producer(&mut self, producer: usize) {
        let now = self.now();
        let it = &mut self.producers[producer];
        it.due = Instant::NEVER;
        let Some(core) = &mut it.core else { return };
        self.turns += 1;
        core.collect();
        for command in std::mem::take(&mut it.commands) {
            core.command(command, now.instant);
        }
        let mut actions = Actions::default();
        it.due = core.turn(now, &mut actions);
        if core.phase() == Phase::Closed {
            it.core = None;
            it.due = Instant::NEVER;
            self.trace.line(self.now, &it.name, "the sender has ended");
        }
        for (ticket, reply) in actions.replies {
            self.trace
                .line(self.now, &it.name, format_args!("call {}: {reply:?}", ticket.0));
            it.replies.insert(ticket, reply);
        }
        for action in actions.network {
            self.carry_out_of_client(producer, action);
        }
        self.note_outcomes();
        if self.producers[producer].rung.swap(false, Ordering::Relaxed)
            && self.producers[producer].core.is_some()
        {
            self.producers[producer].due = self.now;
        }
    }

    fn note_outcomes(&mut self) {
        for record in self.records.iter_mut().filter(|record| !record.is_told) {
            let Some(outcome) = record.sent.as_ref().ok().and_then(Delivery::outcome) else {
                continue;
            };
            record.is_told = true;
            let text = match outcome {
                Ok(metadata) => format!("written at {:?}", metadata.offset.map(|offset| offset.0)),
                Err(error) => format!("{error} ({:?})", error.fate()),
            };
            self.trace
                .line(self.now, "record", format_args!("{}: {text}", record.name));
        }
    }
}
