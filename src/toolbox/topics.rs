//! The topics of a configuration: the settings that each should have, and what is wrong with those that it has.

use super::assessment::Assessment;
use super::replication::Safety;
use crate::config::Config;
use crate::telemetry::wording::counted;
use rdkafka::admin::{ConfigResource, ConfigSource};
use std::collections::BTreeMap;

/// The largest batch that a broker takes by default, in bytes.
const BROKER_DEFAULT_BYTES: u64 = 1_048_588;
/// How many bytes answers and dead letters may have beyond the command that they carry: headers, ids, the batch around them.
const OVERHEAD_BYTES: u64 = 64 << 10;
/// The largest that a batch can be if a request has 100 MiB at most, which is the default of `socket.request.max.bytes`.
const LARGEST_BYTES: u64 = (100 << 20) - OVERHEAD_BYTES;

const MAX_BYTES: &str = "max.message.bytes";
const CLEANUP: &str = "cleanup.policy";
const MIN_IN_SYNC: &str = "min.insync.replicas";
/// The setting that lets a broker become leader which lacks acknowledged records.
pub const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";
const TIMESTAMPS: &str = "message.timestamp.type";
const RETENTION: &str = "retention.ms";
/// The value of [`TIMESTAMPS`] with which the broker that gets a record sets its time, so that no producer's clock decides how long a
/// command is kept.
const BY_BROKER: &str = "LogAppendTime";

/// A topic that the configuration names.
pub struct Topic {
    /// The key in the configuration.
    pub key: &'static str,
    /// The name of the topic.
    pub name: String,
    /// The `max.message.bytes` with which `setup` makes the topic.
    max_bytes: u64,
}

impl Topic {
    /// Returns the settings with which `setup` makes the topic.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        // The producers of commands, and their clocks, belong to other teams.
        let timestamps = self.is_commands().then(|| (TIMESTAMPS, BY_BROKER.to_owned()));
        [(MAX_BYTES, self.max_bytes.to_string()), (CLEANUP, "delete".to_owned())].into_iter().chain(timestamps).collect()
    }

    fn is_commands(&self) -> bool {
        self.key == "kafka.topics.commands"
    }
}

/// Returns the topics of a configuration.
pub fn of(config: &Config) -> Vec<Topic> {
    let topics = &config.kafka.topics;
    let answer_bytes = BROKER_DEFAULT_BYTES.max(config.kafka.max_command_bytes as u64 + OVERHEAD_BYTES);
    let topic = |key, name: &String, max_bytes| Topic { key, name: name.clone(), max_bytes };
    let mut all = vec![
        topic("kafka.topics.commands", &topics.commands, answer_bytes),
        topic("kafka.topics.replies", &topics.replies, answer_bytes),
        topic("kafka.topics.transactions", &topics.transactions, answer_bytes),
        topic("kafka.topics.dlq", &topics.dlq, LARGEST_BYTES),
    ];
    all.extend(topics.changes.as_ref().map(|name| topic("kafka.topics.changes", name, BROKER_DEFAULT_BYTES)));
    all
}

/// The settings of a topic.
pub struct Settings {
    max_bytes: u64,
    cleanup: String,
    /// `message.timestamp.type`; `None` if the brokers don't say.
    timestamps: Option<String>,
    /// `retention.ms`; `None` if the brokers don't say.
    retention: Option<i64>,
    /// True if the topic has settings of its own, as `setup` gives them. A topic that brokers make by themselves has none.
    is_set_up: bool,
    /// The settings that say how well its records are kept.
    pub safety: Safety,
}

impl Settings {
    /// Reads what a broker says of a topic.
    pub fn read(resource: &ConfigResource) -> Self {
        let value = |name| resource.get(name).and_then(|entry| entry.value.clone());
        Self {
            max_bytes: value(MAX_BYTES).and_then(|bytes| bytes.parse().ok()).unwrap_or(BROKER_DEFAULT_BYTES),
            cleanup: value(CLEANUP).unwrap_or_default(),
            timestamps: value(TIMESTAMPS),
            retention: value(RETENTION).and_then(|millis| millis.parse().ok()),
            is_set_up: [MAX_BYTES, CLEANUP]
                .iter()
                .any(|name| resource.get(name).is_some_and(|entry| matches!(entry.source, ConfigSource::DynamicTopic))),
            safety: Safety {
                min_in_sync: value(MIN_IN_SYNC).and_then(|replicas| replicas.parse().ok()),
                unclean_election: value(UNCLEAN_ELECTION).and_then(|on| on.parse().ok()),
            },
        }
    }

    /// Returns the settings of a topic that `setup` makes.
    pub fn as_made(topic: &Topic) -> Self {
        let timestamps = topic.is_commands().then(|| BY_BROKER.to_owned());
        let (cleanup, safety) = ("delete".into(), Safety::default());
        Self { max_bytes: topic.max_bytes, cleanup, timestamps, retention: None, is_set_up: true, safety }
    }

    /// Returns what is wrong with the topic, each with the way out. `all` holds the settings of all topics, by key.
    pub fn findings(&self, topic: &Topic, all: &BTreeMap<&str, Self>, max_command_bytes: u64) -> Vec<String> {
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
                "{MAX_BYTES} is {max}, but records of up to {needed} bytes may be written there; set {MAX_BYTES}={needed} or more"
            ));
        }
        findings
    }

    /// Returns in what the topic differs from one that `setup` makes, as far as that is no finding of [`Self::findings`], each with the
    /// way out.
    pub fn differences(&self, topic: &Topic, partitions: usize, auto_create: bool) -> Vec<Assessment> {
        let name = &topic.name;
        let mut differences = Vec::new();
        if !self.is_set_up {
            let has = counted(partitions, "partition");
            let text = format!(
                "it has {has} and no {MAX_BYTES} or {CLEANUP} of its own, like topics that brokers make by themselves; `setup` gives \
                 it {MAX_BYTES}={} and {CLEANUP}=delete: kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config \
                 {MAX_BYTES}={},{CLEANUP}=delete, and kafka-topics.sh --alter --topic {name} --partitions N while all is idle; or, if \
                 nothing of worth is on it, delete it and run `setup`",
                topic.max_bytes, topic.max_bytes
            );
            differences.push(if auto_create { Assessment::Finding(text) } else { Assessment::Note(text) });
        }
        if topic.is_commands() && self.timestamps.as_deref().is_some_and(|by| by != BY_BROKER) {
            let kept = match self.retention {
                Some(millis @ 0..) => {
                    format!("; by these, {RETENTION}={millis} deletes a command whose time is long past before it is read")
                }
                _ => String::new(),
            };
            differences.push(Assessment::Note(format!(
                "{TIMESTAMPS} is {}: producers say when a command was written{kept}; kafka-configs.sh --alter --entity-type topics \
                 --entity-name {name} --add-config {TIMESTAMPS}={BY_BROKER}",
                self.timestamps.as_deref().unwrap_or_default()
            )));
        }
        differences
    }
}
