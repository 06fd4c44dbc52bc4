//! `run`: the processor itself. It waits for servers that are away, and ends with a message if only an operator can mend the trouble.
//! After SIGTERM or SIGINT it finishes what is being processed; a second signal ends it at once.

use crate::config::Config;
use crate::pauses::Pauses;
use crate::processor;
use crate::store::ConditionalStore;
use crate::store::claims::Claims;
use crate::store::configured::ConfiguredStore;
use crate::store::metered::Metered;
use crate::telemetry::admin::Admin;
use crate::telemetry::concerns::Concern;
use crate::telemetry::gathered::Gathered;
use crate::telemetry::health::Health;
use crate::telemetry::log::{self, LogLevel};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp::Collector;
use crate::telemetry::watchdog;
use crate::toolbox::flags::ConfigFile;
use crate::toolbox::{FAILED, connect};
use crate::wire::answer::Encoder;
use crate::wire::registry::Registry;
use crate::wire::registry_watch::keep_watching;
use crate::wire::{CHANGE_SCHEMA, REPLY_SCHEMA, TRANSACTION_SCHEMA, change_subject, reply_subject, transaction_subject};
use anyhow::{Context as _, anyhow, bail};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

/// How often the driver is asked what it knows of the nodes, and the store is asked for a sign of life if it has answered nothing for a
/// while.
const LOOK: Duration = Duration::from_secs(1);

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

/// Runs a process until it ends by itself or a signal comes. After the first signal it ends in good order, after a second one at once;
/// `left` is a sentence for the log about the work that the second signal cut short.
pub(super) async fn until_told<F: Future<Output = anyhow::Result<()>>>(
    config: Config,
    left: &str,
    process: impl FnOnce(Arc<Config>, LogLevel, watch::Receiver<bool>) -> F,
) -> anyhow::Result<ExitCode> {
    let config = Arc::new(config);
    let (level, collector) = start_telemetry(&config).map_err(anyhow::Error::msg)?;
    log_panics();
    let (stop, stopping) = watch::channel(false);
    let signals = Signals::listen()?;
    let ended = tokio::select! {
        result = process(config, level, stopping) => result.map(|()| ExitCode::SUCCESS),
        () = signals.twice(stop) => {
            tracing::warn!("a second signal: ended at once; {left}");
            return Ok(ExitCode::from(FAILED));
        }
    };
    if let Some(collector) = collector {
        collector.finish().await;
    }
    ended
}

/// Starts logging, and the collector of spans if the configuration names one. Returns the handle of the log level, and the collector.
fn start_telemetry(config: &Config) -> Result<(LogLevel, Option<Collector>), String> {
    let collector = |endpoint: &String| Collector::at(endpoint, &config.kafka.instance_id);
    let collector = config.telemetry.otlp_endpoint.as_ref().map(collector).transpose()?;
    Ok((log::start_with(&config.log, collector.as_ref())?, collector))
}

async fn process(config: Arc<Config>, level: LogLevel, stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
    let admin = Admin::bind(config.admin.listen).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %admin.address(),
        instance_id = config.kafka.instance_id,
        "starting"
    );
    let (admin_stop, admin_stopping) = watch::channel(false);
    let serving = tokio::spawn(admin.serve(metrics.clone(), health.clone(), level, stopped(admin_stopping)));

    let configured = config.clone();
    let started = tokio::select! {
        setup = prepare(&config, &metrics, &health) => Some(setup?),
        () = stopped(stopping.clone()) => None,
    };
    if let Some((setup, store)) = started {
        let commands = config.kafka.topics.commands.clone();
        let mut beside = JoinSet::new();
        beside.spawn(keep_looking_at_nodes(store.clone(), configured, health.clone()));
        beside.spawn(keep_asking_store(store, health.clone()));
        beside.spawn(keep_watching(setup.registry.clone(), commands, metrics, health.clone()));
        watchdog::start(health)?;
        // The processor is a task beside those of its lanes. On the main thread it would have to be woken for each command.
        let processing = tokio::spawn(processor::run(setup, stopped(stopping)));
        // The panic's text is left out: it may hold values of entities.
        let ended = |part| anyhow!("{part} ended because of a bug; what was being processed will be processed again");
        tokio::select! {
            done = processing => done.map_err(|_| ended("the processor"))??,
            Some(_) = beside.join_next() => return Err(ended("a task that looks at the store or the registry")),
        }
    }
    tracing::info!("stopped");
    admin_stop.send_replace(true);
    // Nobody waits for a scrape that is under way.
    serving.abort();
    Ok(())
}

