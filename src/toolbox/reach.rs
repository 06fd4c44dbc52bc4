//! Reaches Kafka for a subcommand that is soon done. A client's call only says that it failed; the client's log says why. So a probe asks
//! first, and listens to its own log: its error says what the log said, and the way out.

use crate::config::{Kafka, Properties};
use crate::kafka::login::{complaint, explained, sign};
use anyhow::anyhow;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the brokers may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the probe waits before it looks whether a complaint says that waiting is of no use.
const STEP: Duration = Duration::from_secs(1);

/// The last complaint of librdkafka.
#[derive(Default)]
pub struct Complaints(Mutex<Option<String>>);

impl Complaints {
    fn last(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Complaints {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(said) = complaint(facility, message) {
            *self.last() = Some(said.to_owned());
        }
    }

    /// Takes errors of authentication, because some complaints about a token are in no log.
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            self.last().get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// A producer that sends no records. It is a producer because this is the only client whose log can be listened to at will.
pub struct Probe(BaseProducer<Complaints>);

impl Probe {
    /// Creates a probe. Nothing is sent yet.
    pub fn new(mut config: ClientConfig) -> anyhow::Result<Self> {
        config.set_log_level(RDKafkaLogLevel::Info);
        let producer = BaseProducer::from_config_and_context(&config, Complaints::default());
        producer.map(Self).map_err(|error| anyhow!("librdkafka does not take these properties together: {}", explained(&error)))
    }

    /// Returns the client itself.
    pub fn producer(&self) -> &BaseProducer<Complaints> {
        &self.0
    }

    /// Asks which brokers and topics there are. `table` is the table of the configuration that has the client's properties, such as
    /// `kafka.consumer`.
    pub fn reach(&self, kafka: &Kafka, table: &str) -> anyhow::Result<Metadata> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let failure = match self.0.client().fetch_metadata(None, STEP) {
                Ok(metadata) => return Ok(metadata),
                Err(failure) => failure,
            };
            self.0.poll(Duration::ZERO);
            let said = self.0.context().last().clone();
            let sign = said.as_deref().and_then(sign);
            if Instant::now() < deadline && !sign.is_some_and(|sign| sign.is_final) {
                continue;
            }
            let why = said.unwrap_or_else(|| failure.to_string());
            let way_out = sign.map_or("is Kafka there? this table also says how to log in", |sign| sign.way_out);
            return Err(anyhow!(
                "no broker at kafka.bootstrap_servers = {:?} takes a client with the properties of {table}: {why} ({way_out})",
                kafka.bootstrap_servers
            ));
        }
    }
}

/// Returns a client's properties: where the brokers are, and those of the properties `passed` that say how to log in.
pub fn client_config(kafka: &Kafka, passed: &Properties) -> ClientConfig {
    const PREFIXES: [&str; 8] = ["ssl.", "sasl.", "security.", "enable.ssl", "enable.sasl", "https.", "broker.", "client."];
    let mut config = ClientConfig::new();
    let passed = passed.iter().filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    config.extend(passed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // A look for a topic must not have it made.
    config.set("allow.auto.create.topics", "false");
    config.set("bootstrap.servers", &kafka.bootstrap_servers);
    config
}
