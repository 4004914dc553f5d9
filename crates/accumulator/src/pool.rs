//! Room 3a: the memory that batches live in, and the tasks that wait for some.
//!
//! `buffer.memory` is a hard bound on the bytes of all pages that exist, used or free. Waiters are served strictly in the order in which
//! they came; nobody overtakes them (stricter than A-65). Never blocks a thread and knows no runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use crate::doorbell::Doorbell;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PoolRefusal {
    /// All memory is in use, or others wait for it already.
    #[error("the buffer memory is exhausted")]
    Exhausted,
    /// The page could never be had.
    #[error("{size} bytes are more than the whole buffer memory of {total}")]
    TooLarge {
        /// The bytes that were asked for.
        size: usize,
        /// `buffer.memory`.
        total: usize,
    },
    /// The producer is closed.
    #[error("the producer was closed")]
    Closed,
}

/// A piece of the pool's memory that one batch is written into. It goes back to the pool when it is dropped.
pub struct Page {
    buffer: Vec<u8>,
    size: usize,
    pool: Arc<Pool>,
}

impl Page {
    /// How many bytes were taken from the pool for this page.
    pub fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("size", &self.size)
            .field("written", &self.buffer.len())
            .finish()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        debug_assert!(
            self.buffer.capacity() >= self.size,
            "a page is never swapped for a smaller one"
        );
        self.pool.give_back(std::mem::take(&mut self.buffer), self.size);
    }
}

/// Memory that has been set aside for a waiter; the buffer is allocated outside the lock when there is none to reuse.
#[derive(Debug)]
struct Grant {
    size: usize,
    recycled: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Waiter {
    size: usize,
    waker: Waker,
}

#[derive(Debug)]
struct PoolState {
    /// Bytes of the bound that no buffer stands for.
    unallocated: usize,
    /// Buffers of exactly the poolable size.
    free: Vec<Vec<u8>>,
    /// By number of arrival.
    waiting: BTreeMap<u64, Waiter>,
    /// What has been set aside for waiters that were woken and did not come yet.
    granted: BTreeMap<u64, Grant>,
    arrivals: u64,
    closed: bool,
}

/// The pool of pages (A-64 … A-68).
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    /// The number of waiters, readable without the lock (A-37 "exhausted").
    waiters: AtomicUsize,
    total: usize,
    poolable: usize,
    doorbell: Arc<Doorbell>,
}

impl Pool {
    pub(crate) fn new(total: usize, poolable: usize, doorbell: Arc<Doorbell>) -> Self {
        let state = PoolState {
            unallocated: total,
            free: Vec::new(),
            waiting: BTreeMap::new(),
            granted: BTreeMap::new(),
            arrivals: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            waiters: AtomicUsize::new(0),
            total,
            poolable,
            doorbell,
        }
    }

    pub(crate) fn try_page(self: &Arc<Self>, size: usize) -> Result<Page, PoolRefusal> {
        let grant = {
            let mut state = self.lock();
            self.refuse_for_ever(&state, size)?;
            if !state.waiting.is_empty() {
                return Err(PoolRefusal::Exhausted);
            }
            self.set_aside(&mut state, size).ok_or(PoolRefusal::Exhausted)?
        };
        Ok(self.page_from(grant))
    }

