//! The rules of `docs/spec/hazards.md` that a test can switch off, to see that the drill of the hazard fails without them.
//!
//! Without the feature `switches`, which only the tests of this workspace ask for, a rule is a constant: it costs nothing, and nothing can
//! switch it off. R2 and R11 are not here because they are types: a stamped batch cannot be written to, and memory goes back with its
//! last handle.

#[cfg(feature = "switches")]
use std::{cell::Cell, marker::PhantomData};

#[cfg(feature = "switches")]
thread_local! {
    static OFF: Cell<Option<HazardRule>> = const { Cell::new(None) };
}

/// A rule against a hazard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HazardRule {
    /// An attempt without proof is of unknown fate.
    R1,
    /// A name that may be in a log is never given to other records.
    R3,
    /// The epoch waits for every batch of unknown fate.
    R4,
    /// EndTxn goes last.
    R5,
    /// A transaction with an unanswered request is followed by a new epoch.
    R6,
    /// Behind a commit that may have been carried out there is no abort.
    R7,
    /// Only what is proven is told of a commit.
    R8,
    /// Recovery passes the present identity.
    R9,
    /// The version of a transaction is fixed when it begins.
    R10,
    /// A record that failed condemns its transaction.
    R12,
    /// Offsets of a former member are not tried again.
    R13,
    /// A request that is not answered in time costs its connection, and so does an answer to another one than the awaited.
    R14,
}

impl HazardRule {
    /// Whether the rule is kept: always.
    #[cfg(not(feature = "switches"))]
    pub const fn is_kept(self) -> bool {
        true
    }

    /// Whether the rule is kept: unless the test of this thread has switched it off.
    #[cfg(feature = "switches")]
    pub fn is_kept(self) -> bool {
        OFF.get() != Some(self)
    }

    /// Switches the rule off in this thread, for as long as the guard lives.
    #[cfg(feature = "switches")]
    pub fn switch_off(self) -> SwitchedOff {
        OFF.set(Some(self));
        SwitchedOff(PhantomData)
    }
}

/// Switches its rule on again when it is dropped, in the thread where it was switched off.
#[cfg(feature = "switches")]
#[derive(Debug)]
#[must_use = "the rule is kept again when the guard is dropped"]
pub struct SwitchedOff(PhantomData<*const ()>);

#[cfg(feature = "switches")]
impl Drop for SwitchedOff {
    fn drop(&mut self) {
        OFF.set(None);
    }
}
