//! `bench`: how fast the processor is, beside what the store and Kafka can do by themselves, measured in the same run.
//!
//! The processor is a process of its own. A backlog is written while it stands still (SIGSTOP), ready and with its partitions:
//! starting and joining the group are no part of what is measured, nor is writing the commands. The clock runs from when it
//! goes on to the last reply. With a rate, each command has a time when it is due, and its latency counts from then.

mod alone;
mod bars;
mod cases;
mod ceiling;
mod copy_loop;
mod fleet;
mod latency;
mod load;
mod measure;
mod part;
mod place;
mod processor;
mod samples;
mod slow_store;
mod table;
mod writes;

use super::interrupt::interrupted;
use super::{FAILED, WRONG_CONFIGURATION};
use crate::config::{Log, LogFormat};
use crate::telemetry::log;
use cases::Case;
use measure::Bench;
use place::{Place, Wish};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    Part(part::Args),
}

/// What to measure, and where.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Options {
    /// The cases [default: all]
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,
    /// The configuration of the servers to use
    #[arg(long, value_name = "FILE", env = "CRM_CONFIG", required_unless_present = "embedded")]
    config: Option<PathBuf>,
    /// Use no servers: a mock of Kafka and the embedded store
    #[arg(long)]
    embedded: bool,
    /// Where --embedded keeps its store, for the time of the run [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Commands of a case [default: 20000; with --rate those of 30 s, if fewer]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    commands: Option<u32>,
    /// Entities that they are about
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    entities: u32,
    /// The processor has not seen the entities before (the default)
    #[arg(long, conflicts_with = "warm")]
    cold: bool,
    /// The processor has seen each entity once before
    #[arg(long)]
    warm: bool,
    /// Send at a rate, commands a second, and measure latency [default: as a backlog]
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Commands decided at once [default: as configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: Option<u32>,
    /// Let each answer of the database come so much later, as 50ms. For a database of one node: a driver finds others by itself
    #[arg(long, value_name = "DURATION", value_parser = delay, conflicts_with = "embedded")]
    store_delay: Option<Duration>,
    /// Processors that share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    instances: u16,
    /// Partitions of the command topic
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Runs of each case, of which the median is printed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Don't measure the store and Kafka alone
    #[arg(long)]
    no_ceiling: bool,
    /// What the names of topics, groups and the keyspace begin with
    #[arg(long, value_name = "NAME", default_value = "crm-bench", value_parser = prefix)]
    prefix: String,
    /// Print a line of JSON for each case (the default if the output is no terminal)
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    if (0.1..=1e6).contains(&rate) { Ok(rate) } else { Err("must be between 0.1 and 1000000".into()) }
}

fn delay(text: &str) -> Result<Duration, String> {
    let delay = humantime::parse_duration(text).map_err(|_| "is no duration such as 50ms".to_owned())?;
    if delay <= Duration::from_secs(10) { Ok(delay) } else { Err("must be 10s at most".into()) }
}

/// Fit for topics as it is, and for keyspaces with `_` for `-`.
fn prefix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 30 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("must be up to 30 lower-case letters, digits and hyphens, a letter first".into())
    }
}

/// `crm-processor bench`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (options, only_ceiling) = match args.only {
        Some(Only::Part(part)) => return Box::pin(part::run(part)).await,
        Some(Only::Ceiling(options)) => (options, true),
        None => (args.options, false),
    };
    log::start(&Log { format: LogFormat::Text, level: "error".into() }).map_err(anyhow::Error::msg)?;
    if options.embedded && options.instances > 1 {
        eprintln!("crm-processor: the embedded store is for one process: no --instances with --embedded");
        return Ok(ExitCode::from(WRONG_CONFIGURATION));
    }
    let place = Place::open(options.wish()).await?;
    let json = options.json || !std::io::stdout().is_terminal();
    let mut bench = Bench::new(place, options, json);
    let measured = tokio::select! {
        measured = bench.run(only_ceiling) => measured.map(|()| ExitCode::SUCCESS),
        interrupted = interrupted() => interrupted.map(|()| {
            eprintln!("crm-processor: interrupted, removing what was made");
            ExitCode::from(FAILED)
        }),
    };
    let closed = bench.place.close().await;
    if let (Err(_), Err(left)) = (&measured, &closed) {
        // The error that is returned is the other one.
        eprintln!("crm-processor: {left:#}");
    }
    let code = measured?;
    closed?;
    Ok(code)
}

impl Options {
    fn wish(&self) -> Wish<'_> {
        let in_flight = self.in_flight.map(|n| ("CRM__KAFKA__MAX_IN_FLIGHT".to_owned(), n.to_string()));
        Wish {
            config: self.config.as_deref().filter(|_| !self.embedded),
            folder: self.folder.as_deref(),
            prefix: &self.prefix,
            partitions: self.partitions,
            store_delay: self.store_delay,
            variables: in_flight.into_iter().collect(),
        }
    }

    fn cases(&self) -> Vec<Case> {
        if self.cases.is_empty() { Case::ALL.to_vec() } else { self.cases.clone() }
    }

    fn commands(&self) -> u32 {
        const DEFAULT: u32 = 20_000;
        const SECONDS: f64 = 30.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by what it is compared to")]
        let of_rate = |rate: f64| (rate * SECONDS).min(f64::from(DEFAULT)) as u32;
        self.commands.unwrap_or_else(|| self.rate.map_or(DEFAULT, of_rate)).max(1)
    }
}
