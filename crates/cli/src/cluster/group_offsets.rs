//! The committed offset of a consumer group, as a transaction left it.

use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, OffsetFetchRequest, OffsetFetchRequestTopic,
    OffsetFetchResponse,
};
use kommit_protocol::units::{NodeId, PartitionId};

use super::patience::Patience;
use super::{CallTrouble, Cluster, refused};
use crate::failure::Failure;

/// The last version with one key per request.
const FIND_COORDINATOR_VERSION: i16 = 3;
/// The only version that both knows `require_stable` and names one group per request.
const OFFSET_FETCH_VERSION: i16 = 7;
const GROUP_KEY: i8 = 0;
/// Longer than the longest transaction that a broker allows by itself to stay open after its producer was fenced: markers are written at once,
/// but a coordinator that moves needs to load its log first.
const STABLE_LIMIT: Duration = Duration::from_secs(60);

/// An offset with the metadata that was committed with it.
pub(crate) type CommittedOffset = (i64, String);

impl Cluster {
    /// The offset that `group` has committed for a partition, or `None`. Waits until no transaction is open over it (R13, H23): an offset whose markers
    /// are still being written would be an old one.
    pub(crate) async fn stable_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: PartitionId,
    ) -> Result<Option<CommittedOffset>, Failure> {
        let asked = format!("reading the committed offset of the group {group}");
        let patience = Patience::of(STABLE_LIMIT);
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: topic.to_owned(),
                partition_indexes: vec![partition],
                ..OffsetFetchRequestTopic::default()
            }]),
            require_stable: true,
            ..OffsetFetchRequest::default()
        };
        loop {
            let coordinator = self.group_coordinator(group, &patience).await?;
            let reason = match self.call(coordinator, &request, OFFSET_FETCH_VERSION).await {
                Ok(response) => match committed(&response) {
                    Ok(offset) => return Ok(offset),
                    Err(code) if may_pass(code) => code.to_string(),
                    Err(code) => return Err(refused(&asked, code)),
                },
                Err(CallTrouble::Passing(reason)) => reason,
                Err(CallTrouble::Lasting(failure)) => return Err(failure),
            };
            patience.pause(&asked, &reason).await?;
        }
    }

    async fn group_coordinator(&mut self, group: &str, patience: &Patience) -> Result<NodeId, Failure> {
        let asked = format!("finding the coordinator of the group {group}");
        let request = FindCoordinatorRequest {
            key: group.to_owned(),
            key_type: GROUP_KEY,
            ..FindCoordinatorRequest::default()
        };
        loop {
            let FindCoordinatorResponse {
                error_code,
                node_id,
                host,
                port,
                ..
            } = self.call_any(&request, FIND_COORDINATOR_VERSION).await?;
            match error_code {
                ErrorCode::None => {
                    self.learn(node_id, &host, port);
                    return Ok(node_id);
                }
                code if may_pass(code) => patience.pause(&asked, code.name()).await?,
                code => return Err(refused(&asked, code)),
            }
        }
    }
}

/// The one offset that was asked for; the wire's -1 is "none".
fn committed(response: &OffsetFetchResponse) -> Result<Option<CommittedOffset>, ErrorCode> {
    if response.error_code != ErrorCode::None {
        return Err(response.error_code);
    }
    let Some(partition) = response.topics.iter().flat_map(|topic| &topic.partitions).next() else {
        return Ok(None);
    };
    match partition.error_code {
        // No offset was ever committed for a topic that the group's coordinator does not know.
        ErrorCode::None | ErrorCode::UnknownTopicOrPartition => {}
        code => return Err(code),
    }
    let metadata = partition.metadata.clone().unwrap_or_default();
    Ok((partition.committed_offset >= 0).then_some((partition.committed_offset, metadata)))
}

fn may_pass(code: ErrorCode) -> bool {
    code == ErrorCode::UnstableOffsetCommit || code.is_retriable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kommit_protocol::messages::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};

    fn response(committed_offset: i64, error_code: ErrorCode) -> OffsetFetchResponse {
        let partition = OffsetFetchResponsePartition {
            committed_offset,
            metadata: Some("m".to_owned()),
            error_code,
            ..OffsetFetchResponsePartition::default()
        };
        let topic = OffsetFetchResponseTopic {
            partitions: vec![partition],
            ..OffsetFetchResponseTopic::default()
        };
        OffsetFetchResponse {
            topics: vec![topic],
            ..OffsetFetchResponse::default()
        }
    }

    #[test]
    fn a_group_that_never_committed_has_no_offset() {
        assert_eq!(committed(&response(-1, ErrorCode::None)), Ok(None));
        assert_eq!(committed(&OffsetFetchResponse::default()), Ok(None));
        assert_eq!(
            committed(&response(0, ErrorCode::None)),
            Ok(Some((0, "m".to_owned())))
        );
    }

    /// H23: an offset under an open transaction is not taken.
    #[test]
    fn an_unstable_offset_is_asked_for_again() {
        assert_eq!(
            committed(&response(7, ErrorCode::UnstableOffsetCommit)),
            Err(ErrorCode::UnstableOffsetCommit)
        );
        assert!(may_pass(ErrorCode::UnstableOffsetCommit));
        assert!(!may_pass(ErrorCode::GroupAuthorizationFailed));
    }
}
