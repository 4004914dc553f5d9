//! A connection carried frame by frame, where a rule of the test decides about each request.
//!
//! Frames are read with the codec of `kafka-protocol`, which shares nothing with the client under test. What no rule touches goes through
//! as the very bytes that came.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, decode_request_header_from_buffer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Direction, End, Flow, Switch};

/// The default `message.max.bytes` and then some; a longer frame means that this is not Kafka's protocol.
const LONGEST_FRAME: usize = 16 << 20;
/// How long the answer to a late request may take: it is only noted down.
const LATE_ANSWER: Duration = Duration::from_secs(10);

/// A request on its way to the broker.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which request it is.
    pub api_key: ApiKey,
    /// In which version.
    pub version: i16,
    correlation_id: i32,
    body: Bytes,
    frame: Bytes,
}

/// What becomes of a request.
pub enum Verdict {
    /// It goes through, and so does its answer.
    Pass,
    /// The client's connection is cut at once. After this time the request arrives at the broker, on a connection of its own.
    DeliverLate(Duration),
    /// The same, but the request arrives when [`Proxy::deliver_kept_back`](super::Proxy::deliver_kept_back) is called.
    KeepBack,
    /// The client's connection is cut, and the request never arrives.
    Lose,
    /// The broker gets it and answers; instead of the answer, the client sees its connection cut.
    LoseAnswer,
    /// The broker gets it and answers; the client gets what this makes of the answer.
    ChangeAnswer(Box<dyn FnOnce(&mut ResponseKind) + Send>),
    /// The broker does not get it; the client gets this answer.
    Answer(Box<ResponseKind>),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "Pass",
            Self::DeliverLate(_) => "DeliverLate",
            Self::KeepBack => "KeepBack",
            Self::Lose => "Lose",
            Self::LoseAnswer => "LoseAnswer",
            Self::ChangeAnswer(_) => "ChangeAnswer",
            Self::Answer(_) => "Answer",
        })
    }
}

/// The rule of a test: it sees every request, of all connections, in the order in which they come.
pub(super) type Rule = Box<dyn FnMut(&Request) -> Verdict + Send>;

impl Request {
    /// What is asked, decoded.
    ///
    /// # Panics
    /// When the client has encoded it wrongly.
    pub fn decoded(&self) -> RequestKind {
        RequestKind::decode(self.api_key, &mut self.body.clone(), self.version)
            .unwrap_or_else(|error| panic!("{:?} version {}: {error}", self.api_key, self.version))
    }

    /// Is it EndTxn, and what does it decide?
    pub fn end_of_transaction(&self) -> Option<Decision> {
        let RequestKind::EndTxn(end) = (self.api_key == ApiKey::EndTxn).then(|| self.decoded())? else {
            return None;
        };
        Some(if end.committed {
            Decision::Commit
        } else {
            Decision::Abort
        })
    }

    /// Is it InitProducerId of a producer that has an identity already?
    pub fn renews_an_epoch(&self) -> bool {
        self.api_key == ApiKey::InitProducerId
            && matches!(self.decoded(), RequestKind::InitProducerId(request) if request.producer_id.0 >= 0)
    }

    fn read(frame: Bytes) -> io::Result<Self> {
        let mut rest = frame.clone();
        if rest.len() < 8 {
            return Err(io::Error::other("a request without a header"));
        }
        let RequestHeader {
            request_api_key,
            request_api_version,
            correlation_id,
            ..
        } = decode_request_header_from_buffer(&mut rest).map_err(io::Error::other)?;
        Ok(Self {
            api_key: ApiKey::try_from(request_api_key)
                .map_err(|()| io::Error::other("a request that Kafka does not have"))?,
            version: request_api_version,
            correlation_id,
            body: rest,
            frame,
        })
    }

    fn decode_answer(&self, frame: &Bytes) -> io::Result<ResponseKind> {
        let mut rest = frame.clone();
        let header = self.api_key.response_header_version(self.version);
        ResponseHeader::decode(&mut rest, header)
            .and_then(|_| ResponseKind::decode(self.api_key, &mut rest, self.version))
            .map_err(io::Error::other)
    }

    fn encode_answer(&self, answer: &ResponseKind) -> io::Result<Bytes> {
        let mut frame = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(self.correlation_id)
            .encode(&mut frame, self.api_key.response_header_version(self.version))
            .and_then(|()| answer.encode(&mut frame, self.version))
            .map_err(io::Error::other)?;
        Ok(frame.freeze())
    }
}

/// What an EndTxn decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything becomes visible.
    Commit,
    /// Nothing does.
    Abort,
}

/// What all connections of a proxy share when it carries frames.
#[derive(Default)]
pub(super) struct Rules {
    rule: Mutex<Option<Rule>>,
    late_answers: Arc<Mutex<Vec<ResponseKind>>>,
    /// Changes when what was kept back is to be delivered.
    deliver: watch::Sender<()>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("is_set", &self.is_set())
            .field("late_answers", &self.late_answers())
            .finish_non_exhaustive()
    }
}

