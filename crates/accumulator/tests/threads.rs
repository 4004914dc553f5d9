//! Many threads append while the core drains: nothing is lost, nothing is doubled, and every thread's records keep their order.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kommit_accumulator::{
    Accumulator, AccumulatorConfig, AppendRefusal, Delivery, Drainer, GateReason, Leader, RecordRef,
    TopicQueues, accumulator,
};
use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{Offset, PartitionId, Timestamp};
use support::{MAX_SIZE, NODE, ScriptedGate, record, values};

const NOW: Now = Now {
    instant: Instant::from_millis(1),
    wall: Timestamp(1),
};

/// Appends and waits for memory by yielding: these threads have no runtime.
fn send(
    accumulator: &Accumulator,
    topic: &TopicQueues,
    partition: Option<i32>,
    record: &RecordRef<'_>,
) -> Result<Delivery, GateReason> {
    let destination = accumulator
        .destination(topic, partition.map(PartitionId), record)
        .unwrap();
    let mut page = None;
    loop {
        match accumulator.append(&destination, record, &mut page, None, NOW) {
            Ok(delivery) => return Ok(delivery),
            Err(AppendRefusal::Refused(reason)) => return Err(reason),
            Err(AppendRefusal::NeedsPage(size)) => match accumulator.try_page(size) {
                Ok(taken) => page = Some(taken),
                Err(_) => thread::yield_now(),
            },
            Err(other) => panic!("{other}"),
        }
    }
}

fn small_config() -> AccumulatorConfig {
    // Little memory, so that threads have to wait for pages that the core gives back.
    AccumulatorConfig {
        batch_size: 512,
        buffer_memory: 16 * 512,
        linger: Duration::ZERO,
        ..support::config()
    }
}

const THREADS: u32 = 4;
const RECORDS: u32 = 3_000;
const PARTITIONS: u32 = 3;

fn value_of(sender: u32, number: u32) -> Vec<u8> {
    [sender.to_be_bytes(), number.to_be_bytes()].concat()
}

/// The records of one thread, in order; half of them go where the sticky partitioner sends them.
fn send_all(accumulator: &Accumulator, topic: &TopicQueues, sender: u32) -> Vec<Delivery> {
    let send_one = |number| {
        let partition = (number % 2 == 0).then_some(i32::try_from(number % PARTITIONS).unwrap());
        let value = value_of(sender, number);
        send(accumulator, topic, partition, &record(&value)).unwrap()
    };
    (0..RECORDS).map(send_one).collect()
}

/// What a broker would have in each partition once all threads are done.
fn write_until_all_is_done(drainer: &mut Drainer, running: &AtomicUsize) -> BTreeMap<i32, Vec<Vec<u8>>> {
    let mut log: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    let mut gate = ScriptedGate::default();
    while running.load(Ordering::SeqCst) > 0 || drainer.nothing_incomplete().is_none() {
        drainer.collect();
        drainer.ready(NOW.instant, &|_| {
            Some(Leader {
                node: NODE,
                epoch: None,
            })
        });
        for batch in drainer.drain(NODE, MAX_SIZE, NOW.instant, &mut gate).batches {
            let log = log.entry(batch.topic_partition().partition.0).or_default();
            let base = Offset(i64::try_from(log.len()).unwrap());
            log.extend(values(&batch));
            drainer.complete(batch, Some(base), None);
        }
    }
    log
}

/// A-2, room 3: records of one thread to one partition arrive in order, each exactly once, and every delivery tells the right offset.
#[test]
fn concurrent_appends_lose_nothing_and_keep_their_order() {
    let (accumulator, mut drainer) = accumulator(small_config(), || {});
    accumulator.gate().open();
    let topic = accumulator.topic("orders", PARTITIONS);
    let running = Arc::new(AtomicUsize::new(THREADS as usize));
    let start = |sender| {
        let (accumulator, topic, running) = (accumulator.clone(), topic.clone(), running.clone());
        thread::spawn(move || {
            let deliveries = send_all(&accumulator, &topic, sender);
            running.fetch_sub(1, Ordering::SeqCst);
            deliveries
        })
    };
    let senders: Vec<_> = (0..THREADS).map(start).collect();
    let log = write_until_all_is_done(&mut drainer, &running);

    for (sender, thread) in (0..THREADS).zip(senders) {
        let mut last = BTreeMap::new();
        for (number, delivery) in (0..RECORDS).zip(thread.join().unwrap()) {
            let metadata = delivery.outcome().unwrap().unwrap();
            let partition = metadata.topic_partition.partition.0;
            let offset = usize::try_from(metadata.offset.unwrap().0).unwrap();
            assert_eq!(log[&partition][offset], value_of(sender, number));
            let before = last.insert(partition, offset);
            assert!(before < Some(offset), "the order of a thread is kept");
        }
    }
    let written = log.values().map(Vec::len).sum::<usize>();
    assert_eq!(written, (THREADS * RECORDS) as usize);
    drop(drainer);
    assert_eq!(accumulator.available_memory(), small_config().buffer_memory);
}

/// D-9, T-40: once the gate is closed and nothing is incomplete, nothing can appear any more, however appends and the gate race.
#[test]
fn nothing_slips_through_a_closing_gate() {
    for round in 0..200 {
        let (accumulator, mut drainer) = accumulator(small_config(), || {});
        accumulator.gate().open();
        let topic = accumulator.topic("orders", 2);
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..2)
            .map(|partition| {
                let (accumulator, topic, stop) = (accumulator.clone(), topic.clone(), stop.clone());
                thread::spawn(move || {
                    let mut deliveries = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        match send(&accumulator, &topic, Some(partition), &record(b"x")) {
                            Ok(delivery) => deliveries.push(delivery),
                            Err(_refused) => break,
                        }
                    }
                    deliveries
                })
            })
            .collect();
        for _ in 0..round {
            thread::yield_now();
        }
        accumulator.gate().close(GateReason::Ending);
        while drainer.nothing_incomplete().is_none() {
            drainer.abort_undrained(support::aborted());
        }
        // From here on a commit could be sent: every record that was accepted must have its outcome already.
        stop.store(true, Ordering::SeqCst);
        for sender in senders {
            assert!(
                sender
                    .join()
                    .unwrap()
                    .iter()
                    .all(|delivery| delivery.outcome().is_some())
            );
        }
        assert!(drainer.collect().is_empty() && drainer.nothing_incomplete().is_some());
    }
}
