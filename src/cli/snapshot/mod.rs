//! `snapshot`: publishes the present state of entities to the transaction topic, for a data warehouse that loads them for the first time,
//! or again.
//!
//! A snapshot writes nothing to the store and asks no running process. The state that it reads was applied. The topic may already have the
//! business transaction of a later version, or not yet have that of this version, so readers go by the version. Each batch is a Kafka
//! transaction: readers see all of it, or nothing.

mod all;
mod progress;

use crate::config::{Config, Log};
use crate::domain::entity::EntityType;
use crate::telemetry::log;
use crate::toolbox::flags::{ConfigFile, entity_type, no_such_entity, reference};
use crate::toolbox::output::{remark, say};
use crate::toolbox::publisher::NamedPublisher;
use crate::toolbox::snapshots::Snapshots;
use crate::toolbox::{FAILED, connect};
use std::path::PathBuf;
use std::process::ExitCode;
use uuid::Uuid;

const HELP: &str = r#"Examples:
  crm-processor snapshot --config crm.toml customer c-1
  crm-processor snapshot --config crm.toml --ref-id account 0198c7a0-0000-7000-8000-00000000000a
  crm-processor snapshot --config crm.toml --all --rate 2000 --state snapshot.json
  crm-processor snapshot --config crm.toml --all --type customer,account

A snapshot is a business transaction with useCase "snapshot", requestId "snapshot:<version>", no changes, previousVersion = version, the
entity as it is, the key of the entity, the usual headers, and crm-snapshot: true. If kafka.topics.changes names a topic, the same goes
there as a row. Its transactionId is the UUIDv5 in the URL namespace of crm:snapshot:<type>:<refId>:<version>: the same for the same
version, however often it is published. Processors may run meanwhile: if a snapshot comes after the business transaction of a later
version, readers must ignore it. If the store is the embedded one, stop the processor first.

With --state, the file says after each Kafka transaction how far the snapshot has come. After an interruption the same command goes on
from there; the entities of the last transaction may come a second time. A file that says "finished" is refused: take another one to begin anew."#;

/// Publish the present state of entities, for the data warehouse
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// customer, account or subscriber
    #[arg(value_name = "TYPE", value_parser = entity_type, required_unless_present = "all", requires = "id")]
    entity_type: Option<EntityType>,
    /// The entity's external id; with --ref-id, its refId
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    id: Option<String>,
    /// ID is the refId, a UUID
    #[arg(long, conflicts_with = "all")]
    ref_id: bool,
    /// All entities
    #[arg(long, conflicts_with_all = ["entity_type", "id"])]
    all: bool,
    /// With --all: only of these types
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = entity_type, requires = "all")]
    types: Vec<EntityType>,
    /// With --all: how many entities a second at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// With --all: the file that says how far the snapshot has come
    #[arg(long, value_name = "FILE", requires = "all")]
    state: Option<PathBuf>,
}

/// `crm-processor snapshot`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    // At level info the database's driver logs each of its connections.
    log::start(&Log { level: "warn".into(), ..config.log.clone() }).map_err(anyhow::Error::msg)?;
    match (args.entity_type, args.id) {
        (Some(entity_type), Some(id)) => one(&config, entity_type, &id, args.ref_id).await,
        _ => all::publish(&config, &args.types, args.rate, args.state.as_deref()).await,
    }
}

async fn one(config: &Config, entity_type: EntityType, id: &str, is_ref_id: bool) -> anyhow::Result<ExitCode> {
    let reference = reference(id, is_ref_id)?;
    let present = connect::claims(config).await?.present(entity_type, &reference).await;
    let Some(statics) = present.map_err(|fault| connect::store_trouble(&fault))? else {
        remark(no_such_entity(entity_type, is_ref_id));
        return Ok(ExitCode::from(FAILED));
    };
    let snapshots = Snapshots::of(config).await?;
    // The publisher has a name of its own, so that it does not end a snapshot of all entities that is under way.
    let publisher = NamedPublisher::open(&config.kafka, &format!("{}-{}", all::publisher_name(config), Uuid::new_v4())).await?;
    let records: Vec<_> = snapshots.records(statics.entity.clone(), connect::clock()()).collect();
    let delivered = publisher.publish(&records, |_| Vec::new()).await?;
    let (topic, at, entity) = (&config.kafka.topics.transactions, delivered[0], &statics.entity);
    let (partition, offset) = (at.partition, at.offset);
    let rows = config.kafka.topics.changes.as_ref().map(|topic| format!(", and as a row of {topic}")).unwrap_or_default();
    say(format_args!(
        "{entity_type} {}, version {}, published as {topic}/{partition}/{offset}{rows}",
        entity.external_id, entity.version
    ));
    Ok(ExitCode::SUCCESS)
}
