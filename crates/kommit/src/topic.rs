//! A topic that is kept at hand, so that its records need no look-up by name. Holds nothing that outlives its producer's records.

use std::fmt;
use std::sync::Arc;

use kommit_accumulator::{Accumulator, TopicQueues};

/// A topic of a producer, for [`Record::to`](crate::Record::to). Cheap to clone; with another producer it is as good as the topic's name.
#[derive(Clone)]
pub struct Topic {
    queues: Arc<TopicQueues>,
    owner: Arc<Accumulator>,
}

impl Topic {
    pub(crate) fn new(queues: Arc<TopicQueues>, owner: &Arc<Accumulator>) -> Self {
        Self {
            queues,
            owner: Arc::clone(owner),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        self.queues.name()
    }

    /// The queues, unless they belong to another producer, or the topic has more partitions by now.
    pub(crate) fn queues_of(&self, producer: &Arc<Accumulator>) -> Option<&TopicQueues> {
        let is_valid = Arc::ptr_eq(&self.owner, producer) && !self.queues.is_outgrown();
        is_valid.then_some(&*self.queues)
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.owner, &other.owner) && self.name() == other.name()
    }
}

impl Eq for Topic {}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name()).finish()
    }
}
