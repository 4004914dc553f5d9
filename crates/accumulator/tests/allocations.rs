//! The budget of room 3: no allocation per record.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use allocation_counter::measure;
use kommit_accumulator::{AccumulatorConfig, AppendRefusal, Delivery, HeaderRef, RecordRef};
use kommit_protocol::units::Timestamp;
use support::{Scene, config, scene_with};

const VALUE: [u8; 100] = [b'v'; 100];

fn wide_scene() -> Scene {
    scene_with(
        4,
        AccumulatorConfig {
            batch_size: 16_384,
            buffer_memory: 4 << 20,
            ..config()
        },
    )
}

fn a_record<'a>(headers: &'a [HeaderRef<'a>]) -> RecordRef<'a> {
    RecordRef {
        key: None,
        value: Some(&VALUE),
        headers,
        timestamp: Some(Timestamp(1)),
    }
}

/// Budgets: appending to an open batch, waiting for the delivery and reading its outcome allocate nothing.
#[test]
fn a_record_in_an_open_batch_allocates_nothing() {
    let scene = wide_scene();
    let headers = [HeaderRef {
        key: "trace",
        value: Some(b"1"),
    }];
    let record = a_record(&headers);
    let waker = Waker::from(std::sync::Arc::<support::Wakes>::default());
    let mut context = Context::from_waker(&waker);
    let mut first = scene.send_record(Some(0), &record);
    assert!(Pin::new(&mut first).poll(&mut context).is_pending());

    let counted = measure(|| {
        for _ in 0..50 {
            let mut delivery = scene.try_send(Some(0), &record, &mut None).unwrap();
            assert!(Pin::new(&mut delivery).poll(&mut context).is_pending());
            assert!(delivery.outcome().is_none());
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// Budgets: over whole batches, from the append to the outcome, allocations are counted per batch and not per record.
#[test]
fn allocations_are_per_batch_and_not_per_record() {
    const BATCHES: usize = 20;
    let mut scene = wide_scene();
    let record = a_record(&[]);
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(BATCHES * 200);
    let run = |scene: &mut Scene, deliveries: &mut Vec<Delivery>| {
        let mut completed = 0;
        while completed < BATCHES {
            match scene.try_send(None, &record, &mut None) {
                Ok(delivery) => deliveries.push(delivery),
                Err(AppendRefusal::NeedsPage(size)) => {
                    let mut page = Some(scene.accumulator.try_page(size).unwrap());
                    deliveries.push(scene.try_send(None, &record, &mut page).unwrap());
                }
                Err(other) => panic!("{other}"),
            }
            for batch in full_batches(scene) {
                scene.drainer.complete(batch, None, None);
                completed += 1;
            }
        }
    };
    // The first run fills the pool and the capacities of the lists.
    run(&mut scene, &mut deliveries);
    deliveries.clear();
    let counted = measure(|| run(&mut scene, &mut deliveries));
    let per_batch = counted.count_total / BATCHES as u64;
    // A completion, the shared page, the list of drained batches, and a few nodes of the ready and timer sets.
    assert!(per_batch <= 12, "{per_batch} allocations per batch");
    assert!(deliveries.len() > 100 * BATCHES, "{} records", deliveries.len());
    assert!(
        counted.count_total < deliveries.len() as u64 / 8,
        "{} allocations",
        counted.count_total
    );
}

/// Asks for ready partitions only when the doorbell rang, as the core does.
fn full_batches(scene: &mut Scene) -> Vec<kommit_accumulator::StampedBatch> {
    if scene.drainer.collect().is_empty() {
        return Vec::new();
    }
    let leader = |_: &_| {
        Some(kommit_accumulator::Leader {
            node: support::NODE,
            epoch: None,
        })
    };
    scene.drainer.ready(scene.instant(), &leader);
    scene.drain(support::MAX_SIZE).batches
}
