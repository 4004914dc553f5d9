//! A TCP proxy between a client and a broker that does what bad networks do: it cuts, holds and loses.
//!
//! A Kafka client comes back to the address that the broker advertises, so a broker has a listener that advertises the port of its
//! proxy: [`RealKafka::proxy`](crate::kafka::RealKafka::proxy).
//!
//! Without a rule it never looks into the bytes and knows no frames: a cut may fall anywhere. With a [rule](Proxy::rule) it carries
//! whole frames, and the rule decides about each request.

mod frames;

pub use frames::{Decision, Request, Verdict};

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use frames::Rules;
use kafka_protocol::messages::ResponseKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// One of the two ways through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the broker: requests.
    ToBroker,
    /// From the broker to the client: answers.
    ToClient,
}

/// What happens to the bytes of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They go through.
    Pass,
    /// They wait until the direction passes again.
    Hold,
    /// They vanish. The connection is of no use afterwards: cut it.
    Lose,
}

/// When connections are cut by themselves. A plan holds for the connections that come after it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// Only on command.
    Never,
    /// After so many bytes of a direction.
    EveryBytes(Direction, u64),
    /// After a number of bytes of a direction that is drawn anew for each connection.
    RandomBytes(Direction, Range<u64>),
    /// After a time that is drawn anew for each connection.
    RandomTimes(Range<Duration>),
}

/// The proxy; dropping it closes its port and all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    control: watch::Sender<Control>,
    draws: Mutex<Draws>,
    connections: AtomicU64,
    cuts: AtomicU64,
    rules: Rules,
}

#[derive(Clone, Debug)]
struct Control {
    upstream: Option<String>,
    cuts: Cuts,
    to_broker: Flow,
    to_client: Flow,
    /// Counts the cuts on command; a connection lives in one generation.
    generation: u64,
}

impl Control {
    fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::ToBroker => &mut self.to_broker,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

impl Proxy {
    /// Takes a free port of 127.0.0.1. Until [`forward_to`](Self::forward_to) is called, and while there is nobody behind it, every
    /// connection is closed at once. What is random follows from the seed.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn bind(seed: u64) -> io::Result<Self> {
        Self::on(std::net::TcpListener::bind("127.0.0.1:0")?, seed)
    }

    /// As [`bind`](Self::bind), on a port that is already bound.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn on(listener: std::net::TcpListener, seed: u64) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let control = Control {
            upstream: None,
            cuts: Cuts::Never,
            to_broker: Flow::Pass,
            to_client: Flow::Pass,
            generation: 0,
        };
        let shared = Arc::new(Shared {
            control: watch::Sender::new(control),
            draws: Mutex::new(Draws::from_seed(seed)),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            rules: Rules::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Host and port, as a client wants it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections that come from now on go to this host and port.
    pub fn forward_to(&self, upstream: &str) {
        self.shared
            .control
            .send_modify(|control| control.upstream = Some(upstream.to_owned()));
    }

    /// Connections that come from now on are closed at once, until [`forward_to`](Self::forward_to) is called again.
    pub fn refuse(&self) {
        self.shared.control.send_modify(|control| control.upstream = None);
    }

    /// Sets what happens to the bytes of a direction, on all connections, at once.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.shared
            .control
            .send_modify(|control| *control.flow(direction) = flow);
    }

    /// Sets when connections are cut by themselves.
    pub fn plan(&self, cuts: Cuts) {
        self.shared.control.send_modify(|control| control.cuts = cuts);
    }

    /// Cuts every connection that there is now.
    pub fn cut(&self) {
        self.shared.control.send_modify(|control| control.generation += 1);
    }

    /// Sets what becomes of each request, on the connections that come from now on. They carry whole frames: plans to cut after bytes do
    /// not hold for them.
    pub fn rule(&self, rule: impl FnMut(&Request) -> Verdict + Send + 'static) {
        self.shared.rules.set(Box::new(rule));
    }

    /// Delivers every request that a rule has [kept back](Verdict::KeepBack) so far.
    pub fn deliver_kept_back(&self) {
        self.shared.rules.deliver_kept_back();
    }

    /// What the broker has said to the requests that were delivered late, in the order in which it said so.
    pub fn late_answers(&self) -> Vec<ResponseKind> {
        self.shared.rules.late_answers()
    }

    /// How many connections have been forwarded so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many of them this proxy has cut, by plan or on command.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // An error concerns the one connection that could not be accepted.
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let control = shared.control.borrow().clone();
        tokio::spawn(serve(client, control, Arc::clone(&shared)));
    }
}

