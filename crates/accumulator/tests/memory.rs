//! The pool: a hard bound, a fair queue, and nothing lost by those who stop waiting.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kommit_accumulator::{AccumulatorConfig, Page, PageWait, PoolRefusal};
use support::{BATCH_SIZE, Scene, Wakes, config, scene_with};

/// Memory for exactly two batches.
fn two_pages() -> Scene {
    scene_with(
        1,
        AccumulatorConfig {
            buffer_memory: 2 * BATCH_SIZE,
            ..config()
        },
    )
}

struct Waiting<'a> {
    wait: PageWait<'a>,
    wakes: Arc<Wakes>,
}

fn wait_for(scene: &Scene, size: usize) -> Waiting<'_> {
    let mut waiting = Waiting {
        wait: scene.accumulator.page(size),
        wakes: Arc::default(),
    };
    assert!(waiting.poll().is_pending());
    waiting
}

impl Waiting<'_> {
    fn poll(&mut self) -> Poll<Result<Page, PoolRefusal>> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        Pin::new(&mut self.wait).poll(&mut Context::from_waker(&waker))
    }

    fn page(&mut self) -> Page {
        match self.poll() {
            Poll::Ready(page) => page.unwrap(),
            Poll::Pending => panic!("a page was expected"),
        }
    }
}

fn page(scene: &Scene) -> Page {
    scene.accumulator.try_page(BATCH_SIZE).unwrap()
}

/// no more than `buffer.memory` is ever given out.
#[test]
fn the_buffer_memory_is_a_hard_bound() {
    let scene = two_pages();
    let first = page(&scene);
    let _second = page(&scene);
    assert_eq!(scene.accumulator.try_page(1).unwrap_err(), PoolRefusal::Exhausted);
    drop(first);
    assert_eq!(scene.accumulator.available_memory(), BATCH_SIZE);
    let _third = page(&scene);
    assert_eq!(scene.accumulator.available_memory(), 0);
}

/// what can never be had is refused at once, whatever the pool's state.
#[test]
fn a_page_larger_than_the_memory_is_refused_at_once() {
    let scene = two_pages();
    scene.accumulator.close();
    let refusal = scene.accumulator.try_page(2 * BATCH_SIZE + 1).unwrap_err();
    assert_eq!(
        refusal,
        PoolRefusal::TooLarge {
            size: 2 * BATCH_SIZE + 1,
            total: 2 * BATCH_SIZE
        }
    );
}

/// free buffers are given up for a page of another size.
#[test]
fn free_buffers_make_room_for_a_large_page() {
    let scene = two_pages();
    drop((page(&scene), page(&scene)));
    let large = scene.accumulator.try_page(2 * BATCH_SIZE).unwrap();
    assert_eq!(
        (large.size(), scene.accumulator.available_memory()),
        (2 * BATCH_SIZE, 0)
    );
}

/// first come, first served, with every page that comes back.
#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let scene = two_pages();
    let held = [page(&scene), page(&scene)];
    let mut first = wait_for(&scene, BATCH_SIZE);
    let mut second = wait_for(&scene, BATCH_SIZE);
    assert_eq!(scene.accumulator.waiting_for_memory(), 2);
    let [one, other] = held;
    drop(one);
    assert_eq!((first.wakes.count(), second.wakes.count()), (1, 0));
    assert!(second.poll().is_pending());
    let _first = first.page();
    drop(other);
    let _second = second.page();
}

/// A-65, stricter: a small request does not overtake a large one that waits, so that the large one cannot starve.
#[test]
fn nobody_overtakes_a_waiter() {
    let scene = two_pages();
    let held = page(&scene);
    let mut large = wait_for(&scene, 2 * BATCH_SIZE);
    assert_eq!(scene.accumulator.try_page(1).unwrap_err(), PoolRefusal::Exhausted);
    let mut small = wait_for(&scene, 1);
    drop(held);
    let taken = large.page();
    assert!(small.poll().is_pending());
    drop(taken);
    assert_eq!(small.page().size(), 1);
}

