//! One connection between a producer and a broker: two streams of bytes, each in order, late, and cut where chance wants it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kommit_broker::ConnectionId as BrokerConnection;
use kommit_network::ConnectionId;
use kommit_protocol::api::ApiKey;
use kommit_protocol::frame::FrameSplitter;
use kommit_protocol::time::Instant;
use kommit_protocol::units::NodeId;

use super::random::Random;

/// The port of broker 1; broker i listens on the port i - 1 above it.
pub(crate) const FIRST_PORT: u16 = 9_092;
/// How long a byte travels at least.
const LATENCY: Duration = Duration::from_millis(1);
/// By how much it may be later, in microseconds.
const JITTER: u64 = 400;
/// No frame of a scene is longer.
const LONGEST_FRAME: usize = 64 * 1024 * 1024;

/// What happens to whoever connects to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reachable {
    /// The connection is taken.
    #[default]
    Yes,
    /// It is refused at once.
    Refused,
    /// Nobody answers.
    Silent,
}

/// Names a connection in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

impl LinkId {
    pub(crate) fn at_broker(self) -> BrokerConnection {
        BrokerConnection(self.0)
    }
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    /// Its place among all requests of the world.
    pub(crate) place: usize,
}

/// Bytes in one direction.
#[derive(Debug)]
pub(crate) struct Stream {
    /// When the last byte that was given in arrives.
    last_arrival: Instant,
    /// Cuts what arrives into frames.
    pub(crate) frames: FrameSplitter,
}

impl Stream {
    fn new() -> Self {
        Self {
            last_arrival: Instant::ORIGIN,
            frames: FrameSplitter::new(LONGEST_FRAME),
        }
    }

    /// When something that is sent now arrives: behind everything that was sent before.
    pub(crate) fn arrival(&mut self, now: Instant, random: &mut Random) -> Instant {
        let travel = LATENCY + Duration::from_micros(random.below(JITTER));
        self.last_arrival = self.last_arrival.max(now + travel);
        self.last_arrival
    }

    /// The pieces in which the bytes arrive, and when.
    pub(crate) fn pieces(
        &mut self,
        bytes: Bytes,
        now: Instant,
        random: &mut Random,
    ) -> Vec<(Instant, Bytes)> {
        let border = usize::try_from(random.below(bytes.len() as u64 + 1)).expect("a length is a usize");
        let halves = [bytes.slice(..border), bytes.slice(border..)];
        let halves = halves.into_iter().filter(|half| !half.is_empty());
        halves.map(|half| (self.arrival(now, random), half)).collect()
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) producer: usize,
    pub(crate) at_client: ConnectionId,
    pub(crate) broker: NodeId,
    pub(crate) up: Stream,
    pub(crate) down: Stream,
    /// Cuts what is written into frames, for the trace.
    pub(crate) outgoing: FrameSplitter,
    /// How many bytes the socket took.
    pub(crate) written: u64,
    /// Whether the socket takes bytes.
    pub(crate) is_stalled: bool,
    /// Whether the producer has closed it; the broker may not know yet.
    pub(crate) is_closed: bool,
    /// What was asked and is not answered, by correlation id.
    pub(crate) asked: BTreeMap<i32, Asked>,
}

impl Link {
    pub(crate) fn new(producer: usize, at_client: ConnectionId, broker: NodeId) -> Self {
        Self {
            producer,
            at_client,
            broker,
            up: Stream::new(),
            down: Stream::new(),
            outgoing: FrameSplitter::new(LONGEST_FRAME),
            written: 0,
            is_stalled: false,
            is_closed: false,
            asked: BTreeMap::new(),
        }
    }
}

/// Which broker listens on a port.
pub(crate) fn broker_at(port: u16) -> NodeId {
    NodeId(i32::from(port - FIRST_PORT) + 1)
}

/// Puts parts together that are written as one.
pub(crate) fn joined(parts: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}
