//! The broker behind real sockets: only what the core cannot show.

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
