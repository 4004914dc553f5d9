//! When metadata is asked for again (N-49 … N-53): demands, ages and two backoffs. Draws no jitter itself and sends nothing.

use std::time::Duration;

use kommit_protocol::backoff::Backoff;
use kommit_protocol::time::Instant;

/// Which topics a metadata request asks for (N-55).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Only topics that were never answered yet.
    NewTopics,
    /// All topics of the working set.
    AllTopics,
}

/// Whether somebody wants a full update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    None,
    FullUpdate,
}

/// What a metadata request was made for; comes back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpdateRequest {
    pub(crate) scope: Scope,
    request_version: u64,
}

/// The timing of metadata requests.
#[derive(Debug)]
pub(crate) struct Schedule {
    backoff: Backoff,
    max_age: Duration,
    demand: Demand,
    /// N-48: grows with every topic that is new; a partial update is needed while it is ahead of `answered_version`.
    request_version: u64,
    answered_version: u64,
    last_refresh: Option<Instant>,
    last_success: Option<Instant>,
    failed_attempts: u32,
    equivalent_responses: u32,
    /// Drawn once per refresh, so that the next moment is the same however often it is asked for.
    jitter: f64,
    in_progress: Option<UpdateRequest>,
}

impl Schedule {
    pub(crate) fn new(backoff: Backoff, max_age: Duration) -> Self {
        Self {
            backoff,
            max_age,
            demand: Demand::FullUpdate,
            request_version: 0,
            answered_version: 0,
            last_refresh: None,
            last_success: None,
            failed_attempts: 0,
            equivalent_responses: 0,
            jitter: 0.0,
            in_progress: None,
        }
    }

    /// N-50: the later of "needed" and "allowed"; `None` while a request is out.
    pub(crate) fn next_update(&self) -> Option<Instant> {
        if self.in_progress.is_some() {
            return None;
        }
        let expires = self
            .last_success
            .map_or(Instant::ORIGIN, |success| success + self.max_age);
        let needed = if self.is_requested() {
            Instant::ORIGIN
        } else {
            expires
        };
        Some(needed.max(self.allowed()))
    }

    /// When the last full update was applied.
    pub(crate) fn last_success(&self) -> Option<Instant> {
        self.last_success
    }

