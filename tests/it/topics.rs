//! What an administrator does to topics: makes them, deletes them, changes their limits.

use crate::{runtime, servers};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// Makes topics, with these numbers of partitions, that take records of `largest` bytes.
pub fn create(topics: &[(&str, i32)], largest: usize) {
    let largest = largest.to_string();
    let topics: Vec<_> = topics
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(1)).set("max.message.bytes", &largest))
        .collect();
    let created = runtime().block_on(admin().create_topics(&topics, &AdminOptions::new())).expect("the broker answers");
    for result in created {
        result.unwrap_or_else(|(topic, e)| panic!("cannot create {topic}: {e}"));
    }
}

/// Deletes a topic with all that is on it.
pub fn delete(topic: &str) {
    let deleted = runtime().block_on(admin().delete_topics(&[topic], &AdminOptions::new())).expect("the broker answers");
    for result in deleted {
        result.unwrap_or_else(|(topic, e)| panic!("cannot delete {topic}: {e}"));
    }
}

/// From now on a topic takes records of at most `largest` bytes.
pub fn limit(topic: &str, largest: usize) {
    let largest = largest.to_string();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", &largest);
    let changed = runtime().block_on(admin().alter_configs(&[change], &AdminOptions::new())).expect("the broker answers");
    for result in changed {
        result.unwrap_or_else(|(_, e)| panic!("cannot change {topic}: {e}"));
    }
}

fn admin() -> AdminClient<DefaultClientContext> {
    let kafka = servers::kafka().expect("who changes a topic has a Kafka");
    ClientConfig::new().set("bootstrap.servers", kafka).create().expect("an admin client")
}
