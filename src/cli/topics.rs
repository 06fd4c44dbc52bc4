//! The topics of a configuration on their cluster: what each must be like, what it is like, and making those that are
//! missing. Topics that exist are never changed: they may hold somebody's records.

use super::reach::Probe;
use crate::config::{Config, Kafka, Properties};
use anyhow::{Context as _, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the brokers may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks for a topic that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a broker takes by default, in bytes.
const BROKER_DEFAULT_BYTES: u64 = 1_048_588;
/// What answers and dead letters have beyond the command that they carry: headers, ids, the batch around them.
const OVERHEAD_BYTES: u64 = 64 << 10;
/// As large as a record gets where a request has 100 MiB (`socket.request.max.bytes`).
const LARGEST_BYTES: u64 = (100 << 20) - OVERHEAD_BYTES;

const MAX_BYTES: &str = "max.message.bytes";
const CLEANUP: &str = "cleanup.policy";

/// A topic that the configuration names.
pub(super) struct Topic {
    /// The key in the configuration.
    pub key: &'static str,
    /// Its name.
    pub name: String,
    /// What it gets where `setup` makes it.
    max_bytes: u64,
}

/// The four topics of a configuration.
pub(super) fn of(config: &Config) -> Vec<Topic> {
    let topics = &config.kafka.topics;
    let answer_bytes = BROKER_DEFAULT_BYTES.max(config.kafka.max_command_bytes as u64 + OVERHEAD_BYTES);
    let topic = |key, name: &String, max_bytes| Topic { key, name: name.clone(), max_bytes };
    vec![
        topic("kafka.topics.commands", &topics.commands, answer_bytes),
        topic("kafka.topics.replies", &topics.replies, answer_bytes),
        topic("kafka.topics.transactions", &topics.transactions, answer_bytes),
        topic("kafka.topics.dlq", &topics.dlq, LARGEST_BYTES),
    ]
}

/// What `setup` is to make topics like.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas; -1 for the broker's default.
    pub replication_factor: i32,
}

/// The brokers, asked by an administrator.
pub(super) struct Cluster {
    /// With the security properties of `kafka.consumer`.
    pub admin: Arc<AdminClient<DefaultClientContext>>,
    probe: Arc<Probe>,
    kafka: Kafka,
}

/// What there is on the cluster.
pub(super) struct Sight {
    /// How many brokers.
    pub brokers: usize,
    /// Each topic with its number of partitions.
    pub topics: BTreeMap<String, usize>,
}

impl Cluster {
    /// Nothing is sent yet.
    pub fn new(kafka: &Kafka) -> anyhow::Result<Self> {
        let config = client_config(kafka, &kafka.consumer);
        let admin = config.create().context("the Kafka administration client")?;
        Ok(Self { admin: Arc::new(admin), probe: Arc::new(Probe::new(config)?), kafka: kafka.clone() })
    }

