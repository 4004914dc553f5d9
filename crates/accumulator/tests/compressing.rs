//! How many records go into a batch whose records will be compressed.
#![allow(clippy::unwrap_used)]

mod support;

use kommit_accumulator::{AccumulatorConfig, AppendRefusal, Compression, Stamp, StampedBatch};
use kommit_protocol::batch::BatchView;
use support::{Scene, config, scene_with};

const BATCH_SIZE: usize = 2_000;
const MEMORY: usize = 400 * BATCH_SIZE;

fn compressing_scene(buffer_memory: usize) -> Scene {
    scene_with(
        1,
        AccumulatorConfig {
            batch_size: BATCH_SIZE,
            buffer_memory,
            compression: Compression::Lz4,
            ..config()
        },
    )
}

/// Shrinks to a small part of itself.
fn dull() -> Vec<u8> {
    b"the same over and over again, and again, and again".to_vec()
}

/// Does not shrink.
fn noise(seed: u64) -> Vec<u8> {
    let mixed = |number: u64| {
        let mixed = (seed * 64 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    };
    (0..12)
        .flat_map(|number| mixed(number).to_le_bytes()[..4].to_vec())
        .collect()
}

/// Sends records until a batch is full, and takes that batch.
fn full_batch(scene: &mut Scene, value: impl Fn(u64) -> Vec<u8>) -> StampedBatch {
    for number in 0..10_000 {
        drop(scene.send(0, &value(number)));
        if let Some(batch) = scene.sent().pop() {
            return batch;
        }
    }
    panic!("ten thousand records fill a batch")
}

/// Lets the scene learn from so many batches of dull records.
fn learn(scene: &mut Scene, batches: usize) -> StampedBatch {
    let mut last = full_batch(scene, |_| dull());
    for _ in 1..batches {
        scene.drainer.complete(last, None, None);
        last = full_batch(scene, |_| dull());
    }
    last
}

/// Ends the batch that was begun by the record that did not fit the last one, still under the estimate of that time.
fn begun_before(scene: &mut Scene, value: impl Fn(u64) -> Vec<u8>) {
    let batch = full_batch(scene, value);
    scene.drainer.complete(batch, None, None);
}

fn uncompressed_size(batch: &StampedBatch) -> usize {
    let view = BatchView::parse(&batch.bytes()).unwrap();
    let records = view.records(1 << 20).unwrap();
    records.map(|record| record.unwrap().value.unwrap().len()).sum()
}

/// batches take the more records the better those before them were compressed.
#[test]
fn batches_grow_as_compression_proves_its_worth() {
    let mut scene = compressing_scene(MEMORY);
    let first = full_batch(&mut scene, |_| dull());
    // (2000 - 61) / 1.05 = 1846 bytes of records of 57 bytes each.
    assert_eq!(first.record_count(), 32);
    scene.drainer.complete(first, None, None);
    let last = learn(&mut scene, 150);
    assert!(last.record_count() > 100, "{}", last.record_count());
    assert!(last.size() <= BATCH_SIZE, "{}", last.size());
}

/// what is written before its compression is inside `buffer.memory`, too, and within four times `batch.size`.
#[test]
fn records_before_their_compression_count_as_memory() {
    let mut scene = compressing_scene(MEMORY);
    let last = learn(&mut scene, 250);
    assert!(uncompressed_size(&last) <= 4 * BATCH_SIZE);
    drop(last);
    let size = 4 * BATCH_SIZE;
    let value = dull();
    let refused = |_| scene.try_send(Some(0), &support::record(&value), &mut None).err();
    assert_eq!(
        (0..10_000).find_map(refused),
        Some(AppendRefusal::NeedsPage(size))
    );
    let before = scene.accumulator.available_memory();
    let page = scene.accumulator.try_page(size).unwrap();
    assert_eq!(scene.accumulator.available_memory(), before - size);
    drop(page);

    let mut small = compressing_scene(4 * BATCH_SIZE);
    assert!(uncompressed_size(&learn(&mut small, 250)) <= BATCH_SIZE);
}

/// records that cannot be compressed make one batch too large, and the next ones small again: their ratio is 1, and not more.
#[test]
fn a_disappointment_is_learnt_at_once() {
    let mut scene = compressing_scene(MEMORY);
    let last = learn(&mut scene, 250);
    scene.drainer.complete(last, None, None);
    let disappointing = full_batch(&mut scene, noise);
    assert!(disappointing.size() > BATCH_SIZE, "{}", disappointing.size());
    scene.drainer.complete(disappointing, None, None);
    begun_before(&mut scene, noise);
    let next = full_batch(&mut scene, noise);
    let expected = BATCH_SIZE * 3 / 4..=BATCH_SIZE;
    assert!(expected.contains(&next.size()), "{}", next.size());
}

/// a split takes the estimate back, and cuts what is above `batch.size` into parts of about that size.
#[test]
fn a_split_takes_the_estimate_back() {
    let mut scene = compressing_scene(MEMORY);
    let last = learn(&mut scene, 250);
    let before = last.record_count();
    scene.drainer.complete(last, None, None);
    let whole = full_batch(&mut scene, |_| dull());
    let expanded = uncompressed_size(&whole);
    let split = scene.drainer.plan_split(whole).unwrap();
    let stamps = vec![Stamp::Anonymous; split.record_counts().len()];
    assert!(stamps.len() >= expanded / BATCH_SIZE);
    scene.drainer.requeue_parts(split, &stamps).unwrap();
    for _ in &stamps {
        let part = scene.sent_one();
        assert!(uncompressed_size(&part) <= BATCH_SIZE);
        scene.drainer.complete(part, None, None);
    }
    begun_before(&mut scene, |_| dull());
    let next = full_batch(&mut scene, |_| dull());
    assert!(
        next.record_count() < before / 2,
        "{} of {before}",
        next.record_count()
    );
}
