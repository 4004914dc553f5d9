//! What happens on a connection, and what follows from it (N-7, N-28, N-30, N-34 … N-41, N-72; D-2, R14, H28).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::{decode_message, decode_response_header};
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataResponse};
use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;
use kommit_protocol::wire::Reader;
use tracing::{debug, info, warn};

use super::{Network, Purpose};
use crate::boundary::{Completed, ConnectionId, LinkFailure, NetAction, NetEvent, Outcome, Sent};
use crate::config::RecoveryStrategy;
use crate::connection::{Connection, ConnectionState};
use crate::failures::{Cause, FailureKind};
use crate::in_flight::{End, InFlight};
use crate::metadata::{Answer, MetadataError, UpdateRequest, Verdict};
use crate::versions::{FinalizedFeatures, NodeApiVersions};

/// What we call ourselves (N-34): letters, digits, dots and dashes only.
const SOFTWARE_NAME: &str = "kommit";
const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The bytes of a frame that say how long it is.
const LENGTH_PREFIX: u64 = 4;

impl<T> Network<T> {
    /// Takes an event. An event of an earlier connection of the same node changes nothing (H28).
    pub fn event(&mut self, event: NetEvent, now: Instant) {
        let id = event.connection();
        if self.connections.get(&id.node).and_then(Connection::id) != Some(id) {
            debug!(connection = %id, "an event of a connection that is closed already");
            return;
        }
        match event {
            NetEvent::Connected(_) => self.negotiate(id, now),
            NetEvent::Written(_, bytes) => self.written(id, bytes, now),
            NetEvent::Frame(_, frame) => self.frame(id, frame, now),
            NetEvent::ConnectFailed(_, failure) | NetEvent::Closed(_, failure) => {
                self.lost(id.node, &Cause::Link(failure), End::Reported, now);
            }
        }
    }

    /// The sender found that a response on this connection cannot be what the broker meant: the connection is closed, and all that is in
    /// flight on it completes as disconnected (D-2, R14). Nothing happens when the connection is closed already.
    pub fn protocol_error(&mut self, connection: ConnectionId, reason: &str, now: Instant) {
        if self.connections.get(&connection.node).and_then(Connection::id) == Some(connection) {
            self.cut(connection.node, &Cause::Protocol(reason.to_owned()), now);
        }
    }

    /// The throttle time of a produce response, which only its reader knows (N-30). All other throttle times are read here.
    pub fn throttle_produce(
        &mut self,
        connection: ConnectionId,
        version: i16,
        throttle_time_ms: i32,
        now: Instant,
    ) {
        if must_throttle(ApiKey::Produce, version) {
            self.throttle(connection, throttle_time_ms, now);
        }
    }

