//! The harness itself against real brokers: if these fail, no other real suite proves anything.
//!
//! Kafka's own tools write and read here; no client of ours takes part.

use kommit_tests::kafka::{Reading, Setup, Stage, Tool, sequence_faults};

/// What the console producer wrote is read by the console consumer, and lies in the log without a fault.
async fn tools_agree(setup: Setup) {
    let Some(mut stage) = Stage::enter(setup).await else {
        return;
    };
    let kafka = stage.shared().await;
    let tools = kafka.tools();
    tools.create_topic("tools-agree", 1).await;
    tools
        .console_produce_keyed("tools-agree", &[("k", "one\ttab"), ("k", "zwölf"), ("k", "")])
        .await;
    tools.console_produce("tools-agree", &["no key"]).await;

    let records = tools
        .console_consume(&Reading::committed("tools-agree").partition(0).at_most(4))
        .await;
    let read: Vec<_> = records
        .iter()
        .map(|r| (r.offset, r.key.as_deref(), r.value.as_str()))
        .collect();
    let expected = [
        (0, Some("k"), "one\ttab"),
        (1, Some("k"), "zwölf"),
        (2, Some("k"), ""),
        (3, None, "no key"),
    ];
    assert_eq!(read, expected);

    let batches = kafka.batches("tools-agree", 0).await;
    assert_eq!(
        batches.iter().map(|batch| batch.count).sum::<i64>(),
        4,
        "{batches:?}"
    );
    assert!(
        batches
            .iter()
            .all(|batch| !batch.is_control && !batch.is_transactional),
        "{batches:?}"
    );
    assert_eq!(sequence_faults(&batches), [""; 0], "{batches:?}");
}

#[tokio::test]
async fn kafkas_own_tools_agree_on_a_real_kafka_4_3() {
    tools_agree(Setup::kafka_4_3()).await;
}

#[tokio::test]
async fn kafkas_own_tools_agree_on_a_real_kafka_3_9() {
    tools_agree(Setup::kafka_3_9()).await;
}

#[tokio::test]
async fn a_broker_has_the_transaction_version_that_it_was_formatted_with() {
    for version in [0, 1, 2] {
        let setup = Setup::kafka_4_3().transaction_version(version);
        let Some(mut stage) = Stage::enter(setup).await else {
            return;
        };
        let features = stage
            .start()
            .await
            .tools()
            .run(Tool::Features, &["describe"])
            .await;
        let line = features
            .lines()
            .find(|line| line.contains("transaction.version"))
            .unwrap_or("nothing");
        assert!(
            line.contains(&format!("FinalizedVersionLevel: {version}")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn records_outlive_a_killed_a_stopped_and_a_frozen_broker() {
    let Some(mut stage) = Stage::enter(Setup::kafka_4_3()).await else {
        return;
    };
    let kafka = stage.start().await;
    let tools = kafka.tools();
    tools.create_topic("outlive", 1).await;
    tools.console_produce("outlive", &["one"]).await;
    kafka.node().kill();
    assert!(!kafka.node().is_running());
    kafka.node().restart().await;
    tools.console_produce("outlive", &["two"]).await;
    kafka.node().stop().await;
    assert!(!kafka.node().is_running());
    kafka.node().restart().await;
    let frozen = kafka.node().freeze();
    let silent = tools.try_run(Tool::Topics, &["--list"]);
    let impatient = tokio::time::timeout(std::time::Duration::from_secs(3), silent).await;
    assert!(
        impatient.is_err(),
        "a frozen broker answers nothing, and refuses nothing: {impatient:?}"
    );
    drop(frozen);

    let records = tools
        .console_consume(&Reading::committed("outlive").partition(0).at_most(2))
        .await;
    assert_eq!(
        records
            .iter()
            .map(|record| record.value.as_str())
            .collect::<Vec<_>>(),
        ["one", "two"]
    );
}

#[tokio::test]
async fn a_client_of_a_broker_behind_a_proxy_comes_back_through_the_proxy() {
    let Some(mut stage) = Stage::enter(Setup::kafka_4_3()).await else {
        return;
    };
    let kafka = stage.shared().await;
    let proxy = kafka.proxy(7);
    kafka.tools().create_topic("behind", 1).await;
    assert_eq!(
        proxy.connections(),
        0,
        "the harness's own tools go past the proxy"
    );

    let client = stage.tools(&proxy.address());
    client.console_produce("behind", &["through"]).await;
    assert!(
        proxy.connections() > 1,
        "it came back to the proxy with its records"
    );
    let records = kafka
        .tools()
        .console_consume(&Reading::committed("behind").at_most(1))
        .await;
    assert_eq!(records[0].value, "through", "{records:?}");
}
