//! Reads the reply topic, beginning with the replies that are committed after the start, and tells [`OpenRequests`] of each reply that is
//! awaited. A reply to another client is recognised by its headers, and skipped without being decoded.

use super::open::{CommandProgress, OpenRequests};
use super::reply::JsonReply;
use super::writer::Name;
use crate::config::Kafka;
use crate::kafka::foreign;
use crate::pauses::Pauses;
use crate::telemetry::concerns::Concern;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::series::gauge;
use crate::toolbox::topic_reader::{ReadingConsumer, consumer_config, consumer_of, receive, watermarks};
use crate::wire::headers::KAFKA_CORRELATION_ID;
use crate::wire::json::JsonDecoder;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::MissedTickBehavior;

/// How often the brokers are asked which partitions the topic has, which tells, too, whether they answer.
const LOOK: Duration = Duration::from_secs(5);
/// How long the brokers may take to tell.
const PATIENCE: Duration = Duration::from_secs(4);

/// The reason why replies can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RepliesFault {
    /// The brokers don't answer, or librdkafka refuses a property.
    #[error("the reply topic {topic} can't be read: {source}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What Kafka says.
        source: KafkaError,
    },
    /// The brokers know no such topic, or don't show it to us.
    #[error("there is no topic {0}, or we may not see it; `crm-processor setup` creates the default reply topic")]
    NoTopic(String),
    /// The end of a partition can't be found.
    #[error("{0}")]
    End(String),
}

/// The reply topic, read from its end at the time of [`Replies::open`].
pub struct Replies {
    consumer: Arc<ReadingConsumer>,
    topic: String,
    partitions: usize,
}

/// The requests that await replies, and what else the reader needs.
pub struct Awaited {
    /// The name by which the gateway knows its replies.
    pub name: Name,
    /// Who waits for them.
    pub open: OpenRequests,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// The process's health.
    pub health: Arc<Health>,
}

impl Replies {
    /// Finds the end of the topic. Whatever is written after this returns is read.
    ///
    /// # Errors
    /// The brokers don't answer, or there is no such topic.
    pub async fn open(kafka: &Kafka, topic: &str) -> Result<Self, RepliesFault> {
        let mut config = consumer_config(kafka);
        config.set("enable.metrics.push", "false").set("client.id", "crm-processor-gateway");
        let created = consumer_of(config).map_err(|source| RepliesFault::Kafka { topic: topic.to_owned(), source })?;
        let consumer = Arc::new(created);
        let (reader, name) = (consumer.clone(), topic.to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            let Seen { partitions, .. } = look(&reader, &name)?;
            let mut assignment = TopicPartitionList::new();
            for partition in &partitions {
                let ends = watermarks(&reader, &name, *partition).map_err(|error| RepliesFault::End(format!("{error:#}")))?;
                add(&mut assignment, &name, *partition, Offset::Offset(ends.1))?;
            }
            reader.assign(&assignment).map_err(|source| RepliesFault::Kafka { topic: name.clone(), source })?;
            Ok(partitions.len())
        });
        let partitions = opened.await.map_err(|error| RepliesFault::End(error.to_string()))??;
        Ok(Self { consumer, topic: topic.to_owned(), partitions })
    }

    /// Reads for as long as it is polled.
    pub async fn read(mut self, mut decoder: JsonDecoder, awaited: Awaited) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looking = None;
        let consumer = self.consumer.clone();
        loop {
            awaited.health.beat();
            tokio::select! {
                record = receive(&consumer) => match record {
                    Ok(record) => take(&record, &mut decoder, &awaited).await,
                    // librdkafka goes on by itself, and the next look tells whether the brokers answer.
                    Err(error) => tracing::debug!(%error, "reading replies"),
                },
                _ = looks.tick(), if looking.is_none() => {
                    let (consumer, topic) = (consumer.clone(), self.topic.clone());
                    looking = Some(tokio::task::spawn_blocking(move || look(&consumer, &topic)));
                }
                // The branch is not polled while there is no look.
                seen = async { looking.as_mut().expect("there is a look").await }, if looking.is_some() => {
                    looking = None;
                    let seen = seen.unwrap_or_else(|error| Err(RepliesFault::End(error.to_string())));
                    match &seen {
                        Ok(seen) => awaited.metrics.kafka_brokers_connected.set(gauge(seen.brokers)),
                        // The brokers have answered that there is no such topic, so they are still connected.
                        Err(RepliesFault::NoTopic(_)) => {}
                        Err(_) => awaited.metrics.kafka_brokers_connected.set(0),
                    }
                    let seen = seen.and_then(|seen| self.add_new(&seen.partitions));
                    awaited.health.tell(Concern::GatewayWithoutKafka, seen.err().map(|fault| fault.to_string()));
                }
            }
        }
    }

    /// Reads partitions that were added, from their beginning, because they may hold replies already.
    fn add_new(&mut self, partitions: &[i32]) -> Result<(), RepliesFault> {
        if partitions.len() <= self.partitions {
            return Ok(());
        }
        let mut added = TopicPartitionList::new();
        for partition in &partitions[self.partitions..] {
            add(&mut added, &self.topic, *partition, Offset::Beginning)?;
        }
        let fault = |source| RepliesFault::Kafka { topic: self.topic.clone(), source };
        self.consumer.incremental_assign(&added).map_err(fault)?;
        self.partitions = partitions.len();
        Ok(())
    }
}

