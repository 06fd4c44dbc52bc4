//! The command line: a file or a folder for each subcommand. Here everything is put together, errors become sentences with the
//! way out, and exit codes are given: 0 fine, 1 failed, 2 wrong usage or configuration. What subcommands share is in
//! `toolbox`; what `demo` and `bench` do is in `demo` and `bench` at the root.

mod bench;
mod check;
mod demo;
mod dlq;
mod erase;
mod import;
mod run;
mod send;
mod setup;
mod show;
mod snapshot;
mod watch;

use crate::config::Findings;
use crate::toolbox::{FAILED, WRONG_CONFIGURATION};
use clap::{Parser, Subcommand};
use std::io;
use std::process::ExitCode;

const EXAMPLES: &str = "\
First steps with a Kafka, a schema registry and a ScyllaDB (or Cassandra) of one's own:
  crm-processor setup  --config crm.toml                 topics, schemas, keyspace and tables
  crm-processor check  --config crm.toml                 what is wrong, with the servers, too
  crm-processor import --config crm.toml entities.jsonl  customers, accounts, subscribers
  crm-processor run    --config crm.toml                 as many of them as the topic has partitions
  crm-processor send   --config crm.toml updateCustomerCustomName --external-id c-1 --value Ann
  crm-processor watch  --config crm.toml transactions    what was changed
  crm-processor dlq list --config crm.toml               what could not be read

With nothing at all: crm-processor demo

An empty file is a configuration for a local set-up. Each key can be overridden by the environment:
  CRM__KAFKA__BOOTSTRAP_SERVERS=kafka:9092 CRM__STORE__CONTACT_POINTS=db1,db2 crm-processor run --config crm.toml

Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.";

/// Applies a CRM's commands from Kafka to ScyllaDB and publishes Business Transactions, each change exactly once.
#[derive(Debug, Parser)]
#[command(name = "crm-processor", version, about, after_help = EXAMPLES, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    subcommand: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    Run(run::Args),
    Demo(demo::Args),
    Setup(setup::Args),
    Import(import::Args),
    Check(check::Args),
    Show(show::Args),
    Send(send::Args),
    Watch(watch::Args),
    Dlq(dlq::Args),
    Snapshot(snapshot::Args),
    Erase(erase::Args),
    Bench(bench::Args),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    #[cfg(feature = "fail-points")]
    let _fail_points = crate::fail_points::set_up();
    let line = CommandLine::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("no threads to work with")),
    };
    let result = runtime.block_on(dispatch(line.subcommand));
    // What still runs is of no use any more: waiting for it could take for ever.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| report(&error))
}

async fn dispatch(subcommand: Sub) -> anyhow::Result<ExitCode> {
    match subcommand {
        Sub::Run(args) => run::run(args).await,
        Sub::Demo(args) => Box::pin(demo::run(args)).await,
        Sub::Setup(args) => setup::run(args).await,
        Sub::Import(args) => import::run(args).await,
        Sub::Check(args) => check::run(args).await,
        Sub::Show(args) => show::run(args).await,
        Sub::Send(args) => Box::pin(send::run(args)).await,
        Sub::Watch(args) => watch::run(args).await,
        Sub::Dlq(args) => dlq::run(args).await,
        Sub::Snapshot(args) => Box::pin(snapshot::run(args)).await,
        Sub::Erase(args) => erase::run(args).await,
        Sub::Bench(args) => Box::pin(bench::run(args)).await,
    }
}

/// Says what went wrong, on standard error.
fn report(error: &anyhow::Error) -> ExitCode {
    // Whoever reads our output has seen enough: `watch … | head -1`.
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("crm-processor: {error:#}");
    ExitCode::from(if error.is::<Findings>() { WRONG_CONFIGURATION } else { FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn each_subcommand_has_a_help_text_with_an_example() {
        for subcommand in CommandLine::command().get_subcommands_mut() {
            let name = subcommand.get_name().to_owned();
            let help = subcommand.render_long_help().to_string();
            assert!(help.contains(&format!("crm-processor {name}")), "{name} shows no example:\n{help}");
        }
    }
}
