//! Three brokers, of which each is stopped and killed in turn under load: leaders and coordinators move, and nothing is lost or doubled.

use std::cell::Cell;
use std::time::Duration;

use kommit_tests::kafka::{Coordinated, Node, RealKafka, Setup, Stage};

use crate::client::{FOREVER, transactional};
use crate::each_kafka::draws;
use crate::ledger::{Known, Ledger, more_than};
use crate::lines::{Lines, assert_each_line_once};
use crate::program::Kommit;
use crate::records::Records;

/// How a broker goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// SIGTERM: it hands its leaderships over before it ends.
    Stopped,
    /// `kill -9`: the others notice when its session is over.
    Killed,
}

const TRANSACTIONS: &str = "moved-transactions";
const RECORDS: &str = "moved-records";
const LINES: &str = "moved-lines";
/// The consumer group that keeps the cursor of a load.
const GROUP_OF_LINES: &str = "kommit-load.moved-lines";
const PARTITIONS: i32 = 3;

/// What the loads have got done so far, and whether they may end.
#[derive(Debug, Default)]
struct Progress {
    committed: Cell<usize>,
    acknowledged: Cell<usize>,
    is_over: Cell<bool>,
}

/// What moved away from brokers that went.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    leaders: usize,
    transaction_coordinators: usize,
    group_coordinators: usize,
}

/// R1, R7, R13, H20, H25: each of three brokers is stopped once and killed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broker_is_stopped_and_killed_under_load_on_kafka_4_3() {
    play(Setup::kafka_4_3(), &[Way::Stopped, Way::Killed]).await;
}

/// R1, R6, R7, R13, H20, H25: the same without a new epoch for each transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broker_is_killed_under_load_on_kafka_3_9() {
    play(Setup::kafka_3_9(), &[Way::Killed]).await;
}

async fn play(setup: Setup, ways: &[Way]) {
    let Some(mut stage) = crate::each_kafka::enter(setup.three_nodes()).await else {
        return;
    };
    let kafka = cluster(&mut stage).await;
    let servers = kafka.bootstrap_servers();
    let config = transactional(servers.clone(), TRANSACTIONS).build();
    let mut ledger = Ledger::new(config.expect("legal settings"), TRANSACTIONS, PARTITIONS);
    let mut records = Records::new(servers.clone(), RECORDS, PARTITIONS);
    let lines = Lines::write(LINES, 10_000);
    let mut draws = draws();
    let progress = Progress::default();
    let until_over = |ledger: &Ledger| {
        progress.committed.set(ledger.count(Known::Committed));
        progress.is_over.get()
    };
    let small = ["--records-per-transaction", "50"];
    let load = Kommit::load(&servers, &lines.path, LINES, &small).await;
    let (moved, (), (), loaded) = tokio::join!(
        stops(&kafka, ways, &progress),
        ledger.run_until(until_over, &mut draws),
        records.send_until(|| progress.is_over.get(), &progress.acknowledged),
        load.wait(),
    );
    println!("{moved:?}, {} records, {}", records.len(), loaded.stdout.trim());
    assert_eq!(loaded.status.code(), Some(0), "{loaded:?}");
    assert!(
        moved.transaction_coordinators > 0 && moved.group_coordinators > 0,
        "{moved:?}"
    );
    assert_eq!(ledger.replaced, 0, "a broker that goes kills no producer");
    ledger.check(&kafka.tools(), servers).await;
    records.check(&kafka).await;
    assert_each_line_once(&kafka, LINES, &lines).await;
}

async fn cluster(stage: &mut Stage) -> RealKafka {
    let kafka = stage.start().await;
    for topic in [TRANSACTIONS, RECORDS] {
        kafka.create_topic(topic, PARTITIONS).await;
    }
    kafka
}

/// Each broker goes in each of these ways, and comes back.
async fn stops(kafka: &RealKafka, ways: &[Way], progress: &Progress) -> Moved {
    let mut moved = Moved::default();
    for way in ways {
        for node in kafka.nodes() {
            more_than(&progress.committed, 3).await;
            more_than(&progress.acknowledged, 30).await;
            // Two of three replicas must be there, whoever goes.
            kafka.until_in_sync().await;
            let had = belongings(kafka, node).await;
            assert!(had.leaders > 0, "node {} leads nothing", node.id());
            match way {
                Way::Stopped => node.stop().await,
                Way::Killed => node.kill(),
            }
            until_others_have_it_all(kafka, node).await;
            // Both kinds of load go on with the brokers that are left.
            more_than(&progress.committed, 3).await;
            more_than(&progress.acknowledged, 30).await;
            assert!(!node.is_running());
            node.restart().await;
            moved.leaders += had.leaders;
            moved.transaction_coordinators += had.transaction_coordinators;
            moved.group_coordinators += had.group_coordinators;
        }
    }
    kafka.until_in_sync().await;
    progress.is_over.set(true);
    moved
}

/// What a node leads and coordinates of the loads.
async fn belongings(kafka: &RealKafka, node: &Node) -> Moved {
    let partitions = kafka.partitions().await;
    let of_loads = partitions
        .iter()
        .filter(|((topic, _), _)| topic.starts_with("moved-"));
    let coordinates = async |what, key| usize::from(kafka.coordinator(what, key).await == node.id());
    Moved {
        leaders: of_loads
            .filter(|(_, replicas)| replicas.leader == Some(node.id()))
            .count(),
        transaction_coordinators: coordinates(Coordinated::Transaction, TRANSACTIONS).await,
        group_coordinators: coordinates(Coordinated::Group, GROUP_OF_LINES).await,
    }
}

async fn until_others_have_it_all(kafka: &RealKafka, node: &Node) {
    let moving = async {
        loop {
            let partitions = kafka.partitions().await;
            let left = belongings(kafka, node).await;
            let is_led = partitions.values().all(|replicas| replicas.leader.is_some());
            if is_led && left.leaders + left.transaction_coordinators + left.group_coordinators == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(2 * FOREVER, moving)
        .await
        .unwrap_or_else(|_| panic!("node {} has gone, and nobody took over", node.id()));
}
