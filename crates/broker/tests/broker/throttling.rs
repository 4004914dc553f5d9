//! Throttled connections, as quotas would have them. There is only one quota: the throttle of the settings.

use std::time::Duration;

use kommit_broker::BrokerConfig;
use kommit_protocol::messages::*;

use crate::scene::{Batch, Scene, TV2, fetch_from};

fn throttled(millis: u64) -> Scene {
    Scene::with(BrokerConfig {
        throttle: Duration::from_millis(millis),
        ..BrokerConfig::default()
    })
}

/// B-14: a throttled connection hears the time, and is served again after it. Others go on.
#[test]
fn a_throttled_connection_is_not_served_for_the_time_it_was_told() {
    let mut scene = throttled(200);
    let (connection, other) = (scene.connect(), scene.connect());
    let metadata = MetadataRequest::default();
    assert_eq!(scene.ask(connection, &metadata, 9).throttle_time_ms, 200);

    scene.send(connection, &metadata, 9);
    scene.ask(other, &metadata, 9);
    scene.pass(199);
    assert!(scene.raw_answer(connection).is_none());
    scene.pass(1);
    assert!(scene.raw_answer(connection).is_some());
}

/// B-14: a produce with acks = 0 has no answer to tell the time with, and is throttled nevertheless.
#[test]
fn a_silent_produce_is_throttled_as_well() {
    let mut scene = throttled(200);
    let connection = scene.connect();
    let silent = Batch {
        acks: 0,
        ..Batch::plain()
    };
    scene.send(connection, &silent.request(), TV2);
    scene.send(connection, &silent.request(), TV2);
    assert_eq!(scene.log_len(), 1);
    scene.pass(200);
    assert_eq!(scene.log_len(), 2);
}

/// B-127: nobody is throttled for what he sends or reads, and the requests that set quotas are not there.
#[test]
fn there_are_no_quotas_but_the_throttle() {
    const QUOTAS: [i16; 2] = [48, 49];
    let mut scene = Scene::new();
    let connection = scene.connect();
    let answer = scene.ask(connection, &ApiVersionsRequest::default(), 0);
    assert!(!answer.api_keys.iter().any(|api| QUOTAS.contains(&api.api_key)));
    for number in 0..1000 {
        let written = scene.ask(connection, &Batch::plain().records(100).request(), TV2);
        let read = scene.ask(connection, &fetch_from(100 * number, 0), 12);
        assert_eq!((written.throttle_time_ms, read.throttle_time_ms), (0, 0));
        assert!(read.responses[0].partitions[0].records.is_some());
    }
}
