//! The locks and atomics of the shared half: the standard library's, or those of the model checker that `tests/models.rs` runs under.
//!
//! What only hints (the load of partitions, the learnt ratio) and what is set once and waits for nothing keeps the standard library's.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize},
};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize},
};
