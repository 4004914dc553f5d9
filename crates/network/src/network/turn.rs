//! What happens because time passes: time-outs, idle connections, metadata updates, rebootstrap (N-14, N-19, N-27, N-60, N-61).

use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::api::ApiKey;
use kommit_protocol::hazard_rule::HazardRule;
use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;

use super::nodes::{LeastLoaded, Readiness};
use super::{Network, Phase, Purpose};
use crate::boundary::{Completed, ConnectionId, NetAction, Sent};
use crate::config::RecoveryStrategy;
use crate::connection::{Connection, ConnectionState};
use crate::failures::Cause;
use crate::metadata::MetadataError;
use crate::versions::VersionLimits;

/// A shorter rebootstrap trigger would cut every connection before it can answer, in a busy loop.
const LEAST_TRIGGER: Duration = Duration::from_millis(100);

impl<T> Network<T> {
    /// Does everything that is due, and hands out all actions and completions since the last turn. Gives the next deadline.
    ///
    /// May be called as often as one likes: a turn in which nothing is due does nothing. Actions must be carried out in their order.
    pub fn turn(
        &mut self,
        now: Instant,
        out: &mut Vec<NetAction>,
        completed: &mut Vec<Completed<T>>,
    ) -> Instant {
        let mut deadline = Instant::NEVER;
        if self.phase == Phase::Open {
            if self.alarm <= now {
                self.close_idle(now);
                self.close_drained(now);
                self.close_overdue(now);
                self.alarm = self.next_timeout();
            }
            self.rebootstrap_when_overdue(now);
            let update = self.update_metadata(now);
            deadline = update
                .min(self.alarm)
                .min(self.rebootstrap_at().unwrap_or(Instant::NEVER));
        }
        out.append(&mut self.actions);
        completed.append(&mut self.completed);
        deadline
    }

    /// N-61: gives up all connections to known nodes, and starts again from the bootstrap addresses.
    pub(super) fn rebootstrap(&mut self, now: Instant) {
        let nodes: Vec<NodeId> = self.cluster().nodes.keys().copied().collect();
        for node in nodes {
            self.cut(node, &Cause::Rebootstrap, now);
        }
        self.metadata.rebootstrap(now);
    }

    /// First the connections that were not established in time (N-14), then those that owe an answer for too long (N-27): the order of
    /// N-20.
    fn close_overdue(&mut self, now: Instant) {
        let timeout = self.config.request_timeout;
        let unestablished = self.overdue(|connection| {
            let deadline = connection.setup_deadline()?;
            (deadline <= now).then_some(Cause::SetupTimeout)
        });
        let unanswered = self.overdue(|connection| {
            let (deadline, key) = connection.session()?.first_deadline(timeout)?;
            (deadline <= now).then_some(Cause::RequestTimeout(key, timeout))
        });
        for (node, cause) in unestablished.into_iter().chain(unanswered) {
            if matches!(cause, Cause::RequestTimeout(..)) && !HazardRule::R14.is_kept() {
                self.end_unanswered(node, &cause, now);
            } else {
                self.cut(node, &cause, now);
            }
        }
    }

    /// What R14 forbids: the request is over, and its connection goes on.
    fn end_unanswered(&mut self, node: NodeId, cause: &Cause, now: Instant) {
        let connection = self.connections.get_mut(&node);
        let Some(session) = connection.and_then(Connection::session_mut) else {
            return;
        };
        let connection = session.id();
        if let Some(Purpose::Sender(purpose)) = session.answered(now).map(|request| request.purpose) {
            let result = cause.outcome("no answer in time".into());
            self.completed.push(Completed {
                purpose,
                connection,
                result,
                sent: Sent::MayBeWritten,
            });
        }
    }

    fn overdue(&self, cause: impl Fn(&Connection<Purpose<T>>) -> Option<Cause>) -> Vec<(NodeId, Cause)> {
        let connections = self.connections.iter();
        connections
            .filter_map(|(node, connection)| Some((*node, cause(connection)?)))
            .collect()
    }

    /// N-19: at most one idle connection per turn, the oldest first. One that owes an answer is not idle.
    fn close_idle(&mut self, now: Instant) {
        if let Some((_, node)) = self.first_idle().filter(|(deadline, _)| *deadline <= now) {
            self.cut(node, &Cause::Idle, now);
        }
    }

    fn first_idle(&self) -> Option<(Instant, NodeId)> {
        let max_idle = self.config.connections_max_idle?;
        let sessions = self
            .connections
            .iter()
            .filter_map(|(node, connection)| Some((node, connection.session()?)));
        let quiet = sessions.filter(|(_, session)| session.in_flight_count() == 0);
        quiet
            .map(|(node, session)| (session.last_activity() + max_idle, *node))
            .min()
    }

