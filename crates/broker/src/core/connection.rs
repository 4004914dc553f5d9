//! One connection: its waiting frames, and the one request that is being served (B-4). Never looks into a message.

use std::collections::VecDeque;

use bytes::Bytes;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame::RequestHeader;
use kommit_protocol::time::Instant;
use kommit_protocol::units::{NodeId, TopicPartition};

use crate::coordinator::Ticket;
use crate::dispatch::fetch::PendingFetch;
use crate::dispatch::produce::PendingProduce;
use crate::faults::{RuleId, Verdict};
use crate::messages::{RequestMessage, ResponseMessage};

/// What still goes out on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Everything.
    Open,
    /// Nothing, though requests are served: an answer before was lost.
    Silent,
    /// Nothing, and nothing is served: a request before was lost.
    Deaf,
    /// The client is gone.
    Gone,
}

/// The request that is being served.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) header: RequestHeader,
    pub(crate) after: After,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A rule delays it.
    Delayed { until: Instant, request: RequestMessage },
    /// A rule holds it.
    Held { rule: RuleId, request: RequestMessage },
    /// A produce waits for the transaction coordinator or for replication.
    Produce(Box<PendingProduce>),
    /// A fetch waits for records.
    Fetch(Box<PendingFetch>),
    /// A JoinGroup or SyncGroup waits for the other members.
    Group(Ticket),
    /// Done; the answer waits for its time.
    Answering {
        at: Instant,
        response: Box<ResponseMessage>,
    },
    /// Done; a rule holds the answer.
    HeldAnswer {
        rule: RuleId,
        response: Box<ResponseMessage>,
    },
}

/// What a rule does to the answer.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) rule: Option<RuleId>,
    pub(crate) verdict: Verdict,
    pub(crate) partition: Option<TopicPartition>,
    /// What the request looked like, where the answer needs it to be refused afterwards.
    pub(crate) refusal: Option<(ErrorCode, Box<ResponseMessage>)>,
}

impl After {
    /// The answer goes out as it is.
    pub(crate) fn plain() -> Self {
        Self {
            rule: None,
            verdict: Verdict::Pass,
            partition: None,
            refusal: None,
        }
    }
}

/// A client's connection to a node.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) node: NodeId,
    pub(crate) link: Link,
    pub(crate) current: Option<Current>,
    /// Before this no request is taken up (B-14).
    pub(crate) resume_at: Instant,
    frames: VecDeque<Bytes>,
}

impl Connection {
    /// A fresh connection to `node`.
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            link: Link::Open,
            current: None,
            resume_at: Instant::ORIGIN,
            frames: VecDeque::new(),
        }
    }

    /// Another frame waits. The owner of the sockets bounds how many.
    pub(crate) fn push(&mut self, frame: Bytes) {
        if self.link != Link::Gone {
            self.frames.push_back(frame);
        }
    }

    /// The next waiting frame, if it may be taken up.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<Bytes> {
        if self.link == Link::Deaf || now < self.resume_at {
            return None;
        }
        self.frames.pop_front()
    }

    /// The client went away: what is being served is finished, what waits is not begun.
    pub(crate) fn client_is_gone(&mut self) {
        self.link = Link::Gone;
        self.frames.clear();
        let for_client_only = |current: &Current| {
            matches!(
                current.stage,
                Stage::Fetch(_) | Stage::Group(_) | Stage::Answering { .. } | Stage::HeldAnswer { .. }
            )
        };
        if self.current.as_ref().is_some_and(for_client_only) {
            self.current = None;
        }
    }

    /// The node stopped: nothing is finished.
    pub(crate) fn drop_everything(&mut self) {
        self.client_is_gone();
        self.current = None;
    }

    /// Whether nothing will happen on it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.link == Link::Gone && self.current.is_none()
    }

    /// When it has to be looked at again, if nothing else happens.
    pub(crate) fn next_deadline(&self) -> Instant {
        match self.current.as_ref().map(|current| &current.stage) {
            Some(Stage::Delayed { until, .. }) => *until,
            Some(Stage::Answering { at, .. }) => *at,
            Some(Stage::Produce(pending)) => pending.next_deadline(),
            Some(Stage::Fetch(pending)) => pending.deadline(),
            Some(Stage::Held { .. } | Stage::HeldAnswer { .. } | Stage::Group(_)) => Instant::NEVER,
            None if self.frames.is_empty() || self.link == Link::Deaf => Instant::NEVER,
            None => self.resume_at,
        }
    }
}
