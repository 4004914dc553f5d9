//! How many batches have been created and have no outcome yet, as one shared number.
//!
//! The count is raised before the gate is asked a second time and lowered when an outcome is given. Who closes the gate first and reads
//! zero afterwards knows that nothing is on its way (both sides are sequentially consistent).

use std::sync::atomic::Ordering;

use crate::sync::AtomicUsize;

#[derive(Debug, Default)]
pub(crate) struct Incomplete {
    batches: AtomicUsize,
}

impl Incomplete {
    pub(crate) fn enter(&self) {
        self.batches.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        let before = self.batches.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "a batch leaves the incomplete set once");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.load(Ordering::SeqCst) == 0
    }
}

/// The proof that no batch was incomplete when it was asked for (T-40): what a transaction may be ended on.
#[derive(Debug)]
pub struct NothingIncomplete(());

impl NothingIncomplete {
    pub(crate) fn proved_by(incomplete: &Incomplete) -> Option<Self> {
        incomplete.is_empty().then_some(Self(()))
    }
}
