//! `setup`: makes the topics, schemas, keyspace and tables that are missing, and says what it did. Safe to repeat; what
//! exists is left as it is, and checked.

use super::topics::{self, Cluster, Layout};
use super::{ConfigFile, FAILED, connect};
use crate::config::{Backend, Config};
use crate::domain::entity::EntityType;
use crate::domain::external_id::ExternalId;
use crate::store::configured::ConfiguredStore;
use crate::store::{Applied, ApplyWrite, ConditionalStore, Consistency, EntityKey, IdKey, LogRow, RefuseWrite, StoreFault};
use crate::wire;
use anyhow::{Context as _, anyhow};
use std::process::ExitCode;
use std::time::Duration;
use uuid::Uuid;

const HELP: &str = "\
Example:
  crm-processor setup --config crm.toml --partitions 24 --replication-factor 3

Needs the rights to create topics, schemas, keyspaces and tables; `run` needs none of these. How many partitions the command topic
has bounds how many processes share the work. A keyspace that is missing is made with store.replication.";

/// Make topics, schemas, keyspace and tables; safe to repeat
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Partitions of topics that are made
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Replicas of topics that are made; -1 is the broker's default
    #[arg(
        long,
        value_name = "N",
        default_value_t = -1,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-1..=100)
    )]
    replication_factor: i32,
}

/// `crm-processor setup`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let layout = Layout { partitions: args.partitions, replication_factor: args.replication_factor };
    let findings = set_up_topics(&config, layout).await?;
    set_up_schemas(&config).await?;
    set_up_store(&config).await?;
    if findings == 0 {
        println!("all is set up");
        return Ok(ExitCode::SUCCESS);
    }
    println!("all is set up, but for what the lines with ! say: mend it, and run setup again");
    Ok(ExitCode::from(FAILED))
}

/// How many findings there are about topics that existed.
async fn set_up_topics(config: &Config, layout: Layout) -> anyhow::Result<usize> {
    let cluster = Cluster::new(&config.kafka)?;
    let before = cluster.look().await?;
    let topics = topics::of(config);
    for topic in &topics {
        if let Some(partitions) = before.topics.get(&topic.name) {
            done("topic", &topic.name, &format!("is there, with {partitions} partitions"));
        } else {
            cluster.create(topic, layout).await.with_context(|| format!("making topic {} ({})", topic.name, topic.key))?;
            done("topic", &topic.name, &format!("made, with {} partitions", layout.partitions));
        }
    }
    cluster.until_shown(&topics).await?;
    let findings = cluster.findings(&topics, &before).await?;
    for (topic, finding) in &findings {
        println!("! topic     {topic}: {finding}");
    }
    Ok(findings.len())
}

async fn set_up_schemas(config: &Config) -> anyhow::Result<()> {
    let registry = connect::registry(config)?;
    let topics = &config.kafka.topics;
    for (subject, schema) in wire::subjects(&topics.commands, &topics.replies, &topics.transactions) {
        let known = registry.lookup(&subject, schema).await.map_err(|fault| anyhow!(connect::registry_trouble(&fault)))?;
        if let Some(id) = known {
            done("schema", &subject, &format!("is there, with id {id}"));
        } else {
            let id = registry.register(&subject, schema).await.map_err(|fault| anyhow!(connect::registry_trouble(&fault)))?;
            done("schema", &subject, &format!("registered, with id {id}"));
        }
    }
    Ok(())
}

async fn set_up_store(config: &Config) -> anyhow::Result<()> {
    ConfiguredStore::setup(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
    let (name, what) = match &config.store.backend {
        Backend::Cql(cql) => (cql.keyspace.clone(), "is there, with its tables"),
        Backend::Embedded { path } => (path.display().to_string(), "is there"),
    };
    try_store(config).await?;
    done("store", &name, what);
    Ok(())
}

/// Reads and writes as decisions do, both tables: that needs the rights, and a quorum of the replicas, which a keyspace can
/// ask too much for. The writes' conditions hold for nothing, so nothing is written.
pub(super) async fn try_store(config: &Config) -> anyhow::Result<()> {
    const NEVER: i64 = -1;
    let store = ConfiguredStore::connect(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
    let nobody = EntityKey { entity_type: EntityType::Customer, ref_id: Uuid::nil() };
    let no_id = IdKey { entity_type: EntityType::Customer, external_id: ExternalId::parse("nobody").expect("obeys the rules") };
    let row =
        || vec![LogRow { request_id: "check".into(), changed_to: None, outcome: Vec::new(), ttl: Some(Duration::from_secs(1)) }];
    let tried = async {
        store.read_entity(nobody, &[], Consistency::Serial).await?;
        store.read_id(&no_id, &[], Consistency::Serial).await?;
        let applied = [
            store.apply(ApplyWrite { key: nobody, read: Some(NEVER), after: None, rows: row() }).await?,
            store.refuse(RefuseWrite { id: no_id.clone(), read: Some(NEVER), refused: 0, rows: row() }).await?,
        ];
        Ok::<_, StoreFault>(applied)
    };
    let applied = tried.await.map_err(|fault| {
        if fault.cause.contains("permission") {
            return connect::store_trouble(&fault);
        }
        anyhow::Error::new(fault).context(
            "the store can't agree on a read or write: if it has fewer nodes than the keyspace's replication asks for, ALTER \
             KEYSPACE, or drop it and run setup with another store.replication",
        )
    })?;
    anyhow::ensure!(
        applied == [Applied::No; 2],
        "the store applied a write whose condition does not hold: it can't be relied on"
    );
    Ok(())
}

fn done(kind: &str, name: &str, what: &str) {
    println!("  {kind:<8}  {name}: {what}");
}
