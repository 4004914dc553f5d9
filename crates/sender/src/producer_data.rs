//! `sendProducerData()`: ready, connect, drain, mute, expire, send (S-38 … S-48): six functions, called in this order.

use std::collections::BTreeSet;
use std::sync::Arc;

use kommit_accumulator::{Fate, Leader, Left, Pace, Progress, SendError, SendErrorKind, Stamp, StampedBatch};
use kommit_network::ClusterSnapshot;
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{NodeId, PartitionIndex, TopicPartition};
use kommit_txn_manager::{self as txn, FailureReason};

use crate::core::{Order, SenderCore};
use crate::gate::{TransactionGate, batch_id};

/// The batches of one request, and where it goes.
pub(crate) struct NodeBatches {
    pub(crate) node: NodeId,
    pub(crate) batches: Vec<StampedBatch>,
}

impl SenderCore {
    /// One pass. Returns when the next is due at the latest.
    pub(crate) fn send_producer_data(&mut self, now: Now) -> Instant {
        let ready = self.ready_nodes(now);
        let (nodes, not_ready_until) = self.connect(&ready, now);
        let (drained, drain_again) = self.drain(&nodes, now);
        self.mute(&drained);
        let next_expiry = self.expire_batches(now);
        self.send(drained, now);
        self.drainer
            .next_check()
            .min(not_ready_until)
            .min(drain_again)
            .min(next_expiry)
    }

    /// S-38, S-39: which brokers have something to get; topics without a known leader ask for newer metadata.
    fn ready_nodes(&mut self, now: Now) -> BTreeSet<NodeId> {
        let cluster = Arc::clone(self.network.cluster());
        let ready = self
            .drainer
            .ready(now.instant, &|partition| leader(&cluster, partition));
        if !ready.unknown_leader_topics.is_empty() {
            tracing::debug!(topics = ?ready.unknown_leader_topics, "asking for metadata of topics without a leader");
            for topic in &ready.unknown_leader_topics {
                self.network.add_topic(topic, now.instant);
            }
            self.network.request_update();
        }
        ready.nodes
    }

    /// S-40: only brokers that can take a request stay; the others are connected, and say when to look again.
    fn connect(&mut self, nodes: &BTreeSet<NodeId>, now: Now) -> (Vec<NodeId>, Instant) {
        let mut not_ready_until = Instant::NEVER;
        let mut able = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let pace = if self.network.ready(node, now.instant) {
                able.push(node);
                Pace::Taking
            } else {
                not_ready_until = not_ready_until.min(self.network.poll_deadline(node, now.instant));
                Pace::Waiting
            };
            self.drainer.note_pace(node, pace, now.instant);
        }
        (able, not_ready_until)
    }

    /// S-41 a, b: at most one batch of each partition for each broker. A broker that has more to get is drained again at once, unless
    /// only an event can release what it has (S-46).
    fn drain(&mut self, nodes: &[NodeId], now: Now) -> (Vec<NodeBatches>, Instant) {
        let max_size = self.config.max_request_size;
        let mut drained = Vec::with_capacity(nodes.len());
        let mut again = Instant::NEVER;
        for &node in nodes {
            let mut gate = TransactionGate(self.txn.as_mut());
            let found = self.drainer.drain(node, max_size, now.instant, &mut gate);
            for batch in &found.batches {
                self.in_flight.push(batch);
            }
            if !found.batches.is_empty() {
                drained.push(NodeBatches {
                    node,
                    batches: found.batches,
                });
                if found.left == Left::Sendable {
                    again = now.instant;
                }
            }
        }
        (drained, again)
    }

    /// S-41 c, S-77: with one request in flight, a partition rests while a batch of it is under way.
    fn mute(&mut self, drained: &[NodeBatches]) {
        if self.config.order == Order::OneInFlight {
            for batch in drained.iter().flat_map(|request| &request.batches) {
                self.drainer.mute(batch.partition());
            }
        }
    }

    /// S-41 d … g, S-43, S-44: whoever waited longer than `delivery.timeout.ms` is told. Returns when the next expires.
    pub(crate) fn expire_batches(&mut self, now: Now) -> Instant {
        for batch in self.drainer.expired(now.instant) {
            let error = batch.error(now.instant);
            tracing::warn!(%error, partition = %batch.topic_partition(), "a batch expired in its queue");
            // what a split left was never sent under its stamp, and leaves nothing to resolve.
            if let Some(sent) = batch.stamped() {
                self.mark_unresolved(batch.partition(), sent.stamp(), batch.record_count());
            }
            self.tell_expired(
                batch.partition(),
                batch.stamp(),
                batch.record_count(),
                batch.fate(),
            );
            self.counts
                .failed(&batch.topic_partition().topic, batch.record_count());
            batch.fail(error.with_consequence(self.consequence()));
        }
        for batch in self.in_flight.take_expired(now.instant) {
            let kind = SendErrorKind::DeliveryTimeout {
                records: batch.record_count(),
                age: now.instant - batch.created(),
                progress: Progress::NotAnswered,
            };
            let error = SendError::new(kind).with_fate(Fate::MayBeWritten);
            tracing::warn!(%error, partition = %batch.topic_partition(), "a batch expired in flight");
            self.mark_unresolved(batch.partition(), batch.stamp(), batch.record_count());
            self.tell_expired(
                batch.partition(),
                Some(batch.stamp()),
                batch.record_count(),
                Fate::MayBeWritten,
            );
            self.counts
                .failed(&batch.topic_partition().topic, batch.record_count());
            let error = error.with_consequence(self.consequence());
            self.drainer.fail_in_flight(&batch, error);
        }
        self.drainer.next_expiry().min(self.in_flight.next_expiry())
    }

    /// T-88: the sequences of an expired batch that was sent are not known to be free.
    fn mark_unresolved(&mut self, partition: PartitionIndex, stamp: &Stamp, records: u32) {
        if let (Some(txn), Some(id)) = (self.txn.as_mut(), batch_id(partition, stamp, records)) {
            txn.mark_unresolved(&id);
        }
    }

    /// R12: an expired batch condemns its transaction.
    fn tell_expired(&mut self, partition: PartitionIndex, stamp: Option<&Stamp>, records: u32, fate: Fate) {
        let Some(id) = stamp.and_then(|stamp| batch_id(partition, stamp, records)) else {
            return self.records_failed(Some(partition), FailureReason::Expired);
        };
        let Some(txn) = self.txn.as_mut() else { return };
        let fate = match fate {
            Fate::NotWritten => txn::Fate::NotWritten,
            Fate::MayBeWritten | Fate::Written => txn::Fate::MayBeWritten,
        };
        txn.batch_failed(
            &id,
            &txn::BatchFailure {
                reason: FailureReason::Expired,
                fate,
            },
        );
    }

    /// S-48: one request for each broker.
    fn send(&mut self, drained: Vec<NodeBatches>, now: Now) {
        for request in drained {
            self.counts.request_sent(&request.batches, now.instant);
            self.send_produce_request(request, now);
        }
    }
}

/// N-73: the leader of a partition, when it is known and alive.
fn leader(cluster: &ClusterSnapshot, partition: &TopicPartition) -> Option<Leader> {
    let known = cluster.leader(partition)?;
    Some(Leader {
        node: known.node,
        epoch: known.epoch,
    })
}
