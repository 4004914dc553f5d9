//! Links over pipes in memory and over the loopback interface; the other end is a script.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::address::BrokerAddress;
use crate::boundary::{ConnectionId, LinkFailure, NetAction, NetEvent};
use crate::config::NetworkConfig;
use crate::network::Network;

const ID: ConnectionId = ConnectionId {
    node: NodeId(1),
    generation: 1,
};

fn address() -> BrokerAddress {
    BrokerAddress::new("broker", 9092)
}

/// Links with one connection, whose pipe holds `pipe_len` bytes, and the broker's end of it.
async fn connected(pipe_len: usize, config: LinksConfig) -> (Links, Receiver<NetEvent>, MemoryStream) {
    let connector = MemoryConnector::new(pipe_len);
    let mut listener = connector.listen(address());
    let (mut links, mut events) = Links::new(Arc::new(connector), config);
    links.apply(NetAction::Connect(ID, address()));
    assert_eq!(events.recv().await, Some(NetEvent::Connected(ID)));
    let broker = listener.accept().await.unwrap();
    (links, events, broker)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [&len.to_be_bytes()[..], body].concat()
}

fn parts(parts: &[&'static [u8]]) -> Vec<Bytes> {
    parts.iter().map(|part| Bytes::from_static(part)).collect()
}

/// Principle 6: the parts of a request leave in order, whatever the socket takes at a time; the count is exact.
#[tokio::test]
async fn a_request_of_many_parts_survives_short_writes() {
    for pipe_len in [1, 2, 3, 7, 1_000] {
        let (mut links, mut events, mut broker) = connected(pipe_len, LinksConfig::default()).await;
        links.apply(NetAction::Write(
            ID,
            parts(&[b"head", b"", b"the first batch", b"-", b"the second batch"]),
        ));
        links.apply(NetAction::Write(ID, parts(&[b"another request"])));
        let expected = b"headthe first batch-the second batchanother request";
        let mut received = vec![0; expected.len()];
        broker.read_exact(&mut received).await.unwrap();
        assert_eq!(received, expected, "through a pipe of {pipe_len} bytes");
        assert_eq!(
            events.recv().await,
            Some(NetEvent::Written(ID, expected.len() as u64))
        );
    }
}

/// A vectored write takes so many slices; more parts than that take several.
#[tokio::test]
async fn a_request_may_have_more_parts_than_a_system_call() {
    let (mut links, mut events, mut broker) = connected(1 << 20, LinksConfig::default()).await;
    let many: Vec<Bytes> = (0..1_000u32)
        .map(|number| Bytes::copy_from_slice(&number.to_be_bytes()))
        .collect();
    links.apply(NetAction::Write(ID, many.clone()));
    assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 4_000)));
    let mut received = vec![0; 4_000];
    broker.read_exact(&mut received).await.unwrap();
    assert_eq!(received, many.concat());
}

/// Target F1 in small: however the stream is cut, the frames are the same.
#[tokio::test]
async fn frames_come_out_as_they_were_sent() {
    let stream = [frame(b"one"), frame(b""), frame(b"three three three")].concat();
    for chunk in [1, 2, 5, 100] {
        let (_links, mut events, mut broker) = connected(64, LinksConfig::default()).await;
        for bytes in stream.chunks(chunk) {
            broker.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        for body in [&b"one"[..], b"", b"three three three"] {
            let expected = NetEvent::Frame(ID, Bytes::from_static(body));
            assert_eq!(events.recv().await, Some(expected), "in chunks of {chunk}");
        }
    }
}

/// N-25: answers that came before the end are told before the end, and so is the last count of written bytes.
#[tokio::test]
async fn the_last_answers_come_before_the_end() {
    let (mut links, mut events, mut broker) = connected(1 << 16, LinksConfig::default()).await;
    links.apply(NetAction::Write(ID, parts(&[b"request"])));
    assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 7)));
    broker
        .write_all(&[frame(b"answer"), frame(b"cut off")[..6].to_vec()].concat())
        .await
        .unwrap();
    drop(broker);
    assert_eq!(
        events.recv().await,
        Some(NetEvent::Frame(ID, Bytes::from_static(b"answer")))
    );
    assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 7)));
    assert_eq!(
        events.recv().await,
        Some(NetEvent::Closed(ID, LinkFailure::PeerClosed))
    );
}

