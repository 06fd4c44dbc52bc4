//! `setup`: makes the topics, schemas, keyspace and tables that are missing, and says what it did. It is safe to repeat: it leaves what
//! exists as it is, and checks it.

use crate::config::{Backend, Config};
use crate::store::StoreFault;
use crate::store::configured::ConfiguredStore;
use crate::store::topology::Topology;
use crate::toolbox::assessment::Assessment;
use crate::toolbox::cluster::{Cluster, Layout};
use crate::toolbox::flags::ConfigFile;
use crate::toolbox::output::say;
use crate::toolbox::topics;
use crate::toolbox::{FAILED, connect, database, trial};
use crate::wire;
use crate::wire::registry::RegistryClient;
use anyhow::{Context as _, anyhow, bail};
use std::process::ExitCode;

const HELP: &str = "\
Example:
  crm-processor setup --config crm.toml --partitions 24 --replication-factor 3

It needs the rights to create topics, schemas, keyspaces and tables; `run` needs none of these. At most as many processes can share the
work as the command topic has partitions. Each topic's line says how many replicas it has, and its min.insync.replicas, whether the
brokers chose these or you did. A keyspace that is missing is made with store.replication.";

/// Make topics, schemas, keyspace and tables; safe to repeat
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Partitions of each topic that is made
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Replicas of each topic that is made; -1 is the broker's default
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
        say("all is set up");
        return Ok(ExitCode::SUCCESS);
    }
    say("all is set up, except for what the lines with ! say: mend that, and run setup again");
    Ok(ExitCode::from(FAILED))
}

/// Makes the topics that are missing. Returns how many findings there are about those that existed.
async fn set_up_topics(config: &Config, layout: Layout) -> anyhow::Result<usize> {
    let cluster = Cluster::new(&config.kafka)?;
    let before = cluster.look().await?;
    let topics = topics::of(config);
    for topic in topics.iter().filter(|topic| !before.topics.contains_key(&topic.name)) {
        cluster.create(topic, layout).await.with_context(|| format!("making topic {} ({})", topic.name, topic.key))?;
    }
    // Unless we chose it, the brokers decided how many replicas a topic got, so they are asked.
    let view = cluster.until_shown(&topics).await?;
    let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let safety = cluster.safety(&names).await?;
    for topic in &topics {
        let Some(placement) = view.topics.get(&topic.name) else { continue };
        let safety = safety.get(&topic.name).copied().unwrap_or_default();
        let is_made = !before.topics.contains_key(&topic.name);
        let what = if is_made { "made" } else { "is there" };
        let whose =
            if is_made && layout.replication_factor < 0 { "; the number of replicas is the brokers' default" } else { "" };
        done("topic", &topic.name, &format!("{what}, with {}{whose}", placement.shown(safety)));
        // This is a note and no finding: the reason may be the brokers' own settings and nothing that `setup` did.
        for risk in placement.findings(&topic.name, safety, &view.brokers) {
            say(format_args!("  note      {}: {risk}", topic.name));
        }
    }
    let assessments = cluster.findings(&topics, &before).await?;
    for (topic, assessment) in &assessments {
        match assessment {
            Assessment::Ok(_) => {}
            Assessment::Note(text) => say(format_args!("  note      {topic}: {text}")),
            Assessment::Finding(text) => say(format_args!("! topic     {topic}: {text}")),
        }
    }
    Ok(assessments.iter().filter(|(_, assessment)| assessment.finding().is_some()).count())
}

async fn set_up_schemas(config: &Config) -> anyhow::Result<()> {
    let registry = connect::registry(config)?;
    let topics = &config.kafka.topics;
    for (subject, schema) in wire::subjects(&topics.commands, &topics.replies, &topics.transactions, topics.changes.as_deref()) {
        let known = registry.lookup(&subject, schema).await.map_err(|fault| anyhow!(connect::registry_trouble(&fault)))?;
        if let Some(id) = known {
            done("schema", &subject, &format!("is there, with id {id}"));
        } else {
            let id = registry.register(&subject, schema).await.map_err(|fault| anyhow!(connect::registry_trouble(&fault)))?;
            done("schema", &subject, &format!("registered, with id {id}"));
        }
        set_compatibility(&registry, &subject).await;
    }
    Ok(())
}

/// Has the registry accept only such versions of a schema as everybody can read. A failure is only a note: a registry may keep that right
/// to its administrators, and everything works without it.
async fn set_compatibility(registry: &RegistryClient, subject: &str) {
    let before = match registry.compatibility(subject).await {
        Ok(Some(level)) if level == wire::COMPATIBILITY => return,
        Ok(level) => level.unwrap_or_else(|| "not set".into()),
        Err(_) => "not known".into(),
    };
    match registry.set_compatibility(subject, wire::COMPATIBILITY).await {
        Ok(()) => done("schema", subject, &format!("compatibility set to {}; it was {before}", wire::COMPATIBILITY)),
        Err(fault) => say(format_args!("  note      {subject}: its compatibility is {before}, and stays so: {fault}")),
    }
}

async fn set_up_store(config: &Config) -> anyhow::Result<()> {
    let trouble = |fault: &StoreFault| connect::store_trouble(fault);
    let before = ConfiguredStore::topology(&config.store).await.map_err(|fault| trouble(&fault))?;
    if let (Some(topology @ Topology { keyspace: None, .. }), Backend::Cql(cql)) = (&before, &config.store.backend)
        && let Some(unfit) = database::unfit_replication(topology, cql)
    {
        bail!("{unfit}");
    }
    ConfiguredStore::setup(&config.store).await.map_err(|fault| trouble(&fault))?;
    let (name, what) = match &config.store.backend {
        Backend::Cql(cql) => (cql.keyspace.clone(), "is there, with its tables"),
        Backend::Embedded { path } => (path.display().to_string(), "is there"),
    };
    if let Err(fault) = trial::try_configured(&config.store).await {
        bail!("{}", fault.explained(because(config).await.as_deref()));
    }
    done("store", &name, what);
    Ok(())
}

/// Returns what is wrong with the database's nodes and the keyspace. Returns `None` if nothing is wrong, if the database does not say, or
/// if the store is embedded.
async fn because(config: &Config) -> Option<String> {
    let Backend::Cql(cql) = &config.store.backend else { return None };
    let topology = ConfiguredStore::topology(&config.store).await.ok()??;
    let assessments = database::judge(&topology, cql);
    let findings: Vec<_> = assessments.iter().filter_map(|(_, assessment)| assessment.finding()).collect();
    (!findings.is_empty()).then(|| findings.join("; "))
}

fn done(kind: &str, name: &str, what: &str) {
    say(format_args!("  {kind:<8}  {name}: {what}"));
}
