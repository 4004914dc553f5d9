//! Why a call was refused, a transaction can only be aborted, or a producer is of no more use.
//!
//! Each text names the transactional id, the request and the broker's error code, and says what to do next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;

/// What a broker refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The producer's transactional id; none when idempotent-only.
    pub transactional_id: Option<Arc<str>>,
    /// The request that was answered with the code, by Kafka's name.
    pub request: &'static str,
    /// The error code.
    pub code: ErrorCode,
    /// What it is about, when it is about one thing: a group, topics, a partition.
    pub subject: Option<Arc<str>>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transactional_id {
            Some(id) => write!(f, "producer with transactional.id \"{id}\": ")?,
            None => f.write_str("idempotent producer: ")?,
        }
        write!(f, "{} was answered with {}", self.request, Named(self.code))?;
        match &self.subject {
            Some(subject) => write!(f, " for {subject}"),
            None => Ok(()),
        }
    }
}

/// A code by name, and by number when it is newer than this crate.
struct Named(ErrorCode);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ErrorCode::Unknown(code) => write!(f, "unknown error code {code}"),
            known => f.write_str(known.name()),
        }
    }
}

/// An error of the identity or of the transaction. Cheap to clone: it is told to everybody who waits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// PRODUCER_FENCED, or INVALID_PRODUCER_EPOCH from a coordinator. Fatal.
    #[error(
        "{0}. Either another instance with the same transactional.id took over, or the coordinator aborted the transaction \
         after transaction.timeout.ms. Close this producer; if no other instance is meant to run, build a new one"
    )]
    ProducerFenced(Rejection),
    /// The same, answered when the epoch was to be renewed behind a transaction (R6, H05). Fatal; that transaction ended as it was told.
    #[error(
        "{0}, which was to renew the epoch behind the last transaction; that one ended as was told. Either another instance with the          same transactional.id took over, or a request of that transaction that had gone unanswered came late and opened another one,          which the coordinator then aborted. Close this producer; if no other instance is meant to run, build a new one"
    )]
    FencedAtRenewal(Rejection),
    /// INVALID_TXN_STATE answered to an end: there is nothing to end (H18). Fatal.
    #[error(
        "{0}: there is nothing to end. Either the coordinator aborted the transaction after transaction.timeout.ms, or another \
         instance with the same transactional.id ended it. Close this producer; if no other instance is meant to run, build a new one"
    )]
    NothingToEnd(Rejection),
    /// INVALID_PRODUCER_EPOCH answered to a batch: abort; the abort finds out whether this producer is fenced (T-103).
    #[error(
        "{0}. Another instance took over, or the coordinator aborted the transaction after transaction.timeout.ms. Abort the \
         transaction; the abort tells whether this producer can go on"
    )]
    InvalidProducerEpoch(Rejection),
    /// This principal may not use this transactional id, or may not write idempotently. Fatal, or repairable while initializing.
    #[error("{0}. Grant the principal the permission, then initialize again or build a new producer")]
    Unauthorized(Rejection),
    /// This principal may not use a group or a topic. Abortable.
    #[error("{0}. Abort the transaction and grant the principal access")]
    AccessDenied(Rejection),
    /// The consumer that the offsets belong to is no longer a member of its group in this generation. Abortable.
    #[error(
        "{0}. Abort the transaction, let the consumer join again and repeat the work from its committed offsets"
    )]
    CommitFailed(Rejection),
    /// The broker demands an abort, or refused a request in a way that only an abort repairs. Abortable.
    #[error("{0}. Abort the transaction and repeat it")]
    MustAbort(Rejection),
    /// Records of the transaction failed, so that it cannot be committed (R12). Abortable.
    #[error(
        "the transaction of \"{transactional_id}\" cannot be committed, because {reason}. Abort the transaction and repeat it"
    )]
    RecordsFailed {
        /// The producer's transactional id.
        transactional_id: Arc<str>,
        /// What happened to the records.
        reason: Arc<str>,
        /// The broker's code, when a broker refused them.
        code: Option<ErrorCode>,
    },
    /// Acknowledgements were lost, and the next sequence of a partition is not known (T-90). Abortable when an epoch can be had.
    #[error(
        "{who}: the fate of records sent to {partition} is not known, so the next sequence is not known either. {advice}",
        advice = if *.abortable { "It is safe to abort the transaction and continue" }
                 else { "The coordinator cannot bump the epoch, so it is not safe to continue: close this producer" }
    )]
    LostAcknowledgements {
        /// The producer, for the text.
        who: Arc<str>,
        /// The partition, for the text.
        partition: Arc<str>,
        /// Whether an abort repairs it.
        abortable: bool,
    },
    /// A request was repeated for as long as a transaction may last (H17). Abortable, or fatal when it was to end the transaction.
    #[error(
        "{who}: {request} did not succeed within transaction.timeout.ms = {} ms{reason}. Abort the transaction, or build a new \
         producer when this one has failed", .bound.as_millis(), reason = last_refusal(*.code)
    )]
    RetriesExhausted {
        /// The producer, for the text.
        who: Arc<str>,
        /// The request, by Kafka's name.
        request: &'static str,
        /// What the last attempt was answered with, if it was answered.
        code: Option<ErrorCode>,
        /// How long it was repeated.
        bound: Duration,
    },
    /// No version of a request that both sides speak can carry what it must. Fatal.
    #[error(
        "{who}: the broker offers no version of {request} that this producer can use. Upgrade the broker or use another feature set"
    )]
    UnsupportedVersion {
        /// The producer, for the text.
        who: Arc<str>,
        /// The request, by Kafka's name.
        request: &'static str,
    },
    /// Any other refusal. Fatal.
    #[error("{0}. Close this producer and build a new one")]
    Refused(Rejection),
    /// A broker's answer that breaks the protocol, or that of another cluster (H30). Fatal.
    #[error("{who}: {what}. Close this producer and build a new one")]
    BrokenAnswer {
        /// The producer, for the text.
        who: Arc<str>,
        /// What was wrong.
        what: Arc<str>,
    },
    /// A commit may or may not have been carried out, and the coordinator, asked what became of it, did not tell (R8). Fatal.
    #[error(
        "{cause}. Whether the transaction was committed is not known: the coordinator was asked, and {reason}"
    )]
    Undecided {
        /// Why the commit could not be repeated any more.
        cause: Arc<TransactionError>,
        /// What the coordinator said.
        reason: Arc<str>,
    },
    /// A transaction was aborted by a new identity, because a batch of it may arrive behind the abort (H03). Fatal.
    #[error(
        "{who}: the transaction is aborted. A record of it may still be on its way, and brokers that do not verify partitions would take \
         it, so the transactional.id got a new epoch, with which this producer ends. Build a new one. If all brokers run Kafka 3.6 or \
         newer with transaction.partition.verification.enable, set brokers_verify_partitions = true"
    )]
    TakenOver {
        /// The producer, for the text.
        who: Arc<str>,
    },
    /// The connection to the coordinator could not be authenticated. Fatal.
    #[error("{who}: authentication failed: {reason}. Correct the credentials and build a new producer")]
    AuthenticationFailed {
        /// The producer, for the text.
        who: Arc<str>,
        /// What the connection reported.
        reason: Arc<str>,
    },
    /// Something happened in a state in which it cannot happen (T-11). Fatal; a defect of the producer.
    #[error("{0}. Close this producer")]
    IllegalState(Arc<str>),
    /// The producer was closed forcefully (T-58).
    #[error("{who}: closed forcefully")]
    Closed {
        /// The producer, for the text.
        who: Arc<str>,
    },
}

