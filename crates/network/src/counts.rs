//! What the network counts (K-18, K-20, K-23): plain numbers beside the connections, once per request, answer and report of written bytes. Decides nothing.

use std::collections::BTreeMap;

use kommit_protocol::units::NodeId;

/// A quantity that was measured several times: how often, the sum, and the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How often it was measured.
    pub count: u64,
    /// The sum of all.
    pub sum: u64,
    /// The largest.
    pub max: u64,
}

impl Spread {
    /// Takes one more measurement.
    pub fn measure(&mut self, quantity: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(quantity);
        self.max = self.max.max(quantity);
    }

    /// Takes over what another one has measured.
    pub(crate) fn join(&mut self, other: &Spread) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The mean; nothing when nothing was measured.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// What went to one node and came from it, over all its connections (K-23). Bytes include the length prefixes of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// The sizes of the requests, housekeeping of the network included.
    pub request_size: Spread,
    /// Bytes that were given to sockets.
    pub outgoing_bytes: u64,
    /// Answers that came.
    pub responses: u64,
    /// Bytes of answers.
    pub incoming_bytes: u64,
    /// From queueing a produce request to its answer, in nanoseconds (K-4).
    pub produce_latency: Spread,
}

impl NodeCounts {
    /// Takes over what another one has counted.
    fn join(&mut self, other: &NodeCounts) {
        self.request_size.join(&other.request_size);
        self.outgoing_bytes += other.outgoing_bytes;
        self.responses += other.responses;
        self.incoming_bytes += other.incoming_bytes;
        self.produce_latency.join(&other.produce_latency);
    }
}

/// What the network has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Connections that were established.
    pub connections_created: u64,
    /// Established connections that ended.
    pub connections_closed: u64,
    /// By node; a bootstrap address has a negative id. A node is there as soon as it got a request.
    pub nodes: BTreeMap<NodeId, NodeCounts>,
}

impl NetworkCounts {
    pub(crate) fn node(&mut self, node: NodeId) -> &mut NodeCounts {
        self.nodes.entry(node).or_default()
    }

    /// All nodes together.
    pub fn total(&self) -> NodeCounts {
        let mut total = NodeCounts::default();
        self.nodes.values().for_each(|node| total.join(node));
        total
    }
}
