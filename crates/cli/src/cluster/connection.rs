//! One TCP connection to one broker: requests go out and are answered one by one. Tells a Kafka broker from something else.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit::BrokerAddress;
use kommit_protocol::api::{ApiKey, Request, VersionRange};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame;
use kommit_protocol::messages::ApiVersionsRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::failure::Failure;

const CLIENT_ID: &str = "kommit";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The first answer decides whether this is Kafka at all, and needs no work on the broker's side.
const FIRST_ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A larger frame is not an answer to anything that is asked here: fetches are limited to 8 MiB, or to one batch.
const MAX_FRAME: u32 = 128 * 1024 * 1024;
const READ_STEP: usize = 256 * 1024;

/// A connection that has agreed on versions.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    address: BrokerAddress,
    versions: BTreeMap<i16, VersionRange>,
    correlation: i32,
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The name of the host has no address, or no connection was accepted.
    Unreachable(io::Error),
    /// Nobody accepted in time.
    ConnectTimedOut,
    /// Something that does not speak Kafka's protocol.
    NotKafka(String),
    /// No answer in time.
    Silent,
    /// The connection ended.
    Lost(io::Error),
    /// The broker does not know the request in a version that this program knows.
    NoCommonVersion(ApiKey, Option<VersionRange>),
}

impl Trouble {
    /// Whether asking again, on a new connection, may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::ConnectTimedOut | Self::Silent | Self::Lost(_) => true,
            Self::NotKafka(_) | Self::NoCommonVersion(..) => false,
        }
    }

    /// The trouble with the broker at `address`, for a person.
    pub(super) fn told(&self, address: &BrokerAddress) -> Failure {
        const START: &str = "start the broker, or correct --bootstrap-servers";
        const PORT: &str = "correct the port: --bootstrap-servers takes the address of a PLAINTEXT listener of a Kafka broker";
        match self {
            Self::Unreachable(error) if error.kind() == io::ErrorKind::ConnectionRefused => Failure::failed(
                format!("no broker listens at {address} (connection refused)"),
                START,
            ),
            Self::Unreachable(error) => Failure::failed(
                format!("the broker at {address} cannot be reached: {error}"),
                START,
            ),
            Self::ConnectTimedOut => Failure::failed(
                format!(
                    "the broker at {address} did not accept a connection within {} s",
                    CONNECT_LIMIT.as_secs()
                ),
                "look at the network and at firewalls, or correct --bootstrap-servers",
            ),
            Self::NotKafka(reason) => Failure::failed(
                format!("what listens at {address} is not a Kafka broker: {reason}"),
                PORT,
            ),
            Self::Silent => Failure::failed(
                format!("the broker at {address} accepted the connection but did not answer"),
                PORT,
            ),
            Self::Lost(error) => Failure::failed(
                format!("the connection to the broker at {address} was lost: {error}"),
                START,
            ),
            Self::NoCommonVersion(key, Some(range)) => Failure::failed(
                format!(
                    "the broker at {address} speaks {key} only in versions {range}, this program in {}",
                    key.supported()
                ),
                "use a broker of Kafka 2.5 or newer",
            ),
            Self::NoCommonVersion(ApiKey::Metadata, None) => Failure::failed(
                format!(
                    "what listens at {address} speaks Kafka's protocol, but is not a broker: perhaps a controller's listener"
                ),
                PORT,
            ),
            Self::NoCommonVersion(key, None) => Failure::failed(
                format!("the broker at {address} does not know the request {key}"),
                "use a broker of Kafka 2.5 or newer",
            ),
        }
    }
}

