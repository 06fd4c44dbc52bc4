//! The stage of the demo: broker, registry, store, processor and a CRM, all in this process.
//!
//! The broker is librdkafka's mock cluster. It knows no offsets in transactions and forgets everything at the end, so it is good for a
//! show, but proves nothing about exactly-once.

use super::cast::Cast;
use super::gateway::DemoGateway;
use crate::config::Config;
use crate::processor;
use crate::store::claims::Claims;
use crate::store::configured::{ConfiguredStore, MeteredStore};
use crate::store::metered::Metered;
use crate::telemetry::admin::AdminListener;
use crate::telemetry::health::Health;
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::toolbox::connect;
use crate::toolbox::crm_client::CrmClient;
use crate::toolbox::paint::say;
use crate::toolbox::topic_reader::{Start, TopicReader};
use crate::wire;
use crate::wire::answer::Encoder;
use crate::wire::embedded_registry::EmbeddedRegistry;
use crate::wire::json::JsonDecoder;
use crate::wire::registry::RegistryClient;
use crate::wire::registry_watch::keep_watching;
use anyhow::{Context as _, bail, ensure};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

/// Partitions of each topic.
const PARTITIONS: i32 = 3;
/// How long the processor may take to join its group. The mock cluster alone lets a group wait for 3 s before it assigns partitions.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The servers and clients of the demo. [`Stage::close`] takes them down.
pub struct Stage {
    /// Writes commands and awaits replies.
    pub crm: CrmClient,
    /// Reads what the data warehouse reads.
    pub transactions: TopicReader,
    /// Reads what operators look into when something could not be read.
    pub dead_letters: TopicReader,
    /// Decodes the records that these two read.
    pub decoder: JsonDecoder,
    /// The processor's metrics.
    pub metrics: Arc<Metrics>,
    /// The address at which the metrics are served.
    pub admin: SocketAddr,
    /// Takes commands over HTTP.
    pub gateway: DemoGateway,
    claims: Arc<Claims<MeteredStore>>,
    health: Arc<Health>,
    processor: Running<anyhow::Result<()>>,
    serving: Running<()>,
    registry_watch: JoinHandle<()>,
    registry: EmbeddedRegistry,
    // These two are dropped last, because the others talk to them until they are gone.
    cluster: MockCluster<'static, DefaultProducerContext>,
    folder: TempDir,
}

/// A task that ends soon after it is told to.
struct Running<T> {
    stop: oneshot::Sender<()>,
    task: JoinHandle<T>,
}

impl Stage {
    /// Builds everything, and has the processor begin to join its group.
    pub async fn build(metrics_port: u16, level: LogLevel) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("can't make a folder for the store")?;
        let cluster = MockCluster::new(1).context("can't start librdkafka's mock cluster")?;
        let registry = EmbeddedRegistry::start(loopback(0)).await.context("can't start the embedded registry")?;
        let config = Arc::new(config(&cluster, &registry, &folder)?);
        let topics = &config.kafka.topics;
        for topic in [&topics.commands, &topics.replies, &topics.transactions, &topics.dlq] {
            cluster.create_topic(topic, PARTITIONS, 1).with_context(|| format!("can't create topic {topic}"))?;
        }
        let client = connect::registry(&config)?;
        let encoder = register_schemas(&client, &config).await?;

        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
        let (admin, serving) = serve_metrics(metrics_port, &metrics, &health, level).await?;
        let store = ConfiguredStore::connect(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
        let store = Arc::new(Metered::new(store, metrics.clone(), health.clone()));
        let claims = Claims::new(store, &connect::claims_options(&config), connect::clock());
        let claims = Arc::new(claims.counting_in(metrics.clone()));

        let processor = start_processor(processor::Setup {
            config: config.clone(),
            claims: claims.clone(),
            registry: Arc::new(client.clone()),
            encoder,
            metrics: metrics.clone(),
            health: health.clone(),
            clock: connect::clock(),
        });
        let watching = keep_watching(Arc::new(client.clone()), topics.commands.clone(), metrics.clone(), health.clone());
        let registry_watch = tokio::spawn(watching);
        let crm = CrmClient::connect(&config.kafka, client.clone()).await?;
        let transactions = TopicReader::open(&config.kafka, &topics.transactions, Start::End).await?;
        let dead_letters = TopicReader::open(&config.kafka, &topics.dlq, Start::End).await?;
        let gateway = DemoGateway::open(&config, &client, claims.clone(), &metrics, &health).await?;
        let decoder = JsonDecoder::new(client);
        Ok(Self {
            crm,
            transactions,
            dead_letters,
            decoder,
            metrics,
            admin,
            gateway,
            claims,
            health,
            processor,
            serving,
            registry_watch,
            registry,
            cluster,
            folder,
        })
    }

