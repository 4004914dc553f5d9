//! Values of topic settings: which ones Kafka takes.

use kommit_protocol::messages::*;
use kommit_tests::compare::Actor;

scripts! { at [2]:
    /// Every setting of a topic with values that are right, wrong and odd.
    values_of_settings;
}

const SETTINGS: &[&str] = &[
    "cleanup.policy",
    "compression.type",
    "compression.gzip.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
    "nonsense",
    "",
];

const VALUES: &[&str] = &[
    "",
    "-2",
    "-1",
    "0",
    "1",
    "4",
    "5",
    "14",
    " 14 ",
    "1.5",
    "0.5",
    "2097152",
    "9999999999",
    "true",
    "TRUE",
    "maybe",
    "gzip",
    "zstd",
    "producer",
    "delete",
    "compact",
    "delete,compact",
    "delete, nonsense",
    "CreateTime",
    "LogAppendTime",
    "createtime",
    "9223372036854775807",
    "9223372036854775808",
];

async fn values_of_settings(actor: &mut Actor) {
    let name = actor.name("t");
    for setting in SETTINGS {
        for value in VALUES.iter().copied().map(Some).chain([None]) {
            let config = CreateTopicsRequestConfig {
                name: (*setting).to_owned(),
                value: value.map(str::to_owned),
            };
            let topic = CreateTopicsRequestTopic {
                name: name.clone(),
                num_partitions: 1,
                replication_factor: 1,
                configs: vec![config],
                ..Default::default()
            };
            let request = CreateTopicsRequest {
                topics: vec![topic],
                validate_only: true,
                ..Default::default()
            };
            actor
                .ask(format_args!("{setting} = {value:?}"), 5, &request)
                .await;
        }
    }
}
