//! `Fetch` (key 1): reading batches from partitions. Field tables only.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::units::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId};

message! {
    /// The request `Fetch`.
    pub struct FetchRequest {
        cluster_id: Option<String>, 12.., null 12.., tag 0;
        replica_id: NodeId, 0..=14, default NodeId(-1);
        replica_state: FetchRequestReplicaState, 15.., tag 1;
        max_wait_ms: i32, 0..;
        min_bytes: i32, 0..;
        max_bytes: i32, 3.., default i32::MAX;
        isolation_level: i8, 4..;
        session_id: i32, 7..;
        session_epoch: i32, 7.., default -1;
        topics: Vec<FetchRequestTopic>, 0..;
        forgotten_topics_data: Vec<FetchRequestForgottenTopic>, 7..;
        rack_id: String, 11..;
    }
}

message! {
    /// The `replica_state` of a [`FetchRequest`].
    pub struct FetchRequestReplicaState {
        replica_id: NodeId, 15.., default NodeId(-1);
        replica_epoch: i64, 15.., default -1;
    }
}

message! {
    /// An element of `topics` in [`FetchRequest`].
    pub struct FetchRequestTopic {
        topic: String, 0..=12;
        topic_id: TopicId, 13..;
        partitions: Vec<FetchRequestPartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`FetchRequestTopic`].
    pub struct FetchRequestPartition {
        partition: PartitionId, 0.., default PartitionId(0);
        current_leader_epoch: LeaderEpoch, 9.., default LeaderEpoch(-1);
        fetch_offset: i64, 0..;
        last_fetched_epoch: LeaderEpoch, 12.., default LeaderEpoch(-1);
        log_start_offset: i64, 5.., default -1;
        partition_max_bytes: i32, 0..;
        replica_directory_id: [u8; 16], 17.., tag 0;
        high_watermark: i64, 18.., tag 1, default i64::MAX;
    }
}

message! {
    /// An element of `forgotten_topics_data` in [`FetchRequest`].
    pub struct FetchRequestForgottenTopic {
        topic: String, 7..=12;
        topic_id: TopicId, 13..;
        partitions: Vec<PartitionId>, 7..;
    }
}

message! {
    /// The response `Fetch`.
    pub struct FetchResponse {
        throttle_time_ms: i32, 1..;
        error_code: ErrorCode, 7..;
        session_id: i32, 7..;
        responses: Vec<FetchResponseTopic>, 0..;
        node_endpoints: Vec<FetchResponseNodeEndpoint>, 16.., tag 0;
    }
}

message! {
    /// An element of `responses` in [`FetchResponse`].
    pub struct FetchResponseTopic {
        topic: String, 0..=12;
        topic_id: TopicId, 13..;
        partitions: Vec<FetchResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`FetchResponseTopic`].
    pub struct FetchResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
        high_watermark: i64, 0..;
        last_stable_offset: i64, 4.., default -1;
        log_start_offset: i64, 5.., default -1;
        diverging_epoch: FetchResponseEpochEndOffset, 12.., tag 0;
        current_leader: FetchResponseCurrentLeader, 12.., tag 1;
        snapshot_id: FetchResponseSnapshotId, 12.., tag 2;
        aborted_transactions: Option<Vec<FetchResponseAbortedTransaction>>, 4.., null 4.., default Some(Vec::new());
        preferred_read_replica: NodeId, 11.., default NodeId(-1);
        records: Option<Bytes>, 0.., null 0..;
    }
}

message! {
    /// The `diverging_epoch` of a [`FetchResponsePartition`].
    pub struct FetchResponseEpochEndOffset {
        epoch: LeaderEpoch, 12.., default LeaderEpoch(-1);
        end_offset: i64, 12.., default -1;
    }
}

message! {
    /// The `current_leader` of a [`FetchResponsePartition`].
    pub struct FetchResponseCurrentLeader {
        leader_id: NodeId, 12.., default NodeId(-1);
        leader_epoch: LeaderEpoch, 12.., default LeaderEpoch(-1);
    }
}

message! {
    /// The `snapshot_id` of a [`FetchResponsePartition`].
    pub struct FetchResponseSnapshotId {
        end_offset: i64, 0.., default -1;
        epoch: LeaderEpoch, 0.., default LeaderEpoch(-1);
    }
}

message! {
    /// An element of `aborted_transactions` in [`FetchResponsePartition`].
    pub struct FetchResponseAbortedTransaction {
        producer_id: ProducerId, 4.., default ProducerId(0);
        first_offset: i64, 4..;
    }
}

message! {
    /// An element of `node_endpoints` in [`FetchResponse`].
    pub struct FetchResponseNodeEndpoint {
        node_id: NodeId, 16.., default NodeId(0);
        host: String, 16..;
        port: i32, 16..;
        rack: Option<String>, 16.., null 16..;
    }
}
