//! Every request and response as a table of fields: one file per API, a row per field.
//!
//! A row reads `name: type, versions` and then what is special: `null` and the versions that allow null, `tag` and the number of
//! a tagged field (KIP-482), `default` where Kafka's default is not the type's. A field is skipped in versions that do not have
//! it, and reads as its default there. Names are those of Kafka's schemas; so is the order, which is the order on the wire.
//! The tables say nothing about what a field means to anybody.

#[macro_use]
mod table;

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_producers;
mod describe_transactions;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod produce;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod txn_offset_commit;
mod write_txn_markers;

pub use add_offsets_to_txn::*;
pub use add_partitions_to_txn::*;
pub use api_versions::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_groups::*;
pub use describe_producers::*;
pub use describe_transactions::*;
pub use end_txn::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use heartbeat::*;
pub use init_producer_id::*;
pub use join_group::*;
pub use leave_group::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use list_transactions::*;
pub use metadata::*;
pub use offset_commit::*;
pub use offset_fetch::*;
pub use produce::*;
pub use sasl_authenticate::*;
pub use sasl_handshake::*;
pub use sync_group::*;
pub use txn_offset_commit::*;
pub use write_txn_markers::*;

use crate::api::{ApiKey, Request, Response};

/// The requests with their responses. Calls another macro with the list, so that a test can walk over all of them.
macro_rules! with_exchanges {
    ($then:ident) => {
        $then! {
            Produce: ProduceRequest => ProduceResponse;
            Fetch: FetchRequest => FetchResponse;
            ListOffsets: ListOffsetsRequest => ListOffsetsResponse;
            Metadata: MetadataRequest => MetadataResponse;
            OffsetCommit: OffsetCommitRequest => OffsetCommitResponse;
            OffsetFetch: OffsetFetchRequest => OffsetFetchResponse;
            FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse;
            JoinGroup: JoinGroupRequest => JoinGroupResponse;
            Heartbeat: HeartbeatRequest => HeartbeatResponse;
            LeaveGroup: LeaveGroupRequest => LeaveGroupResponse;
            SyncGroup: SyncGroupRequest => SyncGroupResponse;
            DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse;
            ListGroups: ListGroupsRequest => ListGroupsResponse;
            SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse;
            ApiVersions: ApiVersionsRequest => ApiVersionsResponse;
            CreateTopics: CreateTopicsRequest => CreateTopicsResponse;
            DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse;
            DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse;
            InitProducerId: InitProducerIdRequest => InitProducerIdResponse;
            AddPartitionsToTxn: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse;
            AddOffsetsToTxn: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse;
            EndTxn: EndTxnRequest => EndTxnResponse;
            WriteTxnMarkers: WriteTxnMarkersRequest => WriteTxnMarkersResponse;
            TxnOffsetCommit: TxnOffsetCommitRequest => TxnOffsetCommitResponse;
            DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse;
            SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse;
            CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse;
            DescribeCluster: DescribeClusterRequest => DescribeClusterResponse;
            DescribeProducers: DescribeProducersRequest => DescribeProducersResponse;
            DescribeTransactions: DescribeTransactionsRequest => DescribeTransactionsResponse;
            ListTransactions: ListTransactionsRequest => ListTransactionsResponse;
        }
    };
}

macro_rules! implement_exchanges {
    ($($key:ident: $request:ident => $response:ident;)*) => {$(
        impl Request for $request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = $response;
        }

        impl Response for $response {}
    )*};
}

with_exchanges!(implement_exchanges);

#[cfg(test)]
mod differential;
#[cfg(test)]
mod hostile;
