//! Reaching Kafka for a subcommand that is soon done: a client whose calls fail says no more than that; why, it says in its
//! log. So the log is listened to, and the error says what it said, and the way out.

use super::topics::TIMEOUT;
use crate::config::Kafka;
use anyhow::anyhow;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After so long it is seen whether a complaint says that waiting is of no use.
const STEP: Duration = Duration::from_secs(1);

/// What librdkafka complained of last.
#[derive(Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<Option<String>>>);

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

impl Complaints {
    /// Asks for what there is on the cluster. `table` is where the client's properties stand: `kafka.consumer`.
    pub fn reach<C: ClientContext>(&self, client: &Client<C>, kafka: &Kafka, table: &str) -> anyhow::Result<Metadata> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let failure = match client.fetch_metadata(None, STEP) {
                Ok(metadata) => return Ok(metadata),
                Err(failure) => failure,
            };
            let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
