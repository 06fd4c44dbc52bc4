//! What other systems read: an [`Inbox`] collects all committed records of the topics that the processor writes, as they come.

use crate::registry;
use crm_processor::kafka::bootstrap::{Bootstrap, Reminded};
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A committed record, with its value decoded.
#[derive(Clone)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The decoded value. On the DLQ, where values may be anything, it is null.
    pub body: Json,
    /// The time at which the record was read.
    pub seen: Instant,
}

impl Record {
    /// Returns the bytes of the one header called `name`, or `None` if there is none, or if its value is null.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut named = self.headers.iter().filter(|(n, _)| n == name);
        let first = named.next();
        assert!(named.next().is_none(), "two headers {name}: {self:?}");
        first.and_then(|(_, value)| value.as_deref())
    }

    /// Returns the value of the one header called `name` as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.header(name).map(|v| std::str::from_utf8(v).unwrap_or_else(|e| panic!("header {name} is no text, {e}: {self:?}")))
    }

    /// Returns whether there is a header called `name`, even with a null value.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }

    /// Returns the key as text.
    pub fn key_text(&self) -> Option<&str> {
        self.key.as_deref().map(|k| std::str::from_utf8(k).unwrap_or_else(|e| panic!("the key is no text, {e}: {self:?}")))
    }
}

/// Failures print records, so long values are cut.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 80;
        let bytes =
            |b: &Option<Vec<u8>>| b.as_ref().map(|b| format!("{} ({} bytes)", b[..b.len().min(SHOWN)].escape_ascii(), b.len()));
        let headers: Vec<_> = self.headers.iter().map(|(n, v)| (n, bytes(v))).collect();
        let value = if self.body.is_null() { bytes(&self.value).unwrap_or_default() } else { self.body.to_string() };
        write!(
            f,
            "{}[{}]@{} key={:?} headers={headers:?} value={value}",
            self.topic,
            self.partition,
            self.offset,
            bytes(&self.key)
        )
    }
}

/// A reader of some topics, from their beginning until it is dropped.
pub struct Inbox {
    seen: Arc<Seen>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    records: Mutex<Vec<Arc<Record>>>,
    more: Condvar,
    stop: AtomicBool,
}

impl Inbox {
    /// The time after which a test gives up waiting. Nothing is expected to take so long, even on a busy machine.
    pub const PATIENCE: Duration = Duration::from_secs(90);

    /// Begins to read `topics`, and decodes the values of those that are in `encoded`.
    pub fn open(kafka: &str, topics: &[&str], encoded: &[&str]) -> Self {
        Self::open_with(kafka, topics, encoded, registry::url())
    }

    /// Begins to read `topics` with the schemas of another registry than that of the tests.
    pub fn open_with(kafka: &str, topics: &[&str], encoded: &[&str], registry: &str) -> Self {
        let registry = registry.to_owned();
        let (consumer, _) = consumer(kafka, topics);
        let seen = Arc::new(Seen::default());
        let encoded: Vec<String> = encoded.iter().map(|&t| t.to_owned()).collect();
        let reader = std::thread::Builder::new().name("inbox".into());
        let reader = reader.spawn({
            let seen = seen.clone();
            move || read(&consumer, &encoded, &registry, &seen)
        });
        Self { seen, reader: Some(reader.expect("a thread")) }
    }

    /// Returns all records so far that `wanted` accepts, in the order of their partitions.
    pub fn all(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        self.records().iter().filter(|r| wanted(r)).cloned().collect()
    }

