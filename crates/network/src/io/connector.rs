//! How a connection to an address comes about. TLS and authentication, where there are any, are part of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::address::BrokerAddress;

/// The reading half of a connection.
pub type BoxedRead = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half of a connection. One that says `is_write_vectored` gets a request in a single system call.
pub type BoxedWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Makes connections.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects to `address`. An error of the kind `PermissionDenied` says that authentication failed, one of the kind `NotFound` that the
    /// host has no address (N-18); every other error that no connection could be established.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the attempt and leaves nothing behind.
    async fn connect(&self, address: &BrokerAddress) -> io::Result<(BoxedRead, BoxedWrite)>;
}

/// Connects over TCP: resolves the host each time, and tries all its addresses in turn (N-11, N-16).
#[derive(Clone, Debug)]
pub struct TcpConnector {
    /// How long an address may take before the next one is tried; the last one may take as long as the attempt.
    pub per_address: Duration,
    /// `send.buffer.bytes`; `None` leaves it to the system (C-29).
    pub send_buffer: Option<u32>,
    /// `receive.buffer.bytes`; `None` leaves it to the system (C-29).
    pub receive_buffer: Option<u32>,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self {
            per_address: Duration::from_secs(3),
            send_buffer: Some(128 << 10),
            receive_buffer: Some(32 << 10),
        }
    }
}

impl TcpConnector {
    /// All addresses of the host, of both families: where "localhost" means `::1` first, a broker that listens only on IPv4 is
    /// found nevertheless. (The reference keeps only the family of the first address, but gets IPv4 first, N-16.)
    async fn resolve(address: &BrokerAddress) -> io::Result<Vec<SocketAddr>> {
        let failed = |error: io::Error| {
            let text = format!("cannot resolve the host: {error}");
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        Ok(lookup_host((&*address.host, address.port))
            .await
            .map_err(failed)?
            .collect())
    }

    /// N-11: keep-alive, no delay, and the configured buffer sizes.
    async fn open(&self, candidate: SocketAddr) -> io::Result<TcpStream> {
        let socket = if candidate.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_keepalive(true)?;
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        let stream = socket.connect(candidate).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, address: &BrokerAddress) -> io::Result<(BoxedRead, BoxedWrite)> {
        let candidates = Self::resolve(address).await?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let count = candidates.len();
        for (number, candidate) in candidates.into_iter().enumerate() {
            let attempt = self.open(candidate);
            let result = if number + 1 == count {
                attempt.await
            } else {
                let in_time = tokio::time::timeout(self.per_address, attempt).await;
                in_time.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")))
            };
            match result {
                Ok(stream) => {
                    let (read, write) = stream.into_split();
                    return Ok((Box::new(read), Box::new(write)));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}
