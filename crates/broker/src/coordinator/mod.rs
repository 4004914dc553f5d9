//! The two coordinators of the cluster behind one value: transactions and groups.
//!
//! Reading order: [`interface`] (what passes in and out), `txn` (transactional ids), `group` (groups and their offsets),
//! `lookup` (who coordinates). The rest of the broker calls [`Coordinators`] synchronously and takes markers from it. No
//! clock, no sockets, no partition logs; nothing from the client crates, whose judge this is.

pub mod interface;

mod group;
mod lookup;
#[cfg(test)]
mod testing;
mod txn;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, ListTransactionsRequest,
    ListTransactionsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::TopicPartition;

use self::group::GroupCoordinator;
pub use self::group::{GroupAnswer, Ticket};
use self::interface::{Call, ClusterView, CoordinatorConfig, MarkerWrite, VerifyRequest};
use self::txn::TransactionCoordinator;
pub use self::txn::TransactionLog;
use crate::durable::Entry;

/// Everything that coordinators know, for all brokers and shards of the cluster.
///
/// Feed it requests and time; after each call take the markers, carry them out, and report them with
/// [`Coordinators::markers_written`]. What a call changed is durable when it returns.
#[derive(Debug)]
pub struct Coordinators {
    transactions: TransactionCoordinator,
    groups: GroupCoordinator,
}

impl Coordinators {
    /// Coordinators that know nobody yet.
    pub fn new(config: CoordinatorConfig) -> Self {
        Self {
            groups: GroupCoordinator::new(&config),
            transactions: TransactionCoordinator::new(config),
        }
    }

    /// Changes the settings; what is done in intervals is due an interval from the next turn on.
    pub fn configure(&mut self, config: &CoordinatorConfig) {
        self.transactions.configure(config);
        self.groups.configure(config);
    }

    /// Which broker coordinates a group or a transactional id (B-21).
    pub fn find_coordinator(
        &mut self,
        request: &FindCoordinatorRequest,
        call: &Call<'_>,
    ) -> FindCoordinatorResponse {
        lookup::find_coordinator(request, call)
    }

    /// The identity of a producer (B-53 … B-66).
    pub fn init_producer_id(
        &mut self,
        request: &InitProducerIdRequest,
        call: &Call<'_>,
    ) -> InitProducerIdResponse {
        self.transactions.init_producer_id(request, call)
    }

    /// Partitions join a transaction (B-71, B-72), or are verified (versions 4 and 5, between brokers).
    pub fn add_partitions_to_txn(
        &mut self,
        request: &AddPartitionsToTxnRequest,
        call: &Call<'_>,
    ) -> AddPartitionsToTxnResponse {
        self.transactions.add_partitions_to_txn(request, call)
    }

    /// A group's offsets join a transaction (B-73).
    pub fn add_offsets_to_txn(
        &mut self,
        request: &AddOffsetsToTxnRequest,
        call: &Call<'_>,
    ) -> AddOffsetsToTxnResponse {
        self.transactions.add_offsets_to_txn(request, call)
    }

    /// A transaction ends (B-84 … B-96).
    pub fn end_txn(&mut self, request: &EndTxnRequest, call: &Call<'_>) -> EndTxnResponse {
        self.transactions.end_txn(request, call)
    }

    /// Details of transactional ids (B-100).
    pub fn describe_transactions(
        &mut self,
        request: &DescribeTransactionsRequest,
        call: &Call<'_>,
    ) -> DescribeTransactionsResponse {
        self.transactions.describe_transactions(request, call)
    }

    /// The transactional ids that the called broker coordinates (B-100).
    pub fn list_transactions(
        &mut self,
        request: &ListTransactionsRequest,
        call: &Call<'_>,
    ) -> ListTransactionsResponse {
        self.transactions.list_transactions(request, call)
    }

    /// What a partition's leader must know before it appends a transactional batch (B-77, B-78): one answer per partition, in
    /// order, in the coordinator's own codes.
    pub fn verify_or_add(
        &mut self,
        request: &VerifyRequest,
        cluster: &ClusterView<'_>,
        now: Now,
    ) -> Vec<Result<(), ErrorCode>> {
        self.transactions.verify_or_add(request, cluster, now)
    }

    /// Stores offsets of a group as part of a transaction (B-118, B-119).
    pub fn txn_offset_commit(
        &mut self,
        request: &TxnOffsetCommitRequest,
        call: &Call<'_>,
    ) -> TxnOffsetCommitResponse {
        self.groups
            .txn_offset_commit(request, call, &mut self.transactions)
    }

    /// Stores offsets of a group at once.
    pub fn offset_commit(&mut self, request: &OffsetCommitRequest, call: &Call<'_>) -> OffsetCommitResponse {
        self.groups.offset_commit(request, call)
    }

