//! The same requests to the embedded broker and to a real Kafka, answer by answer.
//!
//! Reading order: here ([`compare()`]), [`actor`] (who plays a script against one broker and writes down the answers), [`plain`] (what of an
//! answer must be equal: everything but ids, addresses, times and texts), [`requests`] and [`batches`] (what to send, right and wrong).
//!
//! Whatever differs is a defect of the embedded broker: the real one is right.

pub mod actor;
pub mod batches;
pub mod plain;
pub mod requests;

use std::time::Duration;

use kommit_broker::coordinator::interface::{CoordinatorConfig, TransactionVersion};
use kommit_broker::{BrokerConfig, EmbeddedBroker};
use kommit_protocol::api::{ApiKey, VersionRange};
use kommit_protocol::messages::ApiVersionsRequest;

use crate::kafka::{Setup, Stage};

pub use actor::Actor;

/// How often both brokers look for transactions that have lasted too long.
const TIME_OUT_CHECK: Duration = Duration::from_millis(200);

/// Plays a script against both brokers under a finalised `transaction.version` and fails when an answer differs. Does nothing
/// where there is no real Kafka.
///
/// # Panics
/// When answers differ: the text shows each question with both answers.
pub async fn compare(level: u8, name: &str, script: impl AsyncFn(&mut Actor)) {
    let Some(mut stage) = Stage::enter(real_setup(level)).await else {
        return;
    };
    let kafka = stage.shared().await;
    let embedded = embedded_config(level);
    let (theirs, ours) = played(level, name, (&kafka.bootstrap_servers(), embedded), script).await;
    assert_equal(
        theirs.answers(),
        ours.answers(),
        &format!("transaction.version {level}"),
    );
}

/// As [`compare()`], with a real Kafka 3.9.1, whose ranges of versions the embedded broker takes over (B-11).
///
/// # Panics
/// When answers differ, as there.
pub async fn compare_with_3_9(name: &str, script: impl AsyncFn(&mut Actor)) {
    let Some(mut stage) = Stage::enter(with_properties(Setup::kafka_3_9())).await else {
        return;
    };
    let kafka = stage.shared().await;
    let servers = kafka.bootstrap_servers();
    let versions = Actor::new(name, 0, &servers)
        .quiet(2, &ApiVersionsRequest::default())
        .await;
    let theirs = |key| {
        let mut listed = versions.api_keys.iter();
        let listed = listed.find(|listed| ApiKey::from_code(listed.api_key) == Some(key))?;
        Some(VersionRange::new(listed.min_version, listed.max_version))
    };
    let embedded = BrokerConfig {
        version_overrides: ApiKey::ALL
            .iter()
            .map(|key| ((None, *key), theirs(*key)))
            .collect(),
        ..embedded_config(0)
    };
    let (theirs, ours) = played(0, name, (&servers, embedded), script).await;
    let common = |actor: &Actor| -> Vec<_> {
        let answers = actor.answers().iter();
        answers
            .map(|(question, answer)| (question.clone(), without_what_3_9_tells_otherwise(answer)))
            .collect()
    };
    assert_equal(&common(&theirs), &common(&ours), "the versions of 3.9.1");
}

/// Without the start of a transaction, which 3.9 still tells when it is over, and the operations on a group, which have become more.
fn without_what_3_9_tells_otherwise(answer: &str) -> String {
    let blank = |_: &str| "…".to_owned();
    let answer = plain::replaced(answer, "transaction_start_time_ms: ", ",", blank);
    plain::replaced(&answer, "authorized_operations: ", " ", blank)
}

/// Plays a script against the real broker and an embedded one.
async fn played(
    level: u8,
    name: &str,
    (servers, config): (&str, BrokerConfig),
    script: impl AsyncFn(&mut Actor),
) -> (Actor, Actor) {
    let embedded = EmbeddedBroker::start(config).await.expect("free ports");
    let mut theirs = Actor::new(name, level, servers);
    let mut ours = Actor::new(name, level, &embedded.bootstrap_servers());
    let play = async |actor: &mut Actor| {
        actor.prepare().await;
        script(actor).await;
    };
    tokio::join!(play(&mut theirs), play(&mut ours));
    (theirs, ours)
}

