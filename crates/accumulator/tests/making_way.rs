//! Making way for the sender: a wait behind a line that is long and moves, and behind no other.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kommit_accumulator::{AccumulatorConfig, Destination, MakeWay};
use kommit_protocol::units::PartitionId;
use support::{MAX_SIZE, Scene, Wakes, config, record, scene_with};

/// A quarter of a mebibyte has fewer of these than a long line.
const BATCH: usize = 128 * 1024;
/// The batches in a long line of these, and when it is short again.
const LONG: usize = 6;
const SHORT: usize = 3;

fn scene() -> Scene {
    scene_with(
        1,
        AccumulatorConfig {
            batch_size: BATCH,
            buffer_memory: 32 * BATCH,
            ..config()
        },
    )
}

impl Scene {
    /// Puts so many batches of one large record in line.
    fn queue(&self, batches: usize) {
        let large = vec![b'x'; BATCH - 100];
        for _ in 0..batches {
            drop(self.send(0, &large));
        }
    }

    fn destination(&self) -> Destination<'_> {
        let named = Some(PartitionId(0));
        self.accumulator
            .destination(&self.topic, named, &record(b"x"))
            .unwrap()
    }

    /// Sends batches until so many are left.
    fn send_all_but(&mut self, left: usize, of: usize) {
        self.ready();
        for _ in left..of {
            assert_eq!(self.drain(MAX_SIZE).batches.len(), 1);
        }
    }
}

fn poll(way: &mut MakeWay<'_>, wakes: &Arc<Wakes>) -> Poll<()> {
    let waker = Waker::from(Arc::clone(wakes));
    Pin::new(way).poll(&mut Context::from_waker(&waker))
}

/// Nobody waits behind a short line, and nobody is there to be waited for in an empty one.
#[test]
fn a_line_is_long_from_six_batches_on() {
    let scene = scene();
    let destination = scene.destination();
    assert!(scene.accumulator.make_way(&destination).is_none());
    scene.queue(LONG - 1);
    assert!(scene.accumulator.make_way(&destination).is_none());
    scene.queue(1);
    assert!(scene.accumulator.make_way(&destination).is_some());
}

/// Smaller batches make a long line later: the next requests of the sender are to be full ones.
#[test]
fn a_line_of_small_batches_is_longer() {
    let scene = scene_with(
        1,
        AccumulatorConfig {
            batch_size: 16 * 1024,
            buffer_memory: 32 * 16 * 1024,
            ..config()
        },
    );
    for _ in 0..15 {
        drop(scene.send(0, &[b'x'; 16_200]));
    }
    assert!(scene.accumulator.make_way(&scene.destination()).is_none());
    drop(scene.send(0, &[b'x'; 16_200]));
    assert!(scene.accumulator.make_way(&scene.destination()).is_some());
}

/// Who waits is woken once, when the line is short and not before.
#[test]
fn who_makes_way_goes_on_when_the_line_is_short() {
    let mut scene = scene();
    scene.queue(LONG);
    let (shared, topic) = (Arc::clone(&scene.accumulator), Arc::clone(&scene.topic));
    let named = Some(PartitionId(0));
    let destination = shared.destination(&topic, named, &record(b"x")).unwrap();
    let mut way = shared.make_way(&destination).unwrap();
    let wakes = Arc::new(Wakes::default());
    assert!(poll(&mut way, &wakes).is_pending());
    assert!(poll(&mut way, &wakes).is_pending(), "the same waker is kept once");
    scene.send_all_but(SHORT + 1, LONG);
    assert_eq!(wakes.count(), 0);
    scene.send_all_but(SHORT, SHORT + 1);
    assert_eq!(wakes.count(), 1);
    assert!(poll(&mut way, &wakes).is_ready());
}

/// Behind a line that somebody left before it became short, nobody waits, until it has been short.
#[test]
fn nobody_waits_behind_a_line_that_stands() {
    let mut scene = scene();
    scene.queue(LONG);
    let wakes = Arc::new(Wakes::default());
    let waits = |scene: &Scene| {
        let destination = scene.destination();
        let way = scene.accumulator.make_way(&destination);
        way.is_some_and(|mut way| poll(&mut way, &wakes).is_pending())
    };
    assert!(waits(&scene), "and leaves it at once");
    assert!(!waits(&scene));
    scene.queue(1);
    assert!(!waits(&scene));
    scene.send_all_but(SHORT, LONG + 1);
    scene.queue(LONG - SHORT);
    assert!(waits(&scene));
}
