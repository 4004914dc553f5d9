//! The transactional requests and the order in which they go (2.6).
//!
//! A request is built once and repeated as it is (T-49). The queue orders; it never decides whether a request may go.

use std::collections::VecDeque;
use std::time::Duration;

use kommit_protocol::backoff::Backoff;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kommit_protocol::time::Instant;
use kommit_protocol::units::PartitionIndex;

use crate::coordinators::CoordinatorType;
use crate::offsets::OffsetCommit;
use crate::outcome::Ticket;
use crate::responses::Doubt;
use crate::version::Flavour;

/// A request on its way: taken with `next_request`, given back with `answered` or `put_back`. Dropping it loses the answer.
#[derive(Debug)]
#[must_use]
pub struct TransactionalRequest {
    pub(crate) number: u64,
    pub(crate) body: RequestBody,
    pub(crate) work: Work,
    pub(crate) attempts: u32,
    pub(crate) pause: Pause,
    pub(crate) backoff: Backoff,
    /// When it was taken for the first time, or for the first time behind an outage that it outlasts.
    pub(crate) first_taken: Option<Instant>,
    /// What the latest attempt was refused with; none when it was not answered or not sent.
    pub(crate) refused_with: Option<ErrorCode>,
}

/// What travels.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestBody {
    /// Who coordinates a transactional id or a group (T-47).
    FindCoordinator(FindCoordinatorRequest),
    /// An identity, or the next epoch of this one (T-44, T-45).
    InitProducerId(InitProducerIdRequest),
    /// Partitions join the transaction (T-46).
    AddPartitionsToTxn(AddPartitionsToTxnRequest),
    /// A group's offsets join the transaction (T-24).
    AddOffsetsToTxn(AddOffsetsToTxnRequest),
    /// The offsets themselves (T-26).
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// Commit or abort (T-36).
    EndTxn(EndTxnRequest),
    /// What became of a transaction whose commit is in doubt (R8).
    DescribeTransactions(DescribeTransactionsRequest),
}

/// Which request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// FindCoordinator.
    FindCoordinator,
    /// InitProducerId.
    InitProducerId,
    /// AddPartitionsToTxn.
    AddPartitionsToTxn,
    /// AddOffsetsToTxn.
    AddOffsetsToTxn,
    /// TxnOffsetCommit.
    TxnOffsetCommit,
    /// EndTxn.
    EndTxn,
    /// DescribeTransactions.
    DescribeTransactions,
}

impl RequestKind {
    /// Kafka's name of the request.
    pub fn name(self) -> &'static str {
        match self {
            RequestKind::FindCoordinator => "FindCoordinator",
            RequestKind::InitProducerId => "InitProducerId",
            RequestKind::AddPartitionsToTxn => "AddPartitionsToTxn",
            RequestKind::AddOffsetsToTxn => "AddOffsetsToTxn",
            RequestKind::TxnOffsetCommit => "TxnOffsetCommit",
            RequestKind::EndTxn => "EndTxn",
            RequestKind::DescribeTransactions => "DescribeTransactions",
        }
    }
}

/// What the broker said.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody {
    /// To FindCoordinator.
    FindCoordinator(FindCoordinatorResponse),
    /// To InitProducerId.
    InitProducerId(InitProducerIdResponse),
    /// To AddPartitionsToTxn.
    AddPartitionsToTxn(AddPartitionsToTxnResponse),
    /// To AddOffsetsToTxn.
    AddOffsetsToTxn(AddOffsetsToTxnResponse),
    /// To TxnOffsetCommit.
    TxnOffsetCommit(TxnOffsetCommitResponse),
    /// To EndTxn.
    EndTxn(EndTxnResponse),
    /// To DescribeTransactions.
    DescribeTransactions(DescribeTransactionsResponse),
}

/// How a request that was sent came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// With a response.
    Response(ResponseBody),
    /// The connection ended first: the broker may have carried the request out.
    Disconnected,
    /// `request.timeout.ms` passed first: the broker may have carried the request out.
    TimedOut,
    /// No version in common: nothing was written (T-52).
    VersionMismatch,
    /// The response could not be decoded: the broker has carried the request out somehow.
    Undecodable,
}

/// Whether batches stand in the way of the end of the transaction (T-40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batches {
    /// Every batch of the accumulator has its outcome.
    AllComplete,
    /// Some batch is queued, in flight or waiting for a retry.
    SomeIncomplete,
}

