//! Long walks: a producer works while chance breaks connections, loses answers and moves leaders. Whatever happens, the promises hold:
//! what each walk says itself, and the audit of everything that happened.

use std::time::Duration;

use kommit_broker::{BrokerConfig, Verdict};
use kommit_protocol::api::ApiKey::{
    self, AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, FindCoordinator, Metadata, Produce, TxnOffsetCommit,
};
use kommit_protocol::error_code::ErrorCode;
use kommit_tests::world::{CallOutcome, Fault, Producer, RecordOutcome, Sending, World, waiting};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const PARTITIONS: i32 = 3;
/// So many walks of each kind: about two seconds of one processor.
const SEEDS: u64 = 25;

/// Chance of a scene, apart from that of its world.
struct Dice {
    seed: u64,
    state: u64,
    mishaps: Mishaps,
}

/// What may befall the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishaps {
    Small,
    /// It also starts again as a whole.
    RestartsToo,
}

impl Dice {
    fn new(seed: u64, mishaps: Mishaps) -> Self {
        Self {
            seed,
            state: seed,
            mishaps,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let choice = self.below(choices.len() as u64);
        choices[usize::try_from(choice).expect("fewer choices than memory")]
    }
}

const APIS: [ApiKey; 8] = [
    Produce,
    Produce,
    EndTxn,
    AddPartitionsToTxn,
    TxnOffsetCommit,
    AddOffsetsToTxn,
    FindCoordinator,
    Metadata,
];

/// One thing that goes wrong, once.
fn something_goes_wrong(world: &World, dice: &mut Dice) {
    if dice.mishaps == Mishaps::RestartsToo && dice.below(3) == 0 {
        return world.restart();
    }
    let api = dice.of(&APIS);
    let late = SECOND * u32::try_from(dice.below(20)).expect("small");
    let verdict = match dice.below(8) {
        0 => Verdict::DisconnectBefore,
        1 => Verdict::DisconnectAfter,
        2 => Verdict::DropRequest,
        3 => Verdict::DropResponse,
        4 => Verdict::DeliverLate(late),
        5 => Verdict::DelayResponse(late),
        6 if api == Produce => Verdict::Answer(dice.of(&[
            ErrorCode::NotEnoughReplicas,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::RequestTimedOut,
        ])),
        6 => Verdict::ShiftCorrelationId(3),
        _ => {
            let broker = 1 + i32::try_from(dice.below(2)).expect("small");
            let partition = i32::try_from(dice.below(3)).expect("small");
            world.move_leader("orders", partition, Some(broker));
            if dice.below(3) == 0 {
                world.move_transaction_coordinator(broker);
            }
            return world.cut(broker);
        }
    };
    world.rule(Fault::on(api, verdict).once());
}

fn stage(seed: u64) -> World {
    let cluster = BrokerConfig {
        nodes: 2,
        seed,
        data_directory: Some("compared at each restart".into()),
        ..BrokerConfig::default()
    };
    World::with_cluster(cluster).topic("orders", 3).set(|settings| {
        settings.batch_size = 40;
        settings.request_timeout = 3 * SECOND;
        settings.delivery_timeout = 600 * SECOND;
    })
}

fn send_some(producer: &Producer, dice: &mut Dice, next: &mut u64) -> Vec<(i32, String, Sending)> {
    let count = 1 + dice.below(8);
    let some = (0..count).map(|_| {
        *next += 1;
        let partition = i32::try_from(dice.below(3)).expect("small");
        let value = format!("{next}");
        let sending = producer.send("orders", partition, &value);
        (partition, value, sending)
    });
    some.collect()
}

fn idempotent(mut dice: Dice) {
    let seed = dice.seed;
    let world = stage(seed);
    let producer = world.idempotent();
    let (mut sent, mut next) = (Vec::new(), 0);
    for _ in 0..25 {
        something_goes_wrong(&world, &mut dice);
        sent.extend(send_some(&producer, &mut dice, &mut next));
        world.run_for(MILLI * u32::try_from(dice.below(400)).expect("small"));
    }
    world.audit();
    for partition in 0..PARTITIONS {
        let expected: Vec<String> = sent
            .iter()
            .filter(|it| it.0 == partition)
            .map(|it| it.1.clone())
            .collect();
        assert_eq!(
            world.log("orders", partition),
            expected,
            "seed {seed}, partition {partition}"
        );
    }
    assert!(
        sent.iter()
            .all(|(_, _, record)| matches!(record.outcome(), RecordOutcome::Written(_)))
    );
}

/// S-78, A-48, R1 … R4: an idempotent producer whose records never expire has each of them in the log once, in order.
#[test]
fn an_idempotent_producer_writes_each_record_once_and_in_order() {
    (0..SEEDS).for_each(|seed| idempotent(Dice::new(seed, Mishaps::Small)));
}

/// B-5, B-39: the same, while the cluster starts again and again in the middle of it.
#[test]
fn restarts_take_no_record_of_an_idempotent_producer_and_double_none() {
    (0..SEEDS).for_each(|seed| idempotent(Dice::new(seed, Mishaps::RestartsToo)));
}

/// Records of one partition that are in the log though they must not be, that are not though they must, or that are not in order.
fn broken_promises(log: &[String], sent: &[(i32, String, Sending)]) -> Vec<String> {
    let mut broken = Vec::new();
    for (_, value, record) in sent {
        let count = log.iter().filter(|written| *written == value).count();
        let kept = match record.outcome() {
            RecordOutcome::Waiting => false,
            RecordOutcome::Written(None) => count == 1,
            RecordOutcome::Written(Some(offset)) => {
                let there = usize::try_from(offset).ok().and_then(|offset| log.get(offset));
                count == 1 && there == Some(value)
            }
            RecordOutcome::Failed(error) if error.may_be_written() => count <= 1,
            RecordOutcome::Failed(_) | RecordOutcome::Refused(_) => count == 0,
        };
        if !kept {
            broken.push(format!(
                "{value} is in the log {count} times: {:?}",
                record.outcome()
            ));
        }
    }
    let number = |value: &String| value.parse::<u64>().expect("values are numbers");
    if !log.iter().map(number).is_sorted() {
        broken.push(format!("not in order: {log:?}"));
    }
    broken
}

/// S-63, A-77, H27, M36: batches that the broker finds too large are split in the middle of all that; each record is where it was told to be.
#[test]
fn batches_are_split_while_things_go_wrong() {
    let mut splits = 0;
    for seed in 0..SEEDS {
        let world = World::with_brokers(seed, 2).set(|settings| {
            settings.batch_size = 300;
            settings.linger = 20 * MILLI;
            settings.request_timeout = 3 * SECOND;
            settings.delivery_timeout = 600 * SECOND;
        });
        // A batch with an attempt of unknown fate is not split: its records fail, and leave a gap.
        let world = world.going_on_behind_gaps();
        world.configure(|broker| broker.topic_defaults.max_message_bytes = 110);
        world.create_topic("orders", 3);
        let mut dice = Dice::new(seed, Mishaps::Small);
        let producer = world.idempotent();
        let (mut sent, mut next) = (Vec::new(), 0);
        for round in 0..30 {
            if round % 3 == 0 {
                something_goes_wrong(&world, &mut dice);
            }
            for _ in 0..4 {
                sent.extend(send_some(&producer, &mut dice, &mut next));
            }
            world.run_for(MILLI * u32::try_from(dice.below(300)).expect("small"));
        }
        world.audit();
        for partition in 0..PARTITIONS {
            let own: Vec<_> = sent.iter().filter(|it| it.0 == partition).cloned().collect();
            let broken = broken_promises(&world.log("orders", partition), &own);
            assert_eq!(broken, [""; 0], "seed {seed}, partition {partition}");
        }
        splits += world.trace().matches("MESSAGE_TOO_LARGE@").count();
    }
    assert!(splits > 1_000, "{splits} batches were too large");
}

/// Ends the open transaction, and says whether it was committed.
fn end(world: &World, producer: &Producer, dice: &mut Dice) -> bool {
    let end = if dice.below(4) == 0 {
        producer.abort()
    } else {
        producer.commit()
    };
    wait_for(world, || end.outcome() != waiting());
    match end.outcome() {
        CallOutcome::Committed => true,
        CallOutcome::Aborted => false,
        outcome if outcome.must_abort() => {
            abort(world, producer);
            false
        }
        other => panic!("a producer that nobody fences lives: {other:?}"),
    }
}

fn abort(world: &World, producer: &Producer) {
    let abort = producer.abort();
    wait_for(world, || abort.outcome() != waiting());
    assert_eq!(abort.outcome(), CallOutcome::Aborted);
}

fn wait_for(world: &World, condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        world.run_for(100 * MILLI);
    }
    panic!("five minutes were not enough");
}

