//! The CRM's side of Kafka: writes commands, each with a correlation id, and waits for the replies that carry these ids.

use super::reply::DecodedReply;
use super::topic_reader::{Start, TopicReader};
use crate::config;
use crate::domain::attribute::Attribute;
use crate::domain::command::{RawCommand, RawReference};
use crate::domain::use_case::UseCase;
use crate::domain::values::Actor;
use crate::kafka::PARTITIONER;
use crate::wire;
use crate::wire::headers::{ACTOR, CORRELATION_ID};
use crate::wire::json::JsonDecoder;
use crate::wire::registry::RegistryClient;
use anyhow::{Context, anyhow};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::future_producer::{Delivery, DeliveryFuture};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a command may take to get onto the topic.
const DELIVERY_TIMEOUT_MS: &str = "20000";

/// A client that sends commands and gets replies, as a CRM does.
pub struct CrmClient {
    producer: FutureProducer,
    topics: config::Topics,
    schema_ids: HashMap<UseCase, u32>,
    waiting: Arc<WaitingCallers>,
    reading: JoinHandle<()>,
}

/// A command on its way, whose reply can be waited for.
pub struct Submitted {
    delivery: DeliveryFuture,
    answer: oneshot::Receiver<ReplyOrReason>,
    topics: config::Topics,
}

type ReplyOrReason = Result<DecodedReply, String>;

/// The callers that wait for replies, by correlation id. There are as many as the caller has commands under way.
#[derive(Default)]
struct WaitingCallers {
    by_id: Mutex<HashMap<String, oneshot::Sender<ReplyOrReason>>>,
    /// How many commands have got the reply that somebody waited for, or could not be queued.
    settled: AtomicU64,
}

/// The reason why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    /// No reply came in time.
    #[error(
        "no reply within {}; the command {}",
        humantime::format_duration(*.waited), on_topic(.delivered.as_ref(), .commands)
    )]
    TimedOut {
        /// How long we waited.
        waited: Duration,
        /// Where the command is, if it was written.
        delivered: Option<Delivery>,
        /// The command topic.
        commands: String,
        /// The reply topic.
        replies: String,
    },
    /// The command did not get onto the topic, or not certainly.
    #[error("the command can't be written to {topic}: {reason}")]
    NotWritten {
        /// The command topic.
        topic: String,
        /// What Kafka says.
        reason: String,
    },
    /// The replies can't be read.
    #[error("the reply can't be read: {0}")]
    Unread(String),
}

impl NoReply {
    /// Returns what to look at if no reply came in time. Returns `None` for the other reasons, which speak for themselves.
    pub fn way_out(&self) -> Option<String> {
        let Self::TimedOut { replies, .. } = self else { return None };
        Some(format!(
            "A command on the topic will be answered when it is processed, with a reply on {replies} (`crm-processor watch replies`). \
             Is `crm-processor run` up (/readyz on its admin address says what is missing), with the same topics and the same \
             schema registry? Is it behind (crm_consumer_lag_records on /metrics)?"
        ))
    }
}

impl CrmClient {
    /// Gets ready to write commands, and reads the reply topic from here on.
    ///
    /// # Errors
    /// Kafka or the registry don't answer, or `setup` has not been run.
    pub async fn connect(kafka: &config::Kafka, registry: RegistryClient) -> anyhow::Result<Self> {
        let schema_ids = schema_ids(&registry, &kafka.topics.commands).await?;
        let producer = producer_config(kafka).create().context("can't make a Kafka producer")?;
        let reader = TopicReader::open(kafka, &kafka.topics.replies, Start::End).await?;
        let waiting = Arc::new(WaitingCallers::default());
        let reading = tokio::spawn(read_replies(reader, JsonDecoder::new(registry), waiting.clone()));
        Ok(Self { producer, topics: kafka.topics.clone(), schema_ids, waiting, reading })
    }

    /// Sends off a command for which `actor` asks, if somebody is named. Commands of one key are written in the order of these calls.
    ///
    /// # Errors
    /// The command can't be queued, or the replies are not read any more.
    pub fn submit(&self, command: &RawCommand, key: Option<&str>, actor: Option<&Actor>) -> Result<Submitted, NoReply> {
        let mut value = wire::frame::frame_prefix(self.schema_ids[&command.use_case]).to_vec();
        value.extend(wire::json::encode_command(command));
        self.submit_record(&value, key, actor)
    }

    /// Sends off bytes that may or may not be a command.
    ///
    /// # Errors
    /// The bytes can't be queued, or the replies are not read any more.
    pub fn submit_bytes(&self, value: &[u8], key: Option<&str>) -> Result<Submitted, NoReply> {
        self.submit_record(value, key, None)
    }

    fn submit_record(&self, value: &[u8], key: Option<&str>, actor: Option<&Actor>) -> Result<Submitted, NoReply> {
        if self.reading.is_finished() {
            return Err(NoReply::Unread("the replies are not read any more".into()));
        }
        let correlation_id = Uuid::new_v4().to_string();
        let answer = self.waiting.register(&correlation_id);
        let mut headers = OwnedHeaders::new().insert(Header { key: CORRELATION_ID, value: Some(&correlation_id) });
        if let Some(actor) = actor {
            headers = headers.insert(Header { key: ACTOR, value: Some(actor.as_str()) });
        }
        let mut record = FutureRecord::to(&self.topics.commands).payload(value).headers(headers);
        record.key = key;
        let delivery = self.producer.send_result(record).map_err(|(error, _)| {
            self.waiting.take(&correlation_id);
            NoReply::NotWritten { topic: self.topics.commands.clone(), reason: error.to_string() }
        })?;
        Ok(Submitted { delivery, answer, topics: self.topics.clone() })
    }

