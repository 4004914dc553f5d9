//! What one answer to a batch means: two pure tables, read next to the specification.
//!
//! [`produce_action`] says what to do with the batch (S-63 … S-68), [`proof_of`] what the answer proves about its records
//! (hazards, "what they prove"). Neither looks at anything but its arguments.

use kommit_protocol::error_code::ErrorCode;

/// What an answer proves about the attempt that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The records of this attempt are in the log.
    Applied,
    /// The records of this attempt are not, and will not be, in the log.
    NotApplied,
    /// They may be.
    Nothing,
}

/// What the answer `code` proves about one attempt. A code that is not listed proves nothing.
pub fn proof_of(code: ErrorCode) -> Proof {
    use ErrorCode as E;
    match code {
        E::None | E::DuplicateSequenceNumber => Proof::Applied,
        E::MessageTooLarge
        | E::RecordListTooLarge
        | E::InvalidRecord
        | E::CorruptMessage
        | E::InvalidTimestamp
        | E::UnsupportedCompressionType
        | E::TopicAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::InvalidRequiredAcks
        | E::NotEnoughReplicas
        | E::OutOfOrderSequenceNumber
        | E::InvalidProducerEpoch
        | E::InvalidTxnState
        | E::ConcurrentTransactions
        | E::UnknownTopicOrPartition
        | E::UnknownTopicId => Proof::NotApplied,
        _proves_nothing => Proof::Nothing,
    }
}

/// What is known of the batch besides the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Its records have their outcome already: it expired or was aborted while it was under way (S-69).
    OutcomeGiven,
    /// It is too large as a whole, has several records, and no attempt can have been written (S-63, H27).
    Splittable,
    /// It may be sent again (S-70).
    Retriable,
    /// It may not be sent again.
    LastAttempt,
}

/// What to do with a batch that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceAction {
    /// The broker has it, at the answer's base offset (S-67).
    Complete,
    /// The broker had it before; where is not known (S-65).
    CompleteWithoutOffset,
    /// Put it back into its queue in parts (S-63).
    Split,
    /// Put it back into its queue (S-64).
    Requeue,
    /// Tell its records (S-66, S-68).
    Fail,
    /// Its records were told before: only the memory is due (S-67, S-69).
    Release,
}

/// Rows in the order of the specification (S-63 … S-68).
pub fn produce_action(code: ErrorCode, situation: Situation) -> ProduceAction {
    match (code, situation) {
        (_, Situation::OutcomeGiven) => ProduceAction::Release,
        (ErrorCode::None, _) => ProduceAction::Complete,
        (ErrorCode::MessageTooLarge, Situation::Splittable) => ProduceAction::Split,
        (_, Situation::Retriable) => ProduceAction::Requeue,
        (ErrorCode::DuplicateSequenceNumber, _) => ProduceAction::CompleteWithoutOffset,
        (_any_other, Situation::LastAttempt | Situation::Splittable) => ProduceAction::Fail,
    }
}

#[cfg(test)]
#[path = "produce_tables_tests.rs"]
mod tables;

#[cfg(test)]
mod tests {
    use super::*;

    /// R1: only what the table lists proves that nothing was written; every other number proves nothing.
    #[test]
    fn an_unlisted_answer_proves_nothing() {
        assert_eq!(proof_of(ErrorCode::NotEnoughReplicas), Proof::NotApplied);
        for code in [
            ErrorCode::RequestTimedOut,
            ErrorCode::NotEnoughReplicasAfterAppend,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::KafkaStorageError,
            ErrorCode::NetworkException,
            ErrorCode::UnknownServerError,
            ErrorCode::Unknown(999),
        ] {
            assert_eq!(proof_of(code), Proof::Nothing, "{code:?}");
        }
    }

    /// S-65: an answer that the batch is there already is a success without an offset.
    #[test]
    fn a_duplicate_is_a_success_whose_offset_is_unknown() {
        let action = produce_action(ErrorCode::DuplicateSequenceNumber, Situation::LastAttempt);
        assert_eq!(action, ProduceAction::CompleteWithoutOffset);
        assert_eq!(proof_of(ErrorCode::DuplicateSequenceNumber), Proof::Applied);
    }

    /// S-69: a late answer changes nothing for records that were told before.
    #[test]
    fn a_late_answer_only_releases() {
        for number in -1..=133 {
            let action = produce_action(ErrorCode::from_code(number), Situation::OutcomeGiven);
            assert_eq!(action, ProduceAction::Release);
        }
    }

    /// S-63, S-68: only a batch that is too large, and can be cut, is sent in parts.
    #[test]
    fn only_what_is_too_large_is_split() {
        for number in (-1..=133).filter(|number| ![0, 46].contains(number)) {
            let code = ErrorCode::from_code(number);
            let action = produce_action(code, Situation::Splittable);
            let is_split = action == ProduceAction::Split;
            assert_eq!(
                is_split,
                code == ErrorCode::MessageTooLarge,
                "{code:?}: {action:?}"
            );
        }
    }

    /// S-64, S-66: every error of a batch is retried while it may be, and told afterwards.
    #[test]
    fn an_error_is_retried_or_told() {
        for number in (-1..=133).filter(|number| ![0, 46].contains(number)) {
            let code = ErrorCode::from_code(number);
            assert_eq!(produce_action(code, Situation::Retriable), ProduceAction::Requeue);
            assert_eq!(produce_action(code, Situation::LastAttempt), ProduceAction::Fail);
        }
    }
}