/// Carries one connection until a side closes it or it is cut; both sockets close when this returns.
async fn serve(client: TcpStream, control: Control, shared: Arc<Shared>) {
    let Some(upstream) = &control.upstream else { return };
    let Ok(broker) = TcpStream::connect(upstream).await else {
        return;
    };
    // Without this, small frames would wait for acknowledgements, which is a slowness of the proxy and not of a network.
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    shared.connections.fetch_add(1, Ordering::Relaxed);

    let limits = shared.limits(&control.cuts);
    let switch = Switch(shared.control.subscribe());
    let carry = async {
        if shared.rules.is_set() {
            frames::carry(client, broker, upstream, (&shared.rules, switch)).await
        } else {
            carry_bytes(client, broker, &limits, switch).await
        }
    };
    let end = tokio::select! {
        end = carry => end,
        () = cut_on_command(shared.control.subscribe(), control.generation) => End::Cut,
        () = cut_after(limits.time) => End::Cut,
    };
    if end == End::Cut {
        shared.cuts.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Cut,
}

/// What one connection may carry, or how long it may live, before it is cut.
#[derive(Debug, Default)]
struct Limits {
    to_broker: Option<u64>,
    to_client: Option<u64>,
    time: Option<Duration>,
}

impl Shared {
    fn limits(&self, cuts: &Cuts) -> Limits {
        let of_bytes = |direction, bytes| match direction {
            Direction::ToBroker => Limits {
                to_broker: Some(bytes),
                ..Limits::default()
            },
            Direction::ToClient => Limits {
                to_client: Some(bytes),
                ..Limits::default()
            },
        };
        match cuts {
            Cuts::Never => Limits::default(),
            Cuts::EveryBytes(direction, bytes) => of_bytes(*direction, *bytes),
            Cuts::RandomBytes(direction, bytes) => of_bytes(*direction, self.draw(bytes.clone())),
            Cuts::RandomTimes(times) => {
                let nanoseconds = times.start.as_nanos() as u64..times.end.as_nanos() as u64;
                Limits {
                    time: Some(Duration::from_nanos(self.draw(nanoseconds))),
                    ..Limits::default()
                }
            }
        }
    }

    fn draw(&self, range: Range<u64>) -> u64 {
        self.draws
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .below(range)
    }
}

async fn cut_on_command(mut control: watch::Receiver<Control>, generation: u64) {
    // When the sender is gone, the proxy is gone: that is a cut as well.
    let _ = control.wait_for(|control| control.generation != generation).await;
}

async fn cut_after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Whether a direction passes, as one connection sees it.
#[derive(Clone, Debug)]
struct Switch(watch::Receiver<Control>);

impl Switch {
    /// What happens to bytes that have just been read; waits while they are held.
    async fn flow(&mut self, direction: Direction) -> Flow {
        let settled = self
            .0
            .wait_for(|control| *control.clone().flow(direction) != Flow::Hold)
            .await;
        settled.map_or(Flow::Lose, |control| *control.clone().flow(direction))
    }
}

/// Carries a connection as two streams of bytes.
async fn carry_bytes(client: TcpStream, broker: TcpStream, limits: &Limits, switch: Switch) -> End {
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let pump = |direction, from, to| Pump {
        direction,
        from,
        to,
        switch: switch.clone(),
    };
    let mut requests = pump(Direction::ToBroker, from_client, to_broker);
    let mut answers = pump(Direction::ToClient, from_broker, to_client);
    tokio::select! {
        end = requests.run(limits.to_broker) => end,
        end = answers.run(limits.to_client) => end,
    }
}

/// Carries the bytes of one direction.
#[derive(Debug)]
struct Pump {
    direction: Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    switch: Switch,
}

impl Pump {
    /// Runs until a side closes or the bytes that may pass have passed.
    async fn run(&mut self, limit: Option<u64>) -> End {
        let mut left = limit.unwrap_or(u64::MAX);
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let Ok(length @ 1..) = self.from.read(&mut buffer[..room]).await else {
                return End::Closed;
            };
            let is_through = self.switch.flow(self.direction).await == Flow::Pass;
            if is_through && self.to.write_all(&buffer[..length]).await.is_err() {
                return End::Closed;
            }
            left -= length as u64;
        }
        End::Cut
    }
}