    /// Returns how many commands have got their reply, or could not be queued.
    pub fn settled(&self) -> u64 {
        self.waiting.settled.load(Relaxed)
    }

    /// Returns whether a command that was sent still waits for its reply.
    pub fn is_waiting(&self) -> bool {
        let waiting = self.waiting.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.values().any(|sender| !sender.is_closed())
    }

    /// Stops reading replies, and disconnects from Kafka.
    pub async fn close(self) {
        self.reading.abort();
        // An error means that the task was cancelled, as it should be.
        let _ = self.reading.await;
    }
}

impl Submitted {
    /// Waits for the reply.
    ///
    /// # Errors
    /// There is no reply; [`NoReply`] says why.
    pub async fn reply(self, within: Duration) -> Result<DecodedReply, NoReply> {
        let Self { delivery, answer, topics } = self;
        let mut delivered = None;
        let answered = timeout(within, async {
            let not_written = |reason| NoReply::NotWritten { topic: topics.commands.clone(), reason };
            match delivery.await {
                Ok(Ok(at)) => delivered = Some(at),
                Ok(Err((error, _))) => return Err(not_written(error.to_string())),
                Err(_) => return Err(not_written("the producer is gone".into())),
            }
            answer.await.unwrap_or_else(|_| Err("the reader of the replies is gone".into())).map_err(NoReply::Unread)
        })
        .await;
        let timed_out =
            NoReply::TimedOut { waited: within, delivered, commands: topics.commands.clone(), replies: topics.replies.clone() };
        answered.unwrap_or(Err(timed_out))
    }
}

impl WaitingCallers {
    fn register(&self, correlation_id: &str) -> oneshot::Receiver<ReplyOrReason> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets the callers that gave up.
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(correlation_id.into(), sender);
        receiver
    }

    fn take(&self, correlation_id: &str) -> Option<oneshot::Sender<ReplyOrReason>> {
        let taken = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(correlation_id);
        self.settled.fetch_add(u64::from(taken.is_some()), Relaxed);
        taken
    }

    fn fail_all(&self, reason: &str) {
        for (_, sender) in self.by_id.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            let _ = sender.send(Err(reason.into()));
        }
    }
}

/// Returns the key of a record for which no other is given: the id of the entity that the command changes or creates, so that the entity's
/// commands stay in order. Returns `None` if the command holds no id.
pub fn key_of(command: &RawCommand) -> Option<String> {
    if command.use_case.is_creation() {
        return command.values.get(Attribute::ExternalId).map(str::to_owned);
    }
    let RawReference { external_id, ref_id } = command.reference.as_ref()?;
    external_id.clone().or_else(|| ref_id.clone())
}

/// Returns the ids that the registry gave to the schemas of the commands.
///
/// # Errors
/// The registry does not answer, or `setup` has not registered a schema.
pub async fn schema_ids(registry: &RegistryClient, commands: &str) -> anyhow::Result<HashMap<UseCase, u32>> {
    let mut ids = HashMap::new();
    for use_case in UseCase::ALL {
        let subject = wire::command_subject(commands, *use_case);
        let id = registry.lookup(&subject, use_case.schema()).await?;
        let missing = || anyhow!("the schema registry has no schema of ours under {subject}: run `crm-processor setup` first");
        ids.insert(*use_case, id.ok_or_else(missing)?);
    }
    Ok(ids)
}

/// Returns the properties of a producer of commands: our defaults, over these the configured properties, and over these the ones that must
/// not differ, such as those that keep commands in their order.
pub fn producer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "crm-processor-cli")
        .set("linger.ms", "0")
        .set("delivery.timeout.ms", DELIVERY_TIMEOUT_MS)
        .set("partitioner", PARTITIONER);
    config.extend(kafka.producer.iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("message.max.bytes", "1000000000")
        // A topic that is missing must be an error: brokers would make one with limits that are not ours.
        .set("allow.auto.create.topics", "false")
        .set("enable.idempotence", "true");
    config
}

async fn read_replies(reader: TopicReader, mut decoder: JsonDecoder, waiting: Arc<WaitingCallers>) {
    loop {
        match reader.next().await {
            Ok(record) => {
                let correlation_id = header(&record, CORRELATION_ID).map(|value| String::from_utf8_lossy(value).into_owned());
                // The replies to other clients come by here, too.
                let Some(sender) = correlation_id.and_then(|id| waiting.take(&id)) else { continue };
                // An error means that nobody waits any more.
                let _ = sender.send(decode(&mut decoder, record.payload()).await);
            }
            Err(error) => return waiting.fail_all(&format!("{error:#}")),
        }
    }
}

async fn decode(decoder: &mut JsonDecoder, value: Option<&[u8]>) -> ReplyOrReason {
    let json = decoder.decode(value).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    DecodedReply::read(json).map_err(|e| e.to_string())
}

/// Returns the value of the last header of this name. Returns `None` if there is no such header, or if it has no value.
pub fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a [u8]> {
    record.headers()?.iter().filter(|h| h.key == name).last()?.value
}

fn on_topic(delivered: Option<&Delivery>, commands: &str) -> String {
    match delivered {
        Some(at) => format!("is on {commands} (partition {}, offset {})", at.partition, at.offset),
        None => format!("may still get onto {commands}"),
    }
}