/// N-25, R1: a write that fails does not lose an answer that has come before, and counts what the socket took.
#[tokio::test]
async fn a_failed_write_loses_no_answer() {
    let (mut links, mut events, mut broker) = connected(4, LinksConfig::default()).await;
    links.apply(NetAction::Write(ID, parts(&[b"12345678"])));
    let mut taken = [0; 2];
    broker.read_exact(&mut taken).await.unwrap();
    drop(broker);
    let Some(NetEvent::Written(ID, written)) = events.recv().await else {
        panic!("the count comes first")
    };
    assert!(
        (4..8).contains(&written),
        "{written} bytes: more than the pipe holds were never taken"
    );
    assert!(matches!(events.recv().await, Some(NetEvent::Closed(ID, _))));
}

/// Malicious broker suite: lengths of −1, 2^31 − 1, and the beginning of an HTTP answer.
#[tokio::test]
async fn what_is_no_frame_ends_the_connection_with_its_reason() {
    for garbage in [
        &b"\xff\xff\xff\xff"[..],
        b"\x7f\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request\r\n",
    ] {
        let (_links, mut events, mut broker) = connected(1 << 16, LinksConfig::default()).await;
        broker.write_all(garbage).await.unwrap();
        assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 0)));
        let Some(NetEvent::Closed(ID, LinkFailure::Frame(reason))) = events.recv().await else {
            panic!("closed")
        };
        assert!(!reason.is_empty());
    }
}

/// Limits: before the core trusts a peer it may send 64 KiB; afterwards frames may be as long as configured.
#[tokio::test]
async fn a_peer_that_is_not_trusted_may_not_send_much() {
    let long = frame(&[7; 1_000]);
    let config = LinksConfig {
        max_frame: 1_000,
        max_untrusted: 500,
    };

    let (_links, mut events, mut broker) = connected(1 << 16, config).await;
    broker.write_all(&long[..600]).await.unwrap();
    assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 0)));
    let reason = LinkFailure::Frame("600 bytes before it has told its versions".into());
    assert_eq!(events.recv().await, Some(NetEvent::Closed(ID, reason)));

    let (mut links, mut events, mut broker) = connected(1 << 16, config).await;
    links.apply(NetAction::Trust(ID));
    broker.write_all(&long).await.unwrap();
    assert_eq!(
        events.recv().await,
        Some(NetEvent::Frame(ID, vec![7; 1_000].into()))
    );
    broker.write_all(&frame(&[7; 1_001])).await.unwrap();
    assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 0)));
    assert!(matches!(
        events.recv().await,
        Some(NetEvent::Closed(ID, LinkFailure::Frame(_)))
    ));
}

/// A driver that does not keep up slows its brokers down: no more than the queue of events and one frame are held.
#[tokio::test]
async fn a_slow_driver_is_not_flooded() {
    let (_links, mut events, mut broker) = connected(64, LinksConfig::default()).await;
    let flood = frame(&[1; 28]).repeat(2_000); // 64,000 bytes: fewer than a peer may send that is not trusted
    // Real time, because "it never comes to an end" can only be seen by waiting.
    let sent = tokio::time::timeout(Duration::from_millis(50), broker.write_all(&flood)).await;
    assert!(
        sent.is_err(),
        "the pipe holds 64 bytes, and nobody reads the rest"
    );
    assert_eq!(events.len(), 256);
    drop(broker);
    let mut frames = 0;
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Frame(..) => frames += 1,
            NetEvent::Closed(..) => break,
            _ => {}
        }
    }
    assert!(frames >= 256, "{frames}");
}

/// Close: the broker sees the end, and no event comes any more.
#[tokio::test]
async fn a_closed_connection_tells_nothing() {
    let (mut links, mut events, mut broker) = connected(1 << 16, LinksConfig::default()).await;
    broker.write_all(&frame(b"late")[..5]).await.unwrap();
    links.apply(NetAction::Close(ID));
    assert_eq!(broker.read(&mut [0; 8]).await.unwrap(), 0);
    links.apply(NetAction::Write(ID, parts(&[b"too late"])));
    drop(links);
    assert_eq!(events.recv().await, None);
}

