//! Which partition a record goes to when it names none.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use std::time::Duration;

use kommit_accumulator::{
    AccumulatorConfig, AppendRefusal, Leader, Pace, Partitioner, Partitioning, Partitions, RecordRef,
    StickyChoice, murmur2,
};
use kommit_protocol::units::{NodeId, PartitionId};
use support::{BATCH_SIZE, NODE, Scene, config, record, scene, scene_with};

fn placed(scene: &Scene, record: &RecordRef<'_>) -> i32 {
    scene.send_record(None, record).topic_partition().partition.0
}

fn with(partitioning: Partitioning) -> Scene {
    scene_with(
        4,
        AccumulatorConfig {
            partitioning,
            ..config()
        },
    )
}

fn keyed(key: &[u8]) -> RecordRef<'_> {
    RecordRef {
        key: Some(key),
        value: Some(b"v"),
        ..RecordRef::default()
    }
}

/// a keyed record goes to the partition of its key's hash, available or not.
#[test]
fn the_same_key_goes_to_the_same_partition() {
    let scene = scene(4);
    scene.topic.set_available(|partition| partition == PartitionId(0));
    for key in [&b"a"[..], b"b", b"", b"a long key"] {
        let hash = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap();
        assert_eq!(placed(&scene, &keyed(key)), hash % 4);
    }
}

/// a named partition beats the key.
#[test]
fn a_named_partition_beats_the_key() {
    let scene = scene(4);
    for partition in 0..4 {
        let delivery = scene.send_record(Some(partition), &keyed(b"a"));
        assert_eq!(delivery.topic_partition().partition.0, partition);
    }
}

/// unkeyed records stay together for a batch and then go on, so that all batches are full.
#[test]
fn unkeyed_records_fill_one_batch_before_they_move_on() {
    let scene = scene_with(
        8,
        AccumulatorConfig {
            buffer_memory: 400 * BATCH_SIZE,
            ..config()
        },
    );
    let placed: Vec<i32> = (0..1_000).map(|_| placed(&scene, &record(b"x"))).collect();
    let switches = placed.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // A batch of 100 bytes holds (100 - 61) / 8 = 4 records, and a switch needs 100 bytes, header included: every 5th record at most.
    assert!((100..=250).contains(&switches), "{switches}");
    assert_eq!(placed.iter().collect::<BTreeSet<_>>().len(), 8);
}

/// only records that go where they stick move it on; named and keyed ones do not count.
#[test]
fn other_records_do_not_move_the_sticky_partition() {
    for first_seed in 0..8 {
        let config = AccumulatorConfig {
            seed: first_seed,
            ..config()
        };
        let scene = scene_with(8, config);
        let sticky = placed(&scene, &record(b"x"));
        for _ in 0..20 {
            drop(scene.send(sticky, b"named"));
            placed(&scene, &keyed(b"a"));
        }
        assert_eq!(placed(&scene, &record(b"x")), sticky);
    }
}

/// partitions with a leader are preferred, evenly.
#[test]
fn unkeyed_records_avoid_partitions_without_leader() {
    let scene = scene_with(
        8,
        AccumulatorConfig {
            buffer_memory: 1_000 * BATCH_SIZE,
            ..config()
        },
    );
    scene.topic.set_available(|partition| partition.0 % 4 == 1);
    let mut counts = BTreeMap::new();
    for _ in 0..2_000 {
        *counts.entry(placed(&scene, &record(b"x"))).or_insert(0) += 1;
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 5]);
    // About 500 batches, each on either side: a third is more than 7 standard deviations (11) below the half.
    assert!(counts.values().all(|count| *count > 666), "{counts:?}");
}

/// when no partition has a leader, all are used.
#[test]
fn without_leaders_all_partitions_are_used() {
    let scene = scene_with(
        3,
        AccumulatorConfig {
            buffer_memory: 200 * BATCH_SIZE,
            ..config()
        },
    );
    scene.topic.set_available(|_| false);
    let placed: BTreeSet<i32> = (0..300).map(|_| placed(&scene, &record(b"x"))).collect();
    assert_eq!(placed.len(), 3);
}

/// A scene of three partitions with room for many batches.
fn choosing(sticky_choice: StickyChoice) -> Scene {
    let config = AccumulatorConfig {
        buffer_memory: 10_000 * BATCH_SIZE,
        sticky_choice,
        ..config()
    };
    scene_with(3, config)
}

/// Where a thousand unkeyed records go, and with them about 200 batches.
fn spread(scene: &Scene) -> [usize; 3] {
    let mut counts = [0; 3];
    for _ in 0..1_000 {
        counts[usize::try_from(placed(scene, &record(b"x"))).unwrap()] += 1;
    }
    counts
}

fn queue_batches(scene: &Scene, partition: i32, batches: usize) {
    for _ in 0..batches {
        drop(scene.send(partition, b"x"));
        scene.fill_batch(partition);
    }
}

/// unkeyed records prefer partitions with short queues; what waits to be sent again is part of the queue.
#[test]
fn unkeyed_records_avoid_long_queues() {
    let adaptive = StickyChoice::default();
    let mut scene = choosing(adaptive);
    queue_batches(&scene, 0, 400);
    let counts = spread(&scene);
    // The weights begin with 1, 401 and 401: the first partition is hardly ever chosen.
    assert!(counts[0] < 50 && counts[1] > 300 && counts[2] > 300, "{counts:?}");

    while let Some(batch) = scene.sent().pop() {
        scene.drainer.complete(batch, None, None);
    }
    let counts = spread(&scene);
    assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
}

