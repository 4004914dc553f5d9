//! The event heap: who moves when. One step takes the time to the next event and lets everybody act that it concerns.

mod audit;
mod inspect;
mod producers;
mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kommit_broker::{BrokerConfig, BrokerCore, BrokerEvent, Recovery, RuleId};
use kommit_network::{ConnectionId, LinkFailure, NetEvent};
use kommit_protocol::api::ApiKey;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{NodeId, Timestamp};

use super::fault::Fault;
use super::frame::SentFrame;
use super::link::{Link, LinkId, Reachable};
use super::random::Random;
use super::settings::Settings;
use super::trace::Trace;

pub(crate) use producers::Idempotence;
use producers::{ProducerState, Record};

/// The wall clock at the beginning of every world.
const FIRST_WALL: Timestamp = Timestamp(1_700_000_000_000);
/// A world in which nothing happened for so long is quiet.
const QUIET: Duration = Duration::from_secs(2);
/// A world that is not quiet after this never will be.
const RESTLESS: Duration = Duration::from_secs(600);
/// So often somebody may act at one moment before it counts as a busy loop.
const MOST_STEPS_AT_ONCE: u32 = 10_000;

/// What is on its way.
#[derive(Debug)]
enum Event {
    Opened(LinkId),
    Connected(LinkId),
    Refused(usize, ConnectionId),
    Wrote(LinkId, u64),
    Up(LinkId, Bytes),
    Down(LinkId, Bytes),
    ClientGone(LinkId),
    BrokerGone(LinkId),
}

/// Everything in a world.
#[derive(Debug)]
pub(crate) struct State {
    seed: u64,
    pub(crate) now: Instant,
    pub(crate) settings: Settings,
    pub(crate) turns: u64,
    random: Random,
    heap: BTreeMap<(Instant, u64), Event>,
    events: u64,
    broker: BrokerCore,
    broker_due: Instant,
    /// What the broker has given away to be kept.
    written: Vec<Bytes>,
    topics: BTreeMap<String, u32>,
    rules: Vec<(ApiKey, RuleId)>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    reachable: BTreeMap<NodeId, Reachable>,
    garbled: Vec<ApiKey>,
    producers: Vec<ProducerState>,
    records: Vec<Record>,
    sent: Vec<SentFrame>,
    trace: Trace,
}

/// Says what happened when a scene fails.
impl Drop for State {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the seed was {}; this happened:\n{}",
                self.seed,
                self.trace.text()
            );
        }
    }
}

pub(crate) fn run_to_quiet(state: &RefCell<State>) {
    let begin = state.borrow().now;
    let mut last_activity = begin;
    while state.borrow().next_time() <= last_activity + QUIET {
        let mut state = state.borrow_mut();
        if state.step() {
            last_activity = state.now;
        }
        assert!(state.now <= begin + RESTLESS, "the world does not come to rest");
    }
}

pub(crate) fn run_for(state: &RefCell<State>, duration: Duration) {
    let end = state.borrow().now + duration;
    while state.borrow().next_time() <= end {
        state.borrow_mut().step();
    }
    state.borrow_mut().now = end;
}

pub(crate) fn run_until(state: &RefCell<State>, condition: impl Fn(&State) -> bool) {
    let end = state.borrow().now + RESTLESS;
    while !condition(&state.borrow()) {
        assert!(
            state.borrow().next_time() <= end,
            "what is waited for does not come"
        );
        state.borrow_mut().step();
    }
}

/// What a broker would write that starts from these pieces.
fn read_back(config: BrokerConfig, pieces: impl Iterator<Item = Bytes>, now: Now) -> Vec<Bytes> {
    let mut recovery = Recovery::new(config);
    for piece in pieces {
        recovery.read(piece).expect("what was written is whole");
    }
    recovery.finish(now).pieces().collect()
}

