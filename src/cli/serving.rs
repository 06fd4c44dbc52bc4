//! The common parts of the processes that serve, `run` and `gateway`: they log, wait for servers that are away, ask the store now and then
//! for a sign of life, and end by signals.

use crate::config::Config;
use crate::pauses::Pauses;
use crate::store::ConditionalStore;
use crate::store::configured::{ConfiguredStore, MeteredStore};
use crate::telemetry::gathered::Gathered;
use crate::telemetry::health::Health;
use crate::telemetry::log::{self, LogLevel};
use crate::telemetry::otlp::Collector;
use crate::toolbox::{FAILED, connect};
use crate::wire::registry::RegistryClient;
use anyhow::{Context as _, bail};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

/// How often the driver is asked what it knows of the nodes, and a store that has lately answered nothing is asked for a sign of life.
pub(super) const LOOK: Duration = Duration::from_secs(1);

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

/// Returns the id that the registry has for one of our schemas, however long the registry is away.
pub(super) async fn schema_id(registry: &RegistryClient, subject: &str, schema: &str) -> anyhow::Result<u32> {
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

/// Keeps asking the store for a sign of life whenever it has answered nothing for a while. Otherwise readiness would miss that the store is
/// away while nothing is processed. And if only one entity is processed, and the writes to it fail, it would count the store as away.
pub(super) async fn keep_asking_store(store: Arc<MeteredStore>, health: Arc<Health>) {
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
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be listened to");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Sets `stop` at the first signal, and resolves at the second.
    async fn twice(mut self, stop: watch::Sender<bool>) {
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