fn assert_equal(theirs: &[(String, String)], ours: &[(String, String)], which: &str) {
    let differences = differences(theirs, ours);
    assert!(
        differences.is_empty(),
        "{} of {} answers differ under {which}:\n{}",
        differences.len(),
        theirs.len(),
        differences.join("\n")
    );
}

/// As [`compare()`], with brokers of the script's own that are stopped and started again between its two halves. What the first half
/// returns is handed to the second.
///
/// # Panics
/// When answers differ, as there.
pub async fn compare_across_a_restart<T>(
    level: u8,
    name: &str,
    before: impl AsyncFn(&mut Actor) -> T,
    after: impl AsyncFn(&mut Actor, T),
) {
    let Some(mut stage) = Stage::enter(real_setup(level)).await else {
        return;
    };
    let kafka = stage.start().await;
    let directory =
        std::env::temp_dir().join(format!("kommit-compare-{name}-{level}-{}", std::process::id()));
    let config = BrokerConfig {
        data_directory: Some(directory.clone()),
        ..embedded_config(level)
    };
    let embedded = EmbeddedBroker::start(config.clone()).await.expect("free ports");
    let mut theirs = Actor::new(name, level, &kafka.bootstrap_servers());
    let mut ours = Actor::new(name, level, &embedded.bootstrap_servers());
    let begin = async |actor: &mut Actor| {
        actor.prepare().await;
        before(actor).await
    };
    let (of_theirs, of_ours) = tokio::join!(begin(&mut theirs), begin(&mut ours));
    embedded.shutdown().await;
    for node in kafka.nodes() {
        node.stop().await;
        node.restart().await;
    }
    let embedded = EmbeddedBroker::start(config).await.expect("a whole file");
    theirs.move_to(&kafka.bootstrap_servers());
    ours.move_to(&embedded.bootstrap_servers());
    let go_on = async |actor: &mut Actor, handed| {
        actor.prepare().await;
        after(actor, handed).await;
    };
    tokio::join!(go_on(&mut theirs, of_theirs), go_on(&mut ours, of_ours));
    std::fs::remove_dir_all(directory).expect("the directory is this script's own");
    assert_equal(
        theirs.answers(),
        ours.answers(),
        &format!("transaction.version {level}"),
    );
}

/// The real broker that all scripts of one level share.
pub fn real_setup(level: u8) -> Setup {
    with_properties(Setup::kafka_4_3().transaction_version(level))
}

fn with_properties(setup: Setup) -> Setup {
    setup
        .property("offsets.topic.num.partitions", 50)
        .property("transaction.state.log.num.partitions", 50)
        .property("auto.create.topics.enable", true)
        // The batches of a script are old; nothing is deleted, and no log becomes two files, where a fetch would end.
        .property("log.retention.ms", -1)
        .property("log.roll.ms", i64::MAX)
        .property(
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            TIME_OUT_CHECK.as_millis(),
        )
}

fn embedded_config(level: u8) -> BrokerConfig {
    let transaction_version = match level {
        0 => TransactionVersion::V0,
        1 => TransactionVersion::V1,
        _ => TransactionVersion::V2,
    };
    BrokerConfig {
        transaction_version,
        coordinator: CoordinatorConfig {
            timed_out_transaction_interval: TIME_OUT_CHECK,
            ..CoordinatorConfig::default()
        },
        ..BrokerConfig::default()
    }
}

fn differences(theirs: &[(String, String)], ours: &[(String, String)]) -> Vec<String> {
    let nothing = (String::from("(no question)"), String::from("(no answer)"));
    let longest = theirs.len().max(ours.len());
    let pairs = (0..longest).map(|place| {
        (
            theirs.get(place).unwrap_or(&nothing),
            ours.get(place).unwrap_or(&nothing),
        )
    });
    pairs
        .filter(|(theirs, ours)| theirs != ours)
        .map(|(theirs, ours)| {
            format!(
                "{}\n    Kafka:    {}\n    embedded: {}{}",
                theirs.0,
                theirs.1,
                ours.1,
                if theirs.0 == ours.0 {
                    String::new()
                } else {
                    format!("\n    to: {}", ours.0)
                }
            )
        })
        .collect()
}
