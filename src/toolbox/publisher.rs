//! Publishes in Kafka transactions, for subcommands that write to the topics: readers with `read_committed` see a batch as a
//! whole or not at all. Whoever opens a publisher with the same name later takes its place: what the earlier one had not
//! committed by then it never will.

use super::crm_client::producer_config;
use super::patience::patiently_blocking;
use super::topic_reader::blocking;
use crate::config;
use crate::kafka::Headers;
use crate::kafka::publisher::to_headers;
use anyhow::{Context as _, anyhow};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use std::time::Duration;

/// How long the coordinator may take for one call.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a record may take to be delivered, or librdkafka refuses the configuration.
const TRANSACTION_TIMEOUT_MS: &str = "60000";

/// A record that is to be published.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub topic: String,
    /// None: by the key.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Where a record came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub partition: i32,
    pub offset: i64,
}

/// A transactional producer.
pub struct Publisher {
    producer: FutureProducer,
    name: String,
}

impl Publisher {
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

    /// Publishes `records`, and what `then` makes of where they came to lie, in one transaction.
    ///
    /// # Errors
    /// Nothing was published, or, if the message says so, it is not known.
    pub async fn publish(
        &self,
        records: &[Outgoing],
        then: impl FnOnce(&[Delivered]) -> Vec<Outgoing>,
    ) -> anyhow::Result<Vec<Delivered>> {
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

    async fn deliver(&self, records: &[Outgoing]) -> anyhow::Result<Vec<Delivered>> {
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let mut future = FutureRecord::<[u8], [u8]>::to(&record.topic).headers(to_headers(&record.headers));
            (future.key, future.payload, future.partition) = (record.key.as_deref(), record.value.as_deref(), record.partition);
            deliveries.push(self.producer.send_result(future).map_err(|(error, _)| refused(&record.topic, &error))?);
        }
        let mut delivered = Vec::with_capacity(records.len());
        for (record, delivery) in records.iter().zip(deliveries) {
            let at = delivery.await.context("the producer is gone")?.map_err(|(error, _)| refused(&record.topic, &error))?;
            delivered.push(Delivered { partition: at.partition, offset: at.offset });
        }
        Ok(delivered)
    }

    async fn commit(&self) -> anyhow::Result<()> {
        match self.call(|producer| producer.commit_transaction(PATIENCE)).await {
            Ok(()) => Ok(()),
            Err(error) if error.downcast_ref().is_some_and(|error| requires_abort(error) || is_fenced(error)) => {
                Err(self.give_up(error).await)
            }
            Err(error) => Err(error.context("it is not known whether the last batch was published")),
        }
    }

    /// Ends the transaction; nothing of it will be seen.
    async fn give_up(&self, error: anyhow::Error) -> anyhow::Error {
        // What is not aborted now is aborted by the next publisher of this name, or after its time-out.
        let aborted = self.call(|producer| producer.abort_transaction(PATIENCE)).await;
        // To the records of a transaction it is only said that they were purged.
        let fatal = self.producer.client().fatal_error().is_some_and(|(code, _)| is_fencing(code));
        if fatal || aborted.is_err_and(|error| error.downcast_ref().is_some_and(is_fenced)) {
            return anyhow!(
                "another {:?} has begun and taken the place of this one; nothing of this batch was published",
                self.name
            );
        }
        error.context("nothing of this batch was published")
    }

    /// rdkafka's calls block; those that may be tried again are.
    async fn call(&self, operation: impl Fn(&FutureProducer) -> Result<(), KafkaError> + Send + 'static) -> anyhow::Result<()> {
        const TRIES: usize = 3;
        let producer = self.producer.clone();
        blocking(move || {
            // Only the first call meets a coordinator that is being chosen; the others are asked once more by the same rule.
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