    fn negotiate(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id.node) else {
            return;
        };
        if connection.connected(now).is_ok() {
            self.counts.connections_created += 1;
            self.ask_versions(id, ApiKey::ApiVersions.supported().max, now);
        }
    }

    fn ask_versions(&mut self, id: ConnectionId, version: i16, now: Instant) {
        let request = ApiVersionsRequest {
            client_software_name: SOFTWARE_NAME.to_owned(),
            client_software_version: SOFTWARE_VERSION.to_owned(),
        };
        self.transmit(id, &request, version, Purpose::ApiVersions, now);
    }

    fn written(&mut self, id: ConnectionId, bytes: u64, now: Instant) {
        let session = self
            .connections
            .get_mut(&id.node)
            .and_then(Connection::session_mut);
        let Some(session) = session else { return };
        let before = session.written();
        let ended = session.wrote(bytes, now);
        self.counts.node(id.node).outgoing_bytes += session.written() - before;
        for request in ended {
            if let Purpose::Sender(purpose) = request.purpose {
                let result = Outcome::Written;
                self.completed.push(Completed {
                    purpose,
                    connection: id,
                    result,
                    sent: Sent::MayBeWritten,
                });
            }
        }
    }

    /// N-7: the oldest request that waits for an answer gets it, or the connection is closed (D-2).
    fn frame(&mut self, id: ConnectionId, frame: Bytes, now: Instant) {
        let session = self
            .connections
            .get_mut(&id.node)
            .and_then(Connection::session_mut);
        let Some(session) = session else { return };
        let Some((key, version, expected)) = session.awaited() else {
            return self.violation(id, "it answers although nothing was asked".to_owned(), now);
        };
        let size = frame.len() as u64 + LENGTH_PREFIX;
        let mut reader = Reader::new(frame);
        match decode_response_header(&mut reader, key, version) {
            Err(error) => self.violation(
                id,
                format!("the header of its response to {key} is malformed: {error}"),
                now,
            ),
            Ok(found) if found != expected && HazardRule::R14.is_kept() => {
                self.violation(
                    id,
                    format!("it answers request {found} where {key} {expected} is expected"),
                    now,
                );
            }
            Ok(_) => {
                if let Some(request) = session.answered(now) {
                    self.count_answer(id.node, &request, size, now);
                    self.answered(id, request, reader, now);
                }
                if self.connection_state(id.node) == ConnectionState::Draining {
                    self.set_alarm(now); // this may have been its last answer
                }
                if let Some(max_idle) = self.config.connections_max_idle {
                    self.set_alarm(now + max_idle);
                }
            }
        }
    }

    fn count_answer(&mut self, node: NodeId, request: &InFlight<Purpose<T>>, size: u64, now: Instant) {
        let counts = self.counts.node(node);
        counts.responses += 1;
        counts.incoming_bytes += size;
        if request.key == ApiKey::Produce {
            let latency = (now - request.sent_at).as_nanos();
            counts
                .produce_latency
                .measure(u64::try_from(latency).unwrap_or(u64::MAX));
        }
    }

    fn answered(&mut self, id: ConnectionId, request: InFlight<Purpose<T>>, reader: Reader, now: Instant) {
        let InFlight {
            purpose,
            key,
            version,
            sent_at,
            ..
        } = request;
        match purpose {
            Purpose::ApiVersions => self.versions_answered(id, version, reader, now),
            Purpose::Metadata(update) => self.metadata_answered(id, update, version, reader, now),
            Purpose::Sender(purpose) => {
                let body = reader.into_rest();
                // In these responses the throttle time is the first field; in that of Produce it stands behind the partitions.
                let first = body
                    .first_chunk::<4>()
                    .filter(|_| key != ApiKey::Produce && must_throttle(key, version));
                if let Some(first) = first {
                    self.throttle(id, i32::from_be_bytes(*first), now);
                }
                let result = Outcome::Response {
                    version,
                    body,
                    latency: now - sent_at,
                };
                self.completed.push(Completed {
                    purpose,
                    connection: id,
                    result,
                    sent: Sent::MayBeWritten,
                });
            }
        }
    }

    /// N-36 … N-38: success, another try in a lower version, or the end of this connection.
    fn versions_answered(&mut self, id: ConnectionId, version: i16, mut reader: Reader, now: Instant) {
        let body = reader.clone().into_rest();
        let code = body
            .first_chunk::<2>()
            .map(|bytes| ErrorCode::from_code(i16::from_be_bytes(*bytes)));
        match code {
            Some(ErrorCode::UnsupportedVersion) if version > 0 => {
                // The broker answers in version 0, whatever was asked. Each try is lower than the one before, so this ends.
                let listed = decode_message::<ApiVersionsResponse>(&mut reader, ApiKey::ApiVersions, 0).ok();
                let range =
                    listed.and_then(|response| NodeApiVersions::new(&response).range(ApiKey::ApiVersions));
                let next = range.map_or(0, |range| range.max).clamp(0, version - 1);
                return self.ask_versions(id, next, now);
            }
            Some(code) if code.is_error() => {
                warn!(connection = %id, error = code.name(), "the broker refuses ApiVersions");
                return self.cut(id.node, &Cause::Refused(code.name().to_owned()), now);
            }
            _ => {}
        }
        match decode_message::<ApiVersionsResponse>(&mut reader, ApiKey::ApiVersions, version) {
            Err(error) => self.violation(
                id,
                format!("its response to ApiVersions is malformed: {error}"),
                now,
            ),
            Ok(response) => self.negotiated(id, version, &response, now),
        }
    }

    fn negotiated(&mut self, id: ConnectionId, version: i16, response: &ApiVersionsResponse, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id.node) else {
            return;
        };
        if connection.negotiated(NodeApiVersions::new(response)).is_err() {
            return;
        }
        debug!(connection = %id, address = %connection.address(), "ready");
        self.failures.forgive(connection.address());
        self.actions.push(NetAction::Trust(id));
        if must_throttle(ApiKey::ApiVersions, version) {
            self.throttle(id, response.throttle_time_ms, now);
        }
        if let Some(features) = FinalizedFeatures::new(response) {
            // T-33: an equal or lower epoch does not replace what is known.
            if self.features.is_none_or(|known| features.epoch > known.epoch) {
                self.features = Some(features);
            }
        }
        self.follow_address(id.node, now);
    }

    fn metadata_answered(
        &mut self,
        id: ConnectionId,
        update: UpdateRequest,
        version: i16,
        mut reader: Reader,
        now: Instant,
    ) {
        let jitter = self.draw();
        let response = match decode_message::<MetadataResponse>(&mut reader, ApiKey::Metadata, version) {
            Ok(response) => response,
            Err(error) => {
                self.metadata.update_failed(now, jitter);
                return self.violation(id, format!("its response to Metadata is malformed: {error}"), now);
            }
        };
        if must_throttle(ApiKey::Metadata, version) {
            self.throttle(id, response.throttle_time_ms, now);
        }
        let Some(broker) = self
            .connections
            .get(&id.node)
            .map(|connection| connection.address().clone())
        else {
            return;
        };
        match self.metadata.apply(
            Answer {
                response,
                version,
                update,
                broker,
            },
            now,
            jitter,
        ) {
            Verdict::Applied => self.follow_metadata(now),
            Verdict::Failed => {}
            Verdict::Malformed(reason) | Verdict::OtherCluster(reason) => self.violation(id, reason, now),
            Verdict::Rebootstrap => match self.config.recovery {
                RecoveryStrategy::None => self.metadata.update_failed(now, jitter),
                RecoveryStrategy::Rebootstrap { .. } => self.rebootstrap(now),
            },
        }
    }

    /// D-2: who breaks the protocol is cut off; nothing that it says later can be trusted.
    fn violation(&mut self, id: ConnectionId, reason: String, now: Instant) {
        self.cut(id.node, &Cause::Protocol(reason), now);
    }

    /// N-30: negative times are ignored, and very long ones cut.
    fn throttle(&mut self, id: ConnectionId, throttle_time_ms: i32, now: Instant) {
        let time =
            Duration::from_millis(u64::try_from(throttle_time_ms).unwrap_or(0)).min(self.config.max_throttle);
        let connection = self
            .connections
            .get_mut(&id.node)
            .filter(|connection| connection.id() == Some(id));
        let session = connection
            .and_then(Connection::session_mut)
            .filter(|_| !time.is_zero());
        if let Some(session) = session {
            session.throttle(time, now);
        }
    }

    /// N-28, N-72: the connection is over. What was in flight completes, oldest first, and metadata is told.
    pub(super) fn lost(&mut self, node: NodeId, cause: &Cause, end: End, now: Instant) {
        let jitter = self.draw();
        let backoff = self.config.reconnect_backoff;
        let Some(connection) = self.connections.get_mut(&node) else {
            return;
        };
        let Some(id) = connection.id() else { return };
        let reason: Arc<str> = cause.sentence(connection.address(), connection.state()).into();
        log_end(connection, cause, &reason);
        if cause.is_worth_telling() {
            self.failures.record(connection.address(), &reason, cause.kind());
        }
        let retry_at = |failures: u32| now + backoff.after(failures.saturating_sub(1), jitter);
        let Ok(ended) = connection.disconnect(cause.setback(Arc::clone(&reason)), now, retry_at) else {
            return;
        };
        self.counts.connections_closed += u64::from(ended.is_some());
        for (request, sent) in ended.into_iter().flat_map(|session| session.end(end)) {
            log_cancelled(id, &request, cause, now);
            match request.purpose {
                Purpose::ApiVersions => {}
                Purpose::Metadata(_) => self.metadata.update_failed(now, jitter),
                Purpose::Sender(purpose) => {
                    let result = cause.outcome(Arc::clone(&reason));
                    self.completed.push(Completed {
                        purpose,
                        connection: id,
                        result,
                        sent,
                    });
                }
            }
        }
        if !cause.concerns_metadata() {
            return;
        }
        if let Cause::Link(LinkFailure::Authentication(_)) = cause {
            self.metadata.fail(MetadataError::Authentication { reason });
        }
        self.metadata.node_lost(now, jitter);
        if cause.kind() == FailureKind::Unresolved {
            self.look_for_resolvable_host();
        }
    }

    /// N-18: a host that cannot be resolved is passed over, but when there is no other, whoever waits is told. Only in the beginning: later the
    /// hosts are known to be right, and it is the name service that fails.
    fn look_for_resolvable_host(&mut self) {
        let hosts = self.cluster().nodes.values().rev(); // in the order of the configuration
        let reasons: Option<Vec<&str>> = hosts
            .map(|host| self.failures.unresolved(host).map(|reason| &**reason))
            .collect();
        if let Some(reasons) = reasons.filter(|_| !self.metadata.schedule().has_succeeded()) {
            let reason = reasons.join("; ").into();
            self.metadata.fail(MetadataError::Unresolvable { reason });
        }
    }
}

