//! What clients are forbidden to do (B-126): operations on resources, in Kafka's words. Everything else is allowed to everybody.
//!
//! There is one principal, as no listener knows who connects. Listeners with SASL or TLS are left out, and so are `TwoPhaseCommit`, which no
//! request of the served versions needs, and what only administrators do: a client that is forbidden that may do it nevertheless.

use std::collections::BTreeSet;

use kommit_protocol::error_code::ErrorCode;

/// What something is done to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The cluster as a whole.
    Cluster,
    /// The topic of this name.
    Topic(String),
    /// The consumer group of this name.
    Group(String),
    /// A transactional id.
    TransactionalId(String),
}

impl Resource {
    /// What a client hears that may not do something to it.
    fn refusal(&self) -> ErrorCode {
        match self {
            Self::Cluster => ErrorCode::ClusterAuthorizationFailed,
            Self::Topic(_) => ErrorCode::TopicAuthorizationFailed,
            Self::Group(_) => ErrorCode::GroupAuthorizationFailed,
            Self::TransactionalId(_) => ErrorCode::TransactionalIdAuthorizationFailed,
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// On the cluster: to be a producer without transactions. Kafka allows that as well to who may write to some topic; who is forbidden it
    /// here counts as allowed to write nowhere.
    IdempotentWrite,
    /// On topics: to fetch, and to commit offsets. On groups: to be a member, and to commit.
    Read,
    /// On topics: to produce, and to add to a transaction. On transactional ids: to use them.
    Write,
    /// On topics: to see them in metadata, and their offsets. On transactional ids: to find their coordinator, and to see their state.
    Describe,
}

/// All that is forbidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denials {
    denied: BTreeSet<(Resource, Operation)>,
}

impl Denials {
    /// Forbids something.
    pub fn deny(&mut self, operation: Operation, resource: Resource) {
        self.denied.insert((resource, operation));
    }

    /// Allows it again.
    pub fn allow(&mut self, operation: Operation, resource: Resource) {
        self.denied.remove(&(resource, operation));
    }

    pub(crate) fn check_idempotent_write(&self) -> Result<(), ErrorCode> {
        self.check(Operation::IdempotentWrite, || Resource::Cluster)
    }

    pub(crate) fn check_topic(&self, operation: Operation, name: &str) -> Result<(), ErrorCode> {
        self.check(operation, || Resource::Topic(name.to_owned()))
    }

    pub(crate) fn check_group(&self, operation: Operation, id: &str) -> Result<(), ErrorCode> {
        self.check(operation, || Resource::Group(id.to_owned()))
    }

    pub(crate) fn check_transactional_id(&self, operation: Operation, id: &str) -> Result<(), ErrorCode> {
        self.check(operation, || Resource::TransactionalId(id.to_owned()))
    }

    /// Costs nothing while nothing is forbidden.
    fn check(&self, operation: Operation, resource: impl FnOnce() -> Resource) -> Result<(), ErrorCode> {
        if self.denied.is_empty() {
            return Ok(());
        }
        let wanted = (resource(), operation);
        if self.denied.contains(&wanted) {
            Err(wanted.0.refusal())
        } else {
            Ok(())
        }
    }
}