/// What a request does for the manager, beside what travels.
#[derive(Debug)]
pub(crate) enum Work {
    Coordinator {
        of: CoordinatorType,
        key: String,
    },
    Identity(IdentityPurpose),
    Partitions(Vec<PartitionIndex>),
    AddOffsets(OffsetCommit),
    CommitOffsets {
        commit: OffsetCommit,
        flavour: Flavour,
    },
    End {
        decision: Decision,
        flavour: Flavour,
    },
    /// H03: an abort by a new identity, with which this producer ends.
    TakeOver,
    Describe(Doubt),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityPurpose {
    First,
    Bump,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Abort,
}

/// How long a repeated request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The retry backoff.
    Usual,
    /// T-74: the markers of the previous transaction are still being written, which takes a millisecond or a few.
    Markers,
}

/// The wait for the markers of the previous transaction starts here and doubles.
const MARKERS_PAUSE: Duration = Duration::from_millis(1);
/// The jitter's middle: the manager draws no random numbers.
const NO_JITTER: f64 = 0.5;

impl TransactionalRequest {
    /// What travels.
    pub fn body(&self) -> &RequestBody {
        &self.body
    }

    /// Which request it is.
    pub fn kind(&self) -> RequestKind {
        match self.body {
            RequestBody::FindCoordinator(_) => RequestKind::FindCoordinator,
            RequestBody::InitProducerId(_) => RequestKind::InitProducerId,
            RequestBody::AddPartitionsToTxn(_) => RequestKind::AddPartitionsToTxn,
            RequestBody::AddOffsetsToTxn(_) => RequestKind::AddOffsetsToTxn,
            RequestBody::TxnOffsetCommit(_) => RequestKind::TxnOffsetCommit,
            RequestBody::EndTxn(_) => RequestKind::EndTxn,
            RequestBody::DescribeTransactions(_) => RequestKind::DescribeTransactions,
        }
    }

    /// The coordinator that it goes to, or none when any node will do (S-29).
    pub fn coordinator(&self) -> Option<CoordinatorType> {
        match &self.body {
            RequestBody::FindCoordinator(_) => None,
            RequestBody::InitProducerId(request) => request
                .transactional_id
                .as_ref()
                .map(|_| CoordinatorType::Transaction),
            RequestBody::TxnOffsetCommit(_) => Some(CoordinatorType::Group),
            RequestBody::AddPartitionsToTxn(_)
            | RequestBody::AddOffsetsToTxn(_)
            | RequestBody::EndTxn(_)
            | RequestBody::DescribeTransactions(_) => Some(CoordinatorType::Transaction),
        }
    }

    /// The highest version that may be used, when it is lower than what this client speaks: keeps a V1 transaction V1 (T-31).
    pub fn max_version(&self) -> Option<i16> {
        match &self.work {
            Work::Partitions(_) => Some(3),
            Work::End {
                flavour: Flavour::V1, ..
            }
            | Work::CommitOffsets {
                flavour: Flavour::V1, ..
            } => Some(4),
            Work::End {
                flavour: Flavour::V2, ..
            }
            | Work::CommitOffsets {
                flavour: Flavour::V2, ..
            } => None,
            Work::Coordinator { .. }
            | Work::Identity(_)
            | Work::AddOffsets(_)
            | Work::TakeOver
            | Work::Describe(_) => None,
        }
    }

    /// The lowest version that can carry the request; with a lower one on the connection it is a version mismatch (T-45, T-79).
    pub fn min_version(&self) -> Option<i16> {
        match &self.work {
            Work::Coordinator {
                of: CoordinatorType::Transaction,
                ..
            } => Some(1),
            Work::Identity(IdentityPurpose::Bump) => Some(3),
            Work::CommitOffsets { commit, .. } if commit.group.names_a_member() => Some(3),
            Work::Coordinator { .. }
            | Work::Identity(IdentityPurpose::First)
            | Work::CommitOffsets { .. }
            | Work::Partitions(_)
            | Work::AddOffsets(_)
            | Work::End { .. }
            | Work::TakeOver
            | Work::Describe(_) => None,
        }
    }

    /// Whether it was tried before (T-48).
    pub fn is_retry(&self) -> bool {
        self.attempts > 0
    }

    /// How long to wait before this attempt; zero for the first one (S-33, T-74).
    pub fn retry_after(&self) -> Duration {
        let Some(failures) = self.attempts.checked_sub(1) else {
            return Duration::ZERO;
        };
        match self.pause {
            Pause::Usual => self.backoff.after(failures, NO_JITTER),
            Pause::Markers => Backoff {
                initial: MARKERS_PAUSE.min(self.backoff.max),
                max: self.backoff.max,
            }
            .after(failures, NO_JITTER),
        }
    }

