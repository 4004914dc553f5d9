//! The requests that this broker serves and the answers that it gives, each as one enum, so that rules can look at them.

use bytes::Bytes;
use kommit_protocol::api::{ApiKey, VersionRange};
use kommit_protocol::frame;
use kommit_protocol::messages::*;
use kommit_protocol::wire::{DecodeError, Field, Reader};

/// Some answers have no room for a throttle time.
macro_rules! throttle {
    ($response:ident, $millis:ident) => {
        $response.throttle_time_ms = $millis
    };
    ($response:ident, $millis:ident, untold) => {{
        let _ = $response;
    }};
}

macro_rules! served {
    ($($api:ident($request:ident, $response:ident) $min:literal..=$max:literal $(, $untold:ident)?;)*) => {
        /// A request as it was decoded.
        #[derive(Clone, Debug, PartialEq)]
        pub enum RequestMessage {
            $(#[doc = concat!("`", stringify!($api), "`.")] $api($request),)*
        }

        /// An answer before it is encoded.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ResponseMessage {
            $(#[doc = concat!("`", stringify!($api), "`.")] $api($response),)*
        }

        /// The APIs that this broker serves, with the version ranges of Kafka 4.3 (B-8).
        pub(crate) const SERVED: &[(ApiKey, VersionRange)] =
            &[$((ApiKey::$api, VersionRange::new($min, $max)),)*];

        impl RequestMessage {
            /// Reads the body of a request. Bytes behind it are tolerated (B-12).
            pub(crate) fn decode(key: ApiKey, body: &mut Reader, version: i16) -> Result<Option<Self>, DecodeError> {
                let layout = key.version(version);
                Ok(match key {
                    $(ApiKey::$api => Some(Self::$api($request::decode(body, layout)?)),)*
                    _ => None,
                })
            }

            /// Which API.
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Self::$api(_) => ApiKey::$api,)*
                }
            }
        }

        #[cfg(test)]
        impl ResponseMessage {
            /// An answer of each kind, with the versions in which it is given.
            fn each() -> Vec<(ApiKey, Self, VersionRange)> {
                vec![$((ApiKey::$api, Self::$api($response::default()), VersionRange::new($min, $max)),)*]
            }
        }

        impl ResponseMessage {
            /// Says how long the connection is not served (B-14).
            pub(crate) fn set_throttle_time_ms(&mut self, millis: i32) {
                match self {
                    $(Self::$api(response) => throttle!(response, millis $(, $untold)?),)*
                }
            }

            /// The whole frame, length prefix included.
            pub(crate) fn encode(&self, version: i16, correlation_id: i32) -> Bytes {
                match self {
                    $(Self::$api(response) => frame::encode_response(ApiKey::$api, version, correlation_id, response),)*
                }
            }
        }
    };
}

served! {
    Produce(ProduceRequest, ProduceResponse) 3..=13;
    Fetch(FetchRequest, FetchResponse) 4..=18;
    ListOffsets(ListOffsetsRequest, ListOffsetsResponse) 1..=11;
    Metadata(MetadataRequest, MetadataResponse) 0..=13;
    OffsetCommit(OffsetCommitRequest, OffsetCommitResponse) 2..=10;
    OffsetFetch(OffsetFetchRequest, OffsetFetchResponse) 1..=10;
    FindCoordinator(FindCoordinatorRequest, FindCoordinatorResponse) 0..=6;
    JoinGroup(JoinGroupRequest, JoinGroupResponse) 0..=9;
    Heartbeat(HeartbeatRequest, HeartbeatResponse) 0..=4;
    LeaveGroup(LeaveGroupRequest, LeaveGroupResponse) 0..=5;
    SyncGroup(SyncGroupRequest, SyncGroupResponse) 0..=5;
    DescribeGroups(DescribeGroupsRequest, DescribeGroupsResponse) 0..=6;
    ListGroups(ListGroupsRequest, ListGroupsResponse) 0..=5;
    SaslHandshake(SaslHandshakeRequest, SaslHandshakeResponse) 0..=1, untold;
    ApiVersions(ApiVersionsRequest, ApiVersionsResponse) 0..=4;
    CreateTopics(CreateTopicsRequest, CreateTopicsResponse) 2..=7;
    DeleteTopics(DeleteTopicsRequest, DeleteTopicsResponse) 1..=6;
    DeleteRecords(DeleteRecordsRequest, DeleteRecordsResponse) 0..=2;
    InitProducerId(InitProducerIdRequest, InitProducerIdResponse) 0..=5;
    AddPartitionsToTxn(AddPartitionsToTxnRequest, AddPartitionsToTxnResponse) 0..=5;
    AddOffsetsToTxn(AddOffsetsToTxnRequest, AddOffsetsToTxnResponse) 0..=4;
    EndTxn(EndTxnRequest, EndTxnResponse) 0..=5;
    TxnOffsetCommit(TxnOffsetCommitRequest, TxnOffsetCommitResponse) 0..=5;
    DescribeConfigs(DescribeConfigsRequest, DescribeConfigsResponse) 1..=4;
    SaslAuthenticate(SaslAuthenticateRequest, SaslAuthenticateResponse) 0..=2, untold;
    CreatePartitions(CreatePartitionsRequest, CreatePartitionsResponse) 0..=3;
    DescribeCluster(DescribeClusterRequest, DescribeClusterResponse) 0..=2;
    DescribeProducers(DescribeProducersRequest, DescribeProducersResponse) 0..=0;
    DescribeTransactions(DescribeTransactionsRequest, DescribeTransactionsResponse) 0..=0;
    ListTransactions(ListTransactionsRequest, ListTransactionsResponse) 0..=2;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first version of each answer with a throttle time, as the protocol's documentation has it.
    const FIRST_TELLING: &[(ApiKey, i16)] = &[
        (ApiKey::ListOffsets, 2),
        (ApiKey::Metadata, 3),
        (ApiKey::OffsetCommit, 3),
        (ApiKey::OffsetFetch, 3),
        (ApiKey::FindCoordinator, 1),
        (ApiKey::JoinGroup, 2),
        (ApiKey::Heartbeat, 1),
        (ApiKey::LeaveGroup, 1),
        (ApiKey::SyncGroup, 1),
        (ApiKey::DescribeGroups, 1),
        (ApiKey::ListGroups, 1),
        (ApiKey::ApiVersions, 1),
    ];

    /// B-14: every answer in every version tells the throttle time, unless it has no room for it.
    #[test]
    fn every_answer_with_room_for_a_throttle_time_tells_it() {
        for (api, response, served) in ResponseMessage::each() {
            let mut told = response.clone();
            told.set_throttle_time_ms(200);
            let first = FIRST_TELLING.iter().find(|(key, _)| *key == api);
            let first = first.map_or(served.min, |(_, version)| *version);
            let never = matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
            for version in served.min..=served.max {
                let differs = told.encode(version, 0) != response.encode(version, 0);
                assert_eq!(differs, !never && version >= first, "{api} v{version}");
            }
        }
    }
}
