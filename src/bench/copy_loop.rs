//! Measures what Kafka alone can do: bare librdkafka, with the processor's own properties, consumes records, produces two for each, and
//! commits these and the offsets in one transaction. A transaction takes the records that arrived while the one before it was committed,
//! as the processor's does. The measurement runs in a process of its own.
//!
//! The first record is copied by itself, because connections and metadata are a matter of starting. The clock runs from the second record
//! to the last commit.

use super::latency::Latency;
use super::load::wait_until;
use super::measured::{Measured, Stopwatch};
use super::samples;
use crate::config::Config;
use crate::kafka::publisher::{flush_step, to_headers};
use crate::kafka::{consumer_config, producer_config};
use crate::toolbox::patience::patiently_blocking;
use anyhow::{Context as _, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How long joining the group, a transaction, or a stall may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for the first record of a transaction in one go.
const POLL: Duration = Duration::from_millis(100);

/// The work to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyLoad {
    /// How many records to copy, besides the first one on the topic; or how many single transactions to make.
    pub commands: u32,
    /// The most records in a transaction.
    pub transaction_cap: usize,
}

struct Copy<'a> {
    consumer: BaseConsumer,
    producer: BaseProducer,
    /// The records that are produced for each command: topic, value and headers.
    outputs: [(&'a str, Vec<u8>, OwnedHeaders); 2],
}

/// Copies the records of the command topic, and measures that.
pub fn measure(config: &Config, load: &CopyLoad) -> anyhow::Result<Measured> {
    let copy = Copy::open(config)?;
    copy.commit(&[copy.first()?])?;
    let mut waiting = vec![copy.first()?];
    let watch = Stopwatch::start()?;
    let (mut copied, mut transactions, mut taken) = (0, 0, Vec::new());
    while copied < load.commands as usize {
        copy.take_what_is_there(&mut waiting, load.transaction_cap)?;
        let begin = Instant::now();
        copied += waiting.len();
        copy.commit(&std::mem::take(&mut waiting))?;
        taken.push(begin.elapsed());
        transactions += 1;
        if copied < load.commands as usize {
            waiting.push(copy.first()?);
        }
    }
    ensure!(copied == load.commands as usize, "{copied} records, not {}", load.commands);
    Ok(Measured { commands: copied as u64, transactions, latency: Latency::of(taken), ..watch.read()? })
}

/// Makes one transaction after another, at a rate, and measures each. All have the two records of the same command.
pub fn measure_one(config: &Config, load: &CopyLoad, per_second: f64) -> anyhow::Result<Measured> {
    let copy = Copy::open(config)?;
    let record = vec![copy.first()?];
    copy.commit(&record)?;
    let (_stop, stopped) = sync_channel(0);
    let watch = Stopwatch::start()?;
    let mut due = watch.began();
    let mut taken = Vec::new();
    for _ in 0..load.commands {
        if !wait_until(due, &stopped) {
            break;
        }
        let begin = Instant::now();
        copy.commit(&record)?;
        taken.push(begin.elapsed());
        due += Duration::from_secs_f64(1.0 / per_second);
        // Keeps the membership of the group alive.
        drop(copy.consumer.poll(Duration::ZERO));
    }
    let transactions = taken.len() as u64;
    Ok(Measured { commands: transactions, transactions, latency: Latency::of(taken), ..watch.read()? })
}

impl<'a> Copy<'a> {
    fn open(config: &'a Config) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = consumer_config(&config.kafka).create().context("a consumer")?;
        consumer.subscribe(&[&config.kafka.topics.commands])?;
        let producer: BaseProducer = producer_config(&config.kafka).create().context("a producer")?;
        patiently_blocking(|| producer.init_transactions(PATIENCE)).context("the transaction coordinator")?;
        let topics = &config.kafka.topics;
        let [reply, transaction] = samples::answers();
        let outputs = [
            (topics.replies.as_str(), reply.value, to_headers(&reply.headers)),
            (topics.transactions.as_str(), transaction.value, to_headers(&transaction.headers)),
        ];
        Ok(Self { consumer, producer, outputs })
    }

    /// Waits for a record.
    fn first(&self) -> anyhow::Result<OwnedMessage> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.consumer.poll(POLL) {
                Some(record) => return Ok(record?.detach()),
                None if Instant::now() > deadline => bail!("no record came"),
                None => {}
            }
        }
    }

    /// Takes what has arrived, up to a bound.
    fn take_what_is_there(&self, waiting: &mut Vec<OwnedMessage>, cap: usize) -> anyhow::Result<()> {
        while waiting.len() < cap {
            let Some(record) = self.consumer.poll(Duration::ZERO) else { break };
            waiting.push(record?.detach());
        }
        Ok(())
    }

    fn commit(&self, records: &[OwnedMessage]) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        self.producer.begin_transaction()?;
        for record in records {
            for output in &self.outputs {
                self.send(record, output)?;
            }
        }
        while !flush_step(&self.producer) {
            self.producer.poll(Duration::ZERO);
            ensure!(Instant::now() < deadline, "the records can't be delivered");
        }
        let group = self.consumer.group_metadata().context("the group was joined")?;
        let offsets = offsets(records)?;
        retrying(deadline, || self.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE))?;
        retrying(deadline, || self.producer.commit_transaction(PATIENCE))
    }

    fn send(&self, record: &OwnedMessage, (topic, value, headers): &(&str, Vec<u8>, OwnedHeaders)) -> anyhow::Result<()> {
        let mut output = BaseRecord::to(topic).payload(value).headers(headers.clone());
        output.key = record.key();
        loop {
            match self.producer.send(output) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    output = back;
                    flush_step(&self.producer);
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

fn offsets(records: &[OwnedMessage]) -> anyhow::Result<TopicPartitionList> {
    let mut next = BTreeMap::new();
    for record in records {
        next.insert((record.topic(), record.partition()), record.offset() + 1);
    }
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in next {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

/// Tries again while librdkafka says that this may help.
fn retrying(deadline: Instant, operation: impl Fn() -> Result<(), KafkaError>) -> anyhow::Result<()> {
    loop {
        match operation() {
            Err(KafkaError::Transaction(e)) if e.is_retriable() && Instant::now() < deadline => (),
            result => return Ok(result?),
        }
    }
}