impl Connection {
    /// Connects and asks for the broker's versions.
    pub(super) async fn open(address: &BrokerAddress) -> Result<Self, Trouble> {
        let connecting = TcpStream::connect((&*address.host, address.port));
        let stream = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
            Err(_) => return Err(Trouble::ConnectTimedOut),
            Ok(Err(error)) => return Err(Trouble::Unreachable(error)),
            Ok(Ok(stream)) => stream,
        };
        // One small request at a time: waiting for more to send would only cost time. Without the option it still works.
        let _ = stream.set_nodelay(true);
        let mut connection = Self {
            stream,
            address: address.clone(),
            versions: BTreeMap::new(),
            correlation: 0,
        };
        connection.agree_on_versions().await?;
        Ok(connection)
    }

    /// Who is at the other end.
    pub(super) fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// Asks in the newest version that both sides know, not above `max_version`. After trouble the connection is of no more use.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        max_version: i16,
    ) -> Result<R::Response, Trouble> {
        let theirs = self.versions.get(&R::KEY.code()).copied();
        let ours = VersionRange::new(R::KEY.supported().min, R::KEY.supported().max.min(max_version));
        let agreed = theirs.and_then(|theirs| ours.intersect(theirs));
        let version = agreed.ok_or(Trouble::NoCommonVersion(R::KEY, theirs))?.max;
        self.exchange(request, version, ANSWER_LIMIT).await
    }

    /// Version 0 is understood by every broker; features do not matter here.
    async fn agree_on_versions(&mut self) -> Result<(), Trouble> {
        let exchange = self
            .exchange(&ApiVersionsRequest::default(), 0, FIRST_ANSWER_LIMIT)
            .await;
        let response = exchange.map_err(|trouble| match trouble {
            Trouble::Lost(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Trouble::NotKafka("it closed the connection at the first request".to_owned())
            }
            other => other,
        })?;
        if response.error_code != ErrorCode::None {
            return Err(Trouble::NotKafka(format!(
                "it answered ApiVersions with {}",
                response.error_code.name()
            )));
        }
        let ranges = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, VersionRange::new(api.min_version, api.max_version)));
        self.versions = ranges.collect();
        Ok(())
    }

    async fn exchange<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response, Trouble> {
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        let frame = frame::encode_request(request, version, self.correlation, Some(CLIENT_ID));
        let answering = async {
            self.stream.write_all(&frame).await.map_err(Trouble::Lost)?;
            read_frame(&mut self.stream).await
        };
        let body = tokio::time::timeout(limit, answering)
            .await
            .map_err(|_| Trouble::Silent)??;
        let (correlation, response) = frame::decode_response::<R>(body, version).map_err(|error| {
            Trouble::NotKafka(format!("its answer to {} makes no sense: {error}", R::KEY))
        })?;
        if correlation != self.correlation {
            return Err(Trouble::NotKafka(format!(
                "it answered request {correlation}, not {}",
                self.correlation
            )));
        }
        Ok(response)
    }
}

async fn read_frame(stream: &mut TcpStream) -> Result<Bytes, Trouble> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await.map_err(Trouble::Lost)?;
    let length = u32::from_be_bytes(prefix);
    if let Some(reason) = foreign(prefix) {
        return Err(Trouble::NotKafka(reason));
    }
    let length = usize::try_from(length).expect("a checked frame length fits");
    let mut body = BytesMut::new();
    // The memory grows with what arrives, not with what was announced.
    while body.len() < length {
        body.reserve((length - body.len()).min(READ_STEP));
        let mut rest = (&mut *stream).take((length - body.len()) as u64);
        if rest.read_buf(&mut body).await.map_err(Trouble::Lost)? == 0 {
            return Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(body.freeze())
}

/// What the first four bytes of an answer betray, when they are no frame length.
fn foreign(prefix: [u8; 4]) -> Option<String> {
    match prefix {
        [b'H', b'T', b'T', b'P'] => Some("it speaks HTTP".to_owned()),
        [0x15, 3, ..] => Some("it speaks TLS, which this program does not yet".to_owned()),
        _ if u32::from_be_bytes(prefix) > MAX_FRAME || u32::from_be_bytes(prefix) < 4 => Some(format!(
            "its answer begins with {:?}",
            prefix.escape_ascii().to_string()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Opens a connection to something that answers each connection with `answer` and then closes it.
    async fn opening_at(answer: &'static [u8]) -> Failure {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 64];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let address = BrokerAddress::new("127.0.0.1", port);
        let failure = Connection::open(&address)
            .await
            .expect_err("that is not Kafka")
            .told(&address);
        assert!(
            failure.what.contains(&address.to_string()),
            "the address is named: {failure}"
        );
        failure
    }

    #[tokio::test]
    async fn what_is_not_kafka_is_told_apart() {
        for (answer, word) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
            (b"\x15\x03\x03\x00\x02\x02\x16", "TLS"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-"),
            (b"\0\0\0\0\0\0\0\0", "begins with"),
            (b"\0\0\0\x06\0\0\0\x01\0\0", "makes no sense"),
            (b"\0\0\0\x0a\0\0\0\x63\0\0\0\0\0\0", "answered request 99"),
            (b"", "closed the connection"),
        ] {
            let failure = opening_at(answer).await;
            assert!(
                failure.what.contains("not a Kafka broker") && failure.what.contains(word),
                "{word}: {failure}"
            );
            assert!(failure.next.contains("--bootstrap-servers"), "{failure}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_accepts_and_says_nothing_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = BrokerAddress::new("127.0.0.1", listener.local_addr().expect("bound").port());
        let failure = Connection::open(&address)
            .await
            .expect_err("it is silent")
            .told(&address);
        assert!(failure.what.contains("did not"), "{failure}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = BrokerAddress::new("127.0.0.1", listener.local_addr().expect("bound").port());
        drop(listener);
        let failure = Connection::open(&address)
            .await
            .expect_err("nobody listens")
            .told(&address);
        assert!(
            failure.what.contains("no broker listens") && failure.what.contains(&address.to_string()),
            "{failure}"
        );
    }
}
