//! Does what an administrator does to topics: makes them, deletes them, changes their limits.

use crate::inbox::Inbox;
use crate::{runtime, servers};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::Instant;

/// Makes topics with these numbers of partitions and the brokers' default number of replicas. They take records of up to
/// `largest` bytes.
pub fn create(kafka: &str, topics: &[(&str, i32)], largest: usize) {
    const BY_DEFAULT: TopicReplication<'_> = TopicReplication::Fixed(-1);
    let largest = largest.to_string();
    let topics: Vec<_> = topics
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, BY_DEFAULT).set("max.message.bytes", &largest))
        .collect();
    let created = runtime().block_on(admin(kafka).create_topics(&topics, &AdminOptions::new())).expect("the broker answers");
    for result in created {
        result.unwrap_or_else(|(topic, e)| panic!("cannot create {topic}: {e}"));
    }
}

/// Commits an offset with its metadata for a group that has no members.
#[expect(clippy::disallowed_methods, reason = "no processor is running")]
pub fn commit(kafka: &str, group: &str, (topic, partition): (&str, i32), offset: Offset, metadata: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    let mut element = offsets.add_partition(topic, partition);
    element.set_offset(offset).expect("a valid offset");
    element.set_metadata(metadata);
    consumer.commit(&offsets, CommitMode::Sync).expect("the group is empty");
}

/// Deletes a topic of the shared Kafka with all its records.
pub fn delete(topic: &str) {
    delete_on(shared(), topic);
}

/// Deletes a topic of another Kafka with all its records.
pub fn delete_on(kafka: &str, topic: &str) {
    let admin = admin(kafka);
    let deleted = runtime().block_on(admin.delete_topics(&[topic], &AdminOptions::new())).expect("the broker answers");
    for result in deleted {
        result.unwrap_or_else(|(topic, e)| panic!("cannot delete {topic}: {e}"));
    }
    // The controller answers before the broker has heard of the deletion. Until then a record can get onto the topic, and vanish
    // with it.
    let is_gone = |t: &MetadataTopic| t.error().map(RDKafkaErrorCode::from) == Some(RDKafkaErrorCode::UnknownTopicOrPartition);
    until_heard(|| {
        let metadata = admin.inner().fetch_metadata(Some(topic), Inbox::PATIENCE).expect("the broker answers");
        metadata.topics().iter().all(is_gone)
    });
}

/// Raises the number of a topic's partitions to `count`.
pub fn add_partitions(kafka: &str, topic: &str, count: usize) {
    let admin = admin(kafka);
    let added = runtime().block_on(admin.create_partitions(&[NewPartitions::new(topic, count)], &AdminOptions::new()));
    for result in added.expect("the broker answers") {
        result.unwrap_or_else(|(_, e)| panic!("cannot add partitions to {topic}: {e}"));
    }
}

/// Returns a setting of a topic, or `None` if the topic has no such setting.
pub fn setting(kafka: &str, topic: &str, name: &str) -> Option<String> {
    let of_topic = ResourceSpecifier::Topic(topic);
    let shown = runtime().block_on(admin(kafka).describe_configs([&of_topic], &AdminOptions::new())).expect("the broker answers");
    shown.into_iter().next()?.ok()?.get(name)?.value.clone()
}

/// Makes a topic take records of at most `largest` bytes from now on.
pub fn limit(topic: &str, largest: usize) {
    const NAME: &str = "max.message.bytes";
    let admin = admin(shared());
    let (largest, of_topic) = (largest.to_string(), ResourceSpecifier::Topic(topic));
    let change = AlterConfig::new(of_topic).set(NAME, &largest);
    let changed = runtime().block_on(admin.alter_configs(&[change], &AdminOptions::new())).expect("the broker answers");
    for result in changed {
        result.unwrap_or_else(|(_, e)| panic!("cannot change {topic}: {e}"));
    }
    // As with a deletion, the broker goes by the old limit until it has heard of the change.
    until_heard(|| {
        let shown = runtime().block_on(admin.describe_configs([&of_topic], &AdminOptions::new())).expect("the broker answers");
        let mut shown = shown.into_iter().map(|resource| resource.expect("the broker shows the topic's settings"));
        shown.all(|resource| resource.get(NAME).is_some_and(|e| e.value.as_ref() == Some(&largest)))
    });
}

fn until_heard(heard: impl Fn() -> bool) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    while !heard() {
        assert!(Instant::now() < deadline, "the broker has not heard of a change after {:?}", Inbox::PATIENCE);
        crate::pause();
    }
}

/// Returns the address of the Kafka that most installations share.
fn shared() -> &'static str {
    servers::kafka().expect("who changes a topic has a Kafka")
}

fn admin(kafka: &str) -> AdminClient<DefaultClientContext> {
    // The client must not make a topic by asking for it.
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("allow.auto.create.topics", "false");
    config.create().expect("an admin client")
}
