//! The Kafka cluster of a configuration, as an administrator sees it: which brokers and topics there are, what their settings are, and how
//! topics are made and deleted. The settings of topics that exist are never changed: such topics may hold somebody's records.

use super::assessment::Assessment;
use super::patience::patiently;
use super::reach::{Probe, TIMEOUT, client_config};
use super::replication::{Brokers, Placement, Safety};
use super::topics::{Settings, Topic};
use crate::config::Kafka;
use anyhow::{Context as _, anyhow, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::{MetadataBroker, MetadataPartition, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pause between two looks for a topic that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The broker's setting that has it make a missing topic when a client asks for it.
pub const AUTO_CREATE: &str = "auto.create.topics.enable";

/// How many partitions and replicas a topic gets when it is made.
#[derive(Clone, Copy)]
pub struct Layout {
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas; -1 for the broker's default.
    pub replication_factor: i32,
}

/// A connection to the brokers, as an administrator has it.
pub struct Cluster {
    /// The administration client, with the security properties of `kafka.consumer`.
    pub admin: Arc<AdminClient<DefaultClientContext>>,
    probe: Arc<Probe>,
    kafka: Kafka,
}

/// The brokers and topics that a look at the cluster showed.
pub struct ClusterView {
    /// The brokers that are up, and those that are down and hold replicas.
    pub brokers: Brokers,
    /// Each topic that we may see, the brokers' own among them.
    pub topics: BTreeMap<String, Placement>,
}

impl Cluster {
    /// Creates the clients. Nothing is sent yet.
    pub fn new(kafka: &Kafka) -> anyhow::Result<Self> {
        let config = client_config(kafka, &kafka.consumer);
        // The probe comes first: if its properties are wrong, it says more about them than the other client does.
        let probe = Probe::new(config.clone())?;
        let admin = config.create().context("the Kafka administration client")?;
        Ok(Self { admin: Arc::new(admin), probe: Arc::new(probe), kafka: kafka.clone() })
    }

    /// Asks which brokers and topics there are.
    pub async fn look(&self) -> anyhow::Result<ClusterView> {
        let (probe, kafka) = (self.probe.clone(), self.kafka.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = probe.reach(&kafka, "kafka.consumer")?;
            let topics = metadata.topics().iter().filter(|t| t.error().is_none());
            // If a partition has no leader, the broker still names the last replica that was in sync, and that one is down.
            let in_sync = |p: &MetadataPartition| if p.leader() < 0 { Vec::new() } else { p.isr().to_vec() };
            let placement = |t: &MetadataTopic| {
                let partitions: Vec<_> = t.partitions().iter().map(|p| (p.replicas(), in_sync(p))).collect();
                Placement::of(partitions.iter().map(|(replicas, in_sync)| (*replicas, in_sync.as_slice())))
            };
            let topics: BTreeMap<_, _> = topics.map(|t| (t.name().to_owned(), placement(t))).collect();
            let up = metadata.brokers().iter().map(MetadataBroker::id).collect();
            let holders: BTreeSet<_> = topics.values().flat_map(|placement| &placement.holders).copied().collect();
            let down = holders.difference(&up).copied().collect();
            Ok(ClusterView { brokers: Brokers { up, down }, topics })
        });
        asked.await?
    }

    /// Makes a topic. One that exists already is no error, and is left as it is.
    pub async fn create(&self, topic: &Topic, layout: Layout) -> anyhow::Result<()> {
        let settings = topic.settings();
        let new = NewTopic::new(&topic.name, layout.partitions, TopicReplication::Fixed(layout.replication_factor));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let made = patiently(async || {
            let results = self.admin.create_topics([&new], &options()).await?;
            results.into_iter().find_map(Result::err).map_or(Ok(()), |(_, code)| Err(KafkaError::AdminOp(code)))
        });
        match made.await {
            // Another setup was quicker.
            Ok(()) | Err(KafkaError::AdminOp(RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Err(KafkaError::AdminOp(code)) => Err(anyhow!("the broker refuses: {code}")),
            Err(error) => Err(error).context("the controller does not answer"),
        }
    }

    /// Waits until the brokers show topics that were just made, with their replicas: the controller knows of new topics before the
    /// brokers do.
    pub async fn until_shown(&self, topics: &[Topic]) -> anyhow::Result<ClusterView> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let view = self.look().await?;
            let Some(missing) = topics.iter().find(|t| !view.topics.contains_key(&t.name)) else { return Ok(view) };
            ensure!(
                Instant::now() < deadline,
                "the brokers don't show topic {} {} s after it was made: they are slow, or we lack the right to Describe it",
                missing.name,
                TIMEOUT.as_secs()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Deletes topics. One that isn't there is no error.
    pub async fn delete_topics(&self, names: &[String]) -> anyhow::Result<()> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let deleted = patiently(async || {
            let said = self.admin.delete_topics(&names, &options()).await;
            let results = said.map_err(|error| (names.join(", "), error))?;
            let refused = results.into_iter().filter_map(Result::err);
            let mut refused = refused.filter(|(_, code)| *code != RDKafkaErrorCode::UnknownTopicOrPartition);
            refused.next().map_or(Ok(()), |(topic, code)| Err((topic, KafkaError::AdminOp(code))))
        });
        deleted.await.map_err(|(topic, error)| anyhow!("topic {topic} can't be deleted: {error}"))
    }

    /// Deletes a consumer group. One that isn't there is no error. Returns false if the group has members, and so was not deleted.
    pub async fn delete_group(&self, name: &str) -> anyhow::Result<bool> {
        let deleted = patiently(async || {
            let results = self.admin.delete_groups(&[name], &options()).await?;
            results.into_iter().find_map(Result::err).map_or(Ok(()), |(_, code)| Err(KafkaError::AdminOp(code)))
        });
        match deleted.await {
            Ok(()) | Err(KafkaError::AdminOp(RDKafkaErrorCode::GroupIdNotFound)) => Ok(true),
            Err(KafkaError::AdminOp(RDKafkaErrorCode::NonEmptyGroup)) => Ok(false),
            Err(KafkaError::AdminOp(code)) => Err(anyhow!("group {name}: {code}")),
            Err(error) => Err(error).context("the coordinator does not answer"),
        }
    }

    /// Returns the findings about those of `topics` that `view` shows, each with the way out, and the other ways in which they differ from
    /// the topics that `setup` makes. Topics that `view` does not show count as if `setup` had made them: it may just have done so, and a
    /// broker may still describe a new topic by its defaults.
    pub async fn findings(&self, topics: &[Topic], view: &ClusterView) -> anyhow::Result<Vec<(String, Assessment)>> {
        let (there, made): (Vec<_>, Vec<_>) = topics.iter().partition(|t| view.topics.contains_key(&t.name));
        let names: Vec<_> = there.iter().map(|t| t.name.as_str()).collect();
        let mut described = self.settings(&names).await?;
        let mut settings: BTreeMap<_, _> = made.iter().map(|topic| (topic.key, Settings::as_made(topic))).collect();
        settings.extend(there.iter().filter_map(|t| Some((t.key, described.remove(&t.name)?))));
        let mut assessments = Vec::new();
        let auto_create = self.makes_topics(view).await == Some(true);
        for topic in there {
            let (Some(of_topic), Some(placement)) = (settings.get(topic.key), view.topics.get(&topic.name)) else { continue };
            let findings =
                of_topic.findings(topic, &settings, self.kafka.max_command_bytes as u64).into_iter().map(Assessment::Finding);
            let differences = of_topic.differences(topic, placement.partitions, auto_create);
            assessments.extend(findings.chain(differences).map(|assessment| (topic.name.clone(), assessment)));
        }
        Ok(assessments)
    }

    /// Returns whether the brokers make a topic that is missing when a client asks for it. Returns `None` if they don't say.
    pub async fn makes_topics(&self, view: &ClusterView) -> Option<bool> {
        let broker = *view.brokers.up.first()?;
        self.broker_settings(broker, &[AUTO_CREATE]).await.ok()?.get(AUTO_CREATE)?.parse().ok()
    }

    /// Returns the settings that say how well the records of topics are kept, by the topics' names.
    pub async fn safety(&self, topics: &[&str]) -> anyhow::Result<BTreeMap<String, Safety>> {
        let settings = self.settings(topics).await?;
        Ok(settings.into_iter().map(|(topic, settings)| (topic, settings.safety)).collect())
    }

    async fn settings(&self, topics: &[&str]) -> anyhow::Result<BTreeMap<String, Settings>> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let answers = patiently(async || self.admin.describe_configs(&asked, &options()).await).await;
        let answers = answers.context("the brokers don't describe topics")?;
        // The broker answers in an order of its own.
        let mut settings = BTreeMap::new();
        for answer in answers {
            let resource = answer.map_err(|code| {
                anyhow!("the broker does not describe a topic: {code} (that takes the right to DescribeConfigs)")
            })?;
            let of_topic = Settings::read(&resource);
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                settings.insert(name, of_topic);
            }
        }
        Ok(settings)
    }

    /// Returns the values of a broker's settings, by name. Settings that the broker does not have are left out.
    ///
    /// # Errors
    /// The settings can't be had; the text says why.
    pub async fn broker_settings(&self, broker: i32, names: &[&str]) -> Result<BTreeMap<String, String>, String> {
        let of_broker = [ResourceSpecifier::Broker(broker)];
        let answers = patiently(async || self.admin.describe_configs(&of_broker, &options()).await).await;
        let answer = answers.map_err(|e| e.to_string())?.into_iter().next().ok_or("the broker does not answer")?;
        let resource = answer.map_err(|code| match code {
            RDKafkaErrorCode::ClusterAuthorizationFailed => "that takes the right to DescribeConfigs on the cluster".to_owned(),
            code => code.to_string(),
        })?;
        let value = |name: &&str| Some(((*name).to_owned(), resource.get(name)?.value.clone()?));
        Ok(names.iter().filter_map(value).collect())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}
