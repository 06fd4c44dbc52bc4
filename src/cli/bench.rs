//! `bench`: the flags of `crate::bench`.

use crate::bench::{self, Options};
use crate::toolbox::flags::ConfigFile;
use std::process::ExitCode;

const HELP: &str = "Examples:
  crm-processor bench --embedded                           all cases, with nothing installed
  crm-processor bench --config crm.toml --runs 3           on your servers, the median of three runs
  crm-processor bench --config crm.toml --warm name rename
  crm-processor bench --config crm.toml --rate 100 name    how long replies take at 100 commands/s
  crm-processor bench ceiling --config crm.toml            what the store and Kafka do by themselves
  crm-processor bench --embedded --http                    what a gateway adds to the topic, and how much one takes
  crm-processor bench --embedded --json | jq .ratio

The processor runs as a process of its own, with the settings of the configuration; the environment overrides each of them, such as
CRM__KAFKA__TRANSACTION_CAP=500. All else is made for the run and removed afterwards, even after Ctrl-C: topics, groups and a keyspace
whose names begin with --prefix, and a schema registry in this process. That takes the rights to make and delete topics, groups and
keyspaces. Run it where nothing else depends on the speed of the servers.

Columns:
  the store alone  the ceiling: the same conditional writes, as many at once, without Kafka and without decisions, measured in a process of
                   its own before and after the case. As in the case itself, --cold adds the reads that find each entity, and --warm writes
                   to each entity beforehand.
  ratio            commands/s, divided by that of the store alone
  CPU, peak        CPU time and memory of the processor
  reply after      since the processor began with the backlog; with --rate, since the command was due
Rows besides the cases:
  copy             Kafka alone: records are consumed and twice as many produced, in transactions
  one-lwt          one conditional write at a time, at --rate
  one-transaction  one Kafka transaction at a time, at --rate
With --http these rows stand in place of the cases; in those of http, CPU and memory are the gateway's:
  topic-at-rate, http-at-rate  commands at --rate through the topic, and through a gateway, in turn; the reply counts from when they were due
  topic, http                  as many commands as --commands, written at once; by 512 clients that send as soon as they are answered
  http-open                    1,000 requests that are open at once, while the processor stands still; peak is the memory meanwhile
skewed, hot and duplicates can be faster than the store alone, because queued commands for one entity share a write.

--embedded uses librdkafka's mock of Kafka, in this process, and the embedded store in a folder. It measures the processor and this
machine's disk, not Kafka. Choose a folder on a disk (--folder): for a folder in memory, each sync is free.";

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
    Part(PartArgs),
}

/// Measure one part; `bench` itself starts this
#[derive(Debug, clap::Args)]
struct PartArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The part and its load, as JSON
    #[arg(value_name = "JSON")]
    part: String,
}

/// `crm-processor bench`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.only {
        Some(Only::Part(PartArgs { config, part })) => {
            bench::measure_part(&config.load()?, &part).await.map(|()| ExitCode::SUCCESS)
        }
        Some(Only::Ceiling(options)) => bench::run(options, true).await,
        None => bench::run(args.options, false).await,
    }
}
