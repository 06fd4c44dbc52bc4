//! Reaching Kafka for a subcommand that is soon done. A client's call says no more than that it failed; why, the client says in
//! its log. So a probe asks first, whose log is listened to: the error says what it said, and the way out.

use super::topics::TIMEOUT;
use crate::config::Kafka;
use anyhow::{Context as _, anyhow};
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After so long it is seen whether a complaint says that waiting is of no use.
const STEP: Duration = Duration::from_secs(1);

/// What librdkafka complained of last.
#[derive(Default)]
pub(super) struct Complaints(Mutex<Option<String>>);

impl ClientContext for Complaints {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if ["FAIL", "SASL", "SSL"].contains(&facility) {
            // Without the name of librdkafka's thread.
            let said = message.split_once("]: ").map_or(message, |(_, said)| said);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.to_owned());
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// What a complaint is a sign of, whether waiting is of no use then, and the way out.
const SIGNS: [(&str, bool, &str); 4] = [
    (
        "SASL authentication error",
        true,
        "the brokers know no such user, or another password: sasl.username, sasl.password and sasl.mechanism are to be mended",
    ),
    (
        "certificate verify failed",
        true,
        "ssl.ca.location must name a PEM file of the authority that signed the brokers' certificates, and they must name the \
         hosts of kafka.bootstrap_servers",
    ),
    ("security.protocol", false, "security.protocol must be what this listener of the brokers speaks"),
    (
        "SSL handshake failed",
        false,
        "the brokers may want a certificate of this client: ssl.certificate.location, ssl.key.location",
    ),
];

/// A producer that sends nothing: of all clients it is the one whose log can be listened to at will.
pub(super) struct Probe(BaseProducer<Complaints>);

impl Probe {
    /// Nothing is sent yet.
    pub fn new(mut config: ClientConfig) -> anyhow::Result<Self> {
        config.set_log_level(RDKafkaLogLevel::Info);
        let producer = BaseProducer::from_config_and_context(&config, Complaints::default());
        producer.map(Self).context("librdkafka does not take these properties together")
    }

    /// The client itself.
    pub fn producer(&self) -> &BaseProducer<Complaints> {
        &self.0
    }

    /// Asks for what there is on the cluster. `table` is where the client's properties stand: `kafka.consumer`.
    pub fn reach(&self, kafka: &Kafka, table: &str) -> anyhow::Result<Metadata> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let failure = match self.0.client().fetch_metadata(None, STEP) {
                Ok(metadata) => return Ok(metadata),
                Err(failure) => failure,
            };
            self.0.poll(Duration::ZERO);
            let said = self.0.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let sign = SIGNS.iter().find(|(sign, ..)| said.as_ref().is_some_and(|said| said.contains(sign)));
            if Instant::now() < deadline && !sign.is_some_and(|(_, is_final, _)| *is_final) {
                continue;
            }
            let why = said.unwrap_or_else(|| failure.to_string());
            let way_out = sign.map_or("is Kafka there? how to log in stands in this table, too", |(.., way_out)| way_out);
            return Err(anyhow!(
                "no broker at kafka.bootstrap_servers = {:?} takes a client with the properties of {table}: {why} ({way_out})",
                kafka.bootstrap_servers
            ));
        }
    }
}
