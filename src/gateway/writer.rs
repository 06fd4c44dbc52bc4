//! Writes commands to their topic, with an idempotent producer that waits for all replicas, and tells [`OpenRequests`] what became of each.
//!
//! **The promise**: a command of which it is said that it is not on the topic never gets there. librdkafka knows that of a record that it
//! has not sent yet, or that the broker refused. Of a record that was sent without an answer it knows nothing, and neither do we.

use super::command::PreparedCommand;
use super::open::{CommandProgress, OpenRequests};
use crate::config::Kafka;
use crate::domain::use_case::UseCase;
use crate::domain::values::Actor;
use crate::kafka::bootstrap::Bootstrap;
use crate::telemetry::gathered::Gathered;
use crate::toolbox::crm_client::producer_config;
use crate::wire::frame::frame_prefix;
use crate::wire::headers::{ACTOR, CORRELATION_ID, KAFKA_CORRELATION_ID, KAFKA_REPLY_TOPIC, TRACEPARENT, TRACESTATE};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientConfig, ClientContext};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a command may take to get onto the topic. After this time one that was never sent is dropped, so that the client can be told
/// that nothing was written.
const DELIVERY_TIMEOUT_MS: &str = "5000";
/// How many commands may wait to be sent. Open requests are fewer, and commands of requests that timed out go after five seconds.
const QUEUED: &str = "100000";

/// The name of this gateway in the headers of its commands, by which it knows its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; 8]);

/// A writer of commands.
pub struct CommandWriter {
    producer: RwLock<Arc<ThreadedProducer<Context>>>,
    config: ClientConfig,
    open: OpenRequests,
    topic: String,
    schema_ids: HashMap<UseCase, u32>,
    name: Name,
    /// The topic that replies are to go to, if that is not the default one.
    reply_topic: Option<String>,
}

impl Name {
    /// Makes up a name that no other gateway has.
    pub fn random() -> Self {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        Self(random.to_be_bytes())
    }

    /// Returns the value of `kafka_correlationId` for a token.
    pub fn mark(self, token: u64) -> [u8; 16] {
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&self.0);
        mark[8..].copy_from_slice(&token.to_be_bytes());
        mark
    }

    /// Returns the token in a value of `kafka_correlationId`, or `None` if another client set it.
    pub fn token(self, mark: &[u8]) -> Option<u64> {
        let (name, token) = mark.split_at_checked(8)?;
        (name == self.0).then(|| token.try_into().ok().map(u64::from_be_bytes))?
    }
}

/// Why a command that was given to the Kafka client is not on the topic.
pub const NO_KAFKA: &str = "Kafka can't be reached, and nothing was written";