/// The store of a process that serves.
pub(super) type Store = Metered<ConfiguredStore>;

/// Connects to the store and to the registry, however long that takes.
async fn prepare(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> anyhow::Result<(processor::Setup<Store>, Arc<Store>)> {
    let registry = connect::registry(config)?;
    let (store, encoder) = tokio::try_join!(store(config), encoder(config, &registry))?;
    let store = Arc::new(Metered::new(store, metrics.clone(), health.clone()));
    let clock = connect::clock();
    let claims = Claims::new(store.clone(), &connect::claims_options(config), clock.clone());
    let claims = Arc::new(claims.counting_in(metrics.clone()));
    let (config, metrics, health) = (config.clone(), metrics.clone(), health.clone());
    Ok((processor::Setup { config, claims, registry: Arc::new(registry), encoder, metrics, health, clock }, store))
}

/// Connects to the store, however long that takes.
pub(super) async fn store(config: &Config) -> anyhow::Result<ConfiguredStore> {
    let mut pauses = Pauses::WHILE_AWAY;
    loop {
        match ConfiguredStore::connect(&config.store).await {
            Ok(store) => return Ok(store),
            Err(fault) if connect::needs_operator(&fault) => return Err(connect::store_trouble(&fault)),
            Err(fault) => tracing::warn!(%fault, "the store can't be reached, trying again"),
        }
        pauses.wait().await;
    }
}

/// Returns the encoder of answers, with the ids that the registry has for their schemas.
async fn encoder(config: &Config, registry: &Registry) -> anyhow::Result<Encoder> {
    let topics = &config.kafka.topics;
    let reply = schema_id(registry, &reply_subject(&topics.replies), REPLY_SCHEMA).await?;
    let transaction = schema_id(registry, &transaction_subject(&topics.transactions), TRANSACTION_SCHEMA).await?;
    let change = match &topics.changes {
        Some(topic) => Some(schema_id(registry, &change_subject(topic), CHANGE_SCHEMA).await?),
        None => None,
    };
    Ok(Encoder::new(reply, transaction, change))
}

/// Returns the id that the registry has for one of our schemas, however long the registry is away.
pub(super) async fn schema_id(registry: &Registry, subject: &str, schema: &str) -> anyhow::Result<u32> {
    let mut pauses = Pauses::WHILE_AWAY;
    loop {
        match registry.lookup(subject, schema).await {
            Ok(Some(id)) => {
                registry.note_ours(id, subject, schema);
                return Ok(id);
            }
            Ok(None) => bail!("the registry does not have our schema as {subject}; `crm-processor setup` registers it"),
            Err(fault) => tracing::warn!(%fault, "the schema registry can't be reached, trying again"),
        }
        pauses.wait().await;
    }
}

/// Keeps telling operators which nodes are away, even while the others do their work, and whether the keyspace wants more nodes than
/// there are: then commands wait although no node is amiss.
async fn keep_looking_at_nodes(store: Arc<Store>, config: Arc<Config>, health: Arc<Health>) {
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

/// Keeps asking the store for a sign of life whenever it has answered nothing for a while. Otherwise readiness could not tell that the
/// store is away while nothing is processed; and it would count the store as away if only one entity is processed, and the writes to it
/// fail.
pub(super) async fn keep_asking_store(store: Arc<Store>, health: Arc<Health>) {
    let mut ticks = every(LOOK);
    let gathered = Gathered::default();
    loop {
        ticks.tick().await;
        if health.store().is_to_be_asked(Instant::now())
            && let Err(fault) = store.ping().await
            && let Some(left_out) = gathered.due((fault.kind, fault.node.clone()), Instant::now())
        {
            tracing::warn!(%fault, left_out, "the store does not answer when it is asked for a sign of life");
        }
    }
}

/// Returns the ticks at which servers are asked. A late answer puts off the next tick.
pub(super) fn every(time: Duration) -> Interval {
    let mut ticks = tokio::time::interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Resolves when `stopping` is set, or when nobody is left who could set it.
pub(super) async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// The signals that end a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens to the signals from now on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be listened to");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Sets `stop` at the first signal, and resolves at the second.
    pub(super) async fn twice(mut self, stop: watch::Sender<bool>) {
        self.next().await;
        stop.send_replace(true);
        self.next().await;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Sends panics to the log, like everything else. A panic's text may hold values of entities, so only the level `debug` shows it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a bug: a panic");
        tracing::debug!(panic = %panic, "its text");
    }));
}
