//! What the broker does wrong, as rules: which requests, and what happens to them.

use std::time::Duration;

use kommit_broker::{RequestMessage, ResponseMessage, Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;

/// A rule about the requests of one API. Unlimited unless said.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) api: ApiKey,
    pub(crate) rule: Rule,
}

impl Fault {
    /// A rule with this verdict.
    pub fn on(api: ApiKey, verdict: Verdict) -> Self {
        Self {
            api,
            rule: Rule::on(api, verdict),
        }
    }

    /// For one request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// For so many requests.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            rule: self.rule.times(count),
            ..self
        }
    }

    /// Not for the first `count` requests.
    #[must_use]
    pub fn skip(self, count: u64) -> Self {
        Self {
            rule: self.rule.skip(count),
            ..self
        }
    }

    /// Only for requests that name this partition.
    #[must_use]
    pub fn partition(self, topic: &str, partition: i32) -> Self {
        Self {
            rule: self.rule.partition(topic, partition),
            ..self
        }
    }

    /// Only for requests for which this holds.
    #[must_use]
    pub fn when(self, condition: impl Fn(&RequestMessage) -> bool + Send + Sync + 'static) -> Self {
        Self {
            rule: self.rule.when(condition),
            ..self
        }
    }
}

/// The requests are served, and their answers kept back until the release.
pub fn hold(api: ApiKey) -> Fault {
    Fault::on(api, Verdict::HoldResponse)
}

/// The requests are not served before the release.
pub fn hold_request(api: ApiKey) -> Fault {
    Fault::on(api, Verdict::Hold)
}

/// The requests are served, and answered after this time.
pub fn delay(api: ApiKey, time: Duration) -> Fault {
    Fault::on(api, Verdict::DelayResponse(time))
}

/// The requests are not served but answered with this code.
pub fn answer(api: ApiKey, code: ErrorCode) -> Fault {
    Fault::on(api, Verdict::Answer(code))
}

/// The requests are served and answered with this code all the same.
pub fn serve_then_answer(api: ApiKey, code: ErrorCode) -> Fault {
    Fault::on(api, Verdict::ServeThenAnswer(code))
}

/// The requests vanish, and everything behind them on their connection.
pub fn drop_request(api: ApiKey) -> Fault {
    Fault::on(api, Verdict::DropRequest)
}

/// The requests are served; no answer comes on their connection any more.
pub fn drop_answer(api: ApiKey) -> Fault {
    Fault::on(api, Verdict::DropResponse)
}

/// The connection ends before the requests are served.
pub fn disconnect_before(api: ApiKey) -> Fault {
    Fault::on(api, Verdict::DisconnectBefore)
}

/// The connection ends after the requests were served.
pub fn disconnect_after(api: ApiKey) -> Fault {
    Fault::on(api, Verdict::DisconnectAfter)
}

/// The connection ends at once, and the requests are served after this time.
pub fn deliver_late(api: ApiKey, time: Duration) -> Fault {
    Fault::on(api, Verdict::DeliverLate(time))
}

/// The requests are served, and their answers changed.
pub fn edit(api: ApiKey, edit: impl Fn(&mut ResponseMessage) + Send + Sync + 'static) -> Fault {
    Fault::on(api, Verdict::edit(edit))
}