impl CommandWriter {
    /// Gets ready to write. Nothing is sent yet.
    ///
    /// # Errors
    /// librdkafka refuses a property.
    pub fn new(
        kafka: &Kafka,
        reply_topic: &str,
        schema_ids: HashMap<UseCase, u32>,
        name: Name,
        open: OpenRequests,
    ) -> Result<Self, KafkaError> {
        let mut config = producer_config(kafka);
        config
            .set("delivery.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("acks", "all")
            .set("queue.buffering.max.messages", QUEUED)
            .set("enable.metrics.push", "false");
        let producer = RwLock::new(Arc::new(create(&config, open.clone())?));
        let reply_topic = (reply_topic != kafka.topics.replies).then(|| reply_topic.to_owned());
        Ok(Self { producer, config, open, topic: kafka.topics.commands.clone(), schema_ids, name, reply_topic })
    }

    /// Sends a command off. What becomes of it is noted under its token.
    ///
    /// # Errors
    /// The command was not taken, and will not be written.
    pub fn send(&self, command: &PreparedCommand, token: u64, actor: Option<&Actor>) -> Result<(), KafkaError> {
        let mut value = frame_prefix(self.schema_ids[&command.identity.use_case]).to_vec();
        value.extend_from_slice(&command.body);
        // Without a `correlation-id` the processor would take `kafka_correlationId`, which is our own affair.
        let correlation_id = command.correlation.header.as_deref().unwrap_or_else(|| command.correlation_id().as_bytes());
        let mark = self.name.mark(token);
        let given = [
            (CORRELATION_ID, Some(correlation_id)),
            (KAFKA_CORRELATION_ID, Some(&mark[..])),
            (KAFKA_REPLY_TOPIC, self.reply_topic.as_ref().map(String::as_bytes)),
            (TRACEPARENT, command.trace.as_ref().map(|trace| &trace.traceparent()[..])),
            (TRACESTATE, command.trace.as_ref().and_then(|trace| trace.tracestate()).map(|state| &state[..])),
            (ACTOR, actor.map(|actor| actor.as_str().as_bytes())),
        ];
        let given = given.into_iter().filter_map(|(key, value)| Some(Header { key, value: Some(value?) }));
        let headers = given.fold(OwnedHeaders::new(), OwnedHeaders::insert);
        let token = usize::try_from(token).unwrap_or(usize::MAX);
        let record = BaseRecord::with_opaque_to(&self.topic, token).key(&command.key).payload(&value).headers(headers);
        self.producer()?.send(record).map_err(|(error, _)| error)
    }

    /// Returns the producer, or another one in its place if it can't go on: an idempotent producer ends when the brokers have lost what it
    /// wrote.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Context>>, KafkaError> {
        let present = self.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !present.context().is_over.load(Relaxed) {
            present.context().bootstrap.remind(present.client());
            return Ok(present);
        }
        let mut producer = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if producer.context().is_over.load(Relaxed) {
            *producer = Arc::new(create(&self.config, self.open.clone())?);
        }
        Ok(producer.clone())
    }

    /// Waits until what was sent is settled.
    pub fn finish(&self, patience: Duration) {
        // What is not settled by then stays unknown.
        let _ = self.producer().and_then(|producer| producer.flush(patience));
    }
}

fn create(config: &ClientConfig, open: OpenRequests) -> Result<ThreadedProducer<Context>, KafkaError> {
    let mut config = config.clone();
    let (troubles, is_over, bootstrap) = (Gathered::default(), AtomicBool::new(false), Bootstrap::of(&mut config));
    config.create_with_context(Context { open, troubles, is_over, bootstrap })
}

/// The callbacks of librdkafka.
struct Context {
    open: OpenRequests,
    /// When librdkafka's complaints were last logged, by error code.
    troubles: Gathered<Option<i32>>,
    /// Whether the producer can't go on.
    is_over: AtomicBool,
    bootstrap: Bootstrap,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.bootstrap.seen(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.is_over.store(true, Relaxed);
        }
        if let Some(left_out) = self.troubles.due(error.rdkafka_error_code().map(|code| code as i32), Instant::now()) {
            tracing::warn!(%error, reason, left_out, "the Kafka producer of the gateway has trouble, and goes on trying");
        }
    }
}

impl ProducerContext for Context {
    /// The token of the command.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        let progress = match result {
            Ok(_) => CommandProgress::Written,
            Err((_, message)) if is_nowhere(message) => CommandProgress::Unwritten(NO_KAFKA),
            Err(_) => CommandProgress::Unknown,
        };
        self.open.note(token as u64, progress);
    }
}

/// Returns whether librdkafka knows that no broker has an undelivered record. Either it was never sent, or each broker that was asked has
/// refused it.
#[allow(unsafe_code, reason = "rdkafka offers no other way to ask for the status of a record")]
fn is_nowhere(message: &BorrowedMessage<'_>) -> bool {
    use rdkafka::bindings::{rd_kafka_message_status, rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED};
    // SAFETY: the pointer is that of the message of the delivery report, which is alive during the callback.
    unsafe { rd_kafka_message_status(message.ptr()) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_knows_its_own_marks_only() {
        let (ours, theirs) = (Name::random(), Name::random());
        assert_eq!(ours.token(&ours.mark(u64::MAX - 1)), Some(u64::MAX - 1));
        assert_eq!(ours.token(&theirs.mark(1)), None);
        for other in [&b""[..], b"short", &ours.mark(1)[..15], &[&ours.mark(1)[..], b"x"].concat()] {
            assert_eq!(ours.token(other), None, "{other:?}");
        }
    }
}