/// SplitMix64: the same seed draws the same numbers.
#[derive(Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The sequence of numbers that belongs to this seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, within the range.
    pub fn below(&mut self, range: Range<u64>) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        range.start + mixed % (range.end - range.start).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy before a server that sends everything back.
    async fn before_an_echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy::bind(7).await.expect("a free port");
        proxy.forward_to(&listener.local_addr().expect("bound").to_string());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        proxy
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address())
            .await
            .expect("the proxy accepts")
    }

    async fn echoes(stream: &mut TcpStream, text: &[u8]) -> bool {
        let mut back = vec![0; text.len()];
        stream.write_all(text).await.is_ok() && stream.read_exact(&mut back).await.is_ok() && back == text
    }

    /// Everything that still comes, until the connection ends in whatever way.
    async fn rest(stream: &mut TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        received
    }

    #[tokio::test]
    async fn bytes_pass_until_the_connection_is_cut_and_the_next_one_is_whole_again() {
        let proxy = before_an_echo().await;
        let mut stream = connect(&proxy).await;
        assert!(echoes(&mut stream, b"before").await);
        proxy.cut();
        assert_eq!(rest(&mut stream).await, b"");
        assert!(echoes(&mut connect(&proxy).await, b"after").await);
        assert_eq!((proxy.connections(), proxy.cuts()), (2, 1));
    }

    #[tokio::test]
    async fn a_planned_cut_falls_exactly_after_its_bytes() {
        let proxy = before_an_echo().await;
        proxy.plan(Cuts::EveryBytes(Direction::ToClient, 5));
        for _ in 0..3 {
            let mut stream = connect(&proxy).await;
            stream.write_all(b"1234567").await.expect("room in the socket");
            assert_eq!(rest(&mut stream).await, b"12345");
        }
        assert_eq!(proxy.cuts(), 3);
    }

    #[tokio::test]
    async fn a_drawn_lifetime_ends_a_connection() {
        let proxy = before_an_echo().await;
        proxy.plan(Cuts::RandomTimes(
            Duration::from_millis(1)..Duration::from_millis(20),
        ));
        assert_eq!(rest(&mut connect(&proxy).await).await, b"");
        assert_eq!(proxy.cuts(), 1);
    }

    #[tokio::test]
    async fn held_bytes_arrive_after_the_release_and_lost_ones_never() {
        let proxy = before_an_echo().await;
        let mut stream = connect(&proxy).await;
        assert!(echoes(&mut stream, b"whole").await);
        proxy.set(Direction::ToClient, Flow::Hold);
        stream.write_all(b"held").await.expect("room in the socket");
        let early = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(early.is_err(), "nothing arrives while the direction is held");
        proxy.set(Direction::ToClient, Flow::Pass);
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.expect("released");
        assert_eq!(&back, b"held");

        proxy.set(Direction::ToBroker, Flow::Lose);
        stream.write_all(b"lost").await.expect("room in the socket");
        // The cut comes when the proxy has had time to read, and lose, what was written.
        sleep(Duration::from_millis(50)).await;
        proxy.cut();
        assert_eq!(rest(&mut stream).await, b"");
    }

    #[tokio::test]
    async fn a_refusing_proxy_closes_at_once() {
        let proxy = before_an_echo().await;
        proxy.refuse();
        assert_eq!(rest(&mut connect(&proxy).await).await, b"");
        assert_eq!(proxy.connections(), 0);
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers_within_the_range() {
        let draw = |seed| {
            let mut draws = Draws::from_seed(seed);
            [(); 8].map(|()| draws.below(10..20))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|number| (10..20).contains(number)));
    }
}
