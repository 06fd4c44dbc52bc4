//! The place where `bench` works: somebody's servers, or stand-ins for them, with topics, consumer groups, a keyspace and schemas of its
//! own. [`Place::close`] removes all of it, however the run ended.
//!
//! Schemas are in a registry in this process, so that nothing stays in the configured one. With `--embedded`, Kafka is librdkafka's mock
//! cluster in this process, which forgets offsets and keeps 5 MiB a partition, and the store is the embedded one in a folder.

use super::process::Process;
use super::round::Round;
use super::slow_store::SlowStore;
use crate::config::{Backend, Config};
use crate::store::configured::ConfiguredStore;
use crate::toolbox::cluster::{Cluster, Layout};
use crate::toolbox::connect;
use crate::toolbox::topics;
use crate::wire;
use crate::wire::embedded_registry::EmbeddedRegistry;
use anyhow::{Context as _, bail};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The session's time-out: a processor that stands still must not lose its membership of the group while a backlog is written.
const SESSION_TIMEOUT_MS: &str = "120000";
/// The time after which a processor that is told to end drops the commands that it has: nobody needs them.
const SHUTDOWN_GRACE: &str = "2s";
/// How long to go on with attempts to delete a group. Its members may be leaving, or the broker may not have noticed that they have left.
const LEAVING: Duration = Duration::from_secs(15);
/// The pause between two of these attempts.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The requirements of a place.
pub struct Wish<'a> {
    /// The configuration of somebody's servers; `None` for stand-ins.
    pub config: Option<&'a Path>,
    /// The folder in which the place makes its own; `None` for the system's folder for temporary files.
    pub folder: Option<&'a Path>,
    /// The beginning of the names of topics, groups and the keyspace.
    pub prefix: &'a str,
    /// How many partitions each topic gets.
    pub partitions: i32,
    /// How much later each answer of the database comes; `None` for no delay.
    pub store_delay: Option<Duration>,
    /// Whether change rows are published although the configuration names no topic for them. If it names a topic, they are always published.
    pub changes: bool,
    /// Variables of the environment that override the configuration.
    pub variables: Vec<(String, String)>,
}

/// The place where one bench works.
pub struct Place {
    /// The processors that run; stopped in [`Place::close`] if not before.
    pub processors: Vec<Process>,
    file: PathBuf,
    text: String,
    variables: BTreeMap<String, String>,
    name: String,
    partitions: i32,
    changes: bool,
    rounds: Vec<Config>,
    store: Option<Config>,
    registry: EmbeddedRegistry,
    broker: Option<MockCluster<'static, DefaultProducerContext>>,
    slow_store: Option<SlowStore>,
    // The folder is dropped last, because others have files in it.
    folder: TempDir,
}

impl Place {
    /// Prepares a place. Nothing has been made on any server yet.
    pub async fn open(wish: Wish<'_>) -> anyhow::Result<Self> {
        let id = Uuid::new_v4().simple().to_string()[..8].to_owned();
        let name = format!("{}-{id}", wish.prefix);
        let folder = match wish.folder {
            Some(parent) => TempDir::with_prefix_in("crm-bench-", parent),
            None => TempDir::with_prefix("crm-bench-"),
        };
        let folder = folder.context("can't make a folder for the store and the logs")?;
        let registry = EmbeddedRegistry::start((Ipv4Addr::LOCALHOST, 0).into()).await.context("can't start a registry")?;
        let mut variables: BTreeMap<String, String> = BTreeMap::from_iter(wish.variables);
        let mut set = |key: &str, value: &str| drop(variables.insert(format!("CRM__{key}"), value.to_owned()));
        set("REGISTRY__URL", &registry.url());
        set("SEGMENTS", &super::fleet::SEGMENTS.join(","));
        set("STORE__KEYSPACE", &name.replace(['-', '.'], "_").to_lowercase());
        set("KAFKA__CONSUMER__SESSION_TIMEOUT_MS", SESSION_TIMEOUT_MS);
        set("KAFKA__SHUTDOWN_GRACE", SHUTDOWN_GRACE);
        let mut broker = None;
        let (file, text) = if let Some(file) = wish.config {
            let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
            (file.to_owned(), text)
        } else {
            let cluster = MockCluster::new(1).context("can't start librdkafka's mock cluster")?;
            set("KAFKA__BOOTSTRAP_SERVERS", &cluster.bootstrap_servers());
            // If the mock cluster has nothing for a fetch, it answers only when this time is over, whatever arrives meanwhile.
            set("KAFKA__CONSUMER__FETCH_WAIT_MAX_MS", "10");
            set("STORE__KIND", "embedded");
            broker = Some(cluster);
            let file = folder.path().join("embedded.toml");
            std::fs::write(&file, "").with_context(|| format!("{} can't be written", file.display()))?;
            (file, String::new())
        };
        set("STORE__PATH", &folder.path().join("store").display().to_string());
        let (processors, rounds) = (Vec::new(), Vec::new());
        let (partitions, changes, store, slow_store) = (wish.partitions, wish.changes, None, None);
        let mut place = Self {
            processors,
            file,
            text,
            variables,
            name,
            partitions,
            changes,
            rounds,
            store,
            registry,
            broker,
            slow_store,
            folder,
        };
        if let Some(delay) = wish.store_delay {
            place.slow_down_store(delay).await?;
        }
        Ok(place)
    }

