//! The Kafka clients, which do what `flow` decides. One thread consumes the command topic
//! ([`consumer`], with its [`callbacks`]). Another publishes in transactions ([`publisher`]) and is watched ([`publishing`]). Besides there
//! are the sizes of topics ([`partition_counts`]), the texts that other clients wrote ([`foreign`]), questions to the brokers about a topic
//! ([`inquiry`]) and about what a client may do ([`rights`]), and the reasons why a client can't log in ([`login`]).

pub mod bootstrap;
pub mod callbacks;
pub mod calls;
pub mod consumer;
mod failures;
pub mod foreign;
pub mod inquiry;
pub mod login;
pub mod partition_counts;
mod producers;
pub mod publisher;
pub mod publishing;
pub mod record;
mod refusals;
pub mod rights;

use crate::config;
use crate::wire::headers::Headers;
use bytes::Bytes;
use rdkafka::ClientConfig;
use std::sync::Arc;

/// The reason why a client or a thread of this module could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// librdkafka refuses a property, or the client can't be made.
    #[error("the Kafka client can't be made: {}", login::explained(.0))]
    Client(#[from] rdkafka::error::KafkaError),
    /// The operating system gave no thread.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The purpose of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// An answer to the CRM.
    Reply,
    /// A business transaction for the data warehouse.
    Transaction,
    /// The same change as a flat row, for the data warehouse's sinks.
    Change,
    /// A record of the command topic that could not be read.
    DeadLetter,
}

/// A record to be published.
#[derive(Clone, Debug)]
pub struct Output {
    /// The output's purpose.
    pub kind: OutputKind,
    /// The topic to publish to.
    pub topic: Arc<str>,
    /// The partition to publish to; `None` if the key decides.
    pub partition: Option<i32>,
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value; `None` is null.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
    /// Where the output goes if the broker refuses it.
    pub fallback: Fallback,
}

/// The place to which an output goes that the broker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// There is none: the record is held until the broker takes the output.
    None,
    /// The output goes to this topic, into the partition of its key. A reply to a topic of the CRM's choice has this fallback.
    Topic(Arc<str>),
    /// The output goes into the partition of its key. A reply to a partition of the CRM's choice has this fallback.
    AnyPartition,
    /// A stub goes to the same topic, if the output is large and the broker does not say why it refuses it. A dead letter has this
    /// fallback. The name is that of the command topic, where the original stays.
    Stub(Arc<str>),
}

impl Output {
    /// Returns the size of the key and the value, in bytes.
    pub fn size(&self) -> usize {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        optional(&self.key) + optional(&self.value)
    }

    /// Returns roughly how many bytes the output takes in a transaction.
    pub fn weight(&self) -> usize {
        self.size() + PER_RECORD
    }
}

/// All outputs for one record of the command topic, with what the metrics need when they are committed.
#[derive(Clone, Debug)]
pub struct Outputs<M> {
    /// The outputs, which are published in one transaction with the record's completion.
    pub outputs: Vec<Output>,
    /// A note that comes back to the processor with the verdict.
    pub memo: M,
}

/// The rough cost of an output besides its key and value, in bytes: its headers and the batch's bookkeeping.
const PER_RECORD: usize = 256;

/// How long a request of the producer to a broker may take, in milliseconds. This is less than [`TRANSACTION_TIMEOUT_MS`], so that the
/// producer notices a broker that hangs before the coordinator ends the transaction. With 4 s, a frozen broker would cost less. But a
/// broker that makes a producer wait because of a quota takes the records in the end, and then refuses as out of order those that the
/// producer has sent again.
const SOCKET_TIMEOUT_MS: &str = "9000";

/// How often a client asks which partitions its topics have. Commands in a partition that was just added wait for up to this long. A
/// question costs next to nothing (some 300 bytes).
const METADATA_REFRESH_MS: &str = "5000";

/// How long a transaction may stay open. While it is open, `read_committed` readers of its partitions wait.
const TRANSACTION_TIMEOUT_MS: &str = "10000";

/// After how long the producer closes an idle connection, in milliseconds. This is far less than the brokers' ten minutes, because an
/// abandoned publisher may wait until a connection closes. It is long enough for a producer that has something to send now and then.
pub const IDLE_CONNECTION_MS: &str = "60000";

/// Returns the consumer's properties: our defaults, over them the configured ones, and over these the ones that the promises rest on.
pub fn consumer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", format!("crm-processor-{}", kafka.instance_id))
        // A dead instance keeps its partitions for this long.
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "2000")
        // The consumer reads little ahead, because what it reads costs memory for each partition, and is dropped and read again on a
        // rebalance. (A record larger than a fetch is fetched all the same.)
        .set("queued.max.messages.kbytes", "1024")
        .set("queued.min.messages", "500")
        .set("fetch.message.max.bytes", "65536")
        // A fetch leaves out a partition whose commands still wait in the client, and only the next fetch includes it again. So a fetch
        // that finds the other partitions empty must end soon: with 100 ms a hot key is a quarter slower. The brokers of an idle processor
        // pay for that (docs/performance.md has both figures).
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "10")
        // This is as long as the session time-out. After it, a question to a frozen broker, such as who coordinates the group, is put to
        // another broker. The client's default of 60 s is longer than most freezes last. (Joining a group has a time-out of its own.)
        .set("socket.timeout.ms", "6000")
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        // The histograms that the client would push to the broker (KIP-714) take 1 MiB. We need none: our own metrics are scraped.
        .set("enable.metrics.push", "false");
    config.extend(kafka.consumer.iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("group.id", &kafka.group_id)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "range");
    config
}

/// The partitioner, unless `kafka.producer` names another. It chooses the same partition for a key as Java's clients do, and as Kafka
/// Streams, Connect and Flink expect. (librdkafka's own default is CRC32.)
pub const PARTITIONER: &str = "murmur2_random";

/// Returns the properties of the two producers that a publisher uses in turn. They differ in the transactional id only.
pub fn producer_configs(kafka: &config::Kafka) -> [ClientConfig; 2] {
    let mut second = producer_config(kafka);
    second.set("transactional.id", kafka.second_transactional_id());
    [producer_config(kafka), second]
}

/// Returns the transactional producer's properties: our defaults, over them the configured ones, and over these the ones that the
/// promises rest on.
pub fn producer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", format!("crm-processor-{}", kafka.instance_id))
        // The publisher flushes a transaction as soon as all its outputs are produced, so waiting for more would only delay it.
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "5")
        .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
        .set("enable.metrics.push", "false")
        .set("delivery.timeout.ms", TRANSACTION_TIMEOUT_MS)
        .set("connections.max.idle.ms", IDLE_CONNECTION_MS)
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        .set("partitioner", PARTITIONER)
        // By asking about a missing topic a producer would make brokers create it, where they may, with the brokers' default partitions
        // and limits. A consumer does not do that.
        .set("allow.auto.create.topics", "false")
        // For this long a topic that is missing from the metadata counts as "just being created".
        .set("topic.metadata.propagation.max.ms", "1000")
        // The brokers' limits decide, topic by topic, rather than a limit of the client: the DLQ must take whatever the command topic
        // took.
        .set("message.max.bytes", "1000000000");
    config.extend(kafka.producer.iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("transactional.id", kafka.transactional_id())
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
        .set("enable.idempotence", "true")
        .set("delivery.report.only.error", "true");
    config
}
