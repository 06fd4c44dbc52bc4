//! The command line: a file or a folder for each subcommand. This is where everything is put together, errors become sentences with the
//! way out, and exit codes are chosen: 0 fine, 1 failed, 2 wrong usage or configuration. Subcommands share what is in `toolbox`, and the two
//! that serve what is in `serving`. `demo` and `bench` do their work in the modules of these names at the root.

mod bench;
mod check;
mod demo;
mod dlq;
mod erase;
mod gateway;
mod import;
mod reconcile;
mod run;
mod send;
mod serving;
mod setup;
mod show;
mod snapshot;
mod watch;

use crate::config::Findings;
use crate::toolbox::output::remark;
use crate::toolbox::{FAILED, WRONG_CONFIGURATION};
use clap::{Parser, Subcommand};
use std::io;
use std::process::ExitCode;

const EXAMPLES: &str = "\
First steps with your own Kafka, schema registry and ScyllaDB (or Cassandra):
  crm-processor setup  --config crm.toml                 makes topics, schemas, keyspace and tables
  crm-processor check  --config crm.toml                 says what is wrong with the configuration and the servers
  crm-processor import --config crm.toml entities.jsonl  imports customers, accounts and subscribers
  crm-processor run    --config crm.toml                 processes commands; start up to one for each partition
  crm-processor gateway --config crm.toml                serves commands and reads over HTTP
  crm-processor send   --config crm.toml updateCustomerCustomName --external-id c-1 --value Ann
  crm-processor watch  --config crm.toml transactions    shows changes as they are published
  crm-processor dlq list --config crm.toml               lists records that could not be read

Without any servers: crm-processor demo

An empty file is a complete configuration for a local set-up. The environment overrides each key:
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
    Gateway(gateway::Args),
    Demo(demo::Args),
    Setup(setup::Args),
    Import(import::Args),
    Check(check::Args),
    Show(show::Args),
    Send(send::Args),
    Watch(watch::Args),
    Dlq(dlq::Args),
    Snapshot(snapshot::Args),
    Reconcile(reconcile::Args),
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
        Err(error) => return report(&anyhow::Error::new(error).context("the threads can't be started")),
    };
    let result = runtime.block_on(dispatch(line.subcommand));
    // Nobody needs the tasks that still run, and waiting for them could take for ever.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| report(&error))
}

async fn dispatch(subcommand: Sub) -> anyhow::Result<ExitCode> {
    match subcommand {
        Sub::Run(args) => run::run(args).await,
        Sub::Gateway(args) => Box::pin(gateway::run(args)).await,
        Sub::Demo(args) => Box::pin(demo::run(args)).await,
        Sub::Setup(args) => setup::run(args).await,
        Sub::Import(args) => import::run(args).await,
        Sub::Check(args) => check::run(args).await,
        Sub::Show(args) => show::run(args).await,
        Sub::Send(args) => Box::pin(send::run(args)).await,
        Sub::Watch(args) => watch::run(args).await,
        Sub::Dlq(args) => dlq::run(args).await,
        Sub::Snapshot(args) => Box::pin(snapshot::run(args)).await,
        Sub::Reconcile(args) => Box::pin(reconcile::run(args)).await,
        Sub::Erase(args) => erase::run(args).await,
        Sub::Bench(args) => Box::pin(bench::run(args)).await,
    }
}

/// Says on standard error what went wrong, and returns the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    // Whoever reads our output has seen enough and closed the pipe: `watch … | head -1`.
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    remark(format_args!("crm-processor: {error:#}"));
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