/// Dropping the links ends every task: nothing is left behind.
#[tokio::test]
async fn dropped_links_leave_nothing_behind() {
    let (links, mut events, mut broker) = connected(1 << 16, LinksConfig::default()).await;
    drop(links);
    assert_eq!(broker.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn nobody_listens_in_memory() {
    let (mut links, mut events) = Links::new(Arc::new(MemoryConnector::new(64)), LinksConfig::default());
    links.apply(NetAction::Connect(ID, address()));
    let refused = LinkFailure::Connect("connection refused".into());
    assert_eq!(events.recv().await, Some(NetEvent::ConnectFailed(ID, refused)));
}

/// N-11: the same over the loopback interface; a closed port says so in plain words.
#[tokio::test]
async fn links_work_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut links, mut events) = Links::new(Arc::new(TcpConnector::default()), LinksConfig::default());
    // "localhost" may have an IPv6 address first, on which nobody listens here.
    links.apply(NetAction::Connect(ID, BrokerAddress::new("localhost", port)));
    assert_eq!(events.recv().await, Some(NetEvent::Connected(ID)));
    let (mut broker, _) = listener.accept().await.unwrap();
    let large = Bytes::from(vec![9; 4 << 20]);
    links.apply(NetAction::Write(
        ID,
        vec![Bytes::from_static(b"head"), large.clone(), large],
    ));
    let mut received = vec![0; 4 + (8 << 20)];
    broker.read_exact(&mut received).await.unwrap();
    assert!(received.starts_with(b"head") && received[4..].iter().all(|byte| *byte == 9));
    assert_eq!(events.recv().await, Some(NetEvent::Written(ID, 4 + (8 << 20))));
    broker.write_all(&frame(b"answer")).await.unwrap();
    assert_eq!(
        events.recv().await,
        Some(NetEvent::Frame(ID, Bytes::from_static(b"answer")))
    );

    drop(broker);
    drop(listener);
    assert!(matches!(events.recv().await, Some(NetEvent::Written(..))));
    assert!(matches!(events.recv().await, Some(NetEvent::Closed(..))));
    links.apply(NetAction::Connect(ID, BrokerAddress::new("127.0.0.1", port)));
    let refused = LinkFailure::Connect("connection refused".into());
    assert_eq!(events.recv().await, Some(NetEvent::ConnectFailed(ID, refused)));
}

/// N-18: a name that nobody knows is a failure that says so.
#[tokio::test]
async fn an_unknown_host_cannot_be_resolved() {
    let (mut links, mut events) = Links::new(Arc::new(TcpConnector::default()), LinksConfig::default());
    links.apply(NetAction::Connect(
        ID,
        BrokerAddress::new("no-such-host.invalid", 9092),
    ));
    let Some(NetEvent::ConnectFailed(ID, LinkFailure::Unresolved(reason))) = events.recv().await else {
        panic!("such a host does not exist")
    };
    assert!(reason.starts_with("cannot resolve the host"), "{reason}");
}

/// Carries out what a network wants against one address, for so long, and gives what it says about failures.
async fn failures_of(port: u16) -> String {
    let bootstrap = vec![BrokerAddress::new("127.0.0.1", port)];
    let mut network = Network::<()>::new(NetworkConfig::default(), bootstrap);
    let (mut links, mut events) = Links::new(Arc::new(TcpConnector::default()), LinksConfig::default());
    let (mut actions, mut completed) = (Vec::new(), Vec::new());
    while network.last_failures().is_empty() {
        network.turn(Instant::ORIGIN, &mut actions, &mut completed);
        actions.drain(..).for_each(|action| links.apply(action));
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
        network.event(event.expect("in time").expect("the links live"), Instant::ORIGIN);
    }
    network
        .last_failures()
        .iter()
        .map(|(_, reason)| reason.replace(&format!(":{port}"), ":PORT"))
        .collect()
}

/// What answers there is told in words, with its address: a web server, a server that hangs up, a closed port.
#[tokio::test]
async fn what_is_no_broker_is_told_with_its_address() {
    for (says, expected, hint) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..],
            "127.0.0.1:PORT does not answer like a Kafka broker: a frame declares",
            "(it begins with \"HTTP\")",
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            "127.0.0.1:PORT does not answer like a Kafka broker",
            "(it begins like TLS)",
        ),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            "127.0.0.1:PORT does not answer like a Kafka broker: a frame declares",
            "(it begins with \"SSH-\")",
        ),
        (
            b"",
            "127.0.0.1:PORT closed the connection instead of answering",
            "(does it expect TLS or SASL?)",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 512]).await.unwrap() > 0, "the request");
            stream.write_all(says).await.unwrap();
        };
        let (failures, ()) = tokio::join!(failures_of(port), server);
        assert!(failures.starts_with(expected), "{failures}");
        assert!(failures.ends_with(hint), "{failures}");
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert_eq!(failures_of(port).await, "127.0.0.1:PORT: connection refused");
}
