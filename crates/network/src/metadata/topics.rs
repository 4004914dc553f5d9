//! The working set: which topics the producer uses, and for how long they stay in it (N-54, N-56).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::time::Instant;

/// Whether a topic was ever answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Never answered yet.
    New,
    /// Answered, be it with an error.
    Answered,
}

/// The topics that metadata requests ask for.
#[derive(Debug)]
pub(crate) struct WorkingTopics {
    max_idle: Duration,
    topics: BTreeMap<Arc<str>, WorkingTopic>,
}

#[derive(Clone, Copy, Debug)]
struct WorkingTopic {
    standing: Standing,
    expires: Instant,
}

impl WorkingTopics {
    pub(crate) fn new(max_idle: Duration) -> Self {
        Self {
            max_idle,
            topics: BTreeMap::new(),
        }
    }

    /// N-54: uses a topic. `New` when it was not in the set; otherwise only its expiry moves.
    pub(crate) fn add(&mut self, topic: &str, now: Instant) -> Standing {
        let expires = now + self.max_idle;
        if let Some(known) = self.topics.get_mut(topic) {
            known.expires = expires;
            return Standing::Answered;
        }
        self.topics.insert(
            topic.into(),
            WorkingTopic {
                standing: Standing::New,
                expires,
            },
        );
        Standing::New
    }

    pub(crate) fn standing(&self, topic: &str) -> Option<Standing> {
        self.topics.get(topic).map(|topic| topic.standing)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    pub(crate) fn new_ones(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics
            .iter()
            .filter(|(_, topic)| topic.standing == Standing::New)
            .map(|(name, _)| name)
    }

    /// N-56: whether a topic stays. A new one does; one that was not used for too long leaves the set. Gives the set's own name.
    pub(crate) fn retain(&mut self, topic: &str, now: Instant) -> Option<Arc<str>> {
        let (name, working) = self.topics.get_key_value(topic)?;
        if working.standing == Standing::New || working.expires > now {
            return Some(Arc::clone(name));
        }
        self.topics.remove(topic);
        None
    }

    /// N-55, N-56: hands on the name of an answered topic if it stays, and takes it out of the new ones.
    pub(crate) fn answered_if_kept<R>(
        &mut self,
        topic: &str,
        now: Instant,
        keep: impl FnOnce(Arc<str>) -> R,
    ) {
        if let Some(name) = self.retain(topic, now) {
            self.answered(&name);
            keep(name);
        }
    }

    /// N-55: the topic was answered, be it with an error.
    pub(crate) fn answered(&mut self, topic: &str) {
        if let Some(working) = self.topics.get_mut(topic) {
            working.standing = Standing::Answered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N-56: unknown topics are dropped, new ones kept, used ones kept until they expire.
    #[test]
    fn a_topic_leaves_the_set_when_it_is_not_used() {
        let at = Instant::from_millis;
        let mut topics = WorkingTopics::new(Duration::from_millis(100));
        assert_eq!(topics.add("t", at(0)), Standing::New);
        assert!(topics.retain("t", at(500)).is_some(), "new topics stay");
        assert!(topics.retain("other", at(0)).is_none());

        topics.answered("t");
        assert_eq!(topics.add("t", at(50)), Standing::Answered);
        assert!(topics.retain("t", at(149)).is_some(), "50 + 100 > 149");
        assert!(topics.retain("t", at(150)).is_none());
        assert_eq!(topics.all().count(), 0);
    }

    /// N-55: a partial update asks for topics that were never answered.
    #[test]
    fn an_answered_topic_is_not_new() {
        let mut topics = WorkingTopics::new(Duration::from_millis(100));
        topics.add("a", Instant::ORIGIN);
        topics.add("b", Instant::ORIGIN);
        topics.answered("a");
        assert_eq!(topics.new_ones().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(topics.standing("a"), Some(Standing::Answered));
    }
}