impl Rules {
    pub(super) fn set(&self, rule: Rule) {
        *lock(&self.rule) = Some(rule);
    }

    pub(super) fn is_set(&self) -> bool {
        lock(&self.rule).is_some()
    }

    pub(super) fn late_answers(&self) -> Vec<ResponseKind> {
        lock(&self.late_answers).clone()
    }

    pub(super) fn deliver_kept_back(&self) {
        self.deliver.send_replace(());
    }

    fn verdict(&self, request: &Request) -> Verdict {
        match lock(&self.rule).as_mut() {
            Some(rule) => rule(request),
            None => Verdict::Pass,
        }
    }

    /// Ends at the next call to deliver what was kept back. When the proxy is gone first, that never comes.
    fn told_to_deliver(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut told = self.deliver.subscribe();
        async move {
            if told.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Brings a request to the broker by itself when it is time, and notes down what the broker says to it.
    fn deliver_late(
        &self,
        request: Request,
        upstream: String,
        time: impl Future<Output = ()> + Send + 'static,
    ) {
        let answers = Arc::clone(&self.late_answers);
        tokio::spawn(async move {
            time.await;
            let exchange = async {
                let mut broker = TcpStream::connect(upstream).await?;
                write_frame(&mut broker, &request.frame).await?;
                request.decode_answer(&read_frame(&mut broker).await?)
            };
            if let Ok(Ok(answer)) = timeout(LATE_ANSWER, exchange).await {
                lock(&answers).push(answer);
            }
        });
    }
}

/// What is to happen to the answers that are still out, by their correlation ids.
type Waiting = Mutex<BTreeMap<i32, (Request, AnswerPlan)>>;

enum AnswerPlan {
    Lose,
    Change(Box<dyn FnOnce(&mut ResponseKind) + Send>),
}

/// Carries one connection until a side closes it or a verdict cuts it.
pub(super) async fn carry(
    client: TcpStream,
    broker: TcpStream,
    upstream: &str,
    line: (&Rules, Switch),
) -> End {
    let (rules, switch) = line;
    let (mut from_client, to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let to_client = tokio::sync::Mutex::new(to_client);
    let waiting = Waiting::default();
    let requests = async {
        loop {
            let request = Request::read(read_frame(&mut from_client).await?)?;
            let is_through = switch.clone().flow(Direction::ToBroker).await == Flow::Pass;
            let plan = match rules.verdict(&request) {
                Verdict::Pass => None,
                Verdict::LoseAnswer => Some(AnswerPlan::Lose),
                Verdict::ChangeAnswer(change) => Some(AnswerPlan::Change(change)),
                Verdict::Lose => return Ok(End::Cut),
                Verdict::DeliverLate(after) => {
                    rules.deliver_late(request, upstream.to_owned(), sleep(after));
                    return Ok(End::Cut);
                }
                Verdict::KeepBack => {
                    rules.deliver_late(request, upstream.to_owned(), rules.told_to_deliver());
                    return Ok(End::Cut);
                }
                Verdict::Answer(answer) => {
                    let frame = request.encode_answer(&answer)?;
                    write_frame(&mut *to_client.lock().await, &frame).await?;
                    continue;
                }
            };
            let frame = request.frame.clone();
            if let Some(plan) = plan {
                lock(&waiting).insert(request.correlation_id, (request, plan));
            }
            if is_through {
                write_frame(&mut to_broker, &frame).await?;
            }
        }
    };
    let answers = async {
        loop {
            let mut frame = read_frame(&mut from_broker).await?;
            let is_through = switch.clone().flow(Direction::ToClient).await == Flow::Pass;
            let planned = lock(&waiting).remove(&correlation_id(&frame)?);
            match planned {
                None => {}
                Some((_, AnswerPlan::Lose)) => return Ok(End::Cut),
                Some((request, AnswerPlan::Change(change))) => {
                    let mut answer = request.decode_answer(&frame)?;
                    change(&mut answer);
                    frame = request.encode_answer(&answer)?;
                }
            }
            if is_through {
                write_frame(&mut *to_client.lock().await, &frame).await?;
            }
        }
    };
    let ended: io::Result<End> = tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    };
    ended.unwrap_or(End::Closed)
}

fn correlation_id(frame: &Bytes) -> io::Result<i32> {
    let (id, _) = frame
        .split_first_chunk()
        .ok_or_else(|| io::Error::other("an answer without a header"))?;
    Ok(i32::from_be_bytes(*id))
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let length = from.read_i32().await?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= LONGEST_FRAME)
        .ok_or_else(|| io::Error::other(format!("a frame of {length} bytes")))?;
    let mut frame = BytesMut::zeroed(length);
    from.read_exact(&mut frame).await?;
    Ok(frame.freeze())
}

async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &Bytes) -> io::Result<()> {
    let length = i32::try_from(frame.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes()[..], frame].concat()).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Proxy;
    use super::*;
    use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, TransactionalId};
    use kafka_protocol::protocol::StrBytes;
    use tokio::net::TcpListener;

    const VERSION: i16 = 3;

    fn end_txn(correlation_id: i32) -> Request {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(ApiKey::EndTxn as i16)
            .with_request_api_version(VERSION)
            .with_correlation_id(correlation_id)
            .encode(&mut frame, ApiKey::EndTxn.request_header_version(VERSION))
            .expect("encodable");
        EndTxnRequest::default()
            .with_transactional_id(TransactionalId(StrBytes::from_static_str("t")))
            .with_committed(correlation_id % 2 == 1)
            .encode(&mut frame, VERSION)
            .expect("encodable");
        Request::read(frame.freeze()).expect("a request")
    }

    /// A proxy before a broker that answers every EndTxn with the throttle time 7, and counts them.
    async fn before_a_broker(
        rule: impl FnMut(&Request) -> Verdict + Send + 'static,
    ) -> (Proxy, Arc<Mutex<Vec<i32>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Proxy::bind(7).await.expect("a free port");
        proxy.forward_to(&listener.local_addr().expect("bound").to_string());
        proxy.rule(rule);
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    while let Ok(frame) = read_frame(&mut stream).await {
                        let request = Request::read(frame).expect("a request");
                        lock(&log).push(request.correlation_id);
                        let answer = ResponseKind::EndTxn(EndTxnResponse::default().with_throttle_time_ms(7));
                        let frame = request.encode_answer(&answer).expect("encodable");
                        let _ = write_frame(&mut stream, &frame).await;
                    }
                });
            }
        });
        (proxy, arrived)
    }

    /// Sends it and returns the throttle time of the answer; none when the connection is cut.
    async fn ask(proxy: &Proxy, request: &Request) -> Option<i32> {
        let mut stream = TcpStream::connect(proxy.address())
            .await
            .expect("the proxy accepts");
        write_frame(&mut stream, &request.frame)
            .await
            .expect("room in the socket");
        let frame = read_frame(&mut stream).await.ok()?;
        assert_eq!(correlation_id(&frame).expect("a header"), request.correlation_id);
        match request.decode_answer(&frame).expect("an answer") {
            ResponseKind::EndTxn(answer) => Some(answer.throttle_time_ms),
            other => panic!("{other:?}"),
        }
    }

    async fn until_answered_late(proxy: &Proxy) {
        let answered = async {
            while proxy.late_answers().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LATE_ANSWER, answered).await.expect("it is delivered");
    }

    #[tokio::test]
    async fn a_request_that_was_kept_back_arrives_behind_the_one_that_the_client_sent_again() {
        let (proxy, arrived) = before_a_broker(|request| match request.end_of_transaction() {
            Some(Decision::Commit) => Verdict::KeepBack,
            _ => Verdict::Pass,
        })
        .await;
        assert_eq!(ask(&proxy, &end_txn(1)).await, None);
        assert_eq!(ask(&proxy, &end_txn(2)).await, Some(7));
        proxy.deliver_kept_back();
        until_answered_late(&proxy).await;
        assert_eq!(*lock(&arrived), [2, 1]);
    }

    #[tokio::test]
    async fn a_late_request_arrives_by_itself() {
        let late = |_: &Request| Verdict::DeliverLate(Duration::from_millis(30));
        let (proxy, arrived) = before_a_broker(late).await;
        assert_eq!(ask(&proxy, &end_txn(1)).await, None);
        until_answered_late(&proxy).await;
        assert_eq!(*lock(&arrived), [1]);
    }

    #[tokio::test]
    async fn an_answer_is_lost_changed_or_made_up_as_the_rule_says() {
        let mut verdicts = vec![
            Verdict::Pass,
            Verdict::Answer(Box::new(ResponseKind::EndTxn(
                EndTxnResponse::default().with_throttle_time_ms(1),
            ))),
            Verdict::ChangeAnswer(Box::new(|answer| {
                if let ResponseKind::EndTxn(answer) = answer {
                    answer.throttle_time_ms += 1;
                }
            })),
            Verdict::LoseAnswer,
            Verdict::Lose,
        ];
        let (proxy, arrived) = before_a_broker(move |_| verdicts.pop().expect("five requests")).await;
        let mut answers = Vec::new();
        for number in 1..=5 {
            answers.push(ask(&proxy, &end_txn(number)).await);
        }
        assert_eq!(answers, [None, None, Some(8), Some(1), Some(7)]);
        assert_eq!(
            *lock(&arrived),
            [2, 3, 5],
            "the first was lost, the fourth answered here"
        );
    }
}