fn last_refusal(code: Option<ErrorCode>) -> String {
    match code {
        Some(code) => format!(", and was answered with {} at last", Named(code)),
        None => ", and was not answered at last".to_owned(),
    }
}

impl TransactionError {
    /// The broker's error code, when a broker's answer is the cause.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::ProducerFenced(rejection)
            | Self::FencedAtRenewal(rejection)
            | Self::NothingToEnd(rejection)
            | Self::InvalidProducerEpoch(rejection)
            | Self::Unauthorized(rejection)
            | Self::AccessDenied(rejection)
            | Self::CommitFailed(rejection)
            | Self::MustAbort(rejection)
            | Self::Refused(rejection) => Some(rejection.code),
            Self::RecordsFailed { code, .. } | Self::RetriesExhausted { code, .. } => *code,
            Self::Undecided { cause, .. } => cause.code(),
            Self::UnsupportedVersion { .. } => Some(ErrorCode::UnsupportedVersion),
            Self::LostAcknowledgements { .. }
            | Self::BrokenAnswer { .. }
            | Self::AuthenticationFailed { .. }
            | Self::IllegalState(_)
            | Self::TakenOver { .. }
            | Self::Closed { .. } => None,
        }
    }

    /// What it began with: itself, unless the coordinator was asked afterwards about a commit in doubt.
    pub fn origin(&self) -> &TransactionError {
        match self {
            Self::Undecided { cause, .. } => cause.origin(),
            itself => itself,
        }
    }

    /// The same answer of a broker, now that the epoch is known to be a newer one than this producer's.
    pub(crate) fn behind_a_newer_epoch(self) -> Self {
        match self {
            Self::Refused(rejection) => Self::ProducerFenced(rejection),
            other => other,
        }
    }

    /// Whether the whole producer lacks a permission: the errors that S-24 recovers from while initializing.
    pub fn is_authorization(&self) -> bool {
        matches!(self, Self::Unauthorized(_))
    }
}

/// Why a command was refused. Nothing has changed (T-10).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The call does not fit the state: a mistake of the caller.
    #[error("{0}")]
    IllegalState(Arc<str>),
    /// An earlier error stands in the way (T-18).
    #[error("{0}")]
    Failed(#[from] TransactionError),
}
