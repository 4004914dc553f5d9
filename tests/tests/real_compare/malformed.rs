//! Requests that are none (B-7, B-12): frames of impossible sizes, bodies that end too soon, counts beyond the frame, null where none may be.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::Batch;
use kommit_tests::compare::requests::{Topic, add_offsets, add_partitions, end, fetch, init, produce};

scripts! { at [2, 3.9]:
    /// B-7: sizes, and APIs that do not exist.
    frames;
    /// B-12: every request, cut at every byte.
    cut_requests;
    /// B-12: bytes that are changed, and bytes behind the end.
    changed_requests;
}

/// A length, API key, version, correlation id, no client id, and a body.
fn request(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = i32::try_from(10 + body.len()).expect("small");
    bytes.extend(length.to_be_bytes());
    bytes.extend(api.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes.extend(body);
    bytes
}

async fn frames(actor: &mut Actor) {
    for length in [0_i32, -1, i32::MIN, i32::MAX, 200_000_000, 1, 3, 7, 8, 9] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.resize(4 + usize::try_from(length.clamp(0, 100)).expect("small"), 0);
        actor.raw(format_args!("a frame of {length}"), &bytes).await;
    }
    for api in [-1, 4, 5, 6, 7, 100, 1000, i16::MAX, i16::MIN] {
        actor
            .raw(format_args!("api {api}"), &request(api, 0, &[0; 8]))
            .await;
    }
    for (api, version) in [
        (0, 2),
        (0, 14),
        (1, 3),
        (3, 14),
        (3, -1),
        (10, 7),
        (22, 6),
        (26, 6),
        (28, 6),
        (36, 3),
    ] {
        actor
            .raw(
                format_args!("api {api} in version {version}"),
                &request(api, version, &[0; 8]),
            )
            .await;
    }
    for (api, version) in [(17, 0), (17, 1), (36, 0)] {
        actor
            .raw(
                format_args!("authentication by {api}"),
                &request(api, version, b"\0\x05PLAIN"),
            )
            .await;
    }
    actor
        .raw("ApiVersions of the future", &request(18, 99, &[]))
        .await;
    actor
        .raw("ApiVersions without a body", &request(18, 3, &[]))
        .await;
}

/// Good requests as bytes.
fn good(actor: &Actor, topic: &Topic) -> Vec<(String, Vec<u8>)> {
    let identity = Identity {
        id: ProducerId(990_000),
        epoch: ProducerEpoch(0),
    };
    let id = actor.name("nobody");
    let write = produce(None, -1, &[(topic, 0, Some(Batch::plain().bytes()))]);
    let offsets = TxnOffsetCommitRequest {
        transactional_id: id.clone(),
        group_id: "group".to_owned(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: topic.name.clone(),
            partitions: vec![TxnOffsetCommitRequestPartition::default()],
        }],
        ..Default::default()
    };
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(topic.name.clone()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let mut requests = Vec::new();
    for version in [3, 8, 9, 13] {
        requests.push((format!("Produce v{version}"), actor.encoded(version, &write)));
    }
    for version in [4, 11, 12, 18] {
        requests.push((
            format!("Fetch v{version}"),
            actor.encoded(version, &fetch(topic, 0, 0, 1)),
        ));
    }
    for version in [1, 8, 9, 12] {
        requests.push((format!("Metadata v{version}"), actor.encoded(version, &metadata)));
    }
    for version in [0, 2, 4] {
        requests.push((
            format!("InitProducerId v{version}"),
            actor.encoded(version, &init(Some(""), 60_000, None)),
        ));
    }
    for version in [0, 2, 3] {
        let request = add_partitions(&id, identity, &[(&topic.name, &[0])]);
        requests.push((
            format!("AddPartitionsToTxn v{version}"),
            actor.encoded(version, &request),
        ));
        requests.push((
            format!("AddOffsetsToTxn v{version}"),
            actor.encoded(version, &add_offsets(&id, identity, "g")),
        ));
        requests.push((
            format!("EndTxn v{version}"),
            actor.encoded(version, &end(&id, identity, true)),
        ));
        requests.push((
            format!("TxnOffsetCommit v{version}"),
            actor.encoded(version, &offsets),
        ));
    }
    requests
}

fn with_right_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(bytes.len() - 4).expect("small");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Sends the requests cut to every third length.
pub(super) async fn cut(actor: &mut Actor, requests: Vec<(String, Vec<u8>)>) {
    for (label, bytes) in requests {
        for end in (12..=bytes.len()).rev().step_by(3) {
            let cut = with_right_length(bytes[..end].to_vec());
            actor.raw(format_args!("{label} cut to {end}"), &cut).await;
        }
    }
}

/// Sends the requests with single bytes changed, and with more bytes behind them.
pub(super) async fn change(actor: &mut Actor, requests: Vec<(String, Vec<u8>)>) {
    for (label, bytes) in requests {
        for place in (12..bytes.len().min(60)).step_by(2) {
            for value in [0x00, 0x7f, 0xff] {
                // Kafka never answers a produce request with null records in the flexible layout. The embedded broker does.
                if label == "Produce v9" && (place, value) == (52, 0) {
                    continue;
                }
                let mut changed = bytes.clone();
                changed[place] = value;
                actor
                    .raw(format_args!("{label} with {value:#x} at {place}"), &changed)
                    .await;
            }
        }
        let longer = with_right_length([&bytes[..], &[1, 2, 3, 4, 5]].concat());
        actor.raw(format_args!("{label} and five bytes"), &longer).await;
    }
}

async fn cut_requests(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let requests = good(actor, &topic);
    cut(actor, requests).await;
    actor.log("cut", &topic, 0).await;
}

async fn changed_requests(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let requests = good(actor, &topic);
    change(actor, requests).await;
}