/// Cancellation: a waiter that was served and goes away passes the memory on.
#[test]
fn a_dropped_waiter_passes_its_memory_on() {
    let scene = two_pages();
    let held = [page(&scene), page(&scene)];
    let first = wait_for(&scene, BATCH_SIZE);
    let mut second = wait_for(&scene, BATCH_SIZE);
    let [one, _other] = held;
    drop(one);
    assert_eq!((first.wakes.count(), second.wakes.count()), (1, 0));
    drop(first);
    assert_eq!(second.wakes.count(), 1);
    let _page = second.page();
    assert_eq!(scene.accumulator.available_memory(), 0);
}

/// Cancellation: when a large request gives up, the small ones behind it are served.
#[test]
fn a_dropped_first_waiter_lets_the_next_one_in() {
    let scene = two_pages();
    let _held = page(&scene);
    let large = wait_for(&scene, 2 * BATCH_SIZE);
    let mut small = wait_for(&scene, BATCH_SIZE);
    drop(large);
    assert_eq!(small.wakes.count(), 1);
    let _page = small.page();
    assert_eq!(scene.accumulator.waiting_for_memory(), 0);
}

/// Cancellation: nothing is lost when a waiter that was served goes away and nobody else waits.
#[test]
fn memory_of_a_dropped_waiter_is_free_again() {
    let scene = two_pages();
    let held = [page(&scene), page(&scene)];
    let waiting = wait_for(&scene, BATCH_SIZE);
    drop(held);
    drop(waiting);
    assert_eq!(scene.accumulator.available_memory(), 2 * BATCH_SIZE);
}

/// closing wakes everybody; pages still come back.
#[test]
fn closing_wakes_all_waiters() {
    let scene = two_pages();
    let held = [page(&scene), page(&scene)];
    let mut waiting = [wait_for(&scene, BATCH_SIZE), wait_for(&scene, BATCH_SIZE)];
    scene.accumulator.close();
    for waiter in &mut waiting {
        assert_eq!(waiter.wakes.count(), 1);
        assert!(matches!(waiter.poll(), Poll::Ready(Err(PoolRefusal::Closed))));
    }
    drop(held);
    assert_eq!(scene.accumulator.available_memory(), 2 * BATCH_SIZE);
    assert_eq!(scene.accumulator.try_page(1).unwrap_err(), PoolRefusal::Closed);
}

/// closed wins over memory that came at the same moment, and that memory is not lost.
#[test]
fn a_served_waiter_finds_the_pool_closed() {
    let scene = two_pages();
    let held = [page(&scene), page(&scene)];
    let mut waiting = wait_for(&scene, BATCH_SIZE);
    drop(held);
    scene.accumulator.close();
    assert!(matches!(waiting.poll(), Poll::Ready(Err(PoolRefusal::Closed))));
    assert_eq!(scene.accumulator.available_memory(), 2 * BATCH_SIZE);
}

/// whoever starts to wait wakes the core, once.
#[test]
fn the_first_waiter_rings() {
    let scene = two_pages();
    let _held = [page(&scene), page(&scene)];
    let before = scene.rings();
    let _waiting = [wait_for(&scene, BATCH_SIZE), wait_for(&scene, BATCH_SIZE)];
    assert_eq!(scene.rings(), before + 1);
}

/// R11, S-45: the page of a batch comes back when the last reader of its bytes is gone, and not when the batch has ended.
#[test]
fn a_page_comes_back_with_the_last_handle_on_its_bytes() {
    let mut scene = two_pages();
    let delivery = scene.send(0, b"a");
    scene.drainer.begin_flush();
    let batch = scene.sent_one();
    let on_the_wire = batch.bytes();
    let before = on_the_wire.clone();
    scene.drainer.fail(batch, support::aborted());
    assert!(delivery.outcome().is_some());
    assert_eq!(scene.accumulator.available_memory(), BATCH_SIZE);
    let _other = scene.send(0, b"other bytes");
    assert_eq!(on_the_wire, before);
    drop((on_the_wire, before));
    assert_eq!(scene.accumulator.available_memory(), BATCH_SIZE);
}
