//! What a broker can answer: every error code of Kafka as a row of one table.
//!
//! A row gives the class that Annex A puts the code into. What a producer does about a code depends on the request as well and is
//! decided by the error tables of the crates above.

use std::fmt;

/// The group of errors that a code belongs to (Annex A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The same request may succeed later.
    Retriable,
    /// The same request may succeed after the coordinator has been looked up again; retriable as well.
    RefreshRetriable,
    /// The same request may succeed after the metadata has been refreshed; refresh-retriable as well.
    InvalidMetadata,
    /// The application has to restart what it was doing, usually with a new producer.
    ApplicationRecoverable,
    /// The request cannot succeed before somebody changes a configuration or a permission.
    InvalidConfiguration,
    /// The transaction cannot be committed any more.
    Abortable,
    /// None of the above.
    Other,
}

macro_rules! error_codes {
    ($($(#[$default:ident])? $variant:ident = $code:literal, $name:literal, $class:ident, $text:literal;)*) => {
        /// An error code as brokers send it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(
                #[doc = $text]
                $(#[$default])?
                $variant,
            )*
            /// A code that is newer than this crate.
            Unknown(i16),
        }

        impl ErrorCode {
            /// Every code that this crate knows, in the order of the numbers.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The error with this number.
            pub const fn from_code(code: i16) -> Self {
                match code {
                    $($code => ErrorCode::$variant,)*
                    unknown => ErrorCode::Unknown(unknown),
                }
            }

            /// The number as it travels.
            pub const fn code(self) -> i16 {
                match self {
                    $(ErrorCode::$variant => $code,)*
                    ErrorCode::Unknown(code) => code,
                }
            }

            /// Kafka's name of the code.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                    ErrorCode::Unknown(_) => "UNKNOWN_ERROR_CODE",
                }
            }

            /// A sentence that says what the code means.
            pub const fn text(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $text,)*
                    ErrorCode::Unknown(_) => "The broker sent an error code that this client does not know.",
                }
            }

            /// The group of errors that the code belongs to. Unknown codes count as an unknown server error.
            pub const fn class(self) -> ErrorClass {
                match self {
                    $(ErrorCode::$variant => ErrorClass::$class,)*
                    ErrorCode::Unknown(_) => ErrorClass::Other,
                }
            }
        }
    };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", Other, "The broker met an error that it has no code for.";
    #[default] None = 0, "NONE", Other, "There is no error.";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", Other, "The offset is outside of what the broker keeps.";
    CorruptMessage = 2, "CORRUPT_MESSAGE", Retriable, "The bytes arrived damaged: checksum, size or format is wrong.";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", InvalidMetadata, "The broker does not know this topic or partition.";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", Other, "The size to fetch is not valid.";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", InvalidMetadata, "The partition has no leader at the moment.";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", InvalidMetadata, "The broker neither leads nor follows this partition.";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", Retriable, "The broker could not finish the request within its time.";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", Other, "The broker is not available.";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", InvalidMetadata, "The replica is not available on this broker.";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", Other, "The batch is larger than the topic accepts.";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", Other, "The controller has moved to another broker.";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", Other, "The text beside the committed offset is too long.";
    NetworkException = 13, "NETWORK_EXCEPTION", InvalidMetadata, "The connection was lost before an answer came.";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", Retriable, "The coordinator is still loading its state.";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", RefreshRetriable, "There is no coordinator at the moment.";
    NotCoordinator = 16, "NOT_COORDINATOR", RefreshRetriable, "Another broker is the coordinator.";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", InvalidConfiguration, "The topic's name is not legal, or the topic is internal.";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", InvalidConfiguration, "The batch is larger than a log segment.";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", Retriable, "Fewer replicas are in sync than the topic demands; nothing was written.";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retriable, "The records were written, but to fewer replicas than the topic demands.";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", InvalidConfiguration, "The number of acknowledgements is none of -1, 0 and 1.";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", ApplicationRecoverable, "The group has moved on to another generation.";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", Other, "The member shares no protocol with the group.";
    InvalidGroupId = 24, "INVALID_GROUP_ID", Other, "The group id is not legal.";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", ApplicationRecoverable, "The group does not know this member.";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", Other, "The session time-out is outside of what the broker allows.";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", Other, "The group is being rebalanced.";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", Other, "The commit is too large to be stored.";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", InvalidConfiguration, "This user may not do this with the topic.";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", InvalidConfiguration, "This user may not do this with the group.";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", InvalidConfiguration, "This user may not do this with the cluster.";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", Other, "A record's timestamp is outside of what the topic accepts.";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", InvalidConfiguration, "The broker does not offer this SASL mechanism.";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", InvalidConfiguration, "The request does not fit the state of the authentication.";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", InvalidConfiguration, "The broker does not support this version of the request.";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", Other, "A topic of this name exists already.";
    InvalidPartitions = 37, "INVALID_PARTITIONS", Other, "The number of partitions is not valid.";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", Other, "The replication factor is below 1 or above the number of brokers.";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", Other, "The assignment of replicas is not valid.";
    InvalidConfig = 40, "INVALID_CONFIG", Other, "A configuration value is not valid.";
    NotController = 41, "NOT_CONTROLLER", Retriable, "Another broker is the controller.";
    InvalidRequest = 42, "INVALID_REQUEST", Other, "The broker can read the request, but it makes no sense.";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", InvalidConfiguration, "The topic's record format does not support the request.";
    PolicyViolation = 44, "POLICY_VIOLATION", Other, "The request breaks a policy of the cluster.";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Other, "The batch's sequence is not the one the broker expects next.";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", Other, "The broker has seen this sequence before.";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", ApplicationRecoverable, "The producer's epoch is older than the one the broker knows.";
    InvalidTxnState = 48, "INVALID_TXN_STATE", Other, "The transaction is in a state in which this is not allowed.";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", ApplicationRecoverable, "The producer id does not belong to this transactional id.";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", Other, "The transaction time-out is longer than the broker allows.";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", Retriable, "The previous transaction of this transactional id is still being completed.";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", Other, "The coordinator that sent this has been replaced.";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", InvalidConfiguration, "This user may not use this transactional id.";
    SecurityDisabled = 54, "SECURITY_DISABLED", Other, "The cluster has no security features configured.";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", Other, "The broker did not try this part, because another part of the request failed.";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", InvalidMetadata, "The broker could not read or write its disk.";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", Other, "The broker has no such log directory.";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", InvalidConfiguration, "The credentials were refused.";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", Other, "The broker remembers nothing of this producer id in this partition.";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", Other, "The partition's replicas are being moved.";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", Other, "Delegation tokens are switched off.";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", Other, "The delegation token does not exist on the server.";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", Other, "The user is neither owner nor renewer of the delegation token.";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", Other, "Delegation token requests are not allowed on this connection.";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", Other, "This user may not do this with delegation tokens.";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", Other, "The delegation token has expired.";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", Other, "This kind of principal is not supported.";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", Other, "The group still has members.";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", Other, "There is no such group.";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", Retriable, "The broker does not know this fetch session.";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", Retriable, "The fetch session is at another epoch.";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", InvalidMetadata, "The leader has no listener of the kind that was asked.";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", Other, "Topics cannot be deleted on this cluster.";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", InvalidMetadata, "The leader epoch is older than the broker's.";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", Retriable, "The leader epoch is newer than the broker's.";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", Other, "This version of the request does not support the compression.";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", Other, "The broker has restarted since.";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", Retriable, "The new leader does not know its high watermark yet.";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", Other, "The member has to join again with the id it was given.";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", InvalidMetadata, "The preferred leader is not available.";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", Other, "The group has as many members as it may have.";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", ApplicationRecoverable, "Another member has registered the same group instance id.";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", InvalidMetadata, "No replica that could lead is available.";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", InvalidMetadata, "The partition has the right leader already.";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", Other, "No replicas are being moved.";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", Other, "The group is still subscribed to the topic.";
    InvalidRecord = 87, "INVALID_RECORD", InvalidConfiguration, "A record failed the broker's checks.";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", Retriable, "Offsets of an open transaction are still to be decided.";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", Retriable, "A quota is used up for now.";
    ProducerFenced = 90, "PRODUCER_FENCED", ApplicationRecoverable, "Another producer with the same transactional id has taken over.";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", Other, "There is no such resource.";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", Other, "The request names a resource twice.";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", Other, "The credential does not meet the rules.";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", Other, "The sender's voters differ from the receiver's.";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", Other, "The update version is not valid.";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", Other, "The features could not be updated.";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", Other, "The principal of a forwarded request could not be read.";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", Other, "There is no such snapshot.";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", Other, "The position is outside of the snapshot.";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", InvalidMetadata, "The broker does not know this topic id.";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", Other, "The broker id is in use.";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", Other, "The broker id is not registered.";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", InvalidMetadata, "The topic id differs from the one in the log.";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", Other, "The cluster id differs from the receiver's.";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", Other, "There is no such transactional id.";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", Retriable, "The fetch session met topic ids that do not fit it.";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", Other, "The replica may not join the in-sync replicas.";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", Other, "The change made another replica the leader.";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", Other, "The offset lives in tiered storage.";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", Other, "The member's epoch was replaced by a newer one.";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", Other, "Another member still holds the group instance id.";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", Other, "The group does not support this assignor.";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", Other, "The member's epoch is out of date.";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", Other, "The request came to the wrong kind of endpoint.";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", Other, "This kind of endpoint is not known.";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", Other, "There is no such controller.";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", Other, "The telemetry subscription is not known.";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", Other, "The telemetry is larger than the broker accepts.";
    InvalidRegistration = 119, "INVALID_REGISTRATION", Other, "The registration of the broker is not valid.";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", Abortable, "The transaction met an error; it can only be aborted.";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", Other, "The record is in a state in which it cannot be acknowledged.";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", Retriable, "The broker does not know this share session.";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", Retriable, "The share session is at another epoch.";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", Other, "The share group's state epoch is out of date.";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", Other, "The voter key differs from the receiver's.";
    DuplicateVoter = 126, "DUPLICATE_VOTER", Other, "The voter is in the set already.";
    VoterNotFound = 127, "VOTER_NOT_FOUND", Other, "The voter is not in the set.";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", Other, "The regular expression is not valid.";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", Other, "The client has to start again from its bootstrap servers.";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", Other, "The streams topology is not valid.";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", Other, "The epoch of the streams topology is not valid.";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", Other, "The streams topology is out of date.";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", Retriable, "The broker holds as many share sessions as it may.";
}