    /// Returns the first record that `wanted` accepts, and waits for it.
    pub fn first(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Arc<Record> {
        self.until(what, |records| records.iter().find(|r| wanted(r)).cloned())
    }

    /// Waits until `done` returns a value for all records so far, and returns that value.
    pub fn until<T>(&self, what: &str, done: impl Fn(&[Arc<Record>]) -> Option<T>) -> T {
        let deadline = Instant::now() + Self::PATIENCE;
        let mut records = self.records();
        loop {
            if let Some(found) = done(&records) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last: Vec<_> = records.iter().rev().take(8).map(|r| format!("  {r:?}")).collect();
                panic!("expected: {what}\ngot: {} records, the last of them (latest first):\n{}", records.len(), last.join("\n"));
            }
            let woken = self.seen.more.wait_timeout(records, left);
            records = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Record>>> {
        // A failed check panics with the lock held. The records are still valid.
        self.seen.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Counts the committed records on `topics`, from their beginning to their present end.
pub fn count(kafka: &str, topics: &[&str]) -> usize {
    let mut count = 0;
    each(kafka, topics, |_| count += 1);
    count
}

/// Counts how often each value of a header is on a topic at present.
pub fn header_counts(kafka: &str, topic: &str, header: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    each(kafka, &[topic], |message| {
        let value = message.headers().and_then(|headers| headers.iter().find(|h| h.key == header)?.value);
        if let Some(value) = value {
            *counts.entry(String::from_utf8_lossy(value).into_owned()).or_default() += 1;
        }
    });
    counts
}

/// Goes through all committed records on `topics`, from their beginning to their present end.
fn each(kafka: &str, topics: &[&str], mut with: impl FnMut(&BorrowedMessage<'_>)) {
    let (consumer, mut open) = consumer(kafka, topics);
    let mut deadline = Instant::now() + Inbox::PATIENCE;
    let mut count = 0;
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                count += 1;
                with(&message);
                deadline = Instant::now() + Inbox::PATIENCE;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            // librdkafka goes on by itself after most errors.
            Some(Err(e)) => tracing::debug!("reading {topics:?}: {e}"),
            None => {}
        }
        assert!(Instant::now() < deadline, "{open} partitions of {topics:?} have no end; {count} records so far");
    }
}

/// Settings for the tests' own clients of Kafka.
pub trait Nimble {
    /// Lets a client notice within seconds that a broker is frozen, or that another one leads a partition, so that the test
    /// itself is not slow then.
    fn nimble(&mut self) -> &mut Self;
}

impl Nimble for ClientConfig {
    fn nimble(&mut self) -> &mut Self {
        self.set("socket.timeout.ms", "5000").set("topic.metadata.refresh.interval.ms", "1000")
    }
}

/// Returns a consumer of all partitions of `topics`, and the number of these partitions.
pub fn consumer(kafka: &str, topics: &[&str]) -> (BaseConsumer<Reminded>, usize) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("group.id", "crm-processor-tests-reader")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "5")
        .nimble();
    let reminded = Reminded(Bootstrap::of(&mut config).into());
    let consumer: BaseConsumer<Reminded> = config.create_with_context(reminded).expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..partitions(&consumer, topic) {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a valid offset");
        }
    }
    consumer.assign(&assignment).expect("assigned");
    let partitions = assignment.count();
    (consumer, partitions)
}

/// Returns the number of a topic's partitions. Waits for a topic that was just made and is not known to the broker yet.
fn partitions(consumer: &BaseConsumer<Reminded>, topic: &str) -> i32 {
    let deadline = Instant::now() + Inbox::PATIENCE;
    loop {
        let metadata = consumer.fetch_metadata(Some(topic), Inbox::PATIENCE).expect("metadata");
        let count = metadata.topics()[0].partitions().len();
        if count > 0 {
            return count.try_into().expect("is small");
        }
        assert!(Instant::now() < deadline, "there is no topic {topic}");
        crate::pause();
    }
}

fn read(consumer: &BaseConsumer<Reminded>, encoded: &[String], registry: &str, seen: &Seen) {
    const CHUNK: usize = 500;
    while !seen.stop.load(Ordering::Relaxed) {
        consumer.context().0.remind(consumer.client());
        let mut chunk = Vec::new();
        let mut next = consumer.poll(Duration::from_millis(100));
        while let Some(message) = next {
            match message {
                Ok(message) => chunk.push(Arc::new(record(&message, encoded, registry))),
                Err(KafkaError::PartitionEOF(_)) => {}
                // At the end of the run the servers end before the last reader does.
                Err(e) => tracing::debug!("reading: {e}"),
            }
            next = if chunk.len() < CHUNK { consumer.poll(Duration::ZERO) } else { None };
        }
        if !chunk.is_empty() {
            seen.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(chunk);
            seen.more.notify_all();
        }
    }
}

fn record(message: &impl Message, encoded: &[String], registry: &str) -> Record {
    let headers = message.headers().map(|headers| headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))));
    let topic = message.topic().to_owned();
    let value = message.payload().map(<[u8]>::to_vec);
    let body =
        value.as_deref().filter(|_| encoded.contains(&topic)).map_or(Json::Null, |value| registry::decode(registry, value));
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        headers: headers.into_iter().flatten().collect(),
        topic,
        value,
        body,
        seen: Instant::now(),
    }
}