    /// Imports those who will play.
    pub async fn import(&self, cast: &Cast) -> anyhow::Result<()> {
        for entity in cast.entities() {
            self.claims.import(entity.clone()).await.map_err(|fault| connect::store_trouble(&fault))?;
        }
        Ok(())
    }

    /// Waits until the processor takes commands.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let waited = timeout(JOIN_TIMEOUT, async {
            let mut looks = interval(LOOK_AGAIN);
            while !self.health.obstacles().is_empty() && !self.processor.task.is_finished() {
                looks.tick().await;
            }
        });
        if waited.await.is_err() {
            bail!("the processor does not get ready: {}", self.health.obstacles().join(", "));
        }
        ensure!(!self.processor.task.is_finished(), "the processor ended before the show began");
        Ok(())
    }

    /// Waits until the processor has committed the answers to so many commands: then all that it published for them is there.
    pub async fn settled(&self, commands: usize) -> anyhow::Result<()> {
        let replies = || self.metrics.replies.iter().map(|(_, counter)| counter.get()).sum::<u64>();
        let settled = timeout(JOIN_TIMEOUT, async {
            let mut looks = interval(LOOK_AGAIN);
            while replies() < commands as u64 {
                looks.tick().await;
            }
        });
        settled.await.with_context(|| format!("{} of {commands} replies were committed", replies()))
    }

    /// Takes everything down, clients before servers.
    pub async fn close(self) -> anyhow::Result<()> {
        let Self {
            crm,
            transactions,
            dead_letters,
            gateway,
            processor,
            serving,
            registry_watch,
            registry,
            cluster,
            folder,
            claims,
            ..
        } = self;
        gateway.close().await?;
        let processed = processor.end().await?;
        crm.close().await;
        drop((transactions, dead_letters, claims));
        serving.end().await?;
        registry_watch.abort();
        registry.stop().await.context("the embedded registry")?;
        drop(cluster);
        folder.close().context("can't remove the store's folder")?;
        processed
    }
}

impl<T> Running<T> {
    async fn end(self) -> anyhow::Result<T> {
        // An error means that the task has ended by itself.
        let _ = self.stop.send(());
        self.task.await.context("a task ended in a panic")
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn config(
    cluster: &MockCluster<'static, DefaultProducerContext>,
    registry: &EmbeddedRegistry,
    folder: &TempDir,
) -> anyhow::Result<Config> {
    let text = |text: &str| toml::Value::String(text.into()).to_string();
    let toml = format!(
        r#"
        [kafka]
        bootstrap_servers = {}
        instance_id = "demo"
        # If the mock cluster has nothing for a fetch, it answers only when this time is over, whatever arrives meanwhile.
        consumer = {{ "fetch.wait.max.ms" = 10 }}
        [registry]
        url = {}
        [store]
        kind = "embedded"
        path = {}
        "#,
        text(&cluster.bootstrap_servers()),
        text(&registry.url()),
        text(folder.path().to_str().context("the temporary folder's path is not UTF-8")?),
    );
    Ok(Config::parse(&toml, [])?)
}

async fn register_schemas(registry: &RegistryClient, config: &Config) -> anyhow::Result<Encoder> {
    let topics = &config.kafka.topics;
    let mut ids = HashMap::new();
    for (subject, schema) in wire::subjects(&topics.commands, &topics.replies, &topics.transactions, topics.changes.as_deref()) {
        let id = registry.register(&subject, schema).await?;
        registry.note_ours(id, &subject, schema);
        ids.insert(subject, id);
    }
    Ok(Encoder::new(ids[&wire::reply_subject(&topics.replies)], ids[&wire::transaction_subject(&topics.transactions)], None))
}

/// Serves the metrics on the port if it is free, otherwise on any other. Returns the address, and the task.
async fn serve_metrics(
    port: u16,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    level: LogLevel,
) -> anyhow::Result<(SocketAddr, Running<()>)> {
    let admin = if let Ok(admin) = AdminListener::bind(loopback(port)).await {
        admin
    } else {
        let admin = AdminListener::bind(loopback(0)).await?;
        say(format!("(Port {port} is taken: the metrics are at {} this time.)", admin.address()))?;
        admin
    };
    let address = admin.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let (metrics, health) = (metrics.clone(), health.clone());
    let task = tokio::spawn(async move {
        // Nobody waits for a scrape that is under way.
        tokio::select! {
            served = admin.serve(metrics, health, level, std::future::pending()) => {
                if let Err(fault) = served {
                    tracing::error!(%fault, "the metrics are gone");
                }
            }
            _ = stopped => {}
        }
    });
    Ok((address, Running { stop, task }))
}

fn start_processor(setup: processor::Setup<MeteredStore>) -> Running<anyhow::Result<()>> {
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move { Ok(processor::run(setup, async { drop(stopped.await) }).await?) });
    Running { stop, task }
}
