//! `kommit broker`: the embedded broker by itself; and the one that `load` starts for its own process.

use std::io::{self, Write};
use std::time::Duration;

use kommit_broker::{BrokerConfig, EmbeddedBroker, Storage, TransactionVersion};

use crate::args::BrokerArguments;
use crate::failure::{Failure, output_failed};
use crate::signals::Signals;

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(arguments: BrokerArguments) -> Result<(), Failure> {
    let transaction_version =
        TransactionVersion::from_level(arguments.transaction_version).unwrap_or_default();
    let storage = if arguments.discard {
        let answer_delay = Duration::from_millis(arguments.delay_ms.into());
        Storage::Discard { answer_delay }
    } else {
        Storage::Memory
    };
    let config = BrokerConfig {
        storage,
        data_directory: arguments.data_dir.clone(),
        // Nobody can look at it from outside.
        journal_capacity: 0,
        nodes: arguments.nodes,
        host: arguments.host.clone(),
        port: arguments.port,
        transaction_version,
        ..BrokerConfig::default()
    };
    let mut signals = Signals::listen().map_err(|error| {
        Failure::failed(
            format!("Ctrl-C and SIGTERM cannot be waited for: {error}"),
            "look at the limits of this process",
        )
    })?;
    let broker = EmbeddedBroker::start(config)
        .await
        .map_err(|error| not_started(&arguments, &error))?;
    writeln!(
        io::stdout(),
        "kommit broker accepts connections at {}",
        broker.bootstrap_servers()
    )
    .map_err(output_failed)?;
    tokio::select! {
        () = signals.next() => {}
        why = broker.failed() => return Err(Failure::failed(
            format!("the broker stopped, as its data directory cannot be written: {why}"),
            "make room there, and see that no other broker uses it",
        )),
    }
    broker.shutdown().await;
    Ok(())
}

fn not_started(arguments: &BrokerArguments, error: &io::Error) -> Failure {
    let directory = arguments.data_dir.as_ref().map(|path| path.display());
    match (directory, error.kind()) {
        (Some(directory), io::ErrorKind::InvalidData) => Failure::failed(
            format!("what is in {directory} cannot be read: {error}"),
            "choose another --data-dir, or remove the file if nothing in it is wanted",
        ),
        _ => Failure::failed(
            format!(
                "the broker cannot start at {}:{}: {error}",
                arguments.host, arguments.port
            ),
            "choose a free port with --port, or 0 for any, and a --data-dir that can be written",
        ),
    }
}

/// A broker at a free port of this machine, for this process alone.
pub(crate) async fn start_for_this_process() -> Result<EmbeddedBroker, Failure> {
    EmbeddedBroker::start(BrokerConfig::default())
        .await
        .map_err(|error| {
            Failure::failed(
                format!("the embedded broker does not start: {error}"),
                "give --bootstrap-servers to use another one",
            )
        })
}
