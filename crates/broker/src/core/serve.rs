//! A request from its frame to its answer: header, version, body, rules, service, answer. One request per connection at a time (B-4).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::{self, RequestHeader};
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::TopicId;
use kommit_protocol::wire::Reader;

use super::connection::{After, Connection, Current, Link, Stage};
use super::{BrokerAction, BrokerCore, ConnectionId};
use crate::dispatch::{self, Context, Outcome, partitions, versions};
use crate::faults::{Judgement, Verdict};
use crate::inspect::JournalEntry;
use crate::messages::{RequestMessage, ResponseMessage};
use crate::refusals::{self, Target};

/// Whether a step of a connection got it further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Made,
    Waiting,
}

/// One connection's part of a turn.
struct Serving<'a> {
    id: ConnectionId,
    now: Now,
    out: &'a mut Vec<BrokerAction>,
}

impl Serving<'_> {
    /// The request is done; the next one may be read.
    fn finished(&mut self) {
        self.out.push(BrokerAction::Finished { connection: self.id });
    }

    /// The connection ends; nothing that waits on it is begun.
    fn close(&mut self, connection: &mut Connection) {
        connection.client_is_gone();
        self.out.push(BrokerAction::Close { connection: self.id });
    }
}

/// A frame that was read.
enum Taken {
    /// A request that is served.
    Request(RequestHeader, RequestMessage),
    /// ApiVersions in a version that is not (B-9).
    UnknownApiVersions(RequestHeader),
    /// Nothing that can be answered (B-7, B-12).
    Malformed,
}

impl BrokerCore {
    /// Moves every connection as far as it goes now.
    pub(super) fn serve_all(&mut self, now: Now, out: &mut Vec<BrokerAction>) {
        let mut connections = std::mem::take(&mut self.connections);
        for (id, connection) in &mut connections {
            let mut serving = Serving { id: *id, now, out };
            while self.step(connection, &mut serving) == Step::Made {}
        }
        self.connections = connections;
    }

    fn step(&mut self, connection: &mut Connection, serving: &mut Serving<'_>) -> Step {
        let now = serving.now;
        let Some(current) = connection.current.take() else {
            let Some(frame) = connection.next_frame(now.instant) else {
                return Step::Waiting;
            };
            self.take_up(connection, frame, serving);
            return Step::Made;
        };
        let Current { header, after, stage } = current;
        let outcome = match stage {
            Stage::Delayed { until, .. } if until > now.instant => Err(stage),
            Stage::Held { rule, .. } if self.rules.has(rule) => Err(stage),
            Stage::Answering { at, .. } if at > now.instant => Err(stage),
            Stage::HeldAnswer { rule, .. } if self.rules.has(rule) => Err(stage),
            Stage::Delayed { request, .. } | Stage::Held { request, .. } => {
                Ok(self.dispatch(connection, &header, request, now))
            }
            Stage::Produce(pending) => pending.advance(&mut self.world, now).map_err(Stage::Produce),
            Stage::Fetch(pending) => pending.advance(&self.world, now).map_err(Stage::Fetch),
            Stage::Group(ticket) => self.world.take_group_answer(ticket).ok_or(Stage::Group(ticket)),
            Stage::Answering { response, .. } | Stage::HeldAnswer { response, .. } => {
                self.send(connection, &header, &after, *response, serving);
                return Step::Made;
            }
        };
        match outcome {
            Err(stage) => {
                connection.current = Some(Current { header, after, stage });
                Step::Waiting
            }
            Ok(outcome) => {
                self.settle(connection, (header, after), outcome, serving);
                Step::Made
            }
        }
    }

    /// Reads a frame, lets the rules judge it, and begins to serve it.
    fn take_up(&mut self, connection: &mut Connection, frame: Bytes, serving: &mut Serving<'_>) {
        let (header, request) = match self.read(connection, frame) {
            Taken::Request(header, request) => (header, request),
            Taken::UnknownApiVersions(header) => {
                let response =
                    ResponseMessage::ApiVersions(versions::unsupported(&self.world, connection.node));
                let header = RequestHeader {
                    api_version: 0,
                    ..header
                };
                return self.settle(connection, (header, After::plain()), response.into(), serving);
            }
            Taken::Malformed => return serving.close(connection),
        };
        let judgement = self.judge(connection, &header, &request, serving);
        self.carry_out(connection, (header, request), judgement, serving);
    }

