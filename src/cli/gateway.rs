//! `gateway`: the API over HTTP. It waits for servers that are away at the start. After SIGTERM or SIGINT it finishes the requests that are
//! open; a second signal ends it at once.

use super::serving::{LOOK, every, keep_asking_store, schema_id, stopped, store, until_told};
use crate::config::{Backend, Config};
use crate::domain::use_case::UseCase;
use crate::gateway::replies::RepliesFault;
use crate::gateway::serve::Listening;
use crate::gateway::service::Service;
use crate::gateway::start::{GatewayStartFault, Setup, Started, start};
use crate::pauses::Pauses;
use crate::store::claims::{Claims, ClaimsOptions};
use crate::store::configured::MeteredStore;
use crate::store::metered::Metered;
use crate::telemetry::admin::AdminListener;
use crate::telemetry::concerns::Concern;
use crate::telemetry::health::Health;
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use crate::telemetry::watchdog;
use crate::toolbox::connect;
use crate::toolbox::flags::ConfigFile;
use crate::wire::command_subject;
use crate::wire::json::JsonDecoder;
use crate::wire::registry::RegistryClient;
use crate::wire::registry_watch::keep_watching;
use anyhow::bail;
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long open requests may take at the end, beyond `gateway.max_wait`.
const GRACE: Duration = Duration::from_secs(5);
/// How long the store is waited for at the start, before commands are taken without it.
const STORE_GRACE: Duration = Duration::from_secs(5);
/// How long a store that an operator must mend is left alone.
const MENDING: Duration = Duration::from_secs(30);
/// The error with which the process ends if a task has ended that never ends by itself.
const TASK_ENDED: &str = "a task that the gateway needs ended because of a bug; the process ends, to be started anew: clients whose requests \
                          were open will ask again";

const HELP: &str = r#"Example:
  crm-processor gateway --config /etc/crm/crm.toml
  curl -i http://127.0.0.1:8080/v1/updateCustomerCustomName -H 'Content-Type: application/json' \
       -d '{"requestId":"r-1","customer":{"externalId":"c-1"},"customName":"Ann"}'

Any number of gateways may run, beside any number of processors (`crm-processor run`), which do the work. gateway.listen is their address,
and admin.listen that of /metrics, /livez and /readyz: give each process its own where several share a machine. A client that gets no answer,
or 503 or 504, sends the same request again with the same requestId.

After SIGTERM or Ctrl-C it takes no new connections, finishes the requests that are open, and ends. A second signal ends it at once."#;

/// Serve commands and reads over HTTP
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// `crm-processor gateway`
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    until_told(args.config.load()?, "clients whose requests were open will ask again", serve).await
}

async fn serve(config: Arc<Config>, level: LogLevel, stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::of_gateway()));
    // Alerts tell gateways from processors by this metric, so it is set before the gateway is ready.
    metrics.gateway_open_requests_limit.set(gauge(config.gateway.max_open_requests));
    let admin = AdminListener::bind(config.admin.listen).await?;
    let listening = Listening::on(config.gateway.listen).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %admin.address(),
        gateway = %listening.address,
        "starting"
    );
    let (admin_stop, admin_stopping) = watch::channel(false);
    let administration = tokio::spawn(admin.serve(metrics.clone(), health.clone(), level, stopped(admin_stopping)));
    health.tell(Concern::GatewayWithoutKafka, Some("the schema registry was not asked for the commands' schemas yet".into()));
    let registry = Arc::new(connect::registry(&config)?);
    let mut beside = JoinSet::new();
    beside.spawn(keep_watching(registry.clone(), config.kafka.topics.commands.clone(), metrics.clone(), health.clone()));
    let (told, connected) = watch::channel(None);
    beside.spawn(keep_store(config.clone(), metrics.clone(), health.clone(), told));
    let started = tokio::select! {
        started = async {
            // Reads are to be answered from the start if that is possible.
            let _ = timeout(STORE_GRACE, connected.clone().wait_for(Option::is_some)).await;
            begin(&config, &registry, &metrics, &health).await
        } => Some(started?),
        () = stopped(stopping.clone()) => None,
    };
    if let Some(Started { service, tls, mut tasks }) = started {
        watchdog::start(health.clone())?;
        let is_connected = connected.borrow().is_some();
        let offering = offer_reads(config.clone(), service.clone(), connected);
        if is_connected {
            offering.await;
        } else {
            // The other tasks never end, and neither does this one.
            beside.spawn(async move {
                offering.await;
                std::future::pending::<()>().await;
            });
        }
        let stop = async {
            stopped(stopping).await;
            health.set_draining();
        };
        tokio::select! {
            () = listening.serve(service.clone(), tls, stop, config.gateway.max_wait + GRACE) => {}
            Some(_) = tasks.join_next() => bail!(TASK_ENDED),
            Some(_) = beside.join_next() => bail!(TASK_ENDED),
        }
        drop(tasks);
        tokio::task::spawn_blocking(move || service.writer.finish(GRACE)).await?;
    }
    tracing::info!("stopped");
    admin_stop.send_replace(true);
    // Nobody waits for a scrape that is under way.
    administration.abort();
    Ok(())
}

