//! A broker that throws records away: it checks them all the same, and its connections are served in order.

use std::time::Duration;

use bytes::BytesMut;
use kommit_broker::{BrokerConfig, EmbeddedBroker, Rule, Storage, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame;
use kommit_protocol::messages::*;
use kommit_protocol::units::Offset;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scene::{Batch, Scene, TV2, only_partition, partition_0};

fn discarding(answer_delay: Duration) -> BrokerConfig {
    BrokerConfig {
        storage: Storage::Discard { answer_delay },
        ..BrokerConfig::default()
    }
}

/// B-34: offsets go on, though nothing is there to be read.
#[test]
fn offsets_go_on_and_nothing_is_kept() {
    let mut scene = Scene::with(discarding(Duration::ZERO));
    let connection = scene.connect();
    scene.produce(connection, &Batch::of(7, 0, 0).records(3));
    let answer = scene.produce(connection, &Batch::of(7, 0, 3));
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::None, 3));
    assert_eq!(scene.log_len(), 0);
    let watermarks = scene.core.watermarks(&partition_0()).expect("the topic exists");
    assert_eq!((watermarks.log_start, watermarks.log_end), (Offset(4), Offset(4)));
}

/// B-31, B-45: a wrong checksum and a gap in the sequence are refused by a broker that keeps nothing, too.
#[test]
fn checksums_and_sequences_are_checked() {
    let mut scene = Scene::with(discarding(Duration::ZERO));
    let connection = scene.connect();
    let batch = Batch::of(7, 0, 0);
    let mut corrupt = BytesMut::from(batch.bytes().as_ref());
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let refused = scene.ask(connection, &batch.request_of(corrupt.freeze()), TV2);
    assert_eq!(only_partition(refused).error_code, ErrorCode::CorruptMessage);
    scene.produce(connection, &batch);
    let gap = scene.produce(connection, &Batch::of(7, 0, 2));
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber);
}

/// B-90, B-110: transactions are begun, ended and marked as in any other broker.
#[test]
fn transactions_end_without_their_records() {
    let mut scene = Scene::with(discarding(Duration::ZERO));
    let connection = scene.connect();
    let identity = scene.initialize(connection, "t");
    let answer = scene.produce(connection, &Batch::in_transaction(identity, 0));
    assert_eq!(answer.error_code, ErrorCode::None);
    let ended = scene.end(connection, identity, true, 5);
    assert_eq!(ended.error_code, ErrorCode::None);
    let watermarks = scene.core.watermarks(&partition_0()).expect("the topic exists");
    assert_eq!(watermarks.last_stable_offset, Offset(2), "record and marker");
}

/// Answers are late, each by itself: requests behind the first one do not wait for its answer.
#[tokio::test]
async fn late_answers_do_not_hold_up_the_requests_behind() {
    let delay = Duration::from_millis(200);
    let broker = EmbeddedBroker::start(discarding(delay))
        .await
        .expect("free ports");
    let mut stream = TcpStream::connect(broker.addresses()[0])
        .await
        .expect("it listens");
    for correlation_id in 0..20 {
        let request = frame::encode_request(&MetadataRequest::default(), 9, correlation_id, None);
        stream.write_all(&request).await.expect("the kernel buffers them");
    }
    // One after the other they would take 20 delays.
    tokio::time::timeout(delay * 10, read_answers(&mut stream, 20))
        .await
        .expect("answers are late together");
}

/// Both ways of answering close a connection that asks for nothing, and not one that waits for its answer.
#[tokio::test]
async fn an_idle_connection_is_closed() {
    let idle = Duration::from_millis(50);
    for answer_delay in [Duration::ZERO, idle / 5] {
        let mut config = discarding(answer_delay);
        config.limits.connection_idle = idle;
        let broker = EmbeddedBroker::start(config).await.expect("free ports");
        let connect = || TcpStream::connect(broker.addresses()[0]);
        let mut silent = connect().await.expect("it listens");
        assert_eq!(silent.read(&mut [0]).await.expect("closed in order"), 0);

        let rule = broker.rule(Rule::on(ApiKey::Metadata, Verdict::Hold));
        let mut waiting = connect().await.expect("it listens");
        let request = frame::encode_request(&MetadataRequest::default(), 9, 0, None);
        waiting.write_all(&request).await.expect("it is read");
        // Real time, so that the limit passes several times.
        let heard = tokio::time::timeout(6 * idle, waiting.read(&mut [0])).await;
        assert!(heard.is_err());
        drop(rule);
        read_answers(&mut waiting, 1).await;
        assert_eq!(waiting.read(&mut [0]).await.expect("closed in order"), 0);
    }
}

async fn read_answers(stream: &mut TcpStream, count: i32) {
    for correlation_id in 0..count {
        let mut prefix = [0; 8];
        stream.read_exact(&mut prefix).await.expect("an answer");
        assert_eq!(prefix[4..], i32::to_be_bytes(correlation_id));
        let length = i32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        let mut rest = vec![0; usize::try_from(length).expect("a length") - 4];
        stream.read_exact(&mut rest).await.expect("the rest");
    }
}

/// B-12: an impossible length closes the connection.
#[tokio::test]
async fn an_impossible_length_closes_the_connection() {
    let broker = EmbeddedBroker::start(discarding(Duration::ZERO))
        .await
        .expect("free ports");
    let mut stream = TcpStream::connect(broker.addresses()[0])
        .await
        .expect("it listens");
    stream.write_all(&[0xff; 7]).await.expect("seven bytes fit");
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest).await;
    assert!(read.is_err() || rest.is_empty());
}