/// What a transaction of a walk sends, while things go wrong.
fn fill(world: &World, producer: &Producer, dice: &mut Dice, next: &mut u64) -> Vec<(i32, String, Sending)> {
    let mut sent = Vec::new();
    for _ in 0..1 + dice.below(3) {
        something_goes_wrong(world, dice);
        sent.extend(send_some(producer, dice, next));
        if dice.below(3) == 0 {
            producer.send_offset("readers", "orders", 1);
        }
        world.run_for(MILLI * u32::try_from(dice.below(100)).expect("small"));
    }
    sent
}

fn assert_visible(world: &World, committed: &[(i32, String, Sending)], seed: u64) {
    for partition in 0..PARTITIONS {
        let expected: Vec<String> = committed
            .iter()
            .filter(|it| it.0 == partition)
            .map(|it| it.1.clone())
            .collect();
        assert_eq!(
            world.committed("orders", partition),
            expected,
            "seed {seed}, partition {partition}"
        );
    }
}

fn transactions(mut dice: Dice, version: u8) {
    let seed = dice.seed;
    let world = stage(seed).transaction_version(version);
    let producer = world.transactional("t-1");
    let (mut committed, mut next) = (Vec::new(), 0);
    for _ in 0..12 {
        producer.begin();
        let sent = fill(&world, &producer, &mut dice, &mut next);
        if end(&world, &producer, &mut dice) {
            committed.extend(sent);
        }
    }
    world.audit();
    assert_visible(&world, &committed, seed);
}

