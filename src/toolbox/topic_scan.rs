//! Reads the records that are on a topic now, partition after partition, and ends: for tools that look at a topic as it is. Like
//! [`TopicReader`](super::topic_reader), it sees committed records only, belongs to no group and commits nothing.

use super::output::remark;
use super::topic_reader::{ReadingConsumer, blocking, consumer_config, consumer_of, gives_up, partitions, receive, watermarks};
use crate::config;
use crate::kafka::foreign;
use anyhow::{Context as _, ensure};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long transactions that are open on a topic may take to end: longer than brokers let a processor's live on.
const TRANSACTIONS_END: Duration = Duration::from_secs(120);
/// The pause between two looks at whether they have ended.
const PAUSE: Duration = Duration::from_secs(1);

const NO_CONSUMER: &str = "can't make a Kafka consumer";

/// A range of offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    /// Which partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// Returns what is on a topic now: each partition from its first record to its last committed one.
///
/// # Errors
/// The brokers don't answer, or there is no such topic.
pub async fn ranges(kafka: &config::Kafka, topic: &str) -> anyhow::Result<Vec<PartitionRange>> {
    ranges_for(consumer(kafka)?, kafka, topic).await
}

/// Returns the same as [`ranges`], but waits until the transactions that are open on the topic have ended. So the ranges hold all committed
/// records that were written before this call.
///
/// # Errors
/// The brokers don't answer, or there is no such topic, or a transaction stays open for two minutes.
pub async fn complete_ranges(kafka: &config::Kafka, topic: &str) -> anyhow::Result<Vec<PartitionRange>> {
    let mut uncommitted = consumer_config(kafka);
    uncommitted.set("isolation.level", "read_uncommitted");
    let written = ranges_for(consumer_of(uncommitted).context(NO_CONSUMER)?, kafka, topic).await?;
    let deadline = Instant::now() + TRANSACTIONS_END;
    let mut is_told = false;
    loop {
        let committed = ranges(kafka, topic).await?;
        let is_short = |all: &&PartitionRange| committed.iter().any(|now| now.partition == all.partition && now.to < all.to);
        let Some(short) = written.iter().find(is_short) else { return Ok(committed) };
        ensure!(
            Instant::now() < deadline,
            "a transaction on {topic}, partition {}, has been open for {} s, and what is behind it can't be read: \
             `kafka-transactions.sh find-hanging` names it",
            short.partition,
            TRANSACTIONS_END.as_secs()
        );
        if !std::mem::replace(&mut is_told, true) {
            remark(format_args!(
                "waiting until the transactions that are open on {topic}, partition {}, have ended",
                short.partition
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ranges_for(consumer: ReadingConsumer, kafka: &config::Kafka, topic: &str) -> anyhow::Result<Vec<PartitionRange>> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    blocking(move || {
        let partitions = partitions(&kafka, &consumer, &topic)?;
        let range = |partition| {
            let (from, to) = watermarks(&consumer, &topic, partition)?;
            Ok(PartitionRange { partition, from, to })
        };
        partitions.into_iter().map(range).collect()
    })
    .await
}

/// Ranges of a topic that are being read.
pub struct TopicScan {
    consumer: ReadingConsumer,
    topic: String,
    /// The ranges that are left, of which the first is being read.
    ranges: VecDeque<PartitionRange>,
}

impl TopicScan {
    /// Begins to read `ranges`, one after another.
    ///
    /// # Errors
    /// librdkafka does not take the configuration.
    pub fn open(kafka: &config::Kafka, topic: &str, ranges: impl IntoIterator<Item = PartitionRange>) -> anyhow::Result<Self> {
        let ranges = ranges.into_iter().filter(|range| range.from < range.to).collect();
        let scan = Self { consumer: consumer(kafka)?, topic: topic.to_owned(), ranges };
        scan.assign()?;
        Ok(scan)
    }

    /// Returns the next record. Returns `None` at the end of the last range.
    ///
    /// # Errors
    /// The topic can't be read any more. Errors after which librdkafka tries again by itself are only logged.
    pub async fn next(&mut self) -> anyhow::Result<Option<OwnedMessage>> {
        while let Some(&range) = self.ranges.front() {
            match receive(&self.consumer).await {
                Ok(record) if record.partition() == range.partition && record.offset() >= range.from => {
                    let record = foreign::detached(&record);
                    if record.offset() + 1 >= range.to {
                        self.go_on()?;
                    }
                    if record.offset() < range.to {
                        return Ok(Some(record));
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) if partition == range.partition => self.go_on()?,
                // This is left over from the range before.
                Ok(_) | Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => gives_up(&self.topic, &error)?,
            }
        }
        Ok(None)
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        self.ranges.pop_front();
        self.assign()
    }

    fn assign(&self) -> anyhow::Result<()> {
        let mut assignment = TopicPartitionList::new();
        if let Some(range) = self.ranges.front() {
            assignment.add_partition_offset(&self.topic, range.partition, Offset::Offset(range.from))?;
        }
        self.consumer.assign(&assignment).with_context(|| format!("can't read from {}", self.topic))
    }
}

fn consumer(kafka: &config::Kafka) -> anyhow::Result<ReadingConsumer> {
    let mut config = consumer_config(kafka);
    // Transaction markers may follow the last record. No consumer sees them, so only the end of the partition tells that they were passed.
    config.set("enable.partition.eof", "true");
    consumer_of(config).context(NO_CONSUMER)
}
