//! `bench`: the flags of `crate::bench`.

use crate::bench::{self, Options};
use crate::toolbox::flags::ConfigFile;
use std::process::ExitCode;

const HELP: &str = r#"Examples:
  crm-processor bench --embedded                           all cases, with nothing installed
  crm-processor bench --config crm.toml --runs 3           on your servers, the median of three runs
  crm-processor bench --config crm.toml --warm name rename
  crm-processor bench --config crm.toml --rate 100 name    how long replies take at 100 commands/s
  crm-processor bench ceiling --config crm.toml            what the store and Kafka do by themselves
  crm-processor bench --embedded --json | jq .ratio

The processor runs as a process of its own, with the configuration's settings (each can be overridden: CRM__KAFKA__TRANSACTION_CAP=500).
All else is made for the run and removed after it, after Ctrl-C, too: topics, groups and a keyspace whose names begin with --prefix, and
a schema registry in this process. It needs the rights to make and delete these. Run it where nothing else depends on the speed.

Columns: "the store alone" is the ceiling: the same conditional writes without Kafka and without decisions, as many at once, in a process
of its own before and after the case; with --cold with the reads that find the entity, with --warm after a write to each entity, as in the
case itself. "ratio" is commands/s by that. CPU and memory are those of the processor. Replies to a backlog are timed from when the
processor begins with it, with --rate from when the command was due. copy: Kafka alone, records consumed and twice as many produced in
transactions. one-lwt, one-transaction: these two alone, at --rate. skewed, hot and duplicates can be above their ceiling: queued commands
for one entity share a write.

--embedded: librdkafka's mock of Kafka in this process and the embedded store in a folder. It measures the processor and this machine's
disk (see --folder: a folder in memory syncs for nothing), not Kafka."#;

/// Measure throughput, latency, CPU and memory
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    only: Option<Only>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Only {
    /// Measure the store and Kafka alone
    #[command(after_help = "Example:\n  crm-processor bench ceiling --config crm.toml name rename")]
    Ceiling(Options),
    #[command(hide = true, after_help = "Example:\n  crm-processor bench part --config crm.toml '{…}'")]
    Part(Part),
}

/// Measure one part; for `bench` itself
#[derive(Debug, clap::Args)]
struct Part {
    #[command(flatten)]
    config: ConfigFile,
    /// What to do, as JSON
    #[arg(value_name = "JSON")]
    part: String,
}

/// `crm-processor bench`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.only {
        Some(Only::Part(Part { config, part })) => bench::measure_part(&config.load()?, &part).await.map(|()| ExitCode::SUCCESS),
        Some(Only::Ceiling(options)) => bench::run(options, true).await,
        None => bench::run(args.options, false).await,
    }
}