    fn read(&self, connection: &Connection, frame: Bytes) -> Taken {
        let mut reader = Reader::new(frame);
        let Ok(header) = frame::decode_request_header(&mut reader) else {
            return Taken::Malformed;
        };
        let Some(key) = ApiKey::from_code(header.api_key) else {
            return Taken::Malformed;
        };
        let served = versions::served_range(&self.world, connection.node, key);
        if !served.is_some_and(|range| range.contains(header.api_version)) {
            return match key {
                ApiKey::ApiVersions => Taken::UnknownApiVersions(header),
                _ => Taken::Malformed,
            };
        }
        match RequestMessage::decode(key, &mut reader, header.api_version) {
            Ok(Some(request)) => Taken::Request(header, request),
            Ok(None) => Taken::Malformed,
            Err(error) => {
                tracing::debug!(api = key.name(), %error, "a request could not be read");
                Taken::Malformed
            }
        }
    }

    /// Asks the rules, and writes the journal.
    fn judge(
        &mut self,
        connection: &Connection,
        header: &RequestHeader,
        request: &RequestMessage,
        serving: &Serving<'_>,
    ) -> Option<Judgement> {
        if self.rules.is_empty() && !self.journal.is_kept() {
            return None;
        }
        let partitions = partitions::of(request, &self.world.cluster);
        let judgement = self.rules.judge(connection.node, request, &partitions);
        self.journal.push(JournalEntry {
            connection: serving.id,
            node: connection.node,
            api: request.key(),
            version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.clone(),
            at: serving.now.instant,
            partitions,
            verdict: judgement
                .as_ref()
                .map(|judgement| format!("{:?}", judgement.verdict)),
        });
        judgement
    }

    /// What a rule does to a request before it is served.
    fn carry_out(
        &mut self,
        connection: &mut Connection,
        (header, request): (RequestHeader, RequestMessage),
        judgement: Option<Judgement>,
        serving: &mut Serving<'_>,
    ) {
        let now = serving.now;
        let Some(Judgement {
            rule,
            verdict,
            partition,
        }) = judgement
        else {
            let outcome = self.dispatch(connection, &header, request, now);
            return self.settle(connection, (header, After::plain()), outcome, serving);
        };
        let mut after = After::plain();
        let stage = match verdict {
            Verdict::DropRequest => {
                connection.link = Link::Deaf;
                return serving.finished();
            }
            Verdict::DisconnectBefore => return serving.close(connection),
            Verdict::DeliverLate(delay) => {
                serving.close(connection);
                Stage::Delayed {
                    until: now.instant + delay,
                    request,
                }
            }
            Verdict::Delay(delay) => Stage::Delayed {
                until: now.instant + delay,
                request,
            },
            Verdict::Hold => Stage::Held { rule, request },
            Verdict::Answer(code) if partition.is_none() || request.key() != ApiKey::Produce => {
                let target = self.target(partition.as_ref());
                let response = refusals::refuse(&request, header.api_version, code, target);
                return self.settle(connection, (header, after), response.into(), serving);
            }
            Verdict::Answer(code) | Verdict::ServeThenAnswer(code) => {
                let target = self.target(partition.as_ref());
                let refused = refusals::refuse(&request, header.api_version, code, target);
                after.refusal = Some((code, Box::new(refused)));
                let without = matches!(verdict, Verdict::Answer(_));
                let request = if without {
                    self.without(request, partition.as_ref())
                } else {
                    request
                };
                after.verdict = verdict;
                after.partition = partition;
                Stage::Delayed {
                    until: now.instant,
                    request,
                }
            }
            verdict => {
                after.verdict = verdict;
                Stage::Delayed {
                    until: now.instant,
                    request,
                }
            }
        };
        after.rule = Some(rule);
        connection.current = Some(Current { header, after, stage });
    }

