//! From a message to a frame on a connection: version, correlation id, deadline (N-6, N-39, N-44).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::api::{ApiKey, Request};
use kommit_protocol::frame::{ProduceFrame, ProducePartition, encode_request};
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, TopicId, TopicPartition};

use super::{Network, Phase, Purpose};
use crate::boundary::{Completed, ConnectionId, NetAction, Outcome, Sent};
use crate::connection::Connection;
use crate::in_flight::{Answer, InFlight};
use crate::versions::VersionLimits;

/// How many replicas must confirm a batch before the broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// The broker does not answer at all.
    None,
    /// The leader alone.
    Leader,
    /// All replicas that are in sync.
    All,
}

/// A produce request before its version is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceEnvelope {
    /// How many replicas must confirm.
    pub acks: Acks,
    /// How long the broker may wait for the replicas.
    pub timeout: Duration,
    /// Only of a transactional producer.
    pub transactional_id: Option<Arc<str>>,
    /// The batches, at most one per partition, in any order. They are written from where they are, not copied.
    pub batches: Vec<(TopicPartition, TopicId, Bytes)>,
}

impl<T> Network<T> {
    /// Sends a request to a node that is ready, in the highest version that both sides and `limits` have in common (N-39).
    ///
    /// `limits` is `None`, `Some(highest version)` or a [`VersionLimits`]. Gives the purpose back when the node cannot take a request
    /// now (N-6). Without a common version the request is not sent and completes as a version mismatch in the next turn (N-41).
    pub fn send<R: Request>(
        &mut self,
        node: NodeId,
        request: &R,
        limits: impl Into<VersionLimits>,
        purpose: T,
        now: Instant,
    ) -> Result<(), T> {
        let Some(id) = self.sendable(node, now) else {
            return Err(purpose);
        };
        match self.choose_version(id, R::KEY, limits.into()) {
            Ok(version) => self.transmit(id, request, version, Purpose::Sender(purpose), now),
            Err(reason) => self.mismatch(id, purpose, &reason),
        }
        Ok(())
    }

    /// Sends a produce request as [`Network::send`] does. With [`Acks::None`] it completes when it is written.
    pub fn send_produce(
        &mut self,
        node: NodeId,
        envelope: &ProduceEnvelope,
        limits: impl Into<VersionLimits>,
        purpose: T,
        now: Instant,
    ) -> Result<(), T> {
        let Some(id) = self.sendable(node, now) else {
            return Err(purpose);
        };
        let version = match self.choose_version(id, ApiKey::Produce, limits.into()) {
            Ok(version) => version,
            Err(reason) => {
                self.mismatch(id, purpose, &reason);
                return Ok(());
            }
        };
        let correlation_id = self.correlation_ids.next();
        let parts = envelope.encode(version, correlation_id, self.config.client_id.as_deref());
        let request = InFlight {
            purpose: Purpose::Sender(purpose),
            key: ApiKey::Produce,
            version,
            correlation_id,
            answer: if envelope.acks == Acks::None {
                Answer::None
            } else {
                Answer::Expected
            },
            sent_at: now,
        };
        self.write(id, request, parts);
        Ok(())
    }

    /// N-4: the connection on which a request to the node can be written now.
    pub(super) fn sendable(&self, node: NodeId, now: Instant) -> Option<ConnectionId> {
        let (session, _) = self.connections.get(&node)?.usable()?;
        let may_send = self.phase == Phase::Open && session.may_send(self.config.max_in_flight, now);
        may_send.then(|| session.id())
    }

    /// N-39, N-41: a version that both sides and the sender accept, or why there is none.
    pub(super) fn choose_version(
        &self,
        id: ConnectionId,
        key: ApiKey,
        limits: VersionLimits,
    ) -> Result<i16, String> {
        let connection = self.connections.get(&id.node);
        let (broker, versions) = connection
            .and_then(|connection| Some((connection.address(), connection.usable()?.1)))
            .ok_or_else(|| format!("{key}: the versions of node {} are not known", id.node))?;
        versions
            .choose(key, limits)
            .map_err(|reason| format!("{broker}: {reason}"))
    }

    /// Writes a request of ours or of the sender in a version that was chosen before.
    pub(super) fn transmit<R: Request>(
        &mut self,
        id: ConnectionId,
        request: &R,
        version: i16,
        purpose: Purpose<T>,
        now: Instant,
    ) {
        let correlation_id = self.correlation_ids.next();
        let frame = encode_request(request, version, correlation_id, self.config.client_id.as_deref());
        let key = R::KEY;
        let request = InFlight {
            purpose,
            key,
            version,
            correlation_id,
            answer: Answer::Expected,
            sent_at: now,
        };
        self.write(id, request, vec![frame]);
    }

    fn write(&mut self, id: ConnectionId, request: InFlight<Purpose<T>>, parts: Vec<Bytes>) {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let session = self
            .connections
            .get_mut(&id.node)
            .and_then(Connection::session_mut);
        debug_assert!(
            session.is_some(),
            "a request is written only to an established connection"
        );
        if let Some(session) = session {
            let deadline = request.sent_at + self.config.request_timeout;
            session.push(request, len);
            self.counts.node(id.node).request_size.measure(len);
            self.actions.push(NetAction::Write(id, parts));
            self.set_alarm(deadline);
        }
    }

    fn mismatch(&mut self, id: ConnectionId, purpose: T, reason: &str) {
        let result = Outcome::VersionMismatch {
            reason: reason.into(),
        };
        self.completed.push(Completed {
            purpose,
            connection: id,
            result,
            sent: Sent::NotWritten,
        });
    }
}

impl Acks {
    /// The number as it travels.
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

impl ProduceEnvelope {
    /// S-49: grouped by topic, then by partition.
    fn encode(&self, version: i16, correlation_id: i32, client_id: Option<&str>) -> Vec<Bytes> {
        let mut partitions: Vec<ProducePartition<'_>> = self
            .batches
            .iter()
            .map(|(place, topic_id, batch)| ProducePartition {
                topic: &place.topic,
                topic_id: *topic_id,
                partition: place.partition,
                batch: batch.clone(),
            })
            .collect();
        partitions.sort_by(|a, b| (a.topic, a.partition).cmp(&(b.topic, b.partition)));
        let frame = ProduceFrame {
            version,
            transactional_id: self.transactional_id.as_deref(),
            acks: self.acks.code(),
            timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            partitions: &partitions,
        };
        frame.encode(correlation_id, client_id)
    }
}
