//! The wire: what a producer or the broker wants done with its connections, and what arrives of it at the other end.

use bytes::Bytes;
use kommit_broker::{BrokerAction, BrokerEvent};
use kommit_network::{ConnectionId, LinkFailure, NetAction, NetEvent};
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::peek_correlation_id;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, TopicId};

use super::super::frame::{Written, describe_answer, describe_request, produce_codes};
use super::super::link::{Asked, Link, LinkId, Reachable, broker_at, joined};
use super::{Event, State};

/// What must be answered before the end of a transaction is asked for (R5).
const ADDITIONS: [ApiKey; 4] = [
    ApiKey::Produce,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::TxnOffsetCommit,
];

impl State {
    pub(super) fn arrive_at_broker(&mut self, id: LinkId, bytes: &Bytes) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.up.frames.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = link.up.frames.next().expect("a producer writes frames") {
            frames.push(frame);
        }
        for frame in frames {
            self.broker_mut().event(BrokerEvent::Frame {
                connection: id.at_broker(),
                frame,
            });
        }
    }

    pub(super) fn arrive_at_client(&mut self, id: LinkId, bytes: &Bytes) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.down.frames.push(bytes);
        let (producer, connection) = (link.producer, link.at_client);
        loop {
            let Some(link) = self.links.get_mut(&id) else {
                return;
            };
            match link.down.frames.next() {
                Ok(Some(frame)) => {
                    let frame = self.answer_arrives(id, frame);
                    self.tell(producer, NetEvent::Frame(connection, frame));
                }
                Ok(None) => return,
                Err(error) => {
                    let failure = LinkFailure::Frame(error.to_string().into());
                    self.links.remove(&id);
                    return self.tell(producer, NetEvent::Closed(connection, failure));
                }
            }
        }
    }

    /// Writes the trace, and spoils what a scene wants spoiled.
    fn answer_arrives(&mut self, id: LinkId, mut frame: Bytes) -> Bytes {
        let link = self.links.get_mut(&id).expect("the link that a frame came on");
        let asked = peek_correlation_id(&frame)
            .ok()
            .and_then(|number| link.asked.remove(&number));
        let Some(Asked { api, version, place }) = asked else {
            return frame;
        };
        if let Some(place) = self.garbled.iter().position(|garbled| *garbled == api) {
            self.garbled.remove(place);
            frame = frame.slice(..frame.len() / 2);
        }
        let (name, from) = (&self.producers[link.producer].name, link.at_client);
        let described = describe_answer(frame.clone(), api, version);
        let (text, answer) = match described {
            Ok(text) => (text.clone(), Some(text)),
            Err(error) => (format!("cannot be read: {error}"), None),
        };
        self.trace
            .line(self.now, name, format_args!("< {from} {api} {text}"));
        self.sent[place].answer = answer;
        if api == ApiKey::Produce {
            self.note_codes(place, frame.clone(), version);
        }
        frame
    }

    /// For the audit: what each batch was answered with.
    fn note_codes(&mut self, place: usize, frame: Bytes, version: i16) {
        let codes = produce_codes(frame, version, &|id| self.topic_name(id)).unwrap_or_default();
        for batch in &mut self.sent[place].batches {
            batch.answer = codes.get(&batch.partition).copied();
        }
    }

    fn topic_name(&self, id: TopicId) -> Option<String> {
        let is_it = |name: &&String| id.is_known() && self.broker.topic_id(name) == Some(id);
        self.topics.keys().find(is_it).cloned()
    }

    /// What a producer has asked that adds to a transaction, and nobody has answered.
    fn unanswered_additions(&self, producer: usize) -> Vec<ApiKey> {
        let open = self
            .links
            .values()
            .filter(|link| link.producer == producer && !link.is_closed);
        let asked = open.flat_map(|link| link.asked.values().map(|asked| asked.api));
        asked.filter(|api| ADDITIONS.contains(api)).collect()
    }

    pub(super) fn carry_out_of_client(&mut self, producer: usize, action: NetAction) {
        match action {
            NetAction::Trust(_) => {}
            NetAction::Connect(connection, address) => {
                self.connect(producer, connection, broker_at(address.port))
            }
            NetAction::Write(connection, parts) => {
                if let Some(id) = self.link_of(producer, connection) {
                    self.write(id, &joined(&parts));
                }
            }
            NetAction::Close(connection) => {
                let Some(id) = self.link_of(producer, connection) else {
                    return;
                };
                let Some(link) = self.links.get_mut(&id) else {
                    return;
                };
                link.is_closed = true;
                let at = link.up.arrival(self.now, &mut self.random);
                self.trace.line(
                    self.now,
                    &self.producers[producer].name,
                    format_args!("close {connection}"),
                );
                self.later(at, Event::ClientGone(id));
            }
        }
    }

    fn link_of(&self, producer: usize, connection: ConnectionId) -> Option<LinkId> {
        let of = |link: &Link| link.producer == producer && link.at_client == connection;
        self.links.iter().find(|(_, link)| of(link)).map(|(id, _)| *id)
    }

    fn connect(&mut self, producer: usize, connection: ConnectionId, broker: NodeId) {
        let reachable = self.reachable.get(&broker).copied().unwrap_or_default();
        let name = &self.producers[producer].name;
        self.trace.line(
            self.now,
            name,
            format_args!("connect {connection} to broker {}: {reachable:?}", broker.0),
        );
        let mut link = Link::new(producer, connection, broker);
        let there = link.up.arrival(self.now, &mut self.random);
        match reachable {
            Reachable::Silent => {}
            Reachable::Refused => self.later(there, Event::Refused(producer, connection)),
            Reachable::Yes => {
                let id = LinkId(self.next_link);
                self.next_link += 1;
                let back = link.down.arrival(there, &mut self.random);
                self.links.insert(id, link);
                self.later(there, Event::Opened(id));
                self.later(back, Event::Connected(id));
            }
        }
    }

    fn write(&mut self, id: LinkId, bytes: &Bytes) {
        let beside = self.unanswered_additions(self.links[&id].producer);
        let link = self
            .links
            .get_mut(&id)
            .expect("a link that was found a moment ago");
        let producer = &self.producers[link.producer];
        let name = &producer.name;
        let written = Written {
            at: self.now - Instant::ORIGIN,
            producer: name,
            who: link.producer,
            transactions: producer.begun_count(),
            broker: link.broker.0,
            connection: link.at_client.generation,
            beside,
        };
        let broker = &self.broker;
        let topics = &self.topics;
        let name_of = |id: TopicId| {
            topics
                .keys()
                .find(|name| id.is_known() && broker.topic_id(name) == Some(id))
                .cloned()
        };
        link.outgoing.push(bytes);
        while let Some(frame) = link.outgoing.next().expect("a producer writes frames") {
            let (header, sent) =
                describe_request(frame, &written, &name_of).expect("a request that can be read");
            let asked = Asked {
                api: sent.api,
                version: sent.version,
                place: self.sent.len(),
            };
            link.asked.insert(header.correlation_id, asked);
            let (to, stalled) = (link.at_client, if link.is_stalled { " (stalled)" } else { "" });
            let text = format!("> {to} {} v{} {}{stalled}", sent.api, sent.version, sent.summary);
            self.trace.line(self.now, name, text);
            self.sent.push(sent);
        }
        if link.is_stalled {
            return;
        }
        link.written += bytes.len() as u64;
        let wrote = link.written;
        let pieces = link.up.pieces(bytes.clone(), self.now, &mut self.random);
        self.later(self.now, Event::Wrote(id, wrote));
        for (at, piece) in pieces {
            self.later(at, Event::Up(id, piece));
        }
    }

    pub(super) fn carry_out_of_broker(&mut self, action: BrokerAction) {
        match action {
            BrokerAction::Finished { .. } => {}
            BrokerAction::Send { connection, frame } => {
                let id = LinkId(connection.0);
                let Some(link) = self.links.get_mut(&id) else {
                    return;
                };
                let pieces = link.down.pieces(frame, self.now, &mut self.random);
                for (at, piece) in pieces {
                    self.later(at, Event::Down(id, piece));
                }
            }
            BrokerAction::Close { connection } => {
                let id = LinkId(connection.0);
                let Some(link) = self.links.get_mut(&id) else {
                    return;
                };
                let at = link.down.arrival(self.now, &mut self.random);
                self.later(at, Event::BrokerGone(id));
            }
        }
    }
}
