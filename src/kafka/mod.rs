//! Kafka, the I/O of the stream: a thread that consumes the command topic ([`consumer`]), a thread that publishes in
//! transactions ([`publisher`]) and is watched ([`publishing`]), what is known of the reply topics ([`reply_topics`]), what brokers
//! say of a topic ([`inquiry`]) and of what a client may do ([`rights`]), and what keeps a client from logging in ([`login`]). What to
//! do is decided by `flow`; here it is done.

pub mod calls;
pub mod consumer;
pub mod inquiry;
pub mod login;
pub mod publisher;
pub mod publishing;
pub mod record;
mod refusals;
pub mod reply_topics;
pub mod rights;

use crate::config;
use bytes::Bytes;
use rdkafka::ClientConfig;
use std::borrow::Cow;
use std::sync::Arc;

/// The headers of a record, in order. A name may repeat, a value may be null.
pub type Headers = Vec<(Cow<'static, str>, Option<Bytes>)>;

/// A thread of this module could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// librdkafka refuses a property, or the client can't be made.
    #[error("the Kafka client can't be made: {}", login::explained(.0))]
    Client(#[from] rdkafka::error::KafkaError),
    /// The operating system gave no thread.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What an output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// An answer to the CRM.
    Reply,
    /// A Business Transaction for the data warehouse.
    Transaction,
    /// A record that could not be read.
    DeadLetter,
}

/// A record to be published.
#[derive(Clone, Debug)]
pub struct Output {
    /// What it is for.
    pub kind: OutputKind,
    /// Where it goes.
    pub topic: Arc<str>,
    /// None: by the key.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
    /// Where the output goes if the broker refuses it.
    pub fallback: Fallback,
}

/// The place to which an output goes that the broker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// There is none: the record is held until the broker takes the output.
    None,
    /// This topic, and the partition that the key says: for a reply to a topic of the CRM's choice.
    Topic(Arc<str>),
    /// The partition that the key says: for a reply to a partition of the CRM's choice.
    AnyPartition,
    /// The same topic, as a stub, if the output is large and the broker does not say why it refuses it: for a dead letter. The name is that
    /// of the command topic, where the original stays.
    Stub(Arc<str>),
}

impl Output {
    /// Returns the size of key and value, in bytes.
    pub fn size(&self) -> usize {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        optional(&self.key) + optional(&self.value)
    }

    /// Returns roughly how many bytes the output takes in a transaction.
    pub fn weight(&self) -> usize {
        self.size() + PER_RECORD
    }
}

/// All that is published for one record of the command topic, and what its metrics need when it is committed.
#[derive(Clone, Debug)]
pub struct Outputs<M> {
    /// To be published in one transaction with the record's completion.
    pub outputs: Vec<Output>,
    /// For whoever learns of the commit.
    pub memo: M,
}

/// What a record costs beside key and value: headers and the batch's bookkeeping, roughly.
const PER_RECORD: usize = 256;

/// How long a request to a broker may take. Less than [`TRANSACTION_TIMEOUT_MS`], so that a broker that hangs is noticed
/// before the coordinator ends the transaction.
const SOCKET_TIMEOUT_MS: &str = "9000";

/// How often a client asks which partitions its topics have. Partitions that are added have commands at once, and wait for so long; what
/// a question costs is next to nothing (some 300 bytes).
const METADATA_REFRESH_MS: &str = "5000";

/// How long a transaction may stay open: it keeps `read_committed` readers of its partitions waiting.
const TRANSACTION_TIMEOUT_MS: &str = "10000";

/// After how long the producer closes a connection that nothing was sent over, in milliseconds. Far less than the brokers' ten
/// minutes: an abandoned publisher waits for that. Long enough for a producer that has something to send now and then.
pub const IDLE_CONNECTION_MS: &str = "60000";

/// The consumer's properties: ours, then the configured ones, then those that the promises rest on.
pub fn consumer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", format!("crm-processor-{}", kafka.instance_id))
        // How long a dead instance keeps its partitions.
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "2000")
        // Little is read ahead: it costs memory for each partition, and is dropped and read again on a rebalance. (A record
        // larger than a fetch is fetched all the same.)
        .set("queued.max.messages.kbytes", "1024")
        .set("queued.min.messages", "500")
        .set("fetch.message.max.bytes", "65536")
        // A partition whose commands wait here is left out of a fetch, and back only in the next one: so a fetch that finds the
        // others empty must soon end. (With 100 ms half the time of a hot key went there; an idle processor costs no more.)
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "10")
        .set("statistics.interval.ms", "1000")
        // As long as a session. A question that goes to a broker that is frozen, who coordinates the group for one, is put to another
        // one then; the client's default of 60 s is longer than most freezes last. (Joining a group has a time-out of its own.)
        .set("socket.timeout.ms", "6000")
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        // The client's own histograms for the broker (KIP-714) take 1 MiB; ours are scraped.
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

/// The transactional producer's properties: ours, then the configured ones, then those that the promises rest on.
pub fn producer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", format!("crm-processor-{}", kafka.instance_id))
        // A transaction is flushed as soon as it is complete; waiting for more only delays it.
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "5")
        .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
        .set("enable.metrics.push", "false")
        .set("delivery.timeout.ms", TRANSACTION_TIMEOUT_MS)
        .set("connections.max.idle.ms", IDLE_CONNECTION_MS)
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
        // A producer has brokers make a topic that is missing, by asking for it, where they are allowed to: with one partition and limits
        // that are not ours. A consumer does not.
        .set("allow.auto.create.topics", "false")
        // How long a topic that the metadata does not show counts as "just being created".
        .set("topic.metadata.propagation.max.ms", "1000")
        // The broker's limits decide, topic by topic: the DLQ takes whatever the command topic took.
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