fn add(list: &mut TopicPartitionList, topic: &str, partition: i32, offset: Offset) -> Result<(), RepliesFault> {
    let added = list.add_partition_offset(topic, partition, offset);
    added.map_err(|source| RepliesFault::Kafka { topic: topic.to_owned(), source })
}

/// What the brokers say.
struct Seen {
    /// The topic's partitions, in ascending order.
    partitions: Vec<i32>,
    /// How many brokers there are.
    brokers: usize,
}

/// Asks the brokers about the topic.
fn look(consumer: &ReadingConsumer, topic: &str) -> Result<Seen, RepliesFault> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
    let metadata = metadata.map_err(|source| RepliesFault::Kafka { topic: topic.to_owned(), source })?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let mut partitions: Vec<i32> = found.into_iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect();
    partitions.sort_unstable();
    let brokers = metadata.brokers().len();
    if partitions.is_empty() { Err(RepliesFault::NoTopic(topic.to_owned())) } else { Ok(Seen { partitions, brokers }) }
}

/// Hands a reply to the requests that wait for it. Skips a reply that is another client's, or that nobody waits for any more.
async fn take(record: &BorrowedMessage<'_>, decoder: &mut JsonDecoder, awaited: &Awaited) {
    let Awaited { name, open, metrics, health } = awaited;
    let headers = foreign::headers(record).into_iter();
    let mark = headers.filter(|(name, _)| *name == KAFKA_CORRELATION_ID).filter_map(|(_, value)| value).next_back();
    let Some(token) = mark.and_then(|mark| name.token(mark)).filter(|token| open.is_awaited(*token)) else {
        metrics.gateway_skipped_replies.inc();
        return;
    };
    if let Some(at) = record.timestamp().to_millis() {
        metrics.gateway_reply_lag.set(seconds_since(at));
    }
    let mut pauses = Pauses::new(Duration::from_millis(20), Duration::from_secs(1));
    while open.is_awaited(token) {
        health.beat();
        match decoder.decode(record.payload()).await {
            Ok(decoded) => {
                let reply = decoded.map_err(|reason| reason.to_string());
                let reply =
                    reply.and_then(|json| JsonReply::read(json).ok_or_else(|| "it is not of the kind that we know".into()));
                let progress = match reply {
                    Ok(reply) => CommandProgress::Answered(reply.into()),
                    Err(reason) => {
                        tracing::error!(reason, "a reply can't be read; who waits for it must ask again");
                        CommandProgress::Unknown
                    }
                };
                open.note(token, progress);
                return;
            }
            Err(fault) => tracing::warn!(%fault, "the schema of a reply can't be had, trying again"),
        }
        pauses.wait().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the timestamps of records are times of day")]
#[expect(clippy::cast_precision_loss, reason = "a lag has few digits")]
fn seconds_since(millis: i64) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(millis).max(0) as f64 / 1000.0
}