/// where there are too many partitions to compare all of them, each is chosen as often as another, but for one with a long queue.
#[test]
fn unkeyed_records_reach_every_one_of_many_partitions() {
    let config = AccumulatorConfig {
        buffer_memory: 1 << 20,
        ..config()
    };
    let scene = scene_with(200, config);
    queue_batches(&scene, 7, 300);
    let mut counts = [0; 200];
    for _ in 0..12_000 {
        counts[usize::try_from(placed(&scene, &record(b"x"))).unwrap()] += 1;
    }
    let long = std::mem::replace(&mut counts[7], 60);
    assert!(long < 20, "{long}");
    assert!(
        counts.iter().all(|count| (15..=150).contains(count)),
        "{counts:?}"
    );
}

/// without adaptive partitioning queues do not matter.
#[test]
fn a_uniform_choice_ignores_queues() {
    let scene = choosing(StickyChoice::Uniform);
    queue_batches(&scene, 0, 400);
    let counts = spread(&scene);
    assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
}

/// unkeyed records go around what waits for a node that takes nothing, until it takes something again.
#[test]
fn unkeyed_records_go_around_a_stalled_node() {
    let slow = NodeId(2);
    let mut scene = choosing(StickyChoice::Adaptive {
        availability_timeout: Some(Duration::from_secs(1)),
    });
    scene.leaders.insert(
        0,
        Leader {
            node: slow,
            epoch: None,
        },
    );
    queue_batches(&scene, 0, 1);
    let look = |scene: &mut Scene, pace| {
        scene.ready();
        let now = scene.instant();
        scene.drainer.note_pace(slow, pace, now);
        scene.drainer.note_pace(NODE, Pace::Taking, now);
    };
    look(&mut scene, Pace::Waiting);
    assert!(spread(&scene)[0] > 150, "it has not been waiting for long");
    scene.pass(Duration::from_secs(1));
    look(&mut scene, Pace::Waiting);
    assert!(spread(&scene)[0] > 150, "exactly as long as it may");
    scene.pass(Duration::from_millis(1));
    look(&mut scene, Pace::Waiting);
    drop(scene.send(0, b"named"));
    let stalled = spread(&scene);
    // The batch that the records stuck to when the node was found out may still be filled.
    assert!(stalled[0] < 10, "{stalled:?}");
    look(&mut scene, Pace::Taking);
    let counts = spread(&scene);
    assert!(counts[0] > 100, "{counts:?}");
}

/// without the timeout nobody keeps the time of a node.
#[test]
fn without_its_timeout_a_stalled_node_is_used() {
    let mut scene = choosing(StickyChoice::default());
    queue_batches(&scene, 0, 1);
    for seconds in [0, 100] {
        scene.pass(Duration::from_secs(seconds));
        scene.ready();
        let now = scene.instant();
        scene.drainer.note_pace(NODE, Pace::Waiting, now);
    }
    assert!(spread(&scene)[0] > 150);
}

/// C-23: `partitioner.ignore.keys` places keyed records like unkeyed ones.
#[test]
fn ignored_keys_do_not_place_records() {
    let scene = with(Partitioning::IgnoredKeys);
    let placed: BTreeSet<i32> = (0..100).map(|_| placed(&scene, &keyed(b"a"))).collect();
    assert!(placed.len() > 1);
}

/// round robin takes the available partitions in turn, whatever the key; all of them when none is available.
#[test]
fn round_robin_takes_available_partitions_in_turn() {
    let scene = with(Partitioning::RoundRobin);
    assert_eq!([(); 5].map(|()| placed(&scene, &keyed(b"a"))), [0, 1, 2, 3, 0]);
    scene.topic.set_available(|partition| partition.0 >= 2);
    let turns: BTreeSet<i32> = (0..2).map(|_| placed(&scene, &keyed(b"a"))).collect();
    assert_eq!(turns, BTreeSet::from([2, 3]));
    scene.topic.set_available(|_| false);
    let turns: BTreeSet<i32> = (0..4).map(|_| placed(&scene, &keyed(b"a"))).collect();
    assert_eq!(turns.len(), 4);
    for _again in 0..2 {
        scene.topic.set_available(|_| true);
    }
    assert_eq!([(); 5].map(|()| placed(&scene, &keyed(b"a"))), [3, 0, 1, 2, 3]);
}

#[derive(Debug)]
struct ByLength;

impl Partitioner for ByLength {
    fn partition(
        &self,
        topic: &str,
        _key: Option<&[u8]>,
        value: Option<&[u8]>,
        partitions: &dyn Partitions,
    ) -> PartitionId {
        assert_eq!(
            (topic, partitions.count(), partitions.is_available(PartitionId(9))),
            ("orders", 4, false)
        );
        PartitionId(i32::try_from(value.map_or(0, <[u8]>::len)).unwrap() - 1)
    }
}

/// the application's own partitioner decides; what it answers must exist.
#[test]
fn a_custom_partitioner_decides() {
    let scene = with(Partitioning::Custom(Arc::new(ByLength)));
    assert_eq!(placed(&scene, &record(b"abc")), 2);
    for wrong in [&b""[..], b"abcde"] {
        let refusal = scene
            .accumulator
            .destination(&scene.topic, None, &record(wrong))
            .unwrap_err();
        assert!(
            matches!(refusal, AppendRefusal::UnknownPartition { count: 4, .. }),
            "{refusal}"
        );
    }
}

/// Principle 7: the same seed makes the same choices.
#[test]
fn the_same_seed_chooses_the_same_partitions() {
    let choices = |seed| {
        let scene = scene_with(8, AccumulatorConfig { seed, ..config() });
        (0..200)
            .map(|_| placed(&scene, &record(b"x")))
            .collect::<Vec<_>>()
    };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
}