/// R5 … R7, R12, H01 … H04: with version 2, exactly the committed transactions are visible, each record once and in order, whatever comes late.
#[test]
fn exactly_the_committed_transactions_of_version_2_are_visible() {
    (0..SEEDS).for_each(|seed| transactions(Dice::new(seed, Mishaps::Small), 2));
}

/// R5 … R7, R12, H01 … H04: and with version 1.
#[test]
fn exactly_the_committed_transactions_of_version_1_are_visible() {
    (0..SEEDS).for_each(|seed| transactions(Dice::new(seed, Mishaps::Small), 1));
}

/// B-5, B-39, B-68, B-95: the same with both versions, while the cluster starts again and again in the middle of it.
#[test]
fn restarts_neither_tear_a_transaction_nor_lose_one() {
    for seed in 0..SEEDS {
        transactions(Dice::new(seed, Mishaps::RestartsToo), 1);
        transactions(Dice::new(seed, Mishaps::RestartsToo), 2);
    }
}

/// As [`transactions`], and most commits are not waited for. Says how many transactions sent their first records ahead of the commit before.
fn transactions_that_go_on(seed: u64, version: u8) -> usize {
    let world = stage(seed).transaction_version(version);
    let mut dice = Dice::new(seed, Mishaps::Small);
    let producer = world.transactional("t-1");
    let (mut committed, mut next, mut ahead) = (Vec::new(), 0, 0);
    let mut before = None;
    producer.begin();
    for _ in 0..12 {
        let sent = fill(&world, &producer, &mut dice, &mut next);
        let is_last_of_row = dice.below(4) == 0;
        let told = before.take();
        if is_last_of_row {
            let is_committed = end(&world, &producer, &mut dice);
            committed.extend(told.into_iter().flatten());
            committed.extend(sent.into_iter().filter(|_| is_committed));
            producer.begin();
            continue;
        }
        let (commit, begun) = producer.commit_and_begin();
        wait_for(&world, || begun.outcome() != waiting());
        committed.extend(told.into_iter().flatten());
        if begun.outcome() == CallOutcome::Begun {
            ahead += usize::from(commit.outcome() == waiting());
            before = Some(sent);
        } else {
            assert!(commit.outcome().must_abort(), "{:?}", commit.outcome());
            abort(&world, &producer);
            producer.begin();
        }
    }
    abort(&world, &producer);
    committed.extend(before.into_iter().flatten());
    world.audit();
    assert_visible(&world, &committed, seed);
    ahead
}

/// R5 … R7, R12, H01 … H04: the same where each transaction begins while the commit of the one before is under way, with both versions.
#[test]
fn exactly_the_committed_transactions_are_visible_when_the_next_begins_ahead() {
    for version in [1, 2] {
        let ahead: usize = (0..SEEDS)
            .map(|seed| transactions_that_go_on(seed, version))
            .sum();
        assert!(
            ahead > 40,
            "{ahead} transactions began ahead with version {version}"
        );
    }
}
