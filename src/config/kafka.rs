//! `[kafka]`: the brokers, the topics, and how many commands are processed at once.

use super::given::{DAY, count, duration, list, of_text};
use super::properties::{Properties, properties};
use super::reader::Section;
use super::text::{client_name, same_topic, servers, topic_name};
use std::time::Duration;
use uuid::Uuid;

/// The default of `max_in_flight`.
const IN_FLIGHT: usize = 256;
/// The default of `max_in_flight` with the embedded store. A write to that store waits until its file is synced, together with the writes
/// that come meanwhile. With twice as many commands in flight the cores have more to do until then: an eighth more commands per second,
/// for 8 MiB more memory.
const IN_FLIGHT_EMBEDDED: usize = 512;

const A_TOPIC: &str = "1 to 249 letters, digits, dots, underscores and hyphens";

/// The brokers, the topics, and how many commands are processed at once.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `bootstrap_servers`: the brokers to ask first, as `host:port,host:port`.
    pub bootstrap_servers: String,
    /// `group_id`: the consumer group, which all processes of one deployment share.
    pub group_id: String,
    /// `instance_id`: the name of this process's slot, which is part of the transactional id. It should stay the same when the process is
    /// restarted, because then the restart ends the predecessor's transaction at once. It must be unique among the running processes.
    /// Random by default.
    pub instance_id: String,
    /// `topics`
    pub topics: Topics,
    /// `reply_topic_allow_list`: the topics that a command's `kafka_replyTopic` may name, including the default reply topic.
    pub reply_topic_allow_list: Vec<String>,
    /// `max_command_bytes`: the size of the largest command that is read: key, value and headers, in bytes.
    pub max_command_bytes: usize,
    /// `max_in_flight`: how many commands are decided at once. A run of commands of one lane counts once.
    pub max_in_flight: usize,
    /// `max_queued`: how many records may be between intake and commit before partitions are paused. A rebalance drops those that have
    /// not begun, to be read again, so the number is small.
    pub max_queued: usize,
    /// `transaction_cap`: the most commands that one Kafka transaction answers.
    pub transaction_cap: usize,
    /// `undecodable_batches`: the fate of records whose batch can't be decoded.
    pub undecodable_batches: UndecodableBatches,
    /// `shutdown_grace`: how long the commands that were taken in may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// `consumer`: librdkafka properties for consumers and for administration, without those that the promises rest on.
    pub consumer: Properties,
    /// `producer`: librdkafka properties for producers, without those that the promises rest on.
    pub producer: Properties,
}

/// The fate of records whose batch can't be decoded, because it can't be decompressed for example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndecodableBatches {
    /// `wait`: the partition stands still until an operator has decided.
    Wait,
    /// `dead_letter`: a stub for each record goes to the dead letter topic, and the partition goes on.
    DeadLetter,
}

/// The suffix that tells a slot's second transactional id from its first.
const SECOND: &str = "+2";
/// The suffix of the transactional id under which `check` tries a slot's rights.
const CHECK: &str = "+check";

/// A tool that publishes in Kafka transactions. In its transactional id its name stands where that of a slot would, so no slot has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The subcommand `snapshot --all`.
    Snapshot,
    /// The subcommand `reconcile`.
    Reconcile,
    /// The subcommand `dlq resend`.
    Resend,
}

impl Tool {
    const ALL: [Self; 3] = [Self::Snapshot, Self::Reconcile, Self::Resend];

    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Reconcile => "reconcile",
            Self::Resend => "dlq-resend",
        }
    }
}

impl Kafka {
    /// Returns the transactional id of the first of the two producers, which is unique for each slot and group.
    pub fn transactional_id(&self) -> String {
        format!("{}-{}", self.group_id, self.instance_id)
    }

    /// Returns the transactional id of the second of the two producers. No `instance_id` makes it the first id of another slot, because
    /// none may end in this suffix.
    pub fn second_transactional_id(&self) -> String {
        self.transactional_id() + SECOND
    }

    /// Returns the transactional id under which `check` tries the rights of this slot. No slot has it either.
    pub fn transactional_id_to_check(&self) -> String {
        self.transactional_id() + CHECK
    }

    /// Returns the transactional id of a tool, which all its runs for this group share.
    pub fn transactional_id_of(&self, tool: Tool) -> String {
        format!("{}-{}", self.group_id, tool.name())
    }
}

/// The topics, all different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// The topic of the CRM's commands.
    pub commands: String,
    /// The topic of replies to commands that name no other topic.
    pub replies: String,
    /// The topic of Business Transactions.
    pub transactions: String,
    /// The topic of records that can't be read (the dead letter queue).
    pub dlq: String,
    /// The topic of changes as flat rows; `None` if there are to be none.
    pub changes: Option<String>,
}

