//! Watches the command topic itself: whether it is there, whether it is still the one that it was, and where its partitions end. If a topic
//! is deleted and made again under its name, offsets begin anew, and nothing that was committed for the old topic holds for the new one.
//! Consumers are not told.

use crate::flow::Partition;
use crate::kafka::callbacks::CommandConsumer;
use crate::kafka::inquiry::{readable_ends, topic_id};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the brokers are asked.
const EVERY: Duration = Duration::from_secs(5);
/// How long the brokers may take to answer each of the two questions. Nobody waits for the answers.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The brokers' latest answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandTopicState {
    /// Whether the topic is there, and its id.
    pub topic: Seen,
    /// The offset after the last record that can be read, of each assigned partition whose leader answered.
    pub ends: BTreeMap<Partition, i64>,
}

/// The brokers' answer to the question whether the topic is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// They did not answer, or they give no ids.
    #[default]
    Unknown,
    /// The topic is there, and this is its id.
    There(String),
    /// There is no topic of the name.
    Missing,
}

/// Looks at the topic every few seconds and sends what was seen. The future never ends by itself.
pub async fn keep_looking(consumer: Arc<CommandConsumer>, topic: String, seen: watch::Sender<CommandTopicState>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (consumer, topic) = (consumer.clone(), topic.clone());
        let looked = tokio::task::spawn_blocking(move || look(&consumer, &topic)).await;
        seen.send_replace(looked.unwrap_or_default());
    }
}

fn look(consumer: &CommandConsumer, topic: &str) -> CommandTopicState {
    let seen = match topic_id(consumer.client(), topic, TIMEOUT) {
        Ok(Some(id)) => Seen::There(id),
        Err(RDKafkaErrorCode::UnknownTopicOrPartition) => Seen::Missing,
        Ok(None) | Err(_) => Seen::Unknown,
    };
    let assigned = consumer.assignment().unwrap_or_default();
    let partitions: Vec<Partition> = assigned.elements().iter().map(TopicPartitionListElem::partition).collect();
    let ends = (!partitions.is_empty()).then(|| readable_ends(consumer.client(), topic, &partitions, TIMEOUT).ok()).flatten();
    CommandTopicState { topic: seen, ends: ends.unwrap_or_default() }
}