/// N-29: at which level the end of a connection is logged.
fn log_end<P>(connection: &Connection<P>, cause: &Cause, reason: &Arc<str>) {
    match (cause, connection.state()) {
        (Cause::Idle | Cause::Closing, _) => debug!(%reason, "disconnected"),
        (Cause::Link(LinkFailure::Authentication(_)), _) => tracing::error!(%reason, "disconnected"),
        (Cause::Link(_) | Cause::SetupTimeout, ConnectionState::Connecting) | (Cause::Protocol(_), _) => {
            warn!(%reason, "disconnected");
        }
        _ => info!(%reason, "disconnected"),
    }
}

/// N-29: what was in flight, and for how long. Its content is not kept, so it cannot be logged.
fn log_cancelled<P>(id: ConnectionId, request: &InFlight<P>, cause: &Cause, now: Instant) {
    let age_ms = (now - request.sent_at).as_millis();
    let (key, correlation_id) = (request.key, request.correlation_id);
    match cause {
        Cause::Closing => debug!(connection = %id, %key, correlation_id, age_ms, "cancelled a request"),
        _ => info!(connection = %id, %key, correlation_id, age_ms, "cancelled a request"),
    }
}

/// N-30: the versions in which the broker leaves it to the client to hold back.
fn must_throttle(key: ApiKey, version: i16) -> bool {
    let first = match key {
        ApiKey::Produce | ApiKey::Metadata => 6,
        ApiKey::FindCoordinator | ApiKey::ApiVersions => 2,
        ApiKey::InitProducerId
        | ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::TxnOffsetCommit => 1,
        _ => return false,
    };
    version >= first
}
