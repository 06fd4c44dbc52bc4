//! `run`: the processor itself. It waits for servers that are away, and ends with a message if only an operator can mend the trouble.
//! After SIGTERM or SIGINT it finishes what is being processed; a second signal ends it at once.

use super::serving::{LOOK, every, keep_asking_store, schema_id, stopped, store, until_told};
use crate::config::Config;
use crate::processor;
use crate::store::claims::Claims;
use crate::store::configured::MeteredStore;
use crate::store::metered::Metered;
use crate::telemetry::admin::AdminListener;
use crate::telemetry::concerns::Concern;
use crate::telemetry::health::Health;
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::watchdog;
use crate::toolbox::connect;
use crate::toolbox::flags::ConfigFile;
use crate::wire::answer::Encoder;
use crate::wire::registry::RegistryClient;
use crate::wire::registry_watch::keep_watching;
use crate::wire::{CHANGE_SCHEMA, REPLY_SCHEMA, TRANSACTION_SCHEMA, change_subject, reply_subject, transaction_subject};
use anyhow::anyhow;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

const HELP: &str = "\
Example:
  CRM__KAFKA__INSTANCE_ID=$HOSTNAME crm-processor run --config /etc/crm/crm.toml

kafka.instance_id names this process's slot. It must stay the same for the slot, and differ among running processes: the name of a
StatefulSet's pod, for example. If the store or the registry is away at the start, `run` waits for it; /readyz on admin.listen says what
is missing.

After SIGTERM or Ctrl-C it finishes what is being processed (for kafka.shutdown_grace at most), commits, and leaves the group. A second
signal ends it at once.";

/// Process commands until SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// `crm-processor run`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    until_told(args.config.load()?, "what was being processed will be processed again", process).await
}

async fn process(config: Arc<Config>, level: LogLevel, stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
    let admin = AdminListener::bind(config.admin.listen).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %admin.address(),
        instance_id = config.kafka.instance_id,
        "starting"
    );
    let (admin_stop, admin_stopping) = watch::channel(false);
    let serving = tokio::spawn(admin.serve(metrics.clone(), health.clone(), level, stopped(admin_stopping)));

    let mut beside = Beside::default();
    let started = tokio::select! {
        setup = prepare(&config, &metrics, &health, &mut beside) => Some(setup?),
        () = stopped(stopping.clone()) => None,
    };
    if let Some(setup) = started {
        watchdog::start(health)?;
        // The processor is a task beside those of its lanes. On the main thread it would have to be woken for each command.
        let processing = tokio::spawn(processor::run(setup, stopped(stopping)));
        // The panic's text is left out: it may hold values of entities.
        let ended = |part| anyhow!("{part} ended because of a bug; what was being processed will be processed again");
        tokio::select! {
            done = processing => done.map_err(|_| ended("the processor"))??,
            Some(_) = beside.of_store.join_next() => return Err(ended("a task that looks at the store")),
            Some(_) = beside.of_registry.join_next() => return Err(ended("the task that looks at the registry")),
        }
    }
    tracing::info!("stopped");
    admin_stop.send_replace(true);
    // Nobody waits for a scrape that is under way.
    serving.abort();
    Ok(())
}

/// The tasks that look at the store and at the registry, and tell operators of them. They never end by themselves.
#[derive(Default)]
struct Beside {
    of_store: JoinSet<()>,
    of_registry: JoinSet<()>,
}

/// Connects to the store and to the registry, however long that takes. Each is looked at as soon as it has answered, so that the absence of
/// one is not told as that of both.
async fn prepare(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    Beside { of_store, of_registry }: &mut Beside,
) -> anyhow::Result<processor::Setup<MeteredStore>> {
    let registry = Arc::new(connect::registry(config)?);
    let connected = async {
        let store = Arc::new(Metered::new(store(config).await?, metrics.clone(), health.clone()));
        of_store.spawn(keep_looking_at_nodes(store.clone(), config.clone(), health.clone()));
        of_store.spawn(keep_asking_store(store.clone(), health.clone()));
        anyhow::Ok(store)
    };
    let known = async {
        let encoder = encoder(config, &registry).await?;
        let commands = config.kafka.topics.commands.clone();
        of_registry.spawn(keep_watching(registry.clone(), commands, metrics.clone(), health.clone()));
        anyhow::Ok(encoder)
    };
    let (store, encoder) = tokio::try_join!(connected, known)?;
    let clock = connect::clock();
    let claims = Claims::new(store, &connect::claims_options(config), clock.clone());
    let claims = Arc::new(claims.counting_in(metrics.clone()));
    let (config, metrics, health) = (config.clone(), metrics.clone(), health.clone());
    Ok(processor::Setup { config, claims, registry, encoder, metrics, health, clock })
}

/// Returns the encoder of answers, with the ids that the registry has for their schemas.
async fn encoder(config: &Config, registry: &RegistryClient) -> anyhow::Result<Encoder> {
    let topics = &config.kafka.topics;
    let reply = schema_id(registry, &reply_subject(&topics.replies), REPLY_SCHEMA).await?;
    let transaction = schema_id(registry, &transaction_subject(&topics.transactions), TRANSACTION_SCHEMA).await?;
    let change = match &topics.changes {
        Some(topic) => Some(schema_id(registry, &change_subject(topic), CHANGE_SCHEMA).await?),
        None => None,
    };
    Ok(Encoder::new(reply, transaction, change))
}

/// Keeps telling operators which nodes are away, even while the others do their work, and whether the keyspace wants more nodes than
/// there are: then commands wait although no node is amiss.
async fn keep_looking_at_nodes(store: Arc<MeteredStore>, config: Arc<Config>, health: Arc<Health>) {
    let mut ticks = every(LOOK);
    loop {
        ticks.tick().await;
        store.nodes_seen(&store.inner().nodes());
        let unfit = connect::unfit(store.inner(), &config);
        for (concern, is_obstacle) in [(Concern::KeyspaceUnworkable, true), (Concern::KeyspaceUnfit, false)] {
            let text = unfit.as_ref().filter(|unfit| unfit.is_obstacle == is_obstacle).map(|unfit| unfit.text.clone());
            health.tell(concern, text);
        }
    }
}
