//! Addresses where there is no Kafka: the error names the address and what is wrong with it.

use std::net::SocketAddr;

use kommit::{Producer, Record, TransactionalProducer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stage::{LONG, TOPIC, config};

const KEYS: [(&str, &str); 2] = [("max.block.ms", "1000"), ("client.id", "lost")];

/// The texts of a send and of a connect towards `address`.
async fn told(address: SocketAddr) -> [String; 2] {
    let servers = address.to_string();
    let producer = Producer::new(config(&servers, &KEYS)).expect("nothing is connected yet");
    let sent = producer.send(Record::new(TOPIC).value("v")).await;
    let sent = sent.expect_err("there is no broker");
    assert!(sent.is_retriable() && !sent.may_be_written(), "{sent}");
    let mut keys = KEYS.to_vec();
    keys.push(("transactional.id", "t"));
    let connected = TransactionalProducer::connect(config(&servers, &keys)).await;
    let connected = connected.expect_err("there is no broker");
    assert!(connected.is_retriable() && !connected.is_fatal(), "{connected}");
    [sent.to_string(), connected.to_string()]
}

/// Somebody who listens, reads what comes first, and answers it with `answer` before the connection is closed.
async fn stranger(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            // Whether the client is still there or not changes nothing for a stranger.
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(answer).await;
        }
    });
    (address, task)
}

/// P-13: a refused connection is named as such, with its address.
#[tokio::test]
async fn a_refused_connection_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    for text in told(address).await {
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.to_lowercase().contains("refused"), "{text}");
        assert!(text.contains("max.block.ms = 1000"), "{text}");
    }
}

/// P-13, D-2: a port where somebody speaks HTTP is told apart from a broker that does not answer.
#[tokio::test]
async fn a_web_server_is_not_a_broker() {
    let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    let (address, task) = stranger(answer).await;
    for text in told(address).await {
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains("does not answer like a Kafka broker"), "{text}");
    }
    task.abort();
}

/// P-13: so is a port where the connection is closed without a word.
#[tokio::test]
async fn a_port_that_hangs_up_is_not_a_broker() {
    let (address, task) = stranger(b"").await;
    for text in told(address).await {
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(
            text.contains("closed the connection instead of answering"),
            "{text}"
        );
    }
    task.abort();
}

/// P-2: a producer that could not be made leaves no connection behind.
#[tokio::test]
async fn a_failed_connect_closes_its_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody connects");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("an orderly end");
        heard
    });
    let keys = [("max.block.ms", "1000"), ("transactional.id", "t")];
    let connected = TransactionalProducer::connect(config(&address.to_string(), &keys)).await;
    connected.expect_err("nobody answers");
    let heard = tokio::time::timeout(LONG, silent)
        .await
        .expect("the connection ends");
    assert!(
        !heard.expect("no panic").is_empty(),
        "it was asked for its versions"
    );
}
