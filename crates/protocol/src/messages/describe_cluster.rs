//! `DescribeCluster` (key 60): which brokers the cluster has. Field tables only.

use crate::error_code::ErrorCode;
use crate::units::NodeId;

message! {
    /// The request `DescribeCluster`.
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool, 0..;
        endpoint_type: i8, 1.., default 1;
        include_fenced_brokers: bool, 2..;
    }
}

message! {
    /// The response `DescribeCluster`.
    pub struct DescribeClusterResponse {
        throttle_time_ms: i32, 0..;
        error_code: ErrorCode, 0..;
        error_message: Option<String>, 0.., null 0..;
        endpoint_type: i8, 1.., default 1;
        cluster_id: String, 0..;
        controller_id: NodeId, 0.., default NodeId(-1);
        brokers: Vec<DescribeClusterResponseBroker>, 0..;
        cluster_authorized_operations: i32, 0.., default i32::MIN;
    }
}

message! {
    /// An element of `brokers` in [`DescribeClusterResponse`].
    pub struct DescribeClusterResponseBroker {
        broker_id: NodeId, 0.., default NodeId(0);
        host: String, 0..;
        port: i32, 0..;
        rack: Option<String>, 0.., null 0..;
        is_fenced: bool, 2..;
    }
}