impl ErrorCode {
    /// Whether this is an error at all.
    pub const fn is_error(self) -> bool {
        !matches!(self, ErrorCode::None)
    }

    /// Whether the same request may succeed later.
    pub const fn is_retriable(self) -> bool {
        matches!(self.class(), ErrorClass::Retriable) || self.is_refresh_retriable()
    }

    /// Whether the same request may succeed after the coordinator or the metadata has been looked up again.
    pub const fn is_refresh_retriable(self) -> bool {
        matches!(self.class(), ErrorClass::RefreshRetriable) || self.is_invalid_metadata()
    }

    /// Whether the same request may succeed after the metadata has been refreshed.
    pub const fn is_invalid_metadata(self) -> bool {
        matches!(self.class(), ErrorClass::InvalidMetadata)
    }

    /// `Ok` for no error, the error otherwise.
    pub const fn into_result(self) -> Result<(), ErrorCode> {
        match self {
            ErrorCode::None => Ok(()),
            error => Err(error),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_from_its_error() {
        for code in i16::MIN..=i16::MAX {
            assert_eq!(ErrorCode::from_code(code).code(), code);
        }
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert_eq!(ErrorCode::from_code(134), ErrorCode::Unknown(134));
    }

    /// Annex A: invalid-metadata errors are refresh-retriable, and those are retriable.
    #[test]
    fn the_retriable_classes_are_nested() {
        let questions = |code: ErrorCode| {
            (
                code.is_retriable(),
                code.is_refresh_retriable(),
                code.is_invalid_metadata(),
            )
        };
        assert_eq!(questions(ErrorCode::NotLeaderOrFollower), (true, true, true));
        assert_eq!(questions(ErrorCode::NotCoordinator), (true, true, false));
        assert_eq!(questions(ErrorCode::ConcurrentTransactions), (true, false, false));
        assert_eq!(questions(ErrorCode::ProducerFenced), (false, false, false));
        assert_eq!(questions(ErrorCode::Unknown(9999)), (false, false, false));
    }

    #[test]
    fn no_error_is_the_default() {
        assert_eq!(ErrorCode::default(), ErrorCode::None);
        assert!(ErrorCode::UnknownServerError.is_error());
        assert_eq!(ErrorCode::None.into_result(), Ok(()));
    }
}
