//! Faults as rules: which requests a rule is about, and what happens to them (B-121). Decides; the core carries out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{NodeId, TopicPartition};

use crate::messages::{RequestMessage, ResponseMessage};

/// Decides whether a rule is about a request.
type Condition = Arc<dyn Fn(&RequestMessage) -> bool + Send + Sync>;
/// Changes an answer.
type Edit = Arc<dyn Fn(&mut ResponseMessage) + Send + Sync>;

/// What happens to a request that a rule is about.
#[derive(Clone)]
pub enum Verdict {
    /// Nothing special; the rule only counts, and hides the request from later rules.
    Pass,
    /// The request is served after this time.
    Delay(Duration),
    /// The request is served at once, and answered after this time.
    DelayResponse(Duration),
    /// The request is served when the rule is removed.
    Hold,
    /// The request is served at once, and answered when the rule is removed.
    HoldResponse,
    /// The request is never served, nor is anything after it on its connection, which stays open.
    DropRequest,
    /// The request is served; nothing is answered on its connection any more, which stays open.
    DropResponse,
    /// The request is not served but answered with this code: on the rule's partition if it has one, else everywhere.
    Answer(ErrorCode),
    /// The request is served, and then answered with this code nevertheless.
    ServeThenAnswer(ErrorCode),
    /// The connection is closed, the request is not served.
    DisconnectBefore,
    /// The request is served, then the connection is closed without an answer.
    DisconnectAfter,
    /// The connection is closed at once; the request is served after this time, for nobody.
    DeliverLate(Duration),
    /// The request is served, and its answer is changed.
    Edit(Edit),
    /// The answer carries a correlation id that is off by this.
    ShiftCorrelationId(i32),
    /// Only this many bytes of the answer's frame are sent, and the connection is closed.
    Truncate(usize),
    /// The answer's length prefix says this.
    WrongLength(i32),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("Pass"),
            Self::Delay(time) => write!(f, "Delay({time:?})"),
            Self::DelayResponse(time) => write!(f, "DelayResponse({time:?})"),
            Self::Hold => f.write_str("Hold"),
            Self::HoldResponse => f.write_str("HoldResponse"),
            Self::DropRequest => f.write_str("DropRequest"),
            Self::DropResponse => f.write_str("DropResponse"),
            Self::Answer(code) => write!(f, "Answer({code:?})"),
            Self::ServeThenAnswer(code) => write!(f, "ServeThenAnswer({code:?})"),
            Self::DisconnectBefore => f.write_str("DisconnectBefore"),
            Self::DisconnectAfter => f.write_str("DisconnectAfter"),
            Self::DeliverLate(time) => write!(f, "DeliverLate({time:?})"),
            Self::Edit(_) => f.write_str("Edit"),
            Self::ShiftCorrelationId(by) => write!(f, "ShiftCorrelationId({by})"),
            Self::Truncate(size) => write!(f, "Truncate({size})"),
            Self::WrongLength(length) => write!(f, "WrongLength({length})"),
        }
    }
}

impl Verdict {
    /// A verdict that lets `edit` change the answer: leader hints, omitted partitions, record errors, whatever can be said.
    pub fn edit(edit: impl Fn(&mut ResponseMessage) + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(edit))
    }
}

/// Which requests, and what happens to them.
#[derive(Clone)]
pub struct Rule {
    api: Option<ApiKey>,
    node: Option<NodeId>,
    partition: Option<TopicPartition>,
    condition: Option<Condition>,
    skip: u64,
    times: Option<u64>,
    verdict: Verdict,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("api", &self.api)
            .field("node", &self.node)
            .field("partition", &self.partition)
            .field("skip", &self.skip)
            .field("times", &self.times)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}

impl Rule {
    /// A rule about every request of one API.
    pub fn on(api: ApiKey, verdict: Verdict) -> Self {
        Self {
            api: Some(api),
            ..Self::on_any(verdict)
        }
    }

    /// A rule about every request.
    pub fn on_any(verdict: Verdict) -> Self {
        Self {
            api: None,
            node: None,
            partition: None,
            condition: None,
            skip: 0,
            times: None,
            verdict,
        }
    }

    /// Only requests to this node.
    #[must_use]
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// Only requests that name this partition.
    #[must_use]
    pub fn partition(mut self, topic: &str, partition: i32) -> Self {
        self.partition = Some(TopicPartition::new(topic, partition));
        self
    }

    /// Only requests for which this holds.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&RequestMessage) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(Arc::new(condition));
        self
    }

    /// Not the first `count` requests that fit.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// At most this many requests; unlimited unless said.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = Some(count);
        self
    }

    /// One request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    fn is_about(&self, node: NodeId, request: &RequestMessage, partitions: &[TopicPartition]) -> bool {
        self.api.is_none_or(|api| api == request.key())
            && self.node.is_none_or(|wanted| wanted == node)
            && self
                .partition
                .as_ref()
                .is_none_or(|wanted| partitions.contains(wanted))
            && self.condition.as_ref().is_none_or(|condition| condition(request))
    }
}

/// Names a rule until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(u64);

/// A rule's decision about one request.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) rule: RuleId,
    pub(crate) verdict: Verdict,
    pub(crate) partition: Option<TopicPartition>,
}

/// The rules in force, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<(RuleId, Rule, u64)>,
    last: u64,
}

impl Rules {
    /// Puts a rule in force, behind the others.
    pub(crate) fn add(&mut self, rule: Rule) -> RuleId {
        self.last += 1;
        let id = RuleId(self.last);
        self.rules.push((id, rule, 0));
        id
    }

    /// Takes a rule out of force.
    pub(crate) fn remove(&mut self, id: RuleId) {
        self.rules.retain(|(rule, _, _)| *rule != id);
    }

    /// Whether the rule is still in force.
    pub(crate) fn has(&self, id: RuleId) -> bool {
        self.rules.iter().any(|(rule, _, _)| *rule == id)
    }

    /// Whether there is no rule at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many requests fitted the rule so far.
    pub(crate) fn matches(&self, id: RuleId) -> u64 {
        self.rules
            .iter()
            .find(|(rule, _, _)| *rule == id)
            .map_or(0, |(_, _, count)| *count)
    }

    /// The decision of the first rule that is about the request and not used up.
    pub(crate) fn judge(
        &mut self,
        node: NodeId,
        request: &RequestMessage,
        partitions: &[TopicPartition],
    ) -> Option<Judgement> {
        for (id, rule, count) in &mut self.rules {
            if !rule.is_about(node, request, partitions) {
                continue;
            }
            *count += 1;
            let is_skipped = *count <= rule.skip;
            let is_used_up = rule
                .times
                .is_some_and(|times| *count > rule.skip.saturating_add(times));
            if !is_skipped && !is_used_up {
                return Some(Judgement {
                    rule: *id,
                    verdict: rule.verdict.clone(),
                    partition: rule.partition.clone(),
                });
            }
        }
        None
    }
}