/// Gets ready to write commands and to read replies, however long that takes.
async fn begin(
    config: &Arc<Config>,
    registry: &RegistryClient,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> anyhow::Result<Started<MeteredStore>> {
    let mut schema_ids = HashMap::new();
    for use_case in UseCase::ALL {
        let subject = command_subject(&config.kafka.topics.commands, *use_case);
        schema_ids.insert(*use_case, schema_id(registry, &subject, use_case.schema()).await?);
    }
    health.tell(Concern::GatewayWithoutKafka, Some("the reply topic is not read yet".into()));
    let mut pauses = Pauses::WHILE_AWAY;
    loop {
        let setup = Setup {
            config: config.clone(),
            schema_ids: schema_ids.clone(),
            registry: registry.clone(),
            decoder: JsonDecoder::new(connect::registry(config)?),
            metrics: metrics.clone(),
            health: health.clone(),
            clock: connect::clock(),
        };
        match start(setup).await {
            Ok(started) => return Ok(started),
            Err(GatewayStartFault::Replies(fault @ (RepliesFault::Kafka { .. } | RepliesFault::End(_)))) => {
                tracing::warn!(%fault, "Kafka can't be reached, trying again");
            }
            // Only an operator can mend the others.
            Err(fault) => bail!(fault),
        }
        pauses.wait().await;
    }
}

/// Connects to the store, however long that takes, and looks after it. Without it commands are taken, and reads are refused.
async fn keep_store(
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    connected: watch::Sender<Option<Arc<MeteredStore>>>,
) {
    if matches!(config.store.backend, Backend::Embedded { .. }) {
        // Opening it would lock its processor out.
        health
            .store()
            .failed_because("the embedded store belongs to its processor alone: reads over HTTP need ScyllaDB or Cassandra");
        std::future::pending::<()>().await;
    }
    let inner = loop {
        match store(&config).await {
            Ok(inner) => break inner,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the store can't be read, and reads over HTTP are refused");
                health.store().failed_because(&error);
            }
        }
        // An operator must mend this, which takes its time.
        tokio::time::sleep(MENDING).await;
    };
    let store: Arc<MeteredStore> = Arc::new(Metered::new(inner, metrics, health.clone()));
    connected.send_replace(Some(store.clone()));
    let look = async {
        let mut ticks = every(LOOK);
        loop {
            ticks.tick().await;
            store.nodes_seen(&store.inner().nodes());
        }
    };
    tokio::join!(keep_asking_store(store.clone(), health), look);
}

/// Waits until the store is connected, and then lets the service read from it.
async fn offer_reads(
    config: Arc<Config>,
    service: Arc<Service<MeteredStore>>,
    mut connected: watch::Receiver<Option<Arc<MeteredStore>>>,
) {
    let Ok(store) = connected.wait_for(Option::is_some).await.map(|store| store.clone()) else { return };
    // Nothing is decided here, so there is nothing to remember.
    let options = ClaimsOptions { cache_bytes: 0, ..connect::claims_options(&config) };
    let claims = store.map(|store| Arc::new(Claims::new(store, &options, connect::clock())));
    // This is the only place at which it is set.
    let _ = claims.map(|claims| service.claims.set(claims));
}