    /// Who waits for this request alone; commit, abort and initialize wait at the manager.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        match &self.work {
            Work::AddOffsets(commit) | Work::CommitOffsets { commit, .. } => Some(commit.ticket),
            Work::Coordinator { .. }
            | Work::Identity(_)
            | Work::Partitions(_)
            | Work::End { .. }
            | Work::TakeOver
            | Work::Describe(_) => None,
        }
    }

    pub(crate) fn decision(&self) -> Option<Decision> {
        match &self.work {
            Work::End { decision, .. } => Some(*decision),
            Work::TakeOver => Some(Decision::Abort),
            _ => None,
        }
    }

    /// Whether a silence of the coordinator does not count as repetition: the request ends a transaction or stands behind its end, so
    /// that only an answer tells the truth, and an outage passes.
    pub(crate) fn outlasts_outages(&self) -> bool {
        match &self.work {
            Work::End { .. } | Work::TakeOver | Work::Identity(IdentityPurpose::Bump) | Work::Describe(_) => {
                true
            }
            Work::Partitions(_)
            | Work::AddOffsets(_)
            | Work::CommitOffsets { .. }
            | Work::Coordinator { .. }
            | Work::Identity(IdentityPurpose::First) => false,
        }
    }

    /// H17: whether it has been repeated for as long as a transaction may last, and is not to be repeated any more. A first identity
    /// is bounded by its caller, and a lookup by what waits for it.
    pub(crate) fn is_overdue(&self, now: Instant, bound: Duration) -> bool {
        let is_bounded = !matches!(
            self.work,
            Work::Coordinator { .. } | Work::Identity(IdentityPurpose::First)
        );
        is_bounded && self.first_taken.is_some_and(|taken| taken + bound <= now)
    }

    fn priority(&self) -> Priority {
        match &self.work {
            Work::Coordinator { .. } => Priority::Coordinator,
            Work::Identity(IdentityPurpose::First) => Priority::FirstIdentity,
            Work::Partitions(_) | Work::AddOffsets(_) | Work::CommitOffsets { .. } => Priority::Addition,
            Work::End { .. } | Work::TakeOver | Work::Describe(_) => Priority::End,
            Work::Identity(IdentityPurpose::Bump) => Priority::Bump,
        }
    }
}

/// The order of 2.6, first to last. R5: everything of a transaction goes before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    Coordinator,
    FirstIdentity,
    Addition,
    End,
    Bump,
}

/// Waiting requests by priority, and in order of arrival within one.
#[derive(Debug, Default)]
pub(crate) struct RequestQueue {
    waiting: VecDeque<TransactionalRequest>,
}

impl RequestQueue {
    pub(crate) fn push(&mut self, request: TransactionalRequest) {
        let priority = request.priority();
        let place = self.waiting.partition_point(|other| other.priority() <= priority);
        self.waiting.insert(place, request);
    }

    pub(crate) fn first(&self) -> Option<&TransactionalRequest> {
        self.waiting.front()
    }

    pub(crate) fn pop(&mut self) -> Option<TransactionalRequest> {
        self.waiting.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// D-11: a first identity that was refused before waits as if it were a repetition.
    pub(crate) fn delay_first_identity(&mut self, refusals: u32) {
        let first = self
            .waiting
            .iter_mut()
            .find(|request| matches!(request.work, Work::Identity(IdentityPurpose::First)));
        if let Some(request) = first {
            request.attempts = refusals;
        }
    }

    pub(crate) fn is_looking_for(&self, of: CoordinatorType, key: &str) -> bool {
        self.waiting.iter().any(
            |request| matches!(&request.work, Work::Coordinator { of: o, key: k } if *o == of && k == key),
        )
    }

    /// Takes out what does not satisfy `keep`.
    pub(crate) fn take_unless(
        &mut self,
        keep: impl Fn(&TransactionalRequest) -> bool,
    ) -> Vec<TransactionalRequest> {
        let (kept, taken): (VecDeque<_>, Vec<_>) =
            self.waiting
                .drain(..)
                .fold((VecDeque::new(), Vec::new()), |(mut kept, mut taken), request| {
                    if keep(&request) {
                        kept.push_back(request)
                    } else {
                        taken.push(request)
                    }
                    (kept, taken)
                });
        self.waiting = kept;
        taken
    }
}