impl State {
    pub(crate) fn new(seed: u64, broker: BrokerCore) -> Self {
        Self {
            seed,
            now: Instant::ORIGIN,
            settings: Settings::default(),
            turns: 0,
            random: Random::seeded(seed),
            heap: BTreeMap::new(),
            events: 0,
            broker,
            broker_due: Instant::ORIGIN,
            written: Vec::new(),
            topics: BTreeMap::new(),
            rules: Vec::new(),
            links: BTreeMap::new(),
            next_link: 1,
            reachable: BTreeMap::new(),
            garbled: Vec::new(),
            producers: Vec::new(),
            records: Vec::new(),
            sent: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// The broker, which is turned at the next step because something changes in it.
    pub(crate) fn broker_mut(&mut self) -> &mut BrokerCore {
        self.broker_due = self.now;
        &mut self.broker
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: u32) {
        self.broker_mut()
            .create_topic(name, partitions)
            .expect("a topic that does not exist yet");
        self.topics.insert(name.to_owned(), partitions);
    }

    pub(crate) fn restart(&mut self) {
        self.trace
            .line(self.now, "broker", format_args!("the cluster starts again"));
        let now = self.now();
        let config = self.broker.config().clone();
        if config.data_directory.is_some() {
            self.written.push(self.broker.take_unsaved());
            let written = read_back(config.clone(), self.written.iter().cloned(), now);
            let known = read_back(config, self.broker.pieces(), now);
            assert_eq!(written, known, "what was written is all that the broker knows");
        }
        self.broker_mut().restart(now).expect("what was written is whole");
    }

    pub(crate) fn add_rule(&mut self, fault: Fault) -> RuleId {
        self.trace
            .line(self.now, "rule", format_args!("{:?}", fault.rule));
        let id = self.broker_mut().add_rule(fault.rule);
        self.rules.push((fault.api, id));
        id
    }

    pub(crate) fn remove_rule(&mut self, id: RuleId) {
        self.broker_mut().remove_rule(id);
        self.rules.retain(|(_, rule)| *rule != id);
    }

    pub(crate) fn release(&mut self, api: ApiKey) {
        self.trace.line(self.now, "rule", format_args!("release {api}"));
        let (ended, others) = self.rules.iter().partition(|(of, _)| *of == api);
        self.rules = others;
        let ended: Vec<(ApiKey, RuleId)> = ended;
        for (_, id) in ended {
            self.broker_mut().remove_rule(id);
        }
    }

    /// Takes away everything that stands in the way, and says how long it may take until nothing is under way any more.
    pub(crate) fn heal(&mut self) -> Duration {
        for (_, id) in std::mem::take(&mut self.rules) {
            self.broker_mut().remove_rule(id);
        }
        self.reachable.clear();
        self.garbled.clear();
        let patience = self.settings.request_timeout * 2;
        self.settings.delivery_timeout + self.settings.transaction_timeout + patience
    }

    pub(crate) fn set_reachable(&mut self, broker: NodeId, how: Reachable) {
        self.reachable.insert(broker, how);
    }

    pub(crate) fn stall(&mut self, broker: NodeId) {
        for link in self.links.values_mut().filter(|link| link.broker == broker) {
            link.is_stalled = true;
        }
    }

    pub(crate) fn garble(&mut self, api: ApiKey) {
        self.garbled.push(api);
    }

    pub(crate) fn cut(&mut self, broker: NodeId) {
        self.trace.line(
            self.now,
            "link",
            format_args!("all connections to {} are cut", broker.0),
        );
        let ids: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, it)| it.broker == broker)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(link) = self.links.remove(&id) else {
                continue;
            };
            self.broker_mut().event(BrokerEvent::Closed {
                connection: id.at_broker(),
            });
            let failure = LinkFailure::Io("connection reset".into());
            self.tell(link.producer, NetEvent::Closed(link.at_client, failure));
        }
    }

    fn now(&self) -> Now {
        let millis = i64::try_from((self.now - Instant::ORIGIN).as_millis()).expect("a scene is short");
        Now {
            instant: self.now,
            wall: Timestamp(FIRST_WALL.0 + millis),
        }
    }

    /// When somebody has to act next.
    fn next_time(&self) -> Instant {
        let heap = self
            .heap
            .first_key_value()
            .map_or(Instant::NEVER, |((at, _), _)| *at);
        let producers = self.producers.iter().map(|producer| producer.due);
        producers
            .fold(heap.min(self.broker_due), Instant::min)
            .max(self.now)
    }

    /// Goes to the next moment and does everything that is due then. Says whether anything came of it.
    fn step(&mut self) -> bool {
        self.now = self.next_time();
        let before = (self.events, self.trace.text().len());
        for _ in 0..MOST_STEPS_AT_ONCE {
            if !self.act() {
                return (self.events, self.trace.text().len()) != before;
            }
        }
        panic!("a busy loop at {:?}", self.now - Instant::ORIGIN);
    }

    fn act(&mut self) -> bool {
        let mut acted = false;
        while let Some(entry) = self.heap.first_entry()
            && entry.key().0 <= self.now
        {
            let event = entry.remove();
            self.happen(event);
            acted = true;
        }
        for index in 0..self.producers.len() {
            if self.producers[index].due <= self.now {
                self.turn_producer(index);
                acted = true;
            }
        }
        if self.broker_due <= self.now {
            let mut actions = Vec::new();
            self.broker_due = self.broker.turn(self.now(), &mut actions);
            self.written.push(self.broker.take_unsaved());
            actions
                .into_iter()
                .for_each(|action| self.carry_out_of_broker(action));
            acted = true;
        }
        acted
    }

    fn later(&mut self, at: Instant, event: Event) {
        self.events += 1;
        self.heap.insert((at, self.events), event);
    }

    fn tell(&mut self, producer: usize, event: NetEvent) {
        let now = self.now;
        self.producers[producer].event(event, now);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Opened(id) => {
                let Some(node) = self.links.get(&id).map(|link| link.broker) else {
                    return;
                };
                self.broker_mut().event(BrokerEvent::Opened {
                    connection: id.at_broker(),
                    node,
                });
            }
            Event::Connected(id) => {
                let Some(link) = self.links.get(&id) else { return };
                let (producer, connection) = (link.producer, link.at_client);
                self.tell(producer, NetEvent::Connected(connection));
            }
            Event::Refused(producer, connection) => {
                let failure = LinkFailure::Connect("connection refused".into());
                self.tell(producer, NetEvent::ConnectFailed(connection, failure));
            }
            Event::Wrote(id, bytes) => {
                let Some(link) = self.links.get(&id) else { return };
                let (producer, connection) = (link.producer, link.at_client);
                self.tell(producer, NetEvent::Written(connection, bytes));
            }
            Event::Up(id, bytes) => self.arrive_at_broker(id, &bytes),
            Event::Down(id, bytes) => self.arrive_at_client(id, &bytes),
            Event::ClientGone(id) => {
                self.links.remove(&id);
                self.broker_mut().event(BrokerEvent::Closed {
                    connection: id.at_broker(),
                });
            }
            Event::BrokerGone(id) => {
                let Some(link) = self.links.remove(&id) else {
                    return;
                };
                self.broker_mut().event(BrokerEvent::Closed {
                    connection: id.at_broker(),
                });
                self.trace.line(
                    self.now,
                    &self.producers[link.producer].name,
                    format_args!("x {}", link.at_client),
                );
                self.tell(
                    link.producer,
                    NetEvent::Closed(link.at_client, LinkFailure::PeerClosed),
                );
            }
        }
    }
}
