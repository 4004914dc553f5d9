//! `WriteTxnMarkers` (key 27): ending a transaction in its partitions, from broker to broker. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::{PartitionId, ProducerEpoch, ProducerId};

message! {
    /// The request `WriteTxnMarkers`.
    pub struct WriteTxnMarkersRequest {
        markers: Vec<WriteTxnMarkersRequestMarker>, 0..;
    }
}

message! {
    /// An element of `markers` in [`WriteTxnMarkersRequest`].
    pub struct WriteTxnMarkersRequestMarker {
        producer_id: ProducerId, 0.., default ProducerId(0);
        producer_epoch: ProducerEpoch, 0.., default ProducerEpoch(0);
        transaction_result: bool, 0..;
        topics: Vec<WriteTxnMarkersRequestTopic>, 0..;
        coordinator_epoch: i32, 0..;
        transaction_version: i8, 2..;
    }
}

message! {
    /// An element of `topics` in [`WriteTxnMarkersRequestMarker`].
    pub struct WriteTxnMarkersRequestTopic {
        name: String, 0..;
        partition_indexes: Vec<PartitionId>, 0..;
    }
}

message! {
    /// The response `WriteTxnMarkers`.
    pub struct WriteTxnMarkersResponse {
        markers: Vec<WriteTxnMarkersResponseMarker>, 0..;
    }
}

message! {
    /// An element of `markers` in [`WriteTxnMarkersResponse`].
    pub struct WriteTxnMarkersResponseMarker {
        producer_id: ProducerId, 0.., default ProducerId(0);
        topics: Vec<WriteTxnMarkersResponseTopic>, 0..;
    }
}

message! {
    /// An element of `topics` in [`WriteTxnMarkersResponseMarker`].
    pub struct WriteTxnMarkersResponseTopic {
        name: String, 0..;
        partitions: Vec<WriteTxnMarkersResponsePartition>, 0..;
    }
}

message! {
    /// An element of `partitions` in [`WriteTxnMarkersResponseTopic`].
    pub struct WriteTxnMarkersResponsePartition {
        partition_index: PartitionId, 0.., default PartitionId(0);
        error_code: ErrorCode, 0..;
    }
}
