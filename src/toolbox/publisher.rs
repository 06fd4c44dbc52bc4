//! Publishes in Kafka transactions, for subcommands that write to the topics: readers with `read_committed` see a batch as a whole or not
//! at all. A publisher that is opened later under the same name takes the place of the earlier one, which can't commit any more from then
//! on.

use super::crm_client::producer_config;
use super::patience::patiently_blocking;
use super::topic_reader::blocking;
use crate::config;
use crate::flow::RecordId;
use crate::kafka::publisher::to_headers;
use crate::wire::headers::Headers;
use anyhow::{Context as _, anyhow};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use std::time::Duration;

/// How long the coordinator may take for one call.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a transaction may take. This must be longer than a record may take to be delivered, or librdkafka refuses the configuration.
const TRANSACTION_TIMEOUT_MS: &str = "60000";

/// A record that is to be published.
#[derive(Clone, Debug)]
pub struct OutgoingRecord {
    pub topic: String,
    /// The partition to write to; `None` if the key decides.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// A transactional producer that is the only one of its name.
pub struct NamedPublisher {
    producer: FutureProducer,
    name: String,
}

impl NamedPublisher {
    /// Takes the place of any other publisher of this name: its open transaction is aborted before this returns.
    ///
    /// # Errors
    /// The brokers don't answer, or don't let us.
    pub async fn open(kafka: &config::Kafka, name: &str) -> anyhow::Result<Self> {
        let mut config = producer_config(kafka);
        config.set("transactional.id", name).set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS).set("linger.ms", "5");
        let producer: FutureProducer = config.create().context("can't make a Kafka producer")?;
        let publisher = Self { producer, name: name.to_owned() };
        publisher.call(|producer| producer.init_transactions(PATIENCE)).await.with_context(|| {
            format!("can't begin to publish in transactions to Kafka at {} as {name:?}", kafka.bootstrap_servers)
        })?;
        Ok(publisher)
    }

    /// Publishes `records`, and the records that `then` makes from their ids, in one transaction. Returns the ids of `records`.
    ///
    /// # Errors
    /// Nothing was published; or it is not known whether anything was, and then the message says so.
    pub async fn publish(
        &self,
        records: &[OutgoingRecord],
        then: impl FnOnce(&[RecordId]) -> Vec<OutgoingRecord>,
    ) -> anyhow::Result<Vec<RecordId>> {
        self.call(FutureProducer::begin_transaction).await?;
        let sent = async {
            let delivered = self.deliver(records).await?;
            self.deliver(&then(&delivered)).await?;
            Ok(delivered)
        };
        let delivered = match sent.await {
            Ok(delivered) => delivered,
            Err(error) => return Err(self.give_up(error).await),
        };
        self.commit().await?;
        Ok(delivered)
    }

    async fn deliver(&self, records: &[OutgoingRecord]) -> anyhow::Result<Vec<RecordId>> {
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let mut future = FutureRecord::<[u8], [u8]>::to(&record.topic).headers(to_headers(&record.headers));
            (future.key, future.payload, future.partition) = (record.key.as_deref(), record.value.as_deref(), record.partition);
            deliveries.push(self.producer.send_result(future).map_err(|(error, _)| refused(&record.topic, &error))?);
        }
        let mut delivered = Vec::with_capacity(records.len());
        for (record, delivery) in records.iter().zip(deliveries) {
            let at = delivery.await.context("the producer is gone")?.map_err(|(error, _)| refused(&record.topic, &error))?;
            delivered.push(RecordId { partition: at.partition, offset: at.offset });
        }
        Ok(delivered)
    }

    async fn commit(&self) -> anyhow::Result<()> {
        match self.call(|producer| producer.commit_transaction(PATIENCE)).await {
            Ok(()) => Ok(()),
            Err(error) if error.downcast_ref().is_some_and(requires_abort) => Err(self.give_up(error).await),
            // The answer to a first attempt may be lost, and the second be fenced: then the first may have committed.
            Err(error) if error.downcast_ref().is_some_and(is_fenced) => Err(anyhow!(
                "another {:?} has begun and taken the place of this one; it is not known whether the last batch was published",
                self.name
            )),
            Err(error) => Err(error.context("it is not known whether the last batch was published")),
        }
    }

    /// Aborts the transaction, so that no reader sees anything of it. Returns the error to report.
    async fn give_up(&self, error: anyhow::Error) -> anyhow::Error {
        // If the abort fails, the next publisher of this name aborts the transaction, or the broker does after the time-out.
        let aborted = self.call(|producer| producer.abort_transaction(PATIENCE)).await;
        // The records' own errors only say that they were purged, so the producer is asked whether it was fenced.
        let fatal = self.producer.client().fatal_error().is_some_and(|(code, _)| is_fencing(code));
        if fatal || aborted.is_err_and(|error| error.downcast_ref().is_some_and(is_fenced)) {
            return anyhow!(
                "another {:?} has begun and taken the place of this one; nothing of this batch was published",
                self.name
            );
        }
        error.context("nothing of this batch was published")
    }

    /// Makes a call of rdkafka's that blocks, and tries it again if the error says that this may help.
    async fn call(&self, operation: impl Fn(&FutureProducer) -> Result<(), KafkaError> + Send + 'static) -> anyhow::Result<()> {
        const TRIES: usize = 3;
        let producer = self.producer.clone();
        blocking(move || {
            // Only a publisher's first call meets a coordinator that is being chosen; for the other calls patience does no harm.
            let operation = || patiently_blocking(|| operation(&producer));
            let mut result = operation();
            for _ in 1..TRIES {
                if !matches!(&result, Err(KafkaError::Transaction(error)) if error.is_retriable()) {
                    break;
                }
                result = operation();
            }
            Ok(result?)
        })
        .await
    }
}

fn refused(topic: &str, error: &KafkaError) -> anyhow::Error {
    let way_out = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => "; raise the topic's max.message.bytes, or leave the record out",
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => "; grant the right to write to it",
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => "; `crm-processor setup` makes it",
        _ => "",
    };
    anyhow!("a record can't be written to {topic}: {error}{way_out}")
}

fn requires_abort(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort())
}

fn is_fenced(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_fencing)
}

fn is_fencing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(code, Fenced | InvalidProducerEpoch | ProducerFenced)
}
