//! The broker behind real sockets: only what the core cannot show.

use std::time::Duration;

use kommit_broker::config::Limits;
use kommit_broker::{BrokerConfig, EmbeddedBroker, Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame;
use kommit_protocol::messages::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn ask(stream: &mut TcpStream, correlation_id: i32) -> std::io::Result<MetadataResponse> {
    let request = frame::encode_request(&MetadataRequest::default(), 9, correlation_id, None);
    stream.write_all(&request).await?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(prefix)).expect("a length")];
    stream.read_exact(&mut body).await?;
    let (correlation, response) =
        frame::decode_response::<MetadataRequest>(body.into(), 9).expect("an answer");
    assert_eq!(correlation, correlation_id);
    Ok(response)
}

/// B-1: every node has a port of its own and says where all of them are.
#[tokio::test]
async fn every_node_listens_and_knows_the_others() {
    let broker = EmbeddedBroker::start(BrokerConfig {
        nodes: 3,
        ..BrokerConfig::default()
    })
    .await
    .expect("free ports");
    let ports: Vec<i32> = broker
        .addresses()
        .iter()
        .map(|address| i32::from(address.port()))
        .collect();
    for address in broker.addresses() {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let answer = ask(&mut stream, 1).await.expect("it answers");
        assert_eq!(
            answer.brokers.iter().map(|node| node.port).collect::<Vec<_>>(),
            ports
        );
    }
    assert_eq!(broker.bootstrap_servers().split(',').count(), 3);
    broker.shutdown().await;
}

/// B-12: impossible lengths close the connection.
#[tokio::test]
async fn impossible_frame_lengths_close_the_connection() {
    let broker = EmbeddedBroker::start(BrokerConfig::default())
        .await
        .expect("free ports");
    for length in [0, 3, -1, i32::MAX] {
        let mut stream = TcpStream::connect(broker.addresses()[0])
            .await
            .expect("it listens");
        stream
            .write_all(&length.to_be_bytes())
            .await
            .expect("four bytes fit");
        stream.write_all(&[0; 3]).await.expect("three bytes fit");
        let mut rest = Vec::new();
        // Either end of the connection is fine: an orderly one, or a reset because of unread bytes.
        let read = stream.read_to_end(&mut rest).await;
        assert!(read.is_err() || rest.is_empty(), "{length}");
    }
}

/// More requests than may wait at once, written before the first answer is read: all are answered, in order.
#[tokio::test]
async fn more_requests_than_may_wait_are_all_answered() {
    let config = BrokerConfig {
        max_queued_requests: 2,
        ..BrokerConfig::default()
    };
    let broker = EmbeddedBroker::start(config).await.expect("free ports");
    let mut stream = TcpStream::connect(broker.addresses()[0])
        .await
        .expect("it listens");
    for correlation_id in 0..20 {
        let request = frame::encode_request(&MetadataRequest::default(), 9, correlation_id, None);
        stream.write_all(&request).await.expect("the kernel buffers them");
    }
    for correlation_id in 0..20 {
        let mut prefix = [0; 8];
        stream.read_exact(&mut prefix).await.expect("an answer");
        assert_eq!(prefix[4..], i32::to_be_bytes(correlation_id));
        let length = i32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        let mut rest = vec![0; usize::try_from(length).expect("a length") - 4];
        stream.read_exact(&mut rest).await.expect("the rest");
    }
}

/// B-121: a rule lives as long as its guard.
#[tokio::test]
async fn a_rule_ends_with_its_guard() {
    let broker = EmbeddedBroker::start(BrokerConfig::default())
        .await
        .expect("free ports");
    let guard = broker.rule(Rule::on(ApiKey::Metadata, Verdict::DisconnectBefore));
    let mut stream = TcpStream::connect(broker.addresses()[0])
        .await
        .expect("it listens");
    assert!(ask(&mut stream, 1).await.is_err());
    assert_eq!(guard.matches(), 1);
    guard.remove();
    let mut stream = TcpStream::connect(broker.addresses()[0])
        .await
        .expect("it listens");
    assert!(ask(&mut stream, 2).await.is_ok());
}

async fn limited(change: impl FnOnce(&mut Limits)) -> EmbeddedBroker {
    let mut config = BrokerConfig::default();
    change(&mut config.limits);
    EmbeddedBroker::start(config).await.expect("a free port")
}

async fn connect(broker: &EmbeddedBroker) -> TcpStream {
    TcpStream::connect(broker.addresses()[0])
        .await
        .expect("it listens")
}

/// One connection more than there may be waits until another one ends.
#[tokio::test]
async fn one_connection_too_many_waits_for_a_place() {
    let broker = limited(|limits| limits.connections = 1).await;
    let mut first = connect(&broker).await;
    ask(&mut first, 1).await.expect("it answers");
    let mut second = connect(&broker).await;
    // Real time: nothing tells that an answer does not come.
    let answered = tokio::time::timeout(Duration::from_millis(100), ask(&mut second, 1)).await;
    assert!(answered.is_err());
    drop(first);
    let mut prefix = [0; 4];
    second
        .read_exact(&mut prefix)
        .await
        .expect("the answer to what was asked");
}

/// A connection that asks for nothing does not keep its place for ever; one that waits for an answer does.
#[tokio::test]
async fn an_idle_connection_is_closed() {
    let broker = limited(|limits| limits.connection_idle = Duration::from_millis(50)).await;
    let mut idle = connect(&broker).await;
    assert_eq!(idle.read(&mut [0]).await.expect("closed in order"), 0);

    let rule = broker.rule(Rule::on(ApiKey::Metadata, Verdict::Hold));
    let mut waiting = connect(&broker).await;
    let request = frame::encode_request(&MetadataRequest::default(), 9, 1, None);
    waiting.write_all(&request).await.expect("it is read");
    // Real time, so that the limit passes several times.
    let heard = tokio::time::timeout(Duration::from_millis(300), waiting.read(&mut [0])).await;
    assert!(heard.is_err());
    drop(rule);
    assert_eq!(waiting.read(&mut [0]).await.expect("the answer"), 1);
}

/// B-14: while a connection is not served, only so many bytes are read from it: the rest stays with the client.
#[tokio::test]
async fn a_flood_is_not_read_while_it_is_not_served() {
    const FLOOD: usize = 64 * 1024 * 1024;
    let broker = EmbeddedBroker::start(BrokerConfig {
        throttle: Duration::from_secs(3600),
        limits: Limits {
            queued_bytes: 1024 * 1024,
            ..Limits::default()
        },
        ..BrokerConfig::default()
    })
    .await
    .expect("a free port");
    let mut stream = connect(&broker).await;
    let client_id = "c".repeat(30_000);
    let request = frame::encode_request(&MetadataRequest::default(), 9, 1, Some(&client_id));
    let mut sent = 0;
    // Real time: sockets do not tell that the other side has stopped reading.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write_all(&request)).await
    {
        written.expect("nobody closes the connection");
        sent += request.len();
        assert!(sent < FLOOD);
    }
    assert!(sent > 1024 * 1024, "{sent}");
}