    async fn slow_down_store(&mut self, delay: Duration) -> anyhow::Result<()> {
        let Backend::Cql(cql) = self.config(&self.variables)?.store.backend else {
            bail!("--store-delay is for a database, and store.kind is \"embedded\"");
        };
        let database = cql.contact_points.first().context("store.contact_points names one at least")?;
        let slow_store = SlowStore::before(database, delay).await?;
        self.variables.insert("CRM__STORE__CONTACT_POINTS".into(), slow_store.address());
        self.slow_store = Some(slow_store);
        Ok(())
    }

    /// Makes the keyspace. Returns a round without topics of its own.
    pub async fn set_up_store(&mut self) -> anyhow::Result<Round> {
        let config = self.config(&self.variables)?;
        // The keyspace is noted before it is made, so that it is dropped even if the run is interrupted meanwhile.
        self.store = Some(config.clone());
        ConfiguredStore::setup(&config.store).await.map_err(|fault| connect::store_trouble(&fault))?;
        Ok(self.round_with(config, self.variables.clone()))
    }

    /// Returns whether only one process at a time can open the store.
    pub fn is_exclusive(&self) -> bool {
        self.store.as_ref().is_some_and(|config| matches!(config.store.backend, Backend::Embedded { .. }))
    }

    /// Returns whether Kafka is the mock cluster.
    pub fn is_mocked(&self) -> bool {
        self.broker.is_some()
    }

    /// Makes topics for one measurement, and registers the schemas.
    pub async fn round(&mut self) -> anyhow::Result<Round> {
        let name = format!("{}.{}", self.name, self.rounds.len() + 1);
        let mut variables = self.variables.clone();
        let mut set = |key: &str, value: String| drop(variables.insert(format!("CRM__KAFKA__{key}"), value));
        for (key, suffix) in [("COMMANDS", "commands"), ("REPLIES", "replies"), ("TRANSACTIONS", "transactions"), ("DLQ", "dlq")]
        {
            set(&format!("TOPICS__{key}"), format!("{name}.{suffix}"));
        }
        // A topic that the configuration names is somebody's: the rows of a measurement never go there.
        if self.changes || self.config(&self.variables)?.kafka.topics.changes.is_some() {
            set("TOPICS__CHANGES", format!("{name}.changes"));
        }
        set("GROUP_ID", name);
        let config = self.config(&variables)?;
        self.rounds.push(config.clone());
        let layout = Layout { partitions: self.partitions, replication_factor: -1 };
        if let Some(broker) = &self.broker {
            for topic in topics::of(&config) {
                broker.create_topic(&topic.name, layout.partitions, 1).with_context(|| format!("can't create {}", topic.name))?;
            }
        } else {
            let cluster = Cluster::new(&config.kafka)?;
            for topic in topics::of(&config) {
                cluster.create(&topic, layout).await.with_context(|| format!("making topic {}", topic.name))?;
            }
            cluster.until_shown(&topics::of(&config)).await?;
        }
        let registry = connect::registry(&config)?;
        let topics = &config.kafka.topics;
        for (subject, schema) in
            wire::subjects(&topics.commands, &topics.replies, &topics.transactions, topics.changes.as_deref())
        {
            registry.register(&subject, schema).await?;
        }
        Ok(self.round_with(config, variables))
    }

    fn round_with(&self, config: Config, variables: BTreeMap<String, String>) -> Round {
        let folder = self.folder.path().to_owned();
        Round { config, file: self.file.clone(), variables: variables.into_iter().collect(), folder }
    }

    /// Removes everything that was made.
    pub async fn close(mut self) -> anyhow::Result<()> {
        for processor in std::mem::take(&mut self.processors) {
            // The run reports an error by itself. The error of this call would only add that the processor has ended already.
            let _ = processor.stop().await;
        }
        let topics = self.delete_topics_and_groups().await;
        let store = match &self.store {
            Some(config) => ConfiguredStore::tear_down(&config.store).await.map_err(|fault| connect::store_trouble(&fault)),
            None => Ok(()),
        };
        // Both removals were tried, even if one of them failed.
        let left = format!("something may be left whose name begins with {}, or {}", self.name, self.name.replace('-', "_"));
        topics.and(store).context(left)?;
        self.registry.stop().await.context("the embedded registry")?;
        drop(self.broker);
        self.folder.close().context("can't remove the folder of store and logs")
    }

    async fn delete_topics_and_groups(&self) -> anyhow::Result<()> {
        let Some(first) = self.rounds.first().filter(|_| self.broker.is_none()) else { return Ok(()) };
        let cluster = Cluster::new(&first.kafka)?;
        let topics: Vec<_> = self.rounds.iter().flat_map(topics::of).map(|topic| topic.name).collect();
        let deleted = cluster.delete_topics(&topics).await;
        for round in &self.rounds {
            let deadline = Instant::now() + LEAVING;
            while !cluster.delete_group(&round.kafka.group_id).await? {
                if Instant::now() > deadline {
                    bail!("consumer group {} still has members", round.kafka.group_id);
                }
                sleep(TRY_AGAIN).await;
            }
        }
        deleted
    }

    fn config(&self, variables: &BTreeMap<String, String>) -> anyhow::Result<Config> {
        let ours = variables.iter().map(|(k, v)| (k.clone(), v.clone()));
        // This is what `Config::load` reads in a child, whose environment has our variables in place of others of the same names.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let environment: BTreeMap<String, String> = environment.chain(ours).collect();
        Ok(Config::parse(&self.text, environment)?)
    }
}