    fn target<'a>(&self, partition: Option<&'a kommit_protocol::units::TopicPartition>) -> Target<'a> {
        let Some(partition) = partition else {
            return Target::Everything;
        };
        let id = self
            .world
            .cluster
            .topic(&partition.topic)
            .map_or(TopicId::ZERO, |topic| topic.id);
        Target::Partition(&partition.topic, id, partition.partition)
    }

    /// A produce request without the partition that a rule answers for.
    fn without(
        &self,
        request: RequestMessage,
        partition: Option<&kommit_protocol::units::TopicPartition>,
    ) -> RequestMessage {
        let (RequestMessage::Produce(mut request), Some(partition)) = (request.clone(), partition) else {
            return request;
        };
        let id = self
            .world
            .cluster
            .topic(&partition.topic)
            .map_or(TopicId::ZERO, |topic| topic.id);
        for topic in &mut request.topic_data {
            if topic.name == *partition.topic || (id.is_known() && topic.topic_id == id) {
                topic
                    .partition_data
                    .retain(|entry| entry.index != partition.partition);
            }
        }
        RequestMessage::Produce(request)
    }

    fn dispatch(
        &mut self,
        connection: &Connection,
        header: &RequestHeader,
        request: RequestMessage,
        now: Now,
    ) -> Outcome {
        let context = Context {
            node: connection.node,
            version: header.api_version,
            client_id: header.client_id.as_deref(),
            now,
        };
        dispatch::serve(&mut self.world, &context, request)
    }

    /// What becomes of a request after it was served, or set to wait.
    fn settle(
        &mut self,
        connection: &mut Connection,
        (header, after): (RequestHeader, After),
        outcome: Outcome,
        serving: &mut Serving<'_>,
    ) {
        let now = serving.now;
        let stage = match outcome {
            Outcome::Produce(pending) => Stage::Produce(pending),
            Outcome::Fetch(pending) => Stage::Fetch(pending),
            Outcome::Group(ticket) => Stage::Group(ticket),
            Outcome::Silence => {
                if matches!(after.verdict, Verdict::DisconnectAfter) {
                    return serving.close(connection);
                }
                self.hold_back(connection, now.instant);
                return serving.finished();
            }
            Outcome::Close => return serving.close(connection),
            Outcome::Answer(response) => match (&after.verdict, after.rule) {
                (Verdict::DelayResponse(delay), _) => Stage::Answering {
                    at: now.instant + *delay,
                    response,
                },
                (Verdict::HoldResponse, Some(rule)) => Stage::HeldAnswer { rule, response },
                _ => return self.send(connection, &header, &after, *response, serving),
            },
        };
        connection.current = Some(Current { header, after, stage });
    }

    /// Sends an answer, after what a rule does to it.
    fn send(
        &mut self,
        connection: &mut Connection,
        header: &RequestHeader,
        after: &After,
        mut response: ResponseMessage,
        serving: &mut Serving<'_>,
    ) {
        let now = serving.now;
        if let Some((code, refused)) = &after.refusal {
            match (&after.partition, &after.verdict) {
                (Some(_), Verdict::Answer(_)) => refusals::add_refused(&mut response, refused),
                (partition, _) => refusals::overwrite(&mut response, *code, self.target(partition.as_ref())),
            }
        }
        if let Verdict::Edit(edit) = &after.verdict {
            edit(&mut response);
        }
        self.throttle(connection, &mut response, now.instant);
        let shift = if let Verdict::ShiftCorrelationId(by) = after.verdict {
            by
        } else {
            0
        };
        let mut frame = response.encode(header.api_version, header.correlation_id.wrapping_add(shift));
        match after.verdict {
            Verdict::DropResponse => connection.link = silenced(connection.link),
            Verdict::DisconnectAfter => return serving.close(connection),
            Verdict::WrongLength(length) => frame = with_length(&frame, length),
            Verdict::Truncate(size) => {
                serving.out.push(BrokerAction::Send {
                    connection: serving.id,
                    frame: frame.slice(..size.min(frame.len())),
                });
                return serving.close(connection);
            }
            _ => {}
        }
        if connection.link == Link::Open {
            serving.out.push(BrokerAction::Send {
                connection: serving.id,
                frame,
            });
        }
        if connection.link != Link::Gone {
            serving.finished();
        }
    }

    /// B-14: says the throttle time, and serves the connection no sooner.
    fn throttle(&self, connection: &mut Connection, response: &mut ResponseMessage, now: Instant) {
        let throttle: Duration = self.world.config.throttle;
        if !throttle.is_zero() {
            response.set_throttle_time_ms(i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX));
            self.hold_back(connection, now);
        }
    }

    /// B-14: who was told nothing because of acks = 0 waits as well.
    fn hold_back(&self, connection: &mut Connection, now: Instant) {
        connection.resume_at = now + self.world.config.throttle;
    }
}

fn silenced(link: Link) -> Link {
    match link {
        Link::Open => Link::Silent,
        other => other,
    }
}

fn with_length(frame: &Bytes, length: i32) -> Bytes {
    let mut changed = BytesMut::from(frame.as_ref());
    if let Some(prefix) = changed.get_mut(..4) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    changed.freeze()
}
