//! Room 3b: how application tasks tell the sender core that a partition deserves a look.
//!
//! A list of queues and a callback. A queue that is already on the list is not put there again, and the callback is called only when the
//! list was empty, so that a sleeping core is woken once per ring (P-16). Never looks into a queue.

use std::sync::Arc;

use crate::queue::PartitionQueue;
use crate::sync::{Mutex, MutexGuard};

type Ring = dyn Fn() + Send + Sync;

pub(crate) struct Doorbell {
    list: Mutex<Vec<Arc<PartitionQueue>>>,
    ring: Box<Ring>,
}

impl Doorbell {
    pub(crate) fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            list: Mutex::new(Vec::new()),
            ring: Box::new(ring),
        }
    }

    /// Puts a queue on the list. The caller has made sure, under the queue's lock, that it is not there yet.
    pub(crate) fn ring_for(&self, queue: &Arc<PartitionQueue>) {
        let was_empty = {
            let mut list = self.lock();
            list.push(Arc::clone(queue));
            list.len() == 1
        };
        if was_empty {
            (self.ring)();
        }
    }

    /// Wakes the core without a queue to look at: somebody waits for memory, or the producer was closed.
    pub(crate) fn ring(&self) {
        (self.ring)();
    }

    /// Takes the list and leaves an empty one with the capacity of `taken`.
    pub(crate) fn take(&self, taken: &mut Vec<Arc<PartitionQueue>>) {
        debug_assert!(
            taken.is_empty(),
            "the queues of the last turn have been looked at"
        );
        std::mem::swap(&mut *self.lock(), taken);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<PartitionQueue>>> {
        self.list
            .lock()
            .expect("nothing panics while the doorbell's list is locked")
    }
}
