//! Topics: is it there, who leads its partitions, and creating it.

use std::num::NonZeroU32;
use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{CreateTopicsRequest, CreateTopicsRequestTopic, MetadataResponse};
use kommit_protocol::units::{NodeId, PartitionId};

use super::patience::Patience;
use super::{Cluster, refused};
use crate::failure::Failure;

const LEADER_LIMIT: Duration = Duration::from_secs(30);
const CREATE_LIMIT_MS: i32 = 30_000;
/// The wire's "as many replicas as the broker is configured for" (KIP-464).
const DEFAULT_REPLICATION: i16 = -1;

/// A topic all of whose partitions have a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: String,
    /// Its partitions in order, each with its leader.
    pub(crate) partitions: Vec<(PartitionId, NodeId)>,
}

/// What metadata says about a topic at one moment.
#[derive(Debug, PartialEq, Eq)]
enum Described {
    Missing,
    /// It is there, or about to be, but not all of it can be used yet.
    NotReady(String),
    Ready(Topic),
    Refused(ErrorCode),
}

impl Cluster {
    /// The topic, created with `partitions` if it does not exist and a number is given.
    pub(crate) async fn ensure_topic(
        &mut self,
        name: &str,
        partitions: Option<NonZeroU32>,
    ) -> Result<Topic, Failure> {
        if let Some(partitions) = partitions
            && describe(&self.metadata(name).await?, name) == Described::Missing
        {
            self.create_topic(name, partitions).await?;
            return self.wait_for_leaders(name, Missing::NotYet).await;
        }
        self.wait_for_leaders(name, Missing::Final).await
    }

    /// The topic as it is now: after a leader has moved.
    pub(super) async fn topic_again(&mut self, name: &str) -> Result<Topic, Failure> {
        self.wait_for_leaders(name, Missing::Final).await
    }

    async fn wait_for_leaders(&mut self, name: &str, missing: Missing) -> Result<Topic, Failure> {
        let asked = format!("finding the topic {name}");
        let patience = Patience::of(LEADER_LIMIT);
        loop {
            let reason = match (describe(&self.metadata(name).await?, name), missing) {
                (Described::Ready(topic), _) => return Ok(topic),
                (Described::Refused(code), _) => return Err(refused(&asked, code)),
                (Described::Missing, Missing::Final) => {
                    return Err(Failure::failed(
                        format!(
                            "the topic {name} does not exist on the cluster of {}",
                            self.bootstrap_text()
                        ),
                        "correct the name, or create the topic: load and perf do it with --partitions N",
                    ));
                }
                (Described::Missing, Missing::NotYet) => "it does not exist yet".to_owned(),
                (Described::NotReady(reason), _) => reason,
            };
            patience.pause(&asked, &reason).await?;
        }
    }

    async fn create_topic(&mut self, name: &str, partitions: NonZeroU32) -> Result<(), Failure> {
        let asked = format!("creating the topic {name} with {partitions} partitions");
        let num_partitions = i32::try_from(partitions.get()).map_err(|_| {
            Failure::usage(
                format!("{asked}: that is too many"),
                "give a smaller number with --partitions",
            )
        })?;
        let topic = CreateTopicsRequestTopic {
            name: name.to_owned(),
            num_partitions,
            replication_factor: DEFAULT_REPLICATION,
            ..CreateTopicsRequestTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: CREATE_LIMIT_MS,
            ..CreateTopicsRequest::default()
        };
        let response = self.call_any(&request, i16::MAX).await?;
        let Some(answer) = response.topics.first() else {
            return Err(Failure::failed(
                format!("{asked}: the broker answered nothing"),
                "look at the broker's log",
            ));
        };
        match answer.error_code {
            // Another instance was faster: good.
            ErrorCode::None | ErrorCode::TopicAlreadyExists => Ok(()),
            code => {
                let mut failure = refused(&asked, code);
                if let Some(message) = &answer.error_message {
                    failure.what = format!("{}: {message}", failure.what);
                }
                Err(failure)
            }
        }
    }

    fn bootstrap_text(&self) -> String {
        self.bootstrap
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// What it means that a topic is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// It was just created.
    NotYet,
    /// Nobody will create it.
    Final,
}

fn describe(metadata: &MetadataResponse, name: &str) -> Described {
    let Some(topic) = metadata
        .topics
        .iter()
        .find(|topic| topic.name.as_deref() == Some(name))
    else {
        return Described::NotReady("the broker says nothing about it".to_owned());
    };
    match topic.error_code {
        ErrorCode::None => {}
        ErrorCode::UnknownTopicOrPartition => return Described::Missing,
        code if code.is_retriable() => return Described::NotReady(code.to_string()),
        code => return Described::Refused(code),
    }
    let known = |node: NodeId| metadata.brokers.iter().any(|broker| broker.node_id == node);
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        if !known(partition.leader_id) {
            return Described::NotReady(format!("partition {} has no leader", partition.partition_index));
        }
        partitions.push((partition.partition_index, partition.leader_id));
    }
    partitions.sort_unstable();
    Described::Ready(Topic {
        name: name.to_owned(),
        partitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kommit_protocol::messages::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn metadata(error_code: ErrorCode, leaders: &[i32]) -> MetadataResponse {
        let partitions = leaders
            .iter()
            .zip(0..)
            .map(|(leader, index)| MetadataResponsePartition {
                partition_index: PartitionId(index),
                leader_id: NodeId(*leader),
                ..MetadataResponsePartition::default()
            });
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NodeId(1),
                ..MetadataResponseBroker::default()
            }],
            topics: vec![MetadataResponseTopic {
                error_code,
                name: Some("t".to_owned()),
                partitions: partitions.collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    #[test]
    fn a_topic_is_ready_when_every_partition_has_a_leader_that_is_there() {
        assert!(
            matches!(describe(&metadata(ErrorCode::None, &[1, 1]), "t"), Described::Ready(topic) if topic.partitions.len() == 2)
        );
        assert!(matches!(
            describe(&metadata(ErrorCode::None, &[1, -1]), "t"),
            Described::NotReady(_)
        ));
        assert!(matches!(
            describe(&metadata(ErrorCode::None, &[1, 7]), "t"),
            Described::NotReady(_)
        ));
        assert!(matches!(
            describe(&metadata(ErrorCode::LeaderNotAvailable, &[]), "t"),
            Described::NotReady(_)
        ));
    }

    #[test]
    fn a_topic_that_is_missing_or_forbidden_is_told_apart() {
        assert_eq!(
            describe(&metadata(ErrorCode::UnknownTopicOrPartition, &[]), "t"),
            Described::Missing
        );
        let refusal = describe(&metadata(ErrorCode::TopicAuthorizationFailed, &[]), "t");
        assert_eq!(refusal, Described::Refused(ErrorCode::TopicAuthorizationFailed));
        assert!(
            refused("finding the topic t", ErrorCode::TopicAuthorizationFailed)
                .next
                .contains("right")
        );
    }
}
