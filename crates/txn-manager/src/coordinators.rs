//! Which brokers coordinate this producer's transactions and its consumer group, as far as FindCoordinator told.

use kommit_protocol::units::NodeId;

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoordinatorType {
    /// A consumer group; on the wire 0.
    Group,
    /// A transactional id; on the wire 1.
    Transaction,
}

impl CoordinatorType {
    pub(crate) fn wire(self) -> i8 {
        match self {
            CoordinatorType::Group => 0,
            CoordinatorType::Transaction => 1,
        }
    }
}

/// A broker that answered for a coordinator; it may be unknown to metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorNode {
    /// Its node id.
    pub id: NodeId,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: i32,
}

/// Whether the transaction coordinator can bump an epoch on request: InitProducerId version 3 or later (KIP-360, T-62).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochBumpSupport {
    /// It can.
    Supported,
    /// It cannot, or its versions are unknown.
    Unsupported,
}

/// The cached coordinators: one of each type (T-115).
#[derive(Debug)]
pub(crate) struct Coordinators {
    transaction: Option<CoordinatorNode>,
    group: Option<CoordinatorNode>,
    /// Kept while the coordinator is away (T-62).
    pub(crate) epoch_bump: EpochBumpSupport,
}

impl Coordinators {
    pub(crate) fn none() -> Self {
        Self {
            transaction: None,
            group: None,
            epoch_bump: EpochBumpSupport::Unsupported,
        }
    }

    pub(crate) fn node(&self, of: CoordinatorType) -> Option<&CoordinatorNode> {
        match of {
            CoordinatorType::Transaction => self.transaction.as_ref(),
            CoordinatorType::Group => self.group.as_ref(),
        }
    }

    pub(crate) fn found(&mut self, of: CoordinatorType, node: CoordinatorNode) {
        *self.slot(of) = Some(node);
    }

    pub(crate) fn forget(&mut self, of: CoordinatorType) {
        *self.slot(of) = None;
    }

    fn slot(&mut self, of: CoordinatorType) -> &mut Option<CoordinatorNode> {
        match of {
            CoordinatorType::Transaction => &mut self.transaction,
            CoordinatorType::Group => &mut self.group,
        }
    }
}
