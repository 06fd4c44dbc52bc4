//! A transactional producer, and what librdkafka calls back.

use super::login::{KafkaClient, Logins};
use crate::telemetry::gathered::Gathered;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The callbacks of librdkafka, which collect the outputs that could not be delivered. Successful deliveries are not reported.
pub(super) struct Context {
    failures: Mutex<Vec<(usize, Code)>>,
    /// When librdkafka's complaints were last logged, by error code.
    troubles: Gathered<Option<i32>>,
    /// The complaints of clients that can't log in.
    logins: Arc<Logins>,
}

impl Context {
    /// Takes the outputs that could not be delivered since the last call.
    pub fn take_failures(&self) -> Vec<(usize, Code)> {
        std::mem::take(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logins.log(KafkaClient::Producer, level, facility, message, Instant::now());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logins.failed(KafkaClient::Producer, &error, reason, Instant::now());
        if let Some(left_out) = self.troubles.due(error.rdkafka_error_code().map(|code| code as i32), Instant::now()) {
            tracing::warn!(%error, reason, left_out, "the Kafka producer has trouble, and goes on trying");
        }
    }
}

impl ProducerContext for Context {
    /// The output's index in the transaction, counted across all records.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, output: usize) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push((output, code));
        }
    }
}

pub(super) type TransactionalProducer = BaseProducer<Context>;

/// Makes a producer, which sends nothing until it is registered.
pub(super) fn create(config: &ClientConfig, logins: Arc<Logins>) -> Result<TransactionalProducer, KafkaError> {
    config.create_with_context(Context { failures: Mutex::default(), troubles: Gathered::default(), logins })
}
