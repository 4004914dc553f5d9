//! Order, malformed bytes, unknown versions, throttle.

use bytes::Bytes;
use kommit_broker::{BrokerConfig, Verdict};
use kommit_protocol::api::{ApiKey, VersionRange};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::*;
use kommit_protocol::units::NodeId;

use crate::scene::{Batch, Scene, TV2, fetch_from};

/// B-4: a request that waits holds back those behind it, but not other connections.
#[test]
fn answers_of_a_connection_keep_the_order_of_the_requests() {
    let mut scene = Scene::new();
    let (slow, other) = (scene.connect(), scene.connect());
    let waiting = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        ..fetch_from(0, 0)
    };
    let first = scene.send(slow, &waiting, 12);
    let second = scene.send(slow, &MetadataRequest::default(), 9);
    assert!(scene.raw_answer(slow).is_none());

    scene.ask(other, &MetadataRequest::default(), 9);
    scene.pass(500);

    assert_eq!(
        scene.answer::<FetchRequest>(slow, 12).map(|(id, _)| id),
        Some(first)
    );
    assert_eq!(
        scene.answer::<MetadataRequest>(slow, 9).map(|(id, _)| id),
        Some(second)
    );
}

/// B-12: what cannot be read closes the connection and nothing else.
#[test]
fn malformed_frames_close_the_connection() {
    let frames: [&[u8]; 4] = [
        b"",
        &[0, 3],
        &[0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0],
        &[
            0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
    ];
    let mut scene = Scene::new();
    for frame in frames {
        let connection = scene.connect();
        scene.send_frame(connection, Bytes::from_static(frame));
        assert!(scene.is_closed(connection), "{frame:?}");
        assert!(scene.raw_answer(connection).is_none());
    }
    let connection = scene.connect();
    scene.ask(connection, &MetadataRequest::default(), 9);
}

/// B-7: an unknown api key or a version that is not served closes the connection.
#[test]
fn unknown_requests_close_the_connection() {
    let mut scene = Scene::new();
    for header in [[0x7f, 0, 0, 0], [0, 3, 0, 14], [0, 0, 0, 2]] {
        let connection = scene.connect();
        let frame = [&header[..], &[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0]].concat();
        scene.send_frame(connection, Bytes::from(frame));
        assert!(scene.is_closed(connection), "{header:?}");
    }
}

/// B-9: ApiVersions from the future is answered in version 0, with the range of ApiVersions.
#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.send_frame(
        connection,
        Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0]),
    );

    let (correlation, response) = scene
        .answer::<ApiVersionsRequest>(connection, 0)
        .expect("an answer");
    assert_eq!(correlation, 5);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
    let ranges: Vec<_> = response
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    assert_eq!(ranges, [(18, 0, 4)]);
    assert!(!scene.is_closed(connection));
}

/// B-8, B-10: ranges and features; Produce is advertised from 0.
#[test]
fn api_versions_lists_ranges_and_features() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    let request = ApiVersionsRequest {
        client_software_name: "scene".to_owned(),
        client_software_version: "1.0".to_owned(),
    };
    let response = scene.ask(connection, &request, 4);
    let range = |key: ApiKey| {
        let api = response.api_keys.iter().find(|api| api.api_key == key.code());
        api.map(|api| (api.min_version, api.max_version))
    };
    assert_eq!(range(ApiKey::Produce), Some((0, 13)));
    assert_eq!(range(ApiKey::Fetch), Some((4, 18)));
    let level = response
        .finalized_features
        .iter()
        .find(|feature| feature.name == "transaction.version");
    assert_eq!(level.map(|feature| feature.max_version_level), Some(2));
    let epoch = response.finalized_features_epoch;

    scene
        .core
        .set_transaction_version(kommit_broker::TransactionVersion::V1);
    let response = scene.ask(connection, &request, 4);
    assert!(response.finalized_features_epoch > epoch);

    let nameless = ApiVersionsRequest {
        client_software_name: "-".to_owned(),
        ..request
    };
    assert_eq!(
        scene.ask(connection, &nameless, 4).error_code,
        ErrorCode::InvalidRequest
    );
}

/// B-11: a node can look like an old broker.
#[test]
fn ranges_can_be_narrowed_per_node() {
    let mut config = BrokerConfig {
        nodes: 2,
        ..BrokerConfig::default()
    };
    let old = Some(VersionRange::new(0, 11));
    config
        .version_overrides
        .insert((Some(NodeId(2)), ApiKey::Produce), old);
    let mut scene = Scene::with(config);
    let (new, old) = (scene.connect(), scene.connect_to(2));

    scene.send(new, &Batch::plain().request(), TV2);
    scene.send(old, &Batch::plain().request(), TV2);
    assert!(!scene.is_closed(new));
    assert!(scene.is_closed(old));
}

/// B-13: acks = 0 is never answered; its errors close the connection.
#[test]
fn a_produce_without_acks_is_silent_until_it_fails() {
    let mut scene = Scene::new();
    let connection = scene.connect();
    scene.send(
        connection,
        &Batch {
            acks: 0,
            ..Batch::plain()
        }
        .request(),
        TV2,
    );
    assert_eq!(scene.log_len(), 1);
    assert!(scene.raw_answer(connection).is_none());
    scene.ask(connection, &MetadataRequest::default(), 9);

    scene.send(
        connection,
        &Batch {
            acks: 0,
            ..Batch::of(7, 0, 0)
        }
        .request(),
        TV2,
    );
    scene.send(
        connection,
        &Batch {
            acks: 0,
            ..Batch::of(7, 0, 5)
        }
        .request(),
        TV2,
    );
    assert!(scene.is_closed(connection));
}

/// The owner of the sockets may read on only after a request is finished: one `Finished` for each.
#[test]
fn a_held_request_keeps_its_connection_quiet() {
    let mut scene = Scene::new();
    let rule = scene.rule(ApiKey::Metadata, Verdict::Hold);
    let connection = scene.connect();
    scene.send(connection, &MetadataRequest::default(), 9);
    scene.pass(10_000);
    assert!(scene.raw_answer(connection).is_none());
    scene.core.remove_rule(rule);
    scene.turn();
    assert!(scene.raw_answer(connection).is_some());
}
