//! Plays by chance: whatever links and brokers do, what the sender gave comes back once, and no deadline lies in the past.

use std::collections::{BTreeMap, BTreeSet};

use kommit_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::*;
use crate::connection::ConnectionState;
use kommit_protocol::random::Random;

/// What chance has to remember of one request.
struct Owed {
    id: ConnectionId,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

struct Chance {
    network: Network<u32>,
    random: Random,
    now: Instant,
    deadline: Instant,
    connecting: Vec<ConnectionId>,
    owed: Vec<Owed>,
    queued: BTreeMap<ConnectionId, u64>,
    given: u32,
    returned: BTreeSet<u32>,
    answered: u32,
}

impl Chance {
    fn seeded(seed: u64) -> Self {
        let config = NetworkConfig {
            seed,
            connections_max_idle: Some(Duration::from_secs(20)),
            ..Default::default()
        };
        Self {
            network: Network::new(config, vec![BrokerAddress::new("boot", 9092)]),
            random: Random::seeded(seed),
            now: Instant::from_millis(1),
            deadline: Instant::NEVER,
            connecting: Vec::new(),
            owed: Vec::new(),
            queued: BTreeMap::new(),
            given: 0,
            returned: BTreeSet::new(),
            answered: 0,
        }
    }

    fn turn(&mut self) {
        let (mut actions, mut completed) = (Vec::new(), Vec::new());
        // Several idle connections take a turn each (N-19), so a deadline may be at hand; but never for ever.
        for _ in 0..10 {
            self.deadline = self.network.turn(self.now, &mut actions, &mut completed);
            if self.deadline > self.now {
                break;
            }
        }
        assert!(
            self.deadline > self.now,
            "a busy loop at {:?}: {:?}",
            self.now,
            self.network
        );
        for ended in completed {
            assert!(
                self.returned.insert(ended.purpose),
                "{} came back twice",
                ended.purpose
            );
            self.answered += u32::from(matches!(ended.result, Outcome::Response { .. }));
        }
        for action in actions {
            match action {
                NetAction::Connect(id, _) => self.connecting.push(id),
                NetAction::Trust(_) => {}
                NetAction::Write(id, parts) => self.write(id, &parts.concat()),
                NetAction::Close(_) => {} // what it owes may still arrive, and must not be heard
            }
        }
    }

    fn write(&mut self, id: ConnectionId, frame: &[u8]) {
        *self.queued.entry(id).or_default() += frame.len() as u64;
        let mut reader = Reader::new(Bytes::copy_from_slice(&frame[4..]));
        let header = decode_request_header(&mut reader).unwrap();
        let key = ApiKey::from_code(header.api_key).unwrap();
        self.owed.push(Owed {
            id,
            key,
            version: header.api_version,
            correlation_id: header.correlation_id,
        });
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..4 => self.connect(),
            4..11 => self.answer(),
            11..15 => self.send(),
            15 => self.lose(),
            16 => self.network.add_topic("orders", self.now),
            17 => drop(self.network.request_update()),
            18 => self.now = self.deadline.min(self.now + Duration::from_secs(60)),
            _ => self.now += Duration::from_millis(self.random.below(3_000) as u64),
        }
        self.turn();
    }

    fn connect(&mut self) {
        let Some(id) = self.connecting.pop() else { return };
        let event = match self.random.below(4) {
            0 => NetEvent::ConnectFailed(id, LinkFailure::Connect("refused".into())),
            _ => NetEvent::Connected(id),
        };
        self.network.event(event, self.now);
    }

    /// Mostly the right answer to the oldest request; sometimes a wrong one, or one to a connection that is gone.
    fn answer(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        let Owed {
            id,
            key,
            version,
            correlation_id,
        } = self.owed.remove(0);
        let queued = self.queued.get(&id).copied().unwrap_or(0);
        self.network.event(NetEvent::Written(id, queued), self.now);
        let chance = self.random.below(40);
        let correlation_id = if chance == 0 {
            correlation_id ^ 1
        } else {
            correlation_id
        };
        let throttle_time_ms = if chance < 4 {
            self.random.below(2_000) as i32
        } else {
            0
        };
        let epoch = self.random.below(9) as i32;
        let frame = match key {
            ApiKey::ApiVersions => encode_response(key, version, correlation_id, &all_versions()),
            ApiKey::Metadata => encode_response(
                key,
                version,
                correlation_id,
                &MetadataResponse {
                    throttle_time_ms,
                    ..cluster(epoch)
                },
            ),
            _ => encode_response(
                key,
                version,
                correlation_id,
                &EndTxnResponse {
                    throttle_time_ms,
                    ..EndTxnResponse::default()
                },
            ),
        };
        let end = if chance == 1 { frame.len() - 2 } else { frame.len() };
        self.network
            .event(NetEvent::Frame(id, frame.slice(4..end)), self.now);
    }

    fn send(&mut self) {
        let node = NodeId(1 + self.random.below(2) as i32);
        if !self.network.ready(node, self.now) {
            return;
        }
        assert_eq!(self.network.connection_state(node), ConnectionState::Ready);
        let sent = self
            .network
            .send(node, &EndTxnRequest::default(), None, self.given, self.now);
        assert_eq!(sent, Ok(()), "a node that is ready takes a request");
        self.given += 1;
    }

    fn lose(&mut self) {
        if self.random.below(4) > 0 {
            return;
        }
        let Some(owed) = self.owed.last() else { return };
        let queued = self.queued.get(&owed.id).copied().unwrap_or(0);
        let written = queued.saturating_sub(self.random.below(100) as u64);
        self.network.event(NetEvent::Written(owed.id, written), self.now);
        self.network
            .event(NetEvent::Closed(owed.id, LinkFailure::PeerClosed), self.now);
    }
}

/// R1, N-28, principle 7: every purpose comes back exactly once, by the end of the network at the latest.
#[test]
fn whatever_happens_every_purpose_comes_back_once() {
    let (mut given, mut answered) = (0, 0);
    for seed in 0..200 {
        let mut chance = Chance::seeded(seed);
        chance.turn();
        for _ in 0..500 {
            chance.step();
        }
        for ended in chance.network.close(chance.now, &mut Vec::new()) {
            assert!(
                chance.returned.insert(ended.purpose),
                "seed {seed}: {} came back twice",
                ended.purpose
            );
        }
        assert_eq!(chance.returned, (0..chance.given).collect(), "seed {seed}");
        assert_eq!(chance.network.in_flight_count(), 0);
        given += chance.given;
        answered += chance.answered;
    }
    assert!(
        answered > 1_000 && given > answered,
        "{answered} of {given}: the plays must come to something"
    );
}
