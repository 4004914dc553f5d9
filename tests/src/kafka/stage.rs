//! May this test use a real Kafka, and is it its turn?

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use super::broker::RealKafka;
use super::jars::Jars;
use super::setup::{Release, Setup};
use super::tools::Tools;

/// Set to 1, a missing Kafka is a failure and not a skip.
const REQUIRED: &str = "KAFKA_REQUIRED";
/// A broker takes 350 MiB.
const MOST_BROKERS: usize = 3;

/// One test's turn with real brokers. The tests of one program that use a real Kafka run one after the other, so that they
/// can share brokers, and so that neither the memory nor two cores are asked for more than they have.
#[derive(Debug)]
pub struct Stage {
    setup: Setup,
    jars: Jars,
    house: MutexGuard<'static, House>,
}

/// What outlasts a test. The brokers in it end with the process, by their watchdogs.
#[derive(Debug)]
struct House {
    jars: BTreeMap<Release, Result<Jars, String>>,
    brokers: Vec<Arc<RealKafka>>,
}

static HOUSE: Mutex<House> = Mutex::const_new(House {
    jars: BTreeMap::new(),
    brokers: Vec::new(),
});

impl Stage {
    /// Waits for this test's turn. `None` means that this machine has no real Kafka (no Java, no Maven, no download): the reason
    /// has been printed on one line, and the test has nothing to do.
    ///
    /// # Panics
    /// When there is no real Kafka although `KAFKA_REQUIRED` is 1.
    pub async fn enter(setup: Setup) -> Option<Self> {
        let mut house = HOUSE.lock().await;
        let release = setup.release();
        let jars = match house.jars.get(&release) {
            Some(known) => known.clone(),
            None => {
                let obtained = Jars::obtain(release).await;
                house.jars.insert(release, obtained.clone());
                obtained
            }
        };
        match jars {
            Ok(jars) => Some(Self { setup, jars, house }),
            Err(reason) => {
                say_skipped(&reason);
                None
            }
        }
    }

    /// A running broker with this setup that other tests use as well, before or after this one: take topics and ids of your own,
    /// and leave it running.
    pub async fn shared(&mut self) -> Arc<RealKafka> {
        let known = self
            .house
            .brokers
            .iter()
            .find(|broker| *broker.setup() == self.setup)
            .cloned();
        if let Some(broker) = known {
            for node in broker.nodes().iter().filter(|node| !node.is_running()) {
                node.restart().await;
            }
            return broker;
        }
        self.make_room();
        let broker = Arc::new(RealKafka::start(self.setup.clone(), self.jars.clone()).await);
        self.house.brokers.push(Arc::clone(&broker));
        broker
    }

    /// A new broker that belongs to this test alone.
    pub async fn start(&mut self) -> RealKafka {
        self.make_room();
        RealKafka::start(self.setup.clone(), self.jars.clone()).await
    }

    /// Kafka's own tools of this setup's release, connected to any broker: so also to one that is not Kafka's.
    pub fn tools(&self, bootstrap_servers: &str) -> Tools {
        Tools::new(self.jars.clone(), bootstrap_servers.to_owned())
    }

    /// Ends the shared brokers that have been there longest, until there is room for one more.
    fn make_room(&mut self) {
        while self.house.brokers.len() >= MOST_BROKERS {
            self.house.brokers.remove(0);
        }
    }
}

/// Says once per test program why there is no real Kafka. The line goes past the test runner's capture: a skip that nobody sees
/// would look like a proof.
fn say_skipped(reason: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    let required = std::env::var_os(REQUIRED).is_some_and(|value| value == "1");
    assert!(!required, "{REQUIRED} is 1, but there is no real Kafka: {reason}");
    if !SAID.swap(true, Ordering::Relaxed) {
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    }
}
