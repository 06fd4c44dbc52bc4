//! Reads a topic as the CRM and the data warehouse do: the committed records of all partitions, from the end or the beginning. The reader
//! belongs to no group and commits nothing, so it disturbs nobody.

use super::reach::{Probe, client_config};
use crate::config;
use crate::kafka::bootstrap::{Bootstrap, Reminded};
use crate::kafka::foreign;
use anyhow::{Context, bail, ensure};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, OwnedMessage};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::Duration;

/// How long a broker may take to tell about a topic.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take at first, before a probe asks why none answers.
const AT_FIRST: Duration = Duration::from_secs(3);

/// How long a consumer waits for a record before it is checked that the consumer still knows a broker.
const LOOK: Duration = Duration::from_secs(1);

/// A consumer that is told of its first brokers again when it has forgotten all.
pub type ReadingConsumer = StreamConsumer<Reminded>;

/// The record with which a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first record on the topic.
    Beginning,
    /// The first record that comes after now.
    End,
}

/// A topic that is being read.
pub struct TopicReader {
    consumer: ReadingConsumer,
    topic: String,
    partitions: Vec<i32>,
}

impl TopicReader {
    /// Begins to read. With [`Start::End`], whatever is written after this returns will be read.
    ///
    /// # Errors
    /// The brokers don't answer, or there is no such topic.
    pub async fn open(kafka: &config::Kafka, topic: &str, start: Start) -> anyhow::Result<Self> {
        let consumer = consumer_of(consumer_config(kafka)).context("can't make a Kafka consumer")?;
        let (kafka, topic) = (kafka.clone(), topic.to_owned());
        blocking(move || {
            let partitions = partitions(&kafka, &consumer, &topic)?;
            let reader = Self { consumer, topic, partitions };
            reader.assign(start)?;
            Ok(reader)
        })
        .await
    }

    /// Returns the next record, as soon as there is one.
    ///
    /// # Errors
    /// The topic can't be read any more. Errors after which librdkafka tries again by itself are only logged.
    pub async fn next(&self) -> anyhow::Result<OwnedMessage> {
        loop {
            match receive(&self.consumer).await {
                Ok(record) => return Ok(foreign::detached(&record)),
                Err(error) => gives_up(&self.topic, &error)?,
            }
        }
    }

    /// Returns how many offsets the topic has, all partitions together. On a real broker, transaction markers take one each, too.
    ///
    /// # Errors
    /// The brokers don't answer.
    pub fn length(&self) -> anyhow::Result<i64> {
        self.partitions.iter().map(|p| self.watermarks(*p).map(|(low, high)| high - low)).sum()
    }

    fn assign(&self, start: Start) -> anyhow::Result<()> {
        let mut assignment = TopicPartitionList::new();
        for partition in &self.partitions {
            // librdkafka would look up `Offset::End` some time later, and miss what is written meanwhile.
            let (low, high) = self.watermarks(*partition)?;
            let offset = if start == Start::Beginning { low } else { high };
            assignment.add_partition_offset(&self.topic, *partition, Offset::Offset(offset))?;
        }
        self.consumer.assign(&assignment).with_context(|| format!("can't read from {}", self.topic))
    }

    fn watermarks(&self, partition: i32) -> anyhow::Result<(i64, i64)> {
        watermarks(&self.consumer, &self.topic, partition)
    }
}

/// Makes a consumer with the properties of [`consumer_config`], to which the caller may have added some.
///
/// # Errors
/// librdkafka refuses a property.
pub fn consumer_of(mut config: ClientConfig) -> KafkaResult<ReadingConsumer> {
    let reminded = Reminded(Bootstrap::of(&mut config).into());
    config.create_with_context(reminded)
}

/// Returns the next record as soon as there is one. May be cancelled at any moment.
///
/// # Errors
/// Those of librdkafka, which goes on by itself after most of them.
pub async fn receive(consumer: &ReadingConsumer) -> KafkaResult<BorrowedMessage<'_>> {
    loop {
        if let Ok(received) = tokio::time::timeout(LOOK, consumer.recv()).await {
            return received;
        }
        consumer.context().0.remind(consumer.client());
    }
}

/// Returns the first offset of a partition, and the offset after its last committed record.
pub fn watermarks(consumer: &ReadingConsumer, topic: &str, partition: i32) -> anyhow::Result<(i64, i64)> {
    let fetched = consumer.fetch_watermarks(topic, partition, TIMEOUT);
    fetched.with_context(|| format!("can't learn the offsets of {topic}, partition {partition}"))
}

/// Returns an error if the topic can't be read any more. Logs errors after which librdkafka tries again by itself.
pub fn gives_up(topic: &str, error: &KafkaError) -> anyhow::Result<()> {
    use RDKafkaErrorCode::{TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    match error {
        KafkaError::MessageConsumption(
            code @ (TopicAuthorizationFailed | UnknownPartition | UnknownTopic | UnknownTopicOrPartition),
        ) => bail!("can't read from {topic}: {code}"),
        error => tracing::warn!(topic, %error, "reading from Kafka"),
    }
    Ok(())
}

/// Returns the properties of a consumer: our defaults, over these the configured properties, and over these the ones with which it reads
/// committed records and belongs to no group.
pub fn consumer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "crm-processor-cli").set("fetch.wait.max.ms", "100").set("fetch.queue.backoff.ms", "5");
    config.extend(kafka.consumer.iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        // librdkafka wants a group's name even if partitions are assigned by hand; nobody joins this group.
        .set("group.id", format!("{}-cli", kafka.group_id))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest");
    config
}

/// Returns the numbers of a topic's partitions.
///
/// # Errors
/// The brokers don't answer, or there is no such topic. The text says why, with the way out.
pub fn partitions(kafka: &config::Kafka, consumer: &ReadingConsumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), AT_FIRST).or_else(|_| {
        // This error only says that the call failed; the probe says why.
        Probe::new(client_config(kafka, &kafka.consumer))?.reach(kafka, "kafka.consumer")?;
        anyhow::Ok(consumer.fetch_metadata(Some(topic), TIMEOUT)?)
    })?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    let partitions: Vec<i32> = found.into_iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect();
    ensure!(!partitions.is_empty(), "there is no topic {topic}, or we may not see it; `crm-processor setup` creates it");
    Ok(partitions)
}

/// Runs work that blocks on a thread for such work, and waits for its result.
///
/// # Errors
/// Those of the work. A panic of the work is an error, too.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a task ended in a panic")?
}
