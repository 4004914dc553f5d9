//! `examples/pipeline.rs` as processes that are killed, joined by others and lied to: each input has one output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, ResponseKind};
use kommit_broker::{BrokerConfig, EmbeddedBroker};
use kommit_tests::kafka::{Reading, Setup, Stage, Tool, Tools};
use kommit_tests::proxy::Verdict;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::client::{FOREVER, SENTINEL, put_sentinels_at, put_values};
use crate::each_kafka::draws;

against_each_kafka!(
    /// R13, H24: rebalances, kills and aborts in the middle of everything, and each input is carried through once.
    a_pipeline_that_is_killed_and_rebalanced_has_one_output_for_each_input,
);

const PARTITIONS: i32 = 4;
const INPUTS: usize = 3000;
/// What a broker says to records that it does not like: the transaction has to be aborted, and its inputs read again.
const INVALID_RECORD: i16 = 87;

async fn a_pipeline_that_is_killed_and_rebalanced_has_one_output_for_each_input(mut stage: Stage) {
    if example().await.is_none() {
        return;
    }
    let kafka = stage.shared().await;
    let (input, output) = ("pipeline-in", "pipeline-out");
    for topic in [input, output] {
        kafka.create_topic(topic, PARTITIONS).await;
    }
    let proxy = kafka.proxy(0);
    let mut produced = 0;
    proxy.rule(move |request| {
        produced += u32::from(request.api_key == ApiKey::Produce);
        if request.api_key == ApiKey::Produce && produced % 9 == 4 {
            return Verdict::ChangeAnswer(Box::new(|answer| {
                if let ResponseKind::Produce(answer) = answer {
                    answer.responses[0].partition_responses[0].error_code = INVALID_RECORD;
                }
            }));
        }
        Verdict::Pass
    });

    let mut draws = draws();
    let mut pause = || tokio::time::sleep(Duration::from_millis(draws.below(200..1500)));
    let mut running = vec![start(&proxy.address()).await, start(&proxy.address()).await];
    put_inputs(&kafka.bootstrap_servers(), input, 0).await;
    pause().await;
    running.push(start(&proxy.address()).await);
    put_inputs(&kafka.bootstrap_servers(), input, 1).await;
    pause().await;
    // Its group notices after its session's time.
    running.remove(0).kill().await.expect("it may be killed");
    put_inputs(&kafka.bootstrap_servers(), input, 2).await;
    until_all_is_carried(&kafka.tools(), input).await;
    drop(running);

    assert_one_output_each(&kafka.tools(), kafka.bootstrap_servers(), output).await;
}

/// librdkafka's consumer, in a group of the embedded broker: members come, and one is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_shares_a_group_of_the_embedded_broker() {
    let Some(stage) = crate::each_kafka::enter(Setup::kafka_4_3()).await else {
        return;
    };
    if example().await.is_none() {
        return;
    }
    let broker = EmbeddedBroker::start(BrokerConfig::default())
        .await
        .expect("a free port");
    let (input, output) = ("pipeline-in", "pipeline-out");
    for topic in [input, output] {
        broker.create_topic(topic, PARTITIONS as u32).expect("a new name");
    }
    let servers = broker.bootstrap_servers();
    let mut running = vec![start(&servers).await];
    put_inputs(&servers, input, 0).await;
    running.push(start(&servers).await);
    put_inputs(&servers, input, 1).await;
    running.remove(0).kill().await.expect("it may be killed");
    put_inputs(&servers, input, 2).await;
    let tools = stage.tools(&servers);
    until_all_is_carried(&tools, input).await;
    drop(running);
    assert_one_output_each(&tools, servers, output).await;
}

async fn assert_one_output_each(tools: &Tools, servers: String, output: &str) {
    put_sentinels_at(servers, output, 0..PARTITIONS).await;
    let reading = Reading::committed(output).at_most(INPUTS + PARTITIONS as usize);
    let mut outputs: BTreeMap<usize, u32> = BTreeMap::new();
    let mut sentinels = 0;
    for record in tools.console_consume(&reading).await {
        if record.value == SENTINEL {
            sentinels += 1;
            continue;
        }
        let number = record
            .value
            .strip_prefix("INPUT ")
            .and_then(|number| number.parse().ok());
        *outputs.entry(number.expect("capitals and a number")).or_default() += 1;
    }
    let wrong: Vec<_> = (0..INPUTS)
        .map(|number| (number, outputs.get(&number).copied().unwrap_or(0)))
        .filter(|(_, times)| *times != 1)
        .take(10)
        .collect();
    assert_eq!(wrong, [], "inputs and how many outputs they have");
    assert_eq!(sentinels, PARTITIONS, "every partition is read to its end");
}

async fn put_inputs(servers: &str, topic: &str, part: usize) {
    let numbers = part * INPUTS / 3..(part + 1) * INPUTS / 3;
    let values = numbers.map(|number| format!("input {number}"));
    put_values(servers, (topic, PARTITIONS), values).await;
}

/// Waits until the group has committed the end of each input partition.
async fn until_all_is_carried(tools: &Tools, input: &str) {
    let behind = |table: &str| {
        let rows = table.lines().filter(|line| line.contains(input));
        rows.map(|row| {
            row.split_whitespace()
                .nth(5)
                .and_then(|lag| lag.parse::<u32>().ok())
        })
        .collect::<Vec<_>>()
    };
    let carried = async {
        loop {
            let table = tools
                .run(Tool::ConsumerGroups, &["--describe", "--group", input])
                .await;
            if behind(&table) == vec![Some(0); PARTITIONS as usize] {
                return;
            }
        }
    };
    tokio::time::timeout(3 * FOREVER, carried)
        .await
        .expect("the pipelines get to the end");
}

async fn start(servers: &str) -> Child {
    let program = example().await.expect("asked before");
    Command::new(program)
        .args([servers, "pipeline-in", "pipeline-in", "pipeline-out"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts")
}

/// The built example. It compiles C: without a compiler there is none, and one line says so, unless `PIPELINE_REQUIRED` is 1.
async fn example() -> Option<&'static PathBuf> {
    static EXAMPLE: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let built = EXAMPLE.get_or_init(|| async {
        let built = crate::program::cargo_build(&[
            "-p",
            "kommit-examples",
            "--example",
            "pipeline",
            "--features",
            "rdkafka",
        ])
        .await;
        let is_required = std::env::var_os("PIPELINE_REQUIRED").is_some_and(|value| value == "1");
        match built {
            Ok(path) => Some(path),
            Err(reason) if is_required => {
                panic!("PIPELINE_REQUIRED is 1, but the example does not build: {reason}")
            }
            Err(_) => {
                eprintln!(
                    "skipped: examples/pipeline.rs does not build here; it needs make and a C compiler"
                );
                None
            }
        }
    });
    built.await.as_ref()
}