    /// What there is.
    pub async fn look(&self) -> anyhow::Result<Sight> {
        let (probe, kafka) = (self.probe.clone(), self.kafka.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = probe.reach(&kafka, "kafka.consumer")?;
            let topics = metadata.topics().iter().filter(|t| t.error().is_none());
            let topics = topics.map(|t| (t.name().to_owned(), t.partitions().len())).collect();
            Ok(Sight { brokers: metadata.brokers().len(), topics })
        });
        asked.await?
    }

    /// Makes a topic.
    pub async fn create(&self, topic: &Topic, layout: Layout) -> anyhow::Result<()> {
        let max_bytes = topic.max_bytes.to_string();
        let new = NewTopic::new(&topic.name, layout.partitions, TopicReplication::Fixed(layout.replication_factor))
            .set(MAX_BYTES, &max_bytes)
            .set(CLEANUP, "delete");
        let results = self.admin.create_topics(&[new], &options()).await.context("the controller does not answer")?;
        match results.into_iter().next() {
            // Another setup was quicker.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(anyhow!("the broker refuses: {code}")),
            _ => Ok(()),
        }
    }

    /// Waits until the brokers show topics that were just made: the controller knows of them before they do.
    pub async fn until_shown(&self, topics: &[Topic]) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let sight = self.look().await?;
            let Some(missing) = topics.iter().find(|t| !sight.topics.contains_key(&t.name)) else { return Ok(()) };
            ensure!(
                Instant::now() < deadline,
                "the brokers don't show topic {} {} s after it was made: they are slow, or we lack the right to Describe it",
                missing.name,
                TIMEOUT.as_secs()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Deletes topics; those that aren't there are no error.
    pub async fn delete_topics(&self, names: &[String]) -> anyhow::Result<()> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let results = self.admin.delete_topics(&names, &options()).await.context("the controller does not answer")?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => return Err(anyhow!("topic {topic} can't be deleted: {code}")),
            }
        }
        Ok(())
    }

    /// Deletes a consumer group without members; one that isn't there is no error. False: it has members.
    pub async fn delete_group(&self, name: &str) -> anyhow::Result<bool> {
        let results = self.admin.delete_groups(&[name], &options()).await.context("the coordinator does not answer")?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::NonEmptyGroup))) => Ok(false),
            Some(Err((_, code))) if code != RDKafkaErrorCode::GroupIdNotFound => Err(anyhow!("group {name}: {code}")),
            _ => Ok(true),
        }
    }

    /// What is not right about those of the topics that were there, each with the way out. The others count as `setup` makes
    /// them: asked about a topic that was just made, a broker may answer with its defaults.
    pub async fn findings(&self, topics: &[Topic], sight: &Sight) -> anyhow::Result<Vec<(String, String)>> {
        let (there, made): (Vec<_>, Vec<_>) = topics.iter().partition(|t| sight.topics.contains_key(&t.name));
        if there.is_empty() {
            return Ok(Vec::new());
        }
        let as_made = |t: &&Topic| (t.key, Settings { max_bytes: t.max_bytes, cleanup: "delete".into() });
        let mut settings: BTreeMap<_, _> = made.iter().map(as_made).collect();
        let asked: Vec<_> = there.iter().map(|t| ResourceSpecifier::Topic(&t.name)).collect();
        let answers = self.admin.describe_configs(&asked, &options()).await.context("the brokers don't describe topics")?;
        // The answers come in an order of the broker's own.
        for answer in answers {
            let resource = answer.map_err(|code| {
                anyhow!("the broker does not describe a topic: {code} (that takes the right to DescribeConfigs)")
            })?;
            let described = |t: &&&Topic| resource.specifier == OwnedResourceSpecifier::Topic(t.name.clone());
            let Some(topic) = there.iter().find(described) else { continue };
            let value = |name| resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
            let max_bytes = value(MAX_BYTES).parse().unwrap_or(BROKER_DEFAULT_BYTES);
            settings.insert(topic.key, Settings { max_bytes, cleanup: value(CLEANUP) });
        }
        let mut findings = Vec::new();
        for topic in there {
            let Some(of_topic) = settings.get(topic.key) else { continue };
            let of_topic = of_topic.findings(topic, &settings, self.kafka.max_command_bytes as u64);
            findings.extend(of_topic.into_iter().map(|finding| (topic.name.clone(), finding)));
        }
        Ok(findings)
    }
}

struct Settings {
    max_bytes: u64,
    cleanup: String,
}

impl Settings {
    fn findings(&self, topic: &Topic, all: &BTreeMap<&str, Self>, max_command_bytes: u64) -> Vec<String> {
        let mut findings = Vec::new();
        if self.cleanup.contains("compact") {
            findings
                .push(format!("{CLEANUP} is {}: compaction drops records of the same key; set {CLEANUP}=delete", self.cleanup));
        }
        let needed = match topic.key {
            "kafka.topics.dlq" => all.get("kafka.topics.commands").map_or(0, |c| c.max_bytes + OVERHEAD_BYTES),
            "kafka.topics.replies" => max_command_bytes + OVERHEAD_BYTES,
            _ => 0,
        };
        if self.max_bytes < needed.min(LARGEST_BYTES) {
            let max = self.max_bytes;
            findings.push(format!(
                "{MAX_BYTES} is {max}, but what may be written there has up to {needed} bytes; set {MAX_BYTES}={needed} or more"
            ));
        }
        findings
    }
}

/// A client's properties: where the brokers are and how they let us in; nothing else of what is passed through.
pub(super) fn client_config(kafka: &Kafka, passed: &Properties) -> ClientConfig {
    const PREFIXES: [&str; 8] = ["ssl.", "sasl.", "security.", "enable.ssl", "enable.sasl", "https.", "broker.", "client."];
    let mut config = ClientConfig::new();
    let passed = passed.iter().filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    config.extend(passed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    config.set("bootstrap.servers", &kafka.bootstrap_servers);
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
