//! The `kommit` program: exactly-once loading of files into Kafka, an embedded broker, a reader and a performance test.
//!
//! Reading order: [`args`] (what can be asked for), [`failure`] (how it can go wrong), [`load`] (the main job), [`cluster`] (the small
//! client for everything that is not producing), [`perf`]. The program holds no protocol state of the producer: that is the façade's.

mod args;
mod broker_command;
mod clock;
mod cluster;
mod failure;
mod load;
mod perf;
mod producing;
mod properties;
mod read_command;
mod signals;

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::failure::{Failure, exit_code};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads(&arguments.command))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(&Failure::failed(
                format!("the runtime does not start: {error}"),
                "look at the limits of this process (ulimit -a)",
            ));
        }
    };
    let outcome = runtime.block_on(run(arguments.command));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Load(arguments) => load::run(arguments).await,
        Command::Broker(arguments) => broker_command::run(arguments).await,
        Command::Read(arguments) => read_command::run(arguments).await,
        Command::Perf(arguments) => perf::run(arguments).await,
    }
}

/// Where records are sent, the main thread does that, and has a processor of its own: a thread more than there are processors makes each
/// transaction wait for one.
fn worker_threads(command: &Command) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    match command {
        Command::Load(_) | Command::Perf(_) => (processors - 1).max(1),
        Command::Broker(_) | Command::Read(_) => processors,
    }
}

/// Log lines go to standard error, so that standard output stays a result; silent unless `RUST_LOG` asks for more.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn report(failure: &Failure) -> ExitCode {
    // A closed standard error leaves nobody to tell; the exit code still does.
    let _ = writeln!(std::io::stderr(), "{failure}");
    exit_code(failure)
}