    pub(crate) fn page(self: &Arc<Self>, size: usize) -> PageWait<'_> {
        PageWait {
            pool: self,
            size,
            arrival: None,
        }
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiters() > 0
    }

    pub(crate) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::SeqCst)
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The bytes that could be had now, free buffers included.
    pub(crate) fn available(&self) -> usize {
        let state = self.lock();
        state.unallocated + state.free.len() * self.poolable
    }

    /// wakes all waiters, which find the pool closed. Pages still come back.
    pub(crate) fn close(&self) {
        let woken: Vec<Waker> = {
            let mut state = self.lock();
            state.closed = true;
            self.waiters.store(0, Ordering::SeqCst);
            std::mem::take(&mut state.waiting)
                .into_values()
                .map(|waiter| waiter.waker)
                .collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn refuse_for_ever(&self, state: &PoolState, size: usize) -> Result<(), PoolRefusal> {
        if size > self.total {
            return Err(PoolRefusal::TooLarge {
                size,
                total: self.total,
            });
        }
        if state.closed {
            Err(PoolRefusal::Closed)
        } else {
            Ok(())
        }
    }

    /// Takes `size` bytes out of what is free, a whole buffer where one fits exactly; `None` when there is not enough.
    fn set_aside(&self, state: &mut PoolState, size: usize) -> Option<Grant> {
        if size == self.poolable
            && let Some(recycled) = state.free.pop()
        {
            return Some(Grant {
                size,
                recycled: Some(recycled),
            });
        }
        if state.unallocated + state.free.len() * self.poolable < size {
            return None;
        }
        while state.unallocated < size {
            drop(state.free.pop().expect("free buffers make up the difference"));
            state.unallocated += self.poolable;
        }
        state.unallocated -= size;
        Some(Grant { size, recycled: None })
    }

    fn page_from(self: &Arc<Self>, grant: Grant) -> Page {
        let buffer = grant.recycled.unwrap_or_else(|| Vec::with_capacity(grant.size));
        Page {
            buffer,
            size: grant.size,
            pool: Arc::clone(self),
        }
    }

    fn give_back(&self, mut buffer: Vec<u8>, size: usize) {
        buffer.clear();
        let recycled = (size == self.poolable && buffer.capacity() == size).then_some(buffer);
        self.put(Grant { size, recycled });
    }

    fn put(&self, grant: Grant) {
        let woken = {
            let mut state = self.lock();
            self.put_locked(&mut state, grant);
            self.serve(&mut state)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn put_locked(&self, state: &mut PoolState, grant: Grant) {
        match grant.recycled {
            Some(buffer) => state.free.push(buffer),
            None => state.unallocated += grant.size,
        }
        debug_assert!(
            state.unallocated + state.free.len() * self.poolable <= self.total,
            "memory appeared"
        );
    }

    /// Grants memory to the first waiters for as long as it lasts, and returns whom to wake.
    fn serve(&self, state: &mut PoolState) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some((&arrival, first)) = state.waiting.first_key_value() {
            let size = first.size;
            let Some(grant) = self.set_aside(state, size) else {
                break;
            };
            let waiter = state
                .waiting
                .remove(&arrival)
                .expect("the first waiter was just seen");
            state.granted.insert(arrival, grant);
            woken.push(waiter.waker);
        }
        self.waiters.store(state.waiting.len(), Ordering::SeqCst);
        woken
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state
            .lock()
            .expect("nothing panics while the pool is locked")
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("total", &self.total)
            .field("available", &self.available())
            .finish()
    }
}

/// A place in the queue for memory.
///
/// # Cancel safety
///
/// Dropping it gives up the place. Memory that was set aside for it meanwhile goes to the next in the queue.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct PageWait<'a> {
    pool: &'a Arc<Pool>,
    size: usize,
    /// The place in the queue, while there is one.
    arrival: Option<u64>,
}

impl PageWait<'_> {
    /// What the queue has for somebody who came before: a grant, or another round of waiting with this waker instead of the last.
    fn again(
        &mut self,
        state: &mut PoolState,
        arrival: u64,
        waker: &mut Waker,
    ) -> Poll<Result<Grant, PoolRefusal>> {
        if let Some(waiter) = state.waiting.get_mut(&arrival) {
            std::mem::swap(&mut waiter.waker, waker);
            return Poll::Pending;
        }
        self.arrival = None;
        match state.granted.remove(&arrival) {
            // closed is looked at before memory.
            Some(grant) if state.closed => {
                self.pool.put_locked(state, grant);
                Poll::Ready(Err(PoolRefusal::Closed))
            }
            Some(grant) => Poll::Ready(Ok(grant)),
            None => Poll::Ready(Err(PoolRefusal::Closed)),
        }
    }

    /// What there is for a newcomer: memory, if nobody else waits for it, or a place in the queue.
    fn first_time(&mut self, state: &mut PoolState, waker: &Waker) -> Result<First, PoolRefusal> {
        self.pool.refuse_for_ever(state, self.size)?;
        if state.waiting.is_empty()
            && let Some(grant) = self.pool.set_aside(state, self.size)
        {
            return Ok(First::Served(grant));
        }
        let arrival = state.arrivals;
        state.arrivals += 1;
        state.waiting.insert(
            arrival,
            Waiter {
                size: self.size,
                waker: waker.clone(),
            },
        );
        self.pool.waiters.store(state.waiting.len(), Ordering::SeqCst);
        self.arrival = Some(arrival);
        Ok(if state.waiting.len() == 1 {
            First::WaitsAlone
        } else {
            First::WaitsBehindOthers
        })
    }
}

/// How the first look at the pool ended.
enum First {
    Served(Grant),
    WaitsAlone,
    WaitsBehindOthers,
}

impl Future for PageWait<'_> {
    type Output = Result<Page, PoolRefusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let pool = self.pool;
        // Cloned before and dropped behind the lock: a waker may run anything when it is cloned or dropped.
        let mut waker = context.waker().clone();
        let mut state = pool.lock();
        if let Some(arrival) = self.arrival {
            let looked = self.again(&mut state, arrival, &mut waker);
            drop(state);
            return looked.map_ok(|grant| pool.page_from(grant));
        }
        let first = self.first_time(&mut state, &waker);
        drop(state);
        match first? {
            First::Served(grant) => return Poll::Ready(Ok(pool.page_from(grant))),
            // everything queued becomes sendable when somebody starts to wait.
            First::WaitsAlone => pool.doorbell.ring(),
            First::WaitsBehindOthers => {}
        }
        Poll::Pending
    }
}

impl Drop for PageWait<'_> {
    fn drop(&mut self) {
        let Some(arrival) = self.arrival else { return };
        let (_own, woken) = {
            let mut state = self.pool.lock();
            let own = state.waiting.remove(&arrival);
            if let Some(grant) = state.granted.remove(&arrival) {
                self.pool.put_locked(&mut state, grant);
            }
            (own, self.pool.serve(&mut state))
        };
        woken.into_iter().for_each(Waker::wake);
    }
}