    /// Reads the offsets of groups (B-120).
    pub fn offset_fetch(&mut self, request: &OffsetFetchRequest, call: &Call<'_>) -> OffsetFetchResponse {
        self.groups.offset_fetch(request, call)
    }

    /// Somebody wants to be a member of a group; the answer comes through [`Coordinators::take_group_answers`].
    pub fn join_group(&mut self, request: &JoinGroupRequest, call: &Call<'_>, ticket: Ticket) {
        self.groups.join_group(request, call, ticket);
    }

    /// A member wants its assignment; the answer comes through [`Coordinators::take_group_answers`].
    pub fn sync_group(&mut self, request: &SyncGroupRequest, call: &Call<'_>, ticket: Ticket) {
        self.groups.sync_group(request, call, ticket);
    }

    /// A member is alive.
    pub fn heartbeat(&mut self, request: &HeartbeatRequest, call: &Call<'_>) -> HeartbeatResponse {
        self.groups.heartbeat(request, call)
    }

    /// Members leave their group.
    pub fn leave_group(&mut self, request: &LeaveGroupRequest, call: &Call<'_>) -> LeaveGroupResponse {
        self.groups.leave_group(request, call)
    }

    /// The state of groups, one by one.
    pub fn describe_groups(
        &mut self,
        request: &DescribeGroupsRequest,
        call: &Call<'_>,
    ) -> DescribeGroupsResponse {
        self.groups.describe_groups(request, call)
    }

    /// The groups that the called broker coordinates.
    pub fn list_groups(&mut self, request: &ListGroupsRequest, call: &Call<'_>) -> ListGroupsResponse {
        self.groups.list_groups(request, call)
    }

    /// The answers to JoinGroup and SyncGroup that have become due since the last call: to be polled like markers. Answers to
    /// connections that are gone may be dropped.
    pub fn take_group_answers(&mut self) -> Vec<(Ticket, GroupAnswer)> {
        self.groups.take_answers()
    }

    /// The markers that have become due since the last call, to be written by the leaders of their partitions (B-91).
    pub fn take_markers(&mut self) -> Vec<MarkerWrite> {
        self.transactions.take_markers()
    }

    /// Whether a marker is still to be written. Ask before a marker that had to wait is written: a coordinator that moved since
    /// has issued its own, and a late copy could end a later transaction (B-69).
    pub fn is_marker_outstanding(&self, marker: &MarkerWrite) -> bool {
        self.transactions.is_outstanding(marker)
    }

    /// Lets a marker in a partition of `__consumer_offsets` decide the offsets that wait for it (B-119).
    pub fn apply_offsets_marker(&mut self, marker: &MarkerWrite) {
        self.groups.apply_marker(marker);
    }

    /// Notes that a marker is written, or that its partition has been deleted (B-94).
    pub fn markers_written(&mut self, transactional_id: &str, partition: &TopicPartition, now: Now) {
        self.transactions
            .markers_written(transactional_id, partition, now);
    }

    /// Notices moved shards, and does what time has made due: time-outs, expiry (B-69, B-101, B-105), silent members. Returns the
    /// next deadline.
    pub fn turn(&mut self, cluster: &ClusterView<'_>, now: Now) -> Instant {
        self.transactions.turn(cluster, now).min(self.groups.turn(now))
    }

    /// Nobody keeps what changed.
    pub(crate) fn forget_unsaved(&mut self) {
        self.transactions.forget_unsaved();
        self.groups.forget_unsaved();
    }

    /// What changed since the last call, of everything that the coordinators' logs say.
    pub(crate) fn take_unsaved(&mut self, out: &mut Vec<Entry>) {
        self.transactions.take_unsaved(out);
        self.groups.take_unsaved(out);
    }

    /// Everything that the coordinators' logs say.
    pub(crate) fn all_entries(&self, out: &mut Vec<Entry>) {
        self.transactions.all_entries(out);
        self.groups.all_entries(out);
    }

    /// Takes up what the logs said before a restart; an error in words when it cannot be.
    pub(crate) fn restore(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry {
            Entry::ProducerIds(_) | Entry::Transaction(_) | Entry::TransactionForgotten(_) => {
                self.transactions.restore(entry)
            }
            of_groups => self.groups.restore(of_groups),
        }
    }

    /// Behind the last entry: members of groups count as heard just now.
    pub(crate) fn finish_restore(&mut self, now: Now) {
        self.groups.finish_restore(now);
    }

    /// Switches the transaction log's faults on and off (B-65, B-67).
    pub fn set_transaction_log(&mut self, log: TransactionLog, now: Now) {
        self.transactions.set_log(log, now);
    }
}
