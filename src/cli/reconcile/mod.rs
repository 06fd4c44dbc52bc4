//! `reconcile`: finds the entities that a data warehouse does not hold as the store does, and publishes exactly these as snapshots.
//!
//! The warehouse exports a line for each entity: version and digest. Both sides are added up in buckets, so that what agrees takes no
//! memory. In the buckets that differ, entities are compared one by one. An entity that differs is read once more. If the warehouse lacks
//! its latest change, and that was made shortly before the file or later, the change was still on its way, which is no difference.

mod compare;
mod digest;
mod export;
mod publish;
mod search;

use crate::config::Log;
use crate::store::configured::ConfiguredStore;
use crate::telemetry::log;
use crate::toolbox::flags::ConfigFile;
use crate::toolbox::output::{remark, say};
use crate::toolbox::{FAILED, connect};
use export::Export;
use publish::Reconciliation;
use search::Search;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = r#"Examples:
  crm-processor reconcile --config crm.toml warehouse.csv --dry-run          says what differs
  crm-processor reconcile --config crm.toml warehouse.csv --state work.json  publishes what differs; the same command goes on later
  crm-processor reconcile --config crm.toml warehouse.csv --json

warehouse.csv has a line for each entity of the warehouse, with the columns entityType, refId, version, digest and exportedAt. One SQL
statement makes it: see docs/warehouse.md.

Entities that the warehouse lacks, has in another version, with other values, or several times are published as snapshots, and no others.
Entities that the warehouse has and the store does not are named on standard error: what is to become of them is the warehouse's to say.
Processors may run meanwhile. An entity whose latest change is later than --lag before the file was made counts as under way, not as
different. If the store is the embedded one, stop the processor first.

With --state, the file holds what is to be published, and says how much has been: after each Kafka transaction, or after some if writing
the file takes long. After an interruption the same command goes on from there. A file that says "finished" is refused: take another one
to compare anew.

Exit codes: 0 nothing differs, 1 something does (published or not), or the command failed, 2 wrong usage or configuration."#;

/// Publish what a data warehouse does not hold as the store does
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The warehouse's export: a CSV file with a line for each of its entities
    #[arg(value_name = "FILE.csv")]
    warehouse: PathBuf,
    /// Say what differs, and publish nothing
    #[arg(long, conflicts_with = "state")]
    dry_run: bool,
    /// How many entities a second are published at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How many entities a second are read at most
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    read_rate: u32,
    /// How far the warehouse may be behind
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    lag: Duration,
    /// The file that says what is to be published, and how much of it has been
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `crm-processor reconcile`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    // At level info the database's driver logs each of its connections.
    log::start(&Log { level: "warn".into(), ..config.log.clone() }).map_err(anyhow::Error::msg)?;
    let noted = args.state.as_deref().map(|file| Reconciliation::noted(file, &args.warehouse)).transpose()?.flatten();
    let store = ConfiguredStore::connect(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
    let mut search = Search::new(store, &config, args.read_rate, args.lag);
    let mut work = match noted {
        Some(work) => work,
        None => Reconciliation::of(&args.warehouse, search.through(&Export::at(&args.warehouse)).await?),
    };
    for (key, _) in work.unknown() {
        remark(format_args!("{} {}: not in the store", key.entity_type, key.ref_id));
    }
    if args.dry_run {
        for (key, difference) in work.to_publish() {
            remark(format_args!("{} {}: {}", key.entity_type, key.ref_id, difference.in_words()));
        }
    } else {
        work.publish(&config, &search.claims, args.rate, args.state.as_deref()).await?;
    }
    say(if args.json { work.as_json() } else { work.as_text(args.dry_run) });
    Ok(if work.differs() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
