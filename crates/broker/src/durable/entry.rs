//! The kinds of entries, as tables of fields. They know their bytes, and nothing of where they come from.

use bytes::Bytes;
use kommit_protocol::units::{
    LeaderEpoch, NodeId, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};
use kommit_protocol::wire::{DecodeError, Field, Problem, Reader, Version, Writer};

/// Declares structures whose fields are written one behind the other.
macro_rules! stored {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        impl Field for $name {
            fn encode(&self, w: &mut Writer, version: Version) {
                $(self.$field.encode(w, version);)*
            }

            fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
                Ok(Self { $($field: r.take(stringify!($field), version)?,)* })
            }

            fn min_len(version: Version) -> usize {
                0 $(+ <$type as Field>::min_len(version))*
            }
        }
    )*};
}

stored! {
    /// The finalised features, and where the next topic id comes from.
    FeatureState {
        /// `transaction.version`.
        level: i16,
        epoch: i64,
        /// The generator's state: ids of deleted topics must not come again.
        random: i64,
    }

    /// A topic, without its records.
    TopicState {
        name: String,
        id: TopicId,
        settings: Vec<TopicSetting>,
        partitions: Vec<PartitionState>,
    }

    /// A setting of a topic under Kafka's name.
    TopicSetting {
        name: String,
        value: String,
    }

    /// A partition, without its records.
    PartitionState {
        replicas: Vec<NodeId>,
        leader_epoch: LeaderEpoch,
        log_start: Offset,
    }

    /// A batch as it stands in a log.
    StoredBatch {
        place: Place,
        bytes: Bytes,
    }

    /// A partition by name.
    Place {
        topic: String,
        partition: PartitionId,
    }

    /// What the transaction log says of a transactional id (B-58). An epoch or id of -1 is none.
    TransactionState {
        transactional_id: String,
        producer_id: ProducerId,
        previous_producer_id: ProducerId,
        next_producer_id: ProducerId,
        epoch: ProducerEpoch,
        timeout_ms: i32,
        /// The number of the state in Kafka's log.
        status: i8,
        partitions: Vec<Place>,
        started: Timestamp,
        last_update: Timestamp,
        client_transaction_version: i16,
    }

    /// An offset of a group, and where it stands in its shard's log.
    GroupOffset {
        group: String,
        place: Place,
        position: i64,
        offset: i64,
        leader_epoch: LeaderEpoch,
        metadata: String,
    }

    /// A producer as a shard of `__consumer_offsets` knows it, with the offsets that wait for its marker.
    OffsetsProducer {
        shard: i32,
        id: ProducerId,
        epoch: ProducerEpoch,
        /// -1 before the first marker.
        coordinator_epoch: i32,
        /// None while no transaction is open.
        open: Option<Vec<GroupOffset>>,
    }

    /// A group. Without an agreement it has no members: those of a rebalance join again.
    GroupState {
        group: String,
        generation: i32,
        protocol_type: String,
        agreement: Option<Vec<GroupAgreement>>,
    }

    /// What the members of a stable group agreed on, and who they are.
    GroupAgreement {
        protocol: String,
        leader: String,
        members: Vec<GroupMember>,
    }

    /// A member of a stable group.
    GroupMember {
        id: String,
        client_id: String,
        instance_id: Option<String>,
        session_timeout_ms: i64,
        rebalance_timeout_ms: i64,
        protocols: Vec<GroupProtocol>,
        assignment: Bytes,
    }

    /// A protocol that a member supports, and what it tells the leader.
    GroupProtocol {
        name: String,
        metadata: Bytes,
    }
}

impl From<&TopicPartition> for Place {
    fn from(partition: &TopicPartition) -> Self {
        Self {
            topic: partition.topic.to_string(),
            partition: partition.partition,
        }
    }
}

impl From<Place> for TopicPartition {
    fn from(place: Place) -> Self {
        Self::new(place.topic, place.partition.0)
    }
}

/// Declares the kinds of entries with their numbers.
macro_rules! entries {
    ($($(#[$doc:meta])* $number:literal $kind:ident($content:ty),)*) => {
        /// One thing that survives a restart.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Entry {
            $($(#[$doc])* $kind($content),)*
        }

        impl Field for Entry {
            fn encode(&self, w: &mut Writer, version: Version) {
                match self {
                    $(Self::$kind(content) => {
                        i8::encode(&$number, w, version);
                        content.encode(w, version);
                    })*
                }
            }

            fn decode(r: &mut Reader, version: Version) -> Result<Self, DecodeError> {
                match i8::decode(r, version)? {
                    $($number => r.take(stringify!($kind), version).map(Self::$kind),)*
                    unknown => Err(r.error(Problem::UnknownVersion(i16::from(unknown)))),
                }
            }

            fn min_len(_version: Version) -> usize {
                1
            }
        }
    };
}

entries! {
    /// See [`FeatureState`].
    0 Features(FeatureState),
    /// See [`TopicState`].
    1 Topic(TopicState),
    /// The topic of this name is deleted.
    2 TopicDeleted(String),
    /// See [`StoredBatch`].
    3 Batch(StoredBatch),
    /// The first producer id that no broker has (B-53).
    4 ProducerIds(i64),
    /// See [`TransactionState`].
    5 Transaction(TransactionState),
    /// The transactional id of this name is forgotten (B-105).
    6 TransactionForgotten(String),
    /// See [`GroupOffset`].
    7 GroupOffset(GroupOffset),
    /// See [`OffsetsProducer`].
    8 OffsetsProducer(OffsetsProducer),
    /// See [`GroupState`].
    9 Group(GroupState),
    /// How many members groups have seen: member ids must not come again.
    10 MembersSeen(i64),
}