    /// Whether an update should be asked for in this turn.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next_update().is_some_and(|next| next <= now)
    }

    /// Whether a request is out.
    pub(crate) fn is_in_progress(&self) -> bool {
        self.in_progress.is_some()
    }

    /// Whether a full update was ever answered.
    pub(crate) fn has_succeeded(&self) -> bool {
        self.last_success.is_some()
    }

    /// N-55: the request that is made now.
    pub(crate) fn begin(&mut self, now: Instant) -> UpdateRequest {
        let is_fresh = self
            .last_success
            .is_some_and(|success| success + self.max_age > now);
        let scope = if self.demand == Demand::None && is_fresh {
            Scope::NewTopics
        } else {
            Scope::AllTopics
        };
        let request = UpdateRequest {
            scope,
            request_version: self.request_version,
        };
        self.in_progress = Some(request);
        request
    }

    /// The request at hand ended without an answer that counts in either way (N-61 c).
    pub(crate) fn abandon(&mut self) {
        self.in_progress = None;
    }

    /// N-53: a failed update keeps its demands.
    pub(crate) fn failed(&mut self, now: Instant, jitter: f64) {
        self.in_progress = None;
        self.last_refresh = Some(now);
        self.failed_attempts = self.failed_attempts.saturating_add(1);
        self.equivalent_responses = 0;
        self.jitter = jitter;
    }

    /// N-53: an applied response settles what its request was made for. It counts as equivalent until [`Schedule::news`] (N-52).
    pub(crate) fn succeeded(&mut self, request: UpdateRequest, now: Instant, jitter: f64) {
        self.in_progress = None;
        if self
            .last_success
            .is_some_and(|success| success + self.max_age <= now)
        {
            self.equivalent_responses = 0;
        }
        self.last_refresh = Some(now);
        self.failed_attempts = 0;
        self.equivalent_responses = self.equivalent_responses.saturating_add(1);
        self.jitter = jitter;
        self.answered_version = self.answered_version.max(request.request_version);
        if request.scope == Scope::AllTopics {
            self.last_success = Some(now);
            self.demand = Demand::None;
        }
    }

    /// N-52: the response brought something new.
    pub(crate) fn news(&mut self) {
        self.equivalent_responses = 0;
    }

    /// N-68: a full update is wanted, within the backoffs.
    pub(crate) fn request_full(&mut self) {
        self.demand = Demand::FullUpdate;
    }

    /// N-69: an update for topics that are still new.
    pub(crate) fn request_partial(&mut self) {
        self.request_version += 1;
    }

    /// N-54: a new topic does not wait for any backoff.
    pub(crate) fn request_at_once(&mut self) {
        self.request_partial();
        self.last_refresh = None;
        self.equivalent_responses = 0;
    }

    fn is_requested(&self) -> bool {
        self.demand == Demand::FullUpdate || self.answered_version < self.request_version
    }

    /// N-51: the longer of the backoff for failures and the backoff for responses that brought nothing new.
    fn allowed(&self) -> Instant {
        let Some(last_refresh) = self.last_refresh else {
            return Instant::ORIGIN;
        };
        let failed = self
            .backoff
            .after(self.failed_attempts.saturating_sub(1), self.jitter);
        let equivalent = self
            .equivalent_responses
            .checked_sub(1)
            .map(|count| self.backoff.after(count, self.jitter));
        last_refresh + failed.max(equivalent.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A jitter of exactly 1.
    const MIDDLE: f64 = 0.5;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn schedule() -> Schedule {
        let backoff = Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_millis(1_000),
        };
        Schedule::new(backoff, Duration::from_millis(300_000))
    }

    fn succeed(schedule: &mut Schedule, now: u64) {
        let request = schedule.begin(at(now));
        schedule.succeeded(request, at(now), MIDDLE);
    }

    /// N-50: without a demand, the next update is due when the last full one is too old.
    #[test]
    fn metadata_is_asked_for_again_when_it_is_too_old() {
        let mut schedule = schedule();
        assert!(schedule.is_due(Instant::ORIGIN));
        succeed(&mut schedule, 10);
        assert_eq!(schedule.next_update(), Some(at(300_010)));
        assert_eq!(schedule.begin(at(300_010)).scope, Scope::AllTopics);
        assert_eq!(schedule.next_update(), None);
    }

    /// N-49: an update is wanted for all topics, for new ones, or for both; each demand is settled by itself.
    #[test]
    fn both_demands_are_settled_by_themselves() {
        let mut schedule = schedule();
        succeed(&mut schedule, 0);
        assert!(!schedule.is_requested());
        schedule.request_partial();
        assert!(schedule.is_requested());
        let partial = schedule.begin(at(0));
        assert_eq!(partial.scope, Scope::NewTopics);
        schedule.request_full();
        schedule.succeeded(partial, at(0), MIDDLE);
        assert!(
            schedule.is_requested(),
            "the new topics were answered, all others were not"
        );
        assert_eq!(schedule.begin(at(0)).scope, Scope::AllTopics);
        schedule.abandon();
        assert!(schedule.is_requested());
        succeed(&mut schedule, 0);
        assert!(!schedule.is_requested());
    }

    /// N-51 (a): failed updates back off, 100, 200, 400 … at most 1000 ms, and keep their demand.
    #[test]
    fn failed_updates_back_off() {
        let mut schedule = schedule();
        for wait in [100, 200, 400, 800, 1_000, 1_000] {
            schedule.begin(at(0));
            schedule.failed(at(0), MIDDLE);
            assert_eq!(schedule.next_update(), Some(at(wait)));
        }
    }

    /// N-51 (b), N-52: responses without news back off as failures do; news end that.
    #[test]
    fn responses_without_news_back_off() {
        let mut schedule = schedule();
        for wait in [100, 200, 400] {
            succeed(&mut schedule, 0);
            schedule.request_full();
            assert_eq!(schedule.next_update(), Some(at(wait)));
        }
        succeed(&mut schedule, 0);
        schedule.news();
        schedule.request_full();
        assert_eq!(
            schedule.next_update(),
            Some(at(100)),
            "N-51: one backoff apart even after a success"
        );
    }

    /// N-54: a new topic is asked for at once, and alone.
    #[test]
    fn a_new_topic_does_not_wait() {
        let mut schedule = schedule();
        succeed(&mut schedule, 0);
        schedule.request_at_once();
        assert!(schedule.is_due(at(0)));
        assert_eq!(schedule.begin(at(0)).scope, Scope::NewTopics);
    }

    /// N-53: a topic that was added after the request was made is still wanted after its answer.
    #[test]
    fn an_answer_settles_only_what_its_request_knew() {
        let mut schedule = schedule();
        let request = schedule.begin(at(0));
        schedule.request_at_once();
        schedule.succeeded(request, at(5), MIDDLE);
        assert_eq!(schedule.next_update(), Some(at(105)));
        succeed(&mut schedule, 105);
        assert_eq!(
            schedule.next_update(),
            Some(at(300_005)),
            "the partial update leaves the age of the full one alone"
        );
    }
}
