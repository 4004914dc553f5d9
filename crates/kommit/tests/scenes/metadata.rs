//! Waiting for metadata: it ends as soon as it is known that none can be had.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use kommit::{
    BrokerAddress, ConnectError, Connector, Producer, Record, SendErrorKind, TransactionalProducer,
};
use kommit_network::io::{BoxedRead, BoxedWrite};
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::{decode_request_header, encode_response};
use kommit_protocol::messages::{ApiVersionsResponse, ApiVersionsResponseApi};
use kommit_protocol::wire::Reader;
use kommit_sender::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::stage::{LONG, TOPIC, config};

/// A broker that understands ApiVersions and nothing else.
async fn broker_of_one_request() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            answer(&mut stream).await;
            open.push(stream);
        }
    });
    (address, task)
}

async fn answer(stream: &mut TcpStream) {
    let length = stream.read_i32().await.expect("a request");
    let mut request = vec![0; usize::try_from(length).expect("a length")];
    stream.read_exact(&mut request).await.expect("the whole request");
    let header = decode_request_header(&mut Reader::new(request.into())).expect("a header");
    let response = ApiVersionsResponse {
        api_keys: vec![ApiVersionsResponseApi {
            api_key: ApiKey::ApiVersions.code(),
            min_version: 0,
            max_version: 4,
        }],
        ..ApiVersionsResponse::default()
    };
    let bytes = encode_response(
        ApiKey::ApiVersions,
        header.api_version,
        header.correlation_id,
        &response,
    );
    stream.write_all(&bytes).await.expect("the client reads");
}

/// N-62, N-63: a send that waits for metadata is told at once what stops it, long before `max.block.ms`; the next one is told again by the
/// next attempt.
#[tokio::test]
async fn a_wait_for_metadata_that_cannot_be_had_ends() {
    let (address, task) = broker_of_one_request().await;
    let keys = [("max.block.ms", "60000")];
    let producer = Producer::new(config(&address.to_string(), &keys)).expect("nothing is connected yet");
    for _ in 0..2 {
        let send = tokio::time::timeout(LONG, producer.send(Record::new(TOPIC).value("v")));
        let error = send.await.expect("before max.block.ms").expect_err("no metadata");
        let text = error.to_string();
        assert!(
            text.contains(&format!("{address}: the broker does not know Metadata")),
            "{text}"
        );
        assert!(text.contains(TOPIC), "{text}");
        assert_eq!(error.kind(), &SendErrorKind::NotInMetadata);
        assert!(!error.may_be_written());
    }
    task.abort();
}

/// A name service that knows nobody. A real one may take as long as this scene to say so.
struct NobodyIsKnown;

impl Connector for NobodyIsKnown {
    fn connect<'s, 'a, 'f>(
        &'s self,
        _address: &'a BrokerAddress,
    ) -> Pin<Box<dyn Future<Output = io::Result<(BoxedRead, BoxedWrite)>> + Send + 'f>>
    where
        's: 'f,
        'a: 'f,
        Self: 'f,
    {
        let unknown = io::Error::new(io::ErrorKind::NotFound, "cannot resolve the host");
        Box::pin(std::future::ready(Err(unknown)))
    }
}

/// N-18: when no bootstrap host can be resolved, nobody waits for `max.block.ms`: a connect finds the setting wrong, and a send fails.
#[tokio::test]
async fn hosts_that_nobody_knows_are_told_at_once() {
    let keys = [("max.block.ms", "60000")];
    let servers = "no-such-host.invalid:9092,nor-this-one.invalid:9092";
    let connector = || Arc::new(NobodyIsKnown);
    let clock = || Arc::new(SystemClock::start());
    let producer = Producer::with_connector(config(servers, &keys), connector(), clock()).expect("legal");
    let send = tokio::time::timeout(LONG, producer.send(Record::new(TOPIC).value("v")));
    let sent = send.await.expect("before max.block.ms").expect_err("no broker");
    let named = config(servers, &[keys[0], ("transactional.id", "t")]);
    let connect = TransactionalProducer::connect_with(named, connector(), clock());
    let connected = tokio::time::timeout(LONG, connect)
        .await
        .expect("before max.block.ms");
    let connected = connected.expect_err("no broker");
    assert!(matches!(connected, ConnectError::Config(_)), "{connected}");
    for text in [sent.to_string(), connected.to_string()] {
        for host in ["no-such-host.invalid:9092", "nor-this-one.invalid:9092"] {
            assert!(
                text.contains(&format!("{host}: cannot resolve the host")),
                "{text}"
            );
        }
    }
}