/// Reads the section. `is_embedded` tells whether the store is the embedded one.
pub(super) fn kafka(mut section: Section<'_>, is_embedded: bool) -> Kafka {
    let s = &mut section;
    let in_flight = if is_embedded { IN_FLIGHT_EMBEDDED } else { IN_FLIGHT };
    let bootstrap_servers =
        s.value("bootstrap_servers", "127.0.0.1:9092".into(), "host:port, or several with commas", of_text(servers));
    let group_id = s.value("group_id", "crm-processor".into(), "a name such as \"crm-processor\"", of_text(client_name));
    let random = Uuid::new_v4().simple().to_string();
    let instance_id = s.value("instance_id", random, "a name that is stable per slot, such as the pod's name", of_text(slot));
    let topics = topics(s.section("topics"));
    let reply_topic_allow_list = reply_topics(s, &topics);
    let max_command_bytes = s.value("max_command_bytes", 1 << 20, "bytes, such as 1048576", count(1 << 10..=64 << 20));
    let max_in_flight = s.value("max_in_flight", in_flight, "a number such as 256", count(1..=65_536));
    let max_queued = s.value("max_queued", 2048.max(max_in_flight), "a number such as 2048", count(1..=1 << 20));
    if max_queued < max_in_flight && s.is_sound("max_queued") && s.is_sound("max_in_flight") {
        let right = format!("{max_in_flight} or more");
        s.reject_read("max_queued", &max_queued, "must not be less than kafka.max_in_flight", &right);
    }
    let transaction_cap = s.value("transaction_cap", 1000, "a number such as 1000", count(1..=10_000));
    let undecodable_batches = s.choice(
        "undecodable_batches",
        UndecodableBatches::Wait,
        &[("wait", UndecodableBatches::Wait), ("dead_letter", UndecodableBatches::DeadLetter)],
        "is not one of the choices",
    );
    let shutdown_grace =
        s.value("shutdown_grace", Duration::from_secs(20), "a duration such as \"20s\"", duration(Duration::ZERO..=DAY));
    let consumer = properties(s.section("consumer"), "consumer", s);
    let producer = properties(s.section("producer"), "producer", s);
    Kafka {
        bootstrap_servers,
        group_id,
        instance_id,
        topics,
        reply_topic_allow_list,
        max_command_bytes,
        max_in_flight,
        max_queued,
        transaction_cap,
        undecodable_batches,
        shutdown_grace,
        consumer,
        producer,
    }
}

/// Checks the name of a slot.
fn slot(text: &str) -> Result<String, String> {
    if text.ends_with(SECOND) {
        Err(format!("must not end in {SECOND}, which marks a slot's second producer"))
    } else if text.ends_with(CHECK) {
        Err(format!("must not end in {CHECK}, which marks the producer with which `check` tries rights"))
    } else if let Some(tool) = Tool::ALL.into_iter().find(|tool| tool.name() == text) {
        Err(format!("must not be {}, the name of a tool: the tool and the processor would fence each other", tool.name()))
    } else {
        client_name(text)
    }
}

fn topics(mut section: Section<'_>) -> Topics {
    let mut named = |key, default: &str| section.value(key, default.to_owned(), A_TOPIC, of_text(topic_name));
    let names = [
        ("commands", named("commands", "crm.commands")),
        ("replies", named("replies", "crm.replies")),
        ("transactions", named("transactions", "crm.transactions")),
        ("dlq", named("dlq", "crm.commands.dlq")),
    ];
    let changes = section.optional("changes", A_TOPIC, of_text(topic_name));
    let all: Vec<_> = names.iter().map(|(key, name)| (*key, name)).chain(changes.iter().map(|name| ("changes", name))).collect();
    for (at, (key, name)) in all.iter().enumerate() {
        let sound = |key| section.is_sound(key);
        if let Some((other, _)) = all[..at].iter().find(|(k, n)| same_topic(n, name) && sound(k) && sound(key)) {
            section.reject_read(key, *name, &format!("is the topic of kafka.topics.{other}, too"), "a topic of its own");
        }
    }
    let [(_, commands), (_, replies), (_, transactions), (_, dlq)] = names;
    Topics { commands, replies, transactions, dlq, changes }
}

/// Reads the allow-list, and adds the default reply topic if it is not on it.
fn reply_topics(section: &mut Section<'_>, topics: &Topics) -> Vec<String> {
    let right = "a list of topics that replies may be written to, without the processor's other topics";
    let mut allowed = section.value("reply_topic_allow_list", vec![topics.replies.clone()], right, |given| {
        list(|name| {
            let name = topic_name(name)?;
            let others = [&topics.commands, &topics.transactions, &topics.dlq].into_iter().chain(&topics.changes);
            if others.into_iter().any(|other| *other == name) {
                return Err("is not a topic for replies: the processor uses it for something else".to_owned());
            }
            Ok(name)
        })(given)
    });
    if !allowed.contains(&topics.replies) {
        allowed.push(topics.replies.clone());
    }
    allowed
}