    /// A connection to an address that its node has left is closed when its last answer has come.
    fn close_drained(&mut self, now: Instant) {
        let is_drained = |connection: &Connection<Purpose<T>>| {
            let is_empty = connection
                .session()
                .is_some_and(|session| session.in_flight_count() == 0);
            connection.state() == ConnectionState::Draining && is_empty
        };
        let drained = self
            .connections
            .iter()
            .filter(|(_, connection)| is_drained(connection));
        let drained: Vec<NodeId> = drained.map(|(node, _)| *node).collect();
        for node in drained {
            self.cut(node, &Cause::Moved, now);
        }
    }

    /// N-61 (b).
    fn rebootstrap_when_overdue(&mut self, now: Instant) {
        if self.rebootstrap_at().is_some_and(|deadline| deadline <= now) {
            self.rebootstrap(now);
        }
    }

    fn rebootstrap_at(&self) -> Option<Instant> {
        match self.config.recovery {
            RecoveryStrategy::None => None,
            RecoveryStrategy::Rebootstrap { trigger } => {
                Some(self.metadata.attempts_since()? + trigger.max(LEAST_TRIGGER))
            }
        }
    }

    /// N-60: asks for metadata when that is due and a node can be asked. Gives the moment at which to look again.
    fn update_metadata(&mut self, now: Instant) -> Instant {
        match self.metadata.schedule().next_update() {
            None => return Instant::NEVER,
            Some(next) if next > now => return next,
            Some(_) => {}
        }
        let since = self.metadata.attempt(now);
        let mut choice = self.least_loaded(now);
        if self.may_rebootstrap() && self.is_out_of_reach(&choice, since) {
            self.metadata.rebootstrap(now);
            choice = self.least_loaded(now);
        }
        let Some(node) = choice.node else {
            return self.next_chance(now);
        };
        if let Some(id) = self.sendable(node, now) {
            return self.ask_metadata(id, now);
        }
        if self.may_start(node, now) && !self.is_connecting_to_known_node() {
            self.start(node, now);
        }
        // What comes next is an event, or the time-out of the connection set-up.
        Instant::NEVER
    }

    fn ask_metadata(&mut self, id: ConnectionId, now: Instant) -> Instant {
        match self.choose_version(id, ApiKey::Metadata, VersionLimits::ANY) {
            Ok(version) => {
                let (update, request) = self.metadata.begin_update(now);
                self.transmit(id, &request, version, Purpose::Metadata(update), now);
                Instant::NEVER
            }
            Err(reason) => {
                // N-41: a mismatch of our own request is a failed update, and fatal for those who wait.
                let jitter = self.draw();
                self.metadata.update_failed(now, jitter);
                self.metadata.fail(MetadataError::UnsupportedVersion {
                    reason: reason.into(),
                });
                self.metadata.schedule().next_update().unwrap_or(Instant::NEVER)
            }
        }
    }

    /// N-61 (a) makes sense only when there is something to go back from.
    fn may_rebootstrap(&self) -> bool {
        matches!(self.config.recovery, RecoveryStrategy::Rebootstrap { .. }) && !self.cluster().is_bootstrap()
    }

    /// N-61 (a): no connection is ready, and no known node is left to try. Left to try is one whose backoff is over and that has not
    /// failed since the update is wanted: of several dead brokers one is nearly always out of its backoff, so the backoff alone would
    /// keep the producer among the dead until the trigger of (b).
    fn is_out_of_reach(&self, choice: &LeastLoaded, since: Instant) -> bool {
        let has_failed = |node| {
            let connection = self.connections.get(node);
            connection.is_some_and(|connection| connection.has_failed_since(since))
        };
        choice.readiness == Readiness::NoNodeIsReady
            && (choice.node.is_none() || self.cluster().nodes.keys().all(has_failed))
    }

    fn is_connecting_to_known_node(&self) -> bool {
        let mut nodes = self.cluster().nodes.keys();
        nodes.any(|node| self.connection_state(*node) == ConnectionState::Connecting)
    }

    /// When the first known node may be connected to, or is no longer throttled.
    fn next_chance(&self, now: Instant) -> Instant {
        let cluster = Arc::clone(self.cluster());
        let chances = cluster
            .nodes
            .keys()
            .map(|node| self.poll_deadline(*node, now))
            .filter(|chance| *chance > now);
        chances.min().unwrap_or(Instant::NEVER)
    }

    /// When the first connection becomes overdue or idle, as far as is known now.
    fn next_timeout(&self) -> Instant {
        let timeout = self.config.request_timeout;
        let of_connection = |connection: &Connection<Purpose<T>>| {
            let answer = connection
                .session()
                .and_then(|session| session.first_deadline(timeout));
            let answer = answer.map(|(deadline, _)| deadline);
            connection.setup_deadline().into_iter().chain(answer).min()
        };
        let connections = self.connections.values().filter_map(of_connection);
        let idle = self.first_idle().map(|(deadline, _)| deadline);
        connections.chain(idle).min().unwrap_or(Instant::NEVER)
    }
}
