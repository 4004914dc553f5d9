//! From settings to producers, and from a producer's errors to what a person reads.

use std::fmt::Display;

use kommit::{
    AbortError, BeginError, CommitError, ConnectError, DeadProducer, OffsetsError, ProducerConfig, SendError,
    TransactionError, TransactionFailed,
};
use kommit_protocol::error_code::ErrorCode;

use crate::failure::Failure;
use crate::properties::Properties;

const NEXT: &str =
    "look at the brokers' logs, then start again: a load goes on behind the last committed line";

/// The largest record that `max.request.size` allows, by Kafka's default.
pub(crate) const DEFAULT_MAX_REQUEST_SIZE: u64 = 1_048_576;

/// The settings as the façade checks them.
pub(crate) fn config(properties: &Properties) -> Result<ProducerConfig, Failure> {
    let builder = properties
        .pairs()
        .fold(ProducerConfig::builder(), |builder, (key, value)| {
            builder.set(key, value)
        });
    builder.build().map_err(|error| {
        Failure::usage(
            format!("the producer's settings are not valid: {error}"),
            "correct it where you gave it: --producer-property, --config, or the option of that name",
        )
    })
}

/// An error that may have a broker's code at its root.
pub(crate) trait Caused {
    /// The code that says what to do next, when a broker's answer is the cause.
    fn code(&self) -> Option<ErrorCode>;
}

impl Caused for TransactionError {
    fn code(&self) -> Option<ErrorCode> {
        TransactionError::code(self)
    }
}

impl Caused for DeadProducer {
    /// That another instance took over counts for more than the answer by which that showed.
    fn code(&self) -> Option<ErrorCode> {
        if self.is_fenced() {
            Some(ErrorCode::ProducerFenced)
        } else {
            self.error().code()
        }
    }
}

impl Caused for SendError {
    fn code(&self) -> Option<ErrorCode> {
        SendError::code(self)
    }
}

impl Caused for ConnectError {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(error) => error.code(),
            _ => None,
        }
    }
}

impl Caused for BeginError {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Dead(dead) => dead.code(),
            _ => None,
        }
    }
}

impl Caused for OffsetsError {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::MustAbort(error) => error.code(),
            Self::Dead(dead) => dead.code(),
            _ => None,
        }
    }
}

impl Caused for CommitError<'_> {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::MustAbort(must_abort) => must_abort.error().code(),
            Self::Dead(dead) => dead.code(),
            _ => None,
        }
    }
}

/// It names no code: what came before the commit had its own error.
impl Caused for TransactionFailed {
    fn code(&self) -> Option<ErrorCode> {
        None
    }
}

/// How an abort ended. One that is not finished goes on by itself, and the next begin waits for it.
pub(crate) fn aborted(outcome: Result<(), AbortError<'_>>) -> Result<(), Failure> {
    match outcome {
        Err(AbortError::Dead(dead)) => Err(told("aborting the transaction", &dead)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A producer's error for a person.
pub(crate) fn told(doing: &str, error: &(impl Caused + Display)) -> Failure {
    failure(doing, &error.to_string(), error.code())
}

/// The code decides what to do next and whether another instance has taken over.
fn failure(doing: &str, text: &str, code: Option<ErrorCode>) -> Failure {
    let what = format!("{doing}: {text}");
    match code {
        Some(ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch) => Failure::fenced(
            what,
            "leave the work to the instance that took over; if there is none, the transaction took longer than transaction.timeout.ms: start again",
        ),
        Some(code) => Failure::failed(what, next(code)),
        None => Failure::failed(what, NEXT),
    }
}

/// Whether another attempt with the same records is bound to end the same way.
pub(crate) fn is_lasting(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ProducerFenced
            | ErrorCode::TopicAuthorizationFailed
            | ErrorCode::GroupAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::InvalidTopicException
            | ErrorCode::InvalidRecord
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::OffsetMetadataTooLarge
            | ErrorCode::InvalidTransactionTimeout
            | ErrorCode::UnsupportedVersion
            | ErrorCode::UnsupportedForMessageFormat
    )
}

fn next(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidTransactionTimeout => {
            "set a smaller one with --producer-property transaction.timeout.ms=MS, or raise the brokers' transaction.max.timeout.ms"
        }
        ErrorCode::TransactionalIdAuthorizationFailed => {
            "give this user the rights Write and Describe on the transactional id (kafka-acls.sh --transactional-id), or use another id or user"
        }
        ErrorCode::TopicAuthorizationFailed => {
            "give this user the rights Write and Describe on the topic (kafka-acls.sh --topic), or use another user"
        }
        ErrorCode::GroupAuthorizationFailed => {
            "give this user the right Read on the group kommit-load.ID, where the cursor is kept (kafka-acls.sh --group), or use another user"
        }
        ErrorCode::ClusterAuthorizationFailed => {
            "give this user the right IdempotentWrite on the cluster (kafka-acls.sh --cluster)"
        }
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "raise the topic's max.message.bytes, or lower batch.size"
        }
        _ => NEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    /// T-103: both codes mean that somebody else has the newer epoch.
    #[test]
    fn a_fenced_producer_ends_with_its_own_exit_code() {
        for code in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch] {
            assert_eq!(
                failure("committing", "fenced", Some(code)).kind,
                FailureKind::Fenced
            );
        }
        assert_eq!(failure("committing", "lost", None).kind, FailureKind::Failed);
    }

    #[test]
    fn the_next_step_names_the_setting_or_the_right() {
        let next = |code| failure("starting", "refused", Some(code)).next;
        assert!(next(ErrorCode::InvalidTransactionTimeout).contains("transaction.timeout.ms"));
        assert!(next(ErrorCode::TransactionalIdAuthorizationFailed).contains("--transactional-id"));
        assert!(next(ErrorCode::TopicAuthorizationFailed).contains("--topic"));
        assert!(next(ErrorCode::GroupAuthorizationFailed).contains("--group"));
    }

    #[test]
    fn what_no_second_attempt_mends_is_lasting() {
        assert!(is_lasting(ErrorCode::TopicAuthorizationFailed));
        assert!(!is_lasting(ErrorCode::NotLeaderOrFollower));
        assert!(!is_lasting(ErrorCode::ConcurrentTransactions));
    }
}
